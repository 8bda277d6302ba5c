"""What the row-streaming kernels share: rows read through the boundary rule, and sums over rows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ..boundary import BOUNDARIES
from ..types import Array

__all__ = ["add_product", "boundary_code", "flat_planes", "jit", "load_row", "row_strips", "shared_batch"]

_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}

_REFLECT, _SYMMETRIC, _REPLICATE, _CIRCULAR = range(4)


def jit(function: Any) -> Any:
    """Compile a kernel on first use; cached on disk, unless no folder can be written to (a read-only installation)."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**_OPTIONS)(function)


def boundary_code(boundary: str) -> int:
    """Return the number that the kernels know a boundary by."""
    return BOUNDARIES.index(boundary)


@jit
def _source(i: int, n: int, boundary: int) -> int:
    """Pixel that pixel i of the extended axis is a copy of; -1 where it is zero."""
    if 0 <= i < n:
        return i
    if boundary == _REFLECT:
        return -i if i < 0 else 2 * (n - 1) - i
    if boundary == _SYMMETRIC:
        return -1 - i if i < 0 else 2 * n - 1 - i
    if boundary == _REPLICATE:
        return 0 if i < 0 else n - 1
    if boundary == _CIRCULAR:
        return i % n
    return -1


@jit
def load_row(x: Any, i: int, reach: int, boundary: int, out: Any) -> None:
    """Write row i of the extended plane, `reach` pixels wider on both sides, without extending the image."""
    rows, cols = x.shape
    s = _source(i, rows, boundary)
    if s < 0:
        out[: cols + 2 * reach] = 0
        return
    line = x[s]
    for q in range(reach):
        a = _source(q - reach, cols, boundary)
        b = _source(cols + q, cols, boundary)
        out[q] = line[a] if a >= 0 else 0
        out[reach + cols + q] = line[b] if b >= 0 else 0
    out[reach : reach + cols] = line


@jit
def add_product(total: Any, weight: Any, values: Any) -> None:
    """Add ``weight . values`` to a row."""
    for q in range(total.size):
        total[q] += weight[q] * values[q]


def flat_planes(x: Array) -> Any:
    """Return an image (*N, C, H, W) as contiguous (N, C, H, W)."""
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-3:])


def shared_batch(maps: Array, lead: tuple[int, ...], axes: int) -> Array:
    """Return maps as contiguous (1 or N, ...): one item if all images share them, else one for each flat image."""
    kept = maps.shape[-axes:]
    if not all(n == 1 for n in maps.shape[:-axes]):
        maps = np.broadcast_to(maps, (*lead, *kept))
    return np.ascontiguousarray(maps).reshape(-1, *kept)


def row_strips(rows: int, height: int) -> list[tuple[int, int]]:
    """Cut `rows` into strips of `height` rows, the last one shorter."""
    return [(start, min(rows, start + height)) for start in range(0, rows, height)]
