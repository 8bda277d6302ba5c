"""Point spread functions over the frame, and the views of a dual-pixel sensor beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs import require_integers, require_number
from ..optics.bank import PSFBank
from .panels import Plane, host, panels, picture

__all__ = ["psf_field", "psf_triptych"]


def psf_field(
    A: Any, *, grid: tuple[int, int] = (5, 7), view: int = 0, common_scale: bool = False, ax: Any = None
) -> tuple[Any, Any]:
    """Draw the PSFs of an operator at places spread evenly over the frame, as a mosaic.

    Parameters
    ----------
    A : LinearOperator
        With PSFs, that is, with `psf_at`; without batch axes.
    grid : (int, int)
        Rows and columns of the mosaic.
    view : int
        Which view, for operators of several, such as `bp.DualPixel`.
    common_scale : bool
        Whether brightness is comparable between PSFs; each is scaled to its own peak otherwise.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    TypeError
        The operator has no PSFs.
    ValueError
        A grid or view out of range.

    Notes
    -----
    Kernels for each colour are shown in colour. Negative values, which measured or fitted PSFs may have, are black.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> c = np.linspace(-3.0, 3.0, 48).reshape(1, 48).repeat(32, axis=0)
    >>> A = bp.DefocusBlur(c, bank=bp.PSFBank(bp.Pupil.disk(), max_radius=3.0))
    >>> fig, ax = bp.plot.psf_field(A, grid=(2, 5))
    """
    name = "psf_field"
    if not callable(getattr(A, "psf_at", None)):
        raise TypeError(f"{name}: expected an operator with PSFs (psf_at), got {type(A).__name__}")
    rows, cols = require_integers(name, "grid", grid)
    height, width = A.out_shape[-2:]
    if not (1 <= rows <= height and 1 <= cols <= width):
        raise ValueError(f"{name}: expected a grid of 1 to {height} rows and 1 to {width} columns, got {rows} x {cols}")
    at = [[(int((r + 0.5) * height / rows), int((c + 0.5) * width / cols)) for c in range(cols)] for r in range(rows)]
    psfs = np.stack([np.stack([_psf(name, A, row, col, view) for row, col in line]) for line in at])
    peak = psfs.max() if common_scale else psfs.max(axis=(2, 3, 4), keepdims=True)
    tiles = np.clip(psfs / np.maximum(peak, 1e-30), 0, 1)
    crop = _reach(tiles)
    tiles = tiles[:, :, crop[0], crop[1]]
    edge = np.nan if tiles.shape[-1] == 1 else 0.5
    bordered = np.pad(tiles, ((0, 0), (0, 0), (1, 0), (1, 0), (0, 0)), constant_values=edge)
    _, _, high, wide, channels = bordered.shape
    mosaic = bordered.transpose(0, 2, 1, 3, 4).reshape(rows * high, cols * wide, channels)
    figure, axes = panels(name, ax, 1, 1, size=(1.0 * cols + 0.4, 1.0 * rows * high / wide + 0.6))
    axes[0, 0].set_facecolor("0.5")  # the lines between the PSFs
    scale = "one scale" if common_scale else "each to its peak"
    seen = mosaic[..., 0] if channels == 1 else mosaic
    colours = {"cmap": "magma", "vmin": 0, "vmax": 1} if channels == 1 else {}
    picture(axes[0, 0], seen, f"PSFs over the frame, {wide - 1} px wide, {scale}", **colours)
    return figure, axes[0, 0]


def _psf(name: str, A: Any, row: int, col: int, view: int) -> Plane:
    """Return a PSF as (h, w, 1 or 3)."""
    psf = host(name, "a PSF", A.psf_at(row, col))
    extra = psf.shape[:-2]
    if len(extra) == 2 or (len(extra) == 1 and extra[0] not in (1, 3)) or getattr(A, "views", None) is not None:
        count = extra[0] if extra else 1
        if not 0 <= view < count:
            raise ValueError(f"{name}: expected a view from 0 to {count - 1}, got {view}")
        psf = psf[view] if extra else psf
    if psf.ndim == 2:
        return psf[..., None]
    return psf.transpose(1, 2, 0)


def _reach(tiles: Plane) -> tuple[slice, slice]:
    """Return the centred window that holds all that is visible of the tiles."""
    brightest = tiles.max(axis=(0, 1, 4))
    windows = []
    for axis in (1, 0):
        line = brightest.max(axis=axis)
        n, middle = line.size, line.size // 2
        seen = np.flatnonzero(line > 0.01)
        half = int(np.abs(seen - middle).max()) + 1 if seen.size else 1
        windows.append(slice(max(0, middle - half), min(n, middle + half + 1)))
    return windows[0], windows[1]


def psf_triptych(source: Any, radius: float, *, ax: Any = None) -> tuple[Any, Any]:
    """Draw the PSFs of left, right and combined view at one radius on one scale, with their centroids.

    Parameters
    ----------
    source : Pupil or PSFBank
        A bank needs the views left and right; the level nearest to the radius is shown.
    radius : float
        Signed circle-of-confusion radius, px, positive behind the plane of focus.
    ax : Axes or three Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes
        Three axes: left, right, combined.

    Raises
    ------
    ValueError
        A bank without the views, or a radius beyond it.

    Notes
    -----
    Behind the plane of focus the left view leans to -x. The distance of the centroids is the disparity of the blur.

    Examples
    --------
    >>> import blurphys as bp
    >>> fig, axes = bp.plot.psf_triptych(bp.Pupil.disk(split=0.45), 4.0)
    >>> [ax.get_title().split(",")[0] for ax in axes]
    ['left', 'right', 'combined']
    """
    name = "psf_triptych"
    radius = require_number(name, "radius", radius)
    left, right = (_view(name, source, radius, side) for side in ("left", "right"))
    views = {"left": left, "right": right, "combined": (left + right) / 2}
    peak = max(float(psf.max()) for psf in views.values())
    half = [n // 2 for n in left.shape]
    extent = (-half[1] - 0.5, left.shape[1] - half[1] - 0.5, left.shape[0] - half[0] - 0.5, -half[0] - 0.5)
    figure, axes = panels(name, ax, 1, 3, size=(3.0, 3.1))
    for place, (side, psf) in zip(axes[0], views.items(), strict=True):
        row, col = (
            float((psf.sum(axis=1 - axis) * (np.arange(psf.shape[axis]) - half[axis])).sum() / psf.sum())
            for axis in (0, 1)
        )
        place.imshow(psf, cmap="magma", vmin=0, vmax=peak, interpolation="nearest", extent=extent)
        place.plot(col, row, "+", color="#4cc9f0", markersize=11, markeredgewidth=1.8)
        place.set_title(f"{side}, centroid x {col:+.2f} px", fontsize=10)
        place.tick_params(labelsize=8)
    axes[0, 0].set_xlabel(f"radius {radius:+.2f} px", fontsize=9)
    return figure, axes[0]


def _view(name: str, source: Any, radius: float, side: str) -> Plane:
    if isinstance(source, PSFBank):
        radii = host(name, "the radii of the bank", source.radii)
        if not radii.min() <= radius <= radii.max():
            raise ValueError(
                f"{name}: expected a radius within the bank, {radii.min():g} to {radii.max():g} px, got {radius:g}"
            )
        return host(name, "PSFs", source.psfs(side)[int(np.abs(radii - radius).argmin())], 2)
    return host(name, "a PSF", source.psf(radius, view=side), 2)
