"""GMRES: minimises the residual over a Krylov space, for square operators that are not symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from ..core.arrays import add_scaled, cast_to, inner, norm, relative, safe_divide
from ..core.checks import check_count
from ..core.iterate import Measure
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import Array, Operator, Preconditioner

__all__ = ["GMRESState", "gmres", "gmres_init", "gmres_step"]


class GMRESState(NamedTuple):
    """Images (*B, C, H, W); float64 numbers per image of the batch, (*B, 1, 1, 1); and the Krylov space of the cycle.

    With V the images, v the next one, and Z the directions: A Z = [V, v] H, and Q H = R is triangular.
    """

    x: Array
    residual: Array  # b - A x, by recurrence
    base: Array  # where the cycle began
    ahead: Array  # v, a unit vector orthogonal to the images
    size: Array  # ||b - A x||, with a sign
    images: tuple[Array, ...] = ()  # V, orthonormal
    directions: tuple[Array, ...] = ()  # Z, the preconditioned images
    columns: tuple[tuple[Array, ...], ...] = ()  # R
    rotations: tuple[tuple[Array, Array], ...] = ()  # cosine and sine of every factor of Q
    weights: tuple[Array, ...] = ()  # Q applied to the first residual


def gmres_init(A: Operator, b: Array, *, x0: Array | None = None) -> GMRESState:
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
    GMRESState
    """
    x = b if x0 is None else x0
    return _cycle(x, b - A(x))


def _cycle(x: Array, residual: Array) -> GMRESState:
    size = norm(residual)
    return GMRESState(x, residual, x, _normalise(residual, size), size)


def _normalise(x: Array, size: Array) -> Array:
    """Return x / size, or zero where size is zero."""
    return cast_to(safe_divide(array_namespace(size).ones_like(size), size), x) * x


def gmres_step(
    A: Operator, state: GMRESState, *, restart: int = 20, preconditioner: Preconditioner | None = None
) -> GMRESState:
    """Take one step. Cost: one application of A; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x.
    state : GMRESState
        State before the step.
    restart : int
        Dimension of the Krylov space at which the method restarts.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A, applied from the right. It may change from step to step.

    Returns
    -------
    GMRESState
    """
    xp = array_namespace(state.x)
    if len(state.images) >= restart:
        state = _cycle(state.x, state.residual)
    images = (*state.images, state.ahead)
    direction = state.ahead if preconditioner is None else preconditioner(state.ahead)
    image = A(direction)
    before = norm(image)
    column = [0 * before for _ in images]
    for _ in range(2):  # modified Gram-Schmidt, twice is enough
        for i, old in enumerate(images):
            share = inner(old, image)
            column[i] = column[i] + share
            image = add_scaled(image, -cast_to(share, image), old)
    length = norm(image)
    # below this the image lies in the span of the others, up to rounding
    length = xp.where(length > 1e2 * float(xp.finfo(state.x.dtype).eps) * before, length, 0 * length)
    ahead = _normalise(image, length)
    for i, (cosine, sine) in enumerate(state.rotations):
        upper, lower = column[i], column[i + 1]
        column[i], column[i + 1] = cosine * upper + sine * lower, cosine * lower - sine * upper
    corner = xp.sqrt(column[-1] * column[-1] + length * length)
    gone = corner == 0  # A times the direction adds nothing to the space: the step changes nothing
    cosine = safe_divide(column[-1], corner)
    sine = xp.where(gone, xp.ones_like(corner), safe_divide(length, corner))
    column[-1] = corner
    size = -sine * state.size
    directions = (*state.directions, direction)
    columns = (*state.columns, tuple(column))
    weights = (*state.weights, cosine * state.size)
    x = state.base
    for share, old in zip(_back_substitute(columns, weights), directions, strict=True):
        x = add_scaled(x, cast_to(share, x), old)
    turned = cast_to(cosine * size, ahead) * ahead
    residual = add_scaled(turned, cast_to(sine * sine, ahead), state.residual)
    rotations = (*state.rotations, (cosine, sine))
    return GMRESState(x, residual, state.base, ahead, size, images, directions, columns, rotations, weights)


def _back_substitute(columns: tuple[tuple[Array, ...], ...], weights: tuple[Array, ...]) -> list[Array]:
    """Solve R t = weights for the upper triangular R with these columns; 0 where its diagonal is 0."""
    left, found = list(weights), list(weights)
    for k in range(len(columns) - 1, -1, -1):
        found[k] = safe_divide(left[k], columns[k][k])
        for i in range(k):
            left[i] = left[i] - columns[k][i] * found[k]
    return found


def gmres(
    A: Operator,
    b: Array,
    *,
    x0: Array | None = None,
    restart: int = 20,
    preconditioner: Preconditioner | None = None,
    tol: float = 1e-6,
    max_iterations: int = 100,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, GMRESState], object] | None = None,
) -> Solution:
    """Solve A x = b for a square A, symmetric or not, by minimising the residual over a growing Krylov space.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides. No adjoint is needed.
    b : array of shape (*B, C, H, W)
        The right-hand side; every image of a batch is a separate problem.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; b if omitted.
    restart : int
        The Krylov space is discarded after this many steps (at least 1): this bounds the memory but may slow
        convergence.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A: ``solvers.local_fourier(A, rho=..., inverse_of="operator")``. It may
        change from step to step.
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
        Residuals come from the recurrence, where they never grow; the last one is b - A x computed from scratch.
        CONVERGED means that this last one is small enough; if it cannot become so in this precision, the status is
        STAGNATED.

    Raises
    ------
    ValueError
        A not square or not callable; b, x0 or mask of the wrong shape or with NaN; restart, tol, noise_level or
        max_iterations out of range; preconditioner or on_step not callable; A(x) of the wrong shape.
    TypeError
        b not a floating array; x0, mask or A(x) of another namespace, device or dtype.

    Notes
    -----
    Arnoldi: A M v_k is made orthogonal to v_1..v_k (modified Gram-Schmidt, twice), which gives v_(k+1) and a column of
    the Hessenberg matrix H; Givens rotations keep Q H triangular, and x = x_start + M V t, where t solves the
    triangular system, has the smallest residual over the space. The residual is updated with each step, r <- sin^2 r +
    cos g v_(k+1), so that a restart costs no application. The directions M v_k are kept (the flexible form), which lets
    M vary and saves applying it again. If the space can grow no further but does not contain the solution (A is then
    singular), x stays as it is until the restart.
    Cost: one application of A per step and up to 5 * restart image updates; memory: restart + 6 images, or 2 * restart
    + 6 with a preconditioner.

    References
    ----------
    Saad, Y. and Schultz, M. H., GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear
    systems, SIAM Journal on Scientific and Statistical Computing 7(3), 1986. Saad, Y., A flexible inner-outer
    preconditioned GMRES algorithm, SIAM Journal on Scientific Computing 14(2), 1993.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> d = np.linspace(1.0, 3.0, 6).reshape(1, 2, 3)
    >>> solution = solvers.gmres(lambda x: d * x, np.ones((1, 2, 3)))
    >>> solution.converged, bool(np.allclose(solution.x, 1 / d, rtol=1e-5))
    (True, True)
    """
    given = problem(
        "gmres", A, b, x0, square=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    check_count(given.name, "restart", restart, least=1)
    A, b, M = given.A, given.y, given.preconditioner(preconditioner)

    def measure(state: GMRESState) -> Measure:
        residual = relative(array_namespace(state.size).abs(state.size), given.size)
        return Measure(residual, residual)

    return given.iterate(
        lambda: gmres_init(A, b, x0=given.start),
        lambda _, state: gmres_step(A, state, restart=restart, preconditioner=M),
        measure,
        refresh=lambda state: gmres_init(A, b, x0=state.x),
    )
