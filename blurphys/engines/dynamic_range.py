"""Whether an image may be filtered by FFT, and in which precision.

Rounding of a transform is relative to the whole tile (its root mean square), that of a direct sum to the pixels under
the PSF. So beside a very bright pixel a transform loses what is dark, and one NaN or inf spoils all. The rule here:
`BLOCK` x `BLOCK` pixels, one block after the other, and the darkest of them may lie below the whole by the factor of
`LIMITS` at most. What is left is at least half of the digits of every local value. Otherwise single precision is
transformed in double precision, and what is beyond that, or not finite, is summed directly.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["BLOCK", "LIMITS", "REACH", "Way", "way_of", "widest"]

Way = Literal["single", "double", "direct"]
"""Transforms in single precision, in double precision, or none."""

BLOCK = 4
"""Side of the blocks, px: below the widths of most PSFs that go by FFT."""

LIMITS = {("single", 32): 2.0**10, ("double", 32): 2.0**40, ("double", 64): 2.0**26}
"""Largest ratio of the tile's root mean square to that of its darkest block, for (way, bits of the data). A relative
error of at most about 4e-4, 4e-4 and 3e-8, measured on steps of that height."""

REACH = {32: 2.0**100, 64: 2.0**900}
"""Sums of squares up to here, and down to its inverse, leave room for a transform and its product with a PSF."""

_ORDER: tuple[Way, ...] = ("single", "double", "direct")


def widest(*ways: Way) -> Way:
    """Return the most careful of some ways."""
    return max(ways, key=_ORDER.index)


def way_of(total: float, points: int, darkest: float, black: bool, bits: int) -> Way:
    """Choose from sums.

    Parameters
    ----------
    total : float
        Largest sum of squares of a channel.
    points : int
        Points of the transform.
    darkest : float
        Smallest mean square of a block that is not black; inf if there is none.
    black : bool
        Whether there are black blocks in the image: what is due there, the tails of PSFs, may be anything down to the
        last digit of a double, which is what a transform in double precision keeps.
    bits : int
        Of the data, 32 or 64.
    """
    if total == 0:
        return "single" if bits == 32 else "double"
    for way in _ORDER[:-1]:
        if (way, bits) not in LIMITS or (way == "single" and black):
            continue
        reach = REACH[32 if way == "single" else 64]
        if 1 / reach < total < reach and total / points <= LIMITS[way, bits] ** 2 * darkest:
            return way
    return "direct"
