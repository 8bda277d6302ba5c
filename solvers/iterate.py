"""The only loop: step limit, finiteness, divergence, stagnation, and the status of every image in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, final

import numpy as np
from array_api_compat import array_namespace

from .arrays import choose, to_host
from .checks import Counted
from .solution import Solution, Status
from .types import Array

__all__ = ["Measure", "iterate"]

Host = np.ndarray[Any, Any]  # one number per image of the batch, on the host


class _HasX(Protocol):
    @property
    def x(self) -> Array: ...


S = TypeVar("S", bound=_HasX)


class Measure(NamedTuple):
    """What the loop reads from a state; arrays of shape (*B, 1, 1, 1).

    residual : ||y - A x|| / ||y||
    gap : what is compared with the tolerance (often the residual itself)
    failed : True where the method cannot go on; None if it always can
    """

    residual: Array
    gap: Array
    failed: Array | None = None


def iterate(
    start: Callable[[], S],
    step: Callable[[int, S], S],
    measure: Callable[[S], Measure],
    *,
    A: Counted,
    max_iterations: int,
    tol: float | None = None,
    divergence_factor: float = 10.0,
    divergence_floor: float = 0.0,
    noise_floor: Host | None = None,
    refresh: Callable[[S], S] | None = None,
    on_step: Callable[[int, S], object] | None = None,
) -> Solution:
    """Run an iteration until every image of the batch has ended, or the step limit.

    An image ends when its gap is at most `tol` (CONVERGED), when its residual reaches `noise_floor` (NOISE_LEVEL), when
    that is no longer finite (NONFINITE), when it exceeds `divergence_factor` times the larger of its minimum and
    `divergence_floor` (DIVERGED), or when the method says so (INDEFINITE, STAGNATED). The others go on, and its own
    iterate is kept from that moment.

    Parameters
    ----------
    start : callable
        () -> state; the state has the iterate as `x`, finite at the start.
    step : callable
        (k, state) -> state, k = 0, 1, ...
    measure : callable
        state -> Measure. One transfer to the host per iteration, which the stopping rules need.
    A : Counted
        The operator, for the count of its applications.
    max_iterations : int
        Step limit.
    tol : float, optional
        Without it nothing converges.
    divergence_factor, divergence_floor : float
        The divergence rule above.
    noise_floor : array, optional
        Relative residual per image at which only noise is left, from `checks.noise_floor`.
    refresh : callable, optional
        state -> state, with residuals computed from scratch. Called when an image claims convergence and after the last
        step, for methods whose residual is a recurrence: convergence is reported only if the true one agrees. An image
        whose true gap has not halved between two such claims is STAGNATED.
    on_step : callable, optional
        Called as on_step(k, state) after step k = 1, 2, ...

    Returns
    -------
    Solution
    """
    threshold = -1.0 if tol is None else tol
    with np.errstate(all="ignore"):
        state = start()
        seen = _look(measure(state))
    first = state.x
    floor = np.broadcast_to(-1.0 if noise_floor is None else noise_floor, seen.residual.shape)
    images = _Images(floor, first)
    images.update(state.x, seen, np.zeros_like(seen.failed), threshold, np.inf)
    history = [float(np.max(seen.residual))]
    iterations = 0
    while iterations < max_iterations and images.running.any():
        running = images.running.copy()
        with np.errstate(all="ignore"):
            state = step(iterations, state)
            seen = _look(measure(state))
        iterations += 1
        stalled = np.zeros_like(running)
        claims = running & (seen.gap <= threshold)
        if refresh is not None and (claims.any() or iterations == max_iterations):
            with np.errstate(all="ignore"):
                state = refresh(state)
                seen = _look(measure(state))._replace(failed=seen.failed)
            stalled = images.confirm(claims, seen.gap)
        limit = divergence_factor * np.maximum(images.lowest, divergence_floor)
        images.update(state.x, seen, stalled, threshold, limit)
        history.append(float(np.max(np.where(running, seen.residual, images.kept))))
        if on_step is not None:
            on_step(iterations, state)
    return _solution(images, state.x, first, iterations, history, A)


class _Seen(NamedTuple):
    residual: Host
    gap: Host
    failed: Host


@final
class _Images:
    """The books: for every image its status, its smallest residual and the iterate to return."""

    def __init__(self, floor: Host, x: Array) -> None:
        count, self.floor = len(floor), floor
        self.status: list[Status | None] = [None] * count
        self.running = np.ones(count, dtype=bool)
        self.lowest = np.full(count, np.inf)  # smallest residual so far
        self.kept = np.full(count, np.inf)  # residual of the iterate in x
        self.confirmed = np.full(count, np.inf)  # true gap at the last claim of convergence
        self.x = x

    def update(self, x: Array, seen: _Seen, stalled: Host, threshold: float, limit: Any) -> None:
        """Enter one look at the iterate x, and end the images whose time has come."""
        finite = np.isfinite(seen.residual)
        better = self.running & finite & (seen.residual < self.lowest)
        solved = self.running & finite & (seen.gap <= threshold)
        arrived = solved | (self.running & finite & (seen.residual <= self.floor))
        self.x = choose(better | arrived, x, self.x)
        self.lowest = np.where(better, seen.residual, self.lowest)
        self.kept = np.where(better | arrived, seen.residual, self.kept)
        self._end(~finite, Status.NONFINITE)
        self._end(solved, Status.CONVERGED)
        self._end(arrived, Status.NOISE_LEVEL)
        self._end(seen.failed, Status.INDEFINITE)
        self._end(stalled, Status.STAGNATED)
        self._end(seen.residual > limit, Status.DIVERGED)

    def confirm(self, claims: Host, gap: Host) -> Host:
        """Forget what a recurrence said about the claiming images; return which of them made no progress."""
        self.lowest = np.where(claims, np.inf, self.lowest)
        stalled = claims & (gap > 0.5 * self.confirmed)
        self.confirmed = np.where(claims, gap, self.confirmed)
        return stalled

    def _end(self, which: Host, status: Status) -> None:
        for item in np.flatnonzero(self.running & which):
            self.status[item] = status
            self.running[item] = False


def _look(measure: Measure) -> _Seen:
    """Bring a measure to the host, in one transfer."""
    residual, gap, failed = measure
    xp = array_namespace(residual, gap)
    rows = [residual, gap] if failed is None else [residual, gap, xp.astype(failed, residual.dtype)]
    table = to_host(xp.stack(rows)).reshape(len(rows), -1)
    return _Seen(table[0], table[1], table[2] > 0 if len(rows) == 3 else np.zeros(table.shape[1], dtype=bool))


def _solution(
    images: _Images, last: Array, first: Array, iterations: int, history: list[float], A: Counted
) -> Solution:
    x = choose(images.running, last, images.x)
    xp = array_namespace(x)
    sound = to_host(xp.all(xp.isfinite(x), axis=(-3, -2, -1))).reshape(-1)
    x = choose(sound, x, first)
    status = tuple(
        (found or Status.MAX_ITERATIONS) if fine else Status.NONFINITE
        for found, fine in zip(images.status, sound, strict=True)
    )
    order = list(Status)
    return Solution(
        x=1 * x if x is first else x,  # never the caller's own array
        status=max(status, key=order.index),
        iterations=iterations,
        residuals=tuple(history),
        item_status=status,
        operator_applications=A.applications,
    )
