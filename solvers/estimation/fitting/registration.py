"""Registration of a blurred photograph to a sharp one: shift, scale, rotation, gain and offset, with the blur."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, cos, degrees, radians, sin
from typing import Any, final

import numpy as np

import blurphys as bp
from blurphys.inputs import require_number

from ...core.arrays import to_host
from ...core.types import Array
from .geometry import inverse, positions, warp
from .inputs import Image, checked_pair, pupil_named
from .photometry import TERMS, clipped, fit_brightness, shading_field
from .tone import Curves, check_range, fit_curves, light, recorded

__all__ = ["Registration", "default_radius", "estimate", "register"]

LEAST_SIDE = 64
"""Side (px) below which the pyramid stops."""

STEPS, ENOUGH = 12, 2e-3
"""Gauss-Newton steps on a level, and the movement (px) at which they end."""

TONES = 2
"""Alternations of the tone curve with movement and radius."""


@final
@dataclass(frozen=True, kw_only=True)
class Registration:
    """How a recorded image follows from one in the frame and the brightness of the sharp photograph.

    Attributes
    ----------
    shift : (float, float)
        Movement of the centre of the frame, px: down, right.
    scale : float
        Magnification about the centre of the frame.
    rotation : float
        Degrees, from +x (right) towards +y (down).
    gain, offset : tuple of C floats
        ``recorded = gain shading x + offset`` in linear light, one of each per colour.
    shading : tuple of 5 floats
        Gain over the recorded frame, relative to its mean: weights of x, y, x^2, x y and y^2, x and y from -1 to 1 and
        every term without its mean. Two apertures differ in their vignetting.
    radius : float
        Radius (px) of the blur with which the registration was found.
    tone : tuple of C (float, float)
        Tone curve of each colour, which both photographs share: the light of a recorded value v is
        ``v (1 + (1 - v) (a + b (1 - 2 v)))``. Empty where recorded values are light.

    Notes
    -----
    The point q of the sharp photograph, measured from the centre of the frame, is recorded at
    ``scale R(rotation) q + shift``.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation: float = 0.0
    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    shading: tuple[float, ...] = (0.0,) * TERMS
    radius: float = 0.0
    tone: Curves = ()

    def light(self, image: Array) -> Array:
        """Return the light of a photograph (C, H, W), sharp or blurred, of the same kind."""
        return light(image, self.tone)

    def apply(self, image: Array) -> Image:
        """Move light (C, H, W) in the sharp photograph's frame to recorded values in the blurred one's (NumPy)."""
        gain, offset = (np.array(values)[:, None, None] for values in (self.gain, self.offset))
        moved: Image = gain * shading_field(image.shape, self.shading) * self.move(to_host(image)) + offset
        return recorded(moved, self.tone)

    def undo(self, image: Array) -> Image:
        """Move a recorded image (C, H, W) to the frame, brightness and light of the sharp photograph (NumPy)."""
        gain, offset = (np.array(values)[:, None, None] for values in (self.gain, self.offset))
        lit: Image = (self.light(to_host(image)) - offset) / (gain * shading_field(image.shape, self.shading))
        return self.move(lit, back=True)

    def relit(self, moved: Image, blurred: Image, mask: np.ndarray[Any, Any], *, shading: bool) -> Registration:
        """Return the same with the brightness at which `moved` comes closest to the blurred photograph in the mask."""
        gain, offset, field = fit_brightness(moved, self.light(blurred), mask, shading=shading)
        return replace(self, gain=gain, offset=offset, shading=field)

    def move(self, image: Image, *, back: bool = False) -> Image:
        """Apply shift, scale and rotation alone, or undo them, by cubic splines; edges are repeated."""
        return warp(image, inverse(self.matrix) if back else self.matrix)

    def inside(self, shape: tuple[int, ...], margin: int = 0, *, back: bool = False) -> np.ndarray[Any, Any]:
        """Return which pixels of the result of `move` lie in the other frame, at least `margin` px from its edge."""
        row, col = positions(shape, self.matrix if not back else inverse(self.matrix))
        height, width = shape[-2:]
        inside: np.ndarray[Any, Any] = (row >= margin) & (row <= height - 1 - margin)
        inside &= (col >= margin) & (col <= width - 1 - margin)
        return inside

    @property
    def matrix(self) -> np.ndarray[Any, Any]:
        """The map from a position of the recorded frame to one of the sharp frame, (2, 3), from the centre, px."""
        turn = radians(self.rotation)
        # Rows run down and columns to the right: from +x towards +y takes (row, col) = (0, 1) to (sin, cos).
        forward = self.scale * np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])
        linear = np.linalg.inv(forward)
        return np.concatenate([linear, -(linear @ np.array(self.shift))[:, None]], axis=1)


def register(
    sharp: Array,
    blurred: Array,
    *,
    pupil: bp.Pupil | str = "disk",
    max_radius: float | None = None,
    mask: Array | None = None,
    shading: bool = True,
    tone: bool = False,
) -> Registration:
    """Register a blurred photograph to a sharp one of the same scene.

    Parameters
    ----------
    sharp, blurred : array of shape (C, H, W)
        Linear light; any namespace, computed in NumPy float64.
    pupil : blurphys.Pupil or {"disk", "gaussian"}
        Shape of the blur that is estimated along with the registration.
    max_radius : float, optional
        Largest radius of the blur, px; 1/16 of the shorter side by default.
    mask : array of bool of shape (H, W), optional
        Pixels of the blurred photograph that are compared; all by default. Clipped ones are left out.
    shading : bool
        Whether the gain may vary over the frame, as a polynomial of the second degree.
    tone : bool
        Whether a tone curve of two parameters is fitted for each colour, for photographs whose values from 0 to 1 are
        light only nearly: those that a converter wrote with a curve of its own. Where it does not lower the
        cross-validated error of a colour, that colour keeps none.

    Returns
    -------
    Registration

    Raises
    ------
    ValueError
        Different shapes, NaN, a frame below 48 px, a sharp photograph without structure, one that is more blurred than
        the blurred one; with `tone`, values far outside 0 to 1.
    TypeError
        Not floating-point arrays.

    Notes
    -----
    Gauss-Newton for shift, scale, rotation and radius together, on a pyramid of means over the colours; gain and offset
    are eliminated. Phase correlation, and a comparison without blur, mistake a change of sharpness for movement. Shifts
    up to about a twentieth of the frame are found; the accuracy is some hundredths of a pixel. Cost: some 15
    applications of a blur to one channel.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> from scipy.ndimage import gaussian_filter
    >>> x = gaussian_filter(np.random.default_rng(0).random((1, 96, 128)), (0, 1, 1))
    >>> y = np.roll(bp.Convolution(bp.psf.disk(2.5), shape=x.shape, boundary="circular")(x), 2, axis=1)
    >>> found = register(x, 0.8 * y + 0.1)
    >>> [round(v, 1) + 0.0 for v in (*found.shift, *found.gain, *found.offset)]
    [2.0, 0.0, 0.8, 0.1]
    """
    x, y = checked_pair("register", sharp, blurred)
    if tone:
        check_range("register", x, y)
    chosen = None if mask is None else to_host(mask).astype(bool)
    if chosen is not None and (chosen.shape != x.shape[1:] or not chosen.any()):
        raise ValueError(
            f"register: mask must have shape {x.shape[1:]} and at least one pixel, got shape {chosen.shape} and "
            f"{int(chosen.sum())} pixels"
        )
    largest = (
        default_radius(x.shape) if max_radius is None else require_number("register", "max_radius", max_radius, above=0)
    )
    return estimate(
        x,
        y,
        pupil=pupil_named("register", pupil),
        max_radius=largest,
        mask=chosen,
        shading=shading,
        tone=tone,
    )


def default_radius(shape: tuple[int, ...]) -> float:
    """Return the largest radius (px) of blur that is looked for."""
    return min(shape[-2:]) / 16


def estimate(
    x: Image,
    y: Image,
    *,
    pupil: bp.Pupil,
    max_radius: float,
    mask: np.ndarray[Any, Any] | None = None,
    shading: bool = True,
    tone: bool = False,
    start: Registration | None = None,
) -> Registration:
    """Return the registration of a checked pair; from `start`, only the finest level is computed."""
    grey = x.mean(axis=0), y.mean(axis=0)
    usable = ~clipped(y) if mask is None else mask & ~clipped(y)
    matrix, radius = None, 0.0
    if start is not None:
        matrix, radius, grey = start.matrix, start.radius, (grey[0], _unlit(y, replace(start, tone=())))
    else:
        levels = [2**k for k in range(8) if min(x.shape[1:]) >= LEAST_SIDE * 2**k] or [1]
        for factor in reversed(levels[: 4 if levels[-1] >= 8 else len(levels)]):
            if factor == 1 and len(levels) > 1 and matrix is None:
                break
            small = [_binned(plane, factor) for plane in grey]
            if matrix is None:
                matrix, radius = _first(small[0], small[1], pupil, max_radius / factor)
            else:
                matrix[:, 2] *= 2
                radius = _nearest(small[0], small[1], pupil, matrix, 2 * radius, max_radius / factor)
            if factor > 1 or len(levels) == 1:
                matrix, radius = _refine(small[0], small[1], pupil, matrix, radius, max_radius / factor)
    assert matrix is not None
    if start is None:
        radius = _nearest(*grey, pupil, matrix, radius, max_radius)
    matrix, radius = _refine(*grey, pupil, matrix, radius, max_radius, usable)
    found = _lit(x, y, pupil, replace(_described(matrix), radius=radius), usable, shading)
    if start is None:  # now that the brightness is known, which differs between colours and over the frame
        matrix, radius = _refine(grey[0], _unlit(y, found), pupil, matrix, radius, max_radius, usable)
        found = _lit(x, y, pupil, replace(_described(matrix), radius=radius), usable, shading)
    for _ in range(TONES if tone else 0):
        field, inside = shading_field(x.shape, found.shading), found.inside(x.shape, 2 + ceil(abs(found.radius)))
        curves = fit_curves(x, y, pupil.psf(found.radius), found.matrix, field, inside & usable)
        if not any(any(curve) for curve in curves):
            return replace(found, tone=())
        found = _lit(x, y, pupil, replace(found, tone=curves), usable, shading)
        lit = found.light(x).mean(axis=0), _unlit(y, found)
        matrix, radius = _refine(*lit, pupil, found.matrix, found.radius, max_radius, usable)
        found = _lit(x, y, pupil, replace(_described(matrix), radius=radius, tone=curves), usable, shading)
    return found


def _unlit(y: Image, found: Registration) -> Image:
    """Return the mean over the colours of a recorded picture in the brightness of the sharp photograph, unmoved."""
    return replace(found, shift=(0.0, 0.0), scale=1.0, rotation=0.0).undo(y).mean(axis=0)


def _lit(x: Image, y: Image, pupil: bp.Pupil, found: Registration, usable: Any, shading: bool) -> Registration:
    """Return a registration with the brightness that suits the blur of its radius."""
    blurred = bp.Convolution(pupil.psf(found.radius), shape=x.shape, boundary="replicate")(found.light(x))
    inside = found.inside(x.shape, 2 + ceil(abs(found.radius)))
    return found.relit(found.move(blurred), y, inside & usable, shading=shading)


def _described(matrix: np.ndarray[Any, Any]) -> Registration:
    """Return shift, scale and rotation of a map from the recorded to the sharp frame."""
    forward = inverse(matrix)
    scale = float(np.sqrt(abs(np.linalg.det(forward[:, :2]))))
    rotation = degrees(np.arctan2(forward[0, 1] - forward[1, 0], forward[0, 0] + forward[1, 1]))
    return Registration(shift=(float(forward[0, 2]), float(forward[1, 2])), scale=scale, rotation=float(rotation))


def _binned(plane: Image, factor: int) -> Image:
    """Return the means of blocks of factor x factor px, cut symmetrically so that the centre stays the centre."""
    rows, cols = (n // factor for n in plane.shape)
    top, left = ((n - m * factor) // 2 for n, m in zip(plane.shape, (rows, cols), strict=True))
    cut = plane[top : top + rows * factor, left : left + cols * factor]
    means: Image = cut.reshape(rows, factor, cols, factor).mean(axis=(1, 3))
    return means


def _radii(pupil: bp.Pupil, largest: float) -> list[float]:
    """Return the radii to begin with, of both signs where the PSF is not symmetric."""
    found = [0.0]
    while found[-1] < largest:
        found.append(min(largest, max(0.75, 1.45 * found[-1])))
    cells = pupil.intensity
    symmetric = float(np.abs(cells - cells[::-1, ::-1]).sum()) < 1e-3
    return found if symmetric else [-r for r in found[:0:-1]] + found


def _first(x: Image, y: Image, pupil: bp.Pupil, largest: float) -> tuple[np.ndarray[Any, Any], float]:
    """Return the best of several starts on the coarsest level: a few steps at each radius."""
    best: tuple[float, Any, float] | None = None
    for radius in _radii(pupil, largest):
        matrix, _ = _refine(x, y, pupil, np.eye(2, 3), radius, largest, steps=4, fixed=True)
        error = _Step(x, y, pupil, matrix, radius, None).error
        if best is None or error < best[0]:
            best = error, matrix, radius
    assert best is not None
    return best[1], best[2]


def _nearest(x: Image, y: Image, pupil: bp.Pupil, matrix: Any, radius: float, largest: float) -> float:
    """Return the best of the given and some other radii; a coarser level may be blind to the blur."""
    return min([*_radii(pupil, largest), radius], key=lambda r: _Step(x, y, pupil, matrix, r, None).error)


class _Step:
    """One linearisation: the blurred picture in the recorded frame, its error, and its derivatives."""

    def __init__(self, x: Image, y: Image, pupil: bp.Pupil, matrix: Any, radius: float, mask: Any) -> None:
        self.blurred = self._blur(x, pupil, radius)
        self.v = warp(self.blurred, matrix)
        inside = Registration.inside(_described(matrix), x.shape, 2 + ceil(abs(radius)))
        self.mask = inside if mask is None else inside & mask
        if self.mask.sum() < 64:
            self.mask = inside
        self.target = y[self.mask] - y[self.mask].mean() if self.mask.any() else np.zeros(0)
        self.model = self._centred(self.v)
        power = float(self.model @ self.model)
        self.gain = float(self.model @ self.target) / power if power > 0 else 0.0
        self.residual = self.target - self.gain * self.model
        self.error = float(self.residual @ self.residual) / max(1, self.target.size) if self.target.size else np.inf

    @staticmethod
    def _blur(x: Image, pupil: bp.Pupil, radius: float) -> Image:
        psf = pupil.psf(radius)
        return x if psf.size == 1 else bp.Convolution(psf, shape=(1, *x.shape), boundary="replicate")(x[None])[0]

    def _centred(self, plane: Image) -> np.ndarray[Any, Any]:
        values = plane[self.mask]
        return values - values.mean() if values.size else values

    def move(self, x: Image, pupil: bp.Pupil, matrix: Any, radius: float, *, fixed: bool) -> np.ndarray[Any, Any]:
        """Return the Gauss-Newton step: down, right, relative growth, turn, radius."""
        rows, cols = self.v.shape
        i, j = np.arange(rows)[:, None] - (rows - 1) / 2, np.arange(cols) - (cols - 1) / 2
        down, right = np.gradient(self.v)
        planes = [-down, -right, -(i * down + j * right), -(j * down - i * right)]
        if not fixed:
            wide, narrow = (self._blur(x, pupil, radius + h) for h in (0.3, -0.3))
            planes.append(warp(wide - narrow, matrix) / 0.6)
        columns = np.stack([self._centred(plane) for plane in planes], axis=1)
        columns -= self.model[:, None] * (self.model @ columns / max(float(self.model @ self.model), 1e-30))
        columns *= self.gain  # the gain is fitted again at every step, so its direction is projected out
        normal = columns.T @ columns
        size = np.sqrt(np.maximum(np.diag(normal), 1e-30))
        solved = np.linalg.solve(
            normal / size / size[:, None] + 1e-6 * np.eye(len(size)), columns.T @ self.residual / size
        )
        step: np.ndarray[Any, Any] = solved / size
        return step if not fixed else np.append(step, 0.0)


def _refine(
    x: Image,
    y: Image,
    pupil: bp.Pupil,
    matrix: Any,
    radius: float,
    largest: float,
    mask: Any = None,
    *,
    steps: int = STEPS,
    fixed: bool = False,
) -> tuple[np.ndarray[Any, Any], float]:
    """Improve the map and the radius by Gauss-Newton steps, halved where they do not improve."""
    now = _Step(x, y, pupil, matrix, radius, mask)
    reach = max(x.shape) / 2
    for _ in range(steps):
        step = now.move(x, pupil, matrix, radius, fixed=fixed)
        step[:2] = np.clip(step[:2], -3, 3)
        step[2:4] = np.clip(step[2:4], -0.05, 0.05)
        step[4] = np.clip(step[4], -1, 1)
        for _ in range(5):
            down, right, grow, turn, wider = step
            small = np.array([[1 - grow, -turn, -down], [turn, 1 - grow, -right]])
            composed = np.concatenate(
                [matrix[:, :2] @ small[:, :2], (matrix[:, :2] @ small[:, 2] + matrix[:, 2])[:, None]], 1
            )
            width = float(np.clip(radius + wider, -largest, largest))
            then = _Step(x, y, pupil, composed, width, mask)
            if then.error <= now.error:
                break
            step = step / 4
        else:
            return matrix, radius
        matrix, radius, now = composed, width, then
        if max(abs(step[0]), abs(step[1]), reach * abs(step[2]), reach * abs(step[3]), abs(step[4])) < ENOUGH:
            break
    return matrix, radius
