"""Runs `psf_tile` over an image: the frame of a primitive, its kernels prepared, the order in which results are added.

Gather and scatter are one computation. Scatter, ``T = <u, sum_l h_l * E(w_l . x)>``, is the gather form on the extended
domain with the roles of image and cotangent exchanged: u is filtered with the mirrored kernels, E w and E x weigh it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ....types import Array
from ...threads import run_tasks
from ..common.rows import boundary_code, row_strips
from ..common.vectors import VECTOR_BYTES
from .tile import COLUMNS, Bank, Given, Results, psf_tile

__all__ = ["Frame", "Taps", "direct_pass", "gather_frame", "gradient_rows", "scatter_frame", "tile_runner"]

Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """Where the image and the maps lie.

    Attributes
    ----------
    domain : (int, int)
        Rows and columns where filtered values are wanted.
    image, maps : (row, column, reach, boundary)
        Pixel (0, 0) of what is filtered lies there in the extended plane, that of the maps and of the cotangent there
        in the domain; columns beyond `reach` px off the frame are zero.
    """

    domain: tuple[int, int]
    image: Place
    maps: Place


def gather_frame(shape: tuple[int, int], support: tuple[int, int], boundary: str) -> Frame:
    """Return the frame of the gather form: the image is extended, the maps are not."""
    h, w = support
    code = boundary_code(boundary)
    return Frame(shape, (h - 1 - h // 2, w - 1 - w // 2, w // 2, code), (0, 0, 0, code))


def scatter_frame(shape: tuple[int, int], support: tuple[int, int], boundary: str) -> Frame:
    """Return the frame of the scatter form: zeros around the cotangent, the maps and the image extended."""
    (rows, cols), (h, w) = shape, support
    before = (h - 1 - h // 2, w - 1 - w // 2)
    return Frame(
        (rows + h - 1, cols + w - 1),
        (h - 1, w - 1, 0, boundary_code("zero")),
        (*before, w // 2, boundary_code(boundary)),
    )


def _spans(taps: Array) -> Array:
    """First and one-past-last column that is not zero, over views and colours: (1 or C, L, h, w, V) to (L, h, 2)."""
    used = (taps != 0).any(axis=(0, 4))
    width = used.shape[-1]
    first = np.where(used.any(axis=-1), used.argmax(axis=-1), width)
    last = np.where(used.any(axis=-1), width - used[..., ::-1].argmax(axis=-1), 0)
    return np.ascontiguousarray(np.stack([first, last], axis=-1).astype(np.int64))


class Taps:
    """PSFs as the kernel wants them.

    Parameters
    ----------
    forward : array of shape (V, L, 1 or C, h, w)
        Running forward over the plane: the mirrored PSFs for the gather form, the PSFs themselves for scatter.
    """

    def __init__(self, forward: Array) -> None:
        self.taps = np.array(forward.transpose(2, 1, 3, 4, 0), order="C")
        self.mirrored = np.array(forward[..., ::-1, ::-1].transpose(2, 1, 0, 3, 4), order="C")
        self.spans = _spans(self.taps)
        following = self.spans[np.minimum(np.arange(1, len(self.spans) + 1), len(self.spans) - 1)]
        first = np.minimum(self.spans[..., 0], following[..., 0])
        self.pairs = np.stack([first, np.maximum(self.spans[..., 1], following[..., 1])], axis=-1)
        width = self.taps.shape[3]
        self.spans_mirrored = np.ascontiguousarray(width - self.spans[:, ::-1, ::-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(1 or C, L, h, w, V)"""
        return self.taps.shape

    @cached_property
    def areas(self) -> Array:
        """How many taps of each level are visited: (L,)."""
        return np.maximum(self.spans[..., 1] - self.spans[..., 0], 0).sum(axis=-1)

    @property
    def bank(self) -> Bank:
        return Bank(self.taps, self.mirrored, self.spans, self.pairs, self.spans_mirrored)


def tile_runner(
    image: Array,
    given: Array | None,
    taps: Taps,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    frame: Frame,
    dense: bool,
) -> Callable[..., None]:
    """Return ``run(n, m, tile, results)``: `psf_tile` on image n with the maps m.

    Arguments as those of `direct_pass`.
    """
    dtype, levels = taps.taps.dtype, taps.shape[1]
    none2, none3 = np.zeros((0, 0), dtype=dtype), np.zeros((0, 0, 0), dtype=dtype)
    ones = np.zeros((levels, 0, 0), dtype=dtype)
    no_index = np.zeros((0, 0), dtype=np.int64)

    def run(n: int, m: int, tile: tuple[int, int, int, int], results: Results) -> None:
        own = Given(
            image=image[n],
            image_place=frame.image,
            cotangent=none3 if given is None else given[n],
            place=frame.maps,
            weights=none3 if located is not None else ones if weights is None else weights[m],
            index=no_index if located is None else located[0][m],
            fraction=none2 if located is None else located[1][m],
        )
        psf_tile(own, taps.bank, tile, dense, results)

    return run


def gradient_rows(taps: Taps, count: int) -> Array:
    """Return zeros for `count` sums of the gradient of the taps, ((1 or C) L V h, w or a little more) each."""
    own, levels, h, w, views = taps.shape
    size = taps.taps.itemsize
    wide = -(-w * size // VECTOR_BYTES) * VECTOR_BYTES // size
    return np.zeros((count, own * levels * views * h, wide), dtype=taps.taps.dtype)


CHUNKS = 16
"""Into how many sums the gradient of the PSFs is split at most; their number sets the order of additions, not the
threads."""


def direct_pass(
    image: Array,
    given: Array | None,
    taps: Taps,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    frame: Frame,
    channels: int,
    wanted: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """Compute what is wanted of (y, plane, gtaps, gmaps) on the domain of a frame.

    Parameters
    ----------
    image : array of shape (N, C, H, W)
        What is filtered. Not read where only `plane` is wanted.
    given : array of shape (N, V C, H, W), or None
        The cotangent u; only `y` does without it.
    taps : Taps
    weights : array of shape (1 or N, L, H, W), or None
        None stands for ones, or for `located`.
    located : (index, fraction), arrays of shape (1 or N, H, W), or None
        Lower level and weight of the upper one.
    frame : Frame
    channels : int
    wanted : four bools

    Returns
    -------
    y : (N, V C, rows, cols)
    plane : (N, C, rows + h - 1, cols + w - 1)
        What u sends back to the extended plane.
    gtaps : (V, L, 1 or C, h, w)
        For taps that run forward; also for those that are zero.
    gmaps : (1 or N, L, rows, cols), or (1 or N, rows, cols) for the fraction

    Notes
    -----
    Tiles that send something back are at least as large as the PSFs and run in four rounds, no two tiles of one round
    adding to the same pixel. The order of additions, and so the result to the last bit, does not depend on the
    number of threads.
    """
    want_y, want_plane, want_taps, want_maps = wanted
    own, levels, h, w, views = taps.shape
    (rows, cols), count, dtype = frame.domain, len(image), taps.taps.dtype
    maps_given: Any = weights if located is None else located[0]
    items = 1 if maps_given is None else len(maps_given)
    y = np.zeros((count, views * channels if want_y else 0, rows, cols), dtype=dtype)
    plane = np.zeros((count, channels if want_plane else 0, rows + h - 1, cols + w - 1), dtype=dtype)
    gweights = np.zeros((items, levels if want_maps and located is None else 0, rows, cols), dtype=dtype)
    gfraction = np.zeros((items, rows if want_maps and located is not None else 0, cols), dtype=dtype)
    run = tile_runner(image, given, taps, weights, located, frame, want_maps)

    height, width = max(32, h - 1), max(COLUMNS, w - 1)
    row_parts, col_parts = row_strips(rows, height), row_strips(cols, width)
    tiles = [
        (i, j, (top, left, bottom - top, right - left))
        for i, (top, bottom) in enumerate(row_parts)
        for j, (left, right) in enumerate(col_parts)
    ]
    groups = [range(count)] if want_maps and items == 1 else [range(n, n + 1) for n in range(count)]
    units = [(i % 2 + 2 * (j % 2) if want_plane else 0, tile, group) for group in groups for i, j, tile in tiles]
    chunks = len(units)
    if want_taps:  # no more memory than an image for the sums
        chunks = max(1, min(CHUNKS, len(units), count * channels * rows * cols // (taps.taps.size)))
    gtaps = gradient_rows(taps, chunks) if want_taps else np.zeros((chunks, 0, 0), dtype=dtype)

    def work(turn: int, chunk: int) -> None:
        for phase, tile, group in units[chunk::chunks]:
            if phase != turn:
                continue
            for n in group:
                m = n if items > 1 else 0
                run(n, m, tile, Results(y[n], plane[n], gtaps[chunk], gweights[m], gfraction[m]))

    for turn in sorted({unit[0] for unit in units}):
        run_tasks(work, [(turn, c) for c in range(chunks) if any(unit[0] == turn for unit in units[c::chunks])])
    learned = None
    if want_taps:
        total = gtaps[..., :w].sum(axis=0, dtype=np.float64).astype(dtype)
        learned = total.reshape(own, levels, views, h, w).transpose(2, 1, 0, 3, 4)
    maps = (gfraction if located is not None else gweights) if want_maps else None
    return y if want_y else None, plane if want_plane else None, learned, maps
