"""The l1 norm of orthonormal wavelet coefficients as a proximal operator, and the small filter bank behind it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..core.checks import check_count, check_image, check_number, is_real
from ..core.types import Array

__all__ = ["l1_wavelet", "wavelet_analysis", "wavelet_synthesis"]

MAX_MOMENTS = 8
WAVELETS = ("haar", *(f"db{n}" for n in range(1, MAX_MOMENTS + 1)))

Coefficients = tuple[Array, tuple[tuple[Array, Array, Array], ...]]
"""The coarse image, and for every level, finest first, the three detail images (along rows, columns, both)."""


def wavelet_analysis(x: Array, *, wavelet: str = "haar", levels: int = 3) -> Coefficients:
    """Orthonormal wavelet coefficients of an image.

    Parameters
    ----------
    x : array of shape (..., H, W)
        The image; H and W of any parity.
    wavelet : str
        "haar" (the same as "db1"), or "db2" to "db8": Daubechies' wavelets with 1 to 8 vanishing moments.
    levels : int
        Number of levels: how often the coarse image is split.

    Returns
    -------
    coarse : array of shape (..., ceil(H / 2^levels), ceil(W / 2^levels))
    details : tuple of (along_rows, along_columns, both)
        One triple for each level, finest first; `coarse` and `details` together hold as many numbers as x.

    Raises
    ------
    ValueError
        An unknown wavelet; levels < 1, or so large that an axis of one pixel would have to be split.
    TypeError
        x not a floating array.

    Notes
    -----
    A line of even length n is extended periodically and becomes n/2 low and n/2 high numbers. In a line of odd length
    the last number is set aside and joins the low ones, so that there are (n + 1)/2 of them: the transform stays
    orthonormal, at the price of a missing detail at that border. Cost: about 4 passes over the image per tap.

    References
    ----------
    Daubechies, I., Orthonormal bases of compactly supported wavelets, Communications on Pure and Applied Mathematics
    41(7), 1988 (the filters, by spectral factorisation, minimal phase).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> coarse, details = solvers.wavelet_analysis(np.ones((1, 4, 6)), levels=1)
    >>> coarse.round(12)[0, 0], bool(abs(details[0][0]).max() < 1e-12)
    (array([2., 2., 2.]), True)
    """
    name = "wavelet_analysis"
    xp = check_image(name, "x", x)
    low, high = _filters(name, wavelet)
    _check_levels(name, levels, *x.shape[-2:])
    details = []
    for _ in range(levels):
        x, right = _split(xp, x, low, high)
        (x, down), (right, both) = (_split_rows(xp, part, low, high) for part in (x, right))
        details.append((down, right, both))
    return x, tuple(details)


def wavelet_synthesis(coefficients: Coefficients, *, wavelet: str = "haar") -> Array:
    """Image from its wavelet coefficients: the inverse of `wavelet_analysis`, and also its transpose.

    Parameters
    ----------
    coefficients : tuple
        Coefficients from `wavelet_analysis`.
    wavelet : str
        The same as there.

    Returns
    -------
    array of shape (..., H, W)

    Raises
    ------
    ValueError
        An unknown wavelet.
    """
    low, high = _filters("wavelet_synthesis", wavelet)
    x, details = coefficients
    xp = array_namespace(x)
    for down, right, both in reversed(details):
        x, right = (_join_rows(xp, a, b, low, high) for a, b in ((x, down), (right, both)))
        x = _join(xp, x, right, low, high)
    return x


def l1_wavelet(x: Array, strength: Any, *, wavelet: str = "haar", levels: int = 3, translations: int = 1) -> Array:
    """Proximal operator of the l1 norm of wavelet details: argmin_z 1/2 ||z - x||^2 + strength ||details of W z||_1.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the norm, zero or larger, in units of the image: details are shrunk by it, so two to three standard
        deviations of the noise remove it. An array (torch tensor) holds one value per image or per channel, with its
        last two axes 1.
    wavelet, levels : str, int
        As in `wavelet_analysis`. The coarse image is not penalised.
    translations : int
        The result is the mean over shifts of the grid by 0 .. translations - 1 pixels along each axis, translations^2
        in all, which removes most of the block artefacts of Haar; 2^levels covers all shifts.

    Returns
    -------
    array of shape (*B, C, H, W)

    Raises
    ------
    ValueError
        x without the axes (..., C, H, W); strength negative, not finite or one per pixel; an unknown wavelet; levels or
        translations < 1, or levels too many for the size.
    TypeError
        x not a floating array.

    Notes
    -----
    W is orthonormal, so the map is z = W^T shrink(W x), exact, with shrink(c) = sign(c) max(|c| - strength, 0). A mean
    of proximal operators of convex functions is the proximal operator of another convex function, their proximal
    average, so the shifted version is firmly non-expansive too. Cost per shift: two transforms (see
    `wavelet_analysis`).

    References
    ----------
    Donoho, D. L. and Johnstone, I. M., Ideal spatial adaptation by wavelet shrinkage, Biometrika 81(3), 1994. Coifman,
    R. R. and Donoho, D. L., Translation-invariant de-noising, Wavelets and Statistics, Springer, 1995.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> step = np.zeros((1, 2, 4)); step[..., 1:] = 1.0
    >>> solvers.l1_wavelet(step, 0.2, levels=1)[0, 0].round(12)
    array([0.1, 0.9, 1. , 1. ])
    """
    name = "l1_wavelet"
    xp = check_image(name, "x", x)
    _filters(name, wavelet)
    _check_levels(name, levels, *x.shape[-2:])
    check_count(name, "translations", translations, least=1)
    if is_real(strength) or not hasattr(strength, "dtype"):
        strength = check_number(name, "strength", strength, positive=False)
    elif any(n != 1 for n in strength.shape[-2:]):
        raise ValueError(
            f"{name}: strength must be a number, or an array of shape (..., 1, 1) with one value per image or channel, "
            f"got shape {tuple(strength.shape)}."
        )
    total = xp.zeros_like(x)
    for row in range(translations):
        for col in range(translations):
            moved = xp.roll(x, (-row, -col), axis=(-2, -1)) if row or col else x
            coarse, details = wavelet_analysis(moved, wavelet=wavelet, levels=levels)
            shrunk = tuple(tuple(_soft(xp, d, strength) for d in triple) for triple in details)
            z = wavelet_synthesis((coarse, shrunk), wavelet=wavelet)
            total = total + (xp.roll(z, (row, col), axis=(-2, -1)) if row or col else z)
    return total / translations**2


def _soft(xp: Any, c: Array, strength: Any) -> Array:
    """Shrink towards zero by the strength."""
    rest = xp.abs(c) - strength
    return xp.sign(c) * xp.where(rest > 0, rest, xp.zeros_like(rest))


def _check_levels(name: str, levels: Any, height: int, width: int) -> None:
    check_count(name, "levels", levels, least=1)
    short = min(height, width)
    most = max(short - 1, 0).bit_length()  # halvings, rounded up, until one pixel is left
    if levels > most:
        raise ValueError(
            f"{name}: levels must be at most {most} for an image of {height} x {width} pixels, got {levels}."
        )


def _filters(name: str, wavelet: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if wavelet not in WAVELETS:
        raise ValueError(f"{name}: wavelet must be one of {', '.join(WAVELETS)}, got {wavelet!r}.")
    low = _daubechies(1 if wavelet == "haar" else int(wavelet[2:]))
    return low, tuple((-1) ** k * value for k, value in enumerate(reversed(low)))


@lru_cache(maxsize=MAX_MOMENTS)
def _daubechies(moments: int) -> tuple[float, ...]:
    """Low-pass filter with 2 `moments` taps, from the roots inside the unit circle of its autocorrelation."""
    roots = np.roots([math.comb(moments - 1 + k, k) for k in reversed(range(moments))])  # in y = (2 - z - 1/z) / 4
    taps = np.asarray([1.0])
    for _ in range(moments):
        taps = np.convolve(taps, [1.0, 1.0])
    for y in roots:
        pair = np.roots([1.0, 4 * y - 2, 1.0])
        taps = np.convolve(taps, [1.0, -pair[np.argmin(np.abs(pair))]])
    taps = np.real(taps)
    return tuple((taps * (math.sqrt(2) / taps.sum())).tolist())


def _split(xp: Any, x: Array, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[Array, Array]:
    """Low and high half of the lines along the last axis: sum_k f[k] x[2 i + k], periodic."""
    count = x.shape[-1] // 2
    even, odd = x[..., 0 : 2 * count : 2], x[..., 1 : 2 * count : 2]
    halves = []
    for taps in (low, high):
        terms = [
            a * _shift(xp, even, k) + b * _shift(xp, odd, k)
            for k, (a, b) in enumerate(zip(taps[0::2], taps[1::2], strict=True))
        ]
        halves.append(sum(terms[1:], terms[0]))
    if x.shape[-1] % 2:
        halves[0] = xp.concat([halves[0], x[..., -1:]], axis=-1)
    return halves[0], halves[1]


def _join(xp: Any, smooth: Array, detail: Array, low: tuple[float, ...], high: tuple[float, ...]) -> Array:
    """Transpose of `_split`."""
    count = detail.shape[-1]
    halves = []
    for phase in (0, 1):
        terms = [
            a * _shift(xp, smooth[..., :count], -k) + b * _shift(xp, detail, -k)
            for k, (a, b) in enumerate(zip(low[phase::2], high[phase::2], strict=True))
        ]
        halves.append(sum(terms[1:], terms[0]))
    woven = xp.reshape(xp.stack(halves, axis=-1), (*detail.shape[:-1], 2 * count))
    return xp.concat([woven, smooth[..., count:]], axis=-1) if smooth.shape[-1] > count else woven


def _shift(xp: Any, x: Array, places: int) -> Array:
    return xp.roll(x, -places, axis=-1) if places else x


def _split_rows(xp: Any, x: Array, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[Array, Array]:
    a, b = _split(xp, xp.matrix_transpose(x), low, high)
    return xp.matrix_transpose(a), xp.matrix_transpose(b)


def _join_rows(xp: Any, smooth: Array, detail: Array, low: tuple[float, ...], high: tuple[float, ...]) -> Array:
    return xp.matrix_transpose(_join(xp, xp.matrix_transpose(smooth), xp.matrix_transpose(detail), low, high))
