"""`blurphys blur`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from blurphys.files.publishing import PathLike

from . import options as o

__all__ = ["blur"]


def blur(
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG, or .h5 for every array with its parameters.")],
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
    view: Annotated[
        str, typer.Option("--view", help="What a PNG shows: combined, left, right, or dual (left and right files).")
    ] = "combined",
    bits: Annotated[int, typer.Option("--bits", help="Bits per channel of a PNG: 8 or 16.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Of the noise.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Blur one all-in-focus photo with depth as a real lens would, single view or dual pixel.

    Without --image or --scene the built-in motorcycle photo is used.

    Example: blurphys blur --image rgb.png --depth depth.png --depth-unit mm --focal-length 50 --f-number 2
    --focus-distance 1.5 --out blurred.png
    """
    from ..io import write_images
    from ..rendering.render import render

    suffix = out.suffix.lower()
    if suffix not in (".png", ".h5", ".hdf5"):
        raise ValueError(f"--out: expected a name ending in .png or .h5, got {out}")
    if view not in ("combined", "left", "right", "dual"):
        raise ValueError(f"--view: expected combined, left, right or dual, got {view!r}")
    if bits not in (8, 16):
        raise ValueError(f"--bits: expected 8 or 16, got {bits}")
    if suffix == ".png" and view == "dual":
        targets = {name: out.with_name(f"{out.stem}_{name}{out.suffix}") for name in ("left", "right")}
    else:
        targets = {view: out}
    for target in targets.values():
        if target.exists() and not force:
            raise FileExistsError(f"{target} exists already; --force replaces it")
    policy, seed = o.policy(invalid), o.check_seed(seed)
    source, shot = o.exposure(
        image,
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
        preset=camera,
        focal_length_mm=focal_length,
        f_number=f_number,
        focus_distance_m=focus_distance,
        pixel_pitch_um=pixel_pitch,
        max_radius=max_radius,
        split=split,
        shot_noise=shot_noise,
    )
    if suffix != ".png":
        from ..generation.generate import generate

        report = generate(
            source, out, camera=shot, samples=1, seed=seed, invalid=policy, overwrite=force, max_clamped=None
        )
        low, high = report.radius_range
        note = f", {report.clamped_share:.2%} of the pixels clamped" if report.clamped_share else ""
        typer.echo(f"{'blur':<12}radius {low:.2f} to {high:.2f} px{note}")
        typer.echo(f"wrote {out}")
        return
    views = ("combined",) if view == "combined" else ("left", "right")
    sample = render(source, shot, rng=seed, views=views, invalid=policy)
    low, high = float(sample.defocus_map.min()), float(sample.defocus_map.max())
    clamped = int(sample.parameters["clamped_pixels"])
    note = f", {clamped} px clamped to {shot.max_radius:g} px" if clamped else ""
    typer.echo(f"{'blur':<12}radius {low:.2f} to {high:.2f} px{note}")
    images: dict[PathLike, np.ndarray] = {target: sample.arrays[name] for name, target in targets.items()}
    write_images(images, bits=8 if bits == 8 else 16, overwrite=force)
    for target in targets.values():
        typer.echo(f"wrote {target}")
