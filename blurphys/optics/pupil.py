"""Pupil: the intensity over the lens aperture and the views of a sensor, from which every PSF is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from math import ceil, cos, pi, radians, sin, sqrt
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..frozen import freeze
from ..inputs import require_integer, require_number
from ..psf import butterworth_ring, check_ring, disk_coverage

__all__ = ["Pupil"]

CELLS = 384
"""Cells across a pupil that is given by a formula; at a radius of 20 px a cell is a tenth of a pixel wide."""


CORE_REACH = 4.0
"""Standard deviations to which the core of a PSF reaches."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Pupil:
    """The intensity over the lens pupil and how a dual-pixel sensor divides it: the source of every PSF.

    Made by `disk`, `butterworth`, `polygon` or `measured`. The defocus PSF is the pupil scaled by the signed CoC
    radius c: ``k_v(x, y) ~ P(x / c, y / c) t_v(x / c)``, so that the sign of c mirrors the views.

    Attributes
    ----------
    intensity : ndarray of shape (n, n)
        P on square cells of the pupil plane, rows along y (down), columns along x (right); oriented as PSFs of c > 0.
    extent : float
        Half-width of the grid in units of the unit pupil's radius.
    split : float
        s of the half-pixel sensitivities ``t_L = 1/2 - s X``, ``t_R = 1/2 + s X``; 0 (one pixel) to 0.5. The
        centroids of right and left are ``4 s <X^2> c`` apart: ``s c`` for a disk.
    cross_talk : float
        Share of each half's light that the other half records, 0 to 0.5; it scales the split by 1 - 2 cross_talk.
    angle : float
        Direction in which the sensor splits, degrees from +x towards +y: X becomes X cos + Y sin.
    core : float
        Standard deviation (px) of a Gaussian that blurs every PSF, whatever its radius, before it is integrated over
        the pixels: diffraction, aberrations, the optical low-pass filter. 0 for none.
    parameters : dict
        Metadata: ``kind`` and the arguments of the constructor. It always describes this pupil: the values of the
        sensor follow the attributes, and if the grid or extent comes from no formula (as after ``dataclasses.replace``)
        the kind is "measured".
    """

    intensity: NDArray[np.floating]
    extent: float = 1.0
    split: float = 0.5
    cross_talk: float = 0.0
    angle: float = 0.0
    core: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)
    _described: tuple[Any, ...] = field(default=(), repr=False)  # key of the grid and extent of `parameters`

    def __post_init__(self) -> None:
        grid = np.array(self.intensity, dtype=np.float64)
        if grid.ndim != 2 or grid.shape[0] != grid.shape[1] or grid.size == 0:
            raise ValueError(f"Pupil: expected a square grid of intensities (n, n), got shape {grid.shape}")
        if not np.all(np.isfinite(grid)) or grid.min() < 0 or grid.sum() <= 0:
            raise ValueError("Pupil: expected finite, non-negative intensities with a positive sum")
        for name in ("split", "cross_talk"):
            require_number("Pupil", name, getattr(self, name), least=0, most=0.5)
        require_number("Pupil", "angle", self.angle, unit="of degrees")
        require_number("Pupil", "extent", self.extent, above=0)
        require_number("Pupil", "core", self.core, least=0, unit="px")
        total = grid.sum()
        if abs(total - 1) > 1e-12:  # already normalised otherwise: dividing again would change the last bits
            grid /= total
        grid.setflags(write=False)
        freeze(self, intensity=grid)
        made = self.parameters if self._described == _identity(grid, self.extent) else {"kind": "measured"}
        sensor = {name: getattr(self, name) for name in ("extent", "split", "cross_talk", "angle")}
        if self.core or "core" in made:  # files written before there was a core stay as they are
            sensor["core"] = self.core
        freeze(self, parameters={**made, **sensor})

    @classmethod
    def disk(
        cls,
        *,
        split: float = 0.5,
        cross_talk: float = 0.0,
        cat_eye: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        core: float = 0.0,
    ) -> Pupil:
        """Return a uniformly illuminated circular pupil.

        Parameters
        ----------
        split, cross_talk, angle, core : float
            See `Pupil`.
        cat_eye : (float, float)
            Centre (x, y) of a second unit disk that clips the pupil, in pupil radii: mechanical vignetting off axis.
        """
        grid = disk_coverage(_edges(1.0))
        return _make("disk", grid, 1.0, cat_eye, split=split, cross_talk=cross_talk, angle=angle, core=core)

    @classmethod
    def butterworth(
        cls,
        order: int = 3,
        cutoff: float = 0.8,
        floor: float = 0.1,
        smoothing: float = 0.1,
        *,
        split: float = 0.5,
        cross_talk: float = 0.0,
        cat_eye: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        core: float = 0.0,
    ) -> Pupil:
        """Return a pupil that is brighter towards its edge: the ring of the ICCV 2021 kernels, for any radius.

        Parameters
        ----------
        order : int
            n of the ring ``1 / (1 + (cutoff / rho)^(2 n))``.
        cutoff : float
            Radius of half intensity, pupil radii.
        floor : float
            Intensity at the centre, relative to the corner of the square around the pupil.
        smoothing : float
            Standard deviation of a Gaussian filter, pupil radii; the PSF then reaches beyond the CoC radius.
        split, cross_talk, cat_eye, angle, core
            See `disk`.

        Notes
        -----
        `blurphys.psf.butterworth` has the published arrays; their smoothing is 0.16 radii at r = 5 and 0.07 at r = 20.
        """
        check_ring("Pupil.butterworth", order, cutoff, floor, smoothing)
        from scipy.ndimage import gaussian_filter

        extent = 1.0 + 4.0 * smoothing
        edges = _edges(extent)
        x, y = _centres(extent)
        rho2 = x * x + y * y
        ring = butterworth_ring(rho2 / cutoff**2, order)
        corner = float(butterworth_ring(np.array(2.0 / cutoff**2), order))
        grid = (floor + (1 - floor) * ring / corner) * disk_coverage(edges)
        if smoothing:
            grid = gaussian_filter(grid, smoothing * CELLS / (2 * extent), mode="constant", truncate=4.0)
        made = {"order": order, "cutoff": cutoff, "floor": floor, "smoothing": smoothing}
        return _make(
            "butterworth", grid, extent, cat_eye, made, split=split, cross_talk=cross_talk, angle=angle, core=core
        )

    @classmethod
    def polygon(
        cls,
        n: int,
        *,
        rotation: float = 0.0,
        split: float = 0.5,
        cross_talk: float = 0.0,
        cat_eye: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        core: float = 0.0,
    ) -> Pupil:
        """Return the pupil of an iris with `n` straight blades: a regular polygon inscribed in the unit circle.

        Parameters
        ----------
        n : int
            Number of corners, at least 3.
        rotation : float
            Direction of the first corner, degrees from +x towards +y.
        split, cross_talk, cat_eye, angle, core
            See `disk`.
        """
        require_integer("Pupil.polygon", "n, the number of corners,", n, 3)
        x, y = _centres(1.0)
        inside = np.full(x.shape, np.inf)
        for k in range(n):
            direction = radians(rotation) + np.pi * (2 * k + 1) / n
            # Distance to the nearest side, positive inside; the edge is soft over one cell.
            inside = np.minimum(inside, cos(np.pi / n) - (x * cos(direction) + y * sin(direction)))
        grid = np.clip(0.5 + inside * CELLS / 2, 0.0, 1.0)
        made = {"n": n, "rotation": rotation}
        return _make("polygon", grid, 1.0, cat_eye, made, split=split, cross_talk=cross_talk, angle=angle, core=core)

    @classmethod
    def measured(
        cls,
        grid: Any,
        *,
        extent: float = 1.0,
        split: float = 0.5,
        cross_talk: float = 0.0,
        cat_eye: tuple[float, float] = (0.0, 0.0),
        angle: float = 0.0,
        core: float = 0.0,
    ) -> Pupil:
        """Return a pupil from samples, for example a photographed bokeh disk or a measured PSF.

        Parameters
        ----------
        grid : array of shape (n, n)
            Non-negative intensities on square cells over [-extent, extent]^2; rows along y (down), columns along x,
            oriented as the PSF *behind* the plane of focus. Any scale.
        extent : float
            Half-width of the grid in pupil radii.
        split, cross_talk, cat_eye, angle, core
            See `disk`.
        """
        if np.iscomplexobj(grid):
            raise ValueError("Pupil.measured: expected real intensities, got complex values; square their modulus")
        samples = np.array(grid, dtype=np.float64)
        return _make("measured", samples, extent, cat_eye, split=split, cross_talk=cross_talk, angle=angle, core=core)

    def seen(self, view: str | float = "combined") -> NDArray[np.floating]:
        """Return the intensity of the pupil as one view sees it.

        Parameters
        ----------
        view : str or float
            "combined"; "left", "right", "top", "bottom", the half-pixels; "top_left", "top_right", "bottom_left",
            "bottom_right", the quarters of a quad pixel; or the direction of a half-pixel in degrees from +x towards
            +y. Directions are measured as in `angle`: 0 is right, 90 bottom, 180 left.

        Returns
        -------
        ndarray of shape (n, n)
            Intensity of each cell, oriented as `intensity`, scaled so that the mean of opposite halves, and of the four
            quarters, is `intensity`.

        Raises
        ------
        ValueError
            Unknown view, or an angle that is not finite.

        Notes
        -----
        A half-pixel in direction theta weights the pupil by 1 + 2 s (X cos + Y sin), s the split without cross-talk.
        The weights are rotated rather than the PSF, so that sums and centroids are exact. A quarter has the product of
        the weights of its two halves. Source of the rotated views: Abuolaim et al., NIMAT, WACV workshops 2022.
        """
        if view == "combined":
            return self.intensity
        if isinstance(view, str):
            if view not in DIRECTIONS:
                known = ", ".join(("combined", *DIRECTIONS))
                raise ValueError(f"Pupil: expected a view among {known}, or an angle in degrees, got {view!r}")
            directions = DIRECTIONS[view]
        else:
            directions = (require_number("Pupil", "a view by its angle", view, unit="of degrees"),)
        x, y = _centres(self.extent, self.intensity.shape[0])
        light = self.intensity
        for direction in directions:
            turn = radians(self.angle + direction)
            # Sensitivity of the half-pixel, 0 to 1, at every cell; cross-talk mixes it with that of the other half.
            share = np.clip(0.5 + self.split * (x * cos(turn) + y * sin(turn)), 0.0, 1.0)
            light = light * (2.0 * (self.cross_talk + (1 - 2 * self.cross_talk) * share))
        return light

    def reach(self, radius: float) -> int:
        """Return how many pixels a PSF of this radius (px) extends from its centre."""
        return ceil(max(0.0, self.extent * abs(radius) + CORE_REACH * self.core - 0.5))

    def psf(self, radius: float, view: str | float = "combined") -> NDArray[np.floating]:
        """Return the defocus PSF of one view.

        Parameters
        ----------
        radius : float
            Signed CoC radius, px; positive behind the plane of focus, where the left view is shifted to -x.
        view : str or float
            As for `seen`.

        Returns
        -------
        ndarray of shape (n, n), n odd
            Convolution kernel, continuous in the radius. The views are scaled jointly: (left + right) / 2 = combined,
            which sums to one; each view sums to one if the pupil is symmetric.

        Raises
        ------
        ValueError
            Non-finite radius, unknown view.

        Notes
        -----
        The cells of the pupil, scaled by the radius and blurred by the core, are distributed over the pixels by their
        exact overlap, with two small matrix products. Cost: O(n cells^2).
        Without a core all PSFs of pupils within half a pixel are one pixel, so that the derivative with respect to the
        radius is 0 there and a defocus map that is fitted from 0 does not move. With a core it is not 0: for a
        symmetric pupil it grows in proportion to the radius, and that of a half-pixel view, which shifts with the
        radius, is largest at 0. The core reaches 4 sigma.
        """
        require_number("Pupil.psf", "radius", radius, unit="of px")
        cells = _light(self, view)
        if radius < 0:
            # In front of the plane of focus the rays have not crossed yet: the pupil appears rotated by 180 degrees.
            cells = cells[::-1, ::-1]
        reach = self.extent * abs(radius)
        half = self.reach(radius)
        if half == 0:
            return np.array([[cells.sum()]])
        overlap = _overlap(reach, self.intensity.shape[0], half, self.core)
        return overlap @ cells @ overlap.T


@lru_cache(maxsize=8)
def _light(pupil: Pupil, view: str | float) -> NDArray[np.floating]:
    """Return `Pupil.seen`, cached for the PSFs of many radii."""
    cells = pupil.seen(view)
    cells.setflags(write=False)
    return cells


DIRECTIONS: dict[str, tuple[float, ...]] = {
    "right": (0.0,),
    "bottom": (90.0,),
    "left": (180.0,),
    "top": (270.0,),
    "bottom_right": (0.0, 90.0),
    "bottom_left": (180.0, 90.0),
    "top_left": (180.0, 270.0),
    "top_right": (0.0, 270.0),
}
"""Directions of the half-pixels whose weights each named view multiplies, degrees from +x towards +y."""


def _edges(extent: float, n: int = CELLS) -> NDArray[np.floating]:
    return np.linspace(-extent, extent, n + 1)


def _centres(extent: float, n: int = CELLS) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    line = (np.arange(n) - (n - 1) / 2) * (2 * extent / n)
    x, y = np.meshgrid(line, line)
    return x, y


def _overlap(reach: float, n: int, half: int, core: float) -> NDArray[np.floating]:
    """Return the share of each of n cells over [-reach, reach] px in each pixel of -half..half: (2 half + 1, n)."""
    cells = _edges(reach, n)
    if core > 0:
        # Share of a cell below each edge of a pixel: the mean over the cell of the normal distribution.
        borders = np.arange(-half, half + 2)[:, None] - 0.5
        below = _mean_normal((borders - cells[1:]) / core, 2 * reach / n / core)
        share = np.diff(below, axis=0)
    else:
        pixels = np.arange(-half, half + 1)[:, None]
        share = np.diff(np.clip(cells[None, :], pixels - 0.5, pixels + 0.5), axis=1)
    return share / share.sum(axis=0)


def _mean_normal(low: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """Return the mean of the standard normal distribution function over [low, low + width]."""
    from scipy.special import ndtr

    if width < 1e-4:  # the mean is the value at the middle, to 1e-9; the difference below would cancel
        return np.asarray(ndtr(low + width / 2))

    def integral(t: NDArray[np.floating]) -> Any:
        return t * ndtr(t) + np.exp(-0.5 * t * t) / sqrt(2 * pi)

    return np.asarray((integral(low + width) - integral(low)) / width)


def _make(
    kind: str,
    grid: NDArray[np.floating],
    extent: float,
    cat_eye: tuple[float, float],
    made: dict[str, Any] | None = None,
    **sensor: Any,
) -> Pupil:
    dx, dy = (float(c) for c in cat_eye)
    if dx or dy:
        x, y = _centres(extent, grid.shape[0])
        inside = 1.0 - np.hypot(x - dx, y - dy)  # distance to the edge of the second disk; soft over one cell
        grid = grid * np.clip(0.5 + inside * grid.shape[0] / (2 * extent), 0.0, 1.0)
        if grid.sum() <= 0:
            raise ValueError(f"Pupil: expected a cat_eye offset that does not block all light, got {cat_eye}")
    plain = Pupil(intensity=grid, extent=extent, **sensor)
    described = _identity(plain.intensity, extent)
    parameters = {"kind": kind, **(made or {}), "cat_eye": (dx, dy)}
    return replace(plain, parameters=parameters, _described=described)


def _identity(grid: NDArray[np.floating], extent: float) -> tuple[Any, ...]:
    """Return a key of a grid and extent: a digest, which costs far less than computing a grid."""
    return grid.shape, float(extent), blake2b(np.ascontiguousarray(grid).data).hexdigest()
