"""The GPU engine: CUDA C kernels through CuPy, for CuPy arrays and, without a copy, for torch tensors on a GPU.

`gaussian`, `recursive` and `psf` have the primitives for any `Device`; here are the two devices that
reach a GPU, the registration for CuPy arrays, and `torch_call` for tensors. Nothing here is imported before an array on
a GPU is seen, and CuPy not before a kernel runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from ...types import Array, Shape
from .. import reference
from ..guards import nothing
from ..primitives import FUSED, resolve
from ..registry import register
from . import gaussian, psf, recursive
from .launch import THREADS, DoesNotFitError, Program

__all__ = ["FUNCTIONS", "CupyDevice", "TorchDevice", "available", "diagnosis", "torch_call"]

_HOSTS = {"gaussian_mixture": gaussian, "recursive_mixture": recursive}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(_HOSTS.get(primitive.name, psf), name) for primitive in FUSED.values() for name in primitive.names
}
"""Name of a function of a primitive to the host that computes it, which takes a device before the arguments."""

OPTIONS = ("--std=c++17",)
"""Options of the compiler, NVRTC."""

STATIC_SHARED = 48 * 1024
"""Shared memory that a block can have without asking the driver, bytes."""


@cache
def _function(program: Program, kernel: str, device: int) -> Any:
    """Return a compiled kernel; CuPy keeps what it compiles on disk."""
    import cupy

    return cupy.RawModule(code=program.source, options=OPTIONS).get_function(kernel)


@cache
def _shared_limit(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


class CupyDevice:
    """CuPy's current device and stream, with memory from CuPy's pool."""

    @property
    def xp(self) -> Any:
        return import_module("cupy")

    @property
    def shared_limit(self) -> int:
        return _shared_limit(self.xp.cuda.Device().id)

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return self.xp.empty(shape, dtype)

    def launch(self, program: Program, kernel: str, grid: Shape, shared: int, arguments: Sequence[Any]) -> None:
        function = _function(program, kernel, self.xp.cuda.Device().id)
        if shared > STATIC_SHARED and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, (THREADS, 1, 1), tuple(arguments), shared_mem=shared)


class TorchDevice(CupyDevice):
    """The same with memory from torch's allocator, so that there is one pool and torch counts what is used."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def empty(self, shape: Shape, dtype: Any) -> Array:
        import torch

        tensor = torch.empty(shape, dtype=getattr(torch, np.dtype(dtype).name), device=self.device)
        return self.xp.from_dlpack(tensor)


def _require_real(primitive: str, arguments: Sequence[Any]) -> None:
    """Raise TypeError unless all floating arrays have one dtype, float32 or float64."""
    kinds = {np.dtype(a.dtype).name for a in arguments if hasattr(a, "dtype") and np.dtype(a.dtype).kind in "fc"}
    image = np.dtype(arguments[0].dtype).name
    if image not in ("float32", "float64") or kinds != {image}:
        raise TypeError(
            f"{primitive}: expected an image of float32 or float64 on the GPU and everything else of the same dtype, "
            f"got {' and '.join(sorted(kinds | {image}))}; is an array cast to half precision or left in double?"
        )


def _require_one_device(primitive: str, image: Array, arguments: Sequence[Any]) -> None:
    """Raise ValueError unless all arrays are where the image is."""
    elsewhere = sorted({str(a.device) for a in arguments if hasattr(a, "device") and a.device != image.device})
    if elsewhere:
        raise ValueError(
            f"{primitive}: expected all arrays on {image.device}, where the image is, got {', '.join(elsewhere)}; "
            f"was a map left behind on another device?"
        )


def _on_cupy(primitive: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a primitive for CuPy arrays: on the device of the image, on CuPy's current stream."""

    @wraps(function)
    def run(image: Array, *arguments: Any) -> Any:
        _require_real(primitive, (image, *arguments))
        _require_one_device(primitive, image, arguments)
        with image.device:
            return function(CupyDevice(), image, *arguments)

    signature = inspect.signature(function)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])  # type: ignore[attr-defined]
    return run


for _name, _host in FUNCTIONS.items():
    register(_name, namespace="cupy")(_on_cupy(_name, _host))


def _torch_reference_gradients(primitive: str, x: Any, u: Any, *rest: Any) -> tuple[Any, ...]:
    """Return what a ``_gradients`` primitive returns, by recording the reference: for kernels too large for a tile.

    In a thread of its own: the inside of a torch operator, where this is called, records nothing.
    """
    import torch

    stream = torch.cuda.current_stream(x.device) if x.is_cuda else None
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_recorded_gradients, primitive, stream, x, u, *rest).result()


def _recorded_gradients(primitive: str, stream: Any, x: Any, u: Any, *rest: Any) -> tuple[Any, ...]:
    import torch

    *arguments, wanted = rest
    contract, _ = resolve(primitive)
    leaves = [x, *arguments]
    places = [0, *(1 + place for place in contract.differentiated)]
    with torch.cuda.stream(stream), torch.enable_grad():
        for place in places:
            if leaves[place] is not None:
                leaves[place] = leaves[place].detach().requires_grad_()
        y = getattr(reference, contract.name)(*leaves)
        own = [leaves[place] for place in places]
        chosen = [a for a, want in zip(own, wanted[1:], strict=True) if want and a is not None]
        found = iter(torch.autograd.grad(y, chosen, u) if chosen else ())
    gradients = [next(found) if want and a is not None else None for a, want in zip(own, wanted[1:], strict=True)]
    return (y.detach() if wanted[0] else None, *gradients)


def torch_call(primitive: str, *arguments: Any) -> Any:
    """Compute a primitive for torch tensors on a GPU, on torch's current stream, without copying them.

    Parameters
    ----------
    primitive : str
        The name of one of `FUNCTIONS`.
    *arguments
        As in the contract of the primitive, tensors where it has arrays. Tensors that are not contiguous are made so.

    Returns
    -------
    tensor or tuple of (tensor or None)
        Records nothing for autograd.

    Raises
    ------
    ValueError
        If the tensors lie on different devices.
    TypeError
        If the dtype is not float32 or float64, or not one.
    """
    import torch

    _require_one_device(primitive, arguments[0], arguments[1:])
    empty = nothing(primitive, arguments)
    if empty is not None:
        return empty
    cupy, place = import_module("cupy"), arguments[0].device
    pointer = torch.cuda.current_stream(place).cuda_stream
    stream = cupy.cuda.ExternalStream(pointer, place.index) if pointer else cupy.cuda.Stream.null
    with torch.cuda.device(place), cupy.cuda.Device(place.index), stream:
        given = [cupy.from_dlpack(a.detach().contiguous()) if isinstance(a, torch.Tensor) else a for a in arguments]
        _require_real(primitive, given)
        try:
            found = FUNCTIONS[primitive](TorchDevice(place), *given)
        except DoesNotFitError:
            return _torch_reference_gradients(primitive, *arguments)
        if isinstance(found, tuple):
            return tuple(None if f is None else torch.from_dlpack(f) for f in found)
        return torch.from_dlpack(found)


def diagnosis(kind: Literal["cupy", "torch"]) -> str:
    """Say in a sentence why the engine cannot serve CuPy arrays or torch tensors here; empty if it can.

    CuPy must be installed and import, see a GPU, and for tensors be built for the same major version of CUDA as torch.
    """
    if find_spec("cupy") is None:
        return "CuPy is not installed; install cupy-cuda12x or cupy-cuda13x, whichever CUDA torch is built for"
    try:
        cupy = import_module("cupy")
        major = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
    except Exception as error:  # a wheel for another CUDA fails in many ways
        return f"CuPy is installed but does not work: {error}"
    if kind == "torch":
        import torch

        if torch.version.cuda is None:
            return "torch is built without CUDA; install a build for a GPU"
        if int(torch.version.cuda.split(".")[0]) != major:
            return (
                f"CuPy is built for CUDA {major} and torch for CUDA {torch.version.cuda}; install "
                f"cupy-cuda{torch.version.cuda.split('.')[0]}x instead"
            )
    try:
        seen = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:
        return f"CuPy sees no GPU: {error}"
    return "" if seen else "CuPy sees no GPU"


@cache
def available(kind: Literal["cupy", "torch"]) -> bool:
    """Whether the engine can serve CuPy arrays or torch tensors on a GPU in this process; asked once."""
    return not diagnosis(kind)
