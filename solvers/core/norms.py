"""The norm of an operator by power iteration, for the step length of gradient methods."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, device

from .arrays import cast_to, norm, safe_divide, to_host
from .types import AdjointOperator, Array

__all__ = ["estimate_squared_norm"]


def estimate_squared_norm(
    name: str, A: AdjointOperator, like: Array, *, steps: int = 20, margin: float = 1.02, seed: int = 0
) -> float:
    """Estimate ||A||^2, the largest eigenvalue of A^T A, by power iteration.

    Parameters
    ----------
    name : str
        The solver, for messages.
    A : operator
        Callable, with `adjoint`.
    like : array of shape (*B, C, H, W)
        An image that A takes: shape, dtype and device of the start, which is one plus noise, because blurs pass
        constants best.
    steps : int
        Applications of A and of its adjoint.
    margin : float
        The estimate approaches the norm from below; it is multiplied by this.
    seed : int
        Seed of the noise.

    Returns
    -------
    float
        The largest over the batch. Even half the true value would still give a safe step length for gradient descent.

    Raises
    ------
    ValueError
        The operator returns NaN or infinity, or maps everything to zero.
    """
    xp = array_namespace(like)
    values = 1 + 0.5 * np.random.default_rng(seed).standard_normal(tuple(like.shape))
    v = xp.asarray(values, dtype=like.dtype, device=device(like))
    estimate = norm(v)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            v = cast_to(safe_divide(xp.ones_like(estimate), norm(v)), v) * v
            v = A.adjoint(A(v))
            estimate = norm(v)
    largest = float(np.max(to_host(estimate)))
    if not (np.isfinite(largest) and largest > 0):
        raise ValueError(f"{name}: the norm of A must be positive and finite, but power iteration gave {largest:g}")
    return margin * largest
