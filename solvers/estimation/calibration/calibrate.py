"""Calibrate a lens: from a photo of a printed dot grid to its PSFs over the frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from blurphys.inputs import require_float, require_integer, require_number
from blurphys.operators.field import FieldDefocus

from ...core.arrays import to_host
from ..dual_pixel.checks import EstimateWarning
from .detection import find_dots, fit_polynomial, number_dots, paper_level, refine_centres
from .geometry import GridGeometry, fit_geometry
from .kernels import FieldLeastSquares, node_weights
from .pattern import cut_patches, dot_spectra

__all__ = ["Calibration", "GridNotFoundError", "calibrate_grid"]

LEAST_DOTS = 25

MOST_PAPER = 60_000
"""Pixels of bare paper to which its level is fitted, about."""

IRREGULAR = 0.03
"""Median distance from the fitted lattice, in units of the spacing, at which what was found is no grid."""

STRENGTHS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Weights of the differences of neighbouring samples that are tried, strongest first."""

ALIKE = 3.0
"""Weight of the differences of neighbouring PSFs over that of neighbouring samples."""

WIDEST = 45
"""Largest support, px: the work per PSF grows with its sixth power."""

Array = np.ndarray[Any, Any]


class GridNotFoundError(ValueError):
    """No dot grid was found; `candidates` (n, 2) are the (row, column) of what looked like dots."""

    candidates: Array = np.empty((0, 2))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """PSFs of a lens over the frame, and how they were found.

    Attributes
    ----------
    psfs : ndarray of shape (rows, cols, h, w)
        At the centres of the cells, float64, not negative, unit sum.
    operator : blurphys.FieldDefocus
        Their blur for images of the shape of the photo, ``nodes="centres"``; `blurphys.save` stores it.
    geometry : GridGeometry
    dots : ndarray of shape (n, 2)
        (row, column) of the dots found, px; at the rim of the frame, where the geometry puts them.
    used : int
        How many of them the PSFs come from: those whose blurred image lies inside the frame.
    residual : ndarray of shape (H, W)
        Photo minus model around these dots, else 0.
    misfit, noise : float
        Root mean square of the residual around the dots, and standard deviation of the photo on bare paper. If the
        misfit is far larger, PSFs vary within a cell, are wider than the support, or the print is not what was assumed.
    strength : float
        Weight of the smoothness prior that predicts dots best that were left out, in units of the mean diagonal of
        the normal equations.
    contrast : float
        One minus light of a dot over light of paper, mean of the cells; negative for light dots.
    """

    psfs: Array
    operator: FieldDefocus
    geometry: GridGeometry
    dots: Array
    used: int
    residual: Array
    misfit: float
    noise: float
    strength: float
    contrast: float


def calibrate_grid(
    photo: Any, *, ratio: float = 0.35, cells: tuple[int, int] = (8, 12), support: int | None = None
) -> Calibration:
    """Estimate the PSFs of a lens from a photo of a printed dot grid.

    Parameters
    ----------
    photo : array of shape (C, H, W) or (H, W)
        One photo in linear light, white being 1, that shows a square grid in all of the frame, its rows about parallel
        to those of the photo; dark dots on light paper or the reverse. Colours are averaged.
    ratio : float
        Diameter of a dot / distance of neighbouring dots, at least 0.05 and at most 0.6.
    cells : (int, int)
        Rows and columns of cells that get a PSF; each should show some 10 dots.
    support : int, optional
        Odd width of the PSFs, px, at most 45, and such that blurred dots do not touch: at most the distance of
        neighbouring dots minus their diameter, about. By default as wide as the mean PSF.

    Returns
    -------
    Calibration
        NumPy arrays, whatever the photo is.

    Raises
    ------
    GridNotFoundError
        A ValueError: fewer than 25 dots lie on a lattice.
    ValueError
        Values that are not finite, a photo that is blank or clipped, a ratio, cells or support out of range, a cell
        with too few dots.
    TypeError
        Not a floating-point array.

    Notes
    -----
    The photo is paper times (1 - contrast x dots blurred). Dots are found at sub-pixel accuracy; the geometry is a
    homography and radial distortion, the paper a polynomial of degree 4 fitted where no dot reaches. The PSFs, which
    vary bilinearly between the centres of the cells, solve one linear least-squares problem for all dots, with a
    penalty on the differences of neighbouring samples and of neighbouring PSFs; its strength is the one that predicts a
    quarter of the dots best from the others. The result is moved to the nearest PSFs without negative values.

    A PSF is what a point of light would leave in the photo, the area of the pixel included. Its position within the
    support cannot be known: a shift of the PSF is a shift of the grid, so PSFs are centred about as the dots are.

    Cost: some 10 s for 2 megapixels, 8 x 12 cells and a support of 17 px on two cores; 130 s and 2.4 GB for 16
    megapixels and 45 px.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> y, x = np.mgrid[:240, :320] / 24 % 1 - 0.5
    >>> dots = np.clip(0.5 + 24 * (0.18 - np.hypot(y, x)), 0, 1)
    >>> blur = bp.Convolution(bp.psf.gaussian(1.2, 9), shape=(1, 240, 320))
    >>> found = calibrate_grid(blur(0.8 - 0.7 * dots[None]), ratio=0.36, cells=(2, 3))
    >>> found.psfs.shape[:2], len(found.dots) > 100
    ((2, 3), True)
    """
    owner = "calibrate_grid"
    light, colours = _checked_photo(owner, photo)
    require_number(owner, "ratio", ratio, least=0.05, most=0.6)
    if len(cells) != 2:
        raise ValueError(f"{owner}: expected cells as (rows, columns), got {cells}")
    rows, cols = (require_integer(owner, "cells", number, 1) for number in cells)
    if support is not None and require_integer(owner, "support", support, 3, odd=True) > WIDEST:
        raise ValueError(f"{owner}: expected support <= {WIDEST} px, got {support}")

    geometry, grid, dots, dark = _locate(owner, light)
    places = grid.astype(np.float64)
    limit, diameter = _widest(geometry, grid, ratio)
    if limit < 3 or (support is not None and support > limit):
        raise ValueError(
            f"{owner}: blurred dots must not touch, which allows a support of {max(limit, 0)} px here, got "
            f"{'none' if support is None else support}; take a smaller one, or photograph a grid of wider spacing, its "
            "rows parallel to those of the photo"
        )
    width = min(limit, WIDEST) if support is None else support
    size = _patch(width, diameter)
    positions, jacobians = geometry.positions(places), geometry.jacobians(places)
    paper, noise = _paper(owner, light, geometry, grid, size)
    inside = ((positions > size / 2 + 1) & (positions < np.array(light.shape) - size / 2 - 2)).all(axis=1)
    positions, jacobians = positions[inside], jacobians[inside]
    weights = node_weights(positions, geometry.frame, (rows, cols))
    poorest = int(np.argmin(weights.sum(axis=0)))
    if weights[:, poorest].sum() < 2:
        raise ValueError(
            f"{owner}: cell ({poorest // cols}, {poorest % cols}) of {rows} x {cols} shows too few dots; expected "
            "fewer cells, or a grid that fills the frame"
        )

    def problem(width: int, weights: Array, cells: tuple[int, int], chosen: Array) -> FieldLeastSquares:
        size = _patch(width, diameter)
        patches, corners = cut_patches(missing, positions[chosen], size)
        middles = np.rint(positions[chosen]).astype(int)
        level = paper[middles[:, 0], middles[:, 1]][:, None, None]  # the noise is that of the light
        spectra = level * dot_spectra(positions[chosen] - corners, jacobians[chosen], ratio, size)
        return FieldLeastSquares(level * patches, spectra, weights[chosen], width, cells)

    missing = 1 - light / paper if dark else light / paper - 1
    every = np.ones(len(positions), bool)
    if support is None:
        mean = problem(width, np.ones((len(positions), 1)), (1, 1), every).solve(STRENGTHS[-1], 0.0)[0]
        width = _extent(mean)
    held_out = np.arange(len(positions)) % 4 == 1
    strength = _best_strength(problem, width, weights, (rows, cols), held_out)
    whole = problem(width, weights, (rows, cols), every)
    free = whole.solve(strength, ALIKE * strength)
    contrast = free.sum(axis=(1, 2))
    if not (contrast > 0).all():
        raise ValueError(f"{owner}: some cells show too few dots for a PSF; expected fewer cells than {rows} x {cols}")
    psfs = _nearest_psfs(free / contrast[:, None, None])
    left = whole.patches - whole.model(psfs * contrast[:, None, None])
    residual = np.zeros_like(light)
    corners = cut_patches(light, positions, whole.m)[1]
    for (row, col), patch in zip(corners, left, strict=True):
        residual[row : row + whole.m, col : col + whole.m] = -patch if dark else patch
    misfit = float(np.sqrt((left**2).mean()))
    if misfit > 5 * noise and misfit > 0.02 * float((np.abs(contrast)).mean() * paper.mean()):
        warnings.warn(
            f"{owner}: the PSFs leave errors of {misfit:.2g} around the dots, {misfit / max(noise, 1e-12):.0f} times "
            f"the noise; is the diameter of a dot {ratio:g} of the spacing, and are the PSFs narrower than {width} px?",
            EstimateWarning,
            stacklevel=2,
        )
    shaped = psfs.reshape(rows, cols, width, width)
    return Calibration(
        psfs=shaped,
        operator=FieldDefocus.from_psfs(shaped, shape=(colours, *light.shape), nodes="centres"),
        geometry=geometry,
        dots=dots,
        used=len(positions),
        residual=residual,
        misfit=misfit,
        noise=noise,
        strength=strength,
        contrast=float(contrast.mean()) * (1 if dark else -1),
    )


def _checked_photo(owner: str, photo: Any) -> tuple[Array, int]:
    """Return the mean of the colours, in float64, and their number."""
    require_float(owner, "photo", photo)
    values = to_host(photo)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"{owner}: expected a photo of shape (C, H, W) or (H, W), got {tuple(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{owner}: expected finite values, got NaN or inf in the photo")
    if np.ptp(values) == 0:
        raise ValueError(f"{owner}: expected a photo of a dot grid, got one that is blank: all values are equal")
    if (clipped := float((values >= 1).mean())) > 0.05:
        raise ValueError(
            f"{owner}: expected paper below white, that is below 1 in linear light, got {clipped:.0%} of the values "
            "at or above it: expose less, or divide the photo by its white level"
        )
    light = values.mean(axis=0, dtype=np.float64) if values.ndim == 3 else values.astype(np.float64)
    return light, values.shape[0] if values.ndim == 3 else 1


def _locate(owner: str, light: Array) -> tuple[GridGeometry, Array, Array, bool]:
    """Return the geometry, the numbers (n, 2) of the dots on it, their positions (n, 2), and whether they are dark."""
    found = find_dots(light)
    grid, index = number_dots(found)
    if len(grid) >= LEAST_DOTS and min(np.ptp(grid, axis=0)) >= 2:
        geometry, errors = fit_geometry(grid, found.positions[index], light.shape)
        spacing = np.sqrt(np.abs(np.linalg.det(geometry.jacobians(grid.astype(np.float64)))))
        paper = paper_level(light, max(4, round(float(spacing.mean()))), dark=found.dark)
        kept: Array = np.zeros(0, bool)
        regular, centres = False, found.positions[index]
        near = np.median(np.linalg.norm(errors, axis=1)) < 0.1 * spacing.mean()
        for again in (False, True) if near else ():  # quantiles of shaded paper are biased: once more with what is bare
            if again:
                paper, _ = _paper(owner, light, geometry, grid, round(0.8 * float(spacing.min())))
            missing = (1 - light / paper) if found.dark else (light / paper - 1)
            centres = refine_centres(missing, found.positions[index], 0.48 * spacing)
            kept = np.asarray(np.isfinite(centres).all(axis=1))
            if kept.sum() < LEAST_DOTS:
                break
            geometry, errors = fit_geometry(grid[kept], centres[kept], light.shape)
            regular = bool(np.median(np.linalg.norm(errors, axis=1)) < IRREGULAR * spacing.mean())
            if not regular:
                break
        if kept.sum() >= LEAST_DOTS and regular:
            fitted = geometry.positions(grid.astype(np.float64))
            return geometry, grid, np.where(kept[:, None], centres, fitted), found.dark
        grid = grid[:0]
    error = GridNotFoundError(
        f"{owner}: expected a photo of a dot grid, found {len(found.positions)} candidates, {len(grid)} of them on "
        f"a lattice; at least {LEAST_DOTS} in 3 rows are needed, sharp enough to be apart"
    )
    error.candidates = found.positions
    raise error


def _widest(geometry: GridGeometry, grid: Array, ratio: float) -> tuple[int, float]:
    """Return the largest odd support with which square patches around dots do not meet, and the largest diameter."""
    places = grid.astype(np.float64)
    centres = geometry.positions(places)
    diameter = ratio * float(np.linalg.norm(geometry.jacobians(places), ord=2, axis=(1, 2)).max())
    steps = np.array([(1, 0), (0, 1), (1, 1), (1, -1)], dtype=np.float64)
    distances = np.abs(geometry.positions(places[:, None] + steps) - centres[:, None]).max(axis=2)
    limit = int(np.floor(distances.min() - np.ceil(diameter) - 2))
    return limit - (1 - limit % 2), diameter


def _patch(width: int, diameter: float) -> int:
    """Return the width of the patch that holds a dot of some diameter, blurred, wherever in its pixel: odd."""
    return (width + int(np.ceil(diameter)) + 1) | 1


def _paper(owner: str, light: Array, geometry: GridGeometry, grid: Array, size: int) -> tuple[Array, float]:
    """Return the level of the paper, fitted where no dot reaches, and the standard deviation of the photo there."""
    low, high = grid.min(axis=0) - 3, grid.max(axis=0) + 4
    span: Any = np.mgrid[low[0] : high[0], low[1] : high[1]]
    places = span.reshape(2, -1).T.astype(np.float64)
    bare = np.ones(light.shape, bool)
    for row, col in np.rint(geometry.positions(places) - (size - 1) / 2).astype(int):
        bare[max(row, 0) : max(row + size, 0), max(col, 0) : max(col + size, 0)] = False
    where = np.flatnonzero(bare)
    if len(where) < 1000:
        raise ValueError(f"{owner}: expected paper between the dots, got {len(where)} px of it; take a smaller support")
    rows, cols = np.divmod(where[:: max(1, len(where) // MOST_PAPER)], light.shape[1])
    paper = fit_polynomial(light[rows, cols], rows, cols, light.shape, 4)
    deviations = (light - paper)[bare]
    noise = 1.4826 * float(np.median(np.abs(deviations - np.median(deviations))))
    return paper, noise


def _nearest_psfs(values: Array) -> Array:
    """Return the nearest arrays without negative values and of unit sum: (k, n, n), a projection onto the simplex.

    Setting negative values to zero and dividing by the sum would keep the positive half of the noise as a pedestal.
    """
    flat = values.reshape(len(values), -1)
    falling = -np.sort(-flat, axis=1)
    excess = (np.cumsum(falling, axis=1) - 1) / np.arange(1, flat.shape[1] + 1)
    kept = (falling > excess).sum(axis=1)
    nearest: Array = np.maximum(flat - excess[np.arange(len(flat)), kept - 1][:, None], 0).reshape(values.shape)
    return nearest


def _extent(psf: Array) -> int:
    """Return the smallest odd width beyond which a PSF has less than 1 % of its norm."""
    half = len(psf) // 2
    distance = np.abs(np.arange(len(psf)) - half)
    ring = np.maximum(distance[:, None], distance)
    outside = [np.linalg.norm(psf[ring > h]) for h in range(half + 1)]
    return 2 * max(1, next(h for h in range(half + 1) if outside[h] <= 0.01 * np.linalg.norm(psf))) + 1


def _best_strength(problem: Any, width: int, weights: Array, cells: tuple[int, int], held_out: Array) -> float:
    """Return the strength whose PSFs, fitted to the other dots, predict the dots that were held out best."""
    fitted, tested = problem(width, weights, cells, ~held_out), problem(width, weights, cells, held_out)
    best, least, psfs = STRENGTHS[0], np.inf, None
    for strength in STRENGTHS:
        psfs = fitted.solve(strength, ALIKE * strength, start=psfs)
        error = float(((tested.model(psfs) - tested.patches) ** 2).sum())
        if error >= least:
            break
        best, least = strength, error
    return best
