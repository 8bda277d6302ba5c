"""Rendering by sampling the aperture: what every other model is measured against. Slow, exact for layered scenes.

Seen from one point of the pupil everything is sharp, and nearer layers hide farther ones; defocus is the mean over the
pupil of such pictures, each layer shifted by its circle of confusion. No blurred alphas, no product of shares: what
hides what is decided for each point alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import blurphys as bp
from blurphys.inputs import require_integer

__all__ = ["pupil_points", "render_by_aperture", "sample_psf"]


def pupil_points(pupil: bp.Pupil, view: str | float, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Spread points evenly over a pupil and weigh them by what a view sees there.

    Parameters
    ----------
    pupil : blurphys.Pupil
        The pupil.
    view : str or float
        As for `Pupil.seen`.
    samples : int
        Points, rounded up to an even number; those outside the pupil or without any view are left out.

    Returns
    -------
    points : ndarray of shape (M, 2)
        (X, Y) in pupil radii.
    weights : ndarray of shape (M,)
        Positive; those of the combined view sum to one.

    Raises
    ------
    ValueError
        A pupil with a core, or an unknown view.

    Notes
    -----
    A sunflower spiral, point i at i golden angles and a radius that grows as sqrt(i + 1/2), so that the density is
    uniform; and its mirror image, so that opposite halves of a symmetric pupil weigh the same.
    """
    if pupil.core:
        raise ValueError(f"by_aperture: expected a pupil without a core, which no ray shows, got core={pupil.core}")
    half = (samples + 1) // 2
    number = np.arange(half)
    radius = pupil.extent * math.sqrt(2 if pupil.parameters["kind"] == "measured" else 1)
    rho = radius * np.sqrt((number + 0.5) / half)
    angle = number * math.pi * (3 - math.sqrt(5))
    points = np.stack([rho * np.cos(angle), rho * np.sin(angle)], axis=1)
    points = np.concatenate([points, -points])
    n = pupil.intensity.shape[0]
    cell = np.floor((points + pupil.extent) * n / (2 * pupil.extent)).astype(int)
    inside = ((cell >= 0) & (cell < n)).all(axis=1)
    column, row = cell[inside].T
    weights = pupil.seen(view)[row, column] / pupil.intensity[row, column].sum()
    kept = weights > 0
    return points[inside][kept], weights[kept]


def render_by_aperture(
    colours: np.ndarray,
    alphas: np.ndarray,
    radii: Sequence[float],
    pupil: bp.Pupil,
    *,
    view: str | float = "combined",
    samples: int = 1000,
) -> np.ndarray:
    """Render layers through every point of the pupil in turn.

    Parameters
    ----------
    colours : ndarray of shape (K, C, H, W)
        Linear light of each layer, nearest first, known where its alpha is not zero.
    alphas : ndarray of shape (K, H, W)
        Cover of each layer, 0 to 1.
    radii : sequence of K floats
        Signed circle-of-confusion radius of each layer, px.
    pupil : blurphys.Pupil
        The pupil.
    view : str or float
        As for `Pupil.seen`.
    samples : int
        Points on the pupil; the error falls faster than one over their square root.

    Returns
    -------
    ndarray of shape (C, H, W)
        float64.

    Raises
    ------
    ValueError
        Shapes or radii that do not fit each other, or no samples.

    Notes
    -----
    Layers are shifted by (c X, c Y) with linear interpolation of colour times alpha and of alpha, which adds the blur
    of at most half a pixel; mirrored at the border, edge not repeated. Cost: M K shifts of C + 1 planes.
    """
    colours, alphas = np.asarray(colours, np.float64), np.asarray(alphas, np.float64)
    if colours.ndim != 4 or alphas.shape != (len(colours), *colours.shape[2:]) or len(radii) != len(colours):
        raise ValueError(
            f"by_aperture: expected colours (K, C, H, W), alphas (K, H, W) and K radii, got {colours.shape}, "
            f"{alphas.shape} and {len(radii)}"
        )
    require_integer("by_aperture", "samples", samples)
    planes = np.concatenate([colours * alphas[:, None], alphas[:, None]], axis=1)
    points, weights = pupil_points(pupil, view, samples)
    total = np.zeros(colours.shape[1:])
    for (X, Y), weight in zip(points, weights, strict=True):
        picture, open_share = np.zeros(colours.shape[1:]), np.ones(colours.shape[2:])
        for plane, radius in zip(planes, radii, strict=True):
            moved = _shifted(plane, radius * Y, radius * X)
            picture += open_share * moved[:-1]
            open_share *= 1 - moved[-1]
        total += weight * picture
    return total


def sample_psf(radius: float, pupil: bp.Pupil, *, view: str | float = "combined", samples: int = 1000) -> np.ndarray:
    """Return the PSF that `render_by_aperture` gives a point in the plane of one layer, (n, n) with n odd."""
    points, weights = pupil_points(pupil, view, samples)
    half = math.ceil(abs(radius) * float(np.abs(points).max(initial=0.0))) + 1
    psf = np.zeros((2 * half + 1, 2 * half + 1))
    position = half + radius * points[:, ::-1]
    corner = np.floor(position).astype(int)
    fraction = position - corner
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - fraction[:, 0]) * np.abs(1 - right - fraction[:, 1])
            np.add.at(psf, (corner[:, 0] + down, corner[:, 1] + right), weights * share)
    return psf


def _shifted(planes: np.ndarray, down: float, right: float) -> np.ndarray:
    """Move content by (down, right) px."""
    rows, columns = math.floor(down), math.floor(right)
    f, g = down - rows, right - columns
    reach = max(abs(rows), abs(columns)) + 1
    wide = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(reach, reach)] * 2, mode="reflect")
    height, width = planes.shape[-2:]

    def at(y: int, x: int) -> np.ndarray:
        top, left = reach - rows - y, reach - columns - x
        part: np.ndarray = wide[..., top : top + height, left : left + width]
        return part

    return (1 - f) * ((1 - g) * at(0, 0) + g * at(0, 1)) + f * ((1 - g) * at(1, 0) + g * at(1, 1))
