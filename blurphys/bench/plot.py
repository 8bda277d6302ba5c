"""Time against pixels, log-log, with the floor: one panel for each problem."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .contestant import FORWARD
from .timing import Result

__all__ = ["draw"]

OURS = ("#0b5cad", "#0b5cad")
COLOURS = ("#d1495b", "#e8963a", "#5b8e3e", "#8a5fb0", "#3a9d9d", "#a0522d", "#c06fa0", "#7a7a2e")
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
    """Everyone who was timed somewhere; of our two front ends only the one that judges, they run the same kernels."""
    names = dict.fromkeys(e.name for r in results for e in r.entries if FORWARD in e.seconds)
    judge = results[0].judge(FORWARD)
    return [n for n in names if judge is None or n == judge.name or n not in ("ours: NumPy", "ours: torch")]


def draw(sweeps: Mapping[str, Sequence[Result]], floor: Mapping[str, Any], path: Path, title: str) -> None:
    """Write a PNG, all of it or nothing.

    Parameters
    ----------
    sweeps : dict of problem to sequence of Result
        Forward at one or more sizes.
    floor : dict
        See `measure_floor`.
    path : Path
    title : str
        The machine.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(name, results) for name, results in sweeps.items() if results]
    figure = Figure(figsize=(5.4 * len(shown), 5.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, (_, results) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _panel(axes, results, floor)
    figure.suptitle(title, fontsize=10, color="#444444")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        canvas.print_figure(part, format="png", dpi=130)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _panel(axes: Any, results: Sequence[Result], floor: Mapping[str, Any]) -> None:
    judge = results[0].judge(FORWARD)
    others = 0
    for name in _names(results):
        pixels, times = _points(results, name)
        if judge is not None and name == judge.name:
            style: dict[str, Any] = {"color": OURS[0], "linewidth": 2.6, "marker": "o", "markersize": 6, "zorder": 5}
            label = "blurphys"
        elif name.startswith("ours"):
            dashes = "--" if name.endswith("NumPy") else ":"
            style = {"color": OURS[1], "linewidth": 1.2, "linestyle": dashes, "marker": "o", "markersize": 3.5}
            label = name.replace("ours:", "blurphys")
        else:
            style = {"color": COLOURS[others % len(COLOURS)], "marker": MARKERS[others % len(MARKERS)]}
            style |= {"linewidth": 1.3, "markersize": 5}
            label, others = name, others + 1
        axes.loglog(pixels, times, label=label, **style)
    pixels = [r.pixels / 1e6 for r in results]
    times = [1e3 * r.work[FORWARD].seconds(floor["bandwidth"], floor["rate"]) for r in results]
    marker = "_" if len(pixels) == 1 else ""
    axes.loglog(pixels, times, color="black", linewidth=1.6, linestyle=(0, (5, 2)), marker=marker, label="floor")
    axes.fill_between(pixels, times, [min(times) / 3] * len(times), color="black", alpha=0.06, linewidth=0)
    axes.set_ylim(bottom=min(times) / 3)
    axes.set_title(results[-1].task.title.replace(", ", ",\n", 1), fontsize=11)
    axes.set_xlabel("image size, Mpx (3 colours)")
    axes.set_ylabel("forward, ms")
    axes.xaxis.set_major_formatter(_plain)
    axes.yaxis.set_major_formatter(_plain)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.grid(which="minor", color="#eeeeee", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="upper left")


def _plain(value: float, place: Any = None) -> str:
    """0.1, 1, 10 instead of powers."""
    return f"{value:g}"
