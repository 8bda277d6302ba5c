"""`blurphys calibrate`: the PSFs of a lens, from a photo of a printed dot grid."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from synth.commands import options as o

from .errors import print_notes, without_owner

if TYPE_CHECKING:
    from solvers.estimation import Calibration

__all__ = ["calibrate"]

OPERATOR, OVERVIEW, REPORT, CANDIDATES = "operator.h5", "overview.png", "report.json", "candidates.png"


def calibrate(
    photo: Annotated[
        Path | None, typer.Argument(metavar="PHOTO", help="The photo of the grid, all of the frame filled with it.")
    ] = None,
    print_to: Annotated[
        Path | None, typer.Option("--print", metavar="SVG", help="Write a grid to print, and stop.")
    ] = None,
    spacing_mm: Annotated[float, typer.Option("--spacing-mm", help="Distance of the dots of --print.")] = 10.0,
    dot_mm: Annotated[float, typer.Option("--dot-mm", help="Diameter of the dots of --print.")] = 3.5,
    paper: Annotated[str, typer.Option("--paper", help="Of --print: a4, a3 or letter.")] = "a4",
    dot_ratio: Annotated[
        float, typer.Option("--dot-ratio", help="Diameter of a dot over the distance of the dots, as printed.")
    ] = 0.35,
    cells: Annotated[
        str, typer.Option("--cells", metavar="RxC", help="Rows and columns of PSFs over the frame.")
    ] = "8x12",
    support: Annotated[
        int | None, typer.Option("--support", help="Odd width of the PSFs, px. [default: that of the mean PSF]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {OPERATOR}, {OVERVIEW} and {REPORT}.")] = Path(
        "calibration"
    ),
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Measure the PSFs of a lens over the frame from one photo of a printed dot grid.

    Print the grid without scaling, photograph it out of focus or in focus, its rows parallel to those of the photo,
    dots about twice as far apart as the blur is wide, paper not clipped. Exit code: 0, or 2 for bad input; where no
    grid is found, a picture shows what was.

    Example: blurphys calibrate --print grid.svg, then blurphys calibrate grid.png --out lens
    """
    with without_owner():
        if (photo is None) == (print_to is None):
            raise ValueError("expected a photo of a grid, or --print and the SVG file to write, and not both")
        if print_to is not None:
            _print(print_to, spacing_mm, dot_mm, paper, overwrite=force)
            return
        assert photo is not None
        _calibrate(photo, dot_ratio, _cells(cells), support, out, encoding, layout, force)


def _cells(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--cells: expected rows x columns such as 8x12, got {text!r}")
    return int(parts[0]), int(parts[1])


def _print(path: Path, spacing_mm: float, dot_mm: float, paper: str, *, overwrite: bool) -> None:
    from blurphys.files.publishing import publish
    from solvers.estimation import grid_sheet

    if path.suffix.lower() != ".svg":
        raise ValueError(f"--print: expected a name ending in .svg, got {path}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --force replaces it")
    text = grid_sheet(spacing_mm=spacing_mm, dot_mm=dot_mm, paper=paper)
    with publish(path, overwrite=overwrite) as part:
        part.write_text(text)
    typer.echo(f"wrote {path}: print it at 100 %; its --dot-ratio is {dot_mm / spacing_mm:.4g}")


def _calibrate(
    photo: Path,
    ratio: float,
    cells: tuple[int, int],
    support: int | None,
    out: Path,
    encoding: str | None,
    layout: str | None,
    force: bool,
) -> None:
    import blurphys as bp
    from blurphys.files.publishing import existing_file, publish_together
    from solvers.estimation import GridNotFoundError, calibrate_grid
    from synth.io import read_image

    existing_file(photo)
    files = [out / name for name in (OPERATOR, OVERVIEW, REPORT)]
    for file in files:
        if file.exists() and not force:
            raise FileExistsError(f"{file} exists already; --force replaces it")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: expected a folder, got the file {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    image = read_image(photo, encoding=o.encoding_named(encoding), layout=o.layout_named(layout))
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            found = calibrate_grid(image, ratio=ratio, cells=cells, support=support)
    except GridNotFoundError as error:
        out.mkdir(exist_ok=True)
        picture = out / CANDIDATES
        _draw_candidates(picture, image.mean(axis=0), error.candidates)
        raise ValueError(f"{error}; {picture} shows the candidates") from None
    print_notes(raised)
    seconds = time.perf_counter() - start
    out.mkdir(exist_ok=True)
    with publish_together(files, overwrite=force) as (operator, overview, report):
        bp.save(found.operator, operator, overwrite=True)
        _draw_overview(overview, image.mean(axis=0), found)
        report.write_text(json.dumps(_report(found, ratio, seconds), indent=2, allow_nan=False) + "\n")
    for name, text in (
        ("dots", f"{len(found.dots)} found, {found.used} used"),
        ("PSFs", f"{cells[0]} x {cells[1]}, {found.psfs.shape[-1]} px wide"),
        ("misfit", f"{found.misfit:.3g} around the dots; noise {found.noise:.3g}, in linear light"),
        ("strength", f"{found.strength:.3g}, by predicting dots that were left out"),
        ("time", f"{seconds:.1f} s"),
    ):
        typer.echo(f"{name:<10}{text}")
    typer.echo(f"wrote {', '.join(str(file) for file in files)}")


def _report(found: Calibration, ratio: float, seconds: float) -> dict[str, Any]:
    rows, cols, height, width = found.psfs.shape
    return {
        "dots_found": len(found.dots),
        "dots_used": found.used,
        "dot_ratio": ratio,
        "cells": [rows, cols],
        "support": [height, width],
        "misfit": found.misfit,
        "noise": found.noise,
        "strength": found.strength,
        "contrast": found.contrast,
        "homography": found.geometry.homography.tolist(),
        "distortion": list(found.geometry.distortion),
        "frame": list(found.geometry.frame),
        "seconds": seconds,
    }


def _show(axes: Any, light: np.ndarray, points: np.ndarray, title: str) -> None:
    axes.imshow(light, cmap="gray")
    axes.plot(points[:, 1], points[:, 0], "+", color="tab:red", markersize=3, markeredgewidth=0.6)
    axes.set(title=title, xlim=(-0.5, light.shape[1] - 0.5), ylim=(light.shape[0] - 0.5, -0.5), xticks=[], yticks=[])


def _draw_candidates(path: Path, light: np.ndarray, candidates: np.ndarray) -> None:
    from blurphys.files.publishing import publish
    from blurphys.plot.panels import new_figure

    figure = new_figure(9, 6.5, dpi=120)
    _show(figure.subplots(), light, candidates, f"{len(candidates)} candidates, no grid")
    with publish(path, overwrite=True) as part:
        figure.savefig(part, format="png")


def _draw_overview(path: Path, light: np.ndarray, found: Calibration) -> None:
    from blurphys.plot.panels import new_figure

    rows, cols, height, width = found.psfs.shape
    figure = new_figure(16, 4.6, dpi=120)
    photo, field, errors = figure.subplots(1, 3)
    _show(photo, light, found.dots, f"{len(found.dots)} dots")
    peaks = found.psfs / found.psfs.max(axis=(2, 3), keepdims=True)
    bordered = np.pad(peaks, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0)
    mosaic = bordered.transpose(0, 2, 1, 3).reshape(rows * (height + 1), cols * (width + 1))
    field.imshow(mosaic, cmap="magma")
    field.set(title=f"PSFs, each by its maximum, {width} px wide", xticks=[], yticks=[])
    limit = 4 * max(found.misfit, 1e-12)
    shown = errors.imshow(found.residual, cmap="RdBu_r", vmin=-limit, vmax=limit)
    errors.set(title=f"photo - model, rms {found.misfit:.2g}, noise {found.noise:.2g}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=errors, shrink=0.8)
    figure.savefig(path, format="png")
