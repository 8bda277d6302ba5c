"""Proximal maps: the priors that `hqs` takes."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array, is_torch_array

from .checks import check_count, check_image, check_number, is_real
from .tv_inplace import STEP, next_momentum, tv_numpy
from .types import Array

__all__ = ["TVState", "tv", "tv_image", "tv_init", "tv_step"]


class TVState(NamedTuple):
    """Dual fields of the total variation, (*B, C, H, W) each, and the weight of the extrapolation.

    `down` and `right` belong to the differences to the next row and the next column, `down_ahead` and `right_ahead` are
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


def tv_step(x: Array, strength: Any, state: TVState, *, joint: bool = False) -> TVState:
    """Take one accelerated projected gradient step on the dual of the `tv` problem; differentiable.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the total variation; an array has to broadcast against x.
    state : TVState
        Where the step starts; that of another strength or of a similar image is a warm start.
    joint : bool
        One gradient length for all channels of a pixel.

    Returns
    -------
    TVState
    """
    xp = array_namespace(x)
    limit = strength if hasattr(strength, "dtype") else xp.asarray(strength, dtype=x.dtype, device=device(x))
    z = tv_image(x, TVState(state.down_ahead, state.right_ahead, state.down_ahead, state.right_ahead))
    down = state.down_ahead + STEP * _difference(xp, z, -2)
    right = state.right_ahead + STEP * _difference(xp, z, -1)
    length = down * down + right * right
    if joint:
        length = xp.sum(length, axis=-3, keepdims=True)
    tiny = xp.asarray(float(xp.finfo(x.dtype).smallest_normal), dtype=x.dtype, device=device(x))
    shrink = limit / xp.sqrt(xp.maximum(length, xp.maximum(limit * limit, tiny)))
    down, right = shrink * down, shrink * right
    momentum, push = next_momentum(state.momentum)
    return TVState(
        down, right, down + push * (down - state.down), right + push * (right - state.right), momentum
    )  # fmt: skip


def tv_image(x: Array, state: TVState) -> Array:
    """Return the denoised image x - D^T (down, right) of a state."""
    xp = array_namespace(x)
    return x - _difference_adjoint(xp, state.down, -2) - _difference_adjoint(xp, state.right, -1)


def tv(x: Array, strength: Any, *, iterations: int = 50, joint: bool = False) -> Array:
    """Proximal map of the isotropic total variation: argmin_z 1/2 ||z - x||^2 + strength TV(z).

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
        The image.
    strength : float or array
        Weight of the total variation, zero or larger, in units of the image; 0 returns the image. Noise of standard
        deviation sigma is removed by about sigma. An array (torch tensor, one value per image, ...) has to broadcast
        against x.
    iterations : int
        Steps, always all of them. 50 leave a relative error of about 2e-3 at strength 0.05 (less for a weaker one).
    joint : bool
        Couple the channels, so that their edges fall on the same pixels (colour TV).

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
    border being zero; with ``joint=True`` sum over pixels of the root of the sum over channels. The dual problem is
    max over |p| <= strength of -1/2 ||x - D^T p||^2, solved by projected gradients with Nesterov's extrapolation:

        p <- project(q + D (x - D^T q) / 8);   q <- p + c (p - p_old);   z = x - D^T p

    NumPy arrays, and torch tensors on the CPU that carry no gradient, take a path that works in place, plane by plane
    on two threads or more; everything else goes through `tv_step`. Cost: about 20 passes over the image per
    iteration; memory in place: 8 planes per thread.

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
        plane = _in_place(x)
        if plane is not None:
            return array_namespace(x).asarray(tv_numpy(plane, strength, iterations=iterations, joint=joint))
    state = tv_init(x)
    for _ in range(iterations):
        state = tv_step(x, strength, state, joint=joint)
    return tv_image(x, state)


def _in_place(x: Array) -> np.ndarray[Any, Any] | None:
    """The data of x as a NumPy array without a copy, or None where steps on arrays are needed."""
    if is_numpy_array(x):
        return x if x.dtype in (np.float32, np.float64) else None
    if not is_torch_array(x) or x.device.type != "cpu" or x.requires_grad:
        return None
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or x.dtype not in (torch.float32, torch.float64):
        return None
    try:
        return np.asarray(x.numpy())
    except RuntimeError:  # inside torch.func's transforms a tensor has no data of its own
        return None


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
