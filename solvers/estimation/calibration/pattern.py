"""Draw a dot grid under a known geometry, anti-aliased."""

from __future__ import annotations

from typing import Any

import numpy as np

from .geometry import GridGeometry

__all__ = ["draw_dots"]

Image = np.ndarray[Any, Any]

SUB = 4
"""Subpixels along each axis; a subpixel that an edge crosses counts by the distance of its centre from the edge."""

LOBES = 6
"""Zero crossings of the windowed sinc that removes what pixels cannot represent."""


def draw_dots(
    geometry: GridGeometry, grid: Image, diameter: float, *, band_limited: bool = True, sub: int = SUB
) -> Image:
    """Return the share of each pixel that dots cover.

    Parameters
    ----------
    geometry : GridGeometry
    grid : ndarray of shape (n, 2)
        (u, v) of the dots to draw.
    diameter : float
        Of a dot, in units of the spacing.
    band_limited : bool
        Whether frequencies above the Nyquist frequency of the pixels are removed before sampling; otherwise they are
        aliased, as in a photo by an ideal lens.

    Returns
    -------
    ndarray of shape (H, W)
        float64. Each dot is an ellipse, the image of a circle under the geometry linearised at its centre.
    """
    height, width = geometry.frame
    centres, jacobians = geometry.positions(grid), geometry.jacobians(grid)
    stretch = np.linalg.norm(jacobians, axis=(1, 2)).max(initial=1.0)
    margin = LOBES if band_limited else 0
    reach = int(np.ceil(diameter / 2 * stretch)) + 1 + margin
    near = (centres > -reach).all(axis=1) & (centres < np.array([height, width]) + reach).all(axis=1)
    centres, jacobians = centres[near], jacobians[near]
    size = 2 * reach + 1
    image = np.zeros((height + 2 * size, width + 2 * size))
    filters = _decimation(size, sub, band_limited)
    offsets = (np.arange(size * sub) + 0.5) / sub - 0.5 - reach  # of the subpixels from the middle pixel
    inverse = np.linalg.inv(jacobians)
    for centre, matrix in zip(centres, inverse, strict=True):
        corner = np.rint(centre).astype(int)
        dy, dx = offsets - (centre[0] - corner[0]), offsets - (centre[1] - corner[1])
        u = matrix[0, 0] * dy[:, None] + matrix[0, 1] * dx
        v = matrix[1, 0] * dy[:, None] + matrix[1, 1] * dx
        radius = np.sqrt(u * u + v * v)
        # Distance from the edge, px: the difference of radii over the length of the gradient of the radius.
        gu, gv = matrix[0, 0] * u + matrix[1, 0] * v, matrix[0, 1] * u + matrix[1, 1] * v
        slope = np.sqrt(gu * gu + gv * gv) / np.maximum(radius, 1e-12)
        covered = np.clip(0.5 + sub * (diameter / 2 - radius) / np.maximum(slope, 1e-12), 0, 1)
        top, left = corner + size - reach
        image[top : top + size, left : left + size] += filters @ covered @ filters.T
    return image[size:-size, size:-size]


def _decimation(size: int, sub: int, band_limited: bool) -> Image:
    """Return the matrix from subpixels to pixels along one axis, (size, size * sub)."""
    pixel = np.repeat(np.eye(size), sub, axis=1) / sub
    if not band_limited:
        return pixel
    # Box of one pixel, then a sinc of one pixel under a Hann window of 2 LOBES px: both on the fine grid.
    reach = LOBES * sub
    t = np.arange(-reach, reach + 1) / sub
    sinc = np.sinc(t) * np.cos(np.pi * t / (2 * LOBES)) ** 2
    box = np.ones(sub) / sub
    taps = np.convolve(sinc / sinc.sum(), box)
    n = size * sub
    matrix = np.zeros((size, n))
    for i in range(size):
        start = i * sub + (sub - 1) // 2 - (len(taps) - 1) // 2
        middle = i * sub + (sub - 1) / 2
        start = round(middle - (len(taps) - 1) / 2)
        low, high = max(start, 0), min(start + len(taps), n)
        matrix[i, low:high] = taps[low - start : high - start]
    return matrix
