"""Advice when memory runs out while an operator is applied: how large tiles may be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod
from pathlib import Path

from array_api_compat import is_torch_array

from ..files.stored import stand_in
from ..inputs import tracing
from ..types import Array
from .base import LinearOperator
from .windows import itemsize, smallest_memory

__all__ = ["available", "memory_advice"]

_TEXTS = ("can't allocate memory", "out of memory", "not enough memory")


def _is_shortage(error: Exception) -> bool:
    """Whether an error means that memory ran out: NumPy and CuPy raise MemoryError, torch RuntimeError."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _TEXTS)


def available(x: Array) -> int | None:
    """Return the number of free bytes on the device of `x`; None if the system does not report it."""
    if is_torch_array(x) and x.device.type == "cuda":
        free, _ = sys.modules["torch"].cuda.mem_get_info(x.device)
        return int(free)
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(x, cupy.ndarray):
        return int(x.device.mem_info[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
        return int(os.sysconf("SC_AVPHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None


def memory_advice(A: LinearOperator, x: Array, method: str) -> AbstractContextManager[None]:
    """Turn an out-of-memory error while `A` is applied into a MemoryError that says which tiles would fit.

    Other errors are not changed, nor is this one if no tile would fit or the operator cannot be tiled.

    Parameters
    ----------
    A : LinearOperator
        The operator that is applied.
    x : array
        Its argument.
    method : str
        "forward" or "adjoint".
    """
    return nullcontext() if tracing() else _advising(A, x, method)


@contextmanager
def _advising(A: LinearOperator, x: Array, method: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        sentence = _advice(A, stand_in(x), method) if _is_shortage(error) else None
        if sentence is None:
            raise
        raise MemoryError(sentence) from error


def _advice(A: LinearOperator, x: Array, method: str) -> str | None:
    """Say which `max_memory` would work for `tiled`; None if none would."""
    lead = tuple(x.shape[:-3])
    try:
        least = smallest_memory(A, itemsize(x), lead)
    except TypeError:  # an operator without windows
        return None
    shape = A.out_shape if method == "forward" else A.in_shape
    result = prod((*lead, *shape)) * itemsize(x)
    free = available(x)
    if free is not None and least > free:
        return None
    # Half of what is left beside the result, to two digits; rounded up if rounding down would be too little.
    size = least if free is None else max(least, (free - result) / 2)
    advised = next(f for f in (float(f"{size:.1e}"), float(f"{1.05 * size:.1e}")) if f >= least)
    known = "" if free is None else f" with {free:.2g} bytes available"
    return (
        f"{type(A).__name__}.{method}: expected memory for an image of {tuple(x.shape)} in one piece, ran out{known}; "
        f"bp.tiled(A, max_memory={advised:.2g}) works in tiles that fit, and its {method}_into can write the "
        f"{result:.2g} bytes of the result to a file"
    )
