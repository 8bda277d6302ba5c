"""Time against pixels, log-log, with the floor: one panel for each problem."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from ..measure.timing import Result
from ..problems.contestant import FORWARD
from ..problems.problem import OURS

__all__ = ["draw"]

BLUE = "#0b5cad"
COLOURS = (
    "#d1495b",
    "#e8963a",
    "#5b8e3e",
    "#8a5fb0",
    "#3a9d9d",
    "#a0522d",
    "#c06fa0",
    "#7a7a2e",
    "#4b3f72",
    "#d4a017",
    "#64748b",
)
MARKERS = "sD^vP*Xph<>"


def _points(results: Sequence[Result], name: str) -> tuple[list[float], list[float]]:
    pixels, times = [], []
    for result in results:
        entry = result.named(name)
        if entry is not None and FORWARD in entry.seconds:
            pixels.append(result.pixels / 1e6)
            times.append(1e3 * median(entry.seconds[FORWARD]))
    return pixels, times


def _names(results: Sequence[Result]) -> list[str]:
    """All that were timed; of our two front ends, which run the same kernels, only the one used for comparison."""
    names = dict.fromkeys(e.name for r in results for e in r.entries if FORWARD in e.seconds)
    judge = results[0].judge(FORWARD)
    return [n for n in names if judge is None or n == judge.name or n not in OURS]


def draw(sweeps: Mapping[str, Sequence[Result]], floor: Mapping[str, Any], path: Path, title: str) -> None:
    """Write a PNG atomically.

    Parameters
    ----------
    sweeps : dict of problem to sequence of Result
        Forward pass at one or more sizes.
    floor : dict
        See `measure_floor`.
    path : Path
    title : str
        The machine.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(name, results) for name, results in sweeps.items() if results]
    figure = Figure(figsize=(5.4 * len(shown), 6.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    looks = _looks([name for _, results in shown for name in _names(results)])
    for axes, (_, results) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _panel(axes, results, floor, looks)
    figure.suptitle(fill(title, 60 * len(shown)), fontsize=10, color="#444444")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        canvas.print_figure(part, format="png", dpi=130)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Line style for each name, the same in all panels: ours blue, opponents in other colours."""
    looks: dict[str, dict[str, Any]] = {}
    others = list(dict.fromkeys(n for n in names if not n.startswith("ours")))
    for name in names:
        if name in OURS:
            looks[name] = {"color": BLUE, "linewidth": 2.6, "marker": "o", "markersize": 6, "zorder": 5}
            looks[name]["label"] = "blurphys"
        elif name not in others:
            dashes = "--" if name.endswith("NumPy") else ":"
            looks[name] = {"color": BLUE, "linewidth": 1.2, "linestyle": dashes, "marker": "o", "markersize": 3.5}
            looks[name]["label"] = name.replace("ours:", "blurphys")
        else:
            i = others.index(name)
            looks[name] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            looks[name] |= {"linewidth": 1.3, "markersize": 5, "label": name}
    return looks


def _panel(
    axes: Any, results: Sequence[Result], floor: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw one problem; the legend is below, the slowest first."""
    curves = {name: _points(results, name) for name in _names(results)}
    slowest = sorted(curves, key=lambda name: -max(t / n for n, t in zip(*curves[name], strict=True)))
    for name in slowest:
        axes.loglog(*curves[name], **looks[name])
    pixels = [r.pixels / 1e6 for r in results]
    times = [1e3 * r.work[FORWARD].seconds(floor["bandwidth"], floor["rate"]) for r in results]
    marker = "_" if len(pixels) == 1 else ""
    axes.loglog(pixels, times, color="black", linewidth=1.6, linestyle=(0, (5, 2)), marker=marker, label="floor")
    axes.fill_between(pixels, times, [min(times) / 3] * len(times), color="black", alpha=0.06, linewidth=0)
    axes.set_ylim(bottom=min(times) / 3)
    axes.set_title(textwrap.fill(results[-1].task.title, 44), fontsize=11)
    axes.set_xlabel("image size, Mpx (3 colours)")
    axes.set_ylabel("forward, ms")
    axes.xaxis.set_major_formatter(_plain)
    axes.yaxis.set_major_formatter(_plain)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.grid(which="minor", color="#eeeeee", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2)


def _plain(value: float, place: Any = None) -> str:
    """Format a tick as 0.1, 1, 10 instead of powers."""
    return f"{value:g}"
