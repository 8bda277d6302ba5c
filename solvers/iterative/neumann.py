"""The truncated Neumann series: the inverse of a blur as a sum of re-blurred images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.checks import check_count
from ..core.convergence_warning import allowed_growth, warn_if_divergent
from ..core.iterate import Measure
from ..core.problem import problem
from ..core.solution import Solution
from ..core.types import Array, Operator

__all__ = ["NeumannState", "neumann", "neumann_init", "neumann_step"]

DIVERGENCE_FACTOR = 10.0


class NeumannState(NamedTuple):
    """The sum so far and its last term (I - A)^k y, both (*B, C, H, W)."""

    x: Array
    term: Array


def neumann_init(y: Array) -> NeumannState:
    """Return the sum that consists of the zeroth term alone, which is y. Needs no application of A."""
    return NeumannState(y, y)


def neumann_step(A: Operator, state: NeumannState) -> NeumannState:
    """Add one term. Cost: one application of A; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    state : NeumannState
        State before the step.

    Returns
    -------
    NeumannState
    """
    term = state.term - A(state.term)
    return NeumannState(state.x + term, term)


def neumann(
    A: Operator,
    y: Array,
    *,
    terms: int,
    mask: Array | None = None,
    noise_level: float | None = None,
    certificate: Any = None,
    on_step: Callable[[int, NeumannState], object] | None = None,
) -> Solution:
    """Sum the Neumann series sum_{k=0..terms} (I - A)^k y for the inverse of a square A.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x with equal shapes on both sides. No adjoint is needed.
    y : array of shape (*B, C, H, W)
        The observed image, linear light; any batch.
    terms : int
        Highest power k; 0 returns y.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. The series is that of mask A and
        mask y: pixels where the mask is 0 stay 0.
    noise_level : float, optional
        Standard deviation of the noise in y, in the unit of y. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    certificate : blurphys.Certificate, optional
        The certificate of A with damping 1. If it says that the series diverges, a `ConvergenceWarning` is issued
        before the first term; if it says that terms grow before they fall, the residual may grow to 100 times that
        transient growth.
    on_step : callable, optional
        Called as on_step(k, state) after the term k = 1, 2, ... was added.

    Returns
    -------
    Solution
        The status of a complete sum is MAX_ITERATIONS, since a truncated sum has no tolerance: judge it by its
        residuals, or pass `noise_level`, at which the sum stops. An image whose residual grew past 10 times its minimum
        (or what `certificate` allows) is DIVERGED, and its best partial sum is returned.

    Raises
    ------
    ValueError
        A not square or not callable; y of the wrong shape or with NaN; terms negative or no integer; on_step not
        callable; A(x) of the wrong shape.
    TypeError
        y not a floating array; A(x) of another dtype.

    Notes
    -----
    The sum equals `terms` undamped fixed-point steps from x0 = y, and the residual y - A x_k of a partial sum is the
    next term (I - A)^(k+1) y, whose norm the solver reports: in floating point it agrees with the residual computed
    from x_k up to the rounding of y. The series converges where the spectral radius of I - A is below 1.
    Cost: terms + 1 applications of A, the last for the residual; memory: 4 images.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> solution = solvers.neumann(lambda x: 0.5 * x, np.ones((1, 2, 2)), terms=2)
    >>> float(solution.x[0, 0, 0]), solution.residuals
    (1.75, (0.5, 0.25, 0.125))
    """
    name = "neumann"
    check_count(name, "terms", terms)
    given = problem(
        name, A, y, None, square=True,
        truncated=True, max_iterations=terms, mask=mask, noise_level=noise_level, on_step=on_step,
    )  # fmt: skip
    A, y = given.A, given.y
    warn_if_divergent(name, certificate, damping=1.0)
    ahead = neumann_init(y)  # one term ahead of the state: that term is the residual of the state

    def measure(state: NeumannState) -> Measure:
        nonlocal ahead
        ahead = neumann_step(A, state)
        return given.measure_residual(ahead.term)

    return given.iterate(
        lambda: neumann_init(y),
        lambda _, __: ahead,
        measure,
        divergence_factor=allowed_growth(certificate, DIVERGENCE_FACTOR),
    )
