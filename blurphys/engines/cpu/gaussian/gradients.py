"""Gradients of `gaussian_mixture` on the CPU: image, maps, taps and channel mix in one pass over the rows.

A row of the image gives the vertical sums and, kernel by kernel, the filtered row s (for the maps and the mix). The
same row of the cotangent gives z = map . u and what z sends back, p (for the image). The taps need both: a tap at
offset t weighs the vertical sum S_t under p and the two neighbours of the half-filtered row under z. Nothing is stored
but one row of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....types import Array
from ...registry import register
from ...threads import run_tasks
from ..common.compiler import jit
from ..common.mix import Sums, Weights, add_to_coefficients, load_weighted
from ..common.rows import (
    aligned_rows,
    boundary_code,
    flat_planes,
    fold_planes,
    load_row,
    row_strips,
    shared_batch,
    summed_to,
)
from ..common.taps import add_dots, add_symmetric_dots, filter_symmetric, pair_sums
from .mixture import BLOCK, Bank, bank_of, gather_sums, scatter_sums, vertical_sums

__all__ = ["gaussian_mixture_gradients"]


@jit
def _gradient_strip(
    x: Any, weights: Any, bank: Any, boundary: int, top: int, bottom: int, plane: Any, gtaps: Any, sums: Any
) -> None:
    """Add what rows top..bottom contribute to each result that is not empty.

    x (C, H, W), `Weights`, `Bank`; plane (C, H + 2h, W + 2h) for the image; gtaps (C, K, h + 1) and the mix of the
    `Sums`, both in the order of the bank.
    """
    u, maps, mix = weights.u, weights.maps, weights.mix
    taps, halves, order, across = bank.taps, bank.halves, bank.order, bank.across
    # Both directions share a walk down the rows: what `mixture._forward_strip` makes from the ring (vertical sums, the
    # half-filtered row v of two kernels, the filtered row s), and what `mixture._adjoint_strip` makes of the cotangent
    # (z = map . u with h columns around, `spread`). Blocks of columns are those of the extended plane; first .. stop is
    # the part of the image in one. Even kernels fill both rows of v, odd ones find theirs.
    (channels, _, cols), (own, kernels, _), h = x.shape, taps.shape, taps.shape[2] - 1
    size, width = 2 * h + 1, cols + 2 * h
    filtered = sums.y.shape[0] + sums.gmaps.shape[0] + sums.gmix.shape[0] > 0
    forward, back = filtered or gtaps.shape[0] > 0, plane.shape[0] + gtaps.shape[0] > 0
    widest = min(BLOCK, width)
    rings = aligned_rows(channels * size, width, x)
    vertical, v = aligned_rows(h + 1, widest + 2 * h, x), aligned_rows(2, widest + 2 * h, x)
    scratch = aligned_rows(2, widest, x)
    spread, returned = aligned_rows(kernels, widest, x), aligned_rows(h + 2, widest, x)
    z = aligned_rows(1, widest + 2 * h, x)[0]
    if forward:
        for c in range(channels):
            for i in range(top - h, top + h):
                load_row(x[c], i, h, boundary, rings[c * size + i % size])
    for r in range(top, bottom):
        for c in range(channels):
            ring, colour = rings[c * size : (c + 1) * size], c if own > 1 else 0
            if forward:
                load_row(x[c], r + h, h, boundary, ring[(r + h) % size])
            for start in range(0, width, BLOCK):  # columns of the extended plane
                m = min(BLOCK, width - start)
                left, right = max(0, start - h), min(width, start + m + h)  # of the vertical sums
                first, stop = max(0, start - h), min(cols, start + m - h)  # of the image
                if forward:
                    vertical_sums(ring, r, left, right - left, vertical)
                for k in range(kernels):
                    half, own_taps = halves[k], taps[colour, k]
                    low = first + h - half - left
                    line = v[k % 2, low : low + max(0, stop - first) + 2 * half]
                    if forward and k % 2 == 0:
                        last = min(k + 1, kernels - 1)
                        a, b = v[0, : right - left], v[1, : right - left]
                        pair_sums(vertical, 0, own_taps, taps[colour, last], half + 1, a, b)
                    if filtered and stop > first:
                        s = scratch[0, : stop - first]
                        filter_symmetric(line, own_taps, half, s)
                        add_to_coefficients(s, weights, order[k], c, k, r, first, scratch[1], sums)
                    if back:
                        part = z[h - half : h + m + half]
                        load_weighted(u, maps[order[k], r], mix, k, c, r, start - h - half, part)
                        filter_symmetric(part, own_taps, half, spread[k, :m])
                    if gtaps.shape[0] > 0:
                        add_dots(spread[k, :m], vertical, start - left, half + 1, gtaps[c, k])
                        if stop > first:
                            inner = z[first - start + 2 * h : stop - start + 2 * h]
                            add_symmetric_dots(inner, line, half, gtaps[c, k])
                if plane.shape[0] > 0:
                    gather_sums(spread, halves, across[colour], returned, m)
                    scatter_sums(returned, h, m, plane[c], r + h, start)


def _like_taps(total: Any, taps: Array, bank: Bank) -> Array:
    """Turn (C, K, h + 1) in the order of the bank into the gradient of the taps as they were given."""
    gradient = np.zeros_like(taps)
    total = total if len(taps) > 1 else total.sum(axis=0, keepdims=True)
    gradient[:, bank.order, : total.shape[-1]] = total
    return gradient


@register("gaussian_mixture_gradients", namespace="numpy")
def gaussian_mixture_gradients(
    x: Array, u: Array, maps: Array, taps: Array, halves: Any, boundary: str, mix: Array | None, wanted: Any
) -> tuple[Array | None, ...]:
    """Compute what is wanted of (F(x), F^T u, and the gradients of ``<u, F(x)>`` in maps, taps and mix).

    Shapes as in `reference.gaussian_mixture`; what is not wanted is None. A gradient has the shape of what it belongs
    to; that of a tap counts both of its places.

    Cost: about three times the forward direction for everything. Memory: the results, an extended plane, and a few
    rows for each thread. The same bits for any number of threads.
    """
    lead, (channels, rows, cols) = x.shape[:-3], x.shape[-3:]
    images, cotangents, weights = flat_planes(x), flat_planes(u), shared_batch(maps, lead, 3)
    bank, code = bank_of(taps, halves, mix), boundary_code(boundary)
    h, count, kernels = bank.taps.shape[-1] - 1, len(images), len(bank.halves)
    want_y, want_x, want_maps, want_taps, want_mix = wanted
    want_mix = want_mix and mix is not None
    strips = row_strips(rows, max(32, 2 * h))
    groups = [[n] for n in range(count)] if len(weights) > 1 else [list(range(count))]
    shape = (len(strips), len(groups))
    y = np.zeros((count, u.shape[-3] if want_y else 0, rows, cols), dtype=x.dtype)
    plane = np.zeros((count, channels if want_x else 0, rows + 2 * h, cols + 2 * h), dtype=x.dtype)
    gmaps = np.zeros((len(weights), kernels if want_maps else 0, rows, cols), dtype=x.dtype)
    gtaps = np.zeros((*shape, channels if want_taps else 0, kernels, h + 1))
    gmix = np.zeros((*shape, kernels if want_mix else 0, *bank.mix.shape[1:]))

    def work(group: int, strip: int) -> None:
        for n in groups[group]:
            m = n % len(weights)
            given = Weights(cotangents[n], weights[m], bank.mix)
            sums = Sums(y[n], gmaps[m], gmix[strip, group])
            _gradient_strip(images[n], given, bank, code, *strips[strip], plane[n], gtaps[strip, group], sums)

    for chosen in (range(0, len(strips), 2), range(1, len(strips), 2)):
        run_tasks(work, [(group, strip) for group in range(len(groups)) for strip in chosen])
    back = None
    if want_mix:
        back = np.zeros(mix.shape, dtype=x.dtype)  # type: ignore[union-attr]
        back[:, :, bank.order] = gmix.sum(axis=(0, 1)).transpose(2, 1, 0)
    return (
        y.reshape(*lead, *y.shape[1:]) if want_y else None,
        fold_planes(plane, (h, h), (h, h), boundary).reshape(x.shape) if want_x else None,
        summed_to(gmaps, maps.shape, lead) if want_maps else None,
        _like_taps(gtaps.sum(axis=(0, 1)), taps, bank) if want_taps else None,
        back,
    )
