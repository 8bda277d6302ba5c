"""`gaussian_mixture` on the CPU: vertical symmetric sums once per row for all K kernels, then row filters.

Kernels are taken two at a time, widest first, so that each vertical sum is read once for both. Rows are worked on in
long blocks of columns: a loop start costs as much as some hundred multiply-adds. Cost: about 3 multiply-adds per pixel
for each tap of the one-sided supports, summed over the kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....types import Array
from ...registry import register
from ...threads import run_tasks, thread_count
from ..common.compiler import inner_jit, jit, wide_vectors
from ..common.mix import add_mixed, load_weighted
from ..common.rows import (
    aligned_rows,
    boundary_code,
    copy_row,
    flat_planes,
    fold_planes,
    load_row,
    row_strips,
    shared_batch,
)
from ..common.taps import add_filtered, filter_symmetric, pair_sums

__all__ = ["BLOCK", "Bank", "bank_of", "gaussian_mixture", "gaussian_mixture_adjoint"]

BLOCK = 2048
"""Columns handled together: few loop starts, and what belongs to them stays in the second-level cache."""

LINE = 16
"""Columns are cut at multiples of this, a cache line of float32."""


class Bank(NamedTuple):
    """The kernels of a Gaussian mixture, sorted by half-width, widest first.

    taps (1 or C, K, h + 1), zero beyond the half-width of each kernel; halves (K,); `order` (K,) says which map belongs
    to which; mix (K, C, D), empty where each colour stays with itself; across (1 or C, h + 2, K) has the taps offset by
    offset.
    """

    taps: Any
    halves: Any
    order: Any
    mix: Any
    across: Any


@inner_jit
def vertical_sums(ring: Any, r: int, start: int, width: int, sums: Any) -> None:
    """Write sums[t] = row r - t plus row r + t (row r alone for t = 0) on `width` columns from `start`."""
    wide_vectors()
    size = ring.shape[0]
    copy_row(ring[r % size, start : start + width], sums[0, :width])
    for t in range(1, sums.shape[0]):
        up, down = ring[(r - t) % size, start : start + width], ring[(r + t) % size, start : start + width]
        total = sums[t, :width]
        for q in range(width):
            total[q] = up[q] + down[q]


@inner_jit
def gather_sums(spread: Any, halves: Any, across: Any, sums: Any, m: int) -> None:
    """Write ``sums[t] = sum_k across[t, k] spread[k]`` on m columns; the kernels that reach offset t come first."""
    # Two offsets at a time read every row of `spread` once for both; `across` has a row of zeros for an odd one out.
    for t in range(0, sums.shape[0] - 1, 2):
        count = 0
        while count < halves.size and halves[count] >= t:
            count += 1
        pair_sums(spread, 0, across[t], across[t + 1], count, sums[t, :m], sums[t + 1, :m])


@inner_jit
def scatter_sums(sums: Any, h: int, m: int, plane: Any, r: int, start: int) -> None:
    """Add sums[t] to rows r - t and r + t of the plane, sums[0] once, on m columns from `start`."""
    wide_vectors()
    for t in range(h + 1):
        part = sums[t, :m]
        up = plane[r - t, start : start + m]
        for q in range(m):
            up[q] += part[q]
        if t:
            down = plane[r + t, start : start + m]
            for q in range(m):
                down[q] += part[q]


@jit
def _forward_strip(x: Any, maps: Any, bank: Any, boundary: int, y: Any, top: int, bottom: int) -> None:
    """Write rows top..bottom of y (D, H, W) from x (C, H, W), maps (K, H, W) and a `Bank`."""
    taps, halves, order, mix = bank.taps, bank.halves, bank.order, bank.mix
    # Going down the image, a ring holds the 2 h + 1 extended rows around row r of each colour, row i at i % (2 h + 1),
    # and one new row is loaded for each r. Symmetric kernels only ask for the sums of two rows at equal distance: they
    # are formed once (`sums`) and serve all K kernels.
    (channels, _, cols), (own, kernels, _), h = x.shape, taps.shape, taps.shape[2] - 1
    size, widest = 2 * h + 1, min(BLOCK, cols)
    rings = aligned_rows(channels * size, cols + 2 * h, x)
    sums = aligned_rows(h + 1, widest + 2 * h, x)
    v = aligned_rows(2, widest + 2 * h, x)
    s = aligned_rows(1, widest, x)[0]
    for c in range(channels):
        for i in range(top - h, top + h):
            load_row(x[c], i, h, boundary, rings[c * size + i % size])
    for r in range(top, bottom):
        y[:, r] = 0
        for c in range(channels):
            ring, weights = rings[c * size : (c + 1) * size], taps[c if own > 1 else 0]
            load_row(x[c], r + h, h, boundary, ring[(r + h) % size])
            for start in range(0, cols, BLOCK):
                m = min(BLOCK, cols - start)
                vertical_sums(ring, r, start, m + 2 * h, sums)
                # Two kernels at a time, so that each sum is read once for both. They are sorted: the first is the wider
                # one, and the taps of the second are zero beyond its own half-width. What lies left of `low` no kernel
                # of this width asks for; it is cut at a cache line, so that rows stay aligned.
                for k in range(0, kernels, 2):
                    last = min(k + 1, kernels - 1)
                    low = (h - halves[k]) // LINE * LINE
                    n = m + h + halves[k] - low
                    pair_sums(sums, low, weights[k], weights[last], halves[k] + 1, v[0, :n], v[1, :n])
                    for i in range(k, last + 1):
                        half, weight = halves[i], maps[order[i], r, start : start + m]
                        line = v[i - k, h - low - half : h - low + half + m]
                        if mix.shape[0] == 0:
                            add_filtered(line, weights[i], half, weight, y[c, r, start : start + m])
                        else:
                            filter_symmetric(line, weights[i], half, s[:m])
                            add_mixed(y, weight, mix[i, c], r, start, s[:m])


@jit
def _adjoint_strip(y: Any, maps: Any, bank: Any, plane: Any, top: int, bottom: int) -> None:
    """Add what rows top..bottom of y (D, H, W) send back to rows top..bottom + 2 h of the plane (C, H + 2h, W + 2h)."""
    taps, halves, order, mix, across = bank.taps, bank.halves, bank.order, bank.mix, bank.across
    # The transpose in the opposite order: weight, filter along the row (`spread`, one row for each kernel), then sum
    # over the kernels for each offset t (`sums`), and only these h + 1 rows are added to the plane, at r - t and r + t.
    # Rows r .. r + 2 h of the plane are written, so strips that touch must not run at the same time.
    (own, kernels, _), (channels, _, width), h = taps.shape, plane.shape, taps.shape[2] - 1
    widest = min(BLOCK, width)
    spread, sums = aligned_rows(kernels, widest, y), aligned_rows(h + 2, widest, y)
    z = aligned_rows(1, widest + 2 * h, y)[0]
    for r in range(top, bottom):
        for c in range(channels):
            colour = c if own > 1 else 0
            for start in range(0, width, BLOCK):
                m = min(BLOCK, width - start)
                for k in range(kernels):
                    half = halves[k]
                    low = h - half
                    load_weighted(y, maps[order[k], r], mix, k, c, r, start - 2 * h + low, z[low : h + m + half])
                    filter_symmetric(z[low : h + m + half], taps[colour, k], half, spread[k, :m])
                gather_sums(spread, halves, across[colour], sums, m)
                scatter_sums(sums, h, m, plane[c], r + h, start)


def bank_of(taps: Array, halves: Any, mix: Array | None) -> Bank:
    """Return the arguments of a mixture as the kernels take them."""
    order = np.argsort(-np.array(halves), kind="stable")
    sorted_halves = np.array(halves)[order]
    h = int(sorted_halves[0])
    inside = np.arange(h + 1) <= sorted_halves[:, None]
    own = np.ascontiguousarray(np.where(inside, taps[:, order, : h + 1], 0), dtype=taps.dtype)
    across = np.zeros((len(taps), h + 2, len(sorted_halves)), dtype=taps.dtype)
    across[:, : h + 1] = own.transpose(0, 2, 1)
    table = np.zeros((0, 0, 0) if mix is None else (mix.shape[2], mix.shape[1], mix.shape[0]), dtype=taps.dtype)
    if mix is not None:
        table[:] = mix.transpose(2, 1, 0)[order]
    return Bank(own, sorted_halves, order, table, across)


@register("gaussian_mixture", namespace="numpy")
def gaussian_mixture(x: Array, maps: Array, taps: Array, halves: Any, boundary: str, mix: Array | None = None) -> Array:
    """See `reference.gaussian_mixture`. No copy of the image is extended: the boundary is applied row by row."""
    images, weights = flat_planes(x), shared_batch(maps, x.shape[:-3], 3)
    bank, code = bank_of(taps, halves, mix), boundary_code(boundary)
    rows, cols = x.shape[-2:]
    y = np.empty((len(images), x.shape[-3] if mix is None else mix.shape[0], rows, cols), dtype=x.dtype)

    def work(n: int, top: int, bottom: int) -> None:
        _forward_strip(images[n], weights[n % len(weights)], bank, code, y[n], top, bottom)

    strips = row_strips(rows, max(-(-rows // thread_count()), 16))
    run_tasks(work, [(n, *strip) for n in range(len(images)) for strip in strips])
    return y.reshape(*x.shape[:-3], *y.shape[1:])


@register("gaussian_mixture_adjoint", namespace="numpy")
def gaussian_mixture_adjoint(
    y: Array, maps: Array, taps: Array, halves: Any, boundary: str, mix: Array | None = None
) -> Array:
    """See `reference.gaussian_mixture_adjoint`. Every second strip runs at the same time: no row has two writers."""
    images, weights = flat_planes(y), shared_batch(maps, y.shape[:-3], 3)
    bank, (rows, cols) = bank_of(taps, halves, mix), y.shape[-2:]
    h = bank.taps.shape[-1] - 1
    channels = y.shape[-3] if mix is None else mix.shape[1]
    plane = np.zeros((len(images), channels, rows + 2 * h, cols + 2 * h), dtype=y.dtype)

    def work(n: int, top: int, bottom: int) -> None:
        _adjoint_strip(images[n], weights[n % len(weights)], bank, plane[n], top, bottom)

    strips = row_strips(rows, max(32, 2 * h))
    for chosen in (strips[::2], strips[1::2]):
        run_tasks(work, [(n, *s) for n in range(len(images)) for s in chosen])
    return fold_planes(plane, (h, h), (h, h), boundary).reshape(*y.shape[:-3], channels, rows, cols)
