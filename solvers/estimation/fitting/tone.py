"""Tone curves: how the light in a photograph follows from its values, with two parameters for each colour.

The slope of a curve over values v from 0 to 1 is ``1 + a P1(s) + b P2(s)``, s = 1 - 2 v, with the Legendre polynomials
P1(s) = s and P2(s) = (3 s^2 - 1) / 2; so 0 and 1 stay where they are. Beyond them a curve continues as a straight line.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

import blurphys as bp

from ...core.types import Array
from .geometry import warp
from .inputs import Image

__all__ = ["Curves", "check_range", "fit_curves", "light", "recorded"]

Curves: TypeAlias = tuple[tuple[float, float], ...]
"""Parameters (a, b) of each colour; without any, light and value are the same."""

LEAST_SLOPE, LARGEST = 0.1, (0.95, 0.6)
"""Least slope of a curve, and bounds of the absolute parameters."""

GAIN = 0.01
"""Relative decrease of the cross-validated error for which a curve is taken."""

SAMPLES, BLOCK = 30_000, 32
"""Most pixels of a colour that are looked at, and height (px) of the strips that are left out in turn."""


def check_range(name: str, x: Image, y: Image) -> None:
    """Raise ValueError where values are far outside 0 to 1, the range that a curve describes."""
    low, high = min(float(x.min()), float(y.min())), max(float(x.max()), float(y.max()))
    if low < -0.5 or high > 1.5:
        raise ValueError(
            f"{name}: a tone curve is for values from 0 to 1, got {low:.3g} to {high:.3g}; divide both photographs by "
            f"the value of white"
        )


def light(image: Array, curves: Curves) -> Array:
    """Return the light of an image (C, H, W), of the same kind."""
    if not any(any(curve) for curve in curves):
        return image
    xp = array_namespace(image)
    return xp.stack([_light(image[c], *curve, xp) for c, curve in enumerate(curves)])


def recorded(image: Image, curves: Curves) -> Image:
    """Return the values of a NumPy image (C, H, W) of light, the inverse of `light`."""
    if not any(any(curve) for curve in curves):
        return image
    values = np.linspace(0, 1, 4097)
    found = np.empty_like(image)
    for plane, into, (a, b) in zip(image, found, curves, strict=True):
        into[...] = np.interp(plane, _light(values, a, b), values)
        into += np.minimum(plane, 0) / (1 + a + b) + np.maximum(plane - 1, 0) / (1 - a + b)
    return found


def fit_curves(x: Image, y: Image, psf: Image, matrix: Any, field: Image, mask: Any) -> Curves:
    """Fit the curves of a pair of which both photographs were recorded alike.

    Parameters
    ----------
    x, y : ndarray of shape (C, H, W)
        Sharp and blurred photograph, as recorded.
    psf : ndarray of shape (n, n)
        Blur of the light.
    matrix : ndarray of shape (2, 3)
        From the frame of y to that of x.
    field : ndarray of shape (H, W)
        Relative gain over the frame of y.
    mask : ndarray of bool of shape (H, W)
        Pixels of y to fit to.

    Returns
    -------
    tuple of (float, float)
        Parameters of each colour; (0, 0) where a curve does not lower the error in strips that it was not fitted to.

    Notes
    -----
    Light is linear in a and b, so three images are blurred for each colour, once. The residual in light is divided by
    the slope of the curve, which makes it one of recorded values: a curve cannot lower it by compressing all of them.
    """
    pixels = np.flatnonzero(mask)
    if len(pixels) > SAMPLES:
        pixels = np.sort(np.random.default_rng(2).choice(pixels, SAMPLES, replace=False))
    fold = pixels // x.shape[2] // BLOCK % 2
    local, found = field.ravel()[pixels], []
    for plane, other in zip(x, y, strict=True):
        parts = np.stack([plane, *_bends(plane)])
        blurred = warp(bp.Convolution(psf, shape=parts.shape, boundary="replicate")(parts), matrix)
        u, v = local * blurred.reshape(3, -1)[:, pixels], other.ravel()[pixels]
        found.append(_curve(u, v, fold))
    return tuple(found)


def _light(v: Any, a: float, b: float, xp: Any = np) -> Any:
    inner = xp.clip(v, 0.0, 1.0)
    bent = inner * (1 + (1 - inner) * (a + b * (1 - 2 * inner)))
    over = v - inner
    return bent + xp.where(over < 0, (1 + a + b) * over, (1 - a + b) * over)


def _bends(v: Image) -> tuple[Image, Image]:
    """Return the derivatives of light in a and b."""
    inner = np.clip(v, 0, 1)
    bend = inner * (1 - inner)
    over = v - inner
    return bend - np.abs(over), bend * (1 - 2 * inner) + over


def _slope(v: Image, a: float, b: float) -> Image:
    s = 1 - 2 * np.clip(v, 0, 1)
    return np.maximum(1 + a * s + b * (1.5 * s * s - 0.5), LEAST_SLOPE)


def _curve(u: Image, v: Image, fold: Any) -> tuple[float, float]:
    """Return the parameters for blurred images u (3, N), of value and bends, and values v (N,)."""
    before = after = 0.0
    for k in (0, 1):
        seen, left = fold == k, fold != k
        if seen.sum() < 100 or left.sum() < 100:
            return 0.0, 0.0
        for bent in (False, True):
            residual = _residual(_solved(u[:, seen], v[seen], bent=bent), u[:, left], v[left])
            error = float(residual @ residual)
            before, after = (before, after + error) if bent else (before + error, after)
    if after > (1 - GAIN) * before:
        return 0.0, 0.0
    a, b = _solved(u, v, bent=True)[2:]
    return float(a), float(b)


def _residual(p: Image, u: Image, v: Image) -> Image:
    gain, offset, a, b = p
    return (gain * (u[0] + a * u[1] + b * u[2]) + offset - _light(v, a, b)) / _slope(v, a, b)


def _solved(u: Image, v: Image, *, bent: bool) -> Image:
    """Return gain, offset and the two parameters of least error, of a curve that rises everywhere."""
    from scipy.optimize import least_squares

    mean = u[0].mean()
    gain = float((u[0] - mean) @ v / max(float((u[0] - mean) @ u[0]), 1e-30))
    start = np.array([gain, float(v.mean()) - gain * float(mean), 0.0, 0.0])
    if not bent:
        return start
    limit = np.array([np.inf, np.inf, *LARGEST])
    found = np.asarray(least_squares(_residual, start, args=(u, v), bounds=(-limit, limit), x_scale="jac").x)
    s = np.linspace(-1, 1, 201)
    steepest = float((found[2] * s + found[3] * (1.5 * s * s - 0.5)).min())
    if steepest < LEAST_SLOPE - 1:
        found[2:] *= (LEAST_SLOPE - 1) / steepest
        found[:2] = least_squares(lambda p: _residual(np.append(p, found[2:]), u, v), found[:2]).x
    return found
