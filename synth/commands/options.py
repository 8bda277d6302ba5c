"""Command-line options that name a scene and a camera; `blurphys blur` and `blurphys demo` share them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import typer

import blurphys as bp

from .. import scenes
from ..camera.camera import Camera
from ..camera.file import camera_named, is_camera_file
from ..camera.noise import ShotReadNoise
from ..io import Axes, Encoding
from ..io.depth import Stereo
from ..scenes import Scene

__all__ = [
    "camera_from",
    "check_seed",
    "describe",
    "encoding_named",
    "exposure",
    "layout_named",
    "policy",
    "scene_from",
]

FULL_FRAME_MM = 36.0
Policy: TypeAlias = Literal["nearest", "far", "error"]

_SCENE, _LENS = "Scene", "Camera"
ImageOption: TypeAlias = Annotated[
    Path | None, typer.Option("--image", help="All-in-focus photo: PNG (8 or 16 bit) or JPEG.", rich_help_panel=_SCENE)
]
DepthOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--depth", help="Its depth: 16-bit PNG, .dpt, .pfm or .npy of the same size.", rich_help_panel=_SCENE),
]
FolderOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--scene", help="Or a folder with an RGB-D pair, recognised by its names.", rich_help_panel=_SCENE),
]
UnitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--depth-unit",
        help="m, mm, 0.2mm (TUM, ICL-NUIM: value / 5000), disparity, or the metres of one unit of the file: 1/256, "
        "0.0001.",
        rich_help_panel=_SCENE,
    ),
]
StereoFocalOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--stereo-focal-px", help="With disparity: focal length, px.", rich_help_panel=_SCENE),
]
BaselineOption: TypeAlias = Annotated[
    float | None, typer.Option("--baseline", help="With disparity: baseline, m.", rich_help_panel=_SCENE)
]
DoffsOption: TypeAlias = Annotated[
    float, typer.Option("--doffs", help="With disparity: offset of the principal points, px.", rich_help_panel=_SCENE)
]
DisparityScaleOption: TypeAlias = Annotated[
    float,
    typer.Option("--disparity-scale", help="With disparity: px for one unit of the file.", rich_help_panel=_SCENE),
]
ZeroOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--zero-known/--zero-unknown",
        help="With disparity: whether 0 in an integer file is the farthest or an unknown pixel. [default: unknown, but "
        "known where focal length x baseline = 1, which is relative inverse depth]",
        rich_help_panel=_SCENE,
    ),
]
EncodingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        help="Encoding of pictures, overriding the files: srgb or linear. [default: that of the file; "
        "else srgb for integers, linear for floats]",
    ),
]
LayoutOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Of .npy pictures: hwc (channels last) or chw. [default: as the shape says]",
    ),
]
InvalidOption: TypeAlias = Annotated[
    str,
    typer.Option("--invalid", help="Unknown depths: nearest, far (infinity) or error.", rich_help_panel=_SCENE),
]
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


def policy(name: str) -> Policy:
    """Return the policy for unknown depths; ValueError for another name."""
    for known in get_args(Policy):
        if name == known:
            return cast(Policy, known)
    raise ValueError(f"--invalid: expected nearest, far or error, got {name!r}")


def check_seed(seed: int) -> int:
    """Return the seed; ValueError for a negative one."""
    if seed < 0:
        raise ValueError(f"--seed: expected a whole number >= 0, got {seed}")
    return seed


def encoding_named(name: str | None) -> Encoding | None:
    """Return the encoding; ValueError for another name."""
    if name not in (None, *get_args(Encoding)):
        raise ValueError(f"--encoding: expected srgb or linear, got {name!r}")
    return cast(Encoding | None, name)


def layout_named(name: str | None) -> Axes | None:
    """Return the layout; ValueError for another name."""
    if name not in (None, *get_args(Axes)):
        raise ValueError(f"--layout: expected hwc (rows, columns, channels) or chw, got {name!r}")
    return cast(Axes | None, name)


def scene_from(
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
    encoding: str | None = None,
    layout: str | None = None,
) -> Scene | None:
    """Read the scene that the options name.

    Returns
    -------
    Scene, or None where no scene was named

    Raises
    ------
    ValueError
        An image without depth or the reverse, both and a folder, or an incomplete stereo rig.
    FileNotFoundError
        A file or folder is missing.
    """
    if (focal_px is None) != (baseline_m is None):
        raise ValueError("expected --stereo-focal-px and --baseline together, got one of them")
    meant, axes = encoding_named(encoding), layout_named(layout)
    stereo = None
    if focal_px is not None and baseline_m is not None:
        stereo = Stereo(
            focal_px=focal_px, baseline_m=baseline_m, doffs=doffs, scale=disparity_scale, zero_known=zero_known
        )
    if folder is not None:
        if image is not None or depth is not None:
            raise ValueError("expected either --scene or --image with --depth, got both")
        return scenes.read_folder(folder, unit, stereo=stereo, encoding=meant)
    if image is None and depth is None:
        return None
    if image is None or depth is None:
        missing = "--depth" if depth is None else "--image"
        raise ValueError(f"expected --image and --depth together, got no {missing}; the blur follows from depth")
    if unit == "disparity" and stereo is None:
        raise ValueError(
            "--depth-unit disparity: expected the stereo rig too, --stereo-focal-px and --baseline (with --doffs and "
            "--disparity-scale where they apply); for the inverse depth 1/z = A + B q that networks predict they are "
            "--stereo-focal-px 1 --baseline 1 --doffs A --disparity-scale B"
        )
    return scenes.from_files(image, depth, depth_unit=unit, stereo=stereo, encoding=meant, layout=axes)


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
    if pixel_pitch_um is None:
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
    return [
        ("scene", f"{scene.name}, {scene.shape[1]} x {scene.shape[0]} px"),
        ("source", scene.source or "given in memory"),
        ("depth", f"{depth.min():.3g} to {depth.max():.3g} m, unknown for {1 - scene.valid.mean():.1%} of the pixels"),
        ("lens", f"{lens.focal_length_mm:g} mm f/{lens.f_number:g}, focused at {lens.focus_distance_m:.2f} m"),
        ("pixel pitch", f"{lens.pixel_pitch_um:.2f} um, {pitch}"),
        ("pupil", f"{camera.pupil.parameters['kind']}, dual-pixel split {camera.pupil.split:g}"),
        ("noise", f"variance = {camera.noise.shot:.2g} signal + {camera.noise.read:.2g} in each view"),
    ]
