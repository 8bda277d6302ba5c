"""PSF mixtures by FFT on the CPU, tile by tile: for PSFs so large that each pixel of its own would cost more.

A tile of the extended plane is transformed once, every kernel multiplies its spectrum, and what comes back is valid on
the tile less the PSF (overlap-save). The transpose runs the other way and adds overlapping tiles. Memory: some tiles
for each thread and the spectra of as many levels as fit a budget, whatever the number of levels. Tiles in which a
level has no weight are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import log2
from typing import Any

import numpy as np
from scipy import fft

from ..types import Array
from .cpu_psf_direct import CHUNKS, Frame, Taps
from .cpu_psf_tile import load_tile
from .cpu_rows import row_strips
from .threads import run_tasks

__all__ = ["fft_pass", "tile_grid"]

OVERHEAD = 25000
"""Calls for a tile, in units of the arithmetic for one point and one bit of their number."""

SPECTRA_BYTES = 2**25
"""Spectra of kernels that are held at a time, bytes (one level at least)."""

LARGEST = 2**18
"""Points of a tile at most."""


@cache
def tile_grid(support: tuple[int, int], domain: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sides of the transforms, and rows and columns of each tile, with the least arithmetic in all.

    Tiles are not smaller than the PSF reaches, unless one covers the whole axis.
    """
    choices = []
    for n, support_size in zip(domain, support, strict=True):
        reach, fitting = support_size - 1, []
        for parts in range(1, n + 1):
            step = -(-n // parts)
            if parts > 1 and step < max(reach, 32):
                break
            fitting.append((-(-n // step), fft.next_fast_len(step + reach, real=True), step))
        choices.append(fitting)
    best = None
    for count, side, step in choices[0]:
        for other_count, other_side, other_step in choices[1]:
            points, tiles = side * other_side, count * other_count
            if points > LARGEST and (count, other_count) != (choices[0][-1][0], choices[1][-1][0]):
                continue
            cost = tiles * (points * log2(points) + OVERHEAD)
            if best is None or cost < best[0]:
                best = (cost, (side, other_side), (step, other_step))
    assert best is not None  # the last choices are always allowed
    return best[1], best[2]


class _Weights:
    """Weights of one level on one tile, from maps, from (index, fraction), or ones."""

    def __init__(self, maps: Array | None, located: tuple[Array, Array] | None, levels: int, frame: Frame) -> None:
        self.maps, self.located, self.levels, self.frame = maps, located, levels, frame

    def range(self, m: int, tile: tuple[int, int, int, int]) -> tuple[int, int]:
        """Return the levels (low, stop) that may occur."""
        if self.located is None:
            return 0, self.levels
        top, left, rows, cols = tile
        part = self.located[0][m, top : top + rows, left : left + cols]
        return int(part.min()), int(part.max()) + 2

    def tile(self, m: int, level: int, tile: tuple[int, int, int, int], dtype: Any) -> Array:
        top, left, rows, cols = tile
        if self.located is not None:
            index, fraction = (a[m, top : top + rows, left : left + cols] for a in self.located)
            return np.where(index == level, 1 - fraction, np.where(index == level - 1, fraction, 0)).astype(dtype)
        if self.maps is None:
            return np.ones((rows, cols), dtype=dtype)
        out = np.empty((1, rows, cols), dtype=dtype)
        load_tile(self.maps[m, level : level + 1], top, left, rows, self.frame.maps, out)
        return out[0]


def fft_pass(
    image: Array,
    given: Array | None,
    taps: Taps,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    frame: Frame,
    channels: int,
    wanted: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """Compute what `cpu_psf_direct.direct_pass` computes.

    Cost: for each tile and each level with weight in it, one inverse transform per view and colour for y or the
    gradient of the weights, one forward transform for the plane or the gradient of the taps.
    """
    want_y, want_plane, want_taps, want_maps = wanted
    own, levels, h, w, views = taps.shape
    (rows, cols), count, dtype = frame.domain, len(image), taps.taps.dtype
    size, steps = tile_grid((h, w), (rows, cols))
    maps = _Weights(weights, located, levels, frame)
    maps_given: Any = weights if located is None else located[0]
    items = 1 if maps_given is None else len(maps_given)
    filtered, spread = want_y or want_maps, want_plane or want_taps
    y = np.zeros((count, views, channels if want_y else 0, rows, cols), dtype=dtype)
    plane = np.zeros((count, channels if want_plane else 0, rows + h - 1, cols + w - 1), dtype=dtype)
    gweights = np.zeros((items, levels if want_maps and located is None else 0, rows, cols), dtype=dtype)
    gfraction = np.zeros((items, rows if want_maps and located is not None else 0, cols), dtype=dtype)
    learned = np.zeros((own, levels, views, h, w), dtype=dtype)

    tiles = [
        (i % 2 + 2 * (j % 2) if want_plane else 0, (top, left, bottom - top, right - left))
        for i, (top, bottom) in enumerate(row_strips(rows, steps[0]))
        for j, (left, right) in enumerate(row_strips(cols, steps[1]))
    ]
    groups = [range(count)] if want_maps and items == 1 else [range(n, n + 1) for n in range(count)]
    units = [(turn, tile, group) for group in groups for turn, tile in tiles]
    spectrum = (size[0], size[1] // 2 + 1)
    held = max(1, SPECTRA_BYTES // (2 * dtype.itemsize * own * views * spectrum[0] * spectrum[1]))
    chunks = min(len(units), CHUNKS) if want_taps else len(units)

    def transform(x: Array) -> Array:
        return fft.rfft2(x, s=size)

    def restore(x: Array) -> Array:
        return fft.irfft2(x, s=size, overwrite_x=True)

    for first in range(0, levels, held):
        stop = min(levels, first + held)
        kernels = transform(np.moveaxis(taps.taps[:, first:stop], -1, 2))
        sums = np.zeros((chunks if want_taps else 0, *kernels.shape), dtype=kernels.dtype)

        def add(chunk: int, n: int, tile: tuple[int, int, int, int], first: int = first, stop: int = stop,
                kernels: Array = kernels, sums: Array = sums) -> None:  # fmt: skip
            m = n if items > 1 else 0
            top, left, tall, broad = tile
            place = slice(top, top + tall), slice(left, left + broad)
            if filtered or want_taps:
                slab = np.zeros((channels, *size), dtype=dtype)
                load_tile(image[n], top, left, min(size[0], tall + h - 1), frame.image, slab)
                slab[..., broad + w - 1 :] = 0
                pixels = transform(slab)
            if given is not None:
                u = np.empty((views * channels, tall, broad), dtype=dtype)
                load_tile(given[n], top, left, tall, frame.maps, u)
                u = u.reshape(views, channels, tall, broad)
            total: Any = 0
            low, high = maps.range(m, tile)
            for level in range(max(low, first), min(high, stop)):
                weight = maps.tile(m, level, tile, dtype)
                if not (want_maps or weight.any()):
                    continue
                score: Any = 0
                for v in range(views):
                    kernel = kernels[:, level - first, v]  # (1 or C, ...)
                    if filtered:
                        part = restore(pixels * kernel.conj())[:, :tall, :broad]
                        if want_maps:
                            score = score + (u[v] * part).sum(axis=0)
                        if want_y:
                            part *= weight
                            y[n, v][:, *place] += part
                    if spread:
                        sent = transform(weight * u[v])
                        if want_taps:
                            found = sent.conj() * pixels
                            sums[chunk, :, level - first, v] += found if own > 1 else found.sum(axis=0)
                        if want_plane:
                            sent *= kernel
                            total = total + sent
                if want_maps and located is None:
                    gweights[m, level][place] += score
                elif want_maps:
                    lower = located[0][m][place]  # type: ignore[index]
                    gfraction[m][place] += np.where(lower == level - 1, score, 0) - np.where(lower == level, score, 0)
            if want_plane and not isinstance(total, int):
                back = restore(total)[:, : tall + h - 1, : broad + w - 1]
                plane[n][:, top : top + tall + h - 1, left : left + broad + w - 1] += back

        def work(turn: int, chunk: int, add: Any = add) -> None:
            for phase, tile, group in units[chunk::chunks]:
                for n in group if phase == turn else ():
                    add(chunk, n, tile)

        for turn in sorted({unit[0] for unit in units}):
            run_tasks(work, [(turn, c) for c in range(chunks) if any(unit[0] == turn for unit in units[c::chunks])])
        if want_taps:
            learned[:, first:stop] = restore(sums.sum(axis=0))[..., :h, :w]
    return (
        y.reshape(count, views * channels, rows, cols) if want_y else None,
        plane if want_plane else None,
        learned.transpose(2, 1, 0, 3, 4) if want_taps else None,
        (gweights if located is None else gfraction) if want_maps else None,
    )
