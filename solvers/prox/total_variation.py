"""Total variation as a proximal operator, and proximal operators made from others: non-negative, denoisers."""

from __future__ import annotations

from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from ..core.checks import check_callable, check_count, check_image, check_number, is_real
from ..core.types import Array, Prox
from .tv_inplace import STEP, host_view, next_momentum, tv_numpy

__all__ = ["TVState", "denoiser", "nonnegative", "tv", "tv_image", "tv_init", "tv_step"]


class TVState(NamedTuple):
    """Dual fields of the total variation, (*B, C, H, W) each, and the weight of the extrapolation.

    `down` and `right` belong to the differences to the next row and the next column; `down_ahead` and `right_ahead` are
    their extrapolations, from which the next step starts.
    """

    down: Array
    right: Array
    down_ahead: Array
    right_ahead: Array
    momentum: float = 1.0


def tv_init(x: Array) -> TVState:
    """Start with dual fields of zero."""
    zero = array_namespace(x).zeros_like(x)
    return TVState(zero, zero, zero, zero)


def tv_step(x: Array, strength: Any, state: TVState, *, joint: bool = False, isotropic: bool = True) -> TVState:
    """Take one accelerated projected gradient step on the dual of the `tv` problem; differentiable.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the total variation; an array has to broadcast against x.
    state : TVState
        State before the step; that of another strength or of a similar image is a warm start.
    joint : bool
        One gradient length for all channels of a pixel.
    isotropic : bool
        One gradient length for both directions.

    Returns
    -------
    TVState
    """
    xp = array_namespace(x)
    limit = strength if hasattr(strength, "dtype") else xp.asarray(strength, dtype=x.dtype, device=device(x))
    z = tv_image(x, TVState(state.down_ahead, state.right_ahead, state.down_ahead, state.right_ahead))
    down = state.down_ahead + STEP * _difference(xp, z, -2)
    right = state.right_ahead + STEP * _difference(xp, z, -1)
    tiny = xp.asarray(float(xp.finfo(x.dtype).smallest_normal), dtype=x.dtype, device=device(x))
    floor = xp.maximum(limit * limit, tiny)
    squares = [xp.sum(p * p, axis=-3, keepdims=True) if joint else p * p for p in (down, right)]
    if isotropic:
        squares = [squares[0] + squares[1]] * 2
    down, right = (limit / xp.sqrt(xp.maximum(s, floor)) * p for s, p in zip(squares, (down, right), strict=True))
    momentum, push = next_momentum(state.momentum)
    return TVState(
        down, right, down + push * (down - state.down), right + push * (right - state.right), momentum
    )  # fmt: skip


def tv_image(x: Array, state: TVState) -> Array:
    """Return the denoised image x - D^T (down, right) of a state."""
    xp = array_namespace(x)
    return x - _difference_adjoint(xp, state.down, -2) - _difference_adjoint(xp, state.right, -1)


def tv(x: Array, strength: Any, *, iterations: int = 50, joint: bool = False, isotropic: bool = True) -> Array:
    """Proximal operator of the total variation: argmin_z 1/2 ||z - x||^2 + strength TV(z).

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the total variation, zero or larger, in units of the image; 0 returns the image. A strength of about
        sigma removes noise of standard deviation sigma. An array (torch tensor, one value per image, ...) has to
        broadcast against x.
    iterations : int
        Number of steps, without early stopping. 50 leave a relative error of about 2e-3 at strength 0.05 (less for a
        weaker one).
    joint : bool
        Couple the channels, so that their edges fall on the same pixels (colour TV).
    isotropic : bool
        Couple the differences to the next row and to the next column, so that the penalty does not depend on the
        direction of an edge. False, the anisotropic variation, favours edges along rows and columns.

    Returns
    -------
    array of shape (*B, C, H, W)

    Raises
    ------
    ValueError
        x without the axes (..., C, H, W); strength negative or not finite; iterations < 1.
    TypeError
        x not a floating array.

    Notes
    -----
    TV(z) = sum over pixels and channels of sqrt((z[m+1,n] - z[m,n])^2 + (z[m,n+1] - z[m,n])^2), differences across the
    border being zero; with ``joint=True``, the sum over pixels of the root of the sum over channels; with
    ``isotropic=False``, the sum of two such terms, one for the rows and one for the columns. The dual problem is
    max over |p| <= strength of -1/2 ||x - D^T p||^2, solved by projected gradients with Nesterov's extrapolation:

        p <- project(q + D (x - D^T q) / 8);   q <- p + c (p - p_old);   z = x - D^T p

    NumPy arrays, and torch tensors on the CPU that carry no gradient, are processed in place, plane by plane on several
    threads, and band by band; everything else goes through `tv_step`. Cost: about 20 passes over the image per
    iteration; memory in place: the result, and 4 planes per thread (`joint`: 4 images per thread).

    References
    ----------
    Chambolle, A., An algorithm for total variation minimization and applications, Journal of Mathematical Imaging and
    Vision 20, 2004 (the dual). Beck, A. and Teboulle, M., Fast gradient-based algorithms for constrained total
    variation image denoising and deblurring problems, IEEE Transactions on Image Processing 18(11), 2009 (the
    extrapolation; no constraint on z here).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> step = np.zeros((1, 4, 6)); step[..., 3:] = 1.0
    >>> solvers.tv(step, 0.3)[0, 0].round(3)  # both halves move by strength / 3
    array([0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    """
    check_image("tv", "x", x)
    check_count("tv", "iterations", iterations, least=1)
    if is_real(strength) or not hasattr(strength, "dtype"):
        strength = check_number("tv", "strength", strength, positive=False)
        plane = host_view(x)
        if plane is not None:
            return array_namespace(x).asarray(
                tv_numpy(plane, strength, iterations=iterations, joint=joint, isotropic=isotropic)
            )
    state = tv_init(x)
    for _ in range(iterations):
        state = tv_step(x, strength, state, joint=joint, isotropic=isotropic)
    return tv_image(x, state)


def nonnegative(prox: Prox) -> Prox:
    """Turn the proximal operator of phi into one for images >= 0 by setting negative values to zero.

    Parameters
    ----------
    prox : callable
        (x, strength) -> image.

    Returns
    -------
    callable
        The same, followed by max(., 0).

    Raises
    ------
    ValueError
        prox not callable.

    Notes
    -----
    This is the exact proximal operator of phi + (0 where z >= 0, infinity elsewhere) whenever phi treats every pixel
    separately, and for the anisotropic total variation with separate channels: clipping preserves the order of
    neighbours, and with it the subgradients of phi. For `tv` with ``isotropic=True``, `l1_wavelet` and
    `hyper_laplacian` it is an approximation that changes the result only where that of `prox` alone is negative.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> solvers.nonnegative(lambda x, s: x / (1 + s))(np.asarray([[[-1.0, 3.0]]]), 0.5)
    array([[[0., 2.]]])
    """
    check_callable("nonnegative", "prox", prox)

    def constrained(x: Array, strength: Any) -> Array:
        z = prox(x, strength)
        xp = array_namespace(z)
        return xp.where(z > 0, z, xp.zeros_like(z))

    return constrained


def denoiser(f: Prox) -> Prox:
    """Use a denoiser for Gaussian noise in place of a proximal operator.

    Parameters
    ----------
    f : callable
        (x, sigma) -> image, sigma the standard deviation of the noise that it removes, in the unit of the image.

    Returns
    -------
    callable
        (x, strength) -> f(x, sqrt(strength)): the strength / rho that a solver passes is then the variance of the noise
        that the coupling rho leaves.

    Raises
    ------
    ValueError
        f not callable.

    References
    ----------
    Venkatakrishnan, S. V., Bouman, C. A. and Wohlberg, B., Plug-and-play priors for model based reconstruction, IEEE
    Global Conference on Signal and Information Processing, 2013.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> seen = []
    >>> prox = solvers.denoiser(lambda x, sigma: seen.append(sigma) or x)
    >>> prox(np.ones((1, 2, 2)), 0.04).shape, seen
    ((1, 2, 2), [0.2])
    """
    check_callable("denoiser", "f", f)
    return lambda x, strength: f(x, strength**0.5)


def _difference(xp: Any, z: Array, axis: int) -> Array:
    """Forward difference along the last (-1) or last but one (-2) axis, zero at the end."""
    if axis == -2:
        return xp.concat([z[..., 1:, :] - z[..., :-1, :], xp.zeros_like(z[..., :1, :])], axis=-2)
    return xp.concat([z[..., 1:] - z[..., :-1], xp.zeros_like(z[..., :1])], axis=-1)


def _difference_adjoint(xp: Any, p: Array, axis: int) -> Array:
    """Transpose of `_difference` for fields whose last entry is zero."""
    if axis == -2:
        return xp.concat([xp.zeros_like(p[..., :1, :]), p[..., :-1, :]], axis=-2) - p
    return xp.concat([xp.zeros_like(p[..., :1]), p[..., :-1]], axis=-1) - p
