"""Norms and transient growth: Lanczos for symmetric operators, the numerical radius, norms of powers."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..types import Array
from .linalg import dot, norm
from .spectrum import Krylov, finite_norm

__all__ = ["lanczos_largest", "numerical_radius", "transient_growth"]

Host = np.ndarray[Any, Any]
Apply = Callable[[Array], Array]

GROWTH_RANK = 4
"""Lanczos steps for the norm of a power."""
MIN_STEPS = 16
"""Lanczos steps before a bound is trusted."""


def lanczos_largest(apply: Apply, start: Array, *, tol: float, steps: int) -> tuple[float, float]:
    """Find the largest eigenvalue of a symmetric A.

    Parameters
    ----------
    apply : callable
        x -> A x, symmetric.
    start : array
        Start vector with a component in every direction.
    tol : float
        Stop at this error bound.
    steps : int
        Maximum number of applications.

    Returns
    -------
    value : float
        A lower bound of the largest eigenvalue.
    bound : float
        An exact eigenvalue lies within this distance of `value`.

    Notes
    -----
    Memory: three images. Without reorthogonalisation, eigenvalues may appear repeatedly, but none is wrong.
    """
    current, previous = start / finite_norm(start), start
    eps = float(array_namespace(start).finfo(start.dtype).eps)
    alphas: list[float] = []
    betas: list[float] = []
    value, bound = -inf, inf
    for step in range(1, steps + 1):
        w = apply(current)
        whole = finite_norm(w)
        alphas.append(dot(current, w))
        w = w - alphas[-1] * current
        if betas:
            w = w - betas[-1] * previous
        beta = norm(w)
        values, vectors = np.linalg.eigh(_tridiagonal(alphas, betas))
        value, bound = float(values[-1]), beta * abs(float(vectors[-1, -1]))
        if beta <= 20 * eps * max(whole, abs(value)) or (bound < tol and step >= MIN_STEPS) or step == steps:
            break
        betas.append(beta)
        previous, current = current, w / beta
    return value, bound


def _tridiagonal(alphas: Any, betas: Any) -> Host:
    return np.asarray(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))


def numerical_radius(H: Host, angles: int = 64) -> float:
    """Return max |x^* H x| over unit x for a small matrix: a lower bound, to a relative accuracy of (pi / angles)^2."""
    sizes = []
    for angle in np.linspace(0, np.pi, angles + 1):
        turned = np.exp(1j * angle) * H
        sizes.append(np.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1])
    return float(max(sizes))


def transient_growth(forward: Apply, adjoint: Apply, start: Array, left: Callable[[], int], reserved: int) -> float:
    """Estimate the transient growth: the largest ||M^L||, L = 1, 2, 4, ... within the budget; at least 1, for L = 0.

    Parameters
    ----------
    forward, adjoint : callable
        x -> M x and x -> M^T x.
    start : array
        Start vector with a component in every direction.
    left : callable
        Returns the number of applications that are left.
    reserved : int
        How many to leave unused, unless the last doubling increased the norm by a tenth or more.

    Notes
    -----
    For every L a few Lanczos steps on (M^L)^T M^L, from the vector found for L / 2: an estimate from below. It ends
    when ||M^L|| has fallen well below the largest, or two doublings have not increased it.
    """
    best, vector, length, without_gain, reserve = 1.0, start, 1, 0, reserved
    while without_gain < 2:
        rank = min(GROWTH_RANK if length > 1 else 3 * GROWTH_RANK, (left() - reserve) // (2 * length))
        if rank < 2:
            break

        def square(x: Array, length: int = length) -> Array:
            for _ in range(length):
                x = forward(x)
            for _ in range(length):
                x = adjoint(x)
            return x

        krylov = Krylov(square, vector, rank)
        values, vectors = np.linalg.eigh((krylov.projected + krylov.projected.T) / 2)
        size = max(float(values[-1]), 0.0) ** 0.5
        if size < 0.7 * best:
            break
        vector = krylov.image(vectors[:, -1])
        vector = vector / norm(vector) + start * (0.05 / norm(start))
        reserve = 0 if length > 1 and size > 1.1 * best else reserved
        without_gain = 0 if size > 1.001 * best else without_gain + 1
        best, length = max(best, size), 2 * length
    return best
