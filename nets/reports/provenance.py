"""Where a report comes from: versions, files and their checksums."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .page import Page

__all__ = ["provenance"]

PACKAGES = ("blurphys", "numpy", "scipy", "torch", "numba", "h5py")
MAX_BYTES = 2**31
"""Larger files are named without a checksum: reading them would take minutes."""


def provenance(page: Page, paths: Iterable[Path]) -> None:
    """Append the section on versions and files."""
    page.section("Provenance")
    rows = [("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    page.table(rows)
    page.details("Files and SHA-256", [_file(path) for path in paths])


def _file(path: Path) -> tuple[str, str, str]:
    size = path.stat().st_size
    digest = "not computed, the file is large"
    if size <= MAX_BYTES:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return str(path), f"{size} bytes", digest
