"""The compiled kernel of every PSF primitive: one tile of pixels, each with the PSFs that its weights select.

Level by level, the runs of pixels whose weight of that level is not zero are filtered, and only with the PSF's own
non-zero rows and columns, so that a pixel pays for the area of its own PSF. Two levels that are wanted at the same
pixels are filtered together, and so are all views: each loaded pixel serves them all.

In a tile, ``plane`` is the extended image around it, mirrored taps run forward through memory:
``F_vl[r, q] = sum_ij taps_vl[i, j] plane[r + i, q + j]`` and ``y_v = sum_l w_l . F_vl``. The transpose sends
``z_vl = w_l . u_v`` back to the same places, ``plane[r + i, q + j] += taps_vl[i, j] z_vl[r, q]``, and the gradient of a
tap is ``sum_rq z_vl[r, q] plane[r + i, q + j]``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..common.compiler import apart, inner_jit, jit
from ..common.rows import aligned_rows, source
from ..common.vectors import STEPS, VECTOR_BYTES
from .runs import VIEWS, Run, add_weighted, filter_run, find_run, learn, send_back, weigh

__all__ = ["COLUMNS", "Bank", "Given", "Results", "load_tile", "psf_tile"]

COLUMNS = 256
"""Columns of a tile: long enough for the vector units, narrow enough that its rows stay in the cache."""


class Given(NamedTuple):
    """What is filtered, and what weighs it.

    image (C, H, W) is filtered; image_place = (row, column, reach, boundary): the pixel of the plane that its pixel
    (0, 0) is. cotangent (V C, H, W), or empty; place = (row, column, reach, boundary) for it and the weights. weights
    (L, H, W), or (L, 0, 0) for ones, unless index and fraction (rows, cols) are not empty: they give them then.
    """

    image: Any
    image_place: Any
    cotangent: Any
    place: Any
    weights: Any
    index: Any
    fraction: Any


class Bank(NamedTuple):
    """The PSFs.

    taps (1 or C, L, h, w, V) run forward over the plane; mirrored (1 or C, L, V, h, w) are the same in reverse order.
    spans (L, h, 2) are the columns of the taps that are not zero; pairs (L, h, 2) those of a level and the next;
    spans_mirrored (L, h, 2) those of the mirrored taps.
    """

    taps: Any
    mirrored: Any
    spans: Any
    pairs: Any
    spans_mirrored: Any


class Results(NamedTuple):
    """What a tile is added to, empty where it is not wanted.

    y (V C, rows, cols), plane (C, H', W'), gtaps ((1 or C) L V h, at least w), gweights (L, rows, cols), gfraction
    (rows, cols).
    """

    y: Any
    plane: Any
    gtaps: Any
    gweights: Any
    gfraction: Any


@inner_jit
def _rows(rows: int, width: int, like: Any) -> Any:
    apart()
    return aligned_rows(rows, width, like)


@inner_jit
def _load_line(x: Any, c: int, row: int, left: int, place: Any, out: Any, line: int) -> None:
    """Write out[line] from a row of the extended plane of x[c], starting at column `left`; see `Frame` for the place.

    Plain loops: assigning slices takes the compiler seconds.
    """
    apart()
    cols, boundary, first, reach = x.shape[2], place[3], left - place[1], place[2]
    s, n = source(row - place[0], x.shape[1], boundary), out.shape[1]
    begin, end = min(n, max(0, -first)), max(0, min(n, cols - first))
    filled = out[line]
    for q in range(n):
        filled[q] = 0
    if s >= 0:
        pixels = x[c, s]
        copied, kept = filled[begin : max(begin, end)], pixels[first + begin : max(0, first + end)]
        for q in range(copied.size):
            copied[q] = kept[q]
        for q in range(max(0, -reach - first), begin):
            a = source(first + q, cols, boundary)
            if a >= 0:
                filled[q] = pixels[a]
        for q in range(max(begin, end), min(n, cols + reach - first)):
            a = source(first + q, cols, boundary)
            if a >= 0:
                filled[q] = pixels[a]


@jit
def load_tile(x: Any, top: int, left: int, rows: int, place: Any, out: Any) -> None:
    """Write a tile of the extended plane of x (C, H, W) to the first `rows` rows of out[c]."""
    for c in range(out.shape[0]):
        for i in range(rows):
            _load_line(x, c, top + i, left, place, out[c], i)


@inner_jit
def _note(wanted: Any, cols: int, busy: Any, level: int) -> None:
    count = np.int64(0)
    for q in range(cols):
        count += wanted[q]
    busy[level] = count


@inner_jit
def _load_hats(
    index: Any, fraction: Any, r: int, left: int, cols: int, dense: bool, weights: Any, need: Any, busy: Any
) -> Any:
    """Fill the weights of the levels that occur in a row of pixels; return the range of levels (low, stop).

    ``need`` marks the pixels where a level is wanted: where its weight is not zero or, if `dense`, where it is one of
    the pixel's two; ``busy`` the levels that are wanted at all.
    """
    apart()
    lower, part = index[r, left : left + cols], fraction[r, left : left + cols]
    low = high = lower[0]
    for q in range(cols):
        low, high = min(low, lower[q]), max(high, lower[q])
    for level in range(low, high + 2):
        weight, wanted, above = weights[level], need[level], level - 1
        for q in range(cols):
            here, over, f = lower[q] == level, lower[q] == above, part[q]
            weight[q] = 1 - f if here else f if over else 0 * f
            wanted[q] = (here & (dense | (f != 1))) | (over & (dense | (f != 0)))
        _note(wanted, cols, busy, level)
    return low, high + 2


@inner_jit
def _load_maps(
    maps: Any, r: int, left: int, place: Any, cols: int, dense: bool, weights: Any, need: Any, busy: Any
) -> None:
    """Fill the weights of all levels in a row of pixels; maps (L, 0, 0) stand for ones."""
    apart()
    for level in range(weights.shape[0]):
        if maps.shape[1] > 0:
            _load_line(maps, level, r, left, place, weights, level)
        else:
            for q in range(cols):
                weights[level, q] = 1
        weight, wanted = weights[level], need[level]
        for q in range(cols):
            wanted[q] = dense | (weight[q] != 0)
        _note(wanted, cols, busy, level)


@inner_jit
def _clear(rows: Any, level: int, first: int, last: int) -> None:
    apart()
    line = rows[level, first:last]
    for q in range(line.size):
        line[q] = 0


@inner_jit
def _merge(back: Any, rows: int, cols: int, plane: Any, top: int, left: int) -> None:
    """Add a tile's plane, (C rows, at least cols), to that of the image (C, H', W')."""
    apart()
    for c in range(plane.shape[0]):
        for i in range(rows):
            line, found = plane[c, top + i, left : left + cols], back[c * rows + i, :cols]
            for q in range(line.size):
                line[q] += found[q]


@inner_jit
def _score_maps(gweights: Any, need: Any, scores: Any, level: int, first: int, last: int, r: int, left: int) -> None:
    """Add a level's scores to the gradient of its weights, once for each pixel that waits for them."""
    apart()
    for q in range(first, last):
        gweights[level, r, left + q] += need[level, q] * scores[level, q]


@inner_jit
def _score_hats(
    gfraction: Any, index: Any, need: Any, scores: Any, level: int, first: int, last: int, r: int, left: int
) -> None:
    """Add a level's scores to the gradient of the fraction: the upper level counts positive, the lower negative."""
    apart()
    for q in range(first, last):
        sign = need[level, q] * (1 if level > index[r, left + q] else -1)
        gfraction[r, left + q] += sign * scores[level, q]


@jit
def psf_tile(given: Any, kernels: Any, tile: Any, dense: bool, results: Any) -> None:
    """Add what one tile contributes to each result that is not empty.

    Parameters
    ----------
    given : Given
    kernels : Bank
    tile : (top, left, rows, cols)
    dense : bool
        Levels are wanted where their weight is zero, too: for the gradient of the weights.
    results : Results
    """
    image, cotangent, place = given.image, given.cotangent, given.place
    index, fraction = given.index, given.fraction
    taps, mirrored, spans, pairs = kernels.taps, kernels.mirrored, kernels.spans, kernels.pairs
    y, plane, gtaps, gweights, gfraction = results.y, results.plane, results.gtaps, results.gweights, results.gfraction
    # `slab` is the extended image around the tile, all colours one below the other, loaded once; `back`, of the same
    # shape, collects what the tile sends back and is added to the plane at the end. Lines have room for two more
    # vectors, because `correlate` reads and writes whole ones. Per row of pixels, `weight`, `need` and `scores` have a
    # line for each level.
    own, levels, h, w, views = taps.shape
    channels = image.shape[0]
    top, left, rows, cols = tile
    lanes = VECTOR_BYTES // taps.itemsize
    scored = gweights.size + gfraction.size > 0
    filtered, returned, learned = y.size > 0 or scored, plane.size > 0, gtaps.size > 0
    slab_rows, width = rows + h - 1, cols + w - 1 + 2 * lanes
    slab = _rows(channels * slab_rows if filtered or learned else 0, width, taps)
    back = _rows(channels * slab_rows if returned else 0, width, taps)
    u, z = _rows(cotangent.shape[0], cols, taps), _rows(views, cols + 3 * w + 4 * lanes, taps)
    weight, need = _rows(levels, cols, taps), np.zeros((levels, cols), dtype=np.uint8)
    numbers, steps = np.zeros(levels + 2, dtype=np.int64), np.zeros(1, dtype=STEPS)
    span, busy = numbers[:2], numbers[2:]
    nothing = np.int64(0)  # a literal would compile a function once more
    sums = _rows(2 * VIEWS, cols + lanes, taps)
    scores = _rows(levels if scored else 0, cols, taps)
    scores_plane = scores.reshape(1, scores.shape[0], scores.shape[1])
    if filtered or learned:
        for c in range(channels):
            for i in range(slab_rows):
                _load_line(image, c, top + i, left, given.image_place, slab, c * slab_rows + i)
    for r in range(top, top + rows):
        for d in range(u.shape[0]):
            _load_line(cotangent, d, r, left, place, u, d)
        low, stop = 0, levels
        if index.size > 0:
            low, stop = _load_hats(index, fraction, r, left, cols, dense, weight, need, busy)
        else:
            _load_maps(given.weights, r, left, place, cols, dense, weight, need, busy)
        for level in range(low, stop):
            if busy[level] == 0:
                continue
            # First the runs whose pixels want this level and the next, filtered together, then those that want it
            # alone. What is done is cleared from `need`, so that no run is met twice.
            for groups in range(2 if level + 1 < stop and busy[level + 1] > 0 else 1, 0, -1):
                used = pairs if groups == 2 else spans
                first, last = find_run(need, level, groups, nothing, cols)
                while first < cols:
                    n = last - first
                    for c in range(channels):
                        run = Run(c if own > 1 else 0, level, c * slab_rows + r - top, first, n)
                        for v in range(0, views if filtered else 0, VIEWS):
                            members = min(VIEWS, views - v)
                            filter_run(taps, used, run, groups, v, members, slab, sums, steps)
                            for k in range(groups * members):
                                chosen, d = level + k // members, (v + k % members) * channels + c
                                if y.size > 0:
                                    add_weighted(weight, chosen, sums, k, first, n, y, d, r, left + first)
                                if scored:
                                    add_weighted(u, d, sums, k, first, n, scores_plane, nothing, chosen, first)
                        for g in range(level, level + groups if returned or learned else level):
                            for v in range(views):
                                weigh(weight, g, u, v * channels + c, first, n, z, v, w)
                            of_level = Run(run.bank, g, run.line, first, n)
                            if returned:
                                send_back(z, mirrored, kernels.spans_mirrored, of_level, back, span, steps)
                            if learned:
                                learn(z, taps, of_level, slab, gtaps, span, steps)
                    for g in range(level, level + groups):
                        if gweights.size > 0:
                            _score_maps(gweights, need, scores, g, first, last, r, left)
                        elif scored:
                            _score_hats(gfraction, index, need, scores, g, first, last, r, left)
                        _clear(weight, g, first, last)
                        _clear(need, g, first, last)
                        if scored:
                            _clear(scores, g, first, last)
                    first, last = find_run(need, level, groups, last, cols)
    _merge(back, slab_rows, cols + w - 1, plane, top, left)
