"""What `hqs` and `admm` share: their arguments, and the data step, regularised least squares by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array

from ..core.arrays import add_scaled, norm, relative, to_host
from ..core.checks import check_callable, check_count, check_number, preconditioner_of, prox_of
from ..core.iterate import Proof
from ..core.problem import Problem
from ..core.proof import gradient_at
from ..core.types import AdjointOperator, Array, Preconditioner, Prox
from ..krylov.cg import CGState, cg_restart, cg_step

__all__ = ["DataStep", "Splitting", "data_step", "split_proof"]


class DataStep(NamedTuple):
    """Where a data step ended, (*B, C, H, W), and the images that met p^T (A^T A + rho I) p <= 0, (*B, 1, 1, 1)."""

    x: Array
    indefinite: Array


class Splitting:
    """Checked arguments that `hqs` and `admm` have in common. Cost: one application of the adjoint.

    Parameters
    ----------
    given : Problem
        Its tolerance and ||A^T y|| set the scale of the data step.
    prox, strength, inner_tol, inner_iterations, preconditioner
        As for `hqs`.

    Attributes
    ----------
    prox, strength
        The same, checked.
    """

    def __init__(
        self,
        given: Problem,
        *,
        prox: Prox,
        strength: float,
        inner_tol: float,
        inner_iterations: int,
        preconditioner: Callable[[float], Preconditioner] | None,
    ) -> None:
        name = self._name = given.name
        self.prox = prox_of(name, prox)
        self.strength = check_number(name, "strength", strength, positive=False)
        self._inner_tol = check_number(name, "inner_tol", inner_tol)
        self._iterations = check_count(name, "inner_iterations", inner_iterations, least=1)
        check_callable(name, "preconditioner", preconditioner, optional=True)
        self._factory = preconditioner
        self._made: dict[float, Preconditioner] = {}
        with np.errstate(all="ignore"):
            self._pull = norm(given.A.adjoint(given.y))
        self._ready = min(given.tol, self._inner_tol) * self._pull

    def data_step(self, rho: float, target: Array) -> dict[str, Any]:
        """Return the arguments of the next `data_step`, for this rho and the norm of the image that x is coupled to."""
        enough = self._inner_tol * (self._pull + rho * target)
        M = self.preconditioner(rho)
        return {"iterations": self._iterations, "stop": _InnerStop(self._ready, enough, M), "preconditioner": M}

    def preconditioner(self, rho: float) -> Preconditioner | None:
        """Return the preconditioner for this rho; it is made anew only when rho changes."""
        if self._factory is not None and rho not in self._made:
            self._made.clear()
            self._made[rho] = preconditioner_of(self._name, self._factory(rho), what="preconditioner(rho)")
        return self._made.get(rho)


class _InnerStop:
    """The rule that ends a data step.

    Parameters
    ----------
    ready : array of shape (*B, 1, 1, 1)
        If the gradient at the start is at most this in every image, no step is taken.
    enough : array of shape (*B, 1, 1, 1)
        If the gradient is at most this after a step, no further step is taken.
    preconditioner : callable or None
        That of the data step.

    Notes
    -----
    `ready` is in the unit of the problem. `enough` may grow with rho ||z||, so that even an untouched image can meet
    it.
    """

    def __init__(self, ready: Array, enough: Array, preconditioner: Preconditioner | None) -> None:
        self._size, self._enough, self._preconditioner = ready, enough, preconditioner

    def __call__(self, state: CGState) -> bool:
        """Return whether the residual of every image of the batch is small enough."""
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
        Initial guess; not modified.
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
    are updated in place; memory: 5 images.
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
    """Test whether x minimises 1/2 ||A x - y||^2 + rho/2 ||x - v||^2, for the v that belongs to it.

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
    rounding = float(xp.finfo(x.dtype).eps) * rho * norm(x)  # of the prior's image: a smaller gap cannot be measured
    gap = relative(xp.maximum(norm(add_scaled(found.back, rho, pull)), rounding), found.unit)
    return Proof(gap, relative(found.doubt, found.unit), found.unseen)
