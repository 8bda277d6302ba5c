"""The hyper-Laplacian prior of image gradients, sum |D z|^p with p = 1/2 or 2/3, as a proximal operator."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from ..core.checks import check_count, check_image, check_number, is_real
from ..core.types import Array
from .tv_inplace import MIN_THREAD_PIXELS, host_view

__all__ = ["hyper_laplacian", "hyper_laplacian_shrink"]

EXPONENTS = (0.5, 2 / 3)
MIN_COUPLING, MAX_COUPLING = 0.1, 300.0  # of the gradients to their auxiliary copies, in units of the data term
LINEAR = 1e8  # beyond this w = v - p v^(p-1) holds to double precision


def hyper_laplacian_shrink(v: Array, beta: Any, p: float = 2 / 3) -> Array:
    """Shrink numbers: argmin_w |w|^p + beta/2 (w - v)^2, the global minimum for each number separately.

    Parameters
    ----------
    v : array of any shape
        The numbers.
    beta : float or array
        Weight of the quadratic term, positive; an array has to broadcast against v.
    p : float
        1/2 or 2/3.

    Returns
    -------
    array of the shape of v
        Zero up to a threshold of about 1.5 beta^(-1 / (2 - p)); beyond it v, moved towards zero. Exactly at the jump,
        where both values are equally good, zero.

    Raises
    ------
    ValueError
        beta not positive or not finite; p neither 1/2 nor 2/3.

    Notes
    -----
    The stationary points solve p w^(p-1) = beta (v - w), a cubic equation in sqrt(w) for p = 1/2 and a quartic one in
    w^(1/3) for p = 2/3; their largest roots in closed form are used, in units of beta^(-1 / (2 - p)). Zero is the
    better minimum up to |v| = (2 (1 - p))^(1 / (2 - p)) (2 - p) / (2 (1 - p)) of these units. Differentiable except at
    the jump. Cost: about 15 passes over v.

    References
    ----------
    Krishnan, D. and Fergus, R., Fast image deconvolution using hyper-Laplacian priors, NIPS 2009 (the problem, its
    cubic and its quartic). Xu, Z. et al., L1/2 regularization: a thresholding representation theory and a fast solver,
    IEEE Transactions on Neural Networks and Learning Systems 23(7), 2012 (closed form for 1/2). Cao, W., Sun, J. and
    Xu, Z., Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3) regularization,
    Journal of Visual Communication and Image Representation 24(1), 2013 (closed form for 2/3).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> solvers.hyper_laplacian_shrink(np.asarray([0.5, 1.4, -2.0]), 1.0, p=0.5).round(4)
    array([ 0.    ,  0.    , -1.6054])
    """
    name = "hyper_laplacian_shrink"
    p = _exponent(name, p)
    if is_real(beta) or not hasattr(beta, "dtype"):
        return _shrink(v, check_number(name, "beta", beta) ** (-1 / (2 - p)), p)
    return _shrink(v, beta ** (-1 / (2 - p)), p)


def hyper_laplacian(x: Array, strength: Any, *, p: float = 2 / 3, iterations: int = 15) -> Array:
    """Approximate proximal operator of a hyper-Laplacian: argmin_z 1/2 ||z - x||^2 + strength sum |D z|^p.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the prior, zero or larger; 0 returns the image. An array (torch tensor, one value per image, ...) has
        to broadcast against x. Scaling the image by c requires c^(2-p) times the strength.
    p : float
        1/2 or 2/3: gradients of photographs are distributed about as exp(-|gradient|^p).
    iterations : int
        Number of inner steps, without early stopping. The problem is not convex: the result has a low objective but is
        not its minimum. On one photograph with noise of 0.03, 15 steps left the objective above the best of 300 steps
        by 0.2 % (p = 2/3) and 1.5 % (p = 1/2) at strength 1e-3, by 17 % at 1e-2 and by about 40 % at 5e-2, which
        flattens most of it.

    Returns
    -------
    array of shape (*B, C, H, W)

    Raises
    ------
    ValueError
        x without the axes (..., C, H, W); strength negative or not finite; p neither 1/2 nor 2/3; iterations < 1.
    TypeError
        x not a floating array.

    Notes
    -----
    D z are the differences to the next row and to the next column of every channel, zero across the border. They are
    split off as w, with a multiplier m for w = D z; the steps alternate while mu grows geometrically from 0.1 to 300:

        w <- hyper_laplacian_shrink(D z + m / mu, mu / strength)
        m <- m + mu (D z - w)
        z <- (I + mu D^T D)^-1 (x + D^T (mu w - m))    exact: D^T D is diagonal under the cosine transform (DCT-II)

    NumPy arrays, and torch tensors on the CPU that carry no gradient, are processed plane by plane on several threads
    with SciPy's cosine transform; everything else uses array operations with an FFT. Cost per iteration: two cosine
    transforms of the image and about 50 passes over it; memory: 12 images (planes per thread).

    References
    ----------
    Krishnan, D. and Fergus, R., Fast image deconvolution using hyper-Laplacian priors, NIPS 2009 (the splitting with a
    growing weight; the multiplier, the schedule and the borders are ours: with 15 steps they come closer to the
    minimum).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> step = np.zeros((1, 4, 6)); step[..., 3:] = 1.0
    >>> solvers.hyper_laplacian(step, 0.1)[0, 0].round(2)  # an edge costs the same whatever its neighbours do
    array([0.02, 0.02, 0.02, 0.98, 0.98, 0.98])
    """
    name = "hyper_laplacian"
    check_image(name, "x", x)
    p = _exponent(name, p)
    check_count(name, "iterations", iterations, least=1)
    if is_real(strength) or not hasattr(strength, "dtype"):
        strength = check_number(name, "strength", strength, positive=False)
        if strength == 0:
            return 1 * x
        view = host_view(x)
        if view is not None:
            return array_namespace(x).asarray(_planes(view, strength, p, iterations))
    return _split(x, strength, p, iterations, _transforms(x))


def _exponent(name: str, p: Any) -> float:
    for known in EXPONENTS:
        if is_real(p) and math.isclose(p, known, rel_tol=1e-3):
            return known
    raise ValueError(f"{name}: p must be 1/2 or 2/3, the exponents with a closed form, got {p!r}.")


def _shrink(v: Array, unit: Any, p: float) -> Array:
    """Shrink in units of unit = beta^(-1 / (2 - p)), a float or an array."""
    xp = array_namespace(v)
    turn = (2 * (1 - p)) ** (1 / (2 - p))  # below this w is a maximum
    threshold = turn * (2 - p) / (2 * (1 - p))
    if hasattr(unit, "dtype"):
        unit = xp.clip(unit, float(xp.finfo(v.dtype).smallest_normal), None)
    size = xp.abs(v) / unit
    kept = size > threshold
    if is_numpy_array(v) and not hasattr(unit, "dtype"):  # only the entries that are kept, often few, are computed
        w = np.zeros_like(v)
        w[kept] = np.copysign(v.dtype.type(unit) * _root(np, size[kept], p), v[kept])
        return w
    w = unit * _root(xp, xp.where(kept, size, xp.full_like(size, 2.0)), p)  # any valid number where it is not used
    return xp.where(kept, xp.where(v < 0, -w, w), xp.zeros_like(w))


def _root(xp: Any, size: Array, p: float) -> Array:
    """Largest root w of p w^(p-1) = size - w."""
    far = size > LINEAR
    s = xp.where(far, xp.full_like(size, LINEAR), size)
    if p == 0.5:
        w = (2 / 3) * s * (1 + xp.cos((2 / 3) * (math.pi - xp.acos((27 / 16) ** 0.5 * s**-1.5))))
    else:
        a = (2 / 3**0.5) * 2**0.25 * xp.sqrt(xp.cosh(xp.acosh((27 / (16 * 2**1.5)) * s * s) / 3))
        root = (a + xp.sqrt(2 * s / a - a * a)) / 2
        w = root * root * root
    return xp.where(far, size - p * xp.where(far, size, s) ** (p - 1), w)


Transforms = tuple[Callable[[Array], Array], Callable[[Array], Array], Array]


def _split(x: Array, strength: Any, p: float, iterations: int, transforms: Transforms) -> Array:
    xp = array_namespace(x)
    forward, inverse, eigenvalues = transforms
    edge_row, edge_column = xp.zeros_like(x[..., :1, :]), xp.zeros_like(x[..., :1])
    down_price, right_price = xp.zeros_like(x[..., 1:, :]), xp.zeros_like(x[..., 1:])
    z = x
    for mu in np.geomspace(MIN_COUPLING, MAX_COUPLING, iterations).tolist():
        unit = (strength / mu) ** (1 / (2 - p))
        down, down_price = _copy(z[..., 1:, :] - z[..., :-1, :], down_price, mu, unit, p)
        right, right_price = _copy(z[..., 1:] - z[..., :-1], right_price, mu, unit, p)
        pulled = x + xp.concat([edge_row, down], axis=-2) - xp.concat([down, edge_row], axis=-2)
        pulled = pulled + xp.concat([edge_column, right], axis=-1) - xp.concat([right, edge_column], axis=-1)
        z = inverse(forward(pulled) / (1 + mu * eigenvalues))
    return z


def _copy(difference: Array, multiplier: Array, mu: float, unit: Any, p: float) -> tuple[Array, Array]:
    """Return mu w - m for the auxiliary copy w of the differences, and the new multiplier m."""
    wanted = mu * difference + multiplier
    copied = mu * _shrink(wanted / mu, unit, p)
    multiplier = wanted - copied
    return copied - multiplier, multiplier


def _planes(x: Array, strength: float, p: float, iterations: int) -> Array:
    """The same for NumPy arrays, plane by plane on as many threads as there are cores."""
    from scipy import fft

    planes = x.reshape(-1, *x.shape[-2:])
    out = np.empty_like(planes)
    transforms = (
        lambda v: fft.dctn(v, norm="ortho"),
        lambda c: fft.idctn(c, norm="ortho"),
        np.asarray(_eigenvalues(*x.shape[-2:]), dtype=x.dtype),
    )

    def work(index: int) -> None:
        with np.errstate(all="ignore"):
            out[index] = _split(planes[index], strength, p, iterations, transforms)

    threads = min(len(planes), os.cpu_count() or 1)
    if threads == 1 or planes[0].size < MIN_THREAD_PIXELS:
        for index in range(len(planes)):
            work(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(len(planes))))
    return out.reshape(x.shape)


def _eigenvalues(height: int, width: int) -> np.ndarray[Any, Any]:
    """Eigenvalues of D^T D, (H, W), where D takes differences inside the image only."""
    rows = 4 * np.sin(np.pi * np.arange(height) / (2 * height)) ** 2
    columns = 4 * np.sin(np.pi * np.arange(width) / (2 * width)) ** 2
    return np.asarray(rows[:, None] + columns)


def _transforms(x: Array) -> Transforms:
    xp = array_namespace(x)
    eigenvalues = xp.asarray(_eigenvalues(*x.shape[-2:]), dtype=x.dtype, device=device(x))

    def both(line: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda v: xp.matrix_transpose(line(xp.matrix_transpose(line(v))))

    return both(_cosine), both(_cosine_inverse), eigenvalues


def _angles(xp: Any, like: Array, count: int) -> tuple[Array, Array]:
    angle = np.pi * np.arange(count // 2 + 1) / (2 * count)
    where = {"dtype": like.dtype, "device": device(like)}
    return xp.asarray(np.cos(angle), **where), xp.asarray(np.sin(angle), **where)


def _cosine(x: Array) -> Array:
    """DCT-II along the last axis, sum_n x[n] cos(pi k (2n + 1) / 2N), by one FFT of the same length."""
    xp, count = array_namespace(x), x.shape[-1]
    spectrum = xp.fft.rfft(xp.concat([x[..., 0::2], xp.flip(x[..., 1::2], axis=-1)], axis=-1), axis=-1)
    real, imag, (cos, sin) = xp.real(spectrum), xp.imag(spectrum), _angles(xp, x, count)
    upper = (real * sin - imag * cos)[..., 1 : (count + 1) // 2]
    return xp.concat([real * cos + imag * sin, xp.flip(upper, axis=-1)], axis=-1)


def _cosine_inverse(c: Array) -> Array:
    """Inverse of `_cosine`."""
    xp, count = array_namespace(c), c.shape[-1]
    cos, sin = _angles(xp, c, count)
    half = count // 2
    low, high = c[..., : half + 1], xp.flip(c, axis=-1)[..., :half]
    high = xp.concat([xp.zeros_like(c[..., :1]), high], axis=-1)
    kind = xp.complex128 if c.dtype == xp.float64 else xp.complex64
    real, imag = xp.astype(low * cos + high * sin, kind), xp.astype(low * sin - high * cos, kind)
    mixed = xp.fft.irfft(real + 1j * imag, n=count, axis=-1)
    even, odd = mixed[..., : count - half], xp.flip(mixed[..., count - half :], axis=-1)
    if count % 2:
        odd = xp.concat([odd, xp.zeros_like(c[..., :1])], axis=-1)
    woven = xp.reshape(xp.stack([even, odd], axis=-1), (*c.shape[:-1], 2 * (count - half)))
    return woven[..., :count]
