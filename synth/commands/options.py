"""Command-line options that name a scene and a camera; `blurphys blur` and `blurphys demo` share them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer

import blurphys as bp

from .. import scenes
from ..camera.camera import Camera
from ..camera.file import camera_named, is_camera_file
from ..camera.noise import ShotReadNoise
from ..scenes import Scene
from .scene_options import (
    BaselineOption,
    DepthOption,
    DisparityScaleOption,
    DoffsOption,
    EncodingOption,
    FarOption,
    FolderOption,
    ImageOption,
    InvalidOption,
    LayoutOption,
    NearOption,
    ResizeOption,
    StereoFocalOption,
    UnitOption,
    ZeroOption,
    check_seed,
    encoding_named,
    layout_named,
    policy,
    range_named,
    resize_named,
    scene_from,
)

__all__ = [
    "camera_from",
    "check_seed",
    "describe",
    "encoding_named",
    "exposure",
    "layout_named",
    "policy",
    "range_named",
    "resize_named",
    "scene_from",
    "ImageOption",
    "DepthOption",
    "FolderOption",
    "UnitOption",
    "NearOption",
    "FarOption",
    "ResizeOption",
    "StereoFocalOption",
    "BaselineOption",
    "DoffsOption",
    "DisparityScaleOption",
    "ZeroOption",
    "EncodingOption",
    "LayoutOption",
    "InvalidOption",
]

FULL_FRAME_MM = 36.0

_LENS = "Camera"
PresetOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--camera",
        help="Camera to start from, canon-r6ii or pixel4; or a file, my.toml (keys as in a dataset's config.json), "
        "used as it is except for the other options.",
        rich_help_panel=_LENS,
    ),
]
FocalOption: TypeAlias = Annotated[
    float | None, typer.Option("--focal-length", help="Focal length, mm.", rich_help_panel=_LENS)
]
FNumberOption: TypeAlias = Annotated[float | None, typer.Option("--f-number", help="f-number.", rich_help_panel=_LENS)]
FocusOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--focus-distance", help="Plane of focus, m from the lens [median depth].", rich_help_panel=_LENS),
]
PitchOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--pixel-pitch", help="Sensor width / image width, um.", rich_help_panel=_LENS),
]
RadiusOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-radius",
        help="Largest blur radius, px. Without lens options the pixel pitch is fitted to reach it [8]; with them "
        "larger radii are clamped to it and counted [30].",
        rich_help_panel=_LENS,
    ),
]
SplitOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--split", help="Strength of the dual-pixel split, 0 to 0.5.", rich_help_panel=_LENS),
]
ShotOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--shot-noise", help="Variance / signal of one view; 0 for none.", rich_help_panel=_LENS),
]


def camera_from(
    scene: Scene,
    *,
    preset: str,
    focal_length_mm: float | None,
    f_number: float | None,
    focus_distance_m: float | None,
    pixel_pitch_um: float | None,
    max_radius: float | None,
    split: float | None,
    shot_noise: float | None,
) -> tuple[Camera, str]:
    """Make the camera that the options name.

    A camera from a file (`synth.read_camera`) is used as it is, with the options instead of its own numbers. For a
    preset: with a focal length, f-number or pixel pitch the camera is taken literally (full-frame sensor width unless
    the pitch is given); without, the pitch is fitted so that the most blurred pixel has the wanted radius.

    Returns
    -------
    camera : Camera
        Without ranges.
    pitch : str
        Origin of the pixel pitch, for messages.

    Raises
    ------
    ValueError
        From the lens, the pupil or the noise.
    """
    base = camera_named(preset)
    if split is not None:
        pupil = bp.Pupil.disk(split=split)
        base = replace(base, pupil=pupil)
    if shot_noise is not None:
        if not 0 <= shot_noise <= 1:
            raise ValueError(f"--shot-noise: expected a number from 0 to 1, got {shot_noise:g}")
        base = replace(base, noise=ShotReadNoise.typical(shot_noise))
    lens = base.lens
    if is_camera_file(preset):
        given = {
            "focal_length_mm": focal_length_mm, "f_number": f_number, "focus_distance_m": focus_distance_m,
            "pixel_pitch_um": pixel_pitch_um,
        }  # fmt: skip
        own = replace(lens, **{name: value for name, value in given.items() if value is not None})
        limit = base.max_radius if max_radius is None else max_radius
        settled = replace(
            base, lens=own, max_radius=limit, focus_range_m=None, f_number_range=None, gain_range=None
        )  # fmt: skip
        return settled, "as given" if pixel_pitch_um is not None else f"of {preset}"
    if focal_length_mm is None and f_number is None and pixel_pitch_um is None:
        limit = 8.0 if max_radius is None else max_radius
        fitted = Camera.for_scene(scene, base=base, max_radius=limit, focus_distance_m=focus_distance_m)
        return fitted, f"fitted: all but the outermost 0.5 % of the depths blur by at most {limit:g} px"
    if focus_distance_m is None:
        focus_distance_m = float(np.median(scene.depth_m[scene.valid]))
    source = "as given"
    if pixel_pitch_um is None and scene.focal_px is not None:
        focal_mm = lens.focal_length_mm if focal_length_mm is None else focal_length_mm
        pixel_pitch_um = focal_mm * 1e3 / scene.focal_px
        source = f"of the calibration, a focal length of {scene.focal_px:g} px"
    elif pixel_pitch_um is None:
        pixel_pitch_um = FULL_FRAME_MM * 1e3 / scene.shape[1]
        source = "of a full-frame sensor, 36 mm wide"
    lens = bp.ThinLens(
        focal_length_mm=lens.focal_length_mm if focal_length_mm is None else focal_length_mm,
        f_number=lens.f_number if f_number is None else f_number,
        focus_distance_m=focus_distance_m,
        pixel_pitch_um=pixel_pitch_um,
    )
    depth = scene.depth_m[scene.valid]
    nearest, farthest = lens.defocus_map(np.array([[depth.min(), depth.max()]]))[0]
    reach = max(abs(float(nearest)), abs(float(farthest)), 0.5)
    limit = min(reach * (1 + 1e-6), 30.0) if max_radius is None else max_radius
    camera = replace(
        base, lens=lens, max_radius=limit, focus_range_m=None, f_number_range=None, gain_range=None, name="own lens"
    )
    return camera, source


def exposure(
    image: Path | None,
    depth: Path | None,
    folder: Path | None,
    *,
    unit: str | None,
    focal_px: float | None,
    baseline_m: float | None,
    doffs: float,
    disparity_scale: float,
    zero_known: bool | None = None,
    near: float | None = None,
    far: float | None = None,
    resize: str = "guided",
    encoding: str | None = None,
    layout: str | None = None,
    least: int = 1,
    **camera: Any,
) -> tuple[Scene, Camera]:
    """Return the scene that the options name, the motorcycle where they name none, and what `camera_from` makes of it.

    Prints a summary of both. ValueError for an image with fewer than `least` rows or columns.
    """
    scene = scene_from(
        image,
        depth,
        folder,
        unit=unit,
        focal_px=focal_px,
        baseline_m=baseline_m,
        doffs=doffs,
        disparity_scale=disparity_scale,
        zero_known=zero_known,
        near=near,
        far=far,
        resize=resize,
        encoding=encoding,
        layout=layout,
    )
    scene = scenes.stereo_motorcycle() if scene is None else scene
    if min(scene.shape) < least:
        height, width = scene.shape
        raise ValueError(f"expected an image of at least {least} x {least} px, got {height} x {width}")
    made, pitch = camera_from(scene, **camera)
    for name, value in describe(scene, made, pitch):
        typer.echo(f"{name:<12}{value}")
    return scene, made


def describe(scene: Scene, camera: Camera, pitch: str) -> list[tuple[str, str]]:
    """Return a summary of the exposure, as (name, value) rows."""
    lens = camera.lens
    depth = scene.depth_m[scene.valid]
    steps = []
    if len(scene.depth_levels) > 1:
        radii = np.diff(lens.defocus_map(np.array([scene.depth_levels]))[0])
        steps = [("depth steps", f"of 8 bits: up to {np.abs(radii).max():.2g} px of blur radius")]
    return [
        ("scene", f"{scene.name}, {scene.shape[1]} x {scene.shape[0]} px"),
        ("source", scene.source or "given in memory"),
        ("depth", f"{depth.min():.3g} to {depth.max():.3g} m, unknown for {1 - scene.valid.mean():.1%} of the pixels"),
        *steps,
        ("lens", f"{lens.focal_length_mm:g} mm f/{lens.f_number:g}, focused at {lens.focus_distance_m:.2f} m"),
        ("pixel pitch", f"{lens.pixel_pitch_um:.2f} um, {pitch}"),
        ("pupil", f"{camera.pupil.parameters['kind']}, dual-pixel split {camera.pupil.split:g}"),
        ("noise", f"variance = {camera.noise.shot:.2g} signal + {camera.noise.read:.2g} in each view"),
    ]
