"""What the row-streaming kernels share: rows read through the boundary rule, and sums over rows."""

from __future__ import annotations

from ctypes import c_char
from typing import Any

import numpy as np

from ....boundary import BOUNDARIES
from ....types import Array
from ...threads import run_tasks
from .compiler import inner_jit, jit, wide_vectors

__all__ = [
    "add_product",
    "aligned_rows",
    "boundary_code",
    "copy_row",
    "flat_planes",
    "fold_line",
    "fold_planes",
    "load_row",
    "load_span",
    "row_strips",
    "shared_batch",
    "source",
    "summed_to",
    "writable",
]

_REFLECT, _SYMMETRIC, _REPLICATE, _CIRCULAR = range(4)


@inner_jit
def aligned_rows(rows: int, width: int, like: Any) -> Any:
    """Return zeros (rows, width or a little more) of the dtype of `like`, each row on a cache line of its own."""
    size = like.itemsize
    stride = 64 // size * ((width * size + 63) // 64)
    raw = np.zeros(rows * stride + 64 // size, dtype=like.dtype)
    start = (64 - raw.ctypes.data % 64) % 64 // size
    return raw[start : start + rows * stride].reshape(rows, stride)


def boundary_code(boundary: str) -> int:
    """Return the number that the kernels know a boundary by."""
    return BOUNDARIES.index(boundary)


@inner_jit
def source(i: int, n: int, boundary: int) -> int:
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


@inner_jit
def copy_row(values: Any, out: Any) -> None:
    """Write a row. An assignment of slices does the same, but compiles a check with its message."""
    for q in range(out.size):
        out[q] = values[q]


@inner_jit
def load_span(x: Any, i: int, first: int, reach: int, boundary: int, out: Any) -> None:
    """Write out.size pixels of row i of the extended plane from column `first`; zero farther off than `reach` px."""
    rows, cols = x.shape
    s = source(i, rows, boundary) if -reach <= i < rows + reach else -1
    if s < 0:
        out[:] = 0
        return
    # Most of a row lies inside of the image and is copied; the rule is asked pixel by pixel for the rim alone.
    line = x[s]
    left, right = min(out.size, max(0, -first)), max(0, min(out.size, cols - first))
    if right > left:
        copy_row(line[first + left : first + right], out[left:right])
    for q in range(left):
        a = source(first + q, cols, boundary) if first + q >= -reach else -1
        out[q] = line[a] if a >= 0 else 0
    for q in range(max(left, right), out.size):
        a = source(first + q, cols, boundary) if first + q < cols + reach else -1
        out[q] = line[a] if a >= 0 else 0


@inner_jit
def load_row(x: Any, i: int, reach: int, boundary: int, out: Any) -> None:
    """Write row i of the extended plane, `reach` pixels wider on both sides, without extending the image."""
    load_span(x, i, -reach, reach, boundary, out[: x.shape[1] + 2 * reach])


@inner_jit
def fold_line(line: Any, before: int, boundary: int, out: Any) -> None:
    """Add an extended row to the image row `out`: every pixel to the one that it is a copy of."""
    cols = out.size
    middle = line[before : before + cols]
    for q in range(cols):
        out[q] += middle[q]
    for q in range(before):
        s = source(q - before, cols, boundary)
        if s >= 0:
            out[s] += line[q]
    for q in range(before + cols, line.size):
        s = source(q - before, cols, boundary)
        if s >= 0:
            out[s] += line[q]


@jit
def _fold_rows(plane: Any, above: int, left: int, boundary: int, x: Any, top: int, bottom: int) -> None:
    """Gather rows top..bottom of the image x (H, W) from its extended plane."""
    rows = x.shape[0]
    for s in range(top, bottom):
        x[s] = 0
        fold_line(plane[s + above], left, boundary, x[s])
        for e in range(above):
            if source(e - above, rows, boundary) == s:
                fold_line(plane[e], left, boundary, x[s])
        for e in range(above + rows, plane.shape[0]):
            if source(e - above, rows, boundary) == s:
                fold_line(plane[e], left, boundary, x[s])


def fold_planes(plane: Array, before: tuple[int, int], after: tuple[int, int], boundary: str) -> Array:
    """Compute `boundary.fold` of planes (N, C, H', W') row by row: each image row is gathered, in parallel."""
    rows, cols = (n - b - a for n, b, a in zip(plane.shape[-2:], before, after, strict=True))
    x, code = np.empty((*plane.shape[:2], rows, cols), dtype=plane.dtype), boundary_code(boundary)

    def work(n: int, c: int, top: int, bottom: int) -> None:
        _fold_rows(plane[n, c], before[0], before[1], code, x[n, c], top, bottom)

    strips = row_strips(rows, max(64, -(-rows // 8)))
    run_tasks(work, [(n, c, *s) for n in range(len(plane)) for c in range(plane.shape[1]) for s in strips])
    return x


@inner_jit
def add_product(total: Any, weight: Any, values: Any) -> None:
    """Add ``weight . values`` to a row."""
    wide_vectors()
    for q in range(total.size):
        total[q] += weight[q] * values[q]


def writable(array: Array) -> Array:
    """Show a read-only contiguous array as a writable one, on the same memory; the caller keeps the array.

    No kernel writes to what it is given, but the compiler takes the two for different types and would compile again.
    """
    if array.flags.writeable or array.size == 0:
        return array
    memory = (c_char * array.nbytes).from_address(array.ctypes.data)
    return np.ndarray(array.shape, array.dtype, memory)


def flat_planes(x: Array) -> Any:
    """Return an image (*N, C, H, W) as contiguous (N, C, H, W)."""
    return writable(np.ascontiguousarray(x)).reshape(-1, *x.shape[-3:])


def summed_to(gradient: Array, shape: tuple[int, ...], lead: tuple[int, ...]) -> Array:
    """Return the gradient of maps, (1 or N, ...) as `shared_batch` laid them out, in the shape that they came in."""
    kept = gradient.shape[1:]
    outer = shape[: len(shape) - len(kept)]
    if gradient.size == 0:
        return np.zeros(shape, dtype=gradient.dtype)
    if len(gradient) > 1 or all(n == 1 for n in lead):
        gradient = gradient.reshape(*lead, *kept)
        axes = tuple(range(len(lead) - len(outer)))
        gradient = gradient.sum(axis=axes) if axes else gradient
        shared = tuple(i for i, n in enumerate(outer) if n == 1 and gradient.shape[i] > 1)
        gradient = gradient.sum(axis=shared, keepdims=True) if shared else gradient
    return gradient.reshape(shape)


def shared_batch(maps: Array, lead: tuple[int, ...], axes: int) -> Array:
    """Return maps as contiguous (1 or N, ...): one item if all images share them, else one for each flat image."""
    kept = maps.shape[-axes:]
    if not all(n == 1 for n in maps.shape[:-axes]):
        maps = np.broadcast_to(maps, (*lead, *kept))
    return writable(np.ascontiguousarray(maps)).reshape(-1, *kept)


def row_strips(rows: int, height: int) -> list[tuple[int, int]]:
    """Cut `rows` into strips of `height` rows, the last one shorter."""
    return [(start, min(rows, start + height)) for start in range(0, rows, height)]
