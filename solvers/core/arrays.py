"""Array operations that the solvers share: inner products for each image of a batch, and copies to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_cupy_array, is_numpy_array, is_torch_array

from blurphys.autocast import without_autocast

from .types import Array

__all__ = ["add_scaled", "cast_to", "choose", "combine_into", "inner", "norm", "relative", "safe_divide", "to_host"]

BAND = 1 << 15  # numbers processed at once, so that a product is still in the cache when it is added


def inner(x: Array, y: Array) -> Array:
    """Inner product of every image in a batch, accurate even for float32.

    Parameters
    ----------
    x, y : array of shape (*B, C, H, W)
        Images; the last three axes are summed.

    Returns
    -------
    array of shape (*B, 1, 1, 1), float64

    Notes
    -----
    Each row is summed in the precision of the images (at least float32) and the row sums in float64: no temporary
    image, and a relative error of about 1e-8 for float32 photographs.
    """
    xp = array_namespace(x, y)
    if x.dtype not in (xp.float32, xp.float64):
        x, y = xp.astype(x, xp.float32), xp.astype(y, xp.float32)
    with without_autocast(x):
        rows = xp.vecdot(x, y, axis=-1)
        return xp.sum(rows, axis=(-2, -1), dtype=xp.float64, keepdims=True)[..., None]


def norm(x: Array) -> Array:
    """Euclidean norm of every image in a batch, (*B, 1, 1, 1) in float64."""
    return array_namespace(x).sqrt(inner(x, x))


def add_scaled(x: Array, factor: Any, y: Array) -> Array:
    """Return x + factor y in one new array; differentiable."""
    result = factor * y
    result += x  # in place: no other reference to it exists
    return result


def combine_into(x: Array, y: Array, *, keep: Any = None, add: Any = None) -> None:
    """Overwrite x by keep x + add y (an omitted factor is 1); NumPy or CuPy, factors broadcasting against rows."""
    xp = array_namespace(x)
    height = x.shape[-2]
    rows = max(1, height * BAND // max(1, x.size))
    scratch = None if add is None else xp.empty_like(x[..., :rows, :])
    for top in range(0, height, rows):
        here, there = x[..., top : top + rows, :], y[..., top : top + rows, :]
        if keep is not None:
            here *= keep
        if scratch is not None:
            there = xp.multiply(there, add, out=scratch[..., : there.shape[-2], :])
        here += there


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """Numerator / denominator where the denominator is positive, 0 elsewhere; its gradient is finite too."""
    xp = array_namespace(numerator, denominator)
    usable = denominator > 0
    return xp.where(usable, numerator, xp.zeros_like(numerator)) / xp.where(
        usable, denominator, xp.ones_like(denominator)
    )


def relative(size: Array, reference: Array) -> Array:
    """Size / reference, and size itself where the reference is zero."""
    xp = array_namespace(size, reference)
    return size / xp.where(reference > 0, reference, xp.ones_like(reference))


def cast_to(coefficient: Array, x: Array) -> Array:
    """Return the float64 coefficient in the dtype of the image that it will multiply."""
    return array_namespace(x).astype(coefficient, x.dtype)


def to_host(x: Array) -> np.ndarray[Any, Any]:
    """Copy a small array of any namespace to NumPy (on a GPU this waits for the result)."""
    if is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    if is_cupy_array(x):
        return np.asarray(x.get())
    return np.asarray(x if is_numpy_array(x) else np.from_dlpack(x))


def choose(mask: np.ndarray[Any, Any], new: Array, old: Array) -> Array:
    """Take `new` for the images of the batch where `mask` (flat, on the host) holds, `old` for the others."""
    if mask.all():
        return new
    if not mask.any():
        return old
    xp = array_namespace(new, old)
    shape = (*new.shape[:-3], 1, 1, 1)
    return xp.where(xp.asarray(mask.reshape(shape), device=device(new)), new, old)
