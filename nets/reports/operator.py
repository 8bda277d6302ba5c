"""Report on an operator file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import blurphys as bp
from blurphys import plot
from blurphys.analysis.linalg import to_numpy
from blurphys.plot.panels import new_figure

from .page import Page

__all__ = ["report_operator"]

TESTED_SIDE = 192
"""Side of the crop whose laws and convergence are tested, px."""


def report_operator(path: Path) -> tuple[Page, list[Path]]:
    """Return the page of an operator that `blurphys.save` wrote, and its files."""
    A = bp.load(path)
    page = Page(title=path.name, kind="operator")
    rows = [
        ("kind", type(A).__name__),
        ("input", " x ".join(map(str, A.in_shape))),
        ("output", " x ".join(map(str, A.out_shape))),
        ("dtype", str(A.dtype)),
        ("halo", f"{A.halo} px"),
    ]
    if (boundary := getattr(A, "boundary", None)) is not None:
        rows.append(("boundary", str(boundary)))
    page.section("What it is")
    page.table(rows)
    _psfs(page, A)
    small = _crop(A)
    where = "" if small is A else f" (central {small.out_shape[-2]} x {small.out_shape[-1]} px)"
    laws = bp.check(small)
    page.section(f"Laws{where}")
    page.table(
        [
            (row.name, {True: "holds", False: "broken", None: "does not apply"}[row.passed], _figure(row.figure),
             _figure(row.tolerance), row.detail)
            for row in laws.rows
        ],
        ("law", "", "measured", "allowed", "what it means"),
    )  # fmt: skip
    page.tone = "good" if laws.passed else "bad"
    page.verdict = "A linear operator with an exact adjoint: all laws hold." if laws.passed else "A law is broken."
    if small.in_shape == small.out_shape:
        found = bp.certificate(small)
        page.section(f"Does the fixed-point iteration converge?{where}")
        page.text(found.verdict)
        figure = new_figure(5.2, 5.0)
        plot.ritz_values(found, ax=figure.subplots())
        page.figure(figure, f"Ritz values of I - A; spectral radius {found.spectral_radius:.4f}")
    return page, [path]


def _psfs(page: Page, A: Any) -> None:
    try:
        A.psf_at(0, 0)
    except TypeError:
        page.section("PSFs")
        page.text("An operator made of others has no PSFs that could be shown.")
        return
    page.section("PSFs")
    rows, cols = (min(n, k) for n, k in zip(A.out_shape[-2:], (5, 7), strict=True))
    views = getattr(A, "views", None) or ("",)
    for number, view in enumerate(views):
        figure = new_figure(8.4, 6.4)
        plot.psf_field(A, grid=(rows, cols), view=number, ax=figure.subplots())
        page.figure(figure, f"PSFs over the frame{', ' + view if view else ''}, each scaled to its peak")
    height, width = A.out_shape[-2:]
    places = {"middle": (height // 2, width // 2), "corner": (0, 0)}
    psfs = [np.asarray(to_numpy(A.psf_at(*place))).reshape(-1, *_size(A, place))[0] for place in places.values()]
    figure = new_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2)
    plot.spectrum(*psfs, labels=list(places), ax=left)
    plot.edge_spread(*psfs, labels=list(places), ax=right)
    page.figure(figure, "Modulation transfer function and response to a vertical edge")


def _size(A: Any, place: tuple[int, int]) -> tuple[int, int]:
    shape = A.psf_at(*place).shape
    return int(shape[-2]), int(shape[-1])


def _crop(A: Any) -> Any:
    """Return the middle of a large operator, if it can be cropped."""
    height, width = A.out_shape[-2:]
    if max(height, width) <= TESTED_SIDE or A.in_shape[-2:] != A.out_shape[-2:]:
        return A
    rows, cols = (slice(max(0, (n - TESTED_SIDE) // 2), max(0, (n - TESTED_SIDE) // 2) + min(n, TESTED_SIDE))
                  for n in (height, width))  # fmt: skip
    try:
        return A.crop(rows, cols)
    except (TypeError, ValueError, NotImplementedError):
        return A


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"
