"""The whole benchmark, from the options to the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .measure.floor import MEGABYTES, STEPS, measure_floor
from .measure.machine import describe
from .measure.memory import peaks
from .measure.sweep import exclusions, sweep
from .measure.timing import Result, Step, expected_from, measure
from .problems.catalogue import problem
from .problems.contestant import WAYS
from .problems.problem import MIN_SIDE
from .report.targets import Finding, findings

__all__ = ["LIMIT", "Outcome", "Plan", "run"]

LIMIT, SWEEP_SHARE, PROBE_SHARE = 30.0, 6, 4
SMALL = 128 * 128


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    names : sequence of str
        Problems.
    shape : (int, int)
        Image size H, W at which everything is measured.
    sizes : sequence of (H, W)
        Further image sizes at which the forward pass is timed; may be empty.
    rounds : int
    device : str
    limit : float
        Seconds that one call of an opponent may take at `shape`; a sixth of it at the other sizes.
    """

    names: Sequence[str]
    shape: tuple[int, int]
    sizes: Sequence[tuple[int, int]] = ()
    rounds: int = 3
    device: str = "cpu"
    limit: float = LIMIT

    @property
    def small(self) -> bool:
        """Whether the image is so small that every call is quick."""
        return self.shape[0] * self.shape[1] <= SMALL

    @property
    def steps(self) -> int:
        """How many steps `run` counts."""
        others = sum(self.rounds_at(size) + 1 for size in {*self.sizes} - {self.shape})
        main = (0 if self.small else 2) + self.rounds + 1
        return 3 + len(self.names) * (main + others)

    def rounds_at(self, size: tuple[int, int]) -> int:
        """Rounds at another size."""
        larger = size[0] * size[1] > self.shape[0] * self.shape[1]
        return min(self.rounds, 2) if larger else self.rounds


@dataclass
class Outcome:
    """What was measured."""

    machine: dict[str, Any]
    floor: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    fewer: dict[str, Any] = field(default_factory=dict)
    sweeps: dict[str, list[Result]] = field(default_factory=dict)
    targets: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Contestants whose results differ from ours."""
        every = [*self.results, *(r for points in self.sweeps.values() for r in points)]
        return list(dict.fromkeys(f"{r.task.name}: {e.name}" for r in every for e in r.entries if not e.right))


def _probe(name: str, plan: Plan, on_step: Step) -> dict[tuple[str, str], str]:
    """Run every contestant on a sixteenth of the pixels, to leave out opponents that would take too long."""
    if plan.small:
        return {}
    height, width = (max(MIN_SIDE, n // PROBE_SHARE) for n in plan.shape)
    small = measure(problem(name, (height, width), plan.device), 1, on_step)
    expected = expected_from(small, plan.shape[0] * plan.shape[1])
    return exclusions(expected, {}, plan.limit, None)


def run(plan: Plan, on_step: Step) -> Outcome:
    """Measure everything.

    Parameters
    ----------
    plan : Plan
    on_step : callable
        Called with a message and the number of steps that it counts for, ``plan.steps`` in all.

    Raises
    ------
    OSError
        If the process that measures memory fails.
    """
    on_step("how fast the machine is", 1)
    size: dict[str, int] = (
        {"megabytes": 16, "steps": STEPS // 20} if plan.small else {"megabytes": MEGABYTES, "steps": STEPS}
    )
    outcome = Outcome(machine=describe(plan.device), floor=measure_floor(plan.device, **size))
    left = {}
    for name in plan.names:
        left[name] = _probe(name, plan, on_step)
        result = measure(problem(name, plan.shape, plan.device), plan.rounds, on_step, ways=WAYS, excluded=left[name])
        outcome.results.append(Result(result.task.without_inputs(), result.entries))
    on_step("peak memory, in a process of its own", 1)
    found = peaks(plan.names, plan.shape, plan.device, left)
    for result in outcome.results:
        name = result.task.name
        outcome.fewer[name] = found[name]["fewer"]
        for entry in result.entries:
            entry.peak_bytes = found[name]["everyone"].get(entry.name, {})
        limit = plan.limit / SWEEP_SHARE
        outcome.sweeps[name] = sweep(result, plan.sizes, plan.rounds_at, limit, on_step)
    on_step("how fast the machine is", 1)
    again = measure_floor(plan.device, **size)
    outcome.floor |= {key: max(outcome.floor[key], again[key]) for key in ("bandwidth", "rate")}
    outcome.targets = findings(outcome.results, outcome.fewer, outcome.sweeps)
    return outcome
