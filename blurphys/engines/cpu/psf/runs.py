"""Runs of pixels side by side that want the same levels of PSFs: found, filtered, and sent back.

A run is filtered with all views, and with two levels where its pixels want both: each pixel that is loaded serves up to
six kernels. Every function here describes its walk through memory as a record of `STEPS` and leaves the arithmetic to
`correlate`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..common.compiler import apart, inner_jit, wide_vectors
from ..common.vectors import VECTOR_BYTES, address, correlate

__all__ = ["VIEWS", "Run", "add_weighted", "filter_run", "find_run", "learn", "send_back", "weigh"]

GAP = VECTOR_BYTES // 4
"""Pixels without weight that a run of pixels goes on over: splitting it would cost as much as they do."""

VIEWS = 3
"""Views that are filtered together."""


class Run(NamedTuple):
    """n pixels side by side that want a level: their PSFs, and where their row of the tile's plane begins."""

    bank: int
    level: int
    line: int
    first: int
    n: int


@inner_jit
def find_run(need: Any, level: int, groups: int, start: int, stop: int) -> Any:
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
def filter_run(
    taps: Any, spans: Any, run: Any, groups: int, view: int, members: int, slab: Any, sums: Any, steps: Any
) -> None:
    """Write sums[g members + m, :n] for the levels level + g and the views view + m of a colour's bank.

    spans (L, h, 2) are those of the level, or of it and the next. The run starts at slab[line, first].
    """
    apart()
    wide_vectors()
    level, step = run.level, steps[0]
    (_, levels, h, w, views), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    for m in range(groups * members):
        total = sums[m]
        for q in range(total.size):
            total[q] = 0
    # Rows of zeros above and below the PSF are left out here, those between by their empty spans.
    top, bottom = 0, h
    while top < h and spans[level, top, 0] >= spans[level, top, 1]:
        top += 1
    while bottom > top and spans[level, bottom - 1, 0] >= spans[level, bottom - 1, 1]:
        bottom -= 1
    step.out_step, step.line_step = sums.shape[1], slab.shape[1]
    step.taps = address(taps) + ((run.bank * levels + level) * h * w * views + view) * size
    step.group_step, step.member_step = h * w * views, 1
    step.tap_line, step.tap_step = w * views, views
    step.spans, step.span_step = address(spans) + 16 * level * h, 2
    step.first, step.stop = top, bottom
    # Two views of one level: `correlate` has them as two groups.
    if groups == 1 and members == 2:
        step.group_step = 1
        groups, members = 2, 1
    at = address(slab) + (run.line * slab.shape[1] + run.first) * size
    correlate(like, size, groups, members, run.n, address(sums), at, address(steps))


@inner_jit
def add_weighted(
    weights: Any, i: int, values: Any, k: int, first: int, n: int, out: Any, d: int, r: int, at: int
) -> None:
    """Add ``weights[i, first + q] values[k, q]`` to out[d, r, at + q]."""
    wide_vectors()
    apart()
    line, weight, value = out[d, r, at : at + n], weights[i, first : first + n], values[k, :n]
    for q in range(line.size):
        line[q] += weight[q] * value[q]


@inner_jit
def weigh(weights: Any, level: int, u: Any, d: int, first: int, n: int, z: Any, v: int, w: int) -> None:
    """Write the run ``weights . u`` to z[v], with zeros behind."""
    wide_vectors()
    apart()
    line, weight, value = z[v, w - 1 :], weights[level, first : first + n], u[d, first : first + n]
    for q in range(value.size):
        line[q] = weight[q] * value[q]
    for q in range(n, line.size):
        line[q] = 0


@inner_jit
def send_back(z: Any, taps: Any, spans: Any, run: Any, back: Any, span: Any, steps: Any) -> None:
    """Add what a run of n pixels sends back to the h rows of the plane under it, from back[line, first] on.

    Four rows of the plane at a time. taps are (1 or C, L, V, h, w) in reverse order, the spans (L, h, 2) belong to
    them; z has w - 1 zeros before the run.
    """
    apart()
    (_, levels, views, h, w), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    # The transpose of a correlation is one with the taps mirrored: pixel p of a row of the plane gathers the run under
    # all taps of that row. z has w - 1 zeros before the run and more behind it. Four rows of the PSF at a time, so that
    # a loaded vector of z serves four rows of the plane; they go upwards, hence the negative step. `span` keeps the
    # taps to those that meet the run under these two vectors of p.
    lanes, width, level, n, step = VECTOR_BYTES // size, back.shape[1], run.level, run.n, steps[0]
    start = address(taps) + (run.bank * levels + level) * views * h * w * size
    plane = address(back) + (run.line * width + run.first) * size
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
        step.out_step, step.line_step, step.taps = -width, z.shape[1], start + i * w * size
        step.group_step, step.member_step, step.tap_line, step.tap_step = w, 0, h * w, 1
        step.spans, step.span_step, step.first, step.stop = address(span), 0, 0, z.shape[0]
        p, end = w - b, w - 1 + n - a
        while p < end:
            span[0], span[1] = max(a, w - p - 2 * lanes), min(b, w - 1 + n - p)
            out = plane + ((h - 1 - i) * width + p) * size
            n_out, at = min(2 * lanes, end - p), address(z) + p * size
            correlate(like, size, rows, np.int64(1), n_out, out, at, address(steps))
            p += 2 * lanes
        i += rows


@inner_jit
def learn(z: Any, taps: Any, run: Any, slab: Any, gtaps: Any, span: Any, steps: Any) -> None:
    """Add what a run contributes to the gradient of all taps of a level, zero or not: ``sum_q z[v, q] slab[.., q]``.

    gtaps is (1 or C, L, V, h, at least w).
    """
    apart()
    (_, levels, h, w, views), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    # Here the run is the kernel and the taps are the pixels: row i of the gradient is line + i of the slab, correlated
    # with z. One "row of taps" of n columns.
    wide, step = gtaps.shape[1], steps[0]
    row = (run.bank * levels + run.level) * views * h
    span[0], span[1] = 0, run.n
    for v in range(0, views, VIEWS):
        members = min(VIEWS, views - v)
        groups = 1
        if members == 2:
            groups, members = 2, 1
        step.out_step, step.line_step, step.taps = h * wide, 0, address(z) + (v * z.shape[1] + w - 1) * size
        step.group_step, step.member_step, step.tap_line, step.tap_step = z.shape[1], z.shape[1], 0, 1
        step.spans, step.span_step, step.first, step.stop = address(span), 0, 0, 1
        for i in range(h):
            out = address(gtaps) + (row + v * h + i) * wide * size
            at = address(slab) + ((run.line + i) * slab.shape[1] + run.first) * size
            correlate(like, size, groups, members, w, out, at, address(steps))
