"""LSQR: least squares by Golub-Kahan bidiagonalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, norm, safe_divide
from ..core.checks import check_number
from ..core.iterate import Measure, Proof
from ..core.least_squares import LeastSquares
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array

__all__ = ["LSQRState", "lsqr", "lsqr_init", "lsqr_step"]


class LSQRState(NamedTuple):
    """Images, and float64 numbers per image of the batch, (*B, 1, 1, 1)."""

    x: Array  # (*B, C, H, W)
    left: Array  # unit vector of the bidiagonalisation, (*B, D, H, W)
    right: Array  # unit vector, (*B, C, H, W)
    direction: Array
    alpha: Array  # diagonal entry
    phi: Array  # norm of the residual, of the damped problem
    rho: Array  # entry to be rotated away
    gradient: Array  # norm of A^T r - damp^2 (x - x0)
    lost: Array  # squared part of the residual that the damping makes irreducible


def _unit(x: Array) -> tuple[Array, Array]:
    """Return x / ||x|| (zero where x is zero) and ||x||."""
    size = norm(x)
    return cast_to(safe_divide(array_namespace(size).ones_like(size), size), x) * x, size


def lsqr_init(A: AdjointOperator, y: Array, *, x0: Array) -> LSQRState:
    """Start from x0. Cost: one application of A and one of its adjoint.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W)
        Initial guess.

    Returns
    -------
    LSQRState
    """
    left, beta = _unit(y - A(x0))
    right, alpha = _unit(A.adjoint(left))
    return LSQRState(x0, left, right, right, alpha, beta, alpha, alpha * beta, 0 * beta)


def lsqr_step(A: AdjointOperator, state: LSQRState, *, damp: float = 0.0) -> LSQRState:
    """Take one step. Cost: one application of A and one of its adjoint; differentiable, no transfer to the host.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    state : LSQRState
        State before the step.
    damp : float
        See `lsqr`.

    Returns
    -------
    LSQRState
    """
    xp = array_namespace(state.alpha)
    left, beta = _unit(add_scaled(A(state.right), -cast_to(state.alpha, state.left), state.left))
    right, alpha = _unit(add_scaled(A.adjoint(left), -cast_to(beta, state.right), state.right))
    kept = xp.sqrt(state.rho * state.rho + damp * damp)  # first rotation: the damping
    lost = safe_divide(damp * state.phi, kept)
    phi_bar = safe_divide(state.rho * state.phi, kept)
    rho = xp.sqrt(kept * kept + beta * beta)  # second rotation: the new row
    cosine, sine = safe_divide(kept, rho), safe_divide(beta, rho)
    phi, phi_next = cosine * phi_bar, sine * phi_bar
    theta, rho_next = sine * alpha, -cosine * alpha
    x = add_scaled(state.x, cast_to(safe_divide(phi, rho), state.x), state.direction)
    direction = add_scaled(right, -cast_to(safe_divide(theta, rho), right), state.direction)
    gradient = xp.abs(phi_next * alpha * cosine)
    return LSQRState(x, left, right, direction, alpha, phi_next, rho_next, gradient, state.lost + lost * lost)


def lsqr(
    A: AdjointOperator,
    y: Array,
    *,
    x0: Array | None = None,
    damp: float = 0.0,
    tol: float = 1e-6,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, LSQRState], object] | None = None,
) -> Solution:
    """Minimise ||A x - y||^2 + damp^2 ||x - x0||^2 for any A with an adjoint, square or not.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image; every image of a batch is a separate problem.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise.
    damp : float
        Square root of the weight of ||x - x0||^2, zero or larger; with ``x0 = 0`` this is Tikhonov regularisation.
    tol : float
        Converged where ||y - A x|| <= tol ||y||, or where the gradient ||A^T (y - A x) - damp^2 (x - x0)|| <=
        tol ||A^T y||, for every image of the batch.
    max_iterations : int
        Step limit.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. The data term is
        ||mask (A x - y)||; y may hold anything, even NaN, where the mask is 0.
    noise_level : float, optional
        Standard deviation of the noise in y, in the unit of y. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        With ``damp = 0`` residuals come from the recurrence and the last one is computed from scratch; CONVERGED means
        that this last one is small enough, STAGNATED that it cannot become so in this precision. With damping,
        residuals include damp ||x - x0|| and all come from the recurrence.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y, x0 or mask of the wrong shape or with NaN; damp, tol, noise_level or
        max_iterations out of range; on_step not callable; A(x) or A.adjoint(y) of the wrong shape.
    TypeError
        y not a floating array; x0, mask, A(x) or A.adjoint(y) of another namespace, device or dtype.

    Notes
    -----
    Golub-Kahan: beta u <- A v - alpha u, alpha v <- A^T u - beta v with unit vectors u and v; the bidiagonal matrix is
    triangularised by rotations as it grows. In exact arithmetic the iterates are those of `cgls`; in floating point
    they stay accurate longer on ill-conditioned problems, at the price of scaling two more vectors in each step.
    Cost: one application of A and two of its adjoint before the first step; one of each per step. With ``damp = 0``,
    one of each for the true residual at the end and when the tolerance is met. A check of convergence costs one of
    each, plus two of A to check the adjoint unless the residual itself is small enough; with damping, a check that
    fails is repeated in every later step that meets the tolerance. Nothing is cached between calls. Memory: 8 images.

    References
    ----------
    Paige, C. C. and Saunders, M. A., LSQR: an algorithm for sparse linear equations and sparse least squares, ACM
    Transactions on Mathematical Software 8(1), 1982.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Twice:  # the same image seen twice, the second time at half the light
    ...     def __call__(self, x): return np.concat([x, 0.5 * x], axis=-3)
    ...     def adjoint(self, y): return y[..., :1, :, :] + 0.5 * y[..., 1:, :, :]
    >>> solution = solvers.lsqr(Twice(), np.ones((2, 4, 5)), x0=np.zeros((1, 4, 5)))
    >>> solution.status.name, round(float(solution.x[0, 0, 0]), 6)
    ('CONVERGED', 1.2)
    """
    given = problem(
        "lsqr", A, y, x0, adjoint=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    damp = check_number(given.name, "damp", damp, positive=False)
    A, y, start = given.A, given.y, given.start
    squares = LeastSquares(given)

    def measure(state: LSQRState) -> Measure:
        xp = array_namespace(state.phi)
        return squares.measure(xp.sqrt(state.phi * state.phi + state.lost), state.gradient)

    def confirm(state: LSQRState) -> Proof:
        residual = y - A(state.x)
        back = A.adjoint(residual)
        gradient = norm(add_scaled(back, -damp * damp, state.x - start))
        return squares.proof(state.x, residual, back, gradient=gradient, damped=damp > 0)

    return given.iterate(
        lambda: lsqr_init(A, y, x0=start),
        lambda _, state: lsqr_step(A, state, damp=damp),
        measure,
        refresh=None if damp else lambda state: lsqr_init(A, y, x0=state.x),
        confirm=confirm,
    )
