"""`blurphys bench-solvers`: the solvers compared on one photo."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench_solvers"]

MIN_SIZE = 64


def bench_solvers(
    size: Annotated[str, typer.Option("--size", help="Height x width of the image, px.")] = "720x1280",
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write.")] = Path("bench-solvers.json"),
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Markdown file to write [default: none].")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Compare the solvers on one photo: operator applications, seconds, memory, and the targets set for them.

    Blurred is scikit-image's motorcycle, by Gaussians that change across the image.

    Example: blurphys bench-solvers --size 256x384 --out bench.json
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parts = size.strip().lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts) or min(map(int, parts)) < MIN_SIZE:
        raise ValueError(f"--size: expected height x width like 256x384, at least {MIN_SIZE} px each, got {size!r}")
    files = [file for file in (out, markdown) if file is not None]
    if len(set(files)) < len(files):
        raise ValueError("--out and --markdown: expected different files")
    from blurphys.files.publishing import publish, refuse_existing
    from blurphys.progress import progress

    for file in files:
        if file.exists() and not force:
            raise FileExistsError(f"{file} exists already; --force replaces it")
        refuse_existing(file, overwrite=force)
    from .contest import STEPS, measure

    with progress("bench-solvers", total=STEPS) as advance:
        results = measure((int(parts[0]), int(parts[1])), on_start=advance)
    typer.echo(results.markdown())
    with publish(out, overwrite=force) as part:
        part.write_text(json.dumps(results.to_dict(), indent=2) + "\n")
    if markdown is not None:
        with publish(markdown, overwrite=force) as part:
            part.write_text(results.markdown())
    typer.echo(f"wrote {', '.join(str(file) for file in files)}")
