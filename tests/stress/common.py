"""What the stress scripts share: a tiny dataset, its command line, and a folder that goes away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BLURPHYS = (sys.executable, "-c", "from blurphys.cli import main; main()")
SIZE = (32, 40)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder, deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="blurphys-stress-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def generate(out: Path, *, samples: int, seed: int, scenes: str = "dead-leaves", **options: Any) -> Any:
    """Make a tiny dataset: 32 x 40 px, radii up to 1 px, two samples a shard, stored plainly."""
    import synth

    camera = replace(synth.Camera.preset("canon-r6ii"), max_radius=1.0)
    settings: dict[str, Any] = {"shard_size": 2, "compression": None, "model": "gather", "max_clamped": None} | options
    return synth.generate(scenes, out, camera=camera, samples=samples, seed=seed, size=SIZE, **settings)


def command(out: Path, *, samples: int, seed: int, scenes: str = "dead-leaves", workers: int = 1) -> list[str]:
    """Return the command line that makes the same as `generate`."""
    return [
        *BLURPHYS, "synth", "generate", "--scenes", scenes, "--samples", str(samples), "--seed", str(seed),
        "--size", f"{SIZE[0]}x{SIZE[1]}", "--max-radius", "1", "--model", "gather", "--shard-size", "2",
        "--max-clamped", "1",
        "--workers", str(workers), "--out", str(out),
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment for a child: the checkout first on the path."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path}


def file_digest(path: Path) -> str:
    """Hash the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def published(folder: Path) -> dict[str, str]:
    """Return names and hashes of the shards that are there."""
    return {path.name: file_digest(path) for path in sorted(folder.glob("shard-*.h5"))}
