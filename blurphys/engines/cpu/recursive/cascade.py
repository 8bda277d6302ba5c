"""The cascade of `recursive_mixture` on the CPU, extended once: a pass down the image, a ring of t rows a level.

When row i of level 0 arrives, level j can make its row i - j h (h = t // 2). The rings of all levels of a colour fit
the second-level cache; the colours take turns every few rows, so that a map is read from memory once for all of them.
Nothing is written but the result.

Columns are cut into blocks only where rows are too long for the cache. The adjoint is the same cascade with mirrored
atoms: where the forward direction takes a level out, the adjoint lets one in.

Cost: 7 multiply-adds per pixel, colour and level with three taps, 2 t + 1 in general.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....types import Array
from ...threads import run_tasks, thread_count
from ..common.compiler import inner_jit, jit, wide_vectors
from ..common.mix import Sums, Weights, add_scaled, add_to_coefficients, load_weighted
from ..common.rows import (
    add_product,
    aligned_rows,
    boundary_code,
    copy_row,
    flat_planes,
    fold_planes,
    load_span,
    row_strips,
    shared_batch,
    writable,
)

__all__ = ["CHUNK", "adjoint_values", "blocks", "filter_rows", "forward_values", "mix_table"]

CACHE = 512 * 1024
"""Bytes that the rings of one block and colour may take, about half of a second-level cache."""

CHUNK = 16
"""Rows for which one colour is done before the next: the maps of that many rows stay in the last-level cache."""


@inner_jit
def filter_rows(ring: Any, r: int, taps: Any, v: Any, out: Any) -> None:
    """Convolve rows r - h .. r + h of a ring with the taps down into v, then v along into `out`, t - 1 shorter.

    The ring holds row i at i modulo its length.
    """
    wide_vectors()
    n, t, size = out.size, taps.size, ring.shape[0]
    wide, h = n + t - 1, t // 2
    # Three taps, the common case: one pass for each direction, all taps in registers. v is t - 1 columns wider than the
    # result because the filter along the row comes second.
    if t == 3:
        first, centre, last = taps[2], taps[1], taps[0]
        a, b, c = ring[(r - 1) % size, :wide], ring[r % size, :wide], ring[(r + 1) % size, :wide]
        for q in range(wide):
            v[q] = first * a[q] + centre * b[q] + last * c[q]
        a, b, c = v[:n], v[1 : n + 1], v[2:wide]
        for q in range(n):
            out[q] = first * a[q] + centre * b[q] + last * c[q]
        return
    for s in range(t):
        line, w = ring[(r - h + s) % size, :wide], taps[t - 1 - s]
        for q in range(wide):
            v[q] = w * line[q] if s == 0 else v[q] + w * line[q]
    for s in range(t):
        line, w = v[s : s + n], taps[t - 1 - s]
        for q in range(n):
            out[q] = w * line[q] if s == 0 else out[q] + w * line[q]


@jit
def _forward_block(x: Any, atoms: Any, weights: Any, boundary: int, block: Any, sums: Any) -> None:
    """Add the image pixels of a block (top, bottom, left, right) to those of the `Sums` that are not empty.

    x (C, H, W), atoms (J-1, 1 or C, t), `Weights` of J maps.
    """
    top, bottom, left, right = block
    y, maps, mix = sums.y, weights.maps, weights.mix
    # Rows of the extended image arrive one by one. Once row i of level 0 is there, level j can make its row r = i - h
    # j: it needs rows r - h .. r + h of level j - 1, and the last of them has just been made. So each level keeps t
    # rows, row r at r % t. Level j is needed `margin` px around the block and its rows begin that far to the left of
    # it.
    levels, channels, (_, own, t) = maps.shape[0], x.shape[0], atoms.shape
    h = t // 2
    reach, n = h * (levels - 1), right - left
    plain = sums.gmaps.shape[0] + sums.gmix.shape[0] + mix.shape[0] == 0
    ring = aligned_rows(channels * levels * t, n + 2 * reach, x).reshape((channels, levels, t, -1))
    v, scratch = aligned_rows(1, n + 2 * reach, x)[0], aligned_rows(2, n, x)
    # Colours take turns every CHUNK rows: their rings stay in the second-level cache, and the maps of these rows are
    # still in the last-level cache when the next colour reads them.
    for start in range(top - reach, bottom + reach, CHUNK):
        for c in range(channels):
            for i in range(start, min(start + CHUNK, bottom + reach)):
                load_span(x[c], i, left - reach, reach, boundary, ring[c, 0, i % t, : n + 2 * reach])
                for j in range(levels):
                    r, margin = i - h * j, reach - h * j
                    # Neither this level nor any later one has a row yet.
                    if r < top - margin:
                        break
                    out = ring[c, j, r % t]
                    if j > 0:
                        taps = atoms[j - 1, c if own > 1 else 0]
                        filter_rows(ring[c, j - 1], r, taps, v, out[: n + 2 * margin])
                    s = out[margin : margin + n]
                    if top <= r < bottom and plain:
                        add_product(y[c, r, left:right], maps[j, r, left:right], s)
                    elif top <= r < bottom:
                        if y.shape[0] > 0 and mix.shape[0] > 0:  # the row itself is still needed
                            copy_row(s, scratch[1, :n])
                            s = scratch[1, :n]
                        add_to_coefficients(s, weights, j, c, j, r, left, scratch[0], sums)


@jit
def _adjoint_block(
    y: Any, maps: Any, atoms: Any, mix: Any, top: int, bottom: int, left: int, right: int, plane: Any
) -> None:
    """Write rows top..bottom, columns left..right of the extended plane (C, H', W'), gathered from y (D, H, W).

    Atoms are mirrored. Level j is as wide as the plane's block and j h more on both sides.
    """
    # Horner's rule is the same cascade run from the last level to the first: v_(J-1) = maps_(J-1) . y, then v_j = a_j^T
    # v_(j+1) + maps_j . y. Row i of the last level lets level j make row r = i - h (J - 1 - j), from a ring of t rows
    # again. Outside of the image there are no maps, and v_j is the filtered level alone. Level 0 is the result: every
    # pixel of the plane is written once, so that blocks can run at the same time.
    (levels, rows, cols), (_, own, t), channels = maps.shape, atoms.shape, plane.shape[0]
    h = t // 2
    reach, n = h * (levels - 1), right - left
    ring = aligned_rows(channels * levels * t, n + 2 * reach, y).reshape((channels, levels, t, -1))
    v, given = aligned_rows(1, n + 2 * reach, y)[0], aligned_rows(1, n + 2 * reach, y)[0]
    for chunk in range(top - 2 * reach, bottom, CHUNK):  # rows of the image, as level J - 1 receives them
        for c in range(channels):
            for i in range(chunk, min(chunk + CHUNK, bottom)):
                for j in range(levels - 1, -1, -1):
                    r = i - h * (levels - 1 - j)
                    if r < top - reach - h * j:
                        break
                    width, start = n + 2 * h * j, left - reach - h * j  # columns of the image
                    out = ring[c, j, r % t, :width]
                    if j == levels - 1:
                        out[:] = 0
                    else:
                        filter_rows(ring[c, j + 1], r, atoms[j, c if own > 1 else 0], v, out)
                    if 0 <= r < rows:
                        first, stop = max(0, start), min(cols, start + width)
                        if stop > first and mix.shape[0] == 0:
                            add_product(out[first - start : stop - start], maps[j, r, first:stop], y[c, r, first:stop])
                        elif stop > first:
                            part = given[: stop - first]
                            load_weighted(y, maps[j, r], mix, j, c, r, first, part)
                            add_scaled(out[first - start : stop - start], 1, part)
                    if j == 0:
                        copy_row(out, plane[c, r + reach, left:right])


def mix_table(mix: Array | None, like: Array) -> Any:
    """Return the channel mix as the kernels take it: (K, C, D), empty where each colour stays with itself."""
    if mix is None:
        return np.zeros((0, 0, 0), dtype=like.dtype)
    return np.ascontiguousarray(mix.transpose(2, 1, 0))


def blocks(cols: int, rings: int, reach: int, itemsize: int) -> list[tuple[int, int]]:
    """Cut columns so that `rings` rows of a block and its margins fit the cache, but no narrower than eight margins."""
    fit = CACHE // (rings * itemsize) - 2 * reach
    count = -(-cols // max(fit, 8 * reach, 256))
    return row_strips(cols, 16 * (-(-cols // (16 * count))))


def forward_values(
    x: Array,
    u: Array | None,
    maps: Array,
    atoms: Array,
    boundary: str,
    mix: Array | None,
    wanted: tuple[bool, bool, bool],
) -> tuple[Any, Any, Any]:
    """Compute what the levels of x give: (F(x), gradient of the maps (1 or N, J, H, W), of the mix (J, C, D)).

    What is not wanted is empty; u may be None where only F(x) is.
    """
    images, weights = flat_planes(x), shared_batch(maps, x.shape[:-3], 3)
    cotangents = np.zeros((len(images), 0, 1, 1), dtype=x.dtype) if u is None else flat_planes(u)
    table, code, taps = mix_table(mix, x), boundary_code(boundary), writable(np.ascontiguousarray(atoms))
    (count, channels, rows, cols), (levels, t) = images.shape, (maps.shape[-3], atoms.shape[-1])
    want_y, want_maps, want_mix = wanted
    reach = (t // 2) * (levels - 1)
    spans = blocks(cols, levels * t, reach, x.itemsize)
    fixed = want_mix or want_maps  # strips that do not depend on the number of threads: sums in one order
    strips = row_strips(rows, max(-(-rows // (8 if fixed else thread_count())), 4 * reach, 16))
    groups = [[n] for n in range(count)] if len(weights) > 1 or not want_maps else [list(range(count))]
    results = channels if mix is None else mix.shape[0]
    y = np.zeros((count, results if want_y else 0, rows, cols), dtype=x.dtype)
    gmaps = np.zeros((len(weights), levels if want_maps else 0, rows, cols), dtype=x.dtype)
    gmix = np.zeros((len(groups), len(strips), len(spans), levels if want_mix else 0, *table.shape[1:]))

    def work(group: int, strip: int, span: int) -> None:
        for n in groups[group]:
            m = n % len(weights)
            given = Weights(cotangents[n], weights[m], table)
            sums = Sums(y[n], gmaps[m], gmix[group, strip, span])
            _forward_block(images[n], taps, given, code, (*strips[strip], *spans[span]), sums)

    run_tasks(work, [(g, s, b) for g in range(len(groups)) for s in range(len(strips)) for b in range(len(spans))])
    return y, gmaps, gmix.sum(axis=(0, 1, 2))


def adjoint_values(u: Array, maps: Array, atoms: Array, boundary: str, mix: Array | None) -> Any:
    """Compute F^T u (N, C, H, W). A gather: each pixel of the extended plane is written once."""
    images, weights = flat_planes(u), shared_batch(maps, u.shape[:-3], 3)
    table, taps = mix_table(mix, u), atoms[..., ::-1].copy()
    (count, channels, rows, cols), (levels, t) = images.shape, (maps.shape[-3], atoms.shape[-1])
    channels = channels if mix is None else mix.shape[1]
    reach = (t // 2) * (levels - 1)
    plane = np.empty((count, channels, rows + 2 * reach, cols + 2 * reach), dtype=u.dtype)

    def work(n: int, top: int, bottom: int, left: int, right: int) -> None:
        _adjoint_block(images[n], weights[n % len(weights)], taps, table, top, bottom, left, right, plane[n])

    strips = row_strips(rows + 2 * reach, max(-(-(rows + 2 * reach) // thread_count()), 4 * reach, 16))
    spans = blocks(cols + 2 * reach, levels * t, reach, u.itemsize)
    run_tasks(work, [(n, *strip, *span) for n in range(count) for strip in strips for span in spans])
    return fold_planes(plane, (reach, reach), (reach, reach), boundary)
