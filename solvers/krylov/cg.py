"""Conjugate gradients for symmetric positive definite operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, combine_into, inner, safe_divide
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import Array, Operator, Preconditioner

__all__ = ["CGState", "cg", "cg_init", "cg_restart", "cg_step"]

# Even when CG converges, its residual may grow by a factor of up to the square root of the condition number of A.
DIVERGENCE_FACTOR = 1e4


class CGState(NamedTuple):
    """Images (*B, C, H, W) and one float64 number per image of the batch, (*B, 1, 1, 1)."""

    x: Array
    residual: Array  # b - A x, by recurrence
    direction: Array
    energy: Array  # <residual, M residual>
    curvature: Array  # <direction, A direction> of the step that led here; 1 at the start


def cg_init(A: Operator, b: Array, *, x0: Array | None = None, preconditioner: Preconditioner | None = None) -> CGState:
    """Start from x0, or from b. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, symmetric positive definite.
    b : array of shape (*B, C, H, W)
        The right-hand side.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess.
    preconditioner : callable, optional
        r -> M r, symmetric positive definite, M close to the inverse of A.

    Returns
    -------
    CGState
    """
    x = b if x0 is None else x0
    return cg_restart(x, b - A(x), preconditioner=preconditioner)


def cg_restart(x: Array, residual: Array, *, preconditioner: Preconditioner | None = None) -> CGState:
    """Start from an iterate whose residual b - A x is already known. Needs no application of A."""
    direction = residual if preconditioner is None else preconditioner(residual)
    energy = inner(residual, direction)
    return CGState(x, residual, direction, energy, array_namespace(energy).ones_like(energy))


def cg_step(
    A: Operator, state: CGState, *, preconditioner: Preconditioner | None = None, overwrite: bool = False
) -> CGState:
    """Take one step. Cost: one application of A; differentiable, no transfer to the host.

    An image whose direction has <p, A p> <= 0 (solved exactly, or A not positive definite) stays as it is.

    Parameters
    ----------
    A : callable
        x -> A x, symmetric positive definite.
    state : CGState
        State before the step.
    preconditioner : callable, optional
        The one given to `cg_init`.
    overwrite : bool
        Work in place in the images of `state`, which then no longer hold the state before the step. They must be three
        separate NumPy or CuPy arrays with no other references. Saves three images of memory.

    Returns
    -------
    CGState
    """
    image = A(state.direction)
    curvature = inner(state.direction, image)
    alpha = cast_to(safe_divide(state.energy, curvature), state.x)
    if overwrite:
        x, residual = state.x, state.residual
        combine_into(x, state.direction, add=alpha)
        combine_into(residual, image, add=-alpha)
        del image
    else:
        x = add_scaled(state.x, alpha, state.direction)
        residual = add_scaled(state.residual, -alpha, image)
    correction = residual if preconditioner is None else preconditioner(residual)
    energy = inner(residual, correction)
    beta = cast_to(safe_divide(energy, state.energy), state.x)
    if overwrite:
        direction = state.direction
        combine_into(direction, correction, keep=beta)
    else:
        direction = add_scaled(correction, beta, state.direction)
    return CGState(x, residual, direction, energy, curvature)


def cg(
    A: Operator,
    b: Array,
    *,
    x0: Array | None = None,
    preconditioner: Preconditioner | None = None,
    tol: float = 1e-6,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, CGState], object] | None = None,
) -> Solution:
    """Solve A x = b for a symmetric positive definite A by conjugate gradients.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides, symmetric positive definite. A spatially varying blur is not
        symmetric: use `cgls`, or apply `cg` to ``A.H @ A`` plus a multiple of the identity.
    b : array of shape (*B, C, H, W)
        The right-hand side; every image of a batch is a separate problem, with its own step lengths.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; b if omitted.
    preconditioner : callable, optional
        r -> M r, symmetric positive definite, M close to the inverse of A; for instance ``lambda r: r / diagonal``.
    tol : float
        Converged where ||b - A x|| <= tol ||b||, for every image of the batch.
    max_iterations : int
        Step limit.
    mask : array, optional
        Booleans, or weights from 0 to 1, broadcasting to b: only the equations and unknowns of pixels where it is
        positive count; the others keep x0. b may hold anything, even NaN, where the mask is 0. For an image with
        unobserved pixels use `cgls` or `hqs`, which estimate them.
    noise_level : float, optional
        Standard deviation of the noise in b, in the unit of b. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        Residuals come from the recurrence, except the last, which is b - A x computed from scratch. CONVERGED means
        that this last one is small enough; if it cannot become so in this precision, the status is STAGNATED.
        INDEFINITE: a direction with p^T A p <= 0 showed that A or M is not positive definite. DIVERGED: the residual
        grew past 1e4 times its minimum, or exceeded ten times that of x0 at the step limit, as happens when A is not
        symmetric.

    Raises
    ------
    ValueError
        A not square or not callable; b or x0 of the wrong shape or with NaN; tol or max_iterations out of range;
        preconditioner or on_step not callable; A(x) of the wrong shape.
    TypeError
        b not a floating array; x0 or A(x) of another namespace, device or dtype.

    Notes
    -----
    alpha = <r, M r> / <p, A p>;  x += alpha p;  r -= alpha A p;  p <- M r + (<r, M r> / <r, M r>_old) p.
    After k steps the error in the A-norm has fallen at least by the factor 2 ((sqrt(c) - 1) / (sqrt(c) + 1))^k, where c
    is the condition number of M A. Inner products are accumulated in float64. Cost: one application of A per step, one
    more for each confirmation; memory: 7 images.

    References
    ----------
    Hestenes, M. R. and Stiefel, E., Methods of conjugate gradients for solving linear systems, Journal of Research of
    the National Bureau of Standards 49, 1952.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> d = np.linspace(1.0, 3.0, 6).reshape(1, 2, 3)
    >>> solution = solvers.cg(lambda x: d * x, np.ones((1, 2, 3)))
    >>> solution.iterations, bool(np.allclose(solution.x, 1 / d))
    (5, True)
    """
    given = problem(
        "cg", A, b, x0, square=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, b, M = given.A, given.y, given.preconditioner(preconditioner)
    return given.iterate(
        lambda: cg_init(A, b, x0=given.start, preconditioner=M),
        lambda _, state: cg_step(A, state, preconditioner=M),
        lambda state: given.measure_residual(state.residual, failed=(state.curvature <= 0) | (state.energy < 0)),
        divergence_factor=DIVERGENCE_FACTOR,
        refresh=lambda state: cg_init(A, b, x0=state.x, preconditioner=M),
    )
