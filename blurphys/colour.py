"""The sRGB transfer function, exact and piecewise: blur in linear light, show and measure in sRGB."""

from __future__ import annotations

from .linop import require_float
from .types import Array

__all__ = ["linear_to_srgb", "srgb_to_linear"]


def srgb_to_linear(x: Array) -> Array:
    """Decode sRGB values to linear light.

    Parameters
    ----------
    x : array of any shape
        sRGB-encoded, nominal range [0, 1]; values outside continue by the formulas (negative ones linearly).

    Returns
    -------
    array
        ``x / 12.92`` up to 0.04045, above it ``((x + 0.055) / 1.055)^2.4`` (IEC 61966-2-1).
    """
    xp = require_float("srgb_to_linear", "the image", x)
    high = ((xp.where(x > 0.04045, x, xp.ones_like(x)) + 0.055) / 1.055) ** 2.4
    return xp.where(x > 0.04045, high, x / 12.92)


def linear_to_srgb(x: Array) -> Array:
    """Encode linear light as sRGB, the inverse of `srgb_to_linear`.

    Parameters
    ----------
    x : array of any shape
        Linear light, nominal range [0, 1].

    Returns
    -------
    array
        ``12.92 x`` up to 0.0031308, above it ``1.055 x^(1/2.4) - 0.055``.
    """
    xp = require_float("linear_to_srgb", "the image", x)
    high = 1.055 * xp.where(x > 0.0031308, x, xp.ones_like(x)) ** (1 / 2.4) - 0.055
    return xp.where(x > 0.0031308, high, 12.92 * x)
