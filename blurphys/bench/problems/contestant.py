"""One way to compute an operator, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...engines.primitives import PRIMITIVES
from ...linop.base import LinearOperator
from ...types import Array

__all__ = [
    "ADJOINT",
    "BOTH",
    "FORWARD",
    "WAYS",
    "Contestant",
    "differentiated",
    "numpy_function",
    "ours",
    "reference",
    "torch_function",
]

FORWARD, ADJOINT, BOTH = WAYS = ("forward", "adjoint", "forward + backward")
Run = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to compute ``A x``, ``A.H u`` and the gradients of ``<u, A x>`` on fixed inputs.

    Attributes
    ----------
    name : str
    family : str
        "ours", or "opponent".
    forward : callable
        Returns ``A x`` of shape (D, H, W), NumPy or torch.
    adjoint : callable or None
        Prepares, untimed, and returns a callable that returns ``A.H u``. None if the code has no adjoint.
    gradients : callable or None
        Computes ``A x`` and returns the gradients by name ("image", "maps", "kernels"). None without autograd.
    margin : int
        Border (px) left out of the comparison with ours, for code that has another boundary rule.
    inside : array or None
        Mask of 0 and 1 with the shape of the kernel gradient: 1 where this code has a gradient.
    note : str
        A remark on it.
    """

    name: str
    family: str
    forward: Run
    adjoint: Callable[[], Run] | None = None
    gradients: Run | None = None
    margin: int = 0
    inside: Array | None = None
    note: str = ""

    def ready(self, way: str) -> Run | None:
        """Prepare one of `WAYS`, untimed; None if this code does not have it."""
        if way == FORWARD:
            return self.forward
        if way == ADJOINT:
            return None if self.adjoint is None else self.adjoint()
        return self.gradients

    def has(self, way: str) -> bool:
        """Whether this code has one of `WAYS`."""
        return way == FORWARD or (self.adjoint if way == ADJOINT else self.gradients) is not None


def differentiated(function: Callable[..., Any], leaves: Mapping[str, Any], u: Any) -> Run:
    """Return the work of a training step: ``y = function(*leaves)``, then the gradients of ``<u, y>`` in all leaves.

    Parameters
    ----------
    function : callable
        From the tensors of `leaves`, in their order, to a tensor like `u`.
    leaves : dict of str to tensor
        Not copied.
    u : tensor
    """
    import torch

    def run() -> dict[str, Any]:
        given = [v.detach().requires_grad_() for v in leaves.values()]
        with torch.enable_grad():
            y = function(*given)
        return dict(zip(leaves, torch.autograd.grad(y, given, u), strict=True))

    return run


def ours(name: str, A: LinearOperator, x: Array, u: Array, gradients: Run | None = None, note: str = "") -> Contestant:
    """Enter one of our operators."""
    return Contestant(
        name=name,
        family="ours",
        forward=lambda: A.forward(x),
        adjoint=lambda: lambda: A.adjoint(u),
        gradients=gradients,
        note=note,
    )


def reference(
    name: str, primitive: str, arguments: tuple[Any, ...], x: Array, u: Array, gradients: Run | None = None
) -> Contestant:
    """Enter the reference engine, even if a faster one is registered."""
    from ...engines import reference as engine

    contract = PRIMITIVES[primitive]
    forward, adjoint = getattr(engine, contract.name), getattr(engine, contract.adjoint)
    return Contestant(
        name=name,
        family="ours",
        forward=lambda: forward(x, *arguments),
        adjoint=lambda: lambda: adjoint(u, *arguments),
        gradients=gradients,
        note="the readable engine, array by array",
    )


def torch_function(
    name: str,
    function: Callable[[Any], Any],
    x: Any,
    u: Any,
    *,
    gradients: Run | None = None,
    inside: Array | None = None,
    note: str = "",
) -> Contestant:
    """Enter a linear torch function of `x`; its adjoint is autograd's backward pass with the forward pass untimed.

    Parameters
    ----------
    name : str
    function : callable
        From a tensor (C, H, W) to a tensor (D, H, W).
    x, u : tensor of shape (C, H, W), (D, H, W)
    gradients, inside, note
        See `Contestant`.
    """
    import torch

    def forward() -> Any:
        with torch.no_grad():
            return function(x)

    def adjoint() -> Run:
        image = x.detach().requires_grad_()
        with torch.enable_grad():
            y = function(image)
        return lambda: torch.autograd.grad(y, image, u)[0]

    return Contestant(
        name=name,
        family="opponent",
        forward=forward,
        adjoint=adjoint,
        gradients=gradients,
        inside=inside,
        note=note,
    )


def numpy_function(name: str, function: Callable[[Any], Any], x: Any, note: str = "") -> Contestant:
    """Enter a NumPy function that has no adjoint."""
    text = "no adjoint" + (f"; {note}" if note else "")
    return Contestant(name=name, family="opponent", forward=lambda: function(x), note=text)
