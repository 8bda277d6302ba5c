"""`tiled`: any operator in bounded memory, tile by tile.

Each tile of the output is computed on a window, which is the tile grown on each side by the halo and one more pixel.
The operator of the window (with cropped maps) is applied to the window of the image; its output is correct on the tile.

`windows` explains the additional pixel and what happens at the edges of the frame.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil, prod
from numbers import Integral
from typing import Any, final

from array_api_compat import array_namespace, device, is_numpy_array, is_torch_array

from ..autocast import full_precision, without_autocast
from ..files.stored import Span, flush_file, is_stored, read_window, release_pages, shares_memory, stand_in
from ..frozen import freeze, symbolic, transformed
from ..inputs import require_integers, require_number, require_same_kind
from ..progress import watch
from ..types import Array, Shape
from .algebra import Combination
from .base import LinearOperator
from .memory import memory_advice
from .windows import TilePlan, check_operator, chunk_sides, edge_rule, itemsize, leaves, window_margin, window_span

__all__ = ["Tiled", "tiled"]

DEFAULT_MEMORY = 2**28
"""Bytes for one tile if neither `tile` nor `max_memory` is given."""


def _recording(x: Array) -> bool:
    """Whether torch may record gradients: then tiles are concatenated instead of written into one array."""
    return is_torch_array(x) and (bool(sys.modules["torch"].is_grad_enabled()) or symbolic() or transformed(x))


@final
@dataclass(frozen=True, eq=False, repr=False)
class Tiled(Combination):
    """An operator that is applied tile by tile; made by `tiled`.

    Parameters
    ----------
    operator : LinearOperator
        The operator.
    tile : (int, int), optional
        Rows and columns of a tile, px.
    max_memory : float, optional
        Bytes for one tile.
    """

    operator: LinearOperator
    tile: tuple[int, int] | None = None
    max_memory: float | None = None

    def __post_init__(self) -> None:
        check_operator(self.operator)
        if self.tile is not None:
            pair = (self.tile, self.tile) if isinstance(self.tile, Integral) and self.tile is not True else self.tile
            freeze(self, tile=require_integers("tiled", "tile", pair))
            if len(self.tile) != 2 or min(self.tile) < 1:
                raise ValueError(f"tiled: expected tile as (rows, columns) of at least 1 px, got {self.tile}")
        if self.max_memory is not None:
            require_number("tiled", "max_memory", self.max_memory, above=0, unit="bytes")
        self.tile_for()

    @property
    def _edges(self) -> tuple[int, str]:
        return window_margin(self.operator), edge_rule(self.operator)

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return (self.operator,)

    @property
    def in_shape(self) -> Shape:
        return self.operator.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.operator.out_shape

    @property
    def halo(self) -> int | None:
        return self.operator.halo

    @property
    def _on_disk(self) -> bool:
        return False

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        return self.operator._window(rows, cols, done)

    def _psf_at(self, row: int, col: int) -> Array:
        return self.operator._psf_at(row, col)

    def __repr__(self) -> str:
        return f"Tiled({self.operator!r}, tile {self.tile_for()})"

    def tile_for(self, lead: Shape | None = None) -> tuple[int, int]:
        """Return the tile (rows, columns) in use, px, for images with leading axes `lead`; by default `batch_shape`.

        Raises
        ------
        ValueError
            If `max_memory` is too small.
        """
        return self._tile_for(self.batch_shape if lead is None else tuple(lead))

    def _tile_for(self, lead: Shape, *images: Any) -> tuple[int, int]:
        plan = TilePlan.of(self.operator, itemsize(self.like), lead)
        least = plan.bytes(plan.smallest() if self.tile is None else self.tile)
        if self.max_memory is not None and least > self.max_memory:
            what = "the smallest tile" if self.tile is None else f"a tile of {self.tile} px"
            raise ValueError(
                f"tiled: expected max_memory of at least {ceil(least)} bytes for {what} of {self.operator!r} with a "
                f"halo of {self.halo} px and {prod(lead)} images at once, got {self.max_memory:g}"
            )
        if self.tile is not None:
            return min(self.tile[0], plan.frame[0]), min(self.tile[1], plan.frame[1])
        chunks = chunk_sides((*images, *(maps for _, maps in self._all_maps())), plan.frame)
        return plan.choose(max(least, self.max_memory or DEFAULT_MEMORY), chunks)

    def _all_maps(self) -> list[tuple[str, Array]]:
        return [(a._maps, getattr(a, a._maps)) for a in leaves(self.operator).values() if a._maps is not None]

    def _check(self, x: Array, method: str, shape: Shape) -> None:
        super()._check(stand_in(x), method, shape)

    def _forward(self, x: Array) -> Array:
        return self._sweep(x, None, adjoint=False)

    def _adjoint(self, y: Array) -> Array:
        return self._sweep(y, None, adjoint=True)

    def forward_into(self, x: Array, out: Array) -> Array:
        """Apply the operator to an image that may be on disk, and write the result to an array that may be on disk too.

        Parameters
        ----------
        x : array, numpy.memmap or h5py.Dataset of shape (..., *in_shape)
            The image; it is read window by window.
        out : array, numpy.memmap or h5py.Dataset of shape (..., *out_shape)
            Receives the result, tile by tile; files are flushed at the end.

        Returns
        -------
        out

        Raises
        ------
        ValueError, TypeError
            As for `forward`, and if `out` has another shape, dtype or device than the result, is read-only, or shares
            memory or a file with the image or the maps. Nothing has been written in that case.

        Notes
        -----
        No gradients are recorded.
        """
        return self._into(x, out, adjoint=False)

    def adjoint_into(self, y: Array, out: Array) -> Array:
        """Apply the adjoint, from an image (..., *out_shape) to an array (..., *in_shape); see `forward_into`."""
        return self._into(y, out, adjoint=True)

    def _into(self, x: Array, out: Array, *, adjoint: bool) -> Array:
        method = "adjoint_into" if adjoint else "forward_into"
        x = full_precision(x, self.like)
        self._check(x, method, self.out_shape if adjoint else self.in_shape)
        self._check_sink(f"Tiled.{method}", x, out, self.in_shape if adjoint else self.out_shape)
        quiet = sys.modules["torch"].no_grad() if is_torch_array(x) else nullcontext()
        with quiet, without_autocast(x), memory_advice(self, x, method.removesuffix("_into")):
            self._sweep(x, out, adjoint=adjoint)
        flush_file(out)
        return out

    def _check_sink(self, owner: str, x: Array, out: Array, shape: Shape) -> None:
        require_same_kind(owner, "out", stand_in(out), "the image", stand_in(x))
        wanted = (*x.shape[:-3], *shape)
        if tuple(out.shape) != wanted:
            raise ValueError(f"{owner}: expected out of shape {wanted}, got {tuple(out.shape)}")
        if (is_stored(out) and out.file.mode == "r") or (is_numpy_array(out) and not out.flags.writeable):
            raise ValueError(f"{owner}: expected out to be writable, got a read-only one; open its file with mode 'r+'")
        for name, other in (("image", x), *self._all_maps()):
            if shares_memory(other, out):
                raise ValueError(
                    f"{owner}: expected out apart from the {name}, got a common part: tiles would read results"
                )

    def _sweep(self, x: Array, out: Array | None, *, adjoint: bool) -> Array:
        shape = self.in_shape if adjoint else self.out_shape
        height, width = shape[-2:]
        lead = tuple(x.shape[:-3])
        rows, cols = self._tile_for(lead, x, out)
        kind = stand_in(x)  # for an image on disk: an array of its shape and dtype
        xp, join = array_namespace(kind), out is None and _recording(x)
        if out is None and not join:
            out = xp.empty((*lead, *shape), dtype=kind.dtype, device=device(kind))
        # With gradients the tiles are concatenated along rows, then along columns; else each is written into `out`.
        strips = []
        count = ceil(height / rows) * ceil(width / cols)
        with nullcontext(lambda: None) if symbolic() else watch("tiled", count) as advance:
            for top in range(0, height, rows):
                strip = []
                r = slice(top, min(top + rows, height))
                for left in range(0, width, cols):
                    c = slice(left, min(left + cols, width))
                    if join:
                        strip.append(self._tile(x, r, c, adjoint=adjoint))
                    else:
                        out[..., r, c] = self._tile(x, r, c, adjoint=adjoint)  # type: ignore[index]
                        release_pages(out)
                    advance()
                strips.append(xp.concat(strip, axis=-1) if join else None)
        return xp.concat(strips, axis=-2) if join else out

    def _tile(self, x: Array, rows: slice, cols: slice, *, adjoint: bool) -> Array:
        """Compute one tile of the result: apply the operator of its window to the window of the image."""
        A, (height, width) = self.operator, self.out_shape[-2:]
        margin, rule = self._edges
        r, inner_r = window_span(rows.start, rows.stop, height, margin, rule)
        c, inner_c = window_span(cols.start, cols.stop, width, margin, rule)
        part, window = A._window(r, c, {}), read_window(x, r, c)
        y = part._adjoint(window) if adjoint else part._forward(window)
        return y[..., inner_r, inner_c]


def tiled(A: LinearOperator, tile: int | tuple[int, int] | None = None, *, max_memory: float | None = None) -> Tiled:
    """Return `A` as an operator that is applied tile by tile: the same result in bounded memory.

    Parameters
    ----------
    A : LinearOperator
        Any operator of the package, or a combination of them. Its maps may be `numpy.memmap` arrays or, for NumPy
        images, `h5py.Dataset` objects, which are read window by window.
    tile : int or (int, int), optional
        Rows and columns of a tile of the output, px. Chosen from `max_memory` if omitted.
    max_memory : float, optional
        Bytes that the computation of one tile may take: the windows of the maps and of the image, the result, and an
        estimate of the engine's intermediate arrays. Arrays that are in memory anyway, including the full result, do
        not count. 256 MiB if neither is given. More images at once (leading axes) make smaller tiles.

    Returns
    -------
    Tiled
        `forward` and `adjoint` equal those of `A` up to rounding and also take images on disk; `forward_into` and
        `adjoint_into` write to an array or a file. torch records gradients through all but these two.

    Raises
    ------
    TypeError
        If `A`, or an operator in it, has no windows.
    ValueError
        If tile or max_memory is not positive, or max_memory is too small; the message has the smallest value that
        works.

    Notes
    -----
    Each tile is computed on a window that is wider by ``A.halo + 1`` px on each side, so that pixels near the edges of
    tiles are computed up to four times: the cost grows by ``1 + 2 (halo + 1) / side`` in each direction. Tiles are as
    wide as the image if memory allows; with chunked HDF5 data they follow the rows of chunks. Pages of memory-mapped
    files are released after each window. An operator that mixes ``circular`` with other boundaries needs full axes at
    the edges of the frame, so its memory is not bounded. On a terminal, a progress bar appears on stderr after 5 s.
    `torch.compile` supports the operator itself, not the tiled one.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> A = bp.GKM(np.full((2, 60, 80), 0.5), sigmas=(0.0, 1.5))
    >>> T = bp.tiled(A, tile=32)
    >>> x = np.random.default_rng(0).random((3, 60, 80))
    >>> bool(np.allclose(T(x), A(x), rtol=0, atol=1e-14))
    True
    """
    return Tiled(A, tile, max_memory)  # type: ignore[arg-type]
