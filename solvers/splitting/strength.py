"""The weight of a prior, from the noise alone or from the problem itself: one rule for all methods that take one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import numpy as np
from array_api_compat import array_namespace, device

from ..core.arrays import inner, to_host
from ..core.checks import check_number, prox_of
from ..core.problem import Problem, problem
from ..core.types import Array, Prox
from ..estimation.noise import BLOCK, NORMAL_MEDIAN, noise_level, second_differences
from .data_step import data_step

__all__ = ["AUTO", "Strength", "choose_strength", "resolve_strength", "strength_for", "strength_of"]

STRENGTH_PER_VARIANCE = 15.0
"""Weight of the prior for each unit of noise variance, chosen with total variation on the motorcycle, PSNR in sRGB."""

MIN_STRENGTH, MAX_STRENGTH = 1e-5, 1e-2

LIKELY = 0.32
"""Share of the most probable strength (`choose_strength`) that serves best. With noise of .5 % of white, total
variation is within .3 dB of its best from .02 to .4 for leaning boards, from .26 to 1.9 for a photograph in sRGB."""

TRIAL = ((0.01, 5), (0.3, 4))
"""Coupling (for unit gain) and conjugate gradient steps of the trial solution."""

FIRST = 0.1
"""Strength of the prior step that measures the first trial, per standard deviation of the noise."""

BLURRED = 0.01
"""Share of the power of second differences of white noise that remains where a blur hides all texture: that of a disk
of some 2.5 px."""

WINDOW, SMOOTH_PIXELS = 9, 1000
"""Window (px) over which this share is averaged, and the number of pixels that a median needs."""

LEAST_NOISE = 1e-4
"""Least noise, as a share of the root mean square of y: that of any photograph is larger."""

ROUNDING = 8.0
"""Machine epsilons, relative to the image, up to which a prior step is rounding."""

AUTO: Literal["auto"] = "auto"


def strength_for(variance: float) -> float:
    """Return the weight of the prior for a mean variance of the noise, linear light."""
    return float(np.clip(STRENGTH_PER_VARIANCE * variance, MIN_STRENGTH, MAX_STRENGTH))


@final
@dataclass(frozen=True, kw_only=True)
class Strength:
    """The weight of a prior that suits a problem, and what it follows from.

    Attributes
    ----------
    value : float
        The `strength` for `hqs`, `admm` or `fista`.
    noise : float
        Standard deviation of the noise, in the unit of y.
    misfit : float
        Root mean square of y - A x at the trial solution x. Where it is well above `noise`, A does not describe how y
        was recorded.
    slope : float
        <g, x> / N at the trial solution, g a gradient of the prior and N the number of unknowns; for `tv` the mean
        absolute gradient of the image. 0 where the prior has none that could be measured.
    """

    value: float
    noise: float
    misfit: float
    slope: float


def choose_strength(
    A: Any,
    y: Array,
    *,
    prox: Prox,
    x0: Array | None = None,
    mask: Array | None = None,
    noise_level: float | None = None,
) -> Strength:
    """Choose the weight of a prior from the noise, the image, and how well the operator explains it.

    It is what ``strength="auto"`` in `hqs`, `admm` and `fista` uses; `layered` has a rule of its own.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, linear light. The images of a batch share one strength.
    prox : callable
        (x, s) -> argmin_z 1/2 ||z - x||^2 + s phi(z), where phi grows like a power of its argument, phi(a x) =
        a^k phi(x): `tv`, `l1_wavelet`, `hyper_laplacian`, a quadratic.
    x0 : array of shape (*B, C, H, W), optional
        Start of the trial solution; if omitted, as in `hqs`.
    mask : array, optional
        Where y was observed, as in `hqs`.
    noise_level : float, optional
        Standard deviation of the noise in y, positive; estimated if omitted.

    Returns
    -------
    Strength

    Raises
    ------
    ValueError, TypeError
        As in `hqs`.

    Notes
    -----
    If images have the density exp(-lambda phi(x)), of all lambda the one under which x is most probable is N / (k phi),
    N being the number of unknowns, and noise of variance v makes lambda v the strength. The proximal operator gives
    k phi without knowing phi: (x - z) / s is a gradient of phi at z = prox(x, s), and its inner product with z is
    k phi(z) (Euler). The rule is

        strength = .32 max(v, m^2 - v) N / <(x - z) / s, z>

    at a trial solution x, nine conjugate gradient steps of `hqs`. m^2 is the mean square of y - A x: if A describes how
    y was recorded, it is at most v, since x fits part of the noise too; what lies above v is the error of A, which
    counts like noise. The factor was chosen with total variation on rendered scenes and a photograph.
    v comes from the second differences of y - A x where A passes none, so that no texture reaches them. These pixels
    are found by applying A to white noise. Where there are too few, `estimation.noise_level` of y takes over, which
    counts texture as noise. The strength scales with y for a prior like `tv` (k = 1).
    Where no gradient can be measured (a `prox` that changes nothing, or is none) the value is 15 v, between 1e-5 and
    1e-2. A denoiser is not derived from such a phi: choose a number for it.
    Cost: 13 applications of A and 11 of its adjoint, three calls of prox: about a sixth of the applications and half of
    the prior steps of `hqs` with its defaults.

    References
    ----------
    Pereyra, M., Bioucas-Dias, J. and Figueiredo, M., Maximum-a-posteriori estimation with unknown regularisation
    parameters, EUSIPCO 2015 (the most probable lambda).

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> x = np.zeros((1, 64, 64)); x[:, 16:48, 16:48] = 0.5
    >>> A = bp.Convolution(bp.psf.disk(3.0), shape=x.shape)
    >>> y = A(x) + 0.01 * np.random.default_rng(0).standard_normal(x.shape)
    >>> found = solvers.choose_strength(A, y, prox=solvers.tv)
    >>> bool(abs(found.noise / 0.01 - 1) < 0.1), bool(found.misfit < 0.011)
    (True, True)
    """
    name = "choose_strength"
    if noise_level is not None:
        noise_level = check_number(name, "noise_level", noise_level)
    given = problem(name, A, y, x0, adjoint=True, tol=1.0, max_iterations=0, mask=mask)
    return strength_of(given, prox_of(name, prox), noise=noise_level)


def resolve_strength(given: Problem, prox: Prox, strength: Any) -> float:
    """Return a strength as a number: that of "auto", or the number given."""
    if isinstance(strength, str):
        if strength != AUTO:
            raise ValueError(f'{given.name}: strength must be a number or "auto", got {strength!r}.')
        return strength_of(given, prox).value
    return check_number(given.name, "strength", strength, positive=False)


def strength_of(
    given: Problem,
    prox: Prox,
    *,
    noise: float | None = None,
) -> Strength:
    """Choose the strength for a checked problem and prior; see `choose_strength`."""
    A, y, x = given.A, given.y, given.start
    with np.errstate(all="ignore"):
        residual = y - A(x)
        gain = _mean_square(y - residual) / (_mean_square(x) or 1.0)  # of A at the start, squared
        gain = gain if math.isfinite(gain) and gain > 0 else 1.0
        seen = _Observed.of(given, known=noise is not None, least=BLURRED * gain)
        floor = LEAST_NOISE * math.sqrt(seen.mean_square(y))
        level = max(floor, seen.noise(y)) if noise is None else noise
        misfit, value, slope = math.sqrt(seen.mean_square(residual)), 0.0, 0.0
        for coupling, steps in TRIAL:
            if not math.isfinite(misfit):
                break
            rho = coupling * gain
            pull = prox(x, value / rho) - x if value else 0 * x  # the first trial knows no strength yet
            x = data_step(A, x, residual, pull, rho=rho, iterations=steps, stop=None, preconditioner=None).x
            residual = y - A(x)
            misfit = math.sqrt(seen.mean_square(residual))
            slope = _slope(prox, x, value / gain or FIRST * level / math.sqrt(gain))
            if noise is None and seen.smooth is not None and math.isfinite(misfit):
                level = max(floor, seen.noise(residual))
            value = LIKELY * max(level**2, misfit**2 - level**2) / slope if _usable(slope) else 0.0
    if not (_usable(slope) and math.isfinite(misfit)):
        return Strength(value=strength_for(level**2), noise=level, misfit=misfit, slope=0.0)
    return Strength(value=value, noise=level, misfit=misfit, slope=slope)


def _usable(slope: float) -> bool:
    return math.isfinite(slope) and slope > 0


def _slope(prox: Prox, x: Array, strength: float) -> float:
    """Return <(x - z) / strength, z> / N for z = prox(x, strength), or 0 where z differs from x by rounding alone."""
    if strength <= 0:
        return 0.0
    z = prox(x, strength)
    rounding = ROUNDING * float(array_namespace(x).finfo(x.dtype).eps)
    if _mean_square(x - z) <= rounding**2 * _mean_square(x):
        return 0.0
    return float(to_host(inner(x - z, z)).sum()) / strength / math.prod(x.shape)


def _mean_square(x: Array) -> float:
    return float(to_host(inner(x, x)).sum()) / math.prod(x.shape)


class _Observed(NamedTuple):
    """What of y was observed: the share of its values, and where A leaves no texture.

    `smooth` is of shape (H - 2, W - 2), the second differences with all nine pixels observed; None for too few.
    """

    share: float
    smooth: np.ndarray[Any, Any] | None

    @classmethod
    def of(cls, given: Problem, *, known: bool, least: float) -> _Observed:
        """Look at a problem; if the noise is known, A is not applied."""
        y, mask = given.y, given.A.mask
        weights = None
        if mask is not None:
            weights = np.broadcast_to(to_host(mask), tuple(y.shape)).reshape(-1, *y.shape[-2:])
        share = 1.0 if weights is None else float(np.mean(weights.astype(np.float64) ** 2))
        smooth = None if known or min(y.shape[-2:]) < WINDOW else _smooth(given, least)
        if smooth is not None and weights is not None:
            from scipy.ndimage import minimum_filter

            smooth &= minimum_filter((weights == 1).all(axis=0), 3)[1:-1, 1:-1]
        return cls(share, smooth if smooth is not None and smooth.sum() >= SMOOTH_PIXELS else None)

    def mean_square(self, x: Array) -> float:
        """Return the mean over the observed values."""
        return _mean_square(x) / self.share

    def noise(self, x: Array) -> float:
        """Return the standard deviation of the noise in y or a residual."""
        values = to_host(x)
        if self.smooth is not None:
            differences = second_differences(values.reshape(-1, *values.shape[-2:]))
            return float(np.median(np.abs(differences[:, self.smooth])) / NORMAL_MEDIAN)
        return noise_level(x) if min(values.shape[-2:]) >= BLOCK + 2 else 0.0


def _smooth(given: Problem, least: float) -> np.ndarray[Any, Any]:
    """Return where A leaves little of the second differences of white noise, (H - 2, W - 2)."""
    from scipy.ndimage import uniform_filter

    x = given.start
    xp = array_namespace(x)
    white = np.random.default_rng(0).standard_normal(tuple(x.shape))
    seen = to_host(given.A(xp.asarray(white, dtype=x.dtype, device=device(x))))
    differences = second_differences(seen.reshape(-1, *seen.shape[-2:])).astype(np.float64)
    power: np.ndarray[Any, Any] = uniform_filter((differences**2).mean(axis=0), WINDOW)
    return power < least
