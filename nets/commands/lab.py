"""`blurphys lab`: focus, aperture, PSFs, restoration and certificate of a photo with depth, in the browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from synth.commands import options as o

__all__ = ["lab"]


def lab(
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", help="All-in-focus photo, as --image.")] = None,
    image: o.ImageOption = None,
    depth: o.DepthOption = None,
    scene: o.FolderOption = None,
    depth_unit: o.UnitOption = None,
    stereo_focal_px: o.StereoFocalOption = None,
    baseline: o.BaselineOption = None,
    doffs: o.DoffsOption = 0.0,
    disparity_scale: o.DisparityScaleOption = 1.0,
    zero_known: o.ZeroOption = None,
    near: o.NearOption = None,
    far: o.FarOption = None,
    depth_resize: o.ResizeOption = "guided",
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    invalid: o.InvalidOption = "nearest",
    camera: o.PresetOption = "canon-r6ii",
    focal_length: o.FocalOption = None,
    f_number: o.FNumberOption = None,
    focus_distance: o.FocusOption = None,
    pixel_pitch: o.PitchOption = None,
    max_radius: o.RadiusOption = None,
    split: o.SplitOption = None,
    shot_noise: o.ShotOption = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port on this machine. [default: the first free one]")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
) -> None:
    """Explore a photo with depth in the browser: drag focus and aperture, click for the PSF, restore, certify.

    The photo is reduced to at most 256 px, so that a change shows at once; --max-radius counts those pixels. Blur is
    computed without occlusion. Without a photo, a part of the built-in motorcycle is shown. The page is served to this
    machine only and loads nothing from the network; Ctrl-C ends it. It needs pip install 'blurphys[lab]'.

    Example: blurphys lab photo.png --depth depth.png --depth-unit mm
    """
    from ..lab.server import open_socket, require_packages, serve
    from ..lab.state import Lab, bundled_scene, reduced

    require_packages()
    if photo is not None and image is not None:
        raise ValueError(f"expected one photo, got {photo} and --image {image}")
    policy = o.policy(invalid)
    whole = o.scene_from(
        photo or image,
        depth,
        scene,
        unit=depth_unit,
        focal_px=stereo_focal_px,
        baseline_m=baseline,
        doffs=doffs,
        disparity_scale=disparity_scale,
        zero_known=zero_known,
        near=near,
        far=far,
        resize=depth_resize,
        encoding=encoding,
        layout=layout,
    )
    small = bundled_scene() if whole is None else reduced(whole)
    scale = 1.0 if whole is None else whole.shape[0] / small.shape[0]
    made, pitch = o.camera_from(
        small,
        preset=camera,
        focal_length_mm=focal_length,
        f_number=f_number,
        focus_distance_m=focus_distance,
        pixel_pitch_um=None if pixel_pitch is None else pixel_pitch * scale,
        max_radius=max_radius,
        split=split,
        shot_noise=shot_noise,
    )
    if pitch == f"of {camera}":  # a camera file has the pitch of the photo as it was
        made = replace(made, lens=replace(made.lens, pixel_pitch_um=made.lens.pixel_pitch_um * scale))
    shown = Lab(small, made, invalid=policy)
    with open_socket(port) as listening:
        for name, value in o.describe(small, made, pitch):
            typer.echo(f"{name:<12}{value}")
        serve(shown, listening, browser=not no_browser)
