"""`blurphys fit`: fit blur models to a sharp and a blurred photograph of the same scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synth.commands import options as o

__all__ = ["fit"]

MODELS = ("gaussian", "radius", "butterworth", "gkm", "rkr", "psf-bank", "mixture")


def fit(
    sharp: Annotated[Path, typer.Argument(metavar="SHARP", help="The sharp photograph.")],
    blurred: Annotated[Path, typer.Argument(metavar="BLURRED", help="The same scene, blurred, at the same size.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="radius (a disk), gaussian, butterworth, gkm, rkr, psf-bank (a free kernel), mixture (anisotropic "
            "Gaussians), or all.",
        ),
    ] = "radius",
    size: Annotated[
        int | None, typer.Option("--size", help="Odd width of the kernels, px. [default: from the blur]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="HDF5 file for the operator (of all models, the best held-out one)."),
    ] = None,
    maps: Annotated[
        str,
        typer.Option(
            "--maps",
            help="Whether the blur varies over the frame: constant, affine, or free. A free kernel (psf-bank) stays "
            "constant.",
        ),
    ] = "constant",
    tone: Annotated[
        bool,
        typer.Option(
            "--tone",
            help="Also fit a tone curve of two parameters for each colour, for photographs that are not exactly sRGB.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="PNG with the pair, the best prediction, what is left, kernels and scores."),
    ] = None,
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Fit a blur model to a sharp and a blurred photograph, and score it on pixels that it has not seen.

    PSNR in linear light, peak 1, after shift, scale, rotation and brightness have been found. With --tone it is that of
    the same values, so that the two can be compared.

    Example: blurphys fit f20.png f4.png --model all --tone --out blur.h5 --plot blur.png
    """
    import blurphys as bp
    from blurphys.files.publishing import existing_file, refuse_existing
    from synth.io import read_image

    if model not in (*MODELS, "all"):
        raise ValueError(f"--model: expected one of {', '.join((*MODELS, 'all'))}, got {model!r}")
    if maps not in ("constant", "affine", "free"):
        raise ValueError(f"--maps: expected constant, affine or free, got {maps!r}")
    if maps != "constant" and model == "psf-bank":
        raise ValueError("--maps: a free kernel (psf-bank) is the same everywhere; take another model")
    for option, path, endings in (("--out", out, (".h5", ".hdf5")), ("--plot", plot, (".png",))):
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise ValueError(f"{option}: expected a name ending in {' or '.join(endings)}, got {path}")
        if not force and path.exists():
            raise FileExistsError(f"{path} exists already; --force replaces it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
        refuse_existing(path, overwrite=force)
    meant, axes = o.encoding_named(encoding), o.layout_named(layout)
    x, y = (read_image(existing_file(path), encoding=meant, layout=axes) for path in (sharp, blurred))
    common: dict[str, Any] = {"size": size, "tone": tone}
    if model == "all":  # one registration and one size, so that the same pixels are held out
        from solvers.estimation import fit_radius, register

        size = size or _width(register(x, y).radius)
        common = {"registration": fit_radius(x, y, size=size, tone=tone).registration, "size": size}
    found: list[tuple[str, Any]] = []
    for name in MODELS if model == "all" else (model,):
        result = _fitted(name, x, y, common if name == "psf-bank" else common | {"model": maps})
        if not found:
            typer.echo(f"{'model':<13}{'held out':>9}{'no blur':>9}{'trained':>9}{'unknowns':>10}  parameters")
        found.append((name, result))
        typer.echo(
            f"{name:<13}{result.heldout_psnr:9.2f}{result.identity_psnr:9.2f}{result.train_psnr:9.2f}"
            f"{result.unknowns:10d}  {_words(result)}"
        )
    best = max((result for _, result in found), key=lambda result: result.heldout_psnr)
    shift, moved = best.registration.shift, best.registration
    typer.echo(
        f"registration: {shift[0]:+.3f} px down, {shift[1]:+.3f} px right, scale {moved.scale:.5f}, rotation "
        f"{moved.rotation:+.3f} degrees, gain {', '.join(f'{g:.3f}' for g in moved.gain)}"
    )
    if tone:
        curves = ", ".join(f"({a:+.2f}, {b:+.2f})" for a, b in moved.tone) or "none lowers the cross-validated error"
        typer.echo(f"tone curves (a, b), light = v (1 + (1 - v) (a + b (1 - 2 v))): {curves}")
    if out is not None:
        bp.save(best.operator, out, overwrite=force)
        typer.echo(f"wrote {out}: {best.model}")
    if plot is not None:
        from .fit_figure import draw

        draw(plot, x, y, found, overwrite=force)
        typer.echo(f"wrote {plot}")


def _width(radius: float) -> int:
    """Return the odd width of kernels that hold a blur of this radius."""
    from math import ceil

    return 2 * (ceil(1.4 * abs(radius)) + 3) + 1


def _fitted(name: str, x: Any, y: Any, common: dict[str, Any]) -> Any:
    from solvers import estimation

    if name in ("gaussian", "radius", "butterworth"):
        return estimation.fit_radius(x, y, pupil="disk" if name == "radius" else name, **common)
    return getattr(estimation, f"fit_{name.replace('-', '_')}")(x, y, **common)


def _words(result: Any) -> str:
    """Return the parameters of a fit in one line."""
    values = result.parameters
    if "radius" in values:
        return f"radius {values['radius']:.3f} px"
    if "sigmas" in values and "beta" in values:
        return "sigmas " + ", ".join(f"{s:.2f}" for s in values["sigmas"]) + " px"
    return str(result.model)
