"""A benchmark as a table and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .memory import METHOD
from .timing import DIRECTIONS, TOLERANCE, Entry, Result, ratio

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_json", "table", "write"]

MIB = 2**20


def _spread(seconds: Sequence[float] | None) -> str:
    if not seconds:
        return "-"
    low, mid, high = (1e3 * s for s in (min(seconds), median(seconds), max(seconds)))
    digits = 0 if mid >= 100 else 1
    return f"{mid:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _times(entry: Entry, judge: Entry | None, way: str) -> str:
    if judge is None or way not in entry.seconds or way not in judge.seconds:
        return "-"
    value = ratio(entry.seconds[way], judge.seconds[way])
    return f"{value:.1f}x" if value < 100 else f"{value:.0f}x"


def _memory(entry: Entry, result: Result, way: str) -> str:
    peak = entry.peak_bytes.get(way)
    if peak is None:
        return "-"
    return f"{peak / MIB:.0f} ({peak / (result.levels * result.image_bytes):.0%})"


def _named(result: Result, name: str) -> Entry | None:
    return next((e for e in result.entries if e.name == name and e.seconds), None)


def table(result: Result) -> Table:
    """Return one problem as a rich table: times in ms with their range, ratios to ours, memory in MiB."""
    from rich.markup import escape
    from rich.table import Table

    numpy, torch = _named(result, "ours: NumPy"), _named(result, "ours: torch")
    shown = Table(title=result.title, title_justify="left", caption_justify="left")
    shown.add_column("", no_wrap=True)
    for way in DIRECTIONS:
        shown.add_column(f"{way}\nms", justify="right", no_wrap=True)
        shown.add_column("/ ours\nNumPy", justify="right", no_wrap=True)
        shown.add_column("/ ours\ntorch", justify="right", no_wrap=True)
    for way in DIRECTIONS:
        shown.add_column(f"{way} peak\nMiB (of dense)", justify="right", no_wrap=True)
    for entry in result.entries:
        if entry.seconds:
            cells = []
            for way in DIRECTIONS:
                cells += [_spread(entry.seconds.get(way)), _times(entry, numpy, way), _times(entry, torch, way)]
            shown.add_row(entry.name, *cells, *(_memory(entry, result, way) for way in DIRECTIONS))
    absent = [f"not run: {e.name} ({e.skipped})" for e in result.entries if e.skipped]
    dense = f"dense: {result.levels} full images, {result.levels * result.image_bytes / MIB:.0f} MiB"
    shown.caption = escape("\n".join([dense, *absent]))
    return shown


def _entry_json(entry: Entry, result: Result) -> dict[str, Any]:
    out: dict[str, Any] = {"name": entry.name, "family": entry.family, "note": entry.note, "skipped": entry.skipped}
    for way in DIRECTIONS:
        seconds = entry.seconds.get(way)
        if not seconds:
            out[way] = None
            continue
        peak = entry.peak_bytes.get(way)
        out[way] = {
            "seconds": seconds,
            "median": median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "difference_to_ours": entry.difference[way],
            "peak_bytes": peak,
            "share_of_dense": None if peak is None else peak / (result.levels * result.image_bytes),
        }
        for name in ("ours: NumPy", "ours: torch"):
            judge = _named(result, name)
            if judge is not None:
                out[way][f"ratio to {name}"] = ratio(seconds, judge.seconds[way])
    return out


def as_json(results: Sequence[Result], machine: dict[str, Any], shape: tuple[int, int], repeat: int) -> dict[str, Any]:
    """Return everything that was measured as plain data."""
    return {
        "machine": machine,
        "size": list(shape),
        "channels": 3,
        "dtype": "float32",
        "repeat": repeat,
        "tolerance": TOLERANCE,
        "memory_method": METHOD,
        "problems": [
            {
                "name": result.name,
                "title": result.title,
                "levels": result.levels,
                "image_bytes": result.image_bytes,
                "dense_bytes": result.levels * result.image_bytes,
                "contestants": [_entry_json(entry, result) for entry in result.entries],
            }
            for result in results
        ],
    }


def write(path: Path, data: dict[str, Any]) -> None:
    """Write JSON to `path`, all of it or nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(data, indent=2) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
