"""Tests of an iterate that meets the tolerance: the gradient of the data term, and whether A.adjoint is the adjoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from .arrays import inner, norm
from .types import AdjointOperator, Array

__all__ = ["AdjointCheck", "Gradient", "check_adjoint", "gradient_at", "is_unseen"]

PROBES = 2
ROUNDING = 0.6
"""Rounding error of an adjoint in floating point: eps to this power, 4e-10 in float64 and 7e-5 in float32."""


class AdjointCheck(NamedTuple):
    """Estimates by `check_adjoint`, one of each for every pair, (*B, 1, 1, 1) in float64.

    norms : ||weight A^T dual||
    errors : ||weight (A^T dual - back)||, zero where rounding explains it
    """

    norms: tuple[Array, ...]
    errors: tuple[Array, ...]


def check_adjoint(
    A: AdjointOperator, *pairs: tuple[Array, Array], like: Array, weight: Any = None, size: Array | None = None
) -> AdjointCheck:
    """Estimate the norm of A^T dual, and the error of what A.adjoint returned for it, from A alone.

    Parameters
    ----------
    A : operator
        Only A(x) is used.
    *pairs : (dual, back)
        Argument of the adjoint, (*B, D, H, W), and its result, (*B, C, H, W).
    like : array of shape (*B, C, H, W)
        Has the shape, dtype and device of the images that A takes.
    weight : array, optional
        Broadcasts to `back`; 1 if omitted.
    size : array of shape (*B, 1, 1, 1), optional
        Norm relative to which the rounding errors of `back` are measured; that of `dual` if omitted.

    Returns
    -------
    AdjointCheck

    Notes
    -----
    For u of independent normal numbers, <A u, dual> - <u, back> = <u, A^T dual - back> is normal, and its standard
    deviation is the desired norm; the root mean square of two such numbers is returned. It falls below a tenth of the
    norm once in a hundred times. Cost: two applications of A.
    """
    xp = array_namespace(like)
    rng = np.random.default_rng(0)
    allowed = float(xp.finfo(like.dtype).eps) ** ROUNDING / math.sqrt(math.prod(like.shape[-3:]))
    norms, errors = [0.0 * norm(dual) for dual, _ in pairs], [0.0 * norm(dual) for dual, _ in pairs]
    for _ in range(PROBES):
        numbers = rng.standard_normal(tuple(like.shape[-3:]), dtype=np.float32)
        u = xp.zeros_like(like) + xp.asarray(numbers, dtype=like.dtype, device=device(like))
        if weight is not None:
            u = weight * u
        image = A(u)
        for i, (dual, back) in enumerate(pairs):
            found = inner(image, dual)
            error = found - inner(u, back)
            known = xp.abs(error) <= allowed * norm(image) * (norm(dual) if size is None else size)
            norms[i] = norms[i] + found * found / PROBES
            errors[i] = errors[i] + xp.where(known, xp.zeros_like(error), error * error / PROBES)
    return AdjointCheck(tuple(xp.sqrt(part) for part in norms), tuple(xp.sqrt(part) for part in errors))


class Gradient(NamedTuple):
    """Minus the gradient of the data term, and estimates of its error; numbers are arrays of shape (*B, 1, 1, 1)."""

    back: Array  # A^T (y - A x)
    unit: Array  # ||A^T y||, estimated from A alone where A.adjoint(y) is wrong
    doubt: Array  # estimated error of `back`
    suspect: Array  # where A.adjoint(y) is wrong
    unseen: Array  # where A does not see x: y is not zero, but both adjoints are


def gradient_at(A: AdjointOperator, y: Array, x: Array, residual: Array) -> Gradient:
    """Compute A^T (y - A x) and check it with A. Cost: two applications of A and two of its adjoint."""
    xp = array_namespace(x)
    back, origin = A.adjoint(residual), A.adjoint(y)
    probe = check_adjoint(A, (residual, back), (y, origin), like=x)
    suspect = probe.errors[1] > 0
    unit = xp.where(suspect, probe.norms[1], norm(origin))
    return Gradient(back, unit, probe.errors[0], suspect, is_unseen(norm(y), norm(origin), norm(back)))


def is_unseen(size: Array, slope: Array, gradient: Array) -> Array:
    """Return where A does not see x: y is not zero, but A^T y and A^T (y - A x) are."""
    return (size > 0) & (slope == 0) & (gradient == 0)
