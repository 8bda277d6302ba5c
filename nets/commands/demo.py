"""`blurphys demo`: rendering and deblurring in one command."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from synth.commands import options as o

if TYPE_CHECKING:
    from synth.rendering.models import Model

    from ..classical.demo import Restoration

__all__ = ["demo"]


def demo(
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
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 file to write; the picture goes beside it.")] = Path(
        "demo.h5"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Of the noise.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Photo and depth in; out: what a lens records, in HDF5, deblurred by four methods, with numbers and a picture.

    Near surfaces hide farther ones, and their blurred edges mix. Three methods deblur with an operator that has one PSF
    for each pixel and knows nothing of that; the fourth restores every surface as a layer of its own.

    Without options it takes a real photo with measured depth that comes with scikit-image. It writes demo.h5 and
    demo.png.

    Example: blurphys demo --image rgb.png --depth depth.png --depth-unit mm --focal-length 50 --f-number 2.8
    --focus-distance 2
    """
    import synth
    from blurphys.progress import progress

    from ..classical.demo import MIN_SIZE, figure, restore

    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise ValueError(f"--out: expected a name ending in .h5, got {out}; the picture takes the same name in .png")
    picture = out.with_suffix(".png")
    for target in (out, picture):
        if target.exists() and not force:
            raise FileExistsError(f"{target} exists already; --force replaces it")
    started = time.perf_counter()
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
        least=MIN_SIZE,
        preset=camera,
        focal_length_mm=focal_length,
        f_number=f_number,
        focus_distance_m=focus_distance,
        pixel_pitch_um=pixel_pitch,
        max_radius=max_radius,
        split=split,
        shot_noise=shot_noise,
    )
    with (
        progress("demo", total=7) as advance,
        synth.io.publish_together([out, picture], overwrite=force) as (data_part, picture_part),
    ):
        advance("rendering left, right and combined view")
        model: Model = shot.psf_model.default_rendering
        report = synth.generate(
            source, data_part, camera=shot, samples=1, seed=seed, invalid=policy, model=model, overwrite=True
        )  # fmt: skip
        with synth.open(data_part) as data, warnings.catch_warnings():
            warnings.simplefilter("ignore", synth.OperatorWarning)  # that the gather operator knows no occlusion
            sample, A = data[0], synth.operator_of(data, 0, "combined")
            layers = None if model == "gather" else synth.layered_operator_of(data, 0, "combined")
        truth, y = sample["all_in_focus"], sample["combined"]
        variance = float(shot.noise.combined.variance(np.maximum(y, 0.0)).mean())
        results = restore(
            A, y, truth, noise_variance=variance, layers=layers,
            on_start=lambda name: advance(f"deblurring: {name}"),
        )  # fmt: skip
        advance("drawing the picture")
        figure(sample, results, picture_part)
        advance("done")
    low, high = report.radius_range
    clamped = f", {report.clamped_share:.2%} of the pixels clamped" if report.clamped_share else ""
    typer.echo(f"{'blur':<12}CoC radius {low:.2f} to {high:.2f} px (+ behind the plane of focus){clamped}")
    _print_table(results)
    if layers is None:
        typer.echo(f"Rendered without occlusion: this camera has {shot.psf_model.gather_only}.")
    typer.echo(f"wrote {out} and {picture} in {time.perf_counter() - started:.1f} s")


def _print_table(results: list[Restoration]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Deblurring with the true defocus map (PSNR and SSIM in sRGB)", title_justify="left")
    for name in ("", "PSNR dB", "SSIM", "residual", "A calls", "time s", "status"):
        table.add_column(name, justify="left" if name in ("", "status") else "right", no_wrap=True)
    for r in results:
        cells = (f"{r.residuals[-1]:.2e}", str(r.applications), f"{r.seconds:.1f}") if r.residuals else ("", "", "")
        table.add_row(r.name, f"{r.psnr:.2f}", f"{r.ssim:.3f}", *cells, r.status)
    Console().print(table)
    typer.echo("Fixed point and Neumann have no prior: where the blur removed a frequency they amplify the noise.")
    if any(r.name == "layers + TV" for r in results):
        typer.echo("Only layers + TV models occlusion: at a depth edge no single PSF explains a pixel.")
