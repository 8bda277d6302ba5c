"""Chooses the engine that computes a primitive for an array: the whole backend story.

Operators are written once, on primitives. A primitive is a whole mixture (``docs/adr/0002``), because
fusing a mixture is where the time is. `reference` has every primitive for every array namespace and is the ground
truth; an engine registers a faster function for one namespace, equal to the reference to rounding.
"""

from __future__ import annotations

from functools import partial

from array_api_compat import is_cupy_array, is_numpy_array, is_torch_array

from ..types import Array
from . import reference
from .loading import fast_kernel
from .reference.layered import COMPOSED
from .registry import Kernel

__all__ = ["kernel"]


def kernel(primitive: str, x: Array) -> Kernel:
    """Return the function that computes `primitive` where `x` lives; the reference where no engine has it.

    Parameters
    ----------
    primitive : str
        A name in `primitives.PRIMITIVES`, or one with the ending ``_adjoint``.
    x : array
        The image that it will be applied to.
    """
    if is_torch_array(x) and primitive not in COMPOSED:
        from .torch_ops.choice import torch_kernel

        return torch_kernel(primitive, x)
    namespace = "numpy" if is_numpy_array(x) else "cupy" if is_cupy_array(x) else None
    found = fast_kernel(primitive, namespace) if namespace else None
    if found is not None:
        return found
    if primitive in COMPOSED:  # step by step, each in the engine that has it
        return partial(COMPOSED[primitive], kernel)
    return getattr(reference, primitive)
