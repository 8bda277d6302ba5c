"""Landweber iteration: gradient descent on ||y - A x||^2, optionally with x >= 0 and with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, inner, norm
from ..core.checks import check_number
from ..core.least_squares import LeastSquares
from ..core.norms import estimate_squared_norm
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array

__all__ = [
    "LandweberState",
    "NesterovState",
    "landweber",
    "landweber_init",
    "landweber_step",
    "nesterov_init",
    "nesterov_step",
]


class LandweberState(NamedTuple):
    """An iterate (*B, C, H, W), its residual y - A x (*B, D, H, W), and A^T applied to the residual."""

    x: Array
    residual: Array
    gradient: Array


class NesterovState(NamedTuple):
    """The same, the last changes of x and of the gradient, and a float64 number per image, (*B, 1, 1, 1)."""

    x: Array
    residual: Array
    gradient: Array
    moved: Array
    turned: Array
    momentum: Array  # 1 where an image restarts


def landweber_init(A: AdjointOperator, y: Array, *, x0: Array) -> LandweberState:
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
        State before the step.
    damping : float or array
        Step length, below 2 / ||A||^2; an array has to broadcast against the image.
    nonnegative : bool
        Set negative values to zero after the step.

    Returns
    -------
    LandweberState
    """
    x = add_scaled(state.x, damping, state.gradient)
    return landweber_init(A, y, x0=_positive_part(x) if nonnegative else x)


def nesterov_init(A: AdjointOperator, y: Array, *, x0: Array) -> NesterovState:
    """Start from x0. Cost: one application of A and one of its adjoint.

    Parameters
    ----------
    A, y, x0
        As for `landweber_init`.

    Returns
    -------
    NesterovState
    """
    x, residual, gradient = landweber_init(A, y, x0=x0)
    size = norm(gradient)
    one = array_namespace(size).ones_like(size)
    return NesterovState(x, residual, gradient, 0 * x, 0 * gradient, one)


def nesterov_step(
    A: AdjointOperator, y: Array, state: NesterovState, *, damping: Any, nonnegative: bool = False
) -> NesterovState:
    """Take one step with momentum. Cost: as `landweber_step`, and one inner product.

    Parameters
    ----------
    A, y, nonnegative
        As for `landweber_step`.
    state : NesterovState
        State before the step.
    damping : float or array
        Step length, at most 1 / ||A||^2.

    Returns
    -------
    NesterovState

    Notes
    -----
    With t' = (1 + sqrt(1 + 4 t^2)) / 2, b = (t - 1) / t' and z = x + b (x - x_before):
    x <- P(z + damping A^T (y - A z)), with P the projection onto x >= 0 if `nonnegative`. The gradient at z is the same
    combination of those at x and at x_before, so that z costs no application. An image whose step points backwards, <x'
    - z, x' - x> < 0, restarts with t = 1.

    References
    ----------
    Nesterov, Y., A method of solving a convex programming problem with convergence rate O(1/k^2), Soviet Mathematics
    Doklady 27, 1983.
    O'Donoghue, B. and Candes, E., Adaptive restart for accelerated gradient schemes, Foundations of Computational
    Mathematics 15, 2015.
    """
    xp = array_namespace(state.x)
    momentum = (1 + xp.sqrt(1 + 4 * state.momentum**2)) / 2
    share = cast_to((state.momentum - 1) / momentum, state.x)
    ahead = add_scaled(state.x, share, state.moved)
    x = add_scaled(ahead, damping, add_scaled(state.gradient, share, state.turned))
    if nonnegative:
        x = _positive_part(x)
    moved = x - state.x
    momentum = xp.where(inner(x - ahead, moved) < 0, xp.ones_like(momentum), momentum)
    x, residual, gradient = landweber_init(A, y, x0=x)
    return NesterovState(x, residual, gradient, moved, gradient - state.gradient, momentum)


def _positive_part(x: Array) -> Array:
    """Return x where it is positive, NaN where it is NaN, and zero elsewhere."""
    return array_namespace(x).where(x > 0, x, 0 * x)


def landweber(
    A: AdjointOperator,
    y: Array,
    *,
    x0: Array | None = None,
    damping: float | None = None,
    nonnegative: bool = False,
    accelerate: Literal["nesterov"] | None = None,
    tol: float = 1e-5,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, Any], object] | None = None,
) -> Solution:
    """Minimise ||y - A x||^2 by x <- x + damping A^T (y - A x), for any A with an adjoint.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, linear light; any batch.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise.
    damping : float, optional
        Step length, positive; the iteration converges below 2 / ||A||^2, or up to 1 / ||A||^2 with momentum. If
        omitted, 1 / ||A||^2 is estimated by power iteration, which costs 20 applications of A and of its adjoint.
    nonnegative : bool
        Keep x >= 0 (projected gradient); negative values of the start are set to zero.
    accelerate : {"nesterov"}, optional
        Momentum with restarts, see `nesterov_step`: the same cost per step, and about the square root of the number of
        steps.
    tol : float
        Converged where ||y - A x|| <= tol ||y|| or ||A^T (y - A x)|| <= tol ||A^T y||, for every image of the batch.
        With `nonnegative` the gradient does not count where x = 0 and the step would violate the constraint.
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
        Residuals are computed from scratch in every step.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y, x0 or mask of the wrong shape or with NaN; damping, tol, noise_level,
        max_iterations or accelerate out of range; on_step not callable; A(x) or A.adjoint(y) of the wrong shape; with
        `damping` omitted, an operator that maps everything to zero or to NaN.
    TypeError
        y not a floating array; x0, mask, A(x) or A.adjoint(y) of another namespace, device or dtype.

    Notes
    -----
    The component of the error along a singular vector with singular value s shrinks by the factor 1 - damping s^2 in a
    step: slowly for small s, which is why stopping early regularises. `cgls` reaches the same solution in fewer steps
    than either form here, but cannot keep x >= 0.
    Cost: one application of A and two of its adjoint before the first step, and 20 more of each if `damping` is
    omitted; then one of each per step. A small gradient is checked with two applications of A; a small residual needs
    no check. Nothing is cached between calls. Memory: 7 images, with momentum 11.

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
    given = problem(
        "landweber", A, y, x0, adjoint=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, y = given.A, given.y
    if damping is not None:
        damping = check_number(given.name, "damping", damping)
    if accelerate not in (None, "nesterov"):
        raise ValueError(f'{given.name}: accelerate must be None or "nesterov", got {accelerate!r}.')
    with np.errstate(all="ignore"):
        length = 1 / estimate_squared_norm(given.name, A, given.start) if damping is None else damping
    squares = LeastSquares(given)
    start = _positive_part(given.start) if nonnegative else given.start

    def slope(state: LandweberState | NesterovState) -> Array:
        xp, gradient = array_namespace(state.x), state.gradient
        if nonnegative:
            gradient = xp.where((state.x > 0) | (gradient > 0), gradient, 0 * gradient)
        return norm(gradient)

    begin: Callable[..., Any] = nesterov_init if accelerate else landweber_init
    advance: Callable[..., Any] = nesterov_step if accelerate else landweber_step
    return given.iterate(
        lambda: begin(A, y, x0=start),
        lambda _, state: advance(A, y, state, damping=length, nonnegative=nonnegative),
        lambda state: squares.measure(norm(state.residual), slope(state)),
        confirm=lambda state: squares.proof(state.x, state.residual, state.gradient, gradient=slope(state)),
    )
