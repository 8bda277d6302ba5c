"""Kernels of one shape and several sizes: upsampled, dilated, and brought to a common size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.autocast import without_autocast
from blurphys.inputs import require_float

from ..core.checks import check_count, check_number
from ..core.types import Array

__all__ = ["check_kernel", "check_scale", "dilated_inverse", "pad_to_largest", "upsampled_inverse"]


def upsampled_inverse(kernel: Array, scale: float, *, interpolation: Literal["linear", "cubic"] = "cubic") -> Array:
    """Return a kernel stretched by a factor, its values interpolated: k(t / s) / s^2.

    Parameters
    ----------
    kernel : array of shape (..., n, n)
        Inverse kernels, or PSFs, of odd size.
    scale : float
        1 or larger; it need not be an integer.
    interpolation : {"cubic", "linear"}
        Cubic convolution leaves the low frequencies as they are; linear interpolation keeps a non-negative kernel
        non-negative, at the price of a weaker response above a quarter of the sampling rate.

    Returns
    -------
    array of shape (..., m, m)
        m = 2 ceil(s (n // 2 + b)) - 1: the kernel ends b samples beyond its support, b = 2 (cubic) or 1 (linear). For a
        whole scale the sum equals that of `kernel`, for others up to the error of the interpolation.

    Raises
    ------
    ValueError
        kernel not square and odd, or with NaN; scale < 1; another interpolation.
    TypeError
        kernel not a floating array.

    Notes
    -----
    For a whole s this is the dilated kernel convolved with the interpolating function stretched to s, so that its
    frequency response is that of the dilated one times a low-pass filter.

    References
    ----------
    Keys, R. G., Cubic convolution interpolation for digital image processing, IEEE Transactions on Acoustics, Speech,
    and Signal Processing 29(6), 1981 (with a = -1/2).

    Examples
    --------
    >>> import numpy as np
    >>> upsampled_inverse(np.array([[4.0]]), 2, interpolation="linear")
    array([[0.25, 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 0.25]])
    """
    name = "upsampled_inverse"
    xp = check_kernel(name, "kernel", kernel, square=True)
    scale = check_scale(name, scale)
    if interpolation not in INTERPOLATION:
        raise ValueError(f'{name}: interpolation must be "cubic" or "linear", got {interpolation!r}.')
    reach, function = INTERPOLATION[interpolation]
    n = kernel.shape[-1]
    half = math.ceil(scale * (n // 2 + reach) - 1e-9) - 1
    t = (np.arange(2 * half + 1) - half) / scale
    values = function(np.abs(t[:, None] - (np.arange(n) - n // 2))) / scale
    return _both_axes(xp, values, kernel)


def dilated_inverse(kernel: Array, scale: int) -> Array:
    """Return a kernel with its taps spread apart (a trous): k(t / s) where t / s is whole, zero elsewhere.

    Parameters
    ----------
    kernel : array of shape (..., n, n)
        Inverse kernels of odd size.
    scale : int
        Spacing of the taps, px, at least 1.

    Returns
    -------
    array of shape (..., m, m)
        m = s (n - 1) + 1, the same taps and the same sum.

    Raises
    ------
    ValueError
        kernel not square and odd, or with NaN; scale not whole or < 1.
    TypeError
        kernel not a floating array.

    Notes
    -----
    Its frequency response is that of `kernel`, repeated s times: noise at frequencies above the first copy is amplified
    as well, which does no harm to the content of an image from which the blur has removed these frequencies.

    Examples
    --------
    >>> import numpy as np
    >>> dilated_inverse(np.array([[1.0, 2.0, 3.0]] * 3), 2)[0]
    array([1., 0., 2., 0., 3.])
    """
    xp = check_kernel("dilated_inverse", "kernel", kernel, square=True)
    scale = check_count("dilated_inverse", "scale", int(scale) if scale == int(scale) else scale, least=1)
    n = kernel.shape[-1]
    spread = np.zeros((scale * (n - 1) + 1, n))
    spread[np.arange(n) * scale, np.arange(n)] = 1.0
    return _both_axes(xp, spread, kernel)


def pad_to_largest(kernels: Sequence[Array]) -> list[Array]:
    """Pad kernels (..., n_l, n_l) of odd sizes with zeros to the size of the largest."""
    largest = max(k.shape[-1] for k in kernels)
    places = [np.eye(largest, k.shape[-1], -((largest - k.shape[-1]) // 2)) for k in kernels]
    return [_both_axes(array_namespace(k), place, k) for k, place in zip(kernels, places, strict=True)]


def _both_axes(xp: Any, matrix: np.ndarray[Any, Any], kernel: Array) -> Array:
    """Apply a matrix (m, n) to the rows and to the columns of kernels (..., n, n)."""
    there = xp.asarray(matrix, dtype=kernel.dtype, device=device(kernel))
    with without_autocast(kernel):
        return there @ kernel @ xp.permute_dims(there, (1, 0))


def _tent(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.maximum(1 - t, 0)


def _cubic(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    near, far = (1.5 * t - 2.5) * t * t + 1, ((2.5 - 0.5 * t) * t - 4) * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


INTERPOLATION = {"linear": (1, _tent), "cubic": (2, _cubic)}  # reach in samples, function of the distance


def check_scale(name: str, scale: Any) -> float:
    """Return a scale as a float, at least 1."""
    value = check_number(name, "scale", scale)
    if value < 1:
        raise ValueError(f"{name}: scale must be 1 or larger (the kernel is that of the smallest blur), got {scale!r}.")
    return value


def check_kernel(name: str, what: str, kernel: Any, *, square: bool = False) -> Any:
    """Return the namespace of finite kernels (..., h, w), square and of odd size if `square`."""
    xp = require_float(name, what, kernel)
    shape = tuple(kernel.shape)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"{name}: {what} must have shape (..., h, w), got {shape}.")
    if square and (shape[-1] != shape[-2] or shape[-1] % 2 == 0):
        raise ValueError(f"{name}: {what} must be square and of odd size (it has a centre pixel), got {shape}.")
    if not bool(xp.all(xp.isfinite(kernel))):
        raise ValueError(f"{name}: {what} has NaN or infinite values.")
    return xp
