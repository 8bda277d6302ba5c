"""Maps over the frame: the signed defocus radius, and the coefficients of a mixture."""

from __future__ import annotations

from math import ceil
from typing import Any

from .panels import colour_bar, host, limit_of, panels, picture

__all__ = ["coefficient_maps", "defocus_map"]

MAX_PANELS = 12


def defocus_map(radius: Any, *, limit: float | None = None, ax: Any = None) -> tuple[Any, Any]:
    """Draw a map of signed circle-of-confusion radii; white is in focus, blue behind the plane of focus, red in front.

    Parameters
    ----------
    radius : array of shape (H, W)
        Signed radius in px, positive behind the plane of focus.
    limit : float, optional
        Radius at the ends of the colour bar, px; the largest modulus in the map if omitted.
    ax : Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes

    Raises
    ------
    ValueError
        Not a map (H, W), not finite, or a limit that is not positive.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> fig, ax = bp.plot.defocus_map(np.linspace(-1.0, 3.0, 12).reshape(3, 4))
    >>> ax.images[0].get_clim()
    (-3.0, 3.0)
    """
    name = "defocus_map"
    plane = host(name, "a defocus map (H, W)", radius, 2)
    reach = limit_of(plane) if limit is None else float(limit)
    if not reach > 0:
        raise ValueError(f"{name}: expected a positive limit in px, got {limit}")
    figure, axes = panels(name, ax, 1, 1, size=(5.0, 4.2))
    drawn = picture(axes[0, 0], plane, "defocus map", cmap="RdBu", vmin=-reach, vmax=reach)
    colour_bar(drawn, axes[0, 0], "signed radius (px), + behind focus")
    return figure, axes[0, 0]


def coefficient_maps(coefficients: Any, *, labels: Any = (), ax: Any = None) -> tuple[Any, Any]:
    """Draw the coefficient maps of a mixture on one colour scale, at most 12 of them, spread evenly.

    Parameters
    ----------
    coefficients : operator, or array of shape (K, H, W)
        `bp.GKM` (its beta), `bp.RKR` (gamma), `bp.PSFStack` (weights), or the maps themselves.
    labels : sequence of str
        One for each of the K maps; their numbers, or the widths of the Gaussians, if omitted.
    ax : Axes or sequence of Axes, optional
        See `blurphys.plot`.

    Returns
    -------
    fig, axes
        `axes` of shape (rows, columns); the colour bar is below the last map.

    Raises
    ------
    ValueError
        Batched or other maps; a number of labels other than K.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> beta = np.random.default_rng(0).random((3, 8, 10))
    >>> fig, axes = bp.plot.coefficient_maps(bp.GKM(beta=beta / beta.sum(0), sigmas=(0.0, 1.0, 2.0)))
    >>> [ax.get_title() for ax in axes.ravel()]
    ['sigma 0', 'sigma 1', 'sigma 2']
    """
    name = "coefficient_maps"
    maps, names = coefficients, tuple(labels)
    for attribute in ("beta", "gamma", "weights"):
        if hasattr(coefficients, attribute):
            maps = getattr(coefficients, attribute)
            if attribute == "beta" and not names:
                sigmas = host(name, "sigmas", coefficients.sigmas)
                names = tuple(f"sigma {s:.3g}" for s in sigmas) if sigmas.ndim == 1 else ()
            break
    planes = host(name, "coefficient maps (K, H, W)", maps, 3)
    count, height, width = planes.shape
    names = names or tuple(f"map {k}" for k in range(count))
    if len(names) != count:
        raise ValueError(f"{name}: expected {count} labels, one for each map, got {len(names)}")
    chosen = [round(k * (count - 1) / (min(count, MAX_PANELS) - 1 or 1)) for k in range(min(count, MAX_PANELS))]
    cols = min(len(chosen), 4)
    rows = ceil(len(chosen) / cols)
    figure, axes = panels(name, ax, rows, cols, size=(3.0, 3.0 * min(height / width, 1.4) + 0.4))
    low, high = min(0.0, float(planes.min())), max(float(planes.max()), 1e-12)
    for place, k in zip(axes.ravel(), chosen, strict=False):
        drawn = picture(place, planes[k], names[k], cmap="viridis", vmin=low, vmax=high)
    for place in axes.ravel()[len(chosen) :]:
        place.set_axis_off()
    colour_bar(drawn, axes.ravel()[len(chosen) - 1], "coefficient")
    return figure, axes
