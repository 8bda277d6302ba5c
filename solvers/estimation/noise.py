"""Noise of a photograph, estimated from its smoothest blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.arrays import to_host
from ..core.checks import check_image
from ..core.types import Array

__all__ = ["noise_level"]

BLOCK = 16
"""Side of a block, px: large enough for a variance, small enough to lie between edges."""

QUANTILE = 0.1
"""The variance that a tenth of the blocks do not exceed is taken to be noise alone."""

INDEPENDENT = BLOCK * BLOCK / (70 / 36) ** 2
"""Independent samples in a block: the second differences of neighbours are correlated, with squared autocorrelations
that sum to 70/36 along either axis."""

NORMAL_MEDIAN = 0.67449
"""Median of the absolute value of a standard normal number."""

CLIPPED = 0.05
"""Blocks with more pixels than this share at the extreme values of the image may be clipped and do not count."""


def noise_level(image: Array, *, mask: Array | None = None) -> float:
    """Estimate the standard deviation of white noise in a photograph.

    Parameters
    ----------
    image : array of shape (..., C, H, W)
        One photograph, or several with the same noise; at least 18 x 18 px. If its values are in linear light, so is
        the result; a tone curve makes the noise depend on the brightness.
    mask : array of bool of shape (H, W), optional
        Pixels known to be smooth (far out of focus, say): the median over all of them is then used instead of the
        smoothest blocks.

    Returns
    -------
    float
        In units of the image.

    Raises
    ------
    ValueError
        Fewer than 18 rows or columns, values that are not finite, a mask of another shape or without a 3 x 3 square.
    TypeError
        Not a floating-point array.

    Notes
    -----
    The second difference along both axes, scaled so that it keeps the variance of white noise, is free of everything
    that varies linearly along rows or columns (Immerkaer 1996). The 10 % quantile of its mean squares in blocks of 16 x
    16 px is taken as the variance of the noise, and corrected for being a quantile (of a chi-squared distribution). The
    estimate is accurate to a few per cent on average where a tenth of the photograph is smooth or out of focus; sharp
    texture all over the photograph counts as noise, and noise that was smoothed (demosaicing, JPEG, denoising) is
    underestimated. Cost: some ten passes over the image.

    References
    ----------
    Immerkaer, J., Fast noise variance estimation, Computer Vision and Image Understanding 64(2), 1996 (the filter; here
    robust by blocks).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> ramp = np.linspace(0, 1, 256) * np.ones((3, 200, 1))
    >>> noisy = ramp + 0.01 * np.random.default_rng(0).standard_normal(ramp.shape)
    >>> round(solvers.estimation.noise_level(noisy), 3)
    0.01
    """
    from scipy.stats import chi2

    planes = checked_planes("noise_level", image)
    difference = second_differences(planes)
    if mask is not None:
        return _masked_level(difference, to_host(mask))
    power = block_means(difference.astype(np.float64) ** 2)
    extreme = (planes == planes.min()) | (planes == planes.max())
    inside = block_means(extreme[:, 1:-1, 1:-1].astype(np.float64)) <= CLIPPED
    chosen = power[inside] if inside.any() else power.ravel()
    expected = chi2.ppf(QUANTILE, INDEPENDENT) / INDEPENDENT
    return float(np.sqrt(np.quantile(chosen, QUANTILE) / expected))


def checked_planes(name: str, image: Array) -> np.ndarray[Any, Any]:
    """Return every colour of an image of any namespace on the host, (planes, H, W), large enough for a block."""
    check_image(name, "image", image)
    values = to_host(image)
    rows, cols = values.shape[-2:]
    if min(rows, cols) < BLOCK + 2:
        raise ValueError(f"{name}: expected at least {BLOCK + 2} x {BLOCK + 2} px, got {rows} x {cols}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: image must be finite, got NaN or infinity.")
    return values.reshape(-1, rows, cols)


def second_differences(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return second differences along both axes, (planes, H - 2, W - 2), of the variance of the noise."""
    difference: np.ndarray[Any, Any] = np.diff(np.diff(planes, 2, axis=-2), 2, axis=-1) / 6
    return difference


def _masked_level(difference: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> float:
    """Return the level from second differences whose nine pixels are all in the mask."""
    rows, cols = difference.shape[-2:]
    if mask.shape != (rows + 2, cols + 2):
        raise ValueError(f"noise_level: mask must have shape {(rows + 2, cols + 2)}, got {tuple(mask.shape)}")
    inside = np.ones((rows, cols), dtype=bool)
    for i in range(3):
        for j in range(3):
            inside &= mask[i : i + rows, j : j + cols].astype(bool)
    if not inside.any():
        raise ValueError("noise_level: mask must contain at least one square of 3 x 3 px, got none")
    return float(np.median(np.abs(difference[:, inside])) / NORMAL_MEDIAN)


def block_means(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the means of whole blocks, (planes, rows // BLOCK, cols // BLOCK)."""
    count, rows, cols = planes.shape
    rows, cols = rows // BLOCK, cols // BLOCK
    blocks = planes[:, : rows * BLOCK, : cols * BLOCK].reshape(count, rows, BLOCK, cols, BLOCK)
    means: np.ndarray[Any, Any] = blocks.mean(axis=(2, 4))
    return means
