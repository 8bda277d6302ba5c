"""Windows for tiles: how far they reach beyond a tile, what they do at the frame's edge, how much memory they need.

Why a window is wider by the halo and one more pixel: where its edge is not the frame's, the cut operator extends the
window by its boundary rule, which is wrong there. Forward, that reaches the halo. In the adjoint, under ``reflect``,
what lies t pixels beyond the edge is folded onto the pixel t inside it, so that it reaches one pixel further. In a
product the halos add up and the one pixel does not. At the frame's own edges windows are clipped, and the boundary
rule acts as it should; under ``circular`` they wrap around.
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
    "Plan",
    "check_operator",
    "chunk_sides",
    "edge_rule",
    "itemsize",
    "known_halo",
    "leaves",
    "margin_of",
    "require_operator",
    "smallest_memory",
    "window_span",
]

SMALLEST_SIDE = 16
"""Tiles chosen from `max_memory` are at least this wide and high (px), and at least as wide as the window's margin."""

WORK = 8
"""Copies of a window's image that an engine may hold: extended planes, sums, spectra. Measured: up to 6, by FFT."""


def leaves(A: LinearOperator) -> dict[int, LinearOperator]:
    """The operators without parts under `A`, each once."""
    if not isinstance(A, Combination):
        return {id(A): A}
    return {key: leaf for part in A.parts for key, leaf in leaves(part).items()}


def require_operator(owner: str, A: Any) -> None:
    """Raise TypeError unless `A` is a LinearOperator."""
    if not isinstance(A, LinearOperator):
        raise TypeError(f"{owner}: expected a LinearOperator, got {type(A).__name__}; is it A.forward instead of A?")


def check_operator(A: LinearOperator, owner: str = "tiled") -> None:
    """Raise TypeError unless every operator under `A` can be cut to a window."""
    require_operator(owner, A)
    for leaf in leaves(A).values():
        if not leaf._has_windows:
            raise TypeError(
                f"{owner}: expected an operator of blurphys or a combination of them, got {type(leaf).__name__}, which "
                f"does not say what it does on a window of the frame"
            )
    known_halo(owner, A)


def known_halo(owner: str, A: LinearOperator) -> int:
    """Return the halo of an operator (px); raise TypeError where one under it does not tell."""
    for leaf in leaves(A).values():
        if leaf.halo is None:
            raise TypeError(
                f"{owner}: expected operators whose halo is known, but {type(leaf).__name__} does not tell how far a "
                f"pixel looks; override `halo`, in px (bp.check(A) measures it)"
            )
    halo = A.halo
    assert halo is not None  # a combination knows it where its parts do
    return halo


def margin_of(A: LinearOperator) -> int:
    """How many pixels of a window lie around the tile."""
    return A.halo + 1 if A.halo else 0


def edge_rule(A: LinearOperator) -> str:
    """What a window does at the frame's edge: "clip", "wrap", or "whole" (takes the whole axis: mixed boundaries)."""
    rules = {getattr(leaf, "boundary", None) == "circular" for leaf in leaves(A).values() if leaf.halo}
    return "whole" if len(rules) == 2 else "wrap" if rules == {True} else "clip"


def window_span(start: int, stop: int, size: int, margin: int, rule: str) -> tuple[Span, slice]:
    """Window of the tile start:stop on an axis of `size` pixels, and where the tile lies in it."""
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
class Plan:
    """What the choice of a tile needs to know; sizes in px, `cost` in bytes for each pixel of a window."""

    frame: tuple[int, int]
    margin: int
    rule: str
    cost: float

    @staticmethod
    def of(A: LinearOperator, size: int, lead: Shape) -> Plan:
        parts = leaves(A).values()
        planes = WORK * max(max(a.in_shape[0], a.out_shape[0]) for a in parts) + 2 * (A.in_shape[0] + A.out_shape[0])
        numbers = sum(a._map_numbers() for a in parts) + prod(lead) * planes
        return Plan(tuple(A.out_shape[-2:]), margin_of(A), edge_rule(A), numbers * size)  # type: ignore[arg-type]

    def bytes(self, tile: tuple[int, int]) -> float:
        """What the largest window of a tiling needs."""
        if self.rule == "whole":
            return self.cost * prod(self.frame)
        rows, cols = (min(n, t + 2 * self.margin) for n, t in zip(self.frame, tile, strict=True))
        return self.cost * (rows * cols)

    def smallest(self) -> tuple[int, int]:
        """Return the smallest tile that is chosen; its window has at most nine times its pixels."""
        height, width = (min(n, max(SMALLEST_SIDE, self.margin)) for n in self.frame)
        return height, width

    def choose(self, memory: float, chunks: tuple[int, int]) -> tuple[int, int]:
        """Return the tile that fits and computes fewest pixels twice, wide ones first: rows lie together on disk."""
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
    """Bytes of a number of `x`; 8 without an array."""
    return 8 if x is None else int(array_namespace(x).finfo(x.dtype).bits) // 8


def smallest_memory(A: LinearOperator, size: int, lead: Shape) -> int:
    """Return the smallest `max_memory` (bytes) with which `tiled` can apply `A` to images with leading axes `lead`.

    `size` is the bytes of a number. Raises TypeError for operators that cannot be cut to windows.
    """
    check_operator(A)
    plan = Plan.of(A, size, lead)
    return ceil(plan.bytes(plan.smallest()))


def chunk_sides(arrays: Iterable[Any], frame: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the largest chunk among HDF5 datasets (..., H, W) or (H, W, ...); (1, 1) without any."""
    found = [(1, 1)]
    for a in arrays:
        if is_stored(a) and a.chunks:
            found.append(a.chunks[-2:] if tuple(a.shape[-2:]) == frame else a.chunks[:2])
    return max(rows for rows, _ in found), max(cols for _, cols in found)
