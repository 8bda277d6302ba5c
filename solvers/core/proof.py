"""What an image has to show before it is called a solution: the condition of the problem, an adjoint that is one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from .arrays import inner, norm
from .types import AdjointOperator, Array

__all__ = ["Gradient", "Probed", "gradient_at", "probed", "silent"]

PROBES = 2
ROUNDING = 0.6
"""What adjoints in floating point may differ by: eps to this power, 4e-10 in float64 and 7e-5 in float32."""


class Probed(NamedTuple):
    """What A says of the adjoints in `probed`, a norm for each of them, (*B, 1, 1, 1) in float64.

    seen : ||weight A^T dual||
    missed : ||weight (A^T dual - back)||, zero where rounding explains it
    """

    seen: tuple[Array, ...]
    missed: tuple[Array, ...]


def probed(
    A: AdjointOperator, *pairs: tuple[Array, Array], like: Array, weight: Any = None, size: Array | None = None
) -> Probed:
    """Estimate A^T dual, and its difference to what A.adjoint made of it, from A alone.

    Parameters
    ----------
    A : operator
        Only A(x) is used.
    *pairs : (dual, back)
        What the adjoint was applied to, (*B, D, H, W), and what it returned, (*B, C, H, W).
    like : array of shape (*B, C, H, W)
        Of the shape, dtype and device of the images that A takes.
    weight : array, optional
        Broadcasts to `back`; 1 if omitted.
    size : array of shape (*B, 1, 1, 1), optional
        Norm of what was rounded on the way to `back`; that of `dual` if omitted.

    Returns
    -------
    Probed

    Notes
    -----
    For u of independent normal numbers <A u, dual> - <u, back> = <u, A^T dual - back> is normal, with the norm that is
    sought as its standard deviation; the root mean square of two such numbers is returned. Less than a tenth of the
    norm comes out once in a hundred times. Cost: two applications of A.
    """
    xp = array_namespace(like)
    rng = np.random.default_rng(0)
    allowed = float(xp.finfo(like.dtype).eps) ** ROUNDING / math.sqrt(math.prod(like.shape[-3:]))
    seen, missed = [0.0 * norm(dual) for dual, _ in pairs], [0.0 * norm(dual) for dual, _ in pairs]
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
            seen[i] = seen[i] + found * found / PROBES
            missed[i] = missed[i] + xp.where(known, xp.zeros_like(error), error * error / PROBES)
    return Probed(tuple(xp.sqrt(part) for part in seen), tuple(xp.sqrt(part) for part in missed))


class Gradient(NamedTuple):
    """A gradient of the data term, and what A says of it; numbers are arrays of shape (*B, 1, 1, 1)."""

    back: Array  # A^T (y - A x)
    unit: Array  # ||A^T y||: from A alone where the adjoint contradicts it
    doubt: Array  # by how much A contradicts `back`
    suspect: Array  # where it contradicts A^T y
    silent: Array  # where the data have no say: y is not zero, but both adjoints are


def gradient_at(A: AdjointOperator, y: Array, x: Array, residual: Array) -> Gradient:
    """Take A^T (y - A x) and hold it against A. Cost: two applications of A and two of its adjoint."""
    xp = array_namespace(x)
    back, origin = A.adjoint(residual), A.adjoint(y)
    probe = probed(A, (residual, back), (y, origin), like=x)
    suspect = probe.missed[1] > 0
    unit = xp.where(suspect, probe.seen[1], norm(origin))
    return Gradient(back, unit, probe.missed[0], suspect, silent(norm(y), norm(origin), norm(back)))


def silent(size: Array, slope: Array, gradient: Array) -> Array:
    """Say where the data have no say at all: y is not zero, but A^T y and A^T (y - A x) are."""
    return (size > 0) & (slope == 0) & (gradient == 0)
