"""`psf_interpolate` on the CPU: each pixel pays for its own PSF's area only.

A level is computed on the part of a row segment where some pixel needs it, then weighted: two levels for each pixel
where the defocus varies slowly. Cost: 2 V C times the area of the pixel's PSF.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boundary import extend, fold
from ..types import Array
from .cpu_rows import flat_planes, jit, row_strips, shared_batch
from .registry import register
from .threads import run_tasks

__all__ = ["psf_interpolate", "psf_interpolate_adjoint"]


def _spans(psfs: NDArray[Any]) -> NDArray[np.int64]:
    """First and one-past-last non-zero column of every kernel row, over views and colours: (L, h, 2)."""
    used = (psfs != 0).any(axis=(0, 2))
    width = used.shape[-1]
    first = np.where(used.any(axis=-1), used.argmax(axis=-1), width)
    last = np.where(used.any(axis=-1), width - used[..., ::-1].argmax(axis=-1), 0)
    return np.stack([first, last], axis=-1).astype(np.int64)


WIDE = 32
"""Runs are rounded up to a multiple of this many pixels: the compiler's vector loop has no remainder then."""

SEGMENT = 128
"""Pixels of a row that are handled together: long enough for the vector units, short enough to hold few levels."""


@jit
def _segment_weights(index: Any, fraction: Any, row: int, start: int, stop: int, level: int, weight: Any) -> Any:
    """Fill weight[:last - first] with the weights of one level on a row segment; return (first, last)."""
    first, last = stop, start
    for q in range(start, stop):
        offset = level - index[row, q]
        if (offset == 0 and fraction[row, q] != 1) or (offset == 1 and fraction[row, q] != 0):
            if first == stop:
                first = q
            last = q + 1
    for q in range(first, last):
        offset = level - index[row, q]
        weight[q - first] = 0
        if offset == 0:
            weight[q - first] = 1 - fraction[row, q]
        elif offset == 1:
            weight[q - first] = fraction[row, q]
    return first, last


@jit
def _add_filtered(out: Any, line: Any, taps: Any) -> None:
    """Add ``sum_j taps[j] line[q + j]`` to out[q], four taps at a time so that `out` is read and written less.

    Unsigned indices: the compiler need not ask whether one is negative, and no slices are made.
    """
    n, m, j, four = np.uint64(out.size), np.uint64(taps.size), np.uint64(0), np.uint64(4)
    one = np.uint64(1)
    while j + four <= m:
        b = j + one
        c = b + one
        d = c + one
        ta, tb, tc, td = taps[j], taps[b], taps[c], taps[d]
        for q in range(n):
            out[q] += (ta * line[j + q] + tb * line[b + q]) + (tc * line[c + q] + td * line[d + q])
        j += four
    while j < m:
        ta = taps[j]
        for q in range(n):
            out[q] += ta * line[j + q]
        j += one


@jit
def _level_range(index: Any, row: int, start: int, stop: int) -> Any:
    low = high = index[row, start]
    for q in range(start, stop):
        low, high = min(low, index[row, q]), max(high, index[row, q])
    return low, high + 2


@jit
def _interpolate_rows(
    plane: Any, psfs: Any, spans: Any, index: Any, fraction: Any, y: Any, top: int, bottom: int
) -> None:
    """Write rows top..bottom of y (N, V C, H, W) from the extended plane (N, C, H + h - 1, W + w - 1).

    psfs are mirrored, so that sums run forward through memory. A level is computed on the part of a segment where
    some pixel needs it, then weighted.
    """
    views, _, own, height, _ = psfs.shape
    batch, channels, cols = plane.shape[0], plane.shape[1], y.shape[3]
    total = np.empty(SEGMENT, dtype=plane.dtype)
    weight = np.empty(SEGMENT, dtype=plane.dtype)
    for n in range(batch):
        m = n if index.shape[0] == batch else 0
        for r in range(top, bottom):
            for start in range(0, cols, SEGMENT):
                stop = min(cols, start + SEGMENT)
                low, high = _level_range(index[m], r, start, stop)
                for level in range(low, high):
                    first, last = _segment_weights(index[m], fraction[m], r, start, stop, level, weight)
                    if last <= first:
                        continue
                    part = total[: WIDE * ((last - first + WIDE - 1) // WIDE)]
                    for v in range(views):
                        for c in range(channels):
                            psf = psfs[v, level, c if own > 1 else 0]
                            part[:] = 0
                            for i in range(height):
                                a, b = spans[level, i, 0], spans[level, i, 1]
                                if a < b:
                                    _add_filtered(part, plane[n, c, r + i, first + a :], psf[i, a:b])
                            out = y[n, v * channels + c, r, first:last]
                            for q in range(out.size):
                                out[q] += weight[q] * part[q]


@jit
def _interpolate_rows_adjoint(
    y: Any, psfs: Any, spans: Any, index: Any, fraction: Any, plane: Any, top: int, bottom: int
) -> None:
    """Add what rows top..bottom of y send back to rows top..bottom + h - 1 of the extended plane.

    psfs are not mirrored here; `spans` belong to them.
    """
    views, _, own, height, width = psfs.shape
    batch, channels, cols = plane.shape[0], plane.shape[1], y.shape[3]
    padded = np.zeros(SEGMENT + 3 * width + 2 * WIDE, dtype=plane.dtype)
    weight = np.empty(SEGMENT, dtype=plane.dtype)
    for n in range(batch):
        m = n if index.shape[0] == batch else 0
        for r in range(top, bottom):
            for start in range(0, cols, SEGMENT):
                stop = min(cols, start + SEGMENT)
                low, high = _level_range(index[m], r, start, stop)
                for level in range(low, high):
                    first, last = _segment_weights(index[m], fraction[m], r, start, stop, level, weight)
                    if last <= first:
                        continue
                    for v in range(views):
                        for c in range(channels):
                            psf = psfs[v, level, c if own > 1 else 0]
                            padded[width:] = 0
                            given = y[n, v * channels + c, r, first:last]
                            for q in range(given.size):
                                padded[width + q] = weight[q] * given[q]
                            for i in range(height):
                                a, b = spans[level, i, 0], spans[level, i, 1]
                                if a < b:
                                    reach = b - a - 1
                                    left = first + width - b
                                    grown = WIDE * ((last - first + reach + WIDE - 1) // WIDE)
                                    out = plane[n, c, r + height - 1 - i, left : left + grown]
                                    _add_filtered(out, padded[width - reach :], psf[i, a:b])


def _prepared(psfs: Array, index: Array, fraction: Array, lead: tuple[int, ...]) -> tuple[Any, Any, Any, Any]:
    """Make the kernels contiguous, find their spans and flatten the batch of the maps."""
    kernels = np.ascontiguousarray(psfs)
    return kernels, _spans(kernels), shared_batch(index, lead, 2), shared_batch(fraction, lead, 2)


@register("psf_interpolate", namespace="numpy")
def psf_interpolate(x: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """See `reference.psf_interpolate`. Cost: V C times the area of each pixel's own PSF."""
    lead, (channels, rows, cols) = x.shape[:-3], x.shape[-3:]
    kernels, spans, located, weight = _prepared(psfs[..., ::-1, ::-1], index, fraction, lead)
    h, w = psfs.shape[-2:]
    plane = extend(x, (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2), boundary)
    plane = flat_planes(np.pad(plane, [(0, 0)] * (plane.ndim - 1) + [(0, WIDE)]))
    y = np.zeros((plane.shape[0], psfs.shape[0] * channels, rows, cols), dtype=x.dtype)

    def work(top: int, bottom: int) -> None:
        _interpolate_rows(plane, kernels, spans, located, weight, y, top, bottom)

    run_tasks(work, row_strips(rows, 8))
    return y.reshape(*lead, *y.shape[1:])


@register("psf_interpolate_adjoint", namespace="numpy")
def psf_interpolate_adjoint(y: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """See `reference.psf_interpolate_adjoint`.

    Strips are as high as a PSF, so that every second one can run at the same time without two threads adding to one
    row; the order of additions, and so the result, does not depend on the number of threads.
    """
    lead, (views, (rows, cols)) = y.shape[:-3], (psfs.shape[0], y.shape[-2:])
    kernels, spans, located, weight = _prepared(psfs, index, fraction, lead)
    h, w = psfs.shape[-2:]
    flat = flat_planes(y)
    plane = np.zeros((flat.shape[0], y.shape[-3] // views, rows + h - 1, cols + w - 1 + WIDE), dtype=y.dtype)

    def work(top: int, bottom: int) -> None:
        _interpolate_rows_adjoint(flat, kernels, spans, located, weight, plane, top, bottom)

    strips = row_strips(rows, max(8, h - 1))
    run_tasks(work, strips[::2])
    run_tasks(work, strips[1::2])
    x = fold(plane[..., :-WIDE], (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2), boundary)
    return x.reshape(*lead, *x.shape[1:])
