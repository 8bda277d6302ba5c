"""Parts of the frame that are restored one by one, each with the PSFs that hold there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple, final

from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ..estimation.dual_pixel.candidates import regions

__all__ = ["Tile", "tiles_of"]


@final
class Tile(NamedTuple):
    """A rectangle of the frame, the larger one that it is computed from, and the PSFs of its region."""

    rows: slice
    cols: slice
    around: tuple[slice, slice]
    bank: PSFBank | Pupil

    @property
    def inner(self) -> tuple[slice, slice]:
        """The rectangle within the larger one."""
        (rows, cols), (outer_rows, outer_cols) = (self.rows, self.cols), self.around
        return (
            slice(rows.start - outer_rows.start, rows.stop - outer_rows.start),
            slice(cols.start - outer_cols.start, cols.stop - outer_cols.start),
        )


def tiles_of(
    pupil: Pupil | PSFBank | Sequence[Sequence[PSFBank]], shape: tuple[int, int], nodes: str, *, side: int, margin: int
) -> Iterator[Tile]:
    """Yield tiles of at most `side` px that together make up the frame, each with `margin` px of its surroundings."""
    for region in regions(pupil, shape, nodes):
        for rows in _parts(region.rows, side):
            for cols in _parts(region.cols, side):
                around = tuple(
                    slice(max(0, span.start - margin), min(size, span.stop + margin))
                    for span, size in zip((rows, cols), shape, strict=True)
                )
                yield Tile(rows, cols, (around[0], around[1]), region.bank)


def _parts(span: slice, side: int) -> list[slice]:
    """Return the fewest parts of nearly equal length, at most `side` each."""
    length = span.stop - span.start
    count = max(1, ceil(length / side))
    edges = [span.start + length * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
