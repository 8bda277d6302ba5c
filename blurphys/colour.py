"""The sRGB transfer function and its inverse: blur in linear light, display and evaluate in sRGB."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from .inputs import require_float
from .types import Array

__all__ = ["linear_to_srgb", "srgb_to_linear"]
__dir__ = __all__.copy  # what completion offers


def _namespace(owner: str, x: Array) -> Any:
    """Return the namespace of a floating-point image; half precision is allowed, for storage."""
    if getattr(x, "dtype", None) is not None and "float16" in str(x.dtype):
        return array_namespace(x)
    return require_float(owner, "the image", x)


def srgb_to_linear(x: Array) -> Array:
    """Decode sRGB values to linear light.

    Parameters
    ----------
    x : array of any shape
        sRGB-encoded, nominal range [0, 1]; the formulas also apply outside it (linear for negative values).

    Returns
    -------
    array
        ``x / 12.92`` up to 0.04045, above it ``((x + 0.055) / 1.055)^2.4`` (IEC 61966-2-1).
    """
    xp = _namespace("srgb_to_linear", x)
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
    xp = _namespace("linear_to_srgb", x)
    high = 1.055 * xp.where(x > 0.0031308, x, xp.ones_like(x)) ** (1 / 2.4) - 0.055
    return xp.where(x > 0.0031308, high, 12.92 * x)
