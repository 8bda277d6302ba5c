"""A benchmark as tables, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..measure.memory import METHODS
from ..measure.timing import TOLERANCE, Entry, Result, ratio
from ..problems.contestant import BOTH, FORWARD, WAYS
from ..problems.problem import OURS
from .targets import Finding

if TYPE_CHECKING:
    from rich.table import Table

    from ..run import Outcome

__all__ = ["as_json", "markdown", "table", "target_table", "to_text", "write"]

Floor = Mapping[str, Any]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _spread(seconds: Sequence[float]) -> str:
    return f"{_milliseconds(min(seconds))}-{_milliseconds(max(seconds))}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _to_judge(entry: Entry, result: Result, way: str) -> float | None:
    judge = result.judge(way)
    return None if judge is None else ratio(entry.seconds[way], judge.seconds[way])


def _to_floor(entry: Entry, result: Result, way: str, floor: Floor) -> float:
    return median(entry.seconds[way]) / _floor(result, way, floor)


def _floor(result: Result, way: str, floor: Floor) -> float:
    return result.work[way].seconds(floor["bandwidth"], floor["rate"])


def _images(entry: Entry, result: Result, way: str) -> float | None:
    """Peak memory in images, for forward + backward without the gradient of the maps."""
    peak = entry.peak_bytes.get(way)
    if peak is None:
        return None
    return (peak - (result.task.map_bytes if way == BOTH else 0)) / result.task.image_bytes


def table(result: Result, floor: Floor) -> Table:
    """Return one problem as a rich table: for each way, times, ratios to ours and the floor, and memory in images."""
    from rich.markup import escape
    from rich.table import Table

    task = result.task
    shown = Table(title=task.title, title_justify="left", caption_justify="left")
    shown.add_column("", no_wrap=True)
    judges = {way: judge.name for way in WAYS if (judge := result.judge(way)) is not None}
    for head in ("median\nms", "min-max\nms", "x ours\n", "x floor\n", "peak memory\nimages"):
        shown.add_column(head, justify="right", no_wrap=True)
    for way in WAYS:
        if way not in judges:
            continue
        work, least = result.work[way], _floor(result, way, floor)
        bound = "memory" if least == work.bytes / floor["bandwidth"] else "arithmetic"
        shown.add_row(f"[bold]{way}[/bold]", *[""] * 5)
        shown.add_row(f"  floor ({bound})", _milliseconds(least), "", "", "1.0", "", style="dim")
        for entry in result.entries:
            if way not in entry.seconds:
                continue
            seconds = entry.seconds[way]
            cells = [_milliseconds(median(seconds)), _spread(seconds), _times(_to_judge(entry, result, way))]
            cells += [_times(_to_floor(entry, result, way, floor)), _times(_images(entry, result, way))]
            shown.add_row(escape(f"  {entry.name}"), *cells)
        shown.add_section()
    lines = [f"not run: {e.name}: {e.skipped}" for e in result.entries if e.skipped]
    for entry in result.entries:
        if not entry.skipped:
            lines += [f"not run: {entry.name}, {way}: {reason}" for way, reason in entry.left_out.items()]
    lines.append("x ours: times as long as " + "; ".join(f"{name} ({way})" for way, name in judges.items()))
    maps = task.map_bytes / task.image_bytes
    lines.append("forward + backward: gradients in image, maps and kernels;")
    lines.append(f"its memory without the gradient of the maps, which is {maps:.1f} images")
    shown.caption = escape("\n".join(lines))
    return shown


def target_table(found: Sequence[Finding]) -> Table:
    """Return the targets as a rich table."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title="targets", title_justify="left")
    for head in ("problem", "", "target", "measured", ""):
        shown.add_column(head, overflow="fold")
    colours = {"met": "green", "missed": "red", "n/a": "dim"}
    for f in found:
        verdict = f"[{colours[f.verdict]}]{f.verdict}[/]"
        shown.add_row(f.problem, f.what, escape(f.target), escape(f.measured), verdict)
    return shown


def markdown(results: Sequence[Result], found: Sequence[Finding], floor: Floor) -> str:
    """Return ratios only, as Markdown tables: times relative to ours and to the floor, memory in images."""
    lines: list[str] = []
    for result in results:
        heads = [h for way in WAYS for h in (way, "x floor", "memory")]
        lines += [f"## {result.task.title}", "", f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for entry in result.entries:
            cells = []
            for way in WAYS:
                if way not in entry.seconds:
                    cells += ["", "", ""]
                    continue
                cells += [_times(_to_judge(entry, result, way)), _times(_to_floor(entry, result, way, floor))]
                cells.append(_times(_images(entry, result, way)))
            if entry.seconds:
                lines.append(f"| {entry.name} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Targets", "", "| problem | | target | measured | |", "|---|---|---|---|---|"]
    lines += [f"| {f.problem} | {f.what} | {f.target} | {f.measured} | {f.verdict} |" for f in found]
    return "\n".join(lines) + "\n"


def _entry_json(entry: Entry, result: Result, floor: Floor) -> dict[str, Any]:
    out: dict[str, Any] = {"name": entry.name, "family": entry.family, "note": entry.note, "skipped": entry.skipped}
    out["left_out"] = entry.left_out
    for way in WAYS:
        seconds = entry.seconds.get(way)
        if not seconds:
            out[way] = None
            continue
        out[way] = {
            "seconds": seconds,
            "median": median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "difference_to_ours": entry.difference[way],
            "times_floor": _to_floor(entry, result, way, floor),
            "peak_bytes": entry.peak_bytes.get(way),
            "images_without_map_gradient": _images(entry, result, way),
        }
        for name in OURS:
            judge = result.named(name)
            if judge is not None and way in judge.seconds:
                out[way][f"ratio to {name}"] = ratio(seconds, judge.seconds[way])
    return out


def _result_json(result: Result, floor: Floor) -> dict[str, Any]:
    task = result.task
    work = {
        way: {"bytes": w.bytes, "operations": w.operations, "floor_seconds": _floor(result, way, floor)}
        for way, w in result.work.items()
    }
    return {
        "name": task.name,
        "title": task.title,
        "size": list(task.shape),
        "levels": task.levels,
        "image_bytes": task.image_bytes,
        "map_bytes": task.map_bytes,
        "work": work,
        "contestants": [_entry_json(entry, result, floor) for entry in result.entries],
    }


def as_json(outcome: Outcome, *, repeat: int, device: str) -> dict[str, Any]:
    """Return everything that was measured as plain data."""
    results, floor = outcome.results, outcome.floor
    return {
        "machine": outcome.machine,
        "device": device,
        "floor": floor,
        "size": list(results[0].task.shape),
        "channels": 3,
        "dtype": "float32",
        "repeat": repeat,
        "tolerance": TOLERANCE,
        "memory_method": METHODS[device],
        "problems": [_result_json(r, floor) | {"fewer_levels": outcome.fewer[r.task.name]} for r in results],
        "sweep": {
            name: [
                {
                    "size": list(r.task.shape),
                    "pixels": r.pixels,
                    "floor_seconds": _floor(r, FORWARD, floor),
                    "seconds": {e.name: e.seconds[FORWARD] for e in r.entries if FORWARD in e.seconds},
                    "not_run": {e.name: e.skipped or e.left_out[FORWARD] for e in r.entries if not e.seconds},
                }
                for r in points
            ]
            for name, points in outcome.sweeps.items()
        },
        "targets": [
            {
                "problem": f.problem,
                "way": f.what,
                "target": f.target,
                "measured": f.measured,
                "value": f.value,
                "met": f.met,
            }
            for f in outcome.targets
        ],
    }


def write(path: Path, text: str) -> None:
    """Write to `path` atomically."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def to_text(data: Mapping[str, Any]) -> str:
    """Return JSON with line breaks."""
    return json.dumps(data, indent=2) + "\n"
