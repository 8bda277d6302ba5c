"""Geometry of a photographed grid: perspective (a homography) followed by radial distortion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

__all__ = ["GridGeometry", "fit_geometry"]

Points = np.ndarray[Any, Any]

MOST_DOTS = 3000
"""Dots that the geometry is fitted to; of more, every second, third, ... is taken."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class GridGeometry:
    """Where the dots of a grid lie in a photo.

    Attributes
    ----------
    homography : ndarray of shape (3, 3)
        From grid coordinates (u, v, 1), in units of the spacing, to the undistorted (column, row, 1), px. Which dot is
        (0, 0), and which axis is u, is a matter of convention: a grid looks the same after a quarter turn.
    distortion : tuple of two floats
        k1, k2: a point at distance r from the centre of the frame is seen at ``r (1 + k1 r^2 + k2 r^4)``, r in units of
        half the diagonal. Positive: pincushion, negative: barrel.
    frame : (int, int)
        Height and width of the photo, px.
    """

    homography: Points
    distortion: tuple[float, float]
    frame: tuple[int, int]

    def positions(self, grid: Points) -> Points:
        """Return the (row, column) in the photo, px, of points (u, v) of the grid: (..., 2) to (..., 2)."""
        u, v = grid[..., 0], grid[..., 1]
        x, y, w = (row[0] * u + row[1] * v + row[2] for row in self.homography)
        return np.stack(self._distorted(x / w, y / w), axis=-1)[..., ::-1]

    def _distorted(self, x: Points, y: Points) -> tuple[Points, Points]:
        height, width = self.frame
        cx, cy, unit = (width - 1) / 2, (height - 1) / 2, np.hypot(height, width) / 2
        squared = ((x - cx) ** 2 + (y - cy) ** 2) / unit**2
        factor = 1 + self.distortion[0] * squared + self.distortion[1] * squared**2
        return cx + (x - cx) * factor, cy + (y - cy) * factor

    def jacobians(self, grid: Points) -> Points:
        """Return the derivatives of (row, column) by (u, v): (..., 2) to (..., 2, 2), by central differences."""
        step = 1e-3
        columns = [
            (self.positions(grid + offset) - self.positions(grid - offset)) / (2 * step)
            for offset in np.array([[step, 0.0], [0.0, step]])
        ]
        return np.stack(columns, axis=-1)


def fit_geometry(grid: Points, positions: Points, frame: tuple[int, int]) -> tuple[GridGeometry, Points]:
    """Fit homography and distortion to dots, robustly.

    Parameters
    ----------
    grid, positions : ndarray of shape (n, 2)
        (u, v) of the dots in the grid and (row, column) in the photo.
    frame : (int, int)
        Height and width of the photo.

    Returns
    -------
    geometry : GridGeometry
    residuals : ndarray of shape (n, 2)
        Measured minus fitted positions, px.

    Notes
    -----
    The direct linear transform of normalised coordinates (Hartley) gives the start, least squares with a soft L1 loss
    (Levenberg-Marquardt weights beyond 0.3 px) the result.
    """
    from scipy.optimize import least_squares

    some = slice(None, None, 1 + len(grid) // MOST_DOTS)
    start = _direct_linear_transform(grid, positions[:, ::-1])
    scale = np.array([max(abs(start[i, j]), 1e-12) if (i, j) != (2, 2) else 1.0 for i in range(3) for j in range(3)])
    extent = np.abs(grid).max() + 1
    scale[6:8] = np.maximum(scale[6:8], 0.1 / extent)
    scale[:6] = np.maximum(scale[:6], np.abs(start[:2, :2]).max())

    def geometry(parameters: Points) -> GridGeometry:
        homography = (start.ravel() + np.append(parameters[:8] * scale[:8], 0.0)).reshape(3, 3)
        return GridGeometry(homography=homography, distortion=(float(parameters[8]), float(parameters[9])), frame=frame)

    def residuals(parameters: Points) -> Points:
        return (geometry(parameters).positions(grid[some]) - positions[some]).ravel()

    found = least_squares(residuals, np.zeros(10), loss="soft_l1", f_scale=0.3, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    fitted = geometry(found.x)
    return fitted, positions - fitted.positions(grid)


def _direct_linear_transform(source: Points, target: Points) -> Points:
    """Return the homography from source to target, both (n, 2), with the last entry one."""
    (a, from_source), (b, from_target) = _normalised(source), _normalised(target)
    zero, one = np.zeros(len(a)), np.ones(len(a))
    x, y = b.T
    rows = [
        np.stack([a[:, 0], a[:, 1], one, zero, zero, zero, -x * a[:, 0], -x * a[:, 1], -x], axis=1),
        np.stack([zero, zero, zero, a[:, 0], a[:, 1], one, -y * a[:, 0], -y * a[:, 1], -y], axis=1),
    ]
    _, _, right = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    homography = np.linalg.inv(from_target) @ right[-1].reshape(3, 3) @ from_source
    scaled: Points = homography / homography[2, 2]
    return scaled


def _normalised(points: Points) -> tuple[Points, Points]:
    """Move the mean to zero and the mean distance to sqrt(2); return the points and the matrix that did it."""
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / max(np.hypot(*(points - centre).T).mean(), 1e-12)
    matrix = np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])
    return scale * (points - centre), matrix
