"""`blurphys bench-nets`: the networks compared with plain torch formulations of their physics."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench_nets"]

MIN_SIZE = 64


def bench_nets(
    size: Annotated[str, typer.Option("--size", help="Height x width of the photo, px.")] = "280x420",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Runs of every method.")] = 3,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory too.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write.")] = Path("bench-nets.json"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Compare the networks with plain torch code of the same weights: seconds, peak memory, memory of gradients.

    The photo is scikit-image's motorcycle, the weights are random.

    Example: blurphys bench-nets --size 1120x1680 --rounds 1 --out bench.json
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parts = size.strip().lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts) or min(map(int, parts)) < MIN_SIZE:
        raise ValueError(f"--size: expected height x width like 560x840, at least {MIN_SIZE} px each, got {size!r}")
    from blurphys.files.publishing import publish, refuse_existing
    from blurphys.progress import progress

    if out.exists() and not force:
        raise FileExistsError(f"{out} exists already; --force replaces it")
    refuse_existing(out, overwrite=force)
    from ..bench.contest import STEPS, measure

    with progress("bench-nets", total=STEPS) as advance:
        results = measure((int(parts[0]), int(parts[1])), rounds=rounds, memory=memory, on_start=advance)
    typer.echo(results.markdown())
    with publish(out, overwrite=force) as part:
        part.write_text(json.dumps(results.to_dict(), indent=2) + "\n")
    typer.echo(f"wrote {out}")
