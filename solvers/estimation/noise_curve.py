"""Noise whose variance grows with the light: photon and read noise, estimated from a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace

from blurphys.inputs import require_number

from ..core.types import Array
from .noise import INDEPENDENT, QUANTILE, block_means, checked_planes, second_differences

__all__ = ["NoiseCurve", "noise_curve"]

PER_BIN, MAX_BINS = 24, 24
"""Blocks of similar brightness that one variance is taken from, at least, and the number of such groups, at most."""

OUTLIER = 0.25
"""Relative excess of a variance above the line from which it counts less: texture adds, nothing subtracts."""

FITS = 60
"""Weighted fits; each takes its weights from the last line."""

CLIPPED = 8
"""Values that this many pixels of a colour share with its extreme are taken to be clipped."""

MARGIN = 3.0
"""Blocks whose mean is closer to a clipped value than this many standard deviations lost part of their noise."""


@final
@dataclass(frozen=True)
class NoiseCurve:
    """Noise of a sensor in linear light: variance `shot` y + `read` at signal y.

    Parameters
    ----------
    shot : float
        Variance per unit of signal, the slope: photon noise. 0 or larger.
    read : float
        Variance without light, the offset: read noise. 0 or larger.

    Raises
    ------
    ValueError
        A number is negative or not finite.

    Examples
    --------
    >>> import solvers
    >>> curve = solvers.estimation.NoiseCurve(shot=1e-3, read=1e-6)
    >>> round(curve.sigma(0.25), 4)
    0.0158
    """

    shot: float
    read: float

    def __post_init__(self) -> None:
        for name in ("shot", "read"):
            require_number("NoiseCurve", name, getattr(self, name), least=0)

    def variance(self, image: Any) -> Any:
        """Return the variance at each value of an image, or at one value; values below zero count as zero."""
        if isinstance(image, Real):
            return self.shot * max(float(image), 0.0) + self.read
        xp = array_namespace(image)
        return self.shot * xp.where(image > 0, image, xp.zeros_like(image)) + self.read

    def sigma(self, level: Any) -> Any:
        """Return the standard deviation at each value of an image, or at one value."""
        return self.variance(level) ** 0.5


def noise_curve(image: Array) -> NoiseCurve:
    """Estimate photon and read noise of a photograph: the variance as a line in the signal.

    Parameters
    ----------
    image : array of shape (..., C, H, W)
        One photograph in linear light, or several with the same noise; at least 18 x 18 px. All colours share one
        curve: pass them one by one where their gains differ (white balance). Black level at zero.

    Returns
    -------
    NoiseCurve
        In units of the image; `shot` is 0 where the brightness varies too little to tell the two parts apart.

    Raises
    ------
    ValueError
        Fewer than 18 rows or columns, or values that are not finite.
    TypeError
        Not a floating-point array.

    Notes
    -----
    Blocks of 16 x 16 px are sorted by their mean and divided into groups of similar brightness. In each group the 10 %
    quantile of the mean squared second differences, as in `noise_level`, is the variance at the brightness of the
    blocks up to that quantile. A line is fitted to them, neither of its coefficients negative. Its weights are those of
    variances known to the same relative accuracy, and groups far above the line, in which no block is smooth, count
    less and less. Blocks with clipped pixels, or so close to the clipped value that part of their noise is cut off, are
    left out: a value counts as clipped where it is the largest or the smallest of a colour and eight pixels share it.
    Texture in focus all over the photograph counts as noise, and noise that was smoothed is underestimated.
    NumPy on the host, whatever the array. Cost: some ten passes over the image.

    References
    ----------
    Foi, A., Trimeche, M., Katkovnik, V. and Egiazarian, K., Practical Poissonian-Gaussian noise modeling and fitting
    for single-image raw data, IEEE Transactions on Image Processing 17(10), 2008 (the model; here by blocks).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> ramp = np.linspace(0.02, 0.9, 320) * np.ones((3, 240, 1))
    >>> noise = np.sqrt(1e-3 * ramp + 1e-5) * np.random.default_rng(0).standard_normal(ramp.shape)
    >>> curve = solvers.estimation.noise_curve(ramp + noise)
    >>> bool(abs(curve.shot / 1e-3 - 1) < 0.1)
    True
    """
    planes = checked_planes("noise_curve", image)
    means = block_means(planes[:, 1:-1, 1:-1].astype(np.float64))
    powers = block_means(second_differences(planes).astype(np.float64) ** 2)
    kept = _unclipped(planes, means, powers)
    if not kept.any():
        kept = np.ones_like(kept)
    levels, variances = _variances(means[kept], powers[kept])
    shot, read = _line(levels, variances)
    return NoiseCurve(shot=shot, read=read)


def _unclipped(
    planes: np.ndarray[Any, Any], means: np.ndarray[Any, Any], powers: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the blocks, (planes, rows, cols), that clipping left alone."""
    kept = np.ones(means.shape, dtype=bool)
    spread = MARGIN * np.sqrt(powers)
    for plane, mean, near, inside in zip(planes, means, spread, kept, strict=True):
        for extreme, sign in ((plane.max(), 1), (plane.min(), -1)):
            cut = plane == extreme
            if cut.sum() < CLIPPED:
                continue
            touched = block_means(cut[None, 1:-1, 1:-1].astype(np.float64))[0] > 0
            inside &= ~touched & (sign * (extreme - mean) > near)
    return kept


def _variances(
    means: np.ndarray[Any, Any], powers: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return brightness and variance of the noise in groups of blocks of similar brightness."""
    from scipy.stats import chi2

    order = np.argsort(means)
    means, powers = means[order], powers[order]
    groups = int(np.clip(means.size // PER_BIN, 1, MAX_BINS))
    expected = chi2.ppf(QUANTILE, INDEPENDENT) / INDEPENDENT
    levels, variances = [], []
    for mean, power in zip(np.array_split(means, groups), np.array_split(powers, groups), strict=True):
        least = np.quantile(power, QUANTILE)
        levels.append(mean[power <= least].mean())
        variances.append(least / expected)
    return np.maximum(levels, 0.0), np.array(variances)


def _line(levels: np.ndarray[Any, Any], variances: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return slope and offset, neither negative, of the line that most variances lie on and few lie below."""
    from scipy.optimize import nnls

    scale = float(np.median(variances))
    if scale <= 0:
        return 0.0, 0.0
    span = float(levels.max()) or 1.0
    columns = np.stack([levels / span, np.ones_like(levels)], axis=1)
    wanted = variances / scale
    line = np.full_like(wanted, float(np.quantile(wanted, 0.3)) or 1.0)
    for _ in range(FITS):
        line = np.maximum(line, 1e-6 * wanted.max())
        excess = np.maximum(wanted / line - 1, 0) / OUTLIER
        weight = 1 / (line * (1 + excess**2))
        found = nnls(columns * weight[:, None], wanted * weight)[0]
        line = columns @ found
    return float(found[0] * scale / span), float(found[1] * scale)
