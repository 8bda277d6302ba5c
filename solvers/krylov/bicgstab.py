"""BiCGSTAB: a Krylov method for square operators that are not symmetric, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, inner, safe_divide
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import Array, Operator, Preconditioner

__all__ = ["BiCGSTABState", "bicgstab", "bicgstab_init", "bicgstab_step"]

# The residual of BiCGSTAB is erratic; only one that ends far above its minimum counts as divergence.
DIVERGENCE_FACTOR = 1e6
BREAKDOWN = 1e-12


class BiCGSTABState(NamedTuple):
    """Images (*B, C, H, W), and one float64 number per image of the batch, (*B, 1, 1, 1)."""

    x: Array
    residual: Array  # b - A x, by recurrence
    shadow: Array  # the fixed vector that residuals are made orthogonal to
    direction: Array
    energy: Array  # <shadow, residual>


def bicgstab_init(A: Operator, b: Array, *, x0: Array | None = None) -> BiCGSTABState:
    """Start from x0, or from b. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    b : array of shape (*B, C, H, W)
        The right-hand side.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess.

    Returns
    -------
    BiCGSTABState
    """
    x = b if x0 is None else x0
    residual = b - A(x)
    return BiCGSTABState(x, residual, residual, residual, inner(residual, residual))


def bicgstab_step(A: Operator, state: BiCGSTABState, *, preconditioner: Preconditioner | None = None) -> BiCGSTABState:
    """Take one step. Cost: two applications of A; differentiable, no transfer to the host.

    An image whose shadow residual has become orthogonal to its residual restarts from the current iterate.

    Parameters
    ----------
    A : callable
        x -> A x.
    state : BiCGSTABState
        State before the step.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A, applied from the right, so that residuals remain those of A x = b.

    Returns
    -------
    BiCGSTABState
    """
    xp = array_namespace(state.x)
    ahead = state.direction if preconditioner is None else preconditioner(state.direction)
    image = A(ahead)
    alpha = _ratio(state.energy, inner(state.shadow, image))
    half = add_scaled(state.residual, -cast_to(alpha, image), image)
    aside = half if preconditioner is None else preconditioner(half)
    image_aside = A(aside)
    omega = safe_divide(inner(image_aside, half), inner(image_aside, image_aside))
    alpha_x, omega_x = cast_to(alpha, state.x), cast_to(omega, state.x)
    x = add_scaled(add_scaled(state.x, alpha_x, ahead), omega_x, aside)
    residual = add_scaled(half, -omega_x, image_aside)
    energy = inner(state.shadow, residual)
    beta = _ratio(energy, state.energy) * _ratio(alpha, omega)
    direction = add_scaled(residual, cast_to(beta, x), add_scaled(state.direction, -omega_x, image))
    size = inner(residual, residual)
    lost = (xp.abs(energy) <= BREAKDOWN * xp.sqrt(size * inner(state.shadow, state.shadow))) | (omega == 0)
    return BiCGSTABState(
        x,
        residual,
        xp.where(lost, residual, state.shadow),
        xp.where(lost, residual, direction),
        xp.where(lost, size, energy),
    )


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator, of either sign; 0 where the denominator is 0."""
    xp = array_namespace(numerator, denominator)
    usable = denominator != 0
    one = xp.ones_like(denominator)
    return xp.where(usable, numerator, 0 * numerator) / xp.where(usable, denominator, one)


def bicgstab(
    A: Operator,
    b: Array,
    *,
    x0: Array | None = None,
    preconditioner: Preconditioner | None = None,
    tol: float = 1e-6,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, BiCGSTABState], object] | None = None,
) -> Solution:
    """Solve A x = b for a square A, symmetric or not, without its adjoint and in constant memory.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides.
    b : array of shape (*B, C, H, W)
        The right-hand side; every image of a batch is a separate problem, with its own step lengths.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; b if omitted.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A: ``solvers.local_fourier(A, rho=..., inverse_of="operator")``.
    tol : float
        Converged where ||b - A x|| <= tol ||b||, for every image of the batch.
    max_iterations : int
        Step limit.
    mask : array, optional
        Booleans, or weights from 0 to 1, broadcasting to b: only the equations and unknowns of pixels where it is
        positive count; the others keep x0. b may hold anything, even NaN, where the mask is 0.
    noise_level : float, optional
        Standard deviation of the noise in b, in the unit of b. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        Residuals come from the recurrence, except the last, which is b - A x computed from scratch. CONVERGED means
        that this last one is small enough; if it cannot become so in this precision, the status is STAGNATED. DIVERGED:
        the residual grew past 1e6 times its minimum; smaller jumps are normal and harmless.

    Raises
    ------
    ValueError
        A not square or not callable; b, x0 or mask of the wrong shape or with NaN; tol, noise_level or max_iterations
        out of range; preconditioner or on_step not callable; A(x) of the wrong shape.
    TypeError
        b not a floating array; x0, mask or A(x) of another namespace, device or dtype.

    Notes
    -----
    alpha = <s, r> / <s, A M p>;  h = r - alpha A M p;  omega = <A M h, h> / ||A M h||^2;  x += alpha M p + omega M h;
    r' = h - omega A M h;  p <- r' + (<s, r'> / <s, r>) (alpha / omega) (p - omega A M p), with a fixed shadow s, the
    first residual. Eigenvalues on both sides of zero, which truncated blurs have, slow it down; they do not affect
    `cgls`. Cost: two applications of A per step; memory: 10 images.

    References
    ----------
    van der Vorst, H. A., Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric
    linear systems, SIAM Journal on Scientific and Statistical Computing 13(2), 1992.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> d = np.linspace(1.0, 3.0, 6).reshape(1, 2, 3)
    >>> solution = solvers.bicgstab(lambda x: d * x, np.ones((1, 2, 3)))
    >>> solution.converged, bool(np.allclose(solution.x, 1 / d, rtol=1e-5))
    (True, True)
    """
    given = problem(
        "bicgstab", A, b, x0, square=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, b, M = given.A, given.y, given.preconditioner(preconditioner)
    return given.iterate(
        lambda: bicgstab_init(A, b, x0=given.start),
        lambda _, state: bicgstab_step(A, state, preconditioner=M),
        lambda state: given.measure_residual(state.residual),
        divergence_factor=DIVERGENCE_FACTOR,
        refresh=lambda state: bicgstab_init(A, b, x0=state.x),
    )
