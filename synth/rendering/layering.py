"""Cutting a scene into the layers of `blurphys.LayeredDefocus`."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from blurphys.inputs import require_integer
from blurphys.operators.layers_from_map import slab_edges

from ..camera.camera import Camera
from ..scenes import Layer, Scene

__all__ = ["Layers", "layers_of"]


class Layers(NamedTuple):
    """colours (K, 3, H, W), alphas (K, H, W) and signed CoC radii (K,), nearest first."""

    colours: np.ndarray
    alphas: np.ndarray
    radii: tuple[float, ...]


def layers_of(
    scene: Scene,
    camera: Camera,
    *,
    slabs: int = 24,
    invalid: Literal["error", "nearest", "far"] = "nearest",
    limit: float | None = None,
) -> Layers:
    """Cut the surfaces of a scene into slabs of nearly one radius each.

    Parameters
    ----------
    scene : Scene
        A photograph (with or without the background of `with_background`), or a scene of exact layers.
    camera : Camera
        Its lens gives the radii, clamped to `limit`.
    slabs : int
        Largest number for a photograph, or for each exact layer whose depth varies.
    invalid : {"error", "nearest", "far"}
        How the unknown depths of a photograph are filled.
    limit : float, optional
        Largest radius, px; the camera's without it.

    Returns
    -------
    Layers

    Raises
    ------
    ValueError
        `slabs` < 1, or unknown depths with ``invalid="error"``.

    Notes
    -----
    Slabs are uniform in the radius, that is in inverse depth, and have the mean radius of their pixels. A surface that
    continues from one slab into the next would show a seam, where both are half transparent: so each slab is extended
    under the next nearer one, with the colours of that one, as far as the blur of either reaches.
    """
    require_integer("layers", "slabs", slabs)
    limit = camera.max_radius if limit is None else limit
    if scene.layers:
        present = [layer for layer in scene.layers if layer.alpha.any()]  # a window may lack some
        parts = [_cut([layer], [_radii(layer.depth_m, layer.alpha > 0, camera, limit)], slabs) for layer in present]
        return Layers(
            np.concatenate([part.colours for part in parts]),
            np.concatenate([part.alphas for part in parts]),
            tuple(radius for part in parts for radius in part.radii),
        )
    exact = np.clip(camera.defocus_map(scene.depth_m, invalid=invalid), -limit, limit)
    visible = Layer(
        colour=scene.all_in_focus, alpha=np.ones_like(scene.all_in_focus[0]), depth_m=np.ones_like(scene.depth_m)
    )
    if scene.hidden is None:
        return _cut([visible], [exact], slabs)
    behind = _radii(scene.hidden.depth_m, scene.hidden.alpha > 0, camera, limit)
    return _cut([visible, scene.hidden], [exact, np.maximum(behind, exact)], slabs)


def _radii(depth: np.ndarray, known: np.ndarray, camera: Camera, limit: float) -> np.ndarray:
    if not known.any():
        return np.zeros_like(depth)
    filled = np.where(known, depth, depth[known].max())
    radii: np.ndarray = np.clip(camera.defocus_map(filled), -limit, limit)
    return radii


def _cut(surfaces: list[Layer], radii: list[np.ndarray], slabs: int) -> Layers:
    """Slice surfaces (the visible one, then the hidden one) by radius; nearest slab first."""
    used = [surface.alpha > 0 for surface in surfaces]
    values = np.concatenate([radius[mask] for radius, mask in zip(radii, used, strict=True)])
    if not values.size:
        values = np.zeros(1)
    low, high = float(values.min()), float(values.max())
    edges = slab_edges(low, high, slabs)
    numbers = [np.digitize(radius, edges) for radius in radii]
    colours, alphas, means = [], [], []
    for k in range(len(edges) + 1):
        members = [mask & (number == k) for mask, number in zip(used, numbers, strict=True)]
        size = sum(int(member.sum()) for member in members)
        if not size:
            continue
        mean = sum(float(radius[member].sum()) for radius, member in zip(radii, members, strict=True)) / size
        alpha, colour = np.zeros_like(surfaces[0].alpha), surfaces[0].colour
        for surface, member in reversed(list(zip(surfaces, members, strict=True))):
            alpha = np.where(member, surface.alpha, alpha)
            colour = np.where(member, surface.colour, colour)
        under = members[0] if k == 0 else _beside(members[0], used[0] & (numbers[0] == k - 1), abs(mean) + 1)
        under = under & (alpha == 0) & (surfaces[0].alpha == 1)  # partial coverage would count twice
        alpha = np.where(under, surfaces[0].alpha, alpha)
        colour = np.where(under, surfaces[0].colour, colour)
        colours.append(colour)
        alphas.append(alpha)
        means.append(float(np.clip(mean, low, high)))
    return Layers(np.stack(colours), np.stack(alphas), tuple(means))


def _beside(slab: np.ndarray, nearer: np.ndarray, reach: float) -> np.ndarray:
    """Pixels of the nearer slab within reach of this one."""
    from scipy.ndimage import maximum_filter1d

    rows, columns = np.flatnonzero(slab.any(axis=1)), np.flatnonzero(slab.any(axis=0))
    found = np.zeros_like(slab)
    if not rows.size:
        return found
    r = int(np.ceil(2 * reach))
    window = (
        slice(max(0, rows[0] - r), rows[-1] + 1 + r),
        slice(max(0, columns[0] - r), columns[-1] + 1 + r),
    )
    if not nearer[window].any():
        return found
    wide = slab[window].astype(np.uint8)
    for axis in (0, 1):
        wide = maximum_filter1d(wide, 2 * r + 1, axis=axis)
    found[window] = (wide > 0) & nearer[window]
    return found
