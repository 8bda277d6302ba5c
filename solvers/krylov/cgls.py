"""Conjugate gradients on the normal equations, in the numerically stable form (CGLS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, inner, norm, safe_divide
from ..core.least_squares import LeastSquares
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array

__all__ = ["CGLSState", "cgls", "cgls_init", "cgls_step"]


class CGLSState(NamedTuple):
    """Images, and the float64 number `energy` per image of the batch, (*B, 1, 1, 1)."""

    x: Array  # (*B, C, H, W)
    residual: Array  # y - A x by recurrence, (*B, D, H, W)
    gradient: Array  # A^T residual, (*B, C, H, W)
    direction: Array
    energy: Array  # <gradient, gradient>


def cgls_init(A: AdjointOperator, y: Array, *, x0: Array) -> CGLSState:
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
    CGLSState
    """
    residual = y - A(x0)
    gradient = A.adjoint(residual)
    return CGLSState(x0, residual, gradient, gradient, inner(gradient, gradient))


def cgls_step(A: AdjointOperator, state: CGLSState) -> CGLSState:
    """Take one step. Cost: one application of A and one of its adjoint; differentiable, no transfer to the host.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    state : CGLSState
        State before the step.

    Returns
    -------
    CGLSState
    """
    image = A(state.direction)
    alpha = cast_to(safe_divide(state.energy, inner(image, image)), state.x)
    x = add_scaled(state.x, alpha, state.direction)
    residual = add_scaled(state.residual, -alpha, image)
    gradient = A.adjoint(residual)
    energy = inner(gradient, gradient)
    beta = cast_to(safe_divide(energy, state.energy), state.x)
    return CGLSState(x, residual, gradient, add_scaled(gradient, beta, state.direction), energy)


def cgls(
    A: AdjointOperator,
    y: Array,
    *,
    x0: Array | None = None,
    tol: float = 1e-6,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, CGLSState], object] | None = None,
) -> Solution:
    """Minimise ||A x - y||^2 for any A with an adjoint, square or not.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image; every image of a batch is a separate problem, with its own step lengths.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise. Among several minimisers the one closest to x0 is found.
    tol : float
        Converged where ||y - A x|| <= tol ||y|| or ||A^T (y - A x)|| <= tol ||A^T y||, for every image of the batch.
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
        Residuals come from the recurrence, except the last, which is y - A x computed from scratch. CONVERGED means
        that this last one (or its gradient) is small enough; if it cannot become so in this precision, the status is
        STAGNATED.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y or x0 of the wrong shape or with NaN; tol or max_iterations out of
        range; on_step not callable; A(x) or A.adjoint(y) of the wrong shape.
    TypeError
        y not a floating array; x0, A(x) or A.adjoint(y) of another namespace, device or dtype.

    Notes
    -----
    s = A^T r;  alpha = ||s||^2 / ||A p||^2;  x += alpha p;  r -= alpha A p;  p <- A^T r + (||A^T r||^2 / ||s||^2) p.
    The residual never grows, so the method cannot diverge for any operator. With noise in y the early iterates are the
    better images (noise is fitted last): stop by `noise_level` or `max_iterations`, or use `hqs`.
    Cost: one application of A and two of its adjoint before the first step; one of each per step, and one of each for
    the true residual at the end and when the tolerance is met. A small gradient is checked with two applications of A;
    a small residual needs no check. Nothing is cached between calls. Memory: 8 images.

    References
    ----------
    Bjorck, A., Numerical Methods for Least Squares Problems, SIAM, 1996 (CGLS).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Twice:  # the same image seen twice, the second time at half the light
    ...     def __call__(self, x): return np.concat([x, 0.5 * x], axis=-3)
    ...     def adjoint(self, y): return y[..., :1, :, :] + 0.5 * y[..., 1:, :, :]
    >>> y = np.ones((2, 4, 5))
    >>> solution = solvers.cgls(Twice(), y, x0=np.zeros((1, 4, 5)))
    >>> solution.status.name, round(float(solution.x[0, 0, 0]), 6)
    ('CONVERGED', 1.2)
    """
    given = problem(
        "cgls", A, y, x0, adjoint=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, y = given.A, given.y
    squares = LeastSquares(given)

    def slope(state: CGLSState) -> Array:
        return array_namespace(state.energy).sqrt(state.energy)

    return given.iterate(
        lambda: cgls_init(A, y, x0=given.start),
        lambda _, state: cgls_step(A, state),
        lambda state: squares.measure(norm(state.residual), slope(state)),
        refresh=lambda state: cgls_init(A, y, x0=state.x),
        confirm=lambda state: squares.proof(state.x, state.residual, state.gradient, gradient=slope(state)),
    )
