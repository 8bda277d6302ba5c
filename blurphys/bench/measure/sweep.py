"""Time against size, and which contestants are left out because a call would take too long or need too much memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from statistics import median

import numpy as np

from ...linop.memory import available
from ..problems.catalogue import problem
from ..problems.contestant import FORWARD
from ..problems.problem import OURS, tensors
from .timing import Expected, Result, Step, expected_from, measure

__all__ = ["exclusions", "free_bytes", "growth", "sweep"]

MEMORY_SHARE = 0.7
Needs = Mapping[tuple[str, str], float]


def free_bytes(device: str) -> int | None:
    """Return the bytes that are free on a device; None where the system does not report them."""
    nothing = np.empty(0, dtype=np.float32)
    return available(nothing if device == "cpu" else tensors(device, nothing)[0])


def exclusions(expected: Expected, needs: Needs, limit: float, free: int | None) -> dict[tuple[str, str], str]:
    """Return which contestants are not run, and why.

    Parameters
    ----------
    expected : dict of (name, way) to float
        Seconds that one call would take.
    needs : dict of (name, way) to float
        Bytes that it would need.
    limit : float
        Largest time of one call, s.
    free : int or None
        Bytes that are free; None if unknown, then there is no limit.

    Returns
    -------
    dict of (name, way) to str
        Our two operators always run; the reference counts as an opponent.
    """
    found = {}
    for key, seconds in expected.items():
        if seconds > limit and key[0] not in OURS:
            found[key] = f"about {seconds:.2g} s expected, the limit is {limit:g} s"
    for key, size in needs.items():
        if free is not None and size > MEMORY_SHARE * free and key[0] not in OURS:
            found[key] = f"about {size / 1e9:.2g} GB expected, {free / 1e9:.2g} GB are free"
    return found


def _needs(main: Result, pixels: int) -> dict[tuple[str, str], float]:
    share = pixels / main.pixels
    return {(e.name, way): share * size for e in main.entries for way, size in e.peak_bytes.items() if size is not None}


def sweep(
    main: Result,
    sizes: Sequence[tuple[int, int]],
    rounds: Callable[[tuple[int, int]], int],
    limit: float,
    on_step: Step,
) -> list[Result]:
    """Time the forward pass at several sizes.

    Parameters
    ----------
    main : Result
        All ways at one size, with memory; its results for that size are reused.
    sizes : sequence of (H, W)
    rounds : callable
        Function from a size to the number of rounds there.
    limit : float
        An opponent is left out where one call would take longer than this, s, estimated from the next smaller size.
    on_step : callable
        See `measure`; rounds + 1 steps for each other size.

    Returns
    -------
    list of Result
        In the order of increasing size; `main` among them.
    """
    results: list[Result] = []
    expected: dict[tuple[str, str], float] = {}
    for shape in sorted({*sizes, main.task.shape}, key=lambda s: s[0] * s[1]):
        pixels = shape[0] * shape[1]
        if results:
            expected |= expected_from(results[-1], pixels)
        if shape == main.task.shape:
            results.append(main)
        else:
            on_step(f"{main.task.name}: {shape[0]} x {shape[1]}", 0)
            task = problem(main.task.name, shape, main.task.device)
            left = exclusions(expected, _needs(main, pixels), limit, free_bytes(task.device))
            results.append(measure(task, rounds(shape), on_step, ways=(FORWARD,), excluded=left))
            results[-1] = Result(results[-1].task.without_inputs(), results[-1].entries)
    return results


def growth(results: Sequence[Result], name: str, smallest: float = 0.25e6) -> float | None:
    """Return p of ``time ~ pixels^p`` for one contestant, by least squares in the logarithms.

    Parameters
    ----------
    results : sequence of Result
    name : str
    smallest : float
        Images of fewer pixels are not used.

    Returns
    -------
    float or None
        None if there are fewer than two sizes.
    """
    points = []
    for result in results:
        entry = result.named(name)
        if entry is not None and FORWARD in entry.seconds and result.pixels >= smallest:
            points.append((log(result.pixels), log(median(entry.seconds[FORWARD]))))
    if len({x for x, _ in points}) < 2:
        return None
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])
