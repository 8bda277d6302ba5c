"""Calibrate a lens: from a photo of a printed dot grid to its PSFs over the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from blurphys.inputs import require_float, require_integer, require_number
from blurphys.operators.field import FieldDefocus

from ...core.arrays import to_host
from .detection import find_dots, number_dots, paper_level, refine_centres
from .geometry import GridGeometry, fit_geometry
from .kernels import FieldLeastSquares
from .pattern import cut_patches, dot_spectra

__all__ = ["Calibration", "GridNotFoundError", "calibrate_grid"]

LEAST_DOTS = 25
STRENGTHS = (1e-1, 3e-2, 1e-2, 3e-3)
"""Strengths that are tried, strongest first, in units of the mean of the diagonal of the normal equations."""


class GridNotFoundError(ValueError):
    """No dot grid was found; `candidates` (n, 2) are the (row, column) of what was."""

    candidates: np.ndarray[Any, Any] = np.empty((0, 2))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """PSFs of a lens over the frame, and how they were found.

    Attributes
    ----------
    psfs : ndarray of shape (rows, cols, h, w)
        At the centres of the cells, unit sum, not clipped: noise makes some values negative.
    operator : blurphys.FieldDefocus
        Their blur for images of the shape of the photo, ``nodes="centres"``; `blurphys.save` stores it.
    geometry : GridGeometry
    dots : ndarray of shape (n, 2)
        (row, column) of the dots found, px.
    residual : ndarray of shape (H, W)
        Photo minus model where the pattern is known, else 0.
    misfit : float
        Root mean square of the residual where the pattern is known.
    strength : float
        Chosen weight of the smoothness prior.
    contrast : float
        One minus light of a dot over light of paper, mean of the cells; negative for light dots.
    """

    psfs: np.ndarray[Any, Any]
    operator: FieldDefocus
    geometry: GridGeometry
    dots: np.ndarray[Any, Any]
    residual: np.ndarray[Any, Any]
    misfit: float
    strength: float
    contrast: float


def calibrate_grid(
    photo: Any, *, ratio: float, cells: tuple[int, int] = (8, 12), support: int | None = None
) -> Calibration:
    """Estimate the PSFs of a lens from a photo of a printed dot grid (NumPy result; colours are averaged).

    Parameters
    ----------
    photo : array of shape (C, H, W) or (H, W)
        One photo in linear light that shows the grid in all of the frame; dark dots on light paper or the reverse.
    ratio : float
        Diameter of a dot / distance of neighbouring dots, above 0 and below 0.8.
    cells : (int, int)
        Rows and columns of cells that get a PSF; each should show some 20 dots.
    support : int, optional
        Odd width of the PSFs, px; by default, and at most, 87 % of the smallest distance of neighbouring dots: PSFs
        that are wider cannot be told from PSFs that are moved by a dot.

    Returns
    -------
    Calibration

    Raises
    ------
    GridNotFoundError
        A ValueError: fewer than 25 dots lie on a lattice.
    ValueError
        Values that are not finite, a photo without contrast, a ratio, cells or support out of range.
    TypeError
        Not a floating-point array.

    Notes
    -----
    The photo is paper times (1 - contrast x pattern blurred). Paper is a polynomial of degree 4, dots are found at
    sub-pixel accuracy, geometry is a homography and radial distortion, and the PSFs solve one linear least-squares
    problem with a penalty on their differences. Its strength is the largest of four with a misfit within 1 % of
    that of the weakest. Where in its support a PSF lies cannot be known: a shift of the PSF is a shift of the grid, so
    PSFs are centred about as the dots are. Pixels near lattice places at which no dot was found are not used.
    """
    owner = "calibrate_grid"
    require_float(owner, "photo", photo)
    values = to_host(photo)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"{owner}: expected a photo of shape (C, H, W) or (H, W), got {tuple(values.shape)}")
    light = (values.mean(axis=0) if values.ndim == 3 else values).astype(np.float64)
    if not np.isfinite(light).all():
        raise ValueError(f"{owner}: expected finite values, got NaN or inf in the photo")
    require_number(owner, "ratio", ratio, above=0, most=0.8)
    counts = tuple(require_integer(owner, "cells", number) for number in cells)
    if len(counts) != 2:
        raise ValueError(f"{owner}: expected cells as (rows, columns), got {cells}")
    found = find_dots(light)
    grid, index = number_dots(found)
    if len(grid) < LEAST_DOTS or min(np.ptp(grid, axis=0)) < 2:
        error = GridNotFoundError(
            f"{owner}: expected a photo of a dot grid, found {len(grid)} dots on a lattice, at least {LEAST_DOTS} in 3 "
            f"rows are needed; is the grid sharp enough for its dots to be apart?"
        )
        error.candidates = found.positions
        raise error
    geometry, _ = fit_geometry(grid, found.positions[index], light.shape)
    spacing = np.sqrt(np.abs(np.linalg.det(geometry.jacobians(grid.astype(np.float64)))))
    paper = paper_level(light, max(4, round(float(spacing.mean()))), dark=found.dark)
    contrast = (1 - light / paper) if found.dark else (light / paper - 1)
    centres = refine_centres(contrast, found.positions[index], 0.48 * spacing)
    kept = np.isfinite(centres).all(axis=1)
    geometry, _ = fit_geometry(grid[kept], centres[kept], light.shape)
    limit = int(0.87 * spacing.min())
    limit -= 1 - limit % 2
    width = limit if support is None else require_integer(owner, "support", support, 3, odd=True)
    if width > limit:
        raise ValueError(
            f"{owner}: expected support <= {limit} px, 87 % of the distance of neighbouring dots, got {width}"
        )
    pattern = draw_dots(geometry, grid.astype(np.float64), ratio)
    observed = _observed(geometry, grid, ratio, width // 2)
    problem = FieldLeastSquares(pattern, paper, observed, (counts[0], counts[1]), width)
    darkness = paper - light
    tried = []
    for strength in STRENGTHS:
        psfs = problem.solve(darkness, strength)
        residual = np.where(observed, darkness - problem.forward(psfs), 0.0)
        tried.append((strength, psfs, residual, float(np.sqrt((residual[observed] ** 2).mean()))))
    strength, psfs, residual, misfit = next(one for one in tried if one[3] <= 1.01 * tried[-1][3])
    rim = np.concatenate([psfs[:, 0], psfs[:, -1], psfs[:, :, 0], psfs[:, :, -1]], axis=1)

    psfs = psfs - np.median(rim, axis=1)[:, None, None]  # an error of the paper level is a pedestal
    total = psfs.sum(axis=(1, 2))
    if not (np.sign(total) == (1 if found.dark else -1)).all():
        raise ValueError(f"{owner}: some cells show too few dots for a PSF; take fewer cells than {counts}")
    psfs = (psfs / total[:, None, None]).reshape(*counts, width, width)
    shape = (values.shape[0] if values.ndim == 3 else 1, *light.shape)
    operator = FieldDefocus.from_psfs(psfs, shape=shape, nodes="centres")
    return Calibration(
        psfs=psfs, operator=operator, geometry=geometry, dots=centres[kept], residual=-residual, misfit=misfit,
        strength=strength, contrast=float(total.mean()),
    )  # fmt: skip


def _observed(geometry: GridGeometry, grid: Any, ratio: float, half: int) -> Any:
    """Return the pixels that no dot reaches but those found: (H, W) of bool."""
    known = {(int(u), int(v)) for u, v in grid}
    low, high = grid.min(axis=0) - 3, grid.max(axis=0) + 4
    places = [(u, v) for u in range(low[0], high[0]) for v in range(low[1], high[1]) if (u, v) not in known]
    unknown = np.array(places, dtype=np.float64)
    seen = np.ones(geometry.frame, bool)
    reaches = half + 1 + ratio / 2 * np.linalg.norm(geometry.jacobians(unknown), axis=(1, 2))
    for (row, col), reach in zip(geometry.positions(unknown), reaches, strict=True):
        rows = slice(max(0, int(row - reach)), max(0, int(row + reach) + 2))
        cols = slice(max(0, int(col - reach)), max(0, int(col + reach) + 2))
        seen[rows, cols] = False
    return seen
