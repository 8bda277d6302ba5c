"""Layers over each other on the CPU, tile by tile: no plane of a layer is ever written, and a tile sees its own only.

A tile goes through the layers from the front. Of each it loads what the PSFs can reach, alpha times colour and alpha;
rows without alpha are left out of the sums, and so are the pixels that no row reaches. The share that is still open
stays in the tile, and where nothing is open any more the layers behind are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...types import Array
from ..registry import register
from ..threads import run_tasks
from .common.compiler import apart, inner_jit, jit
from .common.rows import add_product, boundary_code, flat_planes, load_span, source, writable
from .common.vectors import STEPS, VECTOR_BYTES, address, correlate
from .psf.direct import Taps
from .psf.runs import VIEWS, Run

__all__ = ["layered_over"]

ROWS, COLUMNS = 24, 256
"""A tile: its halo is loaded for each layer, so it should be large, and its rows should stay in the cache."""


class _Layers(NamedTuple):
    """alphas (K, H, W); images (1 or K, C, H, W); used (K, H, 2): first and one-past-last covered column of a row."""

    alphas: Any
    images: Any
    used: Any


class _Bank(NamedTuple):
    """taps (1 or C, K, h, w, V) running forward; spans (K, h, 2) and bounds (K, 4) of those that are not zero."""

    taps: Any
    spans: Any
    bounds: Any


class _Scratch(NamedTuple):
    """Rows of sums for the views that are filtered together, and the record of `correlate`."""

    sums: Any
    steps: Any


@inner_jit
def _load_layer(
    alpha: Any, colours: Any, used: Any, row: int, left: int, boundary: int, slab: Any, rows: int, width: int, ends: Any
) -> bool:
    """Fill slab (C + 1, rows, width) with alpha . colour and, last, alpha; ends[j] = (first, stop) of its row j.

    Returns whether any pixel is covered. Rows that are not are left as they are.
    """
    apart()
    (height, cols), last, found = alpha.shape, slab.shape[0] - 1, False
    for j in range(rows):
        ends[j, 0], ends[j, 1] = width, 0
        s = source(row + j, height, boundary)
        if s < 0 or used[s, 0] >= used[s, 1]:
            continue
        inside = 0 <= left and left + width <= cols
        if inside and (used[s, 0] >= left + width or used[s, 1] <= left):
            continue
        cover = slab[last, j, :width]
        load_span(alpha, s, left, width + cols, boundary, cover)
        a, b = 0, width
        while a < width and cover[a] == 0:
            a += 1
        while b > a and cover[b - 1] == 0:
            b -= 1
        if a == width:
            continue
        found = True
        ends[j, 0], ends[j, 1] = a, b
        for c in range(last):
            line = slab[c, j, :width]
            load_span(colours[c], s, left, width + cols, boundary, line)
            for q in range(width):
                line[q] *= cover[q]
    return found


@inner_jit
def _filter(
    bank: Any, run: Any, view: int, members: int, slab: Any, ends: Any, top: int, bottom: int, scratch: Any
) -> None:
    """Write sums[m, :n] for the views view + m, from the taps of rows top..bottom whose row of the slab is covered."""
    apart()
    taps, sums, step, level = bank.taps, scratch.sums, scratch.steps[0], run.level
    (_, levels, h, w, views), like, size = taps.shape, taps[0, 0, 0, 0, 0], taps.itemsize
    for m in range(members):
        total = sums[m]
        for q in range(total.size):
            total[q] = 0
    step.out_step, step.line_step, step.group_step, step.member_step = sums.shape[1], slab.shape[1], 1, 1
    step.taps = address(taps) + ((run.bank * levels + level) * h * w * views + view) * size
    step.tap_line, step.tap_step = w * views, views
    step.spans, step.span_step = address(bank.spans) + 16 * level * h, 2
    groups = 1
    if members == 2:
        groups, members = 2, 1
    at = address(slab) + (run.line * slab.shape[1] + run.first) * size
    while top < bottom:
        while top < bottom and ends[run.line + top, 0] >= ends[run.line + top, 1]:
            top += 1
        stop = top
        while stop < bottom and ends[run.line + stop, 0] < ends[run.line + stop, 1]:
            stop += 1
        step.first, step.stop = top, stop
        if top < stop:
            correlate(like, size, groups, members, run.n, address(sums), at, address(scratch.steps))
        top = stop


@inner_jit
def _close(share: Any, sums: Any, closed: float) -> Any:
    """Take what a layer covers from the open shares of a run; return the largest that is left."""
    apart()
    for q in range(share.size):
        left = share[q] * (1 - sums[q])
        share[q] = left if left > closed else 0 * left


@inner_jit
def _layer(
    bank: Any, level: int, slab: Any, ends: Any, rows: int, cols: int, share: Any, light: Any, scratch: Any,
    closed: float,
) -> None:  # fmt: skip
    """Lay one layer under what a tile holds: light (V, C, rows, cols), share (V, 1 or C, rows, cols)."""
    apart()
    (colours, _, _, _, views), channels, bound = bank.taps.shape, slab.shape[0] - 1, bank.bounds[level]
    i0, i1, j0, j1, sums = bound[0], bound[1], bound[2], bound[3], scratch.sums
    for r in range(rows):
        # Rows top .. bottom of the PSF meet covered rows of the slab, columns low .. high of those are covered: pixels
        # first .. stop of this row are all that see the layer.
        top, bottom, low, high = i1, i0, np.int64(1 << 60), np.int64(-1)
        for i in range(i0, i1):
            if ends[r + i - i0, 0] < ends[r + i - i0, 1]:
                top, bottom = min(top, i), i + 1
                low, high = min(low, ends[r + i - i0, 0]), max(high, ends[r + i - i0, 1])
        first, stop = max(0, low - (j1 - j0 - 1)), min(cols, high)
        if top >= bottom or first >= stop:
            continue
        n = stop - first
        for view in range(0, views, VIEWS):
            members = min(VIEWS, views - view)
            for c in range(channels):
                run = Run(c if colours > 1 else 0, level, r - i0, first - j0, n)
                _filter(bank, run, view, members, slab[c], ends, top, bottom, scratch)
                for m in range(members):
                    part = share[view + m, run.bank, r, first:stop]
                    add_product(light[view + m, c, r, first:stop], part, sums[m, :n])
            # Light first, by the share that was open; only then is the share closed by what the layer covers.
            for colour in range(colours):
                run = Run(colour, level, r - i0, first - j0, n)
                _filter(bank, run, view, members, slab[channels], ends, top, bottom, scratch)
                for m in range(members):
                    _close(share[view + m, colour, r, first:stop], sums[m, :n], closed)


@inner_jit
def _any_open(share: Any) -> bool:
    apart()
    for v in range(share.shape[0]):
        for g in range(share.shape[1]):
            for r in range(share.shape[2]):
                line = share[v, g, r]
                for q in range(line.size):
                    if line[q] > 0:
                        return True
    return False


@jit
def _tile(layers: Any, bank: Any, place: Any, tile: Any, normalize: bool, closed: float, y: Any) -> None:
    """Compute a tile (top, left, rows, cols) of y (V C, H, W).

    place: row and column of the image in the extended plane, boundary, vector slack.
    """
    alphas, images, used = layers.alphas, layers.images, layers.used
    taps, bounds = bank.taps, bank.bounds
    top, left, rows, cols = tile
    (colours, levels, h, w, views), channels = taps.shape, images.shape[1]
    above, before, boundary, slack = place
    # The lines of a tile have a little room behind them, for the last vector.
    slab = np.zeros((channels + 1, rows + h, cols + w + slack), dtype=y.dtype)
    share = np.ones((views, colours, rows, cols), dtype=y.dtype)
    light = np.zeros((views, channels, rows, cols), dtype=y.dtype)
    one, zero = share[0, 0, 0, 0], light[0, 0, 0, 0]  # of the dtype of y, which holds nothing yet, or even NaN
    sums = np.zeros((VIEWS, cols + slack), dtype=y.dtype)
    scratch = _Scratch(sums, np.zeros(1, dtype=STEPS))
    ends = np.zeros((rows + h, 2), dtype=np.int64)
    for k in range(levels):
        i0, i1, j0, j1 = bounds[k, 0], bounds[k, 1], bounds[k, 2], bounds[k, 3]
        found = _load_layer(
            alphas[k], images[k if images.shape[0] > 1 else 0], used[k], top + i0 - above, left + j0 - before, boundary,
            slab, rows + i1 - i0 - 1, cols + j1 - j0 - 1, ends,
        )  # fmt: skip
        if found:
            _layer(bank, k, slab, ends, rows, cols, share, light, scratch, closed)
            if not _any_open(share):
                break
    for v in range(views):
        for c in range(channels):
            colour = c if colours > 1 else 0
            for r in range(rows):
                for q in range(cols):
                    cover = 1 - share[v, colour, r, q]
                    scale = (one / cover if cover > closed else zero) if normalize else one
                    y[v * channels + c, top + r, left + q] = light[v, c, r, q] * scale


def _used(alphas: Array) -> Array:
    covered = alphas > 0
    some, width = covered.any(axis=-1), alphas.shape[-1]
    first = np.where(some, covered.argmax(axis=-1), width)
    stop = np.where(some, width - covered[..., ::-1].argmax(axis=-1), 0)
    return np.stack([first, stop], axis=-1).astype(np.int64)


def _stacked(psfs: Sequence[Array]) -> Array:
    """PSFs (V, 1, 1 or C, h, w) of different sizes to one bank (V, K, 1 or C, h, w), centres on each other."""
    h, w = (max(p.shape[axis] for p in psfs) for axis in (-2, -1))
    bank = np.zeros((psfs[0].shape[0], len(psfs), psfs[0].shape[2], h, w), dtype=psfs[0].dtype)
    for k, p in enumerate(psfs):
        top, left = h // 2 - p.shape[-2] // 2, w // 2 - p.shape[-1] // 2
        bank[:, k, :, top : top + p.shape[-2], left : left + p.shape[-1]] = p[:, 0]
    return bank


def _bounds(spans: Array) -> Array:
    rows = spans[..., 0] < spans[..., 1]
    top, bottom = rows.argmax(axis=-1), rows.shape[-1] - rows[:, ::-1].argmax(axis=-1)
    left = np.where(rows, spans[..., 0], np.iinfo(np.int64).max).min(axis=-1)
    right = np.where(rows, spans[..., 1], 0).max(axis=-1)
    bounds: Array = np.where(rows.any(axis=-1)[:, None], np.stack([top, bottom, left, right], axis=-1), [0, 1, 0, 1])
    return bounds.astype(np.int64)


@register("layered_over", namespace="numpy")
def layered_over(
    x: Array,
    alphas: Array,
    psfs: Sequence[Array],
    extents: Any,
    channels: int,
    boundary: str,
    per_layer: bool,
    normalize: bool,
    closed: float,
) -> Array:
    """See `reference.layered_over`; where layers are is found tile by tile.

    Cost: for each view and layer, the area of its PSF for each pixel of its rows that it can be seen at, C + 1 times.
    """
    stacked = _stacked(psfs)
    taps = Taps(stacked[..., ::-1, ::-1])
    own = _Bank(taps.taps, taps.spans, _bounds(taps.spans))
    h, w = stacked.shape[-2:]
    alphas = writable(np.ascontiguousarray(alphas))
    used = _used(alphas)
    planes = flat_planes(x)
    views, (height, width) = len(stacked), alphas.shape[-2:]
    y = np.empty((len(planes), views * channels, height, width), dtype=x.dtype)
    place = (h - 1 - h // 2, w - 1 - w // 2, boundary_code(boundary), 4 * VECTOR_BYTES // x.itemsize)
    limit = x.dtype.type(closed)

    def work(n: int, top: int, left: int) -> None:
        tile = (top, left, min(ROWS, height - top), min(COLUMNS, width - left))
        images = planes[n].reshape(-1, channels, height, width)
        _tile(_Layers(alphas, images, used), own, place, tile, normalize, limit, y[n])

    corners = [(top, left) for top in range(0, height, ROWS) for left in range(0, width, COLUMNS)]
    run_tasks(work, [(n, *corner) for n in range(len(planes)) for corner in corners])
    return y.reshape(*x.shape[:-3], views * channels, height, width)
