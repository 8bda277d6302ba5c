"""The fixed-point (Richardson, Van Cittert) iteration x <- x + damping (y - A x)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from ..core.checks import check_count, check_number
from ..core.convergence_warning import allowed_growth, warn_if_divergent
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import Array, Operator
from .anderson import anderson_init, anderson_step
from .chebyshev import chebyshev_init, chebyshev_interval, chebyshev_step

__all__ = ["FixedPointState", "fixed_point", "fixed_point_init", "fixed_point_step"]


class FixedPointState(NamedTuple):
    """An iterate and its residual y - A x, both (*B, C, H, W)."""

    x: Array
    residual: Array


def fixed_point_init(A: Operator, y: Array, *, x0: Array | None = None) -> FixedPointState:
    """Start from x0, or from y. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    y : array of shape (*B, C, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess.

    Returns
    -------
    FixedPointState
    """
    x = y if x0 is None else x0
    return FixedPointState(x, y - A(x))


def fixed_point_step(A: Operator, y: Array, state: FixedPointState, *, damping: Any = 1.0) -> FixedPointState:
    """Take one step. Cost: one application of A; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x.
    y : array of shape (*B, C, H, W)
        The observed image.
    state : FixedPointState
        State before the step.
    damping : float or array
        Step length; an array (such as a learned parameter) has to broadcast against the image.

    Returns
    -------
    FixedPointState
    """
    x = state.x + damping * state.residual
    return FixedPointState(x, y - A(x))


def fixed_point(
    A: Operator,
    y: Array,
    *,
    x0: Array | None = None,
    damping: float = 1.0,
    tol: float = 1e-5,
    max_iterations: int = 100,
    divergence_factor: float = 10.0,
    accelerate: Literal["anderson", "chebyshev"] | None = None,
    memory: int = 5,
    interval: tuple[float, float] | tuple[float, float, float] | None = None,
    mask: Array | None = None,
    noise_level: float | None = None,
    certificate: Any = None,
    on_step: Callable[[int, Any], object] | None = None,
) -> Solution:
    """Solve A x = y for a square A by x <- x + damping (y - A x).

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides. No adjoint is needed.
    y : array of shape (*B, C, H, W)
        The observed image, linear light; any batch.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess; y if omitted.
    damping : float
        Step length, positive.
    tol : float
        Converged where ||y - A x|| <= tol ||y||, for every image of the batch.
    max_iterations : int
        Step limit.
    divergence_factor : float
        An image has diverged once its residual exceeds this multiple of its minimum; larger than 1. A non-normal A
        (sharply varying maps, one-sided PSFs) can make the residual grow for a while before it converges: raise the
        factor then, or pass the certificate.
    accelerate : {"anderson", "chebyshev"}, optional
        "anderson" combines the last steps (see `anderson_step`): it needs no knowledge of A, and often converges where
        the plain iteration does not. "chebyshev" uses the best step lengths for eigenvalues with positive real parts in
        a known interval (see `chebyshev_step`): it needs one more image but no inner products, and ignores `damping`.
    memory : int
        How many differences "anderson" combines, at least 1.
    interval : (float, float) or (float, float, float), optional
        For "chebyshev": smallest and largest real part of the eigenvalues of A, and largest imaginary part; taken from
        the certificate if omitted. The lower end may exceed the smallest real part: components below it converge more
        slowly.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. Pixels where it is 0 keep x0, and y
        may hold anything there, even NaN; `cgls` and `hqs` estimate such pixels.
    noise_level : float, optional
        Standard deviation of the noise in y, in the unit of y. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    certificate : blurphys.Certificate, optional
        The certificate of A with this damping. If it says that the plain iteration diverges and `accelerate` is None, a
        `ConvergenceWarning` is issued before the first step. If it says that the plain iteration converges after a
        transient growth of which only a lower bound is known, `divergence_factor` is at least 100 times that bound.
        "chebyshev" reads its eigenvalue interval, whatever its damping.
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
        Residuals are computed from scratch in every step.

    Raises
    ------
    ValueError
        A not square or not callable; y, x0 or mask of the wrong shape or with NaN; damping, tol, max_iterations,
        divergence_factor, memory, noise_level or accelerate out of range; "chebyshev" without an interval or with one
        that does not lie to the right of zero; an interval without "chebyshev"; a certificate of another damping, or
        something else in its place; on_step not callable; A(x) of the wrong shape.
    TypeError
        y not a floating array; x0, mask or A(x) of another namespace, device or dtype.

    Notes
    -----
    The error obeys e <- (I - damping A) e: the iteration converges for every y if and only if the spectral radius of
    I - damping A is below 1. Blurs often violate this only slightly: a truncated Gaussian has slightly negative values
    in its frequency response, at which the iteration grows slowly after a good start, so stop early, or use `cgls` or
    `hqs`. Cost: one application of A per step; memory: 4 images, 6 with "chebyshev", 6 + 2 memory with "anderson".

    Acceleration saves more, the more steps the plain iteration needs. Applications of A needed for relative residuals
    of 1e-3 and 1e-4, on a photo of 256 x 384 px in linear light under Gaussians of 0.3 to 0.8 px: 15 and 50 plain, 7
    and 14 with "anderson"; of 0.3 to 2.5 px: 37 and 278, 11 and 38; of 2.5 to 4 px: 57 and 480, 14 and 51. "chebyshev"
    with the interval (0.03, 1): 13 and 20, 15 and 47, 16 and 82; the smaller the lower end of the interval, the more
    steps a loose tolerance takes (0.01: 22, 24 and 26 to 1e-3; 0.001: 66 and 72 for the first two), because the method
    is tuned to the worst eigenvalue. GMRES without a restart, which no combination of the same images beats, took 7, 10
    and 13 to 1e-3: where that is too slow, give `gmres` a preconditioner (`local_fourier`). A step of "anderson" takes
    about twice as long as a plain one where A is as fast as a Gaussian mixture on the CPU.

    References
    ----------
    Van Cittert, P. H., Zum Einfluss der Spaltbreite auf die Intensitaetsverteilung in Spektrallinien II,
    Zeitschrift fuer Physik 69, 1931.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> y = np.ones((3, 4, 5))
    >>> solution = solvers.fixed_point(lambda x: 0.8 * x, y)
    >>> solution.status.name, solution.iterations, float(np.max(np.abs(solution.x - 1.25))) < 2e-5
    ('CONVERGED', 7, True)
    >>> ramp = np.linspace(0.1, 1.0, 60).reshape(3, 4, 5)
    >>> [solvers.fixed_point(lambda x: ramp * x, y, max_iterations=200, accelerate=how).iterations
    ...     for how in (None, "anderson")]
    [90, 22]
    """
    name = "fixed_point"
    given = problem(
        name, A, y, x0, square=True,
        tol=tol, max_iterations=max_iterations, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, y = given.A, given.y
    damping = check_number(name, "damping", damping)
    if check_number(name, "divergence_factor", divergence_factor) <= 1:
        raise ValueError(f"{name}: divergence_factor must be larger than 1, got {divergence_factor!r}.")
    if accelerate not in (None, "anderson", "chebyshev"):
        raise ValueError(f'{name}: accelerate must be None, "anderson" or "chebyshev", got {accelerate!r}.')
    check_count(name, "memory", memory, least=1)
    if interval is not None and accelerate != "chebyshev":
        raise ValueError(f'{name}: interval must come with accelerate="chebyshev", got accelerate={accelerate!r}.')
    # acceleration may converge where the plain iteration diverges
    if accelerate is None or (accelerate == "anderson" and not getattr(certificate, "diverges", False)):
        warn_if_divergent(name, certificate, damping=damping)
    if accelerate is None:
        divergence_factor = allowed_growth(certificate, divergence_factor)
    begin: Callable[..., Any] = fixed_point_init
    advance: Callable[..., Any] = partial(fixed_point_step, damping=damping)
    if accelerate == "anderson":
        begin, advance = anderson_init, partial(anderson_step, damping=damping, memory=memory)
    elif accelerate == "chebyshev":
        ends = chebyshev_interval(name, interval, certificate)
        begin, advance = chebyshev_init, partial(chebyshev_step, interval=ends)
    return given.iterate(
        lambda: begin(A, y, x0=given.start),
        lambda _, state: advance(A, y, state),
        lambda state: given.measure_residual(state.residual),
        divergence_factor=divergence_factor,
    )
