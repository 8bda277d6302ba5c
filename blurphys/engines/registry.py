"""Which function computes a primitive for which kind of array: the whole backend story.

Operators are written once, on primitives. A primitive is a whole mixture (``docs/adr/0002``), because
fusing a mixture is where the time is. `reference.py` has every primitive for every array namespace and is the ground
truth; an engine registers a faster function for one namespace, equal to the reference to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module

from array_api_compat import is_cupy_array, is_numpy_array, is_torch_array

from ..types import Array
from . import reference
from .guards import guarded

__all__ = ["cpu_engine_missing", "kernel", "lookup", "register"]

Kernel = Callable[..., Array]

_KERNELS: dict[tuple[str, str], Kernel] = {}


def register(primitive: str, *, namespace: str) -> Callable[[Kernel], Kernel]:
    """Decorate the function that computes `primitive` for arrays of `namespace` (``"numpy"``)."""

    def add(function: Kernel) -> Kernel:
        _KERNELS[primitive, namespace] = guarded(function, primitive)
        return function

    return add


@cache
def _load(namespace: str) -> None:
    """Import the engine of a namespace on first use; Numba takes a second to import and `import blurphys` must not."""
    if namespace == "cupy":
        import_module("blurphys.engines.cuda")
    if namespace == "numpy":
        reason = cpu_engine_missing()
        if reason:
            logging.getLogger("blurphys").warning("no compiled CPU engine (%s): the slower reference serves", reason)


@cache
def cpu_engine_missing() -> str:
    """Return why NumPy arrays and CPU tensors have no compiled engine in this process; empty if they have."""
    try:
        if import_module("numba").config.DISABLE_JIT:
            return "NUMBA_DISABLE_JIT is set"
        import_module("blurphys.engines.cpu")
    except Exception as error:  # a broken compiler raises anything, OSError among it
        for key in [key for key in _KERNELS if key[1] == "numpy"]:
            del _KERNELS[key]
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


def lookup(primitive: str, namespace: str) -> Kernel | None:
    """Return the function that an engine registered, or None."""
    _load(namespace)
    return _KERNELS.get((primitive, namespace))


def kernel(primitive: str, x: Array) -> Kernel:
    """Return the function that computes `primitive` where `x` lives; the reference where no engine has it.

    Parameters
    ----------
    primitive : str
        ``gaussian_mixture``, ``recursive_mixture``, ``psf_gather``, ``psf_scatter``, ``psf_interpolate``, each also
        with the suffix ``_adjoint``.
    x : array
        The image that it will be applied to.
    """
    if is_torch_array(x):
        from .autograd import torch_kernel

        return torch_kernel(primitive, x)
    namespace = "numpy" if is_numpy_array(x) else "cupy" if is_cupy_array(x) else None
    found = lookup(primitive, namespace) if namespace else None
    return found if found is not None else getattr(reference, primitive)
