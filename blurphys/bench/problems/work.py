"""The least work of an operator: bytes that must be moved and arithmetic that must be done.

An operation is one multiply-add, or a separate addition or multiplication: each takes one slot of the arithmetic unit.
All counts are lower bounds of the direct algorithms (no FFT), for the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .contestant import ADJOINT, BOTH, FORWARD

__all__ = ["Work", "dual_pixel_work", "gkm_work", "rkr_work"]

FLOAT = 4


@dataclass(frozen=True)
class Work:
    """Bytes to move and operations to do."""

    bytes: int
    operations: int

    def seconds(self, bandwidth: float, rate: float) -> float:
        """Return the floor: the larger of bytes / bandwidth (bytes/s) and operations / rate (operations/s)."""
        return max(self.bytes / bandwidth, self.operations / rate)


def _ways(pixels: int, channels: int, maps: int, out: int, operations: int, map_gradient: int) -> dict[str, Work]:
    """Image, maps and result move once in a pass; a pass and its transpose do the same arithmetic.

    Forward + backward: forward reads image and maps and writes the result; backward reads both again with the
    cotangent and writes the gradients of image and maps. The arithmetic is that of forward and adjoint and one
    multiply-add for each product of the map gradient, if all levels were kept; that of the kernels is left out.
    """
    once = FLOAT * pixels * (channels + maps + out)
    both = 2 * once + FLOAT * pixels * (channels + maps)
    return {
        FORWARD: Work(once, operations),
        ADJOINT: Work(once, operations),
        BOTH: Work(both, 2 * operations + map_gradient),
    }


def rkr_work(pixels: int, channels: int, levels: int, taps: int) -> dict[str, Work]:
    """RKR: for each level but the first, `taps` along columns, `taps` along rows and one for the map; float32."""
    per_value = (levels - 1) * (2 * taps + 1) + 1
    values = pixels * channels
    return _ways(pixels, channels, levels, channels, values * per_value, values * levels)


def gkm_work(pixels: int, channels: int, halves: Sequence[int]) -> dict[str, Work]:
    """GKM: vertical sums ``x[-t] + x[t]`` once for all kernels, then for a kernel of half-width h > 0: h + 1 taps along
    columns, h sums and h + 1 taps along rows; one more for each map; float32.
    """
    per_value = max(halves) + sum(3 * h + 2 if h else 0 for h in halves) + len(halves)
    values = pixels * channels
    return _ways(pixels, channels, len(halves), channels, values * per_value, values * len(halves))


def dual_pixel_work(pixels: int, channels: int, views: int, taps: int) -> dict[str, Work]:
    """Dual pixel: `taps` is the sum over pixels and views of the non-zero taps of the pixel's own PSF; float32."""
    return _ways(pixels, channels, 1, views * channels, channels * taps, pixels * views * channels)
