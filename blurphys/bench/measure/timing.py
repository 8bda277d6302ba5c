"""Check and time every contestant of a problem, interleaved in one run."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ...analysis.linalg import to_numpy
from ..problems.catalogue import contestants
from ..problems.contestant import WAYS, Contestant
from ..problems.problem import Problem
from ..problems.work import Work

__all__ = ["TOLERANCE", "Entry", "Expected", "Result", "cuda_seconds", "expected_from", "measure", "ratio"]

TOLERANCE = 1e-4
PATIENCE = 10.0
Step = Callable[[str, int], None]
Expected = Mapping[tuple[str, str], float]


@dataclass
class Entry:
    """Results of one contestant.

    Attributes
    ----------
    name, family, note : str
    skipped : str
        Why it did not take part; empty if it did.
    left_out : dict of str to str
        For some ways, why only these were not measured.
    difference : dict of str to float
        For each way, largest absolute difference from ours over the largest absolute value; for several gradients the
        largest of these ratios.
    seconds : dict of str to list of float
        For each way, one time for each round; a way that takes longer than `PATIENCE` runs in the first round only.
    peak_bytes : dict of str to (int or None)
        For each way, peak memory beyond the inputs, the result included.
    """

    name: str
    family: str = "opponent"
    note: str = ""
    skipped: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: dict[str, int | None] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether every result that was compared equals ours within `TOLERANCE`."""
        return all(gap <= TOLERANCE for gap in self.difference.values())


@dataclass(frozen=True)
class Result:
    """One problem and the results of every contestant."""

    task: Problem
    entries: list[Entry]

    @property
    def work(self) -> dict[str, Work]:
        """What must be moved and computed, for each way."""
        return self.task.work

    @property
    def pixels(self) -> int:
        """H W."""
        return self.task.shape[0] * self.task.shape[1]

    def named(self, name: str) -> Entry | None:
        """Return the entry of this name if it was timed."""
        return next((e for e in self.entries if e.name == name and e.seconds), None)

    def judge(self, way: str) -> Entry | None:
        """Return the operator of ours that all are compared with: the first one that has this way."""
        return next((e for e in self.entries if e.family == "ours" and way in e.seconds), None)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times longer `slow` takes: the median ratio over the rounds in which both ran."""
    return median(a / b for a, b in zip(slow, fast, strict=False))


def _gap(result: Any, truth: Any, margin: int) -> float:
    a, b = (to_numpy(v)[..., margin : v.shape[-2] - margin, margin : v.shape[-1] - margin] for v in (result, truth))
    if a.shape != b.shape:
        return float("inf")
    return _relative(a, b)


def _relative(a: Any, b: Any) -> float:
    """Largest difference over the largest value of `b`; inf where either is not finite."""
    gap = float(np.max(np.abs(a - b), initial=0.0) / max(np.max(np.abs(b), initial=0.0), 1e-30))
    return gap if np.isfinite(gap) else float("inf")


def _difference(result: Any, truth: Any, contestant: Contestant) -> float:
    """Compare images, or gradients by name."""
    if not isinstance(result, dict):
        return _gap(result, truth, contestant.margin)
    gaps = []
    for name, gradient in result.items():
        found, expected = to_numpy(gradient), to_numpy(truth[name])
        if name == "kernels" and contestant.inside is not None:
            expected = expected * contestant.inside
        gaps.append(_relative(found, expected) if found.shape == expected.shape else float("inf"))
    return max(gaps)


def _kept(result: Any) -> Any:
    return {k: to_numpy(v) for k, v in result.items()} if isinstance(result, dict) else to_numpy(result)


def _compare(
    task: Problem, ways: Sequence[str], excluded: Mapping[tuple[str, str], str], on_step: Step
) -> tuple[list[Entry], dict[tuple[str, str], tuple[Contestant, float]]]:
    """Run every contestant once, which also warms it up, and keep those that agree with ours."""
    truth: dict[str, Any] = {}
    entries: list[Entry] = []
    ready: dict[tuple[str, str], tuple[Contestant, float]] = {}
    for name, contestant in contestants(task):
        entry = Entry(name)
        entries.append(entry)
        if isinstance(contestant, str):
            entry.skipped = contestant
            continue
        entry.family, entry.note = contestant.family, contestant.note
        on_step(f"{task.name}: comparing {name}", 0)
        took = {}
        for way in ways:
            if not contestant.has(way):
                continue
            if (name, way) in excluded:
                entry.left_out[way] = excluded[name, way]
                continue
            try:
                took[way], result = _timed(contestant, way, task.device)
            except Exception as error:
                if contestant.family == "ours":
                    raise
                entry.left_out[way] = f"raised {type(error).__name__}: {' '.join(str(error).split())}"
                continue
            entry.difference[way] = _difference(result, truth.setdefault(way, _kept(result)), contestant)
            del result
        if not entry.right:
            entry.skipped = f"differs from ours by {max(entry.difference.values()):.1e}, not timed"
        elif not took:
            entry.skipped = "; ".join(dict.fromkeys(entry.left_out.values()))
        else:
            ready |= {(name, way): (contestant, seconds) for way, seconds in took.items()}
    return entries, ready


def cuda_seconds(run: Callable[[], Any]) -> float:
    """Time work on the GPU by CUDA events."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    result = run()
    end.record()
    torch.cuda.synchronize()
    del result
    return float(start.elapsed_time(end)) / 1e3


def _time(run: Callable[[], Any], device: str = "cpu") -> float:
    gc.collect()
    if device == "cuda":
        return cuda_seconds(run)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _timed(contestant: Contestant, way: str, device: str) -> tuple[float, Any]:
    """Run once and return the time and the result."""
    results: list[Any] = []
    run = contestant.ready(way)
    assert run is not None
    seconds = _time(lambda: results.append(run()), device)
    return seconds, results[0]


def expected_from(result: Result, pixels: int) -> dict[tuple[str, str], float]:
    """Estimate the time of each call at another size, assuming the same time for each pixel."""
    share = pixels / result.pixels
    return {(e.name, way): share * median(seconds) for e in result.entries for way, seconds in e.seconds.items()}


def measure(
    task: Problem,
    repeat: int,
    on_step: Step,
    *,
    ways: Sequence[str] = WAYS,
    excluded: Mapping[tuple[str, str], str] | None = None,
) -> Result:
    """Compare the results of all contestants, then time them in turn for `repeat` rounds.

    Parameters
    ----------
    task : Problem
    repeat : int
        Rounds; each contestant runs once in a round, in an order that rotates.
    on_step : callable
        Called with a message and the number of steps it counts for: one for the comparison and one for each round.
    ways : sequence of str
        Those of `WAYS` to measure.
    excluded : dict of (name, way) to str, optional
        Opponents that are not run, and why.

    Returns
    -------
    Result
        Its entries in the order of the problem, without memory.
    """
    on_step(f"{task.name}: comparing results", 1)
    entries, ready = _compare(task, ways, excluded or {}, on_step)
    order = [entry for entry in entries if any(name == entry.name for name, _ in ready)]
    for r in range(repeat):
        on_step(f"{task.name}: round {r + 1} of {repeat}", 1)
        shift = r % len(order)
        for entry in order[shift:] + order[:shift]:
            for way in ways:
                contestant, _ = ready.get((entry.name, way), (None, 0.0))
                if contestant is None or (r > 0 and entry.seconds[way][0] > PATIENCE):  # the first call may compile
                    continue
                run = contestant.ready(way)
                assert run is not None
                entry.seconds.setdefault(way, []).append(_time(run, task.device))
    return Result(task, entries)
