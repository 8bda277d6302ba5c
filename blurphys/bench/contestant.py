"""One way to compute an operator, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..linop import LinearOperator
from ..types import Array

__all__ = ["Contestant", "ours", "torch_function"]

Run = Callable[[], Array]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to compute ``A x`` and ``A.H u`` on fixed inputs.

    Attributes
    ----------
    name : str
    family : str
        "ours", or "opponent".
    forward : callable
        Returns ``A x`` of shape (D, H, W), NumPy or torch.
    adjoint : callable or None
        Makes ready, untimed, and returns a callable that returns ``A.H u``. None if the code has no adjoint.
    margin : int
        Border (px) left out of the comparison with ours, for code that has another boundary rule.
    note : str
        What is special about it.
    """

    name: str
    family: str
    forward: Run
    adjoint: Callable[[], Run] | None
    margin: int = 0
    note: str = ""


def ours(name: str, A: LinearOperator, x: Array, u: Array, note: str = "") -> Contestant:
    """Enter one of our operators."""
    return Contestant(
        name=name,
        family="ours",
        forward=lambda: A.forward(x),
        adjoint=lambda: lambda: A.adjoint(u),
        note=note,
    )


def torch_function(
    name: str, function: Callable[[Any], Any], x: Any, u: Any, *, margin: int = 0, note: str = ""
) -> Contestant:
    """Enter a linear torch function of `x`; its adjoint is autograd's backward pass with the forward pass untimed.

    Parameters
    ----------
    name : str
    function : callable
        From a tensor (C, H, W) to a tensor (D, H, W).
    x, u : tensor of shape (C, H, W), (D, H, W)
    margin, note
        See `Contestant`.
    """
    import torch

    def forward() -> Any:
        with torch.no_grad():
            return function(x)

    def adjoint() -> Run:
        image = x.clone().requires_grad_(True)
        with torch.enable_grad():
            y = function(image)
        return lambda: torch.autograd.grad(y, image, u)[0]

    return Contestant(name=name, family="opponent", forward=forward, adjoint=adjoint, margin=margin, note=note)
