"""The data step that `hqs` and `admm` share: regularised least squares by conjugate gradients from the last iterate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import array_namespace, is_cupy_array, is_numpy_array

from ..core.arrays import add_scaled, norm, relative, to_host
from ..core.iterate import Proof
from ..core.proof import gradient_at
from ..core.types import AdjointOperator, Array, Preconditioner
from ..krylov.cg import CGState, cg_restart, cg_step

__all__ = ["DataStep", "Watched", "data_step", "split_proof"]


class DataStep(NamedTuple):
    """Where a data step ended, (*B, C, H, W), and the images that met p^T (A^T A + rho I) p <= 0, (*B, 1, 1, 1)."""

    x: Array
    indefinite: Array


class Watched:
    """The rule that ends a data step, and the memory of what the last one met.

    Parameters
    ----------
    ready : array of shape (*B, 1, 1, 1)
        Where the gradient at the start is at most this in every image, no step is taken.
    enough : array of shape (*B, 1, 1, 1)
        Where it is at most this later on, no further step is.
    preconditioner : callable or None
        That of the data step.

    Notes
    -----
    `ready` is in the unit of the problem. `enough` may grow with rho ||z||, and be met by an image that nothing was
    done to.
    """

    def __init__(self, ready: Array, enough: Array, preconditioner: Preconditioner | None) -> None:
        self._size, self._enough, self._preconditioner = ready, enough, preconditioner

    def __call__(self, state: CGState) -> bool:
        """Say when the residual of every image of the batch is small enough."""
        size, self._size = self._size, self._enough
        if self._preconditioner is None:  # then the energy is the squared residual
            return bool((to_host(state.energy - size * size) <= 0).all())
        return bool((to_host(norm(state.residual) - size) <= 0).all())


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
) -> DataStep:
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
    DataStep

    Notes
    -----
    Cost: iterations + 1 applications of the adjoint, iterations of A. NumPy and CuPy arrays, which carry no gradient,
    are updated in place: memory 5 images.
    """

    def normal(v: Array) -> Array:
        return add_scaled(A.adjoint(A(v)), rho, v)

    start = cg_restart(x, add_scaled(A.adjoint(residual), rho, pull), preconditioner=preconditioner)
    del pull
    overwrite = is_numpy_array(x) or is_cupy_array(x)
    if overwrite:  # own images: x is the caller's, and without a preconditioner direction and residual are one array
        start = start._replace(x=1 * start.x, direction=1 * start.direction)
    state = start
    del start
    indefinite = state.energy < 0  # the preconditioner
    for _ in range(iterations):
        if stop is not None and stop(state):
            break
        state = cg_step(normal, state, preconditioner=preconditioner, overwrite=overwrite)
        indefinite = indefinite | ((state.curvature <= 0) & (state.energy > 0)) | (state.energy < 0)
    return DataStep(state.x, indefinite)


def split_proof(A: AdjointOperator, y: Array, x: Array, residual: Array, pull: Array, *, rho: float) -> Proof:
    """Return the proof that x minimises 1/2 ||A x - y||^2 + rho/2 ||x - v||^2 for the v it brings about itself.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y, x, residual, pull : array
        The observed image, an iterate, y - A x, and v - x.
    rho : float
        Weight of the second term.
    """
    found = gradient_at(A, y, x, residual)
    xp = array_namespace(x)
    rounding = float(xp.finfo(x.dtype).eps) * rho * norm(x)  # of the prior's image: below this nobody can tell
    gap = relative(xp.maximum(norm(add_scaled(found.back, rho, pull)), rounding), found.unit)
    return Proof(gap, relative(found.doubt, found.unit), found.silent)
