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

from typing import Any

import numpy as np

from ..common.rows import aligned_rows, inner_jit, jit, source, wide_vectors
from ..common.vectors import VECTOR_BYTES, address, apart, correlate

__all__ = ["COLUMNS", "load_tile", "psf_tile"]

COLUMNS = 256
"""Columns of a tile: long enough for the vector units, narrow enough that its rows stay in the cache."""

GAP = VECTOR_BYTES // 4
"""Pixels without weight that a run of pixels goes on over: splitting it would cost as much as they do."""

VIEWS = 3
"""Views that are filtered together."""


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
def _find_run(need: Any, level: int, groups: int, start: int, stop: int) -> Any:
    """Return (first, last) of the next run of pixels that want all `groups` levels; first == stop if there is none."""
    apart()
    one, other = need[level], need[level + groups - 1]
    first = np.uint64(start)
    end = np.uint64(stop)
    while first < end and one[first] & other[first] == 0:
        first += np.uint64(1)
    last = q = first
    while q < end and q <= last + np.uint64(GAP):
        if one[q] & other[q] != 0:
            last = q + np.uint64(1)
        q += np.uint64(1)
    return np.int64(first), np.int64(last)


@inner_jit
def _filter_run(
    taps: Any, bank: int, level: int, groups: int, view: int, members: int, spans: Any, slab: Any, line: int,
    first: int, n: int, sums: Any, steps: Any,
) -> None:  # fmt: skip
    """Write sums[g members + m, :n] for the levels level + g and the views view + m of a colour's bank.

    spans (L, h, 2) are those of the level, or of it and the next. The run starts at slab[line, first].
    """
    apart()
    wide_vectors()
    (_, levels, h, w, views), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    for m in range(groups * members):
        total = sums[m]
        for q in range(total.size):
            total[q] = 0
    top, bottom = 0, h
    while top < h and spans[level, top, 0] >= spans[level, top, 1]:
        top += 1
    while bottom > top and spans[level, bottom - 1, 0] >= spans[level, bottom - 1, 1]:
        bottom -= 1
    steps[0], steps[1], steps[3], steps[4] = sums.shape[1], slab.shape[1], h * w * views, 1
    steps[2] = address(taps) + ((bank * levels + level) * h * w * views + view) * size
    steps[5], steps[6], steps[7], steps[8] = w * views, views, address(spans) + 16 * level * h, 2
    steps[9], steps[10] = top, bottom
    if groups == 1 and members == 2:
        steps[3] = 1
        groups, members = 2, 1
    at = address(slab) + (line * slab.shape[1] + first) * size
    correlate(like, size, groups, members, n, address(sums), at, address(steps))


@inner_jit
def _add_weighted(
    weights: Any, i: int, values: Any, k: int, first: int, n: int, out: Any, d: int, r: int, at: int
) -> None:
    """Add ``weights[i, first + q] values[k, q]`` to out[d, r, at + q]."""
    wide_vectors()
    apart()
    line, weight, value = out[d, r, at : at + n], weights[i, first : first + n], values[k, :n]
    for q in range(line.size):
        line[q] += weight[q] * value[q]


@inner_jit
def _weigh(weights: Any, level: int, u: Any, d: int, first: int, n: int, z: Any, v: int, w: int) -> None:
    """Write the run ``weights . u`` to z[v], with zeros behind."""
    wide_vectors()
    apart()
    line, weight, value = z[v, w - 1 :], weights[level, first : first + n], u[d, first : first + n]
    for q in range(value.size):
        line[q] = weight[q] * value[q]
    for q in range(n, line.size):
        line[q] = 0


@inner_jit
def _send_back(
    z: Any, n: int, taps: Any, bank: int, level: int, spans: Any, back: Any, line: int, first: int, span: Any,
    steps: Any,
) -> None:  # fmt: skip
    """Add what a run of n pixels sends back to the h rows of the plane under it, from back[line, first] on.

    Four rows of the plane at a time. taps are (1 or C, L, V, h, w) in reverse order, the spans (L, h, 2) belong to
    them; z has w - 1 zeros before the run.
    """
    apart()
    (_, levels, views, h, w), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    lanes, step, width = VECTOR_BYTES // size, z.shape[1], back.shape[1]
    start = address(taps) + (bank * levels + level) * views * h * w * size
    plane = address(back) + (line * width + first) * size
    i = 0
    while i < h:
        a, b = spans[level, i, 0], spans[level, i, 1]
        if a >= b:
            i += 1
            continue
        rows = 4 if i + 4 <= h else 1
        for k in range(i + 1, i + rows):
            if spans[level, k, 0] < spans[level, k, 1]:
                a, b = min(a, spans[level, k, 0]), max(b, spans[level, k, 1])
        steps[0], steps[1], steps[2], steps[3], steps[4] = -width, step, start + i * w * size, w, 0
        steps[5], steps[6], steps[7], steps[8], steps[9], steps[10] = h * w, 1, address(span), 0, 0, z.shape[0]
        p, end = w - b, w - 1 + n - a
        while p < end:
            span[0], span[1] = max(a, w - p - 2 * lanes), min(b, w - 1 + n - p)
            out = plane + ((h - 1 - i) * width + p) * size
            n_out, at = min(2 * lanes, end - p), address(z) + p * size
            correlate(like, size, rows, np.int64(1), n_out, out, at, address(steps))
            p += 2 * lanes
        i += rows


@inner_jit
def _learn(
    z: Any, n: int, taps: Any, bank: int, level: int, slab: Any, line: int, first: int, gtaps: Any, span: Any,
    steps: Any,
) -> None:  # fmt: skip
    """Add what a run contributes to the gradient of all taps of a level, zero or not: ``sum_q z[v, q] slab[.., q]``.

    gtaps is (1 or C, L, V, h, at least w).
    """
    apart()
    (_, levels, h, w, views), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    wide = gtaps.shape[1]
    row = (bank * levels + level) * views * h
    span[0], span[1] = 0, n
    for v in range(0, views, VIEWS):
        members = min(VIEWS, views - v)
        groups = 1
        if members == 2:
            groups, members = 2, 1
        steps[0], steps[1], steps[2] = h * wide, 0, address(z) + (v * z.shape[1] + w - 1) * size
        steps[3], steps[4], steps[5], steps[6] = z.shape[1], z.shape[1], 0, 1
        steps[7], steps[8], steps[9], steps[10] = address(span), 0, 0, 1
        for i in range(h):
            out = address(gtaps) + (row + v * h + i) * wide * size
            at = address(slab) + ((line + i) * slab.shape[1] + first) * size
            correlate(like, size, groups, members, w, out, at, address(steps))


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
def psf_tile(
    image: Any, image_place: Any, given: Any, place: Any, weights: Any, index: Any, fraction: Any, taps: Any,
    mirrored: Any, spans: Any, pairs: Any, spans_mirrored: Any, tile: Any, dense: bool, y: Any, plane: Any, gtaps: Any,
    gweights: Any, gfraction: Any,
) -> None:  # fmt: skip
    """Add what one tile contributes to each result that is not empty.

    Parameters
    ----------
    image : (C, H, W)
        What is filtered; image_place = (row, column, reach, boundary): the pixel of the plane that its pixel (0, 0) is.
    given : (V C, H, W) or empty
        The cotangent u; place = (row, column, reach, boundary) for it and the weights.
    weights : (L, H, W), or (L, 0, 0) for ones
        Unless ``index``, ``fraction`` (rows, cols) are not empty: they give them then.
    taps : (1 or C, L, h, w, V)
        Running forward over the plane. ``mirrored`` (1 or C, L, V, h, w): the same in reverse order.
    spans : (L, h, 2)
        Columns of the taps that are not zero; ``pairs`` (L, h, 2) those of a level and the next, ``spans_mirrored``
        those of the mirrored taps.
    tile : (top, left, rows, cols)
    dense : bool
        Levels are wanted where their weight is zero, too: for the gradient of the weights.
    y : (V C, rows, cols)
    plane : (C, H', W')
    gtaps : ((1 or C) L V h, at least w)
    gweights : (L, rows, cols)
    gfraction : (rows, cols)
    """
    own, levels, h, w, views = taps.shape
    channels = image.shape[0]
    top, left, rows, cols = tile
    lanes = VECTOR_BYTES // taps.itemsize
    scored = gweights.size + gfraction.size > 0
    filtered, returned, learned = y.size > 0 or scored, plane.size > 0, gtaps.size > 0
    slab_rows, width = rows + h - 1, cols + w - 1 + 2 * lanes
    slab = _rows(channels * slab_rows if filtered or learned else 0, width, taps)
    back = _rows(channels * slab_rows if returned else 0, width, taps)
    u, z = _rows(given.shape[0], cols, taps), _rows(views, cols + 3 * w + 4 * lanes, taps)
    weight, need = _rows(levels, cols, taps), np.zeros((levels, cols), dtype=np.uint8)
    numbers = np.zeros(levels + 13, dtype=np.int64)
    steps, span, busy = numbers[:11], numbers[11:13], numbers[13:]
    nothing = np.int64(0)  # a literal would compile a function once more
    sums = _rows(2 * VIEWS, cols + lanes, taps)
    scores = _rows(levels if scored else 0, cols, taps)
    scores_plane = scores.reshape(1, scores.shape[0], scores.shape[1])
    if filtered or learned:
        for c in range(channels):
            for i in range(slab_rows):
                _load_line(image, c, top + i, left, image_place, slab, c * slab_rows + i)
    for r in range(top, top + rows):
        for d in range(u.shape[0]):
            _load_line(given, d, r, left, place, u, d)
        low, stop = 0, levels
        if index.size > 0:
            low, stop = _load_hats(index, fraction, r, left, cols, dense, weight, need, busy)
        else:
            _load_maps(weights, r, left, place, cols, dense, weight, need, busy)
        for level in range(low, stop):
            if busy[level] == 0:
                continue
            for groups in range(2 if level + 1 < stop and busy[level + 1] > 0 else 1, 0, -1):
                used = pairs if groups == 2 else spans
                first, last = _find_run(need, level, groups, nothing, cols)
                while first < cols:
                    n = last - first
                    for c in range(channels):
                        bank, line = c if own > 1 else 0, c * slab_rows + r - top
                        for v in range(0, views if filtered else 0, VIEWS):
                            members = min(VIEWS, views - v)
                            _filter_run(taps, bank, level, groups, v, members, used, slab, line, first, n, sums, steps)
                            for k in range(groups * members):
                                chosen, d = level + k // members, (v + k % members) * channels + c
                                if y.size > 0:
                                    _add_weighted(weight, chosen, sums, k, first, n, y, d, r, left + first)
                                if scored:
                                    _add_weighted(u, d, sums, k, first, n, scores_plane, nothing, chosen, first)
                        for g in range(level, level + groups if returned or learned else level):
                            for v in range(views):
                                _weigh(weight, g, u, v * channels + c, first, n, z, v, w)
                            if returned:
                                _send_back(z, n, mirrored, bank, g, spans_mirrored, back, line, first, span, steps)
                            if learned:
                                _learn(z, n, taps, bank, g, slab, line, first, gtaps, span, steps)
                    for g in range(level, level + groups):
                        if gweights.size > 0:
                            _score_maps(gweights, need, scores, g, first, last, r, left)
                        elif scored:
                            _score_hats(gfraction, index, need, scores, g, first, last, r, left)
                        _clear(weight, g, first, last)
                        _clear(need, g, first, last)
                        if scored:
                            _clear(scores, g, first, last)
                    first, last = _find_run(need, level, groups, last, cols)
    _merge(back, slab_rows, cols + w - 1, plane, top, left)
