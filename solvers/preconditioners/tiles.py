"""Cutting an image into overlapping squares and blending them again, with the transposes of both."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.boundary import extend, extension_limit, fold

from ..core.types import Array

__all__ = ["Tiles"]


@final
class Tiles:
    """Tiles that blend into each other, each at the centre of a square with a margin.

    Parameters
    ----------
    height, width : int
        Size of the image, px.
    tile : int
        Spacing of the tiles, px.
    overlap : int
        Width over which one tile blends into the next, px, at most `tile`.
    margin : int
        Margin of the squares around the tiles, px.
    boundary : str
        How the image is extended beyond its frame; "replicate" if the image is too small for that rule.

    Attributes
    ----------
    size : int
        Side of a square, tile + overlap + 2 margin.
    down, across : int
        Number of tiles.
    window : ndarray of shape (size, size)
        Weights of the tile in its square, zero in the margin; those of all tiles sum to one.
    """

    def __init__(self, height: int, width: int, tile: int, overlap: int, margin: int, boundary: str) -> None:
        self.height, self.width, self.tile = height, width, tile
        self.size = tile + overlap + 2 * margin
        self.down, self.across = math.ceil((height + overlap) / tile), math.ceil((width + overlap) / tile)
        ramp = np.sin(0.5 * np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
        line = np.concatenate([np.zeros(margin), ramp, np.ones(tile - overlap), ramp[::-1], np.zeros(margin)])
        self.window = line[:, None] * line[None, :]
        self._pieces = math.ceil(self.size / tile)
        self._before = overlap + margin
        self._after = tuple(
            (count - 1) * tile + self.size - self._before - length
            for count, length in ((self.down, height), (self.across, width))
        )
        reach = max(self._before, *self._after)
        limits = [extension_limit(length, boundary) for length in (height, width)]
        self.boundary = boundary if all(limit is None or reach <= limit for limit in limits) else "replicate"

    def centres(self, halo: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Centre of every row and column of tiles, if possible far enough inside that the boundary has no effect."""
        found = []
        for count, length in ((self.down, self.height), (self.across, self.width)):
            middle = self.tile * np.arange(count) - self._before + self.size // 2
            margin = min(halo, (length - 1) // 2)
            found.append(np.clip(middle, margin, length - 1 - margin))
        return found[0], found[1]

    def cut(self, x: Array) -> Array:
        """Return the squares of an image (..., H, W): (..., down, across, size, size)."""
        x = extend(x, (self._before,) * 2, (self._after[0], self._after[1]), self.boundary)
        return self._split(self._split(x, self.down, -2), self.across, -1)

    def cut_adjoint(self, squares: Array) -> Array:
        """Transpose of `cut`."""
        x = self._add(self._add(squares, -1), -2)
        return fold(x, (self._before,) * 2, (self._after[0], self._after[1]), self.boundary)

    def join(self, squares: Array) -> Array:
        """Add the squares at their positions and crop to the image: (..., H, W)."""
        x = self._add(self._add(squares, -1), -2)
        first = self._before
        return x[..., first : first + self.height, first : first + self.width]

    def join_adjoint(self, x: Array) -> Array:
        """Transpose of `join`."""
        x = extend(x, (self._before,) * 2, (self._after[0], self._after[1]), "zero")
        return self._split(self._split(x, self.down, -2), self.across, -1)

    def _split(self, x: Array, count: int, axis: int) -> Array:
        """Cut overlapping pieces along the last axis but one (-2) or, of its result, the last (-1).

        (..., rows, W) -> (..., count, size, W); (..., size, columns) -> (..., count, size, size).
        """
        xp = array_namespace(x)
        if axis == -1:
            moved = self._split(xp.matrix_transpose(x), count, -2)  # (..., down, across, size, size^T)
            return xp.matrix_transpose(moved)
        lead, columns = tuple(x.shape[:-2]), x.shape[-1]
        missing = (count + self._pieces - 1) * self.tile - x.shape[-2]
        x = xp.concat([x, _zeros(x, (*lead, missing, columns))], axis=-2) if missing else x
        blocks = xp.reshape(x, (*lead, count + self._pieces - 1, self.tile, columns))
        parts = [blocks[..., i : i + count, :, :] for i in range(self._pieces)]
        return xp.concat(parts, axis=-2)[..., : self.size, :]

    def _add(self, pieces: Array, axis: int) -> Array:
        """Transpose of `_split`: (..., count, size, W) -> (..., rows, W), and likewise for the last axis."""
        xp = array_namespace(pieces)
        if axis == -1:
            return xp.matrix_transpose(self._add(xp.matrix_transpose(pieces), -2))
        lead, (count, size, columns) = tuple(pieces.shape[:-3]), pieces.shape[-3:]
        missing = self._pieces * self.tile - size
        if missing:
            pieces = xp.concat([pieces, _zeros(pieces, (*lead, count, missing, columns))], axis=-2)
        total: Array = 0.0
        for i in range(self._pieces):
            part = xp.reshape(pieces[..., i * self.tile : (i + 1) * self.tile, :], (*lead, count * self.tile, columns))
            above, below = (_zeros(part, (*lead, n * self.tile, columns)) for n in (i, self._pieces - 1 - i))
            total = total + xp.concat([above, part, below], axis=-2)
        return total[..., : (count - 1) * self.tile + size, :]


def _zeros(like: Array, shape: tuple[int, ...]) -> Array:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=device(like))
