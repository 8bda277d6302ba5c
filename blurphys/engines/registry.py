"""Which function computes a primitive for which kind of array: a table that the engines fill."""

from __future__ import annotations

from collections.abc import Callable

from ..types import Array
from .guards import guarded
from .primitives import conforms

__all__ = ["Kernel", "forget", "lookup", "register"]

Kernel = Callable[..., Array]

_KERNELS: dict[tuple[str, str], Kernel] = {}


def register(primitive: str, *, namespace: str) -> Callable[[Kernel], Kernel]:
    """Decorate the function that computes `primitive` for arrays of `namespace`, ``"numpy"`` or ``"cupy"``.

    Raises
    ------
    TypeError
        If its parameters are not those of the primitive.
    """

    def add(function: Kernel) -> Kernel:
        if not conforms(function, primitive):
            raise TypeError(f"{function.__qualname__}: expected the arguments of {primitive} in their order")
        _KERNELS[primitive, namespace] = guarded(function, primitive)
        return function

    return add


def lookup(primitive: str, namespace: str) -> Kernel | None:
    """Return the function that a loaded engine registered, or None; see `loading.fast_kernel`."""
    return _KERNELS.get((primitive, namespace))


def forget(namespace: str) -> None:
    """Remove what was registered for a namespace, where an engine turns out not to work."""
    for key in [key for key in _KERNELS if key[1] == namespace]:
        del _KERNELS[key]
