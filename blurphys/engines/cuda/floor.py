"""The least that a GPU must do for each primitive: bytes through device memory, and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..primitives import Direction, Role, resolve

__all__ = ["Floor", "floor"]


class Floor(NamedTuple):
    """Bytes moved and operations done, for a whole image.

    Attributes
    ----------
    bytes : float
        Every input read once, every output written once.
    flops : float
        Additions and multiplications; a fused multiply-add counts two.
    """

    bytes: float
    flops: float

    def seconds(self, bandwidth: float, rate: float) -> float:
        """Return the larger of the two times, for a bandwidth in bytes/s and a rate in flops/s, both measured."""
        return max(self.bytes / bandwidth, self.flops / rate)


def floor(
    primitive: str,
    *,
    pixels: int,
    channels: int = 3,
    itemsize: int = 4,
    halves: Sequence[int] = (),
    levels: int = 1,
    taps: int = 3,
    views: int = 1,
    area: float = 1.0,
    levels_per_pixel: float | None = None,
) -> Floor:
    """Return the floor of a forward or adjoint primitive (they are equal) without a channel mix.

    Parameters
    ----------
    primitive : str
        ``gaussian_mixture``, ``recursive_mixture``, ``psf_gather``, ``psf_scatter`` or ``psf_interpolate``, with or
        without ``_adjoint``.
    pixels : int
        H W, times the images of the batch.
    channels, itemsize : int
        Colours, and bytes of a number.
    halves : sequence of int
        Half-widths of the Gaussians.
    levels, taps : int
        Levels J of a recursive mixture and taps of its atoms; levels L of a bank.
    views, area : int, float
        Views of a bank, and mean area of the support of a pixel's PSF, px^2.
    levels_per_pixel : float, optional
        Levels with weight at a pixel; 2 for ``psf_interpolate``, else all.

    Returns
    -------
    Floor

    Notes
    -----
    A symmetric separable kernel costs ``6 h + 2`` operations a pixel and colour, an atom ``2 (2 t - 1)``, a PSF
    ``2 area``; the weight of each costs 2 more.
    """
    contract, direction = resolve(primitive)
    images = 2.0 * channels
    if contract.made_of or direction is Direction.GRADIENTS:
        raise ValueError(f"floor: expected the forward direction or the adjoint of a primitive, got {primitive!r}")
    if contract.name == "gaussian_mixture":
        maps, work = float(len(halves)), sum(6.0 * h + 4 for h in halves)
    elif contract.name == "recursive_mixture":
        maps, work = float(levels), (levels - 1) * 2.0 * (2 * taps - 1) + 2.0 * levels
    else:
        interpolates = any(a.role is Role.LEVELS for a in contract.arguments)
        maps = 2.0 if interpolates else float(levels)
        count = levels_per_pixel if levels_per_pixel is not None else (2.0 if interpolates else levels)
        images, work = channels * (1.0 + views), views * count * (2.0 * area + 2)
    return Floor(pixels * itemsize * (images + maps), pixels * channels * work)
