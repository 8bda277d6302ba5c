"""Which function computes a primitive for which kind of array: the whole backend story.

Operators are written once, on primitives. A primitive is a whole mixture (``docs/adr/0002``), because
fusing a mixture is where the time is. `reference.py` has every primitive for every array namespace and is the ground
truth; an engine registers a faster function for one namespace, equal to the reference to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from array_api_compat import is_numpy_array, is_torch_array

from ..types import Array

__all__ = ["kernel", "register"]

Kernel = Callable[..., Array]

_KERNELS: dict[tuple[str, str], Kernel] = {}


def register(primitive: str, *, namespace: str) -> Callable[[Kernel], Kernel]:
    """Decorate the function that computes `primitive` for arrays of `namespace` (``"numpy"``)."""

    def add(function: Kernel) -> Kernel:
        _KERNELS[primitive, namespace] = function
        return function

    return add


@cache
def _load(namespace: str) -> None:
    """Import the engine of a namespace on first use; Numba takes a second to import and `import blurphys` must not."""
    if namespace == "numpy":
        try:
            import_module("blurphys.engines.cpu")
        except ImportError as error:
            logging.getLogger("blurphys").warning("no compiled CPU engine (%s): the slower reference serves", error)


def _lookup(primitive: str, namespace: str) -> Kernel | None:
    _load(namespace)
    return _KERNELS.get((primitive, namespace))


def _tensors(values: Any) -> Iterator[Any]:
    """Walk over the tensors among the arguments of a primitive; taps are nested lists."""
    for value in values:
        if is_torch_array(value):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _as_numpy(value: Any) -> Any:
    """Show tensors as NumPy arrays on the same memory."""
    if is_torch_array(value):
        return value.detach().numpy()
    return [_as_numpy(v) for v in value] if isinstance(value, list | tuple) else value


def _only_values(tensors: Iterator[Any]) -> bool:
    """Whether plain CPU tensors are asked for values alone: nothing records, traces or transforms the computation."""
    import torch
    from torch.autograd import forward_ad

    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    recording = torch.is_grad_enabled()
    return all(
        type(t) in (torch.Tensor, torch.nn.Parameter) and t.device.type == "cpu" and not (recording and t.requires_grad)
        for t in tensors
    )


@cache
def _torch_kernel(primitive: str) -> Kernel:
    """Return a primitive for tensors: the NumPy engine on one memory where values are enough, or the reference."""
    from . import reference

    plain: Kernel = getattr(reference, primitive)

    def run(*arguments: Any) -> Array:
        fast = _lookup(primitive, "numpy") if _only_values(_tensors(arguments)) else None
        if fast is None:
            return plain(*arguments)
        import torch

        return torch.from_numpy(fast(*[_as_numpy(a) for a in arguments]))

    return run


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
    from . import reference

    if is_torch_array(x):
        return _torch_kernel(primitive)
    found = _lookup(primitive, "numpy") if is_numpy_array(x) else None
    return found if found is not None else getattr(reference, primitive)
