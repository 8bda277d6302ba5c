"""Pictures side by side with magnified details, and the error of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..inputs import require_integer
from .panels import colour_bar, host, limit_of, panels, picture, shown

__all__ = ["before_after", "detail_of", "error_map"]

COLOURS = ("#ffb000", "#4cc9f0", "#f72585", "#8ac926")


def before_after(
    *images: Any,
    labels: Sequence[str] = (),
    details: int | Sequence[tuple[int, int, int]] = 1,
    encoded: bool = False,
    ax: Any = None,
) -> tuple[Any, Any]:
    """Draw pictures of one scene side by side, with the same details of each magnified below it.

    Parameters
    ----------
    *images : arrays of shape (C, H, W) or (H, W)
        Two or more, of one size: before, after, and the truth if it is known.
    labels : sequence of str
        A title for each; "before" and "after" if there are two images and no labels.
    details : int or sequence of (row, column, side)
        Squares to magnify, upper left corner and side in px; a number lets the function choose that many where the
        first two images differ most. 0 for none.
    encoded : bool
        Whether the values are sRGB-encoded already; linear light otherwise.
    ax : Axes or sequence of Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes
        `axes` of shape (1 + details, images), the details below.

    Raises
    ------
    ValueError
        Fewer than two images, different sizes, or details outside the image.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> sharp = np.random.default_rng(0).random((3, 24, 32))
    >>> blurred = bp.Convolution(bp.psf.disk(2.0), shape=sharp.shape)(sharp)
    >>> fig, axes = bp.plot.before_after(blurred, sharp, labels=("blurred", "sharp"))
    >>> axes.shape
    (2, 2)
    """
    name = "before_after"
    if len(images) < 2:
        raise ValueError(f"{name}: expected at least two images, got {len(images)}")
    seen = [shown(name, f"image {k}", image, encoded=encoded) for k, image in enumerate(images)]
    if len({image.shape[:2] for image in seen}) > 1:
        sizes = ", ".join(f"{image.shape[0]} x {image.shape[1]}" for image in seen)
        raise ValueError(f"{name}: expected images of one size, got {sizes} px")
    titles = tuple(labels) or (("before", "after") if len(seen) == 2 else ("",) * len(seen))
    if len(titles) != len(seen):
        raise ValueError(f"{name}: expected {len(seen)} labels, one for each image, got {len(titles)}")
    height, width = seen[0].shape[:2]
    squares = _squares(name, seen, details)
    figure, axes = panels(name, ax, 1 + len(squares), len(seen), size=(4.2, 4.2 * min(height / width, 1.4) + 0.3))
    for col, (image, title) in enumerate(zip(seen, titles, strict=True)):
        picture(axes[0, col], image, title)
        for place, (row, left, side) in enumerate(squares):
            colour = COLOURS[place % len(COLOURS)]
            axes[0, col].plot(
                np.array([left, left + side, left + side, left, left]) - 0.5,
                np.array([row, row, row + side, row + side, row]) - 0.5, color=colour, linewidth=1.5,
            )  # fmt: skip
            picture(axes[1 + place, col], image[row : row + side, left : left + side], None)
            for spine in axes[1 + place, col].spines.values():
                spine.set(color=colour, linewidth=2)
    return figure, axes


def _squares(
    name: str, seen: Sequence[Any], details: int | Sequence[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    height, width = seen[0].shape[:2]
    if isinstance(details, Sequence):
        for row, col, side in details:
            if side < 1 or not (0 <= row <= height - side and 0 <= col <= width - side):
                raise ValueError(
                    f"{name}: expected details (row, column, side) inside {height} x {width} px, got {(row, col, side)}"
                )
        return [(int(row), int(col), int(side)) for row, col, side in details]
    count = require_integer(name, "details", details, least=0)
    change = np.abs(seen[1] - seen[0])
    change = change.mean(axis=2) if change.ndim == 3 else change.copy()
    squares = []
    for _ in range(count):
        row, col, side = detail_of(change)
        squares.append((row, col, side))
        change[row : row + side, col : col + side] = 0
    return squares


def detail_of(change: Any) -> tuple[int, int, int]:
    """Return row, column and side of the square, a fourth of the picture, in which `change` (H, W) is largest.

    Examples
    --------
    >>> import numpy as np
    >>> change = np.zeros((12, 16))
    >>> change[6, 9] = 1
    >>> detail_of(change)
    (5, 8, 3)
    """
    from scipy.ndimage import gaussian_filter

    side = max(1, min(change.shape) // 4)
    half = side // 2
    inside = tuple(slice(half, n - side + half + 1) for n in change.shape)
    weighed = gaussian_filter(np.asarray(change, np.float64), max(side / 3, 0.5), mode="constant")[inside]
    row, col = np.unravel_index(int(np.argmax(weighed)), weighed.shape)
    return int(row), int(col), side


def error_map(
    image: Any, truth: Any, *, limit: float | None = None, srgb: bool = False, ax: Any = None
) -> tuple[Any, Any]:
    """Draw the signed error of a picture, mean over colours, with symmetric limits: red too bright, blue too dark.

    Parameters
    ----------
    image, truth : arrays of shape (C, H, W) or (H, W)
    limit : float, optional
        Error at the ends of the colour bar; the quantile of 99.5 % of the modulus if omitted.
    srgb : bool
        Whether linear light is sRGB-encoded first, so that errors are weighed as they are seen. The values are compared
        as they are otherwise.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        Different shapes, or a limit that is not positive.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> fig, ax = bp.plot.error_map(np.full((4, 6), 0.6), np.full((4, 6), 0.5))
    >>> tuple(round(v, 3) for v in ax.images[0].get_clim())
    (-0.1, 0.1)
    """
    from ..colour import linear_to_srgb

    name = "error_map"
    first, second = host(name, "the image", image, 2, 3), host(name, "the truth", truth, 2, 3)
    if first.shape != second.shape:
        raise ValueError(f"{name}: expected image and truth of one shape, got {first.shape} and {second.shape}")
    if srgb:
        first, second = (linear_to_srgb(np.clip(a, 0, 1)) for a in (first, second))
    error = first - second
    error = error.mean(axis=0) if error.ndim == 3 else error
    reach = limit_of(error, 0.995) if limit is None else float(limit)
    if not reach > 0:
        raise ValueError(f"{name}: expected a positive limit, got {limit}")
    figure, axes = panels(name, ax, 1, 1, size=(5.0, 4.2))
    drawn = picture(axes[0, 0], error, "error", cmap="RdBu_r", vmin=-reach, vmax=reach)
    colour_bar(drawn, axes[0, 0], "image - truth, mean over colours" + (", sRGB" if srgb else ""))
    return figure, axes[0, 0]
