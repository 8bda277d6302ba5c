"""The data step that `hqs` and `admm` share: regularised least squares by conjugate gradients from the last iterate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import is_cupy_array, is_numpy_array

from .arrays import norm, plus, to_host
from .cg import CGState, cg_restart, cg_step
from .types import AdjointOperator, Array, Preconditioner

__all__ = ["data_step", "stop_at"]


def stop_at(size: Array, preconditioner: Preconditioner | None) -> Callable[[CGState], bool]:
    """Say when the residual of every image of the batch is at most `size`, (*B, 1, 1, 1)."""

    def enough(state: CGState) -> bool:
        if preconditioner is None:  # then the energy is the squared residual
            return bool((to_host(state.energy - size * size) <= 0).all())
        return bool((to_host(norm(state.residual) - size) <= 0).all())

    return enough


def data_step(
    A: AdjointOperator,
    x: Array,
    residual: Array,
    pull: Array,
    *,
    rho: Any,
    iterations: int,
    stop: Callable[[CGState], bool] | None,
    preconditioner: Preconditioner | None,
) -> Array:
    """Move x towards the minimum of 1/2 ||A x - y||^2 + rho/2 ||x - v||^2.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    x : array of shape (*B, C, H, W)
        The start; not written.
    residual, pull : array
        y - A x and v - x; `pull` may be overwritten.
    rho : float or array
        Weight of the second term.
    iterations : int
        Conjugate gradient steps.
    stop : callable, optional
        CGState -> bool, asked before every step.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A^T A + rho I.

    Returns
    -------
    array of shape (*B, C, H, W)

    Notes
    -----
    Cost: iterations + 1 applications of the adjoint, iterations of A. NumPy and CuPy arrays, which carry no gradient,
    are updated in place: memory 5 images.
    """

    def normal(v: Array) -> Array:
        return plus(A.adjoint(A(v)), rho, v)

    start = cg_restart(x, plus(A.adjoint(residual), rho, pull), preconditioner=preconditioner)
    del pull
    overwrite = is_numpy_array(x) or is_cupy_array(x)
    if overwrite:  # own images: x is the caller's, and without a preconditioner direction and residual are one array
        start = start._replace(x=1 * start.x, direction=1 * start.direction)
    state = start
    del start
    for _ in range(iterations):
        if stop is not None and stop(state):
            break
        state = cg_step(normal, state, preconditioner=preconditioner, overwrite=overwrite)
    return state.x
