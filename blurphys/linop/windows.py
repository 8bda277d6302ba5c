"""Windows around tiles: their margin, what they do at the edges of the frame, and how much memory they need.

The margin is the halo plus one pixel for this reason: at an edge of a window inside the frame, the operator of the
window applies its boundary rule, although the image continues there. In the forward direction this affects pixels up to
the halo from the edge. In the adjoint under ``reflect``, a value t pixels beyond the edge is folded onto the pixel t
inside it, so that one pixel more is affected. In a product the halos add up, but the additional pixel is needed only
once. At the edges of the frame, windows are clipped and the boundary rule applies as it should; under ``circular`` they
wrap around.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf, prod
from typing import Any

from array_api_compat import array_namespace

from ..files.stored import Span, is_stored
from ..types import Array, Shape
from .algebra import Combination
from .base import LinearOperator

__all__ = [
    "TilePlan",
    "check_operator",
    "chunk_sides",
    "edge_rule",
    "itemsize",
    "known_halo",
    "leaves",
    "window_margin",
    "require_operator",
    "smallest_memory",
    "window_span",
]

MIN_SIDE = 16
"""Smallest height and width, px, of tiles chosen from `max_memory`; the margin of the window if that is larger."""

WORKING_COPIES = 8
"""Copies of the image of a window that an engine may hold: padded planes, sums, spectra. Measured: up to 6 (FFT)."""


def leaves(A: LinearOperator) -> dict[int, LinearOperator]:
    """Return the operators without parts in `A`, each once, by their id."""
    if not isinstance(A, Combination):
        return {id(A): A}
    return {key: leaf for part in A.parts for key, leaf in leaves(part).items()}


def require_operator(owner: str, A: Any) -> None:
    """Raise TypeError unless `A` is a LinearOperator."""
    if not isinstance(A, LinearOperator):
        raise TypeError(f"{owner}: expected a LinearOperator, got {type(A).__name__}; is it A.forward instead of A?")


def check_operator(A: LinearOperator, owner: str = "tiled") -> None:
    """Raise TypeError unless every operator in `A` has windows and a known halo."""
    require_operator(owner, A)
    for leaf in leaves(A).values():
        if not leaf._has_windows:
            raise TypeError(
                f"{owner}: expected an operator of blurphys or a combination of them, got {type(leaf).__name__}, which "
                f"has no windows; name its maps, see the notes of LinearOperator"
            )
    known_halo(owner, A)


def known_halo(owner: str, A: LinearOperator) -> int:
    """Return the halo of an operator, px; raise TypeError if that of an operator in it is unknown."""
    for leaf in leaves(A).values():
        if leaf.halo is None:
            raise TypeError(
                f"{owner}: expected operators with a known halo, but that of {type(leaf).__name__} is None; define "
                f"`halo`, in px (bp.check(A) measures it)"
            )
    halo = A.halo
    assert halo is not None  # known for a combination if it is for its parts
    return halo


def window_margin(A: LinearOperator) -> int:
    """Return the number of pixels by which a window is wider than its tile on each side."""
    return A.halo + 1 if A.halo else 0


def edge_rule(A: LinearOperator) -> str:
    """What windows do at the edges of the frame: "clip", "wrap", or, for mixed boundaries, take the "whole" axis."""
    rules = {getattr(leaf, "boundary", None) == "circular" for leaf in leaves(A).values() if leaf.halo}
    return "whole" if len(rules) == 2 else "wrap" if rules == {True} else "clip"


def window_span(start: int, stop: int, size: int, margin: int, rule: str) -> tuple[Span, slice]:
    """Return the window of the tile start:stop on an axis of `size` pixels, and the slice of the tile in the window."""
    low, high = start - margin, stop + margin
    beyond = low < 0 or high > size
    if (beyond and rule == "whole") or high - low >= size:
        return (slice(0, size),), slice(start, stop)
    if beyond and rule == "wrap":
        runs = (slice(low + size, size), slice(0, high)) if low < 0 else (slice(low, size), slice(0, high - size))
        return runs, slice(margin, margin + stop - start)
    low, high = max(low, 0), min(high, size)
    return (slice(low, high),), slice(start - low, stop - low)


@dataclass(frozen=True)
class TilePlan:
    """What determines the size of tiles: sizes in px, `cost` in bytes for each pixel of a window."""

    frame: tuple[int, int]
    margin: int
    rule: str
    cost: float

    @staticmethod
    def of(A: LinearOperator, size: int, lead: Shape) -> TilePlan:
        parts = leaves(A).values()
        planes = WORKING_COPIES * max(max(a.in_shape[0], a.out_shape[0]) for a in parts) + 2 * (
            A.in_shape[0] + A.out_shape[0]
        )
        numbers = sum(a._map_numbers() for a in parts) + prod(lead) * planes
        return TilePlan(tuple(A.out_shape[-2:]), window_margin(A), edge_rule(A), numbers * size)  # type: ignore[arg-type]

    def bytes(self, tile: tuple[int, int]) -> float:
        """Return the bytes that the largest window of a tiling needs."""
        if self.rule == "whole":
            return self.cost * prod(self.frame)
        rows, cols = (min(n, t + 2 * self.margin) for n, t in zip(self.frame, tile, strict=True))
        return self.cost * (rows * cols)

    def smallest(self) -> tuple[int, int]:
        """Return the smallest tile that may be chosen; its window has at most nine times as many pixels."""
        height, width = (min(n, max(MIN_SIDE, self.margin)) for n in self.frame)
        return height, width

    def choose(self, memory: float, chunks: tuple[int, int]) -> tuple[int, int]:
        """Return the tile that fits with the least overlap; wide tiles are preferred: rows are contiguous on disk."""
        # Tiles of full width first, then of 1/2, 1/3, 1/4, 1/6, ... of it: for each width the most rows that fit. Their
        # cost is the size of the window over that of the tile; narrow tiles have to be better by a tenth.
        best, least = self.smallest(), inf
        height, width = self.frame
        pieces = 1
        while (cols := ceil(width / pieces)) >= self.smallest()[1]:
            room = memory / self.cost / min(width, cols + 2 * self.margin)
            rows = height if room >= height else int(room) - 2 * self.margin
            if rows >= self.smallest()[0] and self.bytes((rows, cols)) <= memory:
                rows = ceil(height / ceil(height / rows))
                waste = self.bytes((rows, cols)) / (rows * cols) * (1.0 if pieces == 1 else 1.1)
                if waste < least:
                    best, least = (rows, cols), waste
            pieces += max(1, pieces // 2)
        rows, cols = best
        if rows < height and rows > chunks[0]:
            rows -= rows % chunks[0]
        if cols < width and cols > chunks[1]:
            cols -= cols % chunks[1]
        return rows, cols


def itemsize(x: Array | None) -> int:
    """Bytes of a value of `x`; 8 without an array."""
    return 8 if x is None else int(array_namespace(x).finfo(x.dtype).bits) // 8


def smallest_memory(A: LinearOperator, size: int, lead: Shape) -> int:
    """Return the smallest `max_memory` (bytes) with which `tiled` can apply `A` to images with leading axes `lead`.

    `size` is the bytes of a value. Raises TypeError for operators without windows.
    """
    check_operator(A)
    plan = TilePlan.of(A, size, lead)
    return ceil(plan.bytes(plan.smallest()))


def chunk_sides(arrays: Iterable[Any], frame: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the largest chunk of HDF5 datasets (..., H, W) or (H, W, ...); (1, 1) if none."""
    found = [(1, 1)]
    for a in arrays:
        if is_stored(a) and a.chunks:
            found.append(a.chunks[-2:] if tuple(a.shape[-2:]) == frame else a.chunks[:2])
    return max(rows for rows, _ in found), max(cols for _, cols in found)
