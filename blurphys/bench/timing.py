"""Are they right, and how long do they take: every contestant of a problem, interleaved in one run."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ..linalg import to_numpy
from .contestant import Contestant
from .problems import Problem, contestants

__all__ = ["DIRECTIONS", "TOLERANCE", "Entry", "Result", "measure", "ratio"]

DIRECTIONS = ("forward", "adjoint")
TOLERANCE = 1e-4
Step = Callable[[str, int], None]


@dataclass
class Entry:
    """What was found out about one contestant.

    Attributes
    ----------
    name, family, note : str
    skipped : str
        Why it did not take part; empty if it did.
    difference : dict of str to float
        For each direction, largest absolute difference to ours on NumPy over the largest absolute value.
    seconds : dict of str to list of float
        For each direction, one time for each round.
    peak_bytes : dict of str to (int or None)
        For each direction, peak memory beyond the inputs, the result included.
    """

    name: str
    family: str = "opponent"
    note: str = ""
    skipped: str = ""
    difference: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: dict[str, int | None] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether every result that was compared equals ours within `TOLERANCE`."""
        return all(gap <= TOLERANCE for gap in self.difference.values())


@dataclass(frozen=True)
class Result:
    """One problem and what was found out about everyone who computes it."""

    name: str
    title: str
    levels: int
    image_bytes: int
    entries: list[Entry]


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times longer `slow` takes: the median of the ratios of the rounds."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def _gap(result: Any, truth: Any, margin: int) -> float:
    a, b = (to_numpy(v)[..., margin : v.shape[-2] - margin, margin : v.shape[-1] - margin] for v in (result, truth))
    if a.shape != b.shape:
        return float("inf")
    return float(np.max(np.abs(a - b), initial=0.0) / max(np.max(np.abs(b), initial=0.0), 1e-30))


def _compare(task: Problem, on_step: Step) -> tuple[list[Entry], dict[str, Contestant]]:
    """Run everyone once, which also warms them up, and keep those that agree with ours on NumPy."""
    truth: dict[str, Any] = {}
    entries, ready = [], {}
    for name, contestant in contestants(task):
        entry = Entry(name)
        entries.append(entry)
        if isinstance(contestant, str):
            entry.skipped = contestant
            continue
        entry.family, entry.note = contestant.family, contestant.note
        on_step(f"{task.name}: comparing {name}", 0)
        try:
            results = {"forward": contestant.forward()}
            if contestant.adjoint is not None:
                results["adjoint"] = contestant.adjoint()()
        except Exception as error:
            if contestant.family == "ours":
                raise
            entry.skipped = f"raised {type(error).__name__}: {error}"
            continue
        truth = truth or results
        entry.difference = {way: _gap(result, truth[way], contestant.margin) for way, result in results.items()}
        if entry.right:
            ready[name] = contestant
        else:
            entry.skipped = f"differs from ours by {max(entry.difference.values()):.1e}, not timed"
    return entries, ready


def _time(run: Callable[[], Any]) -> float:
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(task: Problem, repeat: int, on_step: Step) -> Result:
    """Compare everyone's results, then time them in turn, `repeat` rounds.

    Parameters
    ----------
    task : Problem
    repeat : int
        Rounds; each contestant runs once in a round, in an order that rotates.
    on_step : callable
        Called with a message and the number of steps it counts for: one for the comparison and one for each round.

    Returns
    -------
    Result
        Its entries in the order of the problem, without memory.
    """
    on_step(f"{task.name}: comparing results", 1)
    entries, ready = _compare(task, on_step)
    order = [entry for entry in entries if entry.name in ready]
    for r in range(repeat):
        on_step(f"{task.name}: round {r + 1} of {repeat}", 1)
        shift = r % len(order)
        for entry in order[shift:] + order[:shift]:
            contestant = ready[entry.name]
            entry.seconds.setdefault("forward", []).append(_time(contestant.forward))
            if contestant.adjoint is not None:
                entry.seconds.setdefault("adjoint", []).append(_time(contestant.adjoint()))
    return Result(task.name, task.title, task.levels, task.image_bytes, entries)
