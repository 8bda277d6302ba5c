"""The only loop: step limit, finiteness, divergence, stagnation, and the status of every image in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, final

import numpy as np
from array_api_compat import array_namespace

from blurphys.progress import watch

from .arrays import choose, norm, to_host
from .checks import Counted
from .solution import Solution, Status
from .types import Array

__all__ = ["Measure", "Proof", "iterate"]

STILL = 2
"""Number of consecutive steps without any change after which the loop stops waiting for an image."""
MOVED = 0.01
"""An image whose relative distance from its start is at most this has hardly moved."""
GAINED = 0.5
"""If the residual falls to this fraction of its initial value, an image may stay near its start: the blur is mild."""
STRAYED = 10.0
"""An image whose final residual exceeds this multiple of its initial residual is not approaching a solution."""

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
    short : True where the last step hardly changed x, for methods whose gap measures something else; None otherwise
    """

    residual: Array
    gap: Array
    failed: Array | None = None
    short: Array | None = None


class Proof(NamedTuple):
    """What was found at an iterate that claims to be the solution; arrays of shape (*B, 1, 1, 1).

    gap : how far the condition of the problem is from being met, in the unit of the tolerance
    doubt : by how much A itself contradicts its adjoint there, in the same unit (see `proof.check_adjoint`)
    stuck : True where the method cannot move at all, whatever the gap
    """

    gap: Array
    doubt: Array
    stuck: Array


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
    confirm: Callable[[S], Proof] | None = None,
    on_step: Callable[[int, S], object] | None = None,
) -> Solution:
    """Run an iteration until every image of the batch has stopped, or until the step limit.

    An image stops when its gap is at most `tol` and, with `confirm`, so is that of its proof (CONVERGED); when its
    residual reaches `noise_floor` (NOISE_LEVEL), is no longer finite (NONFINITE), or exceeds `divergence_factor` times
    the larger of its minimum and `divergence_floor` (DIVERGED); or when the method says so (INDEFINITE, STAGNATED). A
    proof that fails stops an image if the adjoint is to blame (WRONG_ADJOINT) or if the image can no longer move
    (STALLED). The other images go on, while the iterate of a stopped image is kept from that moment. At the step limit
    an image is DIVERGED if its residual is more than ten times that of its start (and above `divergence_factor` times
    `divergence_floor`), STALLED if its residual has never changed, or if the image is close to its start, hardly moves
    and has gained little.

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
        Relative residual per image at which only noise is left, from `Problem.noise_floor`.
    refresh : callable, optional
        state -> state, with residuals computed from scratch. Called when an image claims convergence or the noise
        level, and after the last step, for methods whose residual comes from a recurrence: such a claim is reported
        only if the true residual agrees. An image whose true gap has not halved between two such claims is STAGNATED.
    confirm : callable, optional
        state -> Proof, called when an image claims convergence. For methods whose gap is the length of a step, which
        says nothing about the problem, and for those that rely on an adjoint.
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
    images = _Images(floor, first, seen.residual)
    seen, verdict = _tried(images, state, seen, threshold, confirm, np.zeros_like(seen.failed))
    images.update(state.x, seen, verdict, threshold, np.inf)
    history = [float(np.max(seen.residual))]
    iterations = 0
    with watch(A.name, max_iterations) as advance:
        while iterations < max_iterations and images.running.any():
            running = images.running.copy()
            with np.errstate(all="ignore"):
                state = step(iterations, state)
                seen = _look(measure(state))
            iterations += 1
            stagnant = np.zeros_like(running)
            claims = running & (seen.gap <= threshold)
            if refresh is not None and (claims.any() or iterations == max_iterations):
                with np.errstate(all="ignore"):
                    state = refresh(state)
                    seen = _look(measure(state))._replace(failed=seen.failed)
                stagnant = images.confirm(claims, seen.gap)
            elif refresh is not None and (arrivals := running & (seen.residual <= images.floor)).any():
                with np.errstate(all="ignore"):  # only inspected: the recurrence of the others goes on
                    true = _look(measure(refresh(state)))
                seen = seen._replace(residual=np.where(arrivals, true.residual, seen.residual))
            seen, verdict = _tried(images, state, seen, threshold, confirm, stagnant)
            limit = divergence_factor * np.maximum(images.lowest, divergence_floor)
            images.update(state.x, seen, verdict, threshold, limit)
            history.append(float(np.max(np.where(running, seen.residual, images.kept))))
            advance(f"relative residual {history[-1]:.3g}")
            if on_step is not None:
                on_step(iterations, state)
    images.end_strayed(seen.residual, divergence_factor * divergence_floor)
    if tol is not None and iterations:
        images.end_idle(state.x, first)
    return _solution(images, state.x, seen.residual, first, iterations, history, A)


def _tried(
    images: _Images,
    state: S,
    seen: _Seen,
    threshold: float,
    confirm: Callable[[S], Proof] | None,
    stagnant: Host,
) -> tuple[_Seen, _Verdict]:
    """Test the claims of convergence: return what was seen, with the gaps of the proof, and the verdicts."""
    nobody = np.zeros_like(images.running)
    claims = images.running & np.isfinite(seen.residual) & (seen.gap <= threshold)
    if confirm is None or not (claims | stagnant).any():
        images.refuse(seen.short, nobody)
        return seen, _Verdict(nobody, nobody, stagnant)
    with np.errstate(all="ignore"):
        gap, doubt, stuck = confirm(state)
        proof = _look(Measure(gap, doubt, stuck))
    holds = proof.residual <= threshold  # False for NaN
    wrong = ((claims & holds) | stagnant) & ~proof.failed & ~(proof.gap <= threshold)
    refused = claims & (~holds | wrong | proof.failed)
    still = images.refuse(refused | seen.short, seen.gap == 0)
    gaps = np.where(refused, np.inf, seen.gap)
    return seen._replace(gap=gaps), _Verdict(wrong, refused & ~wrong & (proof.failed | still), stagnant)


class _Verdict(NamedTuple):
    wrong: Host  # A.adjoint is not the adjoint
    stalled: Host
    stagnant: Host


class _Seen(NamedTuple):
    residual: Host
    gap: Host
    failed: Host
    short: Host


@final
class _Images:
    """The record of every image: its status, its smallest residual and the iterate to return."""

    def __init__(self, floor: Host, x: Array, residual: Host) -> None:
        count, self.floor = len(floor), floor
        self.initial = residual
        self.idle = np.ones(count, dtype=bool)  # the residual has been the same from the start on
        self.refused = np.zeros(count, dtype=bool)  # the last step was short, but did not end at a solution
        self.still = np.zeros(count, dtype=int)  # consecutive claims of this kind after steps of zero length
        self.status: list[Status | None] = [None] * count
        self.running = np.ones(count, dtype=bool)
        self.lowest = np.full(count, np.inf)  # smallest residual so far
        self.kept = np.full(count, np.inf)  # residual of the iterate in x
        self.confirmed = np.full(count, np.inf)  # true gap at the last claim of convergence
        self.x = x

    def update(self, x: Array, seen: _Seen, verdict: _Verdict, threshold: float, limit: Any) -> None:
        """Record the measures of the iterate x, and stop the images that have finished."""
        self.idle = self.idle & (seen.residual == self.initial)
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
        self._end(verdict.wrong, Status.WRONG_ADJOINT)
        self._end(verdict.stalled, Status.STALLED)
        self._end(verdict.stagnant, Status.STAGNATED)
        self._end(seen.residual > limit, Status.DIVERGED)

    def refuse(self, refused: Host, still: Host) -> Host:
        """Record the short steps that did not end at a solution; return which images will never move again."""
        self.refused = np.where(self.running, refused, self.refused)
        self.still = np.where(refused & still, self.still + 1, 0)
        return self.still >= STILL

    def end_strayed(self, residual: Host, least: float) -> None:
        """Stop the images that are far worse than their start, and worse than `least`."""
        self._end(residual > np.maximum(STRAYED * self.initial, least), Status.DIVERGED)

    def end_idle(self, x: Array, first: Array) -> None:
        """Stop the images that have hardly moved in all the steps."""
        self._end(self.idle, Status.STALLED)
        slow = self.running & self.refused & (self.lowest > GAINED * self.initial)
        if slow.any():
            moved = to_host(norm(x - first) - MOVED * norm(first)).reshape(-1)
            self._end(slow & (moved <= 0), Status.STALLED)

    def confirm(self, claims: Host, gap: Host) -> Host:
        """Discard what the recurrence said about the claiming images; return which of them made no progress."""
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
    residual, gap = measure.residual, measure.gap
    xp = array_namespace(residual, gap)
    no = xp.zeros_like(residual)
    flags = [no if flag is None else xp.astype(flag, residual.dtype) for flag in (measure.failed, measure.short)]
    table = to_host(xp.stack([residual, gap, *flags])).reshape(4, -1)
    return _Seen(table[0], table[1], table[2] > 0, table[3] > 0)


def _solution(
    images: _Images, last: Array, residual: Host, first: Array, iterations: int, history: list[float], A: Counted
) -> Solution:
    x = choose(images.running, last, images.x)
    held = np.where(images.running, residual, images.kept)
    xp = array_namespace(x)
    sound = to_host(xp.all(xp.isfinite(x), axis=(-3, -2, -1))).reshape(-1)
    x = choose(sound, x, first)
    held = np.where(sound & np.isfinite(held), held, images.initial)
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
        residual=float(np.max(held)),
        item_status=status,
        operator_applications=A.applications,
    )
