"""Direct or by FFT: a cost model for PSF mixtures.

Direct, a pixel with weight of a level pays for the taps of that level's PSF, for each view and colour. By FFT, a tile
with any weight of a level pays for one transform, whatever the PSF. So dense weights and large PSFs go by FFT, small
PSFs and sparse weights directly. Only the ratio of the two costs matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....types import Array
from ..common.rows import writable
from .direct import Frame, Taps, direct_pass
from .fft import fft_pass, tile_grid

__all__ = ["cheaper_pass", "direct_cost", "fft_cost", "prefers_fft"]

# Nanoseconds of one thread with AVX-512 at 2.5 GHz, float32, measured with PATH set to each pass in turn: 1280 x 720, 3
# colours, nine levels of dense weights, PSFs of 9 x 9 to 41 x 41. float64 costs about twice as much either way.
FILTER = (5.0, 0.021)
"""Filtering a pixel directly: for the pixel, and for each tap."""
SEND_BACK = (10.0, 0.023)
"""The same for the transpose."""
LEARN = (5.0, 0.025)
"""The same for the gradient of the taps; all h w taps count, zero or not."""
TRANSFORM = 0.8
"""One real transform with its product and weight, for each point and each bit of the number of points."""
CALL = 20000.0
"""Every tile and level: calls."""

PATH: str | None = None
"""``"direct"`` or ``"fft"`` instead of the model's choice, for tests and measurements."""

SAMPLED = 4
"""One row of so many is looked at to count the pixels of each level of a defocus map."""


def _per_pixel(taps: Taps, wanted: Sequence[bool]) -> Array:
    """Direct cost of a pixel with weight, for each level: (L,)."""
    _, _, h, w, _ = taps.shape
    want_y, want_plane, want_taps, want_maps = wanted
    cost = np.zeros(len(taps.areas))
    if want_y or want_maps:
        cost += FILTER[0] + FILTER[1] * taps.areas
    if want_plane:
        cost += SEND_BACK[0] + SEND_BACK[1] * taps.areas
    if want_taps:
        cost += LEARN[0] + LEARN[1] * h * w
    return cost


def direct_cost(taps: Taps, counts: Array, wanted: Sequence[bool]) -> float:
    """Return the cost of the direct pass for one colour and view; counts (tiles, L) of pixels with weight."""
    return float(counts.sum(axis=0) @ _per_pixel(taps, wanted))


def fft_cost(counts: Array, points: int, wanted: Sequence[bool]) -> float:
    """Return the cost of the pass by FFT for one colour and view, tiles of `points` points."""
    want_y, want_plane, want_taps, want_maps = wanted
    own = TRANSFORM * points * np.log2(points)
    each = own * ((want_y or want_maps) + (want_plane or want_taps)) + CALL
    return float((counts > 0).sum() * each + len(counts) * own)


def _counts(
    weights: Array | None, located: tuple[Array, Array] | None, levels: int, frame: Frame, steps: tuple[int, int],
    dense: bool,
) -> Array:  # fmt: skip
    """Return how many pixels of each tile want each level, (tiles, L), over all items of the maps."""
    rows, cols = frame.domain
    if located is not None:
        index, fraction = (a[:, ::SAMPLED] for a in located)
        items, rows = index.shape[:2]
        broad = -(-cols // steps[1])
        tile = (np.arange(rows) * SAMPLED // steps[0] * broad)[:, None] + np.arange(cols) // steps[1]
        tiles = int(tile[-1, -1]) + 1
        key = (index + (tile + np.arange(items)[:, None, None] * tiles) * levels).ravel()
        low, high = (slice(None), slice(None)) if dense else (fraction.ravel() != 1, fraction.ravel() != 0)
        size = items * tiles * levels
        found = np.bincount(key[low], minlength=size) + np.bincount(key[high] + 1, minlength=size)
        return SAMPLED * found.reshape(-1, levels)
    down, across = (np.arange(0, n, s) for n, s in zip((rows, cols), steps, strict=True))
    if weights is None or dense:
        height = np.diff(np.append(down, rows))
        width = np.diff(np.append(across, cols))
        items = 1 if weights is None else len(weights)
        return np.tile(np.outer(height, width).reshape(-1, 1), (items, levels))
    down, across = down[down < weights.shape[-2]], across[across < weights.shape[-1]]
    parts = [
        np.add.reduceat(np.add.reduceat(item[level] != 0, across, axis=1, dtype=np.int32), down, axis=0).ravel()
        for item in weights
        for level in range(levels)
    ]
    return np.stack(parts).reshape(len(weights), levels, -1).swapaxes(1, 2).reshape(-1, levels)


def prefers_fft(
    taps: Taps,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    frame: Frame,
    wanted: Sequence[bool],
) -> bool:
    """Whether the model expects the pass by FFT to cost less; weights are counted only where that can be."""
    _, levels, h, w, _ = taps.shape
    size, steps = tile_grid((h, w), frame.domain)
    points = size[0] * size[1]
    dense = np.full((1, levels), steps[0] * steps[1])
    if float(_per_pixel(taps, wanted).max()) * dense.sum() <= fft_cost(dense, points, wanted):
        return False  # even if every pixel had weight of the largest PSF
    counts = _counts(weights, located, levels, frame, steps, bool(wanted[3]))
    return fft_cost(counts, points, wanted) < direct_cost(taps, counts, wanted)


def cheaper_pass(
    image: Array,
    given: Array | None,
    taps: Taps,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    frame: Frame,
    channels: int,
    wanted: Sequence[bool],
) -> tuple[Any, Any, Any, Any]:
    """Run the pass that the model prefers; arguments and results as in `direct.direct_pass`."""
    by_fft = prefers_fft(taps, weights, located, frame, wanted) if PATH is None else PATH == "fft"
    run = fft_pass if by_fft else direct_pass
    seen = [None if a is None else writable(a) for a in (image, given, weights)]
    places = None if located is None else (writable(np.asarray(located[0], dtype=np.int64)), writable(located[1]))
    return run(seen[0], seen[1], taps, seen[2], places, frame, channels, wanted)
