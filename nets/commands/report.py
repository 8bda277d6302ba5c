"""`blurphys report`: one HTML file about what blurphys wrote."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .errors import without_owner

__all__ = ["report"]


@without_owner()
def report(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="What to report on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    before: Annotated[Path | None, typer.Option("--before", help="A picture to compare, with --after.")] = None,
    after: Annotated[Path | None, typer.Option("--after", help="The same picture, restored.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Write one self-contained HTML file about a dataset, operator, solution, evaluation, training or restored photo.

    It opens from the disk, needs no network, and can be sent to somebody without Python. Damaged files are named, and
    what is intact is shown.

    Example: blurphys report restored --out report.html
    """
    from blurphys.progress import progress

    from ..reports.report import report as write

    started = time.perf_counter()
    if (before is None) != (after is None):
        raise ValueError(f"expected --before and --after together, got no {'--after' if after is None else '--before'}")
    with progress("report", total=1) as advance:
        advance("reading and drawing", 0)
        pictures = None if before is None or after is None else (before, after)
        verdict = write(path, out, pictures=pictures, overwrite=force)
        advance("done")
    if verdict:
        typer.echo(verdict)
    typer.echo(f"wrote {out}, {out.stat().st_size / 2**20:.1f} MB, in {time.perf_counter() - started:.1f} s")
