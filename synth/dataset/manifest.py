"""The manifest of a folder: one line for each published shard, appended when it is published, rebuilt on demand."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from blurphys.files.publishing import PathLike, publish, uninterrupted

from .config import read_config
from .reader import Reader
from .schema import shard_name
from .statistics import Statistics
from .verify import check_shard

__all__ = ["MANIFEST", "append_line", "line_of", "read_manifest", "rebuild", "scan"]

MANIFEST = "manifest.jsonl"
_LINE = {"shard", "name", "bytes", "digest", *(field.name for field in fields(Statistics))}


def read_manifest(folder: PathLike) -> list[dict[str, Any]]:
    """Return the lines of the manifest, the last one for each shard; damaged and truncated lines are skipped."""
    lines: dict[int, dict[str, Any]] = {}
    try:
        text = (Path(folder) / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for entry in text.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            line = json.loads(entry)
            if isinstance(line, dict) and line.pop("crc32") == _line_sum(line) and set(line) >= _LINE:
                statistics = Statistics.of_line(line)
                _ = statistics.shares  # raises for anything but numbers
                lines[int(line["shard"])] = line
    return [lines[number] for number in sorted(lines)]


def _line_sum(line: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(line, sort_keys=True).encode())


def append_line(root: Path, line: Mapping[str, Any]) -> None:
    """Append the line of a shard to the manifest and flush it to the disk."""
    text = json.dumps({**line, "crc32": _line_sum(line)}, sort_keys=True)
    path = root / MANIFEST
    with uninterrupted(), path.open("ab+") as file:
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def line_of(path: Path, number: int, digest: str, statistics: Statistics) -> dict[str, Any]:
    """Return the line of a shard for the manifest."""
    size = path.stat().st_size
    return {"shard": number, "name": path.name, "bytes": size, "digest": digest, **asdict(statistics)}


def scan(path: Path) -> Statistics:
    """Return the statistics of a shard, from its stored arrays."""
    statistics = Statistics()
    with Reader(path) as data:
        for row in range(len(data)):
            statistics.add(data.read(row, names=("defocus_map",))["defocus_map"], data.parameters(row))
    return statistics


def rebuild(folder: PathLike) -> int:
    """Rewrite the manifest from the intact shards; returns their number."""
    root = Path(folder)
    counts = read_config(root)["shards"]
    lines = []
    for number, count in enumerate(counts):
        path = root / shard_name(number)
        with contextlib.suppress(ValueError, FileNotFoundError):
            lines.append(line_of(path, number, check_shard(path, samples=count), scan(path)))
    with publish(root / MANIFEST, overwrite=True) as part:
        part.write_text("".join(f"{json.dumps({**x, 'crc32': _line_sum(x)}, sort_keys=True)}\n" for x in lines))
    return len(lines)
