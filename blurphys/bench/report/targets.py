"""The targets of the engines, each with the result of this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..measure.sweep import growth
from ..measure.timing import Result, ratio
from ..problems.contestant import ADJOINT, BOTH, FORWARD
from ..problems.problem import OURS

__all__ = ["Finding", "findings"]

DENSE = ("torch dense bank", "torch dense grouped")
DEEPINV = ("deepinv direct", "deepinv FFT")
LOOP = ("filter loop, torch", "filter loop, OpenCV")
IMAGES, SLACK, EXPONENT = 4.0, 0.5, 0.1

SPEED = (
    ("rkr", FORWARD, ("torch depthwise",), 50.0),
    ("rkr", FORWARD, ("torch shifted slices",), 6.0),
    ("rkr", ADJOINT, ("torch depthwise",), 50.0),
    ("rkr", ADJOINT, ("torch shifted slices",), 6.0),
    ("rkr", BOTH, ("torch depthwise",), 10.0),
    ("rkr", BOTH, ("torch shifted slices",), 10.0),
    ("gkm", FORWARD, DENSE, 10.0),
    ("gkm", FORWARD, DEEPINV, 6.0),
    ("gkm", ADJOINT, DEEPINV, 15.0),
    ("gkm", BOTH, DENSE, 10.0),
    ("gkm", BOTH, ("torch separable",), 10.0),
    ("gkm", BOTH, ("torch shifted slices",), 10.0),
    ("dual-pixel", FORWARD, LOOP, 10.0),
    ("dual-pixel", BOTH, LOOP[:1], 10.0),
)


@dataclass(frozen=True)
class Finding:
    """One target.

    Attributes
    ----------
    problem, what : str
    target : str
        In words.
    measured : str
        What this run found; "not measured" with the reason.
    value : float or None
        The measured number.
    met : bool or None
        None if it was not measured.
    """

    problem: str
    what: str
    target: str
    measured: str
    value: float | None
    met: bool | None

    @property
    def verdict(self) -> str:
        """The verdict in one word."""
        return "n/a" if self.met is None else "met" if self.met else "missed"


def findings(
    results: Sequence[Result], fewer: Mapping[str, Mapping[str, Any]], sweeps: Mapping[str, Sequence[Result]]
) -> list[Finding]:
    """Compare this run with the targets.

    Parameters
    ----------
    results : sequence of Result
        All ways at one size, with memory.
    fewer : dict of problem to dict
        Memory with half as many levels, see `memory.peaks`.
    sweeps : dict of problem to sequence of Result
        Forward pass at several sizes; may be empty.

    Returns
    -------
    list of Finding
        For the problems that were run.
    """
    named = {r.task.name: r for r in results}
    found = [_speed(named[name], way, who, least) for name, way, who, least in SPEED if name in named]
    for name, result in named.items():
        found += _memory(result, fewer.get(name, {}))
        found.append(_linear(name, sweeps.get(name, ())))
    return found


def _speed(result: Result, way: str, who: Sequence[str], least: float) -> Finding:
    """Compare with the fastest of several opponents."""
    judge = result.judge(way)
    timed = [e for e in result.entries if e.name in who and way in e.seconds]
    label = " / ".join(who) if len(who) == 1 else f"best of {', '.join(who)}"
    target = f">= {least:g}x {label}"
    if judge is None or not timed:
        absent = [e for e in result.entries if e.name in who]
        reasons = dict.fromkeys(e.left_out.get(way) or e.skipped or "not run" for e in absent)
        return Finding(result.task.name, way, target, "not measured: " + ("; ".join(reasons) or "not run"), None, None)
    best = min(timed, key=lambda e: median(e.seconds[way]))
    value = ratio(best.seconds[way], judge.seconds[way])
    text = f"{value:.1f}x" + (f" ({best.name})" if len(who) > 1 else "")
    if value < least:
        text += f", {value / least:.0%} of the target"
    return Finding(result.task.name, way, target, text, value, value >= least)


def _images(peak: int | None, map_bytes: int, image_bytes: int) -> float | None:
    return None if peak is None else (peak - map_bytes) / image_bytes


def _memory(result: Result, fewer: Mapping[str, Any]) -> list[Finding]:
    task = result.task
    entry = result.named(OURS[1])
    peak = _images(entry.peak_bytes.get(BOTH) if entry else None, task.map_bytes, task.image_bytes)
    target = f"peak <= {IMAGES:g} images + the map gradient"
    if peak is None:
        return [Finding(task.name, BOTH, target, "not measured", None, None)]
    found = [Finding(task.name, BOTH, target, f"{peak:.1f} images + the map gradient", peak, peak <= IMAGES)]
    other = _images(fewer.get("peak_bytes"), fewer.get("map_bytes", 0), task.image_bytes)
    if other is not None:
        text = f"{other:.1f} images with {fewer['levels']} levels, {peak:.1f} with {task.levels}"
        same = abs(peak - other) <= SLACK
        target = f"the same for any number of levels (within {SLACK:g} image)"
        found.append(Finding(task.name, BOTH, target, text, peak - other, same))
    return found


def _linear(name: str, results: Sequence[Result]) -> Finding:
    target = f"cost linear in pixels (exponent within 1 +- {EXPONENT:g}, from 0.25 Mpx)"
    sizes = [r.pixels for r in results]
    judge = results[-1].judge(FORWARD) if results else None
    power = growth(results, judge.name) if judge is not None else None
    if power is None:
        return Finding(name, FORWARD, target, "not measured: one size only", None, None)
    text = f"time ~ pixels^{power:.2f} up to {max(sizes) / 1e6:.3g} Mpx"
    return Finding(name, FORWARD, target, text, power, abs(power - 1) <= EXPONENT)
