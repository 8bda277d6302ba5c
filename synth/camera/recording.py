"""From light to a recorded image: distortion, vignetting and shading, sensor and tone curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import optics
from .camera import Camera
from .views import QUAD_PIXEL, SUB_APERTURES, sub_apertures_of

__all__ = ["compute_gains", "record"]


def record(arrays: Mapping[str, np.ndarray], camera: Camera, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Record the light of a sample.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The planes of a sample: light in all views, and the maps, which are distorted with them.
    camera : Camera
        With settled lens and noise.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    dict of str to ndarray
        The same planes; combined is the mean of the noisy views where there are any.
    """
    planes, flaws = dict(arrays), camera.imperfections
    if flaws.distortion is not None:
        kinds: dict[str, Any] = {"depth_m": "depth", "defocus_map": "radius", "valid": "mask"}  # the rest are images
        planes = flaws.distortion.apply_all(planes, {name: kinds.get(name, "image") for name in planes})
    gains = compute_gains(planes["valid"].shape, camera)
    light = {name: planes[name] for name in gains if name in planes}
    light = {name: np.maximum(array * gains[name], 0).astype(array.dtype) for name, array in light.items()}
    if parts := sub_apertures_of(tuple(light)):
        # A quad-pixel view collects half the light of a dual-pixel view, and is scaled to the same exposure.
        sensor = replace(camera.sensor, noise=camera.noise.scaled(2)) if parts == QUAD_PIXEL else camera.sensor
        recorded = sensor.views({name: light[name] for name in parts}, rng)
        recorded = {name: array for name, array in recorded.items() if name in light}
    else:
        sensor = replace(camera.sensor, noise=camera.noise.combined)
        recorded = {"combined": sensor.expose(light["combined"], rng)}
    planes |= recorded
    if camera.tone.name != "linear":
        for name in ("all_in_focus", *recorded):
            planes[name] = camera.tone.apply(planes[name])
    return planes


def compute_gains(shape: tuple[int, ...], camera: Camera) -> dict[str, np.ndarray | float]:
    """Return what lens and microlenses let through, for each view: a number, or an array (H, W)."""
    flaws, frame = camera.imperfections, (shape[0], shape[1])
    fall: np.ndarray | float = 1.0 if flaws.vignetting == 1 else optics.vignetting(frame, corner=flaws.vignetting)
    gains = dict.fromkeys(("combined", *(view for part in SUB_APERTURES for view in part)), fall)
    if flaws.shading == (1.0, 1.0):
        return gains
    split = optics.view_shading(frame, ratio_left=flaws.shading[0], ratio_right=flaws.shading[1])
    for name in gains:
        side = name.rpartition("_")[2]
        if side in split:
            gains[name] = fall * split[side]
    return gains
