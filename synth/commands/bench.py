"""`blurphys bench-synth`: the generator against the published one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench_synth"]

MIN_SIDE = 64


def bench_synth(
    size: Annotated[str, typer.Option("--size", help="Height x width of a sample, px.")] = "720x1280",
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write.")] = Path("bench-synth.json"),
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Markdown file to write [default: none].")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Time a dual-pixel sample with and without occlusion, the published filter loop, and what storing costs.

    Example: blurphys bench-synth --size 256x384 --out bench.json
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parts = size.strip().lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts) or min(map(int, parts)) < MIN_SIDE:
        raise ValueError(f"--size: expected height x width like 256x384, at least {MIN_SIDE} px each, got {size!r}")
    files = [file for file in (out, markdown) if file is not None]
    if len(set(files)) < len(files):
        raise ValueError("--out and --markdown: expected different files")
    from blurphys.files.publishing import publish, refuse_existing
    from blurphys.progress import progress

    for file in files:
        if file.exists() and not force:
            raise FileExistsError(f"{file} exists already; --force replaces it")
        refuse_existing(file, overwrite=force)
    from ..bench import STEPS, measure

    with progress("bench-synth", total=STEPS) as advance:
        results = measure((int(parts[0]), int(parts[1])), say=advance)
    typer.echo(results.markdown())
    texts = {out: json.dumps(results.to_dict(), indent=2) + "\n"}
    if markdown is not None:
        texts[markdown] = results.markdown()
    for file, text in texts.items():
        with publish(file, overwrite=force) as part:
            part.write_text(text)
    typer.echo(f"wrote {', '.join(str(file) for file in files)}")
