"""`gaussian_mixture` on the CPU: vertical symmetric sums once per row for all K kernels, then row filters.

Cost: about 3 multiply-adds per pixel for each tap of the one-sided supports, summed over the kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..boundary import fold
from ..types import Array, Taps
from . import reference
from .cpu_rows import add_product, boundary_code, flat_planes, jit, load_row, row_strips, shared_batch
from .registry import register
from .threads import run_tasks, thread_count

__all__ = ["gaussian_mixture", "gaussian_mixture_adjoint"]

BLOCK = 512
"""Columns handled together, so that the sums of all offsets stay in the first-level cache."""


@jit
def _add_rows(out: Any, rows: Any, low: int, taps: Any, half: int) -> None:
    """Add ``sum_t taps[t] rows[t, low:]`` for t = 1..half to a row, four at a time."""
    n, t = out.size, 1
    while t + 3 <= half:
        a, b, c, d = (
            rows[t, low : low + n],
            rows[t + 1, low : low + n],
            rows[t + 2, low : low + n],
            rows[t + 3, low : low + n],
        )
        ta, tb, tc, td = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
        for q in range(n):
            out[q] += (ta * a[q] + tb * b[q]) + (tc * c[q] + td * d[q])
        t += 4
    while t <= half:
        a, ta = rows[t, low : low + n], taps[t]
        for q in range(n):
            out[q] += ta * a[q]
        t += 1


@jit
def _filter_symmetric(line: Any, taps: Any, half: int, out: Any) -> None:
    """Write ``out[q] = sum_t taps[|t|] line[q + half + t]``; line is 2 half longer than out."""
    n, centre = out.size, taps[0]
    middle = line[half : half + n]
    for q in range(n):
        out[q] = centre * middle[q]
    t = 1
    while t + 1 <= half:
        a, b = line[half - t : half - t + n], line[half + t : half + t + n]
        c, d = line[half - t - 1 : half - t - 1 + n], line[half + t + 1 : half + t + 1 + n]
        ta, tb = taps[t], taps[t + 1]
        for q in range(n):
            out[q] += ta * (a[q] + b[q]) + tb * (c[q] + d[q])
        t += 2
    if t <= half:
        a, b, ta = line[half - t : half - t + n], line[half + t : half + t + n], taps[t]
        for q in range(n):
            out[q] += ta * (a[q] + b[q])


@jit
def _forward_strip(x: Any, maps: Any, taps: Any, halves: Any, boundary: int, y: Any, top: int, bottom: int) -> None:
    """Write rows top..bottom of one plane y (H, W); maps (K, H, W), one-sided taps (K, h + 1)."""
    kernels, h, cols = maps.shape[0], taps.shape[1] - 1, x.shape[1]
    size = 2 * h + 1
    ring = np.empty((size, cols + 2 * h), dtype=x.dtype)
    sums = np.empty((h + 1, BLOCK + 2 * h), dtype=x.dtype)
    v = np.empty(BLOCK + 2 * h, dtype=x.dtype)
    s = np.empty(BLOCK, dtype=x.dtype)
    for i in range(top - h, top + h):
        load_row(x, i, h, boundary, ring[i % size])
    for r in range(top, bottom):
        load_row(x, r + h, h, boundary, ring[(r + h) % size])
        y[r] = 0
        for start in range(0, cols, BLOCK):
            m = min(BLOCK, cols - start)
            w = m + 2 * h
            sums[0, :w] = ring[r % size, start : start + w]
            for t in range(1, h + 1):
                up, down = ring[(r - t) % size, start : start + w], ring[(r + t) % size, start : start + w]
                total = sums[t, :w]
                for q in range(w):
                    total[q] = up[q] + down[q]
            for k in range(kernels):
                half = halves[k]
                low = h - half
                line = v[: m + 2 * half]
                centre, own = sums[0, low : low + line.size], taps[k, 0]
                for q in range(line.size):
                    line[q] = own * centre[q]
                _add_rows(line, sums, low, taps[k], half)
                _filter_symmetric(line, taps[k], half, s[:m])
                add_product(y[r, start : start + m], maps[k, r, start : start + m], s[:m])


@jit
def _adjoint_strip(y: Any, maps: Any, taps: Any, halves: Any, plane: Any, top: int, bottom: int) -> None:
    """Add what rows top..bottom of one plane y send back to rows top..bottom + 2 h of the extended plane."""
    kernels, h, cols = maps.shape[0], taps.shape[1] - 1, y.shape[1]
    width = cols + 2 * h
    padded = np.zeros(cols + 4 * h, dtype=y.dtype)
    spread = np.empty(width, dtype=y.dtype)
    sums = np.empty((h + 1, width), dtype=y.dtype)
    for r in range(top, bottom):
        sums[:] = 0
        for k in range(kernels):
            half = halves[k]
            z = padded[2 * h : 2 * h + cols]
            z[:] = 0
            add_product(z, maps[k, r], y[r])
            part = spread[: cols + 2 * half]
            _filter_symmetric(padded[2 * h - 2 * half : 2 * h + cols + 2 * half], taps[k], half, part)
            for t in range(half + 1):
                total, weight = sums[t, h - half : h - half + part.size], taps[k, t]
                for q in range(part.size):
                    total[q] += weight * part[q]
        plane[r + h] += sums[0]
        for t in range(1, h + 1):
            plane[r + h - t] += sums[t]
            plane[r + h + t] += sums[t]


def _table(taps: Taps, colours: int, dtype: Any) -> tuple[Any, Any]:
    """Return one-sided taps as (1 or C, K, h + 1), zero beyond each kernel's own half-width, and the half-widths."""
    halves = np.array([len(w) - 1 for w in taps])
    own = max(np.size(w[0]) for w in taps)
    table = np.zeros((own, len(taps), int(halves.max()) + 1), dtype=dtype)
    for k, w in enumerate(taps):
        for t, value in enumerate(w):
            table[:, k, t] = np.reshape(value, -1)
    return table, halves


@register("gaussian_mixture", namespace="numpy")
def gaussian_mixture(x: Array, maps: Array, taps: Taps, boundary: str, mix: Array | None = None) -> Array:
    """See `reference.gaussian_mixture`, which still serves a channel mix."""
    if mix is not None:
        return reference.gaussian_mixture(x, maps, taps, boundary, mix)
    images, weights = flat_planes(x), shared_batch(maps, x.shape[:-3], 3)
    (table, halves), code = _table(taps, x.shape[-3], x.dtype), boundary_code(boundary)
    y = np.empty_like(images)

    def work(n: int, c: int, top: int, bottom: int) -> None:
        own = table[c if len(table) > 1 else 0]
        _forward_strip(images[n, c], weights[n % len(weights)], own, halves, code, y[n, c], top, bottom)

    height = max(-(-x.shape[-2] // thread_count()), 16)
    strips = row_strips(x.shape[-2], height)
    run_tasks(work, [(n, c, *strip) for n in range(len(images)) for c in range(images.shape[1]) for strip in strips])
    return y.reshape(x.shape)


@register("gaussian_mixture_adjoint", namespace="numpy")
def gaussian_mixture_adjoint(y: Array, maps: Array, taps: Taps, boundary: str, mix: Array | None = None) -> Array:
    """See `reference.gaussian_mixture_adjoint`. Every second strip runs at the same time: no row has two writers."""
    if mix is not None:
        return reference.gaussian_mixture_adjoint(y, maps, taps, boundary, mix)
    images, weights = flat_planes(y), shared_batch(maps, y.shape[:-3], 3)
    table, halves = _table(taps, y.shape[-3], y.dtype)
    h, (rows, cols) = table.shape[-1] - 1, y.shape[-2:]
    plane = np.zeros((*images.shape[:2], rows + 2 * h, cols + 2 * h), dtype=y.dtype)

    def work(n: int, c: int, top: int, bottom: int) -> None:
        own = table[c if len(table) > 1 else 0]
        _adjoint_strip(images[n, c], weights[n % len(weights)], own, halves, plane[n, c], top, bottom)

    strips = row_strips(rows, max(32, 2 * h))
    for chosen in (strips[::2], strips[1::2]):
        run_tasks(work, [(n, c, *s) for n in range(len(images)) for c in range(images.shape[1]) for s in chosen])
    return fold(plane, (h, h), (h, h), boundary).reshape(y.shape)
