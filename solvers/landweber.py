"""Landweber iteration: gradient descent on ||y - A x||^2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from .arrays import norm, plus, relative
from .checks import check_callable, check_count, check_number, noise_floor, problem
from .iterate import Measure, iterate
from .norms import squared_norm
from .solution import Solution
from .types import AdjointOperator, Array

__all__ = ["LandweberState", "landweber", "landweber_init", "landweber_step"]

# In exact arithmetic the residual never grows as long as damping < 2 / ||A||^2.
DIVERGENCE_FACTOR = 10.0


class LandweberState(NamedTuple):
    """An iterate (*B, C, H, W), its residual y - A x (*B, D, H, W) and A^T of that."""

    x: Array
    residual: Array
    gradient: Array


def landweber_init(A: AdjointOperator, y: Array, *, x0: Array) -> LandweberState:
    """Start from x0. Cost: one application of A and one of its adjoint.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W)
        The start.

    Returns
    -------
    LandweberState
    """
    residual = y - A(x0)
    return LandweberState(x0, residual, A.adjoint(residual))


def landweber_step(
    A: AdjointOperator, y: Array, state: LandweberState, *, damping: Any, nonnegative: bool = False
) -> LandweberState:
    """Take one step. Cost: one application of A and one of its adjoint; differentiable, no transfer to the host.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    state : LandweberState
        Where the step starts.
    damping : float or array
        Step length, below 2 / ||A||^2; an array has to broadcast against the image.
    nonnegative : bool
        Set negative values to zero after the step.

    Returns
    -------
    LandweberState
    """
    x = plus(state.x, damping, state.gradient)
    if nonnegative:
        x = array_namespace(x).where(x > 0, x, 0 * x)
    residual = y - A(x)
    return LandweberState(x, residual, A.adjoint(residual))


def landweber(
    A: AdjointOperator,
    y: Array,
    *,
    x0: Array | None = None,
    damping: float | None = None,
    nonnegative: bool = False,
    tol: float = 1e-5,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, LandweberState], object] | None = None,
) -> Solution:
    """Minimise ||y - A x||^2 by x <- x + damping A^T (y - A x), for any A with an adjoint.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, linear light; any batch.
    x0 : array of shape (*B, C, H, W), optional
        The start; if omitted, y where the shapes of x and y agree, and zero otherwise.
    damping : float, optional
        Step length, positive; the iteration converges below 2 / ||A||^2. If omitted, 1 / ||A||^2 by power iteration,
        which costs 20 applications of A and of its adjoint.
    nonnegative : bool
        Keep x >= 0 (projected gradient).
    tol : float
        Converged where ||y - A x|| <= tol ||y|| or ||A^T (y - A x)|| <= tol ||A^T y||, for every image of the batch.
    max_iterations : int
        Step limit.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. The data term is
        ||mask (A x - y)||; y may hold anything, NaN too, where the mask is 0.
    noise_level : float, optional
        Standard deviation of the noise in y, in its unit. An image ends with NOISE_LEVEL once the root mean square of
        its residual is down to it (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        Residuals are computed from scratch in every step.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y, x0 or mask of the wrong shape or with NaN; damping, tol, noise_level or
        max_iterations out of range; on_step not callable; A(x) or A.adjoint(y) of the wrong shape.
    TypeError
        y not a floating array; x0, mask, A(x) or A.adjoint(y) of another namespace, device or dtype.

    Notes
    -----
    The component of the error along a singular vector with singular value s shrinks by 1 - damping s^2 in a step: bad
    for small s, which is why stopping early regularises. `cgls` reaches the same solution in about the square root of
    the number of steps; this one takes the constraint x >= 0, with which the gradient need not vanish.
    Cost: one application of A and of its adjoint per step; memory: 6 images.

    References
    ----------
    Landweber, L., An iteration formula for Fredholm integral equations of the first kind, American Journal of
    Mathematics 73, 1951.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Half:
    ...     def __call__(self, x): return 0.5 * x
    ...     adjoint = __call__
    >>> solution = solvers.landweber(Half(), np.ones((1, 2, 3)), damping=3.0, tol=1e-3)
    >>> solution.status.name, solution.iterations, round(float(solution.x[0, 0, 0]), 2)
    ('CONVERGED', 5, 2.0)
    """
    name = "landweber"
    given = problem(name, A, y, x0, adjoint=True, mask=mask)
    counted, y, start = given
    tol = check_number(name, "tol", tol)
    check_count(name, "max_iterations", max_iterations)
    check_callable(name, "on_step", on_step, optional=True)
    if damping is not None:
        damping = check_number(name, "damping", damping)
    floor = noise_floor(name, noise_level, given)
    damping = 1 / squared_norm(counted, start) if damping is None else damping
    size, slope = norm(y), norm(counted.adjoint(y))

    def measure(state: LandweberState) -> Measure:
        residual = relative(norm(state.residual), size)
        gap = array_namespace(residual).minimum(residual, relative(norm(state.gradient), slope))
        return Measure(residual, gap)

    return iterate(
        lambda: landweber_init(counted, y, x0=start),
        lambda _, state: landweber_step(counted, y, state, damping=damping, nonnegative=nonnegative),
        measure,
        A=counted,
        tol=tol,
        max_iterations=max_iterations,
        divergence_factor=DIVERGENCE_FACTOR,
        noise_floor=floor,
        on_step=on_step,
    )
