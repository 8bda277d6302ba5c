"""What holds for every engine before it computes: images without a pixel, and indices beyond a bank.

A primitive is a sum over the colours and pixels of an image. Where there is no image in the batch, or there are no
rows, columns or colours, its result is zero, and so is every gradient. One rule here spares the engines grids of no
block, strips of no row and minima of nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any, TypeVar, cast

from array_api_compat import array_namespace, device, is_torch_array

from ..inputs import tracing
from ..types import Array, Shape
from .primitives import Direction, Role, resolve

__all__ = ["guarded", "guarded_host", "nothing"]

Function = TypeVar("Function", bound=Callable[..., Any])

Zeros = Callable[[Shape, Array], Array]
"""Makes an array of zeros of a shape, in the place and dtype of another."""


def guarded(function: Function, primitive: str | None = None) -> Function:
    """Return a primitive (by default the one of the function's name) that meets the rules above; others as they are.

    torch records that the zeros come from the arguments, as it does for images with pixels.
    """
    name = function.__name__ if primitive is None else primitive
    if getattr(function, "is_guarded", False) or resolve(name)[0].made_of:
        return function
    signature = inspect.signature(function)

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        if named:
            bound = signature.bind(*arguments, **named)
            bound.apply_defaults()
            arguments = bound.args
        found = _checked(name, arguments, _zeros)
        return function(*arguments) if found is None else _joined(found, arguments)

    run.is_guarded = True  # type: ignore[attr-defined]
    return cast(Function, run)


def guarded_host(function: Function) -> Function:
    """Return a primitive of the GPU, which takes the device first, that meets the rules above."""

    @wraps(function)
    def run(device: Any, *arguments: Any) -> Any:
        def zeros(shape: Shape, like: Array) -> Array:
            array = device.empty(shape, like.dtype)
            array[...] = 0
            return array

        found = _checked(function.__name__, arguments, zeros)
        return function(device, *arguments) if found is None else found

    run.is_guarded = True  # type: ignore[attr-defined]
    return cast(Function, run)


def _zeros(shape: Shape, like: Array) -> Array:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=device(like))


def nothing(primitive: str, arguments: tuple[Any, ...], zeros: Zeros = _zeros) -> Any:
    """Return what a primitive gives where the image or its result has no pixel; None where both have."""
    contract, direction = resolve(primitive)
    if direction is not Direction.GRADIENTS:
        image, *rest = arguments
        shape = contract.result_shape(tuple(image.shape), rest, direction)
        return None if prod(image.shape) and prod(shape) else zeros(shape, image)
    x, u, *rest, wanted = arguments
    if prod(x.shape) and prod(u.shape):
        return None
    likes = [u, x, *(rest[place] for place in contract.differentiated)]
    return tuple(
        zeros(tuple(like.shape), x) if want and like is not None else None
        for like, want in zip(likes, wanted, strict=True)
    )


def _checked(primitive: str, arguments: tuple[Any, ...], zeros: Zeros) -> Any:
    """Return `nothing`; raise IndexError if a pixel of `psf_interpolate` asks for a level that the bank has not."""
    found = nothing(primitive, arguments, zeros)
    contract, direction = resolve(primitive)
    if found is None and any(a.role is Role.LEVELS for a in contract.arguments):
        rest = arguments[2:-1] if direction is Direction.GRADIENTS else arguments[1:]
        named = contract.named(rest)
        _check_levels(primitive, named["index"], int(named["psfs"].shape[1]))
    return found


def _check_levels(primitive: str, index: Array, levels: int) -> None:
    if tracing():
        return
    xp = array_namespace(index)
    low, high = int(xp.min(index)), int(xp.max(index))
    if low < 0 or high > levels - 2:
        raise IndexError(
            f"{primitive}: expected indices of a lower level from 0 to {levels - 2}, for a bank of {levels} levels, "
            f"got {low} to {high}"
        )


def _joined(found: Any, arguments: tuple[Any, ...]) -> Any:
    """Add a sum over no element of every tensor that has a gradient, so that each gets one, of zeros."""
    if is_torch_array(found):
        for value in arguments:
            if is_torch_array(value) and value.is_floating_point():
                found = found + value.reshape(-1)[:0].sum()
    return found
