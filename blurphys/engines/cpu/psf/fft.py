"""PSF mixtures by FFT on the CPU, tile by tile: for PSFs so large that each pixel of its own would cost more.

A tile of the extended plane is transformed once, every kernel multiplies its spectrum, and what comes back is valid on
the tile less the PSF (overlap-save). The transpose runs the other way and adds overlapping tiles. Memory: some tiles
for each thread and the spectra of as many levels as fit a budget, whatever the number of levels. Tiles in which a
level has no weight are skipped. A tile whose values reach too far for a transform (`dynamic_range`) is transformed in
double precision or summed directly, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import log2
from typing import Any

import numpy as np
from scipy import fft

from ....types import Array
from ...dynamic_range import BLOCK, REACH, Way, way_of, widest
from ...threads import run_tasks
from ..common.rows import row_strips
from .direct import CHUNKS, Frame, Taps, gradient_rows, tile_runner
from .tile import Results, load_tile

__all__ = ["fft_pass", "tile_grid"]

OVERHEAD = 25000
"""Calls for a tile, in units of the arithmetic for one point and one bit of their number."""

SPECTRA_BYTES = 2**25
"""Spectra of kernels that are held at a time, bytes (one level at least)."""

MAX_POINTS = 2**18
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
            if points > MAX_POINTS and (count, other_count) != (choices[0][-1][0], choices[1][-1][0]):
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

    def squares(self, m: int, tile: tuple[int, int, int, int], dtype: Any) -> Array | None:
        """Return the sum over levels of the squared weights, None where they are a partition of one."""
        if self.located is not None or self.maps is None:
            return None
        return sum(np.square(self.tile(m, level, tile, dtype), dtype=np.float64) for level in range(self.levels))


def _inside(place: tuple[int, int, int, int], shape: tuple[int, ...], top: int, left: int) -> tuple[slice, slice]:
    """Which blocks of a tile lie in the image, not in its extension."""
    first = (place[0] - top, place[1] - left)
    edges = [(max(0, -(-a // BLOCK)), max(0, (a + n) // BLOCK)) for a, n in zip(first, shape[-2:], strict=True)]
    return slice(*edges[0]), slice(*edges[1])


def _way(x: Array, factor: Array | None, inside: tuple[slice, slice], points: int) -> Way:
    """Choose how a tile (C, rows, cols) is filtered; `factor` multiplies the squares."""
    bits = 8 * x.itemsize
    down, across = (np.arange(0, n, BLOCK) for n in x.shape[-2:])
    for dtype in (x.dtype, np.float64):
        with np.errstate(all="ignore"):  # a square that does not fit is what is looked for
            squares = np.square(x, dtype=dtype)
            if factor is not None:
                squares = squares * factor
            blocks = np.add.reduceat(np.add.reduceat(squares, down, axis=-2), across, axis=-1)
            totals = blocks.sum(axis=(-2, -1), dtype=np.float64)
        if 1 / REACH[32] < totals.min() and totals.max() < REACH[32]:
            break
    lit = np.where(blocks > 0, blocks, np.inf).min(axis=(-2, -1)) / BLOCK**2
    black = (blocks[:, *inside] == 0).any(axis=(-2, -1))
    channels = zip(totals, lit, black, strict=True)
    return widest(*(way_of(float(t), points, float(d), bool(b), bits) for t, d, b in channels))


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
    """Compute what `direct.direct_pass` computes.

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
    heaviest = float(np.square(taps.taps, dtype=np.float64).sum(axis=(2, 3)).max(initial=0))
    ordinary: Way = "single" if dtype == np.float32 and heaviest < REACH[32] else "double"
    moderate = heaviest < REACH[64]  # else, and with NaN among them, no transform at all
    spectrum = (size[0], size[1] // 2 + 1)
    held = max(1, SPECTRA_BYTES // (2 * dtype.itemsize * own * views * spectrum[0] * spectrum[1]))
    chunks = min(len(units), CHUNKS) if want_taps else len(units)

    def transform(x: Array) -> Array:
        return fft.rfft2(x, s=size)

    def restore(x: Array) -> Array:
        return fft.irfft2(x, s=size, overwrite_x=True)

    run = tile_runner(image, given, taps, weights, located, frame, want_maps)
    beside = gradient_rows(taps, chunks) if want_taps else np.zeros((chunks, 0, 0), dtype=dtype)

    def directly(chunk: int, n: int, m: int, tile: tuple[int, int, int, int]) -> None:
        filtered_here = y[n].reshape(views * y.shape[2], rows, cols)
        run(n, m, tile, Results(filtered_here, plane[n], beside[chunk], gweights[m], gfraction[m]))

    for first in range(0, levels, held):
        stop = min(levels, first + held)
        spectra = {dtype: transform(np.moveaxis(taps.taps[:, first:stop], -1, 2))}
        sums = np.zeros((chunks if want_taps else 0, *spectra[dtype].shape), dtype=np.complex128)

        def add(chunk: int, n: int, tile: tuple[int, int, int, int], first: int = first, stop: int = stop,
                spectra: dict[Any, Array] = spectra, sums: Array = sums) -> None:  # fmt: skip
            m = n if items > 1 else 0
            top, left, tall, broad = tile
            place = slice(top, top + tall), slice(left, left + broad)
            way: Way = ordinary
            if filtered or want_taps:
                slab = np.zeros((channels, *size), dtype=dtype)
                load_tile(image[n], top, left, min(size[0], tall + h - 1), frame.image, slab)
                slab[..., broad + w - 1 :] = 0
                seen = slab[:, : tall + h - 1, : broad + w - 1]
                inside = _inside(frame.image, image.shape, top, left)
                way = widest(way, _way(seen, None, inside, size[0] * size[1]))
            if given is not None:
                u = np.empty((views * channels, tall, broad), dtype=dtype)
                load_tile(given[n], top, left, tall, frame.maps, u)
                if spread:
                    inside = _inside(frame.maps, given.shape, top, left)
                    way = widest(way, _way(u, maps.squares(m, tile, dtype), inside, size[0] * size[1]))
                u = u.reshape(views, channels, tall, broad)
            if way == "direct" or not moderate:
                if first == 0:  # all levels at once
                    directly(chunk, n, m, tile)
                return
            own_dtype = np.dtype(np.float64) if way == "double" else dtype
            if own_dtype not in spectra:
                wide = taps.taps[:, first:stop].astype(own_dtype)
                spectra[own_dtype] = transform(np.moveaxis(wide, -1, 2))
            kernels = spectra[own_dtype]
            if filtered or want_taps:
                pixels = transform(slab.astype(own_dtype, copy=False))
            if given is not None:
                u = u.astype(own_dtype, copy=False)
            total: Any = 0
            low, high = maps.range(m, tile)
            for level in range(max(low, first), min(high, stop)):
                weight = maps.tile(m, level, tile, dtype)
                if not (want_maps or weight.any()):
                    continue
                score: Any = 0
                for v in range(views):
                    kernel = kernels[:, level - first, v]  # (1 or C, ...)
                    # The taps run forward (a correlation): conjugate spectra filter, plain ones send back.
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
            with np.errstate(over="ignore"):  # a result beyond float32 is inf, as in a direct sum
                for phase, tile, group in units[chunk::chunks]:
                    for n in group if phase == turn else ():
                        add(chunk, n, tile)

        for turn in sorted({unit[0] for unit in units}):
            run_tasks(work, [(turn, c) for c in range(chunks) if any(unit[0] == turn for unit in units[c::chunks])])
        if want_taps:
            learned[:, first:stop] += restore(sums.sum(axis=0))[..., :h, :w]
    if want_taps:
        learned += beside[..., :w].sum(axis=0, dtype=np.float64).astype(dtype).reshape(learned.shape)
    return (
        y.reshape(count, views * channels, rows, cols) if want_y else None,
        plane if want_plane else None,
        learned.transpose(2, 1, 0, 3, 4) if want_taps else None,
        (gweights if located is None else gfraction) if want_maps else None,
    )
