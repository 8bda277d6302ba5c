"""A lens fitted to scenes: the focus and the pixel pitch at which their blur is strong and stays below a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

import blurphys as bp
from blurphys.inputs import require_number

from ..scenes import Scene

__all__ = ["fit_lens_to_scene", "fit_lens_to_scenes"]


def fit_lens_to_scenes(
    lens: bp.ThinLens,
    scenes: Iterable[Scene],
    *,
    f_number: float,
    draws_focus: bool,
    max_radius: float,
    outliers: float,
) -> tuple[bp.ThinLens, tuple[float, float]]:
    """Return the lens of `Camera.for_scenes`, and the nearest and farthest focus distance it may draw.

    `f_number` is the smallest one drawn, and `draws_focus` says whether the focus is drawn at all.
    """
    require_number("Camera", "max_radius", max_radius, above=0, unit="px")
    if not 0 <= outliers < 0.5:
        raise ValueError(f"Camera: expected outliers from 0 to 0.5, got {outliers}")
    shares = (np.arange(2000) + 0.5) / 2000
    depths = [np.quantile(scene.depth_m[scene.valid], shares, method="nearest") for scene in scenes]
    if not depths:
        raise ValueError("Camera: expected at least one scene, got none")
    depth = np.concatenate(depths)
    near, middle, far = (float(d) for d in np.quantile(depth, (0.25, 0.5, 0.75), method="nearest"))
    focuses = (near, far) if draws_focus else (middle,)
    lens = replace(lens, focus_distance_m=middle)
    radii = [replace(lens, f_number=f_number, focus_distance_m=u).defocus_map(depth[None]) for u in focuses]
    strongest = max(float(np.quantile(np.abs(r), 1 - outliers, method="nearest")) for r in radii)
    if not strongest > 1e-9:
        raise ValueError(f"Camera: every pixel of the scenes lies in the plane of focus at {middle:g} m")
    pitch = lens.pixel_pitch_um * strongest / max_radius * (1 + 1e-9)
    return replace(lens, pixel_pitch_um=pitch), (near, far)


def fit_lens_to_scene(
    lens: bp.ThinLens,
    scene: Scene,
    *,
    max_radius: float,
    focus_distance_m: float | None,
    quantile: float,
    outliers: float,
) -> bp.ThinLens:
    """Return the lens of `Camera.for_scene`."""
    if not 0 <= outliers < 0.5:
        raise ValueError(f"Camera: expected outliers from 0 to 0.5, got {outliers}")
    require_number("Camera", "max_radius", max_radius, above=0, unit="px")
    require_number("Camera", "quantile", quantile, least=0, most=1)
    depth = scene.depth_m[scene.valid]
    focus = float(np.quantile(depth, quantile)) if focus_distance_m is None else focus_distance_m
    lens = replace(lens, focus_distance_m=focus)
    extremes = lens.defocus_map(np.quantile(depth, [outliers, 1 - outliers], method="nearest")[None])
    strongest = float(np.abs(extremes).max())
    if not strongest > 1e-9:
        raise ValueError(
            f"Camera: every pixel of scene {scene.name} lies in the plane of focus at {focus:g} m; move the focus"
        )
    # One part in 10^9 to spare, so that rounding does not push the largest radius over the limit.
    pitch = lens.pixel_pitch_um * strongest / max_radius * (1 + 1e-9)
    return replace(lens, pixel_pitch_um=pitch)
