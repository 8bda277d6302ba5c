"""`blurphys bench`: time the operators beside other code, in one run."""

from __future__ import annotations

import os
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..bench.run import Outcome, Plan

__all__ = ["bench"]

SIZE = "720x1280"
SIZES = "256x256,512x512,1080x1920,2160x3840,3000x4000"
MIN_SIDE = 48


def _size(text: str, option: str = "--size") -> tuple[int, int]:
    parts = text.strip().lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
        raise ValueError(f"{option}: expected height x width like 720x1280, got {text!r}")
    height, width = int(parts[0]), int(parts[1])
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{option}: expected at least {MIN_SIDE}x{MIN_SIDE} px, got {height}x{width}")
    return height, width


def _check_target(option: str, out: Path, force: bool) -> None:
    if out.is_dir():
        raise ValueError(f"{option}: expected a file, got the folder {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{option}: the folder {out.parent} does not exist")
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists already; --force replaces it")


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ValueError(f"--device: expected cpu or cuda, got {device!r}")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("--device: expected a GPU that torch can use, got none; blurphys doctor says why")


def _plan(
    quick: bool,
    size: str | None,
    sizes: str | None,
    repeat: int | None,
    only: list[str] | None,
    device: str,
    limit: float,
) -> Plan:
    from ..bench.problems.catalogue import NAMES
    from ..bench.run import Plan

    names = list(dict.fromkeys(only or NAMES))
    unknown = [n for n in names if n not in NAMES]
    if unknown:
        raise ValueError(f"--only: expected names among {', '.join(NAMES)}, got {unknown[0]!r}")
    if not (isfinite(limit) and limit > 0):
        raise ValueError(f"--limit: expected a number of seconds > 0, got {limit:g}")
    if quick and sizes is not None:
        raise ValueError("--sizes: expected without --quick, which measures one size only")
    text = sizes if sizes is not None else "" if quick or size is not None else SIZES
    others = [_size(part, "--sizes") for part in text.split(",")] if text else []
    _check_device(device)
    return Plan(
        names=names,
        shape=_size(size or SIZE),
        sizes=others,
        rounds=repeat or (2 if quick else 3),
        device=device,
        limit=limit,
    )


def _warn_if_busy() -> None:
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
    if load > cores / 2:
        busy = f"the machine is busy (load {load:.1f} on {cores} cores), so times will not be reliable"
        print(f"blurphys bench: {busy}", file=sys.stderr)


def _machine(outcome: Outcome) -> str:
    machine, floor = outcome.machine, outcome.floor
    who = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    return f"{who}; {floor['bandwidth'] / 1e9:.3g} GB/s, {floor['rate'] / 1e9:.3g} G multiply-adds/s"


def _show(outcome: Outcome, plan: Plan) -> None:
    from rich.console import Console

    from ..bench.measure.memory import METHODS
    from ..bench.measure.timing import TOLERANCE
    from ..bench.report.tables import table, target_table

    console = Console() if sys.stdout.isatty() else Console(width=132)
    image = f"{plan.shape[0]} x {plan.shape[1]} x 3 float32"
    console.print(_machine(outcome), highlight=False)
    console.print(f"floor: {outcome.floor['method']}", highlight=False)
    console.print(f"{image}, {plan.rounds} rounds", highlight=False)
    for result in outcome.results:
        console.print(table(result, outcome.floor))
    console.print(f"Results equal ours to {TOLERANCE:g} (relative to the largest value) unless a line above says so.")
    console.print("Adjoint of torch code: autograd's backward pass alone; its memory includes the forward pass.")
    console.print(f"Peak memory: {METHODS[plan.device]}.")
    console.print(target_table(outcome.targets))


def bench(
    quick: Annotated[bool, typer.Option("--quick", help=f"One size ({SIZE}) and two rounds.")] = False,
    size: Annotated[
        str | None, typer.Option("--size", help=f"Height x width where everything is measured, px [default: {SIZE}].")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", help=f"More sizes, for the forward pass [default: {SIZES}; none with --size]."),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", min=1, help="Rounds; everyone runs once in a round [default: 3].")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="rkr, gkm or dual-pixel; may be given again [default: all].")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    limit: Annotated[
        float, typer.Option("--limit", help="Seconds a call of an opponent may take, a sixth at the sizes of --sizes.")
    ] = 30.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write, with all times.")] = Path("bench.json"),
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG to write, time against pixels [default: beside --out].")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Markdown file to write, ratios only [default: none].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Time our operators beside plain torch, SciPy and, if installed, OpenCV, deepinv and PyLops.

    Forward, adjoint, and forward + backward (gradients in image, maps and kernels), peak memory, and the floor that the
    machine sets. Everyone computes the same result (checked first) in one process, in turn. Times are medians with
    their range, ratios are medians of the ratios of the rounds.

    Example: blurphys bench --only gkm --size 480x640 --out gkm.json
    """
    # Waiting threads of torch spin by default: on a busy machine that makes times up to ten times too long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    plan = _plan(quick, size, sizes, repeat, only, device, limit)
    _check_target("--out", out, force)
    targets = {"--out": out, "--plot": plot or out.with_suffix(".png")} | ({"--markdown": markdown} if markdown else {})
    for option, path in targets.items():
        _check_target(option, path, force)
    if len({p.resolve() for p in targets.values()}) < len(targets):
        given = ", ".join(str(p) for p in targets.values())
        raise ValueError(f"--out, --plot and --markdown: expected different files, got {given}")
    from ..bench.report import plot as drawing
    from ..bench.report import tables
    from ..bench.run import run
    from ..progress import progress

    _warn_if_busy()
    with progress("bench", total=plan.steps) as advance:
        outcome = run(plan, advance)
    _show(outcome, plan)
    data = tables.as_json(outcome, repeat=plan.rounds, device=device)
    drawing.draw(outcome.sweeps, outcome.floor, targets["--plot"], _machine(outcome))
    tables.write(out, tables.to_text(data))
    if markdown is not None:
        tables.write(markdown, tables.markdown(outcome.results, outcome.targets, outcome.floor))
    for path in targets.values():
        typer.echo(f"wrote {path}")
    if outcome.wrong:
        print(f"blurphys bench: the results of {', '.join(outcome.wrong)} differ from ours", file=sys.stderr)
        raise typer.Exit(1)
