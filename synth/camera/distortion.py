"""Radial lens distortion, applied to all planes of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from blurphys.frozen import freeze
from blurphys.inputs import require_number

from .planes import Kind, Lookup, check_plane, kind_of

__all__ = ["RadialDistortion"]

# A, B, C, D of the five camera sets of the ICCV 2021 dual-pixel generator.
_ICCV2021 = (
    (0.01, 0.0028, 0.0028, 0.9),
    (0.008, 0.002, 0.002, 0.92),
    (-0.0055, -0.0013, -0.0013, 1.009),
    (-0.007, -0.0036, -0.0036, 1.015),
    (-0.008, -0.005, -0.005, 1.015),
)


@dataclass(frozen=True)
class RadialDistortion:
    """Barrel or pincushion distortion by a polynomial in the distance from the centre.

    Parameters
    ----------
    a, b, c : float
        Coefficients of the fourth, third and second power; all 0 for none.
    d : float, optional
        Coefficient of the first power, positive; 1 - a - b - c without it, which leaves the circle r = 1 in place.

    Raises
    ------
    ValueError
        A number that is not finite, or `d` not positive.

    Notes
    -----
    A pixel at distance r from the centre of the distorted image shows the undistorted image at distance

    R(r) = a r^4 + b r^3 + c r^2 + d r

    in the same direction: the convention of ImageMagick's barrel distortion. Distances are in units of half the shorter
    side, and the centre is the middle of the image, (H - 1) / 2 and (W - 1) / 2 in indices of pixels. Positive a, b, c
    with R(1) near 1 squeeze the border (barrel), negative ones stretch it (pincushion).

    The map must not fold: R has to increase up to the corners of the image it is applied to.

    References
    ----------
    Abuolaim, Delbracio, Kelly, Brown and Milanfar, Learning to reduce defocus blur by realistically modeling dual-pixel
    data, ICCV 2021: radial distortion of synthetic dual-pixel data, and the sets of `iccv2021`.

    Examples
    --------
    >>> import numpy as np
    >>> lens = RadialDistortion(0.01, 0.0028, 0.0028, 0.9)
    >>> round(float(lens.source_radius(1.0)), 4)
    0.9156
    >>> image = np.random.default_rng(0).random((3, 6, 8))
    >>> bool((RadialDistortion(0, 0, 0).apply(image) == image).all())
    True
    """

    a: float
    b: float
    c: float
    d: float | None = None

    def __post_init__(self) -> None:
        for name in ("a", "b", "c") if self.d is None else ("a", "b", "c", "d"):
            freeze(self, **{name: require_number("RadialDistortion", name, getattr(self, name))})
        if not self.coefficients[3] > 0:
            origin = " = 1 - a - b - c" if self.d is None else ""
            raise ValueError(
                f"RadialDistortion: expected d > 0, got {self.coefficients[3]:g}{origin}; the centre would be turned "
                "inside out"
            )

    @classmethod
    def iccv2021(cls, index: int) -> RadialDistortion:
        """Return the distortion of camera set `index`, 0 to 4, of the ICCV 2021 generator; ValueError for another."""
        if isinstance(index, bool) or index not in range(len(_ICCV2021)):
            raise ValueError(f"RadialDistortion: expected a camera set from 0 to {len(_ICCV2021) - 1}, got {index!r}")
        return cls(*_ICCV2021[index])

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        """The coefficients a, b, c, d, with d filled in."""
        return self.a, self.b, self.c, 1.0 - self.a - self.b - self.c if self.d is None else self.d

    def source_radius(self, r: float | np.ndarray) -> np.ndarray:
        """Return the distance R(r) in the undistorted image, in half-sides."""
        source: np.ndarray = np.asarray(r, np.float64) * self._stretch(r)
        return source

    def to_source(self, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Map points of the distorted image to the undistorted one.

        Parameters
        ----------
        points : array of shape (..., 2)
            Row and column in the distorted image, px, centres of pixels at whole numbers.
        shape : (H, W)
            Size of both images.

        Returns
        -------
        ndarray of float64 of shape (..., 2)
            Row and column in the undistorted image.

        Raises
        ------
        ValueError
            Points without two coordinates, or a map that folds within the image.
        """
        offset, centre, half = self._offsets("to_source", points, shape)
        r = np.hypot(offset[..., 0], offset[..., 1]) / half
        moved: np.ndarray = centre + offset * self._stretch(r)[..., None]
        return moved

    def to_output(self, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Map points of the undistorted image to the distorted one, the inverse of `to_source`.

        Parameters
        ----------
        points : array of shape (..., 2)
            Row and column in the undistorted image, px.
        shape : (H, W)
            Size of both images.

        Returns
        -------
        ndarray of float64 of shape (..., 2)
            Row and column in the distorted image; NaN for points beyond its corners.

        Raises
        ------
        ValueError
            As for `to_source`.

        Notes
        -----
        By bisection: the map increases up to the corners, and the result is exact to rounding.
        """
        offset, centre, half = self._offsets("to_output", points, shape)
        wanted = np.hypot(offset[..., 0], offset[..., 1]) / half
        corner = _corner(shape)
        low, high = np.zeros_like(wanted), np.full_like(wanted, corner)
        for _ in range(64):
            middle = (low + high) / 2
            short = self.source_radius(middle) < wanted
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        r = np.where(wanted <= self.source_radius(corner) * (1 + 1e-12), high, np.nan)
        moved: np.ndarray = centre + offset / self._stretch(r)[..., None]
        return moved

    def exposed(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which pixels of the distorted image lie outside the undistorted one: bool, shape (H, W)."""
        exposed: np.ndarray = self._map(shape).exposed
        return exposed

    def magnification(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the local magnification at every pixel of the distorted image: float64, shape (H, W).

        Notes
        -----
        Square root of that of areas: 1 / sqrt(R'(r) R(r) / r), the geometric mean of the radial and the tangential
        magnification. A blur of radius c in the undistorted image has radius c times this in the distorted one.
        """
        return self._magnification(self._map(shape).r)

    def apply(self, image: np.ndarray, order: Literal[0, 1] = 1) -> np.ndarray:
        """Distort one image.

        Parameters
        ----------
        image : ndarray of shape (..., H, W)
            Linear light.
        order : {0, 1}
            1 interpolates bilinearly and wants floats; 0 takes the nearest pixel.

        Returns
        -------
        ndarray
            Same shape and dtype; 0 (False) where the corners lie outside the undistorted image.

        Raises
        ------
        ValueError
            Another order, values that are not floats with order 1, no pixels, or a map that folds within the image.

        Notes
        -----
        Where the map shrinks the image it is not averaged, which suits the few per cent of a lens. O(H W).
        """
        if isinstance(order, bool) or order not in (0, 1):
            raise ValueError(f"RadialDistortion.apply: expected order 0 (nearest) or 1 (bilinear), got {order!r}")
        check_plane("RadialDistortion.apply", "the image", image, floats=order == 1)
        plan = self._map(image.shape[-2:])
        return plan.linear(image) if order == 1 else plan.nearest(image)

    def apply_all(
        self, arrays: Mapping[str, np.ndarray], kinds: Mapping[str, Kind] | None = None
    ) -> dict[str, np.ndarray]:
        """Distort all the planes of a sample with one map.

        Parameters
        ----------
        arrays : mapping of names to ndarrays of shape (..., H, W)
            Such as `all_in_focus`, `combined`, `left`, `right`, `defocus_map`, `depth_m` and `valid`.
        kinds : mapping of names to {"image", "depth", "mask", "radius"}, optional
            The kinds of other planes. Without it three channels of floats are an image and booleans a mask.

        Returns
        -------
        dict
            The same names, shapes and dtypes. ``image`` is interpolated bilinearly; ``depth`` and ``mask`` take the
            nearest pixel, so that no depths between foreground and background arise; ``radius``, a blur radius or a
            disparity in px, takes the nearest pixel too and is multiplied by the local magnification. Corners outside
            the undistorted image are 0 and not valid, and their depth, in floats, is NaN.

        Raises
        ------
        ValueError
            Planes of different sizes, a plane of unknown kind, an unknown kind or name in `kinds`, or what
            `apply` refuses.

        Notes
        -----
        Distort after the blur, as a lens does. `exposed` says which corners are empty where there is no `valid`.
        """
        owner = "RadialDistortion.apply_all"
        chosen: dict[str, Kind] = dict(kinds or {})
        for name, kind in chosen.items():
            if name not in arrays or kind not in get_args(Kind):
                raise ValueError(
                    f"{owner}: expected kinds to give {', '.join(get_args(Kind))} for names among {', '.join(arrays)}, "
                    f"got {kind!r} for {name!r}"
                )
        for name, array in arrays.items():
            if name not in chosen:
                chosen[name] = kind_of(owner, name, array)
            check_plane(owner, name, array, floats=chosen[name] in ("image", "radius"))
        shapes = {name: array.shape[-2:] for name, array in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{owner}: expected planes of one height and width, got {shapes}")
        if not shapes:
            return {}
        shape = next(iter(shapes.values()))
        plan, warped = self._map(shape), {}
        for name, array in arrays.items():
            kind = chosen[name]
            warped[name] = plan.linear(array) if kind == "image" else plan.nearest(array)
            if kind == "radius":
                warped[name] = (warped[name] * self._magnification(plan.r)).astype(array.dtype)
            elif kind == "depth" and np.issubdtype(array.dtype, np.floating):
                warped[name][..., plan.exposed] = np.nan
        return warped

    def to_dict(self) -> dict[str, Any]:
        """The coefficients by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> RadialDistortion:
        """Undo `to_dict`; ValueError names a missing or unknown key."""
        if not isinstance(description, Mapping):
            raise ValueError(f"RadialDistortion: expected a mapping of a, b, c, d, got {type(description).__name__}")
        names = {field.name for field in fields(cls)}
        unknown = sorted(str(key) for key in description if key not in names)
        missing = sorted({"a", "b", "c"} - set(description))
        if unknown or missing:
            fault = f"unknown key {', '.join(map(repr, unknown))}" if unknown else f"no {', '.join(missing)}"
            raise ValueError(f"RadialDistortion: expected the keys a, b, c and perhaps d, got {fault}")
        return cls(**description)

    def _stretch(self, r: float | np.ndarray) -> np.ndarray:
        """Return R(r) / r, which is d at the centre."""
        a, b, c, d = self.coefficients
        r = np.asarray(r, np.float64)
        return np.asarray(((a * r + b) * r + c) * r + d)

    def _slope(self, r: float | np.ndarray) -> np.ndarray:
        """Return R'(r)."""
        a, b, c, d = self.coefficients
        r = np.asarray(r, np.float64)
        return np.asarray(((4 * a * r + 3 * b) * r + 2 * c) * r + d)

    def _magnification(self, r: np.ndarray) -> np.ndarray:
        magnification: np.ndarray = 1 / np.sqrt(self._slope(r) * self._stretch(r))
        return magnification

    def _check_fold(self, shape: tuple[int, int]) -> None:
        """ValueError if R stops increasing before the corners; its slope is smallest at an end or a turning point."""
        a, b, c, _ = self.coefficients
        corner = _corner(shape)
        radii = [0.0, corner, *(r for r in _roots(6 * a, 3 * b, c) if 0 < r < corner)]
        if not min(float(self._slope(r)) for r in radii) > 0:
            raise ValueError(
                f"RadialDistortion: coefficients {self.coefficients} fold an image of {shape[0]} x {shape[1]} px over "
                "itself before its corners; expected a source radius that increases with the radius"
            )

    def _offsets(self, owner: str, points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
        """Return points relative to the centre, the centre, and the unit of radius, px."""
        points = np.asarray(points, np.float64)
        if points.ndim < 1 or points.shape[-1] != 2:
            raise ValueError(
                f"RadialDistortion.{owner}: expected points of shape (..., 2), row and column, got {points.shape}"
            )
        _check_shape(shape)
        self._check_fold(shape)
        centre = (np.array(shape) - 1) / 2
        return points - centre, centre, min(shape) / 2

    def _map(self, shape: tuple[int, int]) -> Lookup:
        _check_shape(shape)
        grid = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), axis=-1)
        offset, centre, half = self._offsets("apply", grid, shape)
        r = np.hypot(offset[..., 0], offset[..., 1]) / half
        return Lookup(r, centre + offset * self._stretch(r)[..., None])


def _corner(shape: tuple[int, int]) -> float:
    """Distance of the corner pixels from the centre, in half-sides."""
    return math.hypot(shape[0] - 1, shape[1] - 1) / min(shape)


def _roots(a: float, b: float, c: float) -> list[float]:
    """Return the real roots of a x^2 + b x + c that are finite, without cancellation, also for coefficients near 0."""
    scale = max(abs(a), abs(b), abs(c)) or 1.0
    a, b, c = a / scale, b / scale, c / scale
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    q = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    quotients = [(q, a), (c, q)]
    return [top / bottom for top, bottom in quotients if bottom != 0 and math.isfinite(top / bottom)]


def _check_shape(shape: tuple[int, int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"RadialDistortion: expected a shape (H, W) of at least one pixel, got {shape}")
