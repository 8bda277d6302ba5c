"""ADMM: a data step by conjugate gradients, a prior step by any proximal operator, and an update of the multiplier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from ..core.arrays import norm, relative
from ..core.checks import check_number, prox_of
from ..core.iterate import Measure
from ..core.problem import WITH_PRIOR, problem
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array, Preconditioner, Prox
from ..krylov.cg import CGState
from .data_step import Splitting, data_step, split_proof
from .strength import AUTO, resolve_strength

__all__ = ["ADMMState", "admm", "admm_init", "admm_step"]


class ADMMState(NamedTuple):
    """Data step's x, prior step's z and scaled multiplier, (*B, C, H, W), and y - A x, (*B, D, H, W)."""

    x: Array
    z: Array
    multiplier: Array
    residual: Array


def admm_init(A: AdjointOperator, y: Array, *, x0: Array | None = None) -> ADMMState:
    """Start with x = z = x0, or y, and a multiplier of zero. Cost: one application of A."""
    x = y if x0 is None else x0
    return ADMMState(x, x, array_namespace(x).zeros_like(x), y - A(x))


def admm_step(
    A: AdjointOperator,
    y: Array,
    state: ADMMState,
    *,
    prox: Prox,
    rho: Any,
    strength: Any = 3e-4,
    inner_iterations: int = 10,
    inner_stop: Callable[[CGState], bool] | None = None,
    preconditioner: Preconditioner | None = None,
) -> ADMMState:
    """Take one outer step: x by conjugate gradients started at the last x, then z by the prior, then the multiplier.

    Differentiable, and without a transfer to the host as long as `inner_stop` is None.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    state : ADMMState
        State before the step.
    prox : callable
        (x, strength / rho) -> z; see `admm`.
    rho, strength : float or array
        Coupling and weight of the prior; arrays (learned parameters) have to broadcast against the image.
    inner_iterations : int
        Conjugate gradient steps.
    inner_stop : callable, optional
        CGState -> bool, asked before every inner step; True ends the data step.
    preconditioner : callable, optional
        r -> M r, symmetric positive definite, close to the inverse of A^T A + rho I.

    Returns
    -------
    ADMMState

    Notes
    -----
    Cost: inner_iterations + 1 applications of A and of its adjoint, one call of prox.
    """
    return _outer(
        A, y, state, prox, rho, strength,
        iterations=inner_iterations, stop=inner_stop, preconditioner=preconditioner,
    )[0]  # fmt: skip


def _outer(
    A: AdjointOperator, y: Array, state: ADMMState, prox: Prox, rho: Any, strength: Any, **inner: Any
) -> tuple[ADMMState, Array]:
    """Take one outer step; also return the images in which the system of its data step was not positive definite."""
    pull = state.z - state.multiplier - state.x
    x, indefinite = data_step(A, state.x, state.residual, pull, rho=rho, **inner)
    moved = x + state.multiplier
    z = prox(moved, strength / rho)
    return ADMMState(x, z, moved - z, y - A(x)), indefinite


def admm(
    A: AdjointOperator,
    y: Array,
    *,
    prox: Prox,
    rho: float,
    strength: float | Literal["auto"] = AUTO,
    x0: Array | None = None,
    inner_tol: float = 1e-4,
    inner_iterations: int = 10,
    tol: float = 1e-3,
    max_iterations: int = 50,
    preconditioner: Callable[[float], Preconditioner] | None = None,
    mask: Array | None = None,
    on_step: Callable[[int, ADMMState], object] | None = None,
) -> Solution:
    """Minimise 1/2 ||A x - y||^2 + strength phi(x) by the alternating direction method of multipliers.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, nominal range [0, 1].
    prox : callable
        (x, s) -> argmin_z 1/2 ||z - x||^2 + s phi(z), such as `tv`, or a denoiser; called with s = strength / rho.
    rho : float
        Coupling of x and z, positive. It affects the speed of convergence, not the limit: 0.01 to 1 for a blur of unit
        gain.
    strength : float or "auto"
        Weight of phi, zero or larger; as in `hqs`.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise.
    inner_tol : float
        A data step ends where its normal equations hold to inner_tol (||A^T y|| + rho ||z - u||), for every image of
        the batch after at least one step unless they hold to min(tol, inner_tol) ||A^T y|| already,
    inner_iterations : int
        or after this many conjugate gradient steps.
    tol : float
        Converged where ||x - z|| <= tol max(||x||, ||z||) (primal) and ||z - z_old|| <= tol ||u|| (dual, both divided
        by rho), where u is the scaled multiplier; where u is zero, tol max(||x||, ||z||). In addition
        ||A^T (y - A x) - rho u|| <= tol ||A^T y|| is required, so that data steps which were cut short do not count.
    max_iterations : int
        Limit of outer iterations.
    preconditioner : callable, optional
        rho -> (r -> M r), M close to the inverse of A^T A + rho I and symmetric positive definite; for instance
        ``lambda rho: solvers.local_fourier(A, rho=rho)``.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. The data term is
        1/2 ||mask (A x - y)||^2; y may hold anything, even NaN, where the mask is 0.
    on_step : callable, optional
        Called as on_step(k, state) after outer iteration k = 1, 2, ...; the prior's image is state.z.

    Returns
    -------
    Solution
        x of the last data step. The residual does not go to zero, since the prior is part of the objective; it is
        computed from scratch. DIVERGED: it grew past 1000 times its minimum, and past the residual of a black image.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y, x0 or mask of the wrong shape or with NaN; prox not callable, or
        returning another shape; rho, strength, a tolerance or a limit out of range; preconditioner or on_step not
        callable.
    TypeError
        y not a floating array; x0, mask, A(x), A.adjoint(y) or prox(x, s) of another namespace, device or dtype.

    Notes
    -----
        x <- (A^T A + rho I)^-1 (A^T y + rho (z - u))      conjugate gradients from the last x
        z <- prox(x + u, strength / rho)
        u <- u + x - z

    Unlike `hqs` with a fixed rho, this converges to the minimiser itself (convex phi, data steps solved well enough).
    Cost: "auto" costs what `choose_strength` does.
    One application of A and of its adjoint before the first iteration; at most inner_iterations + 1 of each and
    one prox per outer iteration. A check of convergence costs two more of each, to test A^T (y - A x) and A^T y against
    A itself; where it fails, it is repeated in every later iteration that meets the tolerance. Nothing is cached
    between calls. Memory: 11 images and what prox needs.

    References
    ----------
    Boyd, S., Parikh, N., Chu, E., Peleato, B. and Eckstein, J., Distributed optimization and statistical learning via
    the alternating direction method of multipliers, Foundations and Trends in Machine Learning 3(1), 2011 (scaled form,
    section 3.1.1; stopping, section 3.3.1).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Half:
    ...     def __call__(self, x): return 0.5 * x
    ...     adjoint = __call__
    >>> shrink = lambda x, s: x / (1 + s)  # the proximal operator of 1/2 ||x||^2
    >>> solution = solvers.admm(Half(), np.ones((1, 2, 3)), prox=shrink, rho=0.5, strength=0.25, tol=1e-6)
    >>> solution.status.name, round(float(solution.x[0, 0, 0]), 3)  # 0.5 / (0.25 + 0.25)
    ('CONVERGED', 1.0)
    """
    given = problem(
        "admm", A, y, x0, adjoint=True, tol=tol, max_iterations=max_iterations, mask=mask, on_step=on_step
    )  # fmt: skip
    A, y = given.A, given.y
    rho = check_number(given.name, "rho", rho)
    prox = prox_of(given.name, prox)
    split = Splitting(
        given, prox=prox, strength=resolve_strength(given, prox, strength),
        inner_tol=inner_tol, inner_iterations=inner_iterations, preconditioner=preconditioner,
    )  # fmt: skip
    split.preconditioner(rho)
    gap, failed, short = given.size + np.inf, given.size < 0, given.size < 0

    def step(_: int, state: ADMMState) -> ADMMState:
        nonlocal gap, failed, short
        data = split.data_step(rho, norm(state.z - state.multiplier))
        new, failed = _outer(A, y, state, split.prox, rho, split.strength, **data)
        xp = array_namespace(gap)
        scaled = norm(new.multiplier)
        scale = xp.maximum(norm(new.x), norm(new.z))
        dual = relative(norm(new.z - state.z), xp.where(scaled > 0, scaled, scale))
        gap = xp.maximum(relative(norm(new.x - new.z), scale), dual)
        short = norm(new.x - state.x) <= given.tol * norm(new.x)
        return new

    return given.iterate(
        lambda: admm_init(A, y, x0=given.start),
        step,
        lambda state: Measure(given.relative_residual(state.residual), gap, failed, short),
        confirm=lambda state: split_proof(A, y, state.x, state.residual, -state.multiplier, rho=rho),
        **WITH_PRIOR,
    )
