"""Half-quadratic splitting: alternates a data step by conjugate gradients and a prior step by any proximal operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..core.arrays import norm, relative
from ..core.checks import check_number, prox_of
from ..core.iterate import Measure
from ..core.problem import WITH_PRIOR, problem
from ..core.solution import Solution
from ..core.types import AdjointOperator, Array, Preconditioner, Prox
from ..krylov.cg import CGState
from .data_step import Splitting, data_step, split_proof
from .strength import AUTO, resolve_strength

__all__ = ["HQSState", "hqs", "hqs_init", "hqs_step"]

RHO = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Coupling of the outer iterations: small values first favour the data, large ones last the prior. For unit gain."""


class HQSState(NamedTuple):
    """Images: the data step's x, the prior step's z, both (*B, C, H, W), and y - A x, (*B, D, H, W)."""

    x: Array
    z: Array
    residual: Array


def hqs_init(A: AdjointOperator, y: Array, *, x0: Array | None = None) -> HQSState:
    """Start with x = z = x0, or y. Cost: one application of A."""
    x = y if x0 is None else x0
    return HQSState(x, x, y - A(x))


def hqs_step(
    A: AdjointOperator,
    y: Array,
    state: HQSState,
    *,
    prox: Prox,
    rho: Any,
    strength: Any = 3e-4,
    inner_iterations: int = 10,
    inner_stop: Callable[[CGState], bool] | None = None,
    preconditioner: Preconditioner | None = None,
) -> HQSState:
    """Take one outer step: x from z by conjugate gradients started at the last x, then z from x by the prior.

    Differentiable, and without a transfer to the host as long as `inner_stop` is None.

    Parameters
    ----------
    A : operator
        Callable, with `adjoint`.
    y : array of shape (*B, D, H, W)
        The observed image.
    state : HQSState
        State before the step.
    prox : callable
        (x, strength / rho) -> z; see `hqs`.
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
    HQSState

    Notes
    -----
    Cost: inner_iterations + 1 applications of A and of its adjoint, one call of prox.
    """
    return _outer(
        A, y, state, prox, rho, strength,
        iterations=inner_iterations, stop=inner_stop, preconditioner=preconditioner,
    )[0]  # fmt: skip


def _outer(
    A: AdjointOperator, y: Array, state: HQSState, prox: Prox, rho: Any, strength: Any, **inner: Any
) -> tuple[HQSState, Array]:
    """Take one outer step; also return the images in which the system of its data step was not positive definite."""
    x, indefinite = data_step(A, state.x, state.residual, state.z - state.x, rho=rho, **inner)
    return HQSState(x, prox(x, strength / rho), y - A(x)), indefinite


def hqs(
    A: AdjointOperator,
    y: Array,
    *,
    prox: Prox,
    rho: float | Sequence[float] = RHO,
    strength: float | Literal["auto"] = AUTO,
    x0: Array | None = None,
    inner_tol: float = 1e-4,
    inner_iterations: int = 10,
    tol: float = 1e-4,
    max_iterations: int | None = None,
    preconditioner: Callable[[float], Preconditioner] | None = None,
    mask: Array | None = None,
    on_step: Callable[[int, HQSState], object] | None = None,
) -> Solution:
    """Minimise 1/2 ||A x - y||^2 + strength phi(x) by half-quadratic splitting, phi given by its proximal operator.

    Parameters
    ----------
    A : linear operator
        x -> A x from (*B, C, H, W) to (*B, D, H, W), with `A.adjoint` (or `A.H`).
    y : array of shape (*B, D, H, W)
        The observed image, nominal range [0, 1].
    prox : callable
        (x, s) -> argmin_z 1/2 ||z - x||^2 + s phi(z), such as `tv`; called with s = strength / rho. A denoiser for
        Gaussian noise of standard deviation sigma can replace such a map with sigma = sqrt(s).
    rho : float or sequence of float
        Coupling of x and z, positive; a sequence gives one value per outer iteration, and its last value is kept after
        that. rho has the dimension of A^T A: for a blur of unit gain 1e-3 to 1 is usual, and the default rises through
        this range. A single small value leaves the prior little influence on x: see Notes.
    strength : float or "auto"
        Weight of phi, zero or larger, in the objective exactly as written above. "auto" takes it from the noise, the
        image and the residual of a trial solution (`choose_strength`, which returns the number), one for all images of
        a batch; pass a number for a denoiser. For `tv` of images in [0, 1] it is mostly 1e-5 to 1e-2.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; if omitted, y where the shapes of x and y agree, the mean of the views where y stacks several
        (`bp.DualPixel`), and zero otherwise; in that case a small first rho makes the first steps follow the data.
    inner_tol : float
        A data step ends where ||(A^T A + rho I) x - (A^T y + rho z)|| <= inner_tol (||A^T y|| + rho ||z||), for every
        image of the batch after at least one step unless that is below min(tol, inner_tol) ||A^T y|| already,
    inner_iterations : int
        or after this many conjugate gradient steps.
    tol : float
        Converged where, once rho has reached its last value, x changes by at most tol ||x|| in an outer iteration and
        ||A^T (y - A x) + rho (z - x)|| <= tol ||A^T y||, whose left side is zero at a minimiser.
    max_iterations : int, optional
        Limit of outer iterations; if omitted, 20 or the length of the sequence `rho`. One pass through a sequence,
        including the default one, takes a single step with its last value and therefore ends with MAX_ITERATIONS, not
        CONVERGED, unless that step hardly moves x; further iterations keep the last value until they converge.
    preconditioner : callable, optional
        rho -> (r -> M r), M close to the inverse of A^T A + rho I and symmetric positive definite, called once per
        value of rho; for instance ``lambda rho: solvers.local_fourier(A, rho=rho)``.
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
        A not callable or without an adjoint; y or x0 of the wrong shape or with NaN; prox not callable, or returning
        another shape; rho, strength, a tolerance or a limit out of range; on_step not callable.
    TypeError
        y not a floating array; x0, A(x), A.adjoint(y) or prox(x, s) of another namespace, device or dtype.

    Notes
    -----
    z is a copy of x that is coupled to it: min over x, z of 1/2 ||A x - y||^2 + strength phi(z) + rho/2 ||x - z||^2,
    alternating

        x <- (A^T A + rho I)^-1 (A^T y + rho z)      conjugate gradients from the last x
        z <- prox(x, strength / rho)

    For a fixed rho this solves the problem with phi replaced by its Moreau envelope, which tends to phi as rho grows:
    with phi = 1/2 ||x||^2 the limit is the Tikhonov solution (A^T A + mu I)^-1 A^T y, mu = strength rho / (strength +
    rho). Hence the schedules: small rho first for speed, large rho last for accuracy.
    The data step amplifies noise by up to 1 / (2 sqrt(rho)), which is 5 for rho = 0.01, and x is its result: where rho
    stays small, even the minimiser itself (CONVERGED) can be worse than y. PSNR in dB of a photo with blur of up to 4
    px and noise of 0.2, 1 and 3 % of white: 25.6, 25.5 and 24.4 blurred; 34.4, 28.1 and 15.0 with rho = 0.01 and the
    default strength; 34.2, 31.6 and 28.2 with the default rho and a strength of 15 variances.
    Cost: "auto" costs what `choose_strength` does.
    One application of A and of its adjoint before the first iteration; at most inner_iterations + 1 of each and
    one prox per outer iteration. A check of convergence costs two more of each, to test A^T (y - A x) and A^T y against
    A itself; where it fails, it is repeated in every later iteration that meets the tolerance. Nothing is cached
    between calls. Memory: 9 images and what prox needs.

    References
    ----------
    Geman, D. and Yang, C., Nonlinear image recovery with half-quadratic regularization, IEEE Transactions on Image
    Processing 4(7), 1995.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> class Half:
    ...     def __call__(self, x): return 0.5 * x
    ...     adjoint = __call__
    >>> shrink = lambda x, s: x / (1 + s)  # the proximal operator of 1/2 ||x||^2
    >>> solution = solvers.hqs(Half(), np.ones((1, 2, 3)), prox=shrink, rho=0.5, strength=0.5, max_iterations=50)
    >>> solution.status.name, round(float(solution.x[0, 0, 0]), 3)  # 0.5 / (0.25 + 0.25)
    ('CONVERGED', 1.0)
    """
    schedule = _schedule("hqs", rho)
    if max_iterations is None:
        max_iterations = 20 if len(schedule) == 1 else len(schedule)
    given = problem(
        "hqs", A, y, x0, adjoint=True, tol=tol, max_iterations=max_iterations, mask=mask, on_step=on_step
    )  # fmt: skip
    A, y = given.A, given.y
    prox = prox_of(given.name, prox)
    split = Splitting(
        given, prox=prox, strength=resolve_strength(given, prox, strength),
        inner_tol=inner_tol, inner_iterations=inner_iterations, preconditioner=preconditioner,
    )  # fmt: skip
    change, failed = given.size + np.inf, given.size < 0  # change of x, relative, and failures of the last step

    def step(k: int, state: HQSState) -> HQSState:
        nonlocal change, failed
        now = schedule[min(k, len(schedule) - 1)]
        data = split.data_step(now, norm(state.z))
        new, failed = _outer(A, y, state, split.prox, now, split.strength, **data)
        change = relative(norm(new.x - state.x), norm(new.x)) + (np.inf if k + 1 < len(schedule) else 0.0)
        return new

    return given.iterate(
        lambda: hqs_init(A, y, x0=given.start),
        step,
        lambda state: Measure(given.relative_residual(state.residual), change, failed),
        confirm=lambda state: split_proof(A, y, state.x, state.residual, state.z - state.x, rho=schedule[-1]),
        **WITH_PRIOR,
    )


def _schedule(name: str, rho: float | Sequence[float]) -> tuple[float, ...]:
    values = tuple(rho) if isinstance(rho, (Sequence, np.ndarray)) and np.ndim(rho) == 1 else (rho,)
    if not values:
        raise ValueError(f"{name}: rho must be a positive number or a sequence of them, got an empty sequence.")
    return tuple(check_number(name, "rho", value) for value in values)
