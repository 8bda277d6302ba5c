"""Negative values of an image: noise and rounding around black are set to zero, anything else is an error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..core.arrays import to_host
from ..core.types import Array

__all__ = ["nonnegative_light", "noise_estimate"]

ROUNDING = 1e3  # units of eps of the peak: what an FFT of the image may leave where it is black
MAX_RMS, MAX_DEPTH, MAX_SHARE = 1.5, 8.0, 0.5


def nonnegative_light(name: str, what: str, image: Array, *, noise_level: float | None = None, fix: str) -> Array:
    """Return an image with its negative values set to zero, if they are noise or rounding around black.

    Parameters
    ----------
    name, what, fix : str
        The solver, its argument, and how to correct a rejected image, for the message.
    image : array of shape (*B, C, H, W)
        Linear light.
    noise_level : float, optional
        Standard deviation of the noise, if known; otherwise that of `noise_estimate`.

    Raises
    ------
    ValueError
        Negative values that exceed the noise (root mean square above 1.5 times it, or the lowest value beyond eight
        times it), that lie further than the noise from any value above zero, or that sum to more than half of the
        light.

    Notes
    -----
    Expected counts are never negative; the likelihood of a negative value is largest where zero is expected.
    """
    xp = array_namespace(image)
    zero = xp.zeros_like(image)
    below = image < 0
    if not bool(xp.any(below)):
        return image
    axes = (-3, -2, -1)
    dark, light = xp.where(below, -image, zero), xp.where(below, zero, image)
    count = to_host(xp.sum(xp.astype(below, xp.float64), axis=axes))
    peak, depth = (to_host(xp.astype(xp.max(part, axis=axes), xp.float64)) for part in (light, dark))
    spread = np.sqrt(to_host(xp.sum(dark * dark, axis=axes, dtype=xp.float64)) / np.maximum(count, 1))
    lost, seen = (to_host(xp.sum(part, axis=axes, dtype=xp.float64)) for part in (dark, light))
    far = xp.full_like(image, float("inf"))
    nearest = [xp.min(xp.where(mine, xp.abs(image), far), axis=axes) for mine in (below, ~below)]
    hole = to_host(xp.astype(nearest[0] + nearest[1], xp.float64))  # around zero, between the two
    noise = noise_estimate(image) if noise_level is None else np.full_like(peak, noise_level)
    rounding = depth <= ROUNDING * float(xp.finfo(image.dtype).eps) * peak
    near = 1.0 if noise_level is None else MAX_DEPTH  # texture looks like noise, too
    noisy = (
        (depth <= MAX_DEPTH * noise) & (spread <= MAX_RMS * noise) & (hole <= near * noise) & (lost <= MAX_SHARE * seen)
    )
    good = rounding | noisy | (count == 0)
    if not good.all():
        worst = float(-np.max(np.where(good, 0.0, depth)))
        raise ValueError(
            f"{name}: {what} must not be negative beyond the noise around black, got {worst:.3g} where the noise is "
            f"about {float(np.max(noise)):.2g} and the peak {float(np.max(peak)):.3g}; {fix}"
        )
    return light


def noise_estimate(image: Array) -> np.ndarray[Any, Any]:
    """Estimate the standard deviation of white noise in every image of a batch, on the host.

    Parameters
    ----------
    image : array of shape (*B, C, H, W)
        The result is zero where H or W is less than 3. Texture counts as noise.

    References
    ----------
    Immerkaer, J., Fast noise variance estimation, Computer Vision and Image Understanding 64(2), 1996.
    """
    xp = array_namespace(image)
    height, width = image.shape[-2:]
    if min(height, width) < 3:
        return np.zeros(tuple(image.shape[:-3]))
    rows = image[..., :-2, :] - 2 * image[..., 1:-1, :] + image[..., 2:, :]
    both = rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:]
    mean = to_host(xp.mean(xp.abs(both), axis=(-3, -2, -1)))
    return np.asarray(math.sqrt(math.pi / 2) / 6 * mean, dtype=np.float64)
