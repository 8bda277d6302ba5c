"""A pupil named on the command line: disk, gaussian, butterworth:3, polygon:6."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import numpy as np
import typer

import blurphys as bp

__all__ = ["PupilOption", "pupil_named"]

CORE = 0.4
"""Blur of every PSF beside the defocus (diffraction, aberrations, demosaicing), px."""

GAUSSIAN_EXTENT = 2.0
"""A Gaussian of radius r is cut at this many r; its standard deviation is r / 2, that of a disk."""

PupilOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--pupil", help="Shape of the PSFs: disk, gaussian, polygon:6 (number of blades), butterworth or butterworth:3."
    ),
]


def pupil_named(name: str, *, split: float | None = None) -> bp.Pupil:
    """Return the pupil of a name, with a core blur of .4 px; ValueError for another name."""
    kind, colon, given = name.partition(":")
    settings: dict[str, Any] = {"core": CORE, **({} if split is None else {"split": split})}
    if kind in ("disk", "gaussian") and not colon:
        if kind == "disk":
            return bp.Pupil.disk(**settings)
        grid = np.linspace(-GAUSSIAN_EXTENT, GAUSSIAN_EXTENT, 96)
        grid = np.exp(-2 * (grid[:, None] ** 2 + grid**2))
        return bp.Pupil.measured(grid, extent=GAUSSIAN_EXTENT, **settings)
    if kind == "polygon" and given.isdecimal() and int(given) >= 3:
        return bp.Pupil.polygon(int(given), **settings)
    if kind == "butterworth" and (not colon or (given.isdecimal() and int(given) >= 1)):
        return bp.Pupil.butterworth(int(given) if colon else 3, **settings)
    raise ValueError(
        f"--pupil: expected disk, gaussian, polygon:N with N blades of at least 3, butterworth or butterworth:ORDER, "
        f"got {name!r}"
    )
