"""GMRES: the smallest residual over a Krylov space, for square operators that are not symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from array_api_compat import array_namespace

from .arrays import inner, norm, plus, quotient, relative, scaled_to
from .checks import check_callable, check_count, check_number, noise_floor, problem
from .iterate import Measure, iterate
from .masking import masked
from .solution import Solution
from .types import Array, Operator, Preconditioner

__all__ = ["GMRESState", "gmres", "gmres_init", "gmres_step"]

# In exact arithmetic the residual never grows.
DIVERGENCE_FACTOR = 10.0


class GMRESState(NamedTuple):
    """Images (*B, C, H, W): the iterate, and two bases that grow with every step until the restart.

    The basis `images` is orthonormal; it spans A M applied to earlier directions, and `directions` are what A maps to
    it.
    """

    x: Array
    residual: Array  # b - A x, by recurrence
    directions: tuple[Array, ...] = ()
    images: tuple[Array, ...] = ()


def gmres_init(A: Operator, b: Array, *, x0: Array | None = None) -> GMRESState:
    """Start from x0, or from b. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    b : array of shape (*B, C, H, W)
        The right-hand side.
    x0 : array of shape (*B, C, H, W), optional
        The start.

    Returns
    -------
    GMRESState
    """
    x = b if x0 is None else x0
    return GMRESState(x, b - A(x))


def gmres_step(
    A: Operator, state: GMRESState, *, restart: int = 20, preconditioner: Preconditioner | None = None
) -> GMRESState:
    """Take one step. Cost: one application of A; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x.
    state : GMRESState
        Where the step starts.
    restart : int
        Size of the bases at which they are emptied.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A; from the right. It may change from step to step.

    Returns
    -------
    GMRESState
    """
    xp = array_namespace(state.x)
    full = len(state.images) >= restart
    directions, images = ((), ()) if full else (state.directions, state.images)
    direction = state.residual if preconditioner is None else preconditioner(state.residual)
    image = A(direction)
    before = norm(image)
    for _ in range(2):  # modified Gram-Schmidt, twice is enough
        for old, old_image in zip(directions, images, strict=True):
            share = -scaled_to(inner(old_image, image), image)
            image, direction = plus(image, share, old_image), plus(direction, share, old)
    length = norm(image)
    small = 1e2 * float(xp.finfo(state.x.dtype).eps)
    usable = length > small * before  # else A maps the direction into the span of the others: nothing to gain
    scale = scaled_to(xp.where(usable, quotient(xp.ones_like(length), length), 0 * length), image)
    image, direction = scale * image, scale * direction
    gain = scaled_to(inner(image, state.residual), image)
    return GMRESState(
        plus(state.x, gain, direction), plus(state.residual, -gain, image), (*directions, direction), (*images, image)
    )


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
    """Solve A x = b for a square A, symmetric or not, by the smallest residual over a growing space.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides. No adjoint is needed.
    b : array of shape (*B, C, H, W)
        The right-hand side; every image of a batch is its own problem.
    x0 : array of shape (*B, C, H, W), optional
        The start; b if omitted.
    restart : int
        After so many steps the space is emptied, which bounds the memory and may slow it down; at least 1.
    preconditioner : callable, optional
        r -> M r, M close to the inverse of A: ``solvers.local_fourier(A, rho=..., inverse_of="operator")``. It may
        change from step to step.
    tol : float
        Converged where ||b - A x|| <= tol ||b||, for every image of the batch.
    max_iterations : int
        Step limit.
    mask : array, optional
        Booleans, or weights from 0 to 1, broadcasting to b: only the equations and unknowns of its pixels count, the
        others keep x0. b may hold anything, NaN too, where the mask is 0.
    noise_level : float, optional
        Standard deviation of the noise in b, in its unit. An image ends with NOISE_LEVEL once the root mean square of
        its residual is down to it (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        Residuals are those of the recurrence, which never grow, but the last one is b - A x computed from scratch, and
        CONVERGED means that this is small enough; if it cannot become so in this precision the status is STAGNATED.

    Raises
    ------
    ValueError
        A not square or not callable; b, x0 or mask of the wrong shape or with NaN; restart, tol, noise_level or
        max_iterations out of range; preconditioner or on_step not callable; A(x) of the wrong shape.
    TypeError
        b not a floating array; x0, mask or A(x) of another namespace, device or dtype.

    Notes
    -----
    The variant that keeps the iterate up to date (generalised conjugate residuals): with the direction p = M r, A p is
    made orthogonal to the earlier images, p is combined alike, and x += <A p, r> p. In exact arithmetic the iterates
    are those of GMRES with right preconditioning, unless a step leaves the residual unchanged: then the next direction
    is the same one and the method stands still, where GMRES would go on; that takes an operator whose numerical range
    contains zero. Cost: one application of A per step, and up to 4 restart image updates; memory: 2 restart + 5 images.

    References
    ----------
    Saad, Y. and Schultz, M. H., GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear
    systems, SIAM Journal on Scientific and Statistical Computing 7(3), 1986. Eisenstat, S. C., Elman, H. C. and
    Schultz, M. H., Variational iterative methods for nonsymmetric systems of linear equations, SIAM Journal on
    Numerical Analysis 20(2), 1983 (the form used here).

    Examples
    --------
    >>> import numpy as np, solvers
    >>> d = np.linspace(1.0, 3.0, 6).reshape(1, 2, 3)
    >>> solution = solvers.gmres(lambda x: d * x, np.ones((1, 2, 3)))
    >>> solution.converged, bool(np.allclose(solution.x, 1 / d, rtol=1e-5))
    (True, True)
    """
    name = "gmres"
    given = problem(name, A, b, x0, square=True, mask=mask)
    counted, b, start = given
    check_count(name, "restart", restart, least=1)
    tol = check_number(name, "tol", tol)
    check_count(name, "max_iterations", max_iterations)
    check_callable(name, "preconditioner", preconditioner, optional=True)
    check_callable(name, "on_step", on_step, optional=True)
    floor = noise_floor(name, noise_level, given)
    size = norm(b)
    precondition = masked(preconditioner, counted.mask)

    def measure(state: GMRESState) -> Measure:
        residual = relative(norm(state.residual), size)
        return Measure(residual, residual)

    return iterate(
        lambda: gmres_init(counted, b, x0=start),
        lambda _, state: gmres_step(counted, state, restart=restart, preconditioner=precondition),
        measure,
        A=counted,
        tol=tol,
        max_iterations=max_iterations,
        divergence_factor=DIVERGENCE_FACTOR,
        noise_floor=floor,
        refresh=lambda state: gmres_init(counted, b, x0=state.x),
        on_step=on_step,
    )
