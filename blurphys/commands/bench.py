"""`blurphys bench`: our operators beside plain code, in one run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]

FULL, QUICK = "720x1280", "64x96"


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() for p in parts):
        raise ValueError(f"--size: expected height x width like 720x1280, got {text!r}")
    return int(parts[0]), int(parts[1])


def _check_target(out: Path, force: bool) -> None:
    if out.is_dir():
        raise ValueError(f"--out: expected a file, got the folder {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out: the folder {out.parent} does not exist")
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists already; --force replaces it")


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A small image and two rounds: does it run at all?")] = False,
    size: Annotated[str | None, typer.Option("--size", help=f"Height x width, px [default: {FULL}].")] = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", min=1, help="Rounds; everyone runs once in a round [default: 3].")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="rkr, gkm or dual-pixel; may be given again [default: all].")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write, with all times.")] = Path("bench.json"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Time forward and adjoint of our operators beside plain torch, SciPy and, if installed, OpenCV, deepinv, PyLops.

    Everyone computes the same result (checked first) in one process, in turn. Times are medians with their range,
    ratios are medians of the ratios of the rounds, memory is measured in a process of its own.

    Example: blurphys bench --only gkm --size 480x640 --out gkm.json
    """
    from rich.console import Console

    from ..bench.machine import describe
    from ..bench.memory import METHOD, peaks
    from ..bench.problems import NAMES, problem
    from ..bench.report import as_json, table, write
    from ..bench.timing import TOLERANCE, measure
    from .progress import progress

    shape = _size(size or (QUICK if quick else FULL))
    rounds = repeat or (2 if quick else 3)
    names = list(dict.fromkeys(only or NAMES))
    unknown = [n for n in names if n not in NAMES]
    if unknown:
        raise ValueError(f"--only: expected names among {', '.join(NAMES)}, got {unknown[0]!r}")
    if min(shape) < 48:
        raise ValueError(f"--size: expected at least 48x48 px, got {shape[0]}x{shape[1]}")
    _check_target(out, force)
    # Threads of torch that spin while they wait turn a busy neighbour into times that are ten times too long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    machine = describe()
    load, cores = machine["load_average"], machine["cores"] or 1
    if load and load[0] > cores / 2:
        busy = f"the machine is busy (load {load[0]:.1f} on {cores} cores), so times will not be reliable"
        print(f"blurphys bench: {busy}", file=sys.stderr)
    results = []
    with progress("bench", total=len(names) * (rounds + 1) + 1) as advance:
        for name in names:
            results.append(measure(problem(name, shape), rounds, advance))
        advance("peak memory, in a process of its own")
        found = peaks(names, shape)
    for result in results:
        for entry in result.entries:
            entry.peak_bytes = found[result.name].get(entry.name, {})
    console = Console() if sys.stdout.isatty() else Console(width=150)
    image = f"{shape[0]} x {shape[1]} x 3 float32"
    console.print(f"{machine['cpu']}, {machine['threads']} threads, {image}, {rounds} rounds")
    for result in results:
        console.print(table(result))
    wrong = [f"{r.name}: {e.name}" for r in results for e in r.entries if not e.right]
    console.print(f"Results equal ours to {TOLERANCE:g} (relative to the largest value) unless a line above says so.")
    console.print("Adjoint of torch code: autograd's backward pass alone; its memory includes the forward pass.")
    console.print(f"Peak memory: {METHOD}.")
    write(out, as_json(results, machine, shape, rounds))
    typer.echo(f"wrote {out}")
    if wrong:
        print(f"blurphys bench: the results of {', '.join(wrong)} differ from ours", file=sys.stderr)
        raise typer.Exit(1)
