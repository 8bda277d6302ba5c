"""Deblurring by convolution with inverse kernels of one shape and several scales.

A defocus PSF keeps its shape and changes its size with depth, and so does its inverse: if k_s(t) = k(t / s) / s^2 then
the inverse of k_s is that of k, stretched in the same way. One inverse kernel, upsampled or dilated, therefore serves
every depth, and a weighted sum of a few scales serves the depths in between. Everything is computed by the operators of
`blurphys`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from array_api_compat import device

from blurphys import Convolution, LinearOperator, PSFStack, PSFWarning
from blurphys.inputs import detach, require_same_kind

from ..core.arrays import to_host
from ..core.checks import check_count, check_image, check_number
from ..core.types import Array
from .stretched import check_kernel, check_scale, dilated_inverse, pad_to_largest, upsampled_inverse

__all__ = ["dilated_inverse", "inverse_kernel", "nnls_weights", "scaled_inverse", "upsampled_inverse"]

MAX_CUT_ERROR = 0.01  # of the frequency response due to cutting the support, relative to its value at zero
GRID_WIDTHS, MIN_GRID = 16, 256  # periodic grid: half its size in widths of the PSF, and its smallest size in px


def inverse_kernel(psf: Array, *, snr: float, size: int | None = None) -> Array:
    """Return the Wiener inverse of a PSF as a convolution kernel of finite support.

    Parameters
    ----------
    psf : array of shape (..., h, w)
        Convolution kernels with their centres at (h // 2, w // 2); leading axes (colours, levels) are kept.
    snr : float
        Ratio of the power of the image to that of the noise, the same at all frequencies; positive. It limits the gain
        to sqrt(snr) / 2.
    size : int, optional
        Odd width of the result, px. By default the smallest width for which cutting changes the response of every
        kernel by at most 1 % of its value at frequency zero; at most 255 px or 32 times the PSF's width.
        A smaller support costs accuracy, first of all in brightness.

    Returns
    -------
    array of shape (..., size, size)
        Convolution kernels with their centres at size // 2. The sum is S snr / (S^2 snr + 1), where S is the sum of the
        PSF, within 1 % by default: a little less than one for a PSF of unit sum, which is the bias of the Wiener
        filter. In the PSF's namespace, dtype and device; torch can differentiate it.

    Raises
    ------
    ValueError
        psf without the axes (..., h, w) or with NaN; snr not positive; an even size.
    TypeError
        psf not a floating array.

    Notes
    -----
    K^-1 = conj(K) / (|K|^2 + 1 / snr), with K the PSF's frequency response on a periodic grid of at least 256 px, 32
    widths of the PSF and twice the size of the result; the result is then cut. The sharper the zeros of K, the longer
    the kernel: a few times the PSF for a Gaussian, more than ten times for a disk at a high snr.

    References
    ----------
    Wiener, N., Extrapolation, Interpolation, and Smoothing of Stationary Time Series, MIT Press, 1949. As the inverse
    kernel of defocus: Son, H., Lee, J., Cho, S. and Lee, S., Single image defocus deblurring using kernel-sharing
    parallel atrous convolutions, ICCV 2021.

    Examples
    --------
    >>> import blurphys as bp
    >>> inverse = inverse_kernel(bp.psf.gaussian(1.0), snr=100.0)
    >>> inverse.shape, round(float(inverse.sum()), 2)
    ((25, 25), 0.99)
    """
    name = "inverse_kernel"
    xp = check_kernel(name, "psf", psf)
    snr = check_number(name, "snr", snr)
    if size is not None and check_count(name, "size", size, least=1) % 2 == 0:
        raise ValueError(f"{name}: size must be odd (a kernel has a centre pixel), got {size}.")
    h, w = psf.shape[-2:]
    n = max(MIN_GRID, 2 * GRID_WIDTHS * max(h, w), 2 * (size or 1))
    double = xp.astype(psf, xp.float64)
    where = {"dtype": xp.float64, "device": device(psf)}
    lead = tuple(psf.shape[:-2])
    plane = xp.concat([double, xp.zeros((*lead, h, n - w), **where)], axis=-1)
    plane = xp.concat([plane, xp.zeros((*lead, n - h, n), **where)], axis=-2)
    response = xp.fft.rfftn(xp.roll(plane, (-(h // 2), -(w // 2)), axis=(-2, -1)), axes=(-2, -1))
    power = xp.real(response * xp.conj(response))
    full = xp.fft.irfftn(xp.conj(response) / (power + 1 / snr), s=(n, n), axes=(-2, -1))
    middle = n // 2
    full = xp.roll(full, (middle, middle), axis=(-2, -1))
    half = _half_of(to_host(full), middle) if size is None else size // 2
    return xp.astype(full[..., middle - half : middle + half + 1, middle - half : middle + half + 1], psf.dtype)


def scaled_inverse(
    y: Array,
    inverse: Array,
    *,
    scales: Sequence[float],
    weights: Any = None,
    method: Literal["cubic", "linear", "dilated"] = "cubic",
    boundary: Literal["reflect", "symmetric", "replicate", "circular", "zero"] = "reflect",
) -> Array:
    """Deblur with one inverse kernel at several scales: x = sum_l w_l . (inverse_(s_l) * y).

    Parameters
    ----------
    y : array of shape (*B, C, H, W)
        The observed image.
    inverse : array of shape (n, n) or (C, n, n)
        Inverse kernel of the smallest blur, n odd, e.g. from `inverse_kernel`.
    scales : sequence of L floats
        1 or larger; whole numbers with ``method="dilated"``.
    weights : sequence of L floats, or array of shape (*B, L, H, W), optional
        Numbers for the whole image, or maps that select the scale at each pixel; equal weights 1 / L if omitted. They
        should sum to one. `nnls_weights` finds them.
    method : {"cubic", "linear", "dilated"}
        Interpolate between the taps (`upsampled_inverse`), or only spread them apart (`dilated_inverse`).
    boundary : str
        Extension of y beyond its frame, see `blurphys.boundary`. The kernels are long; "replicate" still works where
        half a kernel exceeds the image.

    Returns
    -------
    array of shape (*B, C, H, W)

    Raises
    ------
    ValueError
        inverse not square and odd, or for other colours; no scale, one below 1, or one that is not whole with
        ``method="dilated"``; another method; weights that do not fit the scales or the image, or with NaN; an extension
        beyond the limit of the boundary.
    TypeError
        y not a floating array; inverse or weights of another namespace, device or dtype.

    Notes
    -----
    The blur of scale s is the PSF behind `inverse`, stretched by s. Weights come after the filter, as in
    `blurphys.PSFStack`, which does the work: L convolutions, by FFT where that is faster; with numbers as weights it is
    a single `blurphys.Convolution`. This is not an iteration: there is no residual to report, and nothing can diverge.
    torch can differentiate with respect to y, inverse and weights.

    References
    ----------
    Son, H., Lee, J., Cho, S. and Lee, S., Single image defocus deblurring using kernel-sharing parallel atrous
    convolutions, ICCV 2021: there the kernels and the maps are learned.

    Examples
    --------
    >>> import blurphys as bp, numpy as np, solvers
    >>> psf = bp.psf.disk(1.5)
    >>> x = np.zeros((3, 60, 80)); x[..., 20:40, 30:50] = 1.0
    >>> y = bp.Convolution(upsampled_inverse(psf, 2), shape=x.shape)(x)
    >>> sharper = scaled_inverse(y, inverse_kernel(psf, snr=300.0), scales=[2], boundary="replicate")
    >>> bool(np.std(sharper - x) < 0.8 * np.std(y - x))
    True
    """
    name = "scaled_inverse"
    xp = check_image(name, "y", y)
    check_kernel(name, "inverse", inverse, square=True)
    require_same_kind(name, "inverse", inverse, "y", y)
    channels = y.shape[-3]
    if inverse.ndim > 3 or (inverse.ndim == 3 and inverse.shape[0] != channels):
        raise ValueError(
            f"{name}: inverse must have shape (n, n) or ({channels}, n, n) for y of shape {tuple(y.shape)}, got "
            f"{tuple(inverse.shape)}."
        )
    factors = [check_scale(name, s) for s in scales]
    if not factors:
        raise ValueError(f"{name}: scales must hold at least one scale, got none.")
    if method not in ("cubic", "linear", "dilated"):
        raise ValueError(f'{name}: method must be "cubic", "linear" or "dilated", got {method!r}.')
    if method == "dilated":
        if any(s != int(s) for s in factors):
            raise ValueError(f"{name}: dilated kernels need whole scales (spacings in px), got {factors}.")
        kernels = [dilated_inverse(inverse, int(s)) for s in factors]
    else:
        kernels = [upsampled_inverse(inverse, s, interpolation=method) for s in factors]
    maps = _maps(name, xp, weights, len(factors), y)
    bank = pad_to_largest(kernels)
    if maps is not None:
        filters = xp.stack(bank, axis=0)
        return _of_any_sum(lambda: PSFStack(filters, weights=maps, channels=channels, boundary=boundary))(y)
    numbers = [1 / len(factors)] * len(factors) if weights is None else [_number(w) for w in weights]
    total = numbers[0] * bank[0]
    for number, kernel in zip(numbers[1:], bank[1:], strict=True):
        total = total + number * kernel
    return _of_any_sum(lambda: Convolution(total, shape=tuple(y.shape[-3:]), boundary=boundary))(y)


def _of_any_sum(make: Callable[[], LinearOperator]) -> LinearOperator:
    """Make an operator of filters without the warning about their sums: an inverse kernel is not a PSF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PSFWarning)
        return make()


def nnls_weights(parts: Sequence[Array], target: Array) -> np.ndarray[Any, Any]:
    """Return the non-negative weights with which the sum of the parts is closest to the target, in least squares.

    Parameters
    ----------
    parts : sequence of L arrays
        Images deblurred at several scales, of the shape of the target; or inverse kernels (n_l, n_l) of odd sizes,
        which are padded with zeros to the largest.
    target : array
        The image deblurred at the wanted scale (or the sharp image), or its inverse kernel.

    Returns
    -------
    ndarray of shape (L,), float64
        Non-negative; not normalised to one.

    Raises
    ------
    ValueError
        No parts; shapes that differ in more than the size of a kernel; NaN.
    TypeError
        Something is not a floating array.

    Notes
    -----
    min over w >= 0 of ||sum_l w_l parts_l - target||, on the host: `scipy.optimize.nnls` on the triangle of a QR
    factorisation, which has the same minimiser and L + 1 rows.

    Examples
    --------
    >>> import numpy as np
    >>> nnls_weights([np.ones((3, 3)), np.ones((1, 1))], 0.5 * np.ones((3, 3))).round(6).tolist()
    [0.5, 0.0]
    """
    from scipy.optimize import nnls

    name = "nnls_weights"
    if not len(parts):
        raise ValueError(f"{name}: parts must hold at least one array, got none.")
    for what, value in (("target", target), *((f"parts[{i}]", part) for i, part in enumerate(parts))):
        check_kernel(name, what, value)
        if value.shape[:-2] != target.shape[:-2]:
            raise ValueError(f"{name}: {what} has shape {tuple(value.shape)}, target {tuple(target.shape)}.")
    arrays = [to_host(value).astype(np.float64) for value in (*parts, target)]
    if len({a.shape for a in arrays}) > 1:
        if any(a.shape[-1] != a.shape[-2] or a.shape[-1] % 2 == 0 for a in arrays):
            raise ValueError(
                f"{name}: parts and target must have one shape (images) or be square and odd (kernels), got "
                f"{[a.shape for a in arrays]}."
            )
        arrays = pad_to_largest(arrays)
    columns = np.stack([a.ravel() for a in arrays], axis=1)
    triangle = np.asarray(np.linalg.qr(columns, mode="r"))
    return np.asarray(nnls(triangle[..., :-1], triangle[..., -1])[0])


def _half_of(kernels: np.ndarray[Any, Any], middle: int) -> int:
    """Half the smallest support that changes the response by at most MAX_CUT_ERROR of its value at frequency zero."""
    flat = kernels.reshape(-1, *kernels.shape[-2:])
    offset = np.abs(np.arange(flat.shape[-1]) - middle)
    ring = np.maximum(offset[:, None], offset[None, :]).ravel()
    rings = np.array([np.bincount(ring, weights=np.abs(one).ravel()) for one in flat])
    beyond = rings.sum(axis=1, keepdims=True) - np.cumsum(rings, axis=1)
    enough = (beyond <= MAX_CUT_ERROR * np.abs(flat.sum(axis=(-2, -1)))[:, None]).all(axis=0)
    return min(int(np.argmax(enough)), middle - 1) if enough.any() else middle - 1


def _number(weight: Any) -> Any:
    """A float, or a torch number that may carry a gradient."""
    return weight if hasattr(weight, "requires_grad") else float(weight)


def _maps(name: str, xp: Any, weights: Any, count: int, y: Array) -> Array | None:
    """Return weights as maps (*B, L, H, W), or None where they are numbers for the whole image."""
    if weights is None:
        return None
    shape = tuple(getattr(weights, "shape", (len(weights),) if hasattr(weights, "__len__") else ()))
    if len(shape) == 1:
        if shape[0] != count or not all(math.isfinite(float(w)) for w in detach(weights)):
            raise ValueError(f"{name}: weights must be {count} finite numbers, one for each scale, got {weights!r}.")
        return None
    if len(shape) < 3 or shape[-3:] != (count, *y.shape[-2:]):
        raise ValueError(
            f"{name}: weights must be {count} numbers or maps of shape (..., {count}, {y.shape[-2]}, {y.shape[-1]}), "
            f"got shape {shape}."
        )
    require_same_kind(name, "weights", weights, "y", y)
    if not bool(xp.all(xp.isfinite(weights))):
        raise ValueError(f"{name}: weights must be finite, got NaN or infinite values.")
    return weights
