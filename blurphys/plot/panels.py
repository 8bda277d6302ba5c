"""What all figures share: panels, pictures without ticks, colour bars, arrays on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..analysis.linalg import to_numpy
from ..colour import linear_to_srgb

__all__ = ["colour_bar", "host", "limit_of", "new_figure", "panels", "picture", "shown", "values"]

Plane = NDArray[np.floating]


def new_figure(width: float, height: float, dpi: int = 110) -> Any:
    """Return a figure that needs no display and no pyplot, for writing to a file; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(name: str, ax: Any, rows: int, cols: int, *, size: tuple[float, float]) -> tuple[Any, NDArray[Any]]:
    """Return figure and axes (rows, cols): new ones of `size` inches a panel, parts of one Axes, or those given."""
    if ax is None:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(
            rows, cols, squeeze=False, figsize=(cols * size[0], rows * size[1]), layout="compressed"
        )
        return figure, axes
    if isinstance(ax, Sequence | np.ndarray):
        given = np.asarray(ax, dtype=object)
        if given.size != rows * cols:
            raise ValueError(f"{name}: expected one Axes, or {rows * cols} for the panels, got {given.size}")
        return given.ravel()[0].figure, given.reshape(rows, cols)
    if not hasattr(ax, "imshow"):
        raise TypeError(f"{name}: expected ax to be a matplotlib Axes, got {type(ax).__name__}")
    if rows * cols == 1:
        return ax.figure, np.array([[ax]], dtype=object)
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            f"{name}: the Axes given cannot be divided into {rows * cols} panels, for it is no cell of a grid; pass a "
            "sequence of axes"
        )
    ax.set_axis_off()
    grid = place.subgridspec(rows, cols)
    axes = np.array([[ax.figure.add_subplot(grid[row, col]) for col in range(cols)] for row in range(rows)])
    return ax.figure, axes


def host(name: str, what: str, array: Any, *axes: int) -> Plane:
    """Return an array as NumPy float64, with one of the numbers of `axes`; ValueError for others and for NaN."""
    found = np.asarray(to_numpy(array), dtype=np.float64)
    if axes and found.ndim not in axes:
        expected = " or ".join(str(n) for n in axes)
        raise ValueError(f"{name}: expected {what} with {expected} axes, got shape {found.shape}")
    if not found.size:
        raise ValueError(f"{name}: expected {what} with values, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: expected finite values in {what}, got NaN or infinity")
    return found


def shown(name: str, what: str, image: Any, *, encoded: bool) -> Plane:
    """Return an image for display, (H, W, 3) or (H, W), in [0, 1]."""
    found = host(name, what, image, 2, 3)
    if found.ndim == 3 and len(found) not in (1, 3):
        raise ValueError(
            f"{name}: expected {what} (C, H, W) with 1 or 3 channels, got {found.shape}; is C the last axis?"
        )
    seen: Plane = np.clip(found, 0, 1) if encoded else linear_to_srgb(np.clip(found, 0, 1))
    return seen if seen.ndim == 2 else seen[0] if len(seen) == 1 else seen.transpose(1, 2, 0)


def picture(ax: Any, seen: Plane, title: str | None, **options: Any) -> Any:
    """Show pixels as squares, without ticks, and return what matplotlib drew."""
    defaults = {"cmap": "gray", "vmin": 0, "vmax": 1} if seen.ndim == 2 and "cmap" not in options else {}
    drawn = ax.imshow(seen, **{"interpolation": "nearest", **defaults, **options})
    ax.set_xticks([])
    ax.set_yticks([])
    if title:
        ax.set_title(title, fontsize=10)
    return drawn


def colour_bar(drawn: Any, ax: Any, label: str) -> Any:
    """Draw a colour bar inside the column of an Axes, under it, so that pictures of a row keep their size."""
    below = ax.inset_axes((0.05, -0.09, 0.9, 0.045))
    bar = ax.figure.colorbar(drawn, cax=below, orientation="horizontal")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return bar


def limit_of(values_: Plane, quantile: float = 1.0) -> float:
    """Return a symmetric limit for a colour map: a quantile of the modulus, never zero."""
    return max(float(np.quantile(np.abs(values_), quantile)), 1e-12)


def values(name: str, what: str, given: Any) -> tuple[float, ...]:
    """Return a sequence of numbers as floats; ValueError if it is empty."""
    found = tuple(float(v) for v in given)
    if not found:
        raise ValueError(f"{name}: expected {what}, got none")
    return found
