"""The manifest of a folder: one line for each published shard, appended as it comes, rebuilt where it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blurphys.files.publishing import PathLike, publish, uninterrupted

from ..dataset.reader import Reader, read_config, shard_name
from .report import Tally
from .verify import check_shard

__all__ = ["MANIFEST", "append_line", "line_of", "read_manifest", "rebuild", "tally_of"]

MANIFEST = "manifest.jsonl"
_LINE = {"shard", "name", "bytes", "digest", "samples", "pixels", "clamped", "unknown", "low", "high"}


def read_manifest(folder: PathLike) -> list[dict[str, Any]]:
    """Return the lines of the manifest, the last for each shard; lines that are cut short or damaged are left out."""
    lines: dict[int, dict[str, Any]] = {}
    try:
        text = (Path(folder) / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for entry in text.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            line = json.loads(entry)
            if isinstance(line, dict) and line.pop("crc32") == _line_sum(line) and set(line) >= _LINE:
                tally_of(line).report(folder, 0.0, 0)  # numbers that are none fail here
                lines[int(line["shard"])] = line
    return [lines[number] for number in sorted(lines)]


def _line_sum(line: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(line, sort_keys=True).encode())


def append_line(root: Path, line: Mapping[str, Any]) -> None:
    """Add the line of a shard to the manifest and bring it to the disk."""
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


def line_of(path: Path, number: int, digest: str) -> dict[str, Any]:
    """Make the line of a shard that is there and whole."""
    tally = Tally()
    with Reader(path) as data:
        for row in range(len(data)):
            parameters, radii = data.parameters(row), data.read(row, names=("defocus_map",))["defocus_map"]
            tally.samples += 1
            tally.pixels += radii.size
            tally.clamped += int(parameters["clamped_pixels"])
            tally.unknown += int(parameters["unknown_pixels"])
            tally.low, tally.high = min(tally.low, float(radii.min())), max(tally.high, float(radii.max()))
    return {"shard": number, "name": path.name, "bytes": path.stat().st_size, "digest": digest, **asdict(tally)}


def tally_of(line: Mapping[str, Any]) -> Tally:
    """Return the counts that a line holds."""
    return Tally(**{name: line[name] for name in ("samples", "pixels", "clamped", "unknown", "low", "high")})


def rebuild(folder: PathLike) -> int:
    """Write the manifest anew from the shards that are whole; returns how many there are."""
    root = Path(folder)
    counts = read_config(root)["shards"]
    lines = []
    for number, count in enumerate(counts):
        path = root / shard_name(number)
        with contextlib.suppress(ValueError, FileNotFoundError):
            lines.append(line_of(path, number, check_shard(path, samples=count)))
    with publish(root / MANIFEST, overwrite=True) as part:
        part.write_text("".join(f"{json.dumps({**x, 'crc32': _line_sum(x)}, sort_keys=True)}\n" for x in lines))
    return len(lines)
