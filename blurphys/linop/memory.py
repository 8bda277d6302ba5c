"""What to say when the memory does not suffice."""

from __future__ import annotations

import os
import sys
from math import prod
from pathlib import Path

from array_api_compat import is_torch_array

from ..files.stored import stand_in
from ..types import Array
from .base import LinearOperator

__all__ = ["advice", "available"]

_TEXTS = ("can't allocate memory", "out of memory", "not enough memory")


def _is_shortage(error: Exception) -> bool:
    """Whether an error means that memory is short: NumPy and CuPy raise MemoryErrors, torch RuntimeErrors."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _TEXTS)


def available(x: Array) -> int | None:
    """Return the bytes that are free where `x` lives; None where the system does not tell."""
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


def advice(A: LinearOperator, x: Array, method: str, error: Exception) -> str | None:
    """Return the sentence that helps if `error` is a shortage of memory and tiles would fit, else None.

    Parameters
    ----------
    A : LinearOperator
        What was applied.
    x : array
        To what.
    method : str
        "forward" or "adjoint".
    error : Exception
        What was raised.
    """
    from .windows import itemsize, smallest_memory

    if not _is_shortage(error):
        return None
    x = stand_in(x)
    lead = tuple(x.shape[:-3])
    try:
        least = smallest_memory(A, itemsize(x), lead)
    except TypeError:  # not an operator that tiles can cut
        return None
    shape = A.out_shape if method == "forward" else A.in_shape
    result = prod((*lead, *shape)) * itemsize(x)
    free = available(x)
    if free is not None and least > free:
        return None
    size = least if free is None else max(least, (free - result) / 2)
    known = "" if free is None else f" with {free:.2g} bytes available"
    advised = next(f for f in (float(f"{size:.1e}"), float(f"{1.05 * size:.1e}")) if f >= least)
    return (
        f"{type(A).__name__}.{method}: expected memory for an image of {tuple(x.shape)} in one piece, got none{known}; "
        f"bp.tiled(A, max_memory={advised:.2g}) works in tiles that fit, and its {method}_into can write the "
        f"{result:.2g} bytes of the result to a file"
    )
