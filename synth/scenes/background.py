"""A background for photographs: the hidden surfaces behind depth edges, guessed from their surroundings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .scene import Layer, Scene

__all__ = ["with_background"]


def with_background(scene: Scene, *, reach: int = 48, jump: float = 0.05) -> Scene:
    """Add a guess of what lies behind the depth edges of a photograph, to be seen through a blurred foreground.

    Parameters
    ----------
    scene : Scene
        A photograph with depth. One with exact layers is returned as it is.
    reach : int
        How far the background extends behind an edge, px; twice the largest blur radius is enough.
    jump : float
        Two neighbours belong to different surfaces where their inverse depths differ by more than this share of the
        nearer one's.

    Returns
    -------
    Scene
        With `hidden`: colour and depth of the second surface, alpha 1 where there is one.

    Raises
    ------
    ValueError
        `reach` < 1, or `jump` not between 0 and 1.

    Notes
    -----
    A pixel on the near side of an edge takes depth and colour of the far side; pixels further in take those of the
    nearest such pixel, if that depth lies behind their own. Colours are then smoothed, more with the distance from the
    edge. It is a guess: one photograph does not show hidden surfaces. Cost: one distance transform, O(H W).
    """
    from scipy import ndimage

    if reach < 1:
        raise ValueError(f"with_background: expected reach of at least 1 px, got {reach}")
    if not 0 < jump < 1:
        raise ValueError(f"with_background: expected jump between 0 and 1, got {jump}")
    if scene.layers:
        return scene
    inverse = 1 / scene.depth_m
    if not scene.valid.all():
        place = ndimage.distance_transform_edt(~scene.valid, return_distances=False, return_indices=True)
        inverse = inverse[tuple(place)]
    image = scene.all_in_focus
    behind = np.full(inverse.shape, np.inf)  # inverse depth of the far side of the deepest edge at a pixel
    colour = np.zeros_like(image)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        other = _neighbour(inverse, axis, step)
        edge = (inverse - other > jump * inverse) & (other < behind)
        behind = np.where(edge, other, behind)
        colour = np.where(edge, _neighbour(image, axis + 1, step), colour)
    seeds = np.isfinite(behind)
    if not seeds.any():
        return replace(scene, hidden=None)
    distance, place = ndimage.distance_transform_edt(~seeds, return_indices=True)
    nearest = tuple(place)
    behind, colour = behind[nearest], colour[:, nearest[0], nearest[1]]
    covered = (distance <= reach) & (inverse - behind > 0.5 * jump * inverse)
    colour = _smoothed(colour, covered, distance)
    depth = np.where(covered, 1 / behind, np.nan)
    hidden = Layer(
        colour=np.ascontiguousarray(colour, image.dtype), alpha=covered.astype(image.dtype), depth_m=depth
    )  # fmt: skip
    return replace(scene, hidden=hidden)


def _neighbour(x: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Return the next value along an axis; at the border the value itself."""
    index = np.clip(np.arange(x.shape[axis]) + step, 0, x.shape[axis] - 1)
    moved: np.ndarray = np.take(x, index, axis=axis)
    return moved


def _smoothed(colour: np.ndarray, covered: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Blend from the colours at the edge to their local mean, over twelve pixels."""
    from scipy.ndimage import uniform_filter

    weight = covered.astype(np.float32)
    total = np.maximum(uniform_filter(weight, 15, mode="constant"), 1e-6)
    mean = np.stack([uniform_filter(plane * weight, 15, mode="constant") for plane in colour]) / total
    share = np.clip(distance / 12, 0, 1).astype(np.float32)
    blended: np.ndarray = np.where(covered, (1 - share) * colour + share * mean, colour)
    return blended
