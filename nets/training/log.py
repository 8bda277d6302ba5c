"""The log of a training: a CSV table, and JSON lines with more detail."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "Log", "psnr_text"]

COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "loss",
    "psnr",
    "gradient_norm",
    "seconds",
    "validation_psnr",
    "input_psnr",
)
"""Columns of the table; the JSON lines also have the parts of the loss."""


class Log:
    """``log.csv`` and ``log.jsonl`` in a folder, appended line by line.

    Parameters
    ----------
    folder : Path
    after : int
        Lines of later steps are dropped: their steps will be repeated.
    """

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        self.table, self.lines = folder / "log.csv", folder / "log.jsonl"
        kept = [row for row in self.read(folder) if row["step"] <= after] if after else []
        with self.table.open("w", newline="") as file:
            csv.writer(file).writerow(COLUMNS)
        self.lines.write_text("")
        for row in kept:
            self.write(row)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one line to both files."""
        clean = {key: _plain(value) for key, value in row.items()}
        with self.table.open("a", newline="") as file:
            csv.writer(file).writerow([clean.get(name, "") for name in COLUMNS])
        with self.lines.open("a") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")

    @staticmethod
    def read(folder: Path) -> list[dict[str, Any]]:
        """Return the lines of ``log.jsonl``; a last line that was cut short is left out."""
        file = folder / "log.jsonl"
        rows = []
        for line in file.read_text().splitlines() if file.is_file() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def psnr_text(value: float | None) -> str:
    """Return a PSNR with its unit."""
    return "no PSNR" if value is None else f"{value:.2f} dB"
