"""Multiply-accumulates of blur operators, for `nets.summary` and torch's FLOP counter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from blurphys.engines.primitives import Direction, resolve
from blurphys.engines.torch_ops.operators import FUNCTIONS

__all__ = ["RULES", "Cost", "cost_of"]

Shape = Sequence[int]
Named = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-accumulates of one application of an operator.

    Attributes
    ----------
    filters : int
        Taps of its kernels: both passes of separable kernels, all taps of others; a kernel of one tap is a copy.
    mix : int
        Weights of the channel mix after the kernels, which published counts have as a 1 x 1 convolution.
    """

    filters: int
    mix: int = 0


def cost_of(primitive: str, image: Shape, *arguments: Any) -> Cost:
    """Multiply-accumulates of one application of a primitive.

    Parameters
    ----------
    primitive : str
        Such as ``gaussian_mixture`` or ``gaussian_mixture_adjoint``.
    image : shape
        Of the operator's input, for the adjoint too: (*N, C, H, W).
    *arguments
        Those of the primitive after the image, with shapes in place of tensors.

    Returns
    -------
    Cost

    Notes
    -----
    Per pixel of one image, with C colours in and D out:

    * ``gaussian_mixture``: ``2 C sum_k n_k`` over the supports n_k > 1, and ``D C K`` with a channel mix;
    * ``recursive_mixture``: ``2 C (J - 1) t``, and ``D C J`` with a channel mix;
    * ``psf_gather``, ``psf_scatter``: ``C`` times all taps of all kernels, the direct sum (engines may take less);
    * ``psf_interpolate``: ``C`` times the taps of two kernels.

    The adjoint costs the same. Products with the maps, pixel by pixel, are not counted.
    """
    if primitive not in FUNCTIONS:
        raise ValueError(f"cost_of: expected one of {', '.join(_FORMULAS)}, got {primitive!r}")
    contract, _ = resolve(primitive)
    return _FORMULAS[contract.name](tuple(image), contract.named(arguments))


def _gaussian(image: Shape, given: Named) -> Cost:
    taps = sum(2 * half + 1 for half in given["halves"] if half)
    return Cost(filters=_product(image) * 2 * taps, mix=_mix(image, given["mix"]))


def _recursive(image: Shape, given: Named) -> Cost:
    steps, _, taps = given["atoms"]
    return Cost(filters=_product(image) * 2 * steps * taps, mix=_mix(image, given["mix"]))


def _dense(image: Shape, given: Named) -> Cost:
    views, levels, _, height, width = given["psfs"]
    return Cost(filters=_product(image) * views * levels * height * width)


def _interpolated(image: Shape, given: Named) -> Cost:
    views, _, _, height, width = given["psfs"]
    return Cost(filters=_product(image) * views * 2 * height * width)


def _mix(image: Shape, mix: Shape | None) -> int:
    return 0 if mix is None else _product(image) // image[-3] * _product(mix)


def _product(shape: Shape) -> int:
    total = 1
    for n in shape:
        total *= int(n)
    return total


_FORMULAS: dict[str, Callable[[Shape, Named], Cost]] = {
    "gaussian_mixture": _gaussian,
    "recursive_mixture": _recursive,
    "psf_gather": _dense,
    "psf_scatter": _dense,
    "psf_interpolate": _interpolated,
}


def _rule(name: str, direction: Direction) -> Callable[..., Cost]:
    def rule(out: Shape, image: Shape, *arguments: Any) -> Cost:
        return cost_of(name, out if direction is Direction.ADJOINT else image, *arguments)

    return rule


RULES: dict[Any, Callable[..., Cost]] = {
    getattr(torch.ops.blurphys, name): _rule(name, resolve(name)[1]) for name in FUNCTIONS
}
"""Operators of torch to the cost of a call: shape of the result, then the arguments with shapes for tensors."""


def _register(op: Any, rule: Callable[..., Cost]) -> None:
    def flop(*shapes: Any, out_shape: Any = None, **others: Any) -> int:
        cost = rule(out_shape, *shapes)
        return 2 * (cost.filters + cost.mix)

    register_flop_formula(op)(flop)


for _op, _counting in RULES.items():
    if _op not in flop_registry:
        _register(_op, _counting)
