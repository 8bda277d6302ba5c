"""FISTA: accelerated proximal gradients for a data term and a prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, inner, norm, relative
from ..core.checks import check_number, prox_of
from ..core.iterate import Measure, Proof
from ..core.norms import estimate_squared_norm
from ..core.problem import WITH_PRIOR, problem
from ..core.proof import gradient_at
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array, Prox
from .strength import AUTO, resolve_strength

__all__ = ["FISTAState", "fista", "fista_init", "fista_step"]


class FISTAState(NamedTuple):
    """Images, and the weight of the extrapolation per image of the batch, (*B, 1, 1, 1) in float64."""

    x: Array  # (*B, C, H, W)
    ahead: Array  # the extrapolated image, where the next gradient is taken
    residual: Array  # y - A x, (*B, D, H, W)
    residual_ahead: Array  # y - A ahead, found by linearity without another application of A
    momentum: Array


def fista_init(A: AdjointOperator, y: Array, *, x0: Array) -> FISTAState:
    """Start from x0. Cost: one application of A.

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
    FISTAState
    """
    residual = y - A(x0)
    size = norm(x0)
    return FISTAState(x0, x0, residual, residual, array_namespace(size).ones_like(size))


def fista_step(
    A: AdjointOperator, y: Array, state: FISTAState, *, prox: Prox, step: Any, strength: Any, restart: bool = True
) -> FISTAState:
    """Take one step. Cost: one application of A and of its adjoint, one prox; no transfer to the host.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    state : FISTAState
        State before the step.
    prox : callable
        (x, step strength) -> x; see `fista`.
    step : float or array
        Step length, at most 1 / ||A||^2.
    strength : float or array
        Weight of the prior.
    restart : bool
        Forget the momentum of an image where it points uphill.

    Returns
    -------
    FISTAState
    """
    xp = array_namespace(state.x)
    x = prox(add_scaled(state.ahead, step, A.adjoint(state.residual_ahead)), step * strength)
    residual = y - A(x)
    momentum = (1 + xp.sqrt(1 + 4 * state.momentum * state.momentum)) / 2
    push = (state.momentum - 1) / momentum
    if restart:
        uphill = inner(state.ahead - x, x - state.x) > 0
        push = xp.where(uphill, xp.zeros_like(push), push)
        momentum = xp.where(uphill, xp.ones_like(momentum), momentum)
    push = cast_to(push, x)
    return FISTAState(
        x, add_scaled(x, push, x - state.x), residual, add_scaled(residual, push, residual - state.residual), momentum
    )


def fista(
    A: AdjointOperator,
    y: Array,
    *,
    prox: Prox,
    strength: float | Literal["auto"] = AUTO,
    step: float | None = None,
    restart: bool = True,
    x0: Array | None = None,
    tol: float = 1e-4,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, FISTAState], object] | None = None,
) -> Solution:
    """Minimise 1/2 ||A x - y||^2 + strength phi(x) by accelerated proximal gradients.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, nominal range [0, 1].
    prox : callable
        (x, s) -> argmin_z 1/2 ||z - x||^2 + s phi(z), such as `tv`; called with s = step strength.
    strength : float or "auto"
        Weight of phi, zero or larger; as in `hqs`.
    step : float, optional
        Step length, positive; converges for at most 1 / ||A||^2, which is estimated by power iteration if omitted
        (20 applications of A and of its adjoint).
    restart : bool
        Forget the momentum of an image where it points uphill; faster wherever the objective is curved.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise.
    tol : float
        Converged where x changes by at most tol ||x|| in a step, and the proximal gradient step from x itself is as
        short, ||x - prox(x + step A^T (y - A x), step strength)|| <= tol ||x||, for every image of the batch. A `step`
        that you pass is compared with that of a blur of gain ||A x|| / ||x||, so that a short step is not mistaken for
        convergence.
    max_iterations : int
        Step limit.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. The data term is
        1/2 ||mask (A x - y)||^2; y may hold anything, even NaN, where the mask is 0.
    noise_level : float, optional
        Standard deviation of the noise in y, in the unit of y. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level: useful with a small strength and a start whose residual is
        larger.
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        The residual does not go to zero, since the prior is part of the objective; it is computed from scratch.

    Raises
    ------
    ValueError
        A not callable or without an adjoint; y, x0 or mask of the wrong shape or with NaN; prox not callable, or
        returning another shape; strength, step, noise_level, tol or max_iterations out of range; on_step not callable.
    TypeError
        y not a floating array; x0, mask, A(x), A.adjoint(y) or prox(x, s) of another namespace, device or dtype.

    Notes
    -----
    x' = prox(z + step A^T (y - A z), step strength);  z' = x' + (t - 1) / t' (x' - x),  t' = (1 + sqrt(1 + 4 t^2)) / 2.
    The objective approaches its minimum like 1 / k^2. `hqs` and `admm` need fewer but costlier steps; here no linear
    system is solved in a step, and the limit is the minimiser itself.
    Cost: "auto" costs what `choose_strength` does.
    One application of A before the first step, and 40 more (of A and of its adjoint in turn) for the norm if
    `step` is omitted; one of A and of its adjoint and one prox per step. A check of convergence costs two more of each
    and one prox, to test A^T (y - A x) and A^T y against A itself; where it fails, it is repeated in every later step
    that meets the tolerance. Nothing is cached between calls. Memory: 8 images and what prox needs.

    References
    ----------
    Beck, A. and Teboulle, M., A fast iterative shrinkage-thresholding algorithm for linear inverse problems, SIAM
    Journal on Imaging Sciences 2(1), 2009. O'Donoghue, B. and Candes, E., Adaptive restart for accelerated gradient
    schemes, Foundations of Computational Mathematics 15, 2015 (the gradient scheme of restarting).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Half:
    ...     def __call__(self, x): return 0.5 * x
    ...     adjoint = __call__
    >>> shrink = lambda x, s: x / (1 + s)  # the proximal operator of 1/2 ||x||^2
    >>> solution = solvers.fista(Half(), np.ones((1, 2, 3)), prox=shrink, strength=0.25, tol=1e-8)
    >>> solution.status.name, round(float(solution.x[0, 0, 0]), 6)  # 0.5 / (0.25 + 0.25)
    ('CONVERGED', 1.0)
    """
    name = "fista"
    given = problem(
        name, A, y, x0, adjoint=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, y = given.A, given.y
    prox = prox_of(name, prox)
    strength = resolve_strength(given, prox, strength)
    if step is not None:
        step = check_number(name, "step", step)
    length = 1 / estimate_squared_norm(name, A, given.start) if step is None else step
    change = given.size + float("inf")  # of x in the last step, relative

    def advance(_: int, state: FISTAState) -> FISTAState:
        nonlocal change
        new = fista_step(A, y, state, prox=prox, step=length, strength=strength, restart=restart)
        change = relative(norm(new.x - state.x), norm(new.x))
        return new

    def confirm(state: FISTAState) -> Proof:
        xp, x = array_namespace(state.x), state.x
        found = gradient_at(A, y, x, state.residual)
        ahead = prox(add_scaled(x, length, found.back), length * strength)
        extent, seen = norm(x), norm(y - state.residual)
        natural = xp.where((extent > 0) & (seen > 0), relative(extent, seen), relative(given.size, found.unit)) ** 2
        one = xp.ones_like(natural)
        longer = xp.maximum(natural / length, one)
        if step is None:  # the norm of A, if the adjoint is one
            longer = xp.where(found.suspect, longer, one)
        scale = xp.where(extent > 0, extent, natural * found.unit)
        doubt = relative(longer * length * found.doubt, scale)
        step_left = xp.maximum(
            norm(x - ahead), float(xp.finfo(x.dtype).eps) * extent
        )  # a smaller step cannot be measured
        return Proof(relative(longer * step_left, scale), doubt, found.unseen)

    return given.iterate(
        lambda: fista_init(A, y, x0=given.start),
        advance,
        lambda state: Measure(given.relative_residual(state.residual), change),
        confirm=confirm,
        **WITH_PRIOR,
    )
