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
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Fit a blur model to a sharp and a blurred photograph, and score it on pixels that it has not seen.

    PSNR in linear light, peak 1, after shift, scale, rotation and brightness have been found.

    Example: blurphys fit f20.png f4.png --model all --out blur.h5
    """
    import blurphys as bp
    from blurphys.files.publishing import existing_file, refuse_existing
    from synth.io import read_image

    if model not in (*MODELS, "all"):
        raise ValueError(f"--model: expected one of {', '.join((*MODELS, 'all'))}, got {model!r}")
    if out is not None:
        if out.suffix.lower() not in (".h5", ".hdf5"):
            raise ValueError(f"--out: expected a name ending in .h5 or .hdf5, got {out}")
        if not force and out.exists():
            raise FileExistsError(f"{out} exists already; --force replaces it")
        refuse_existing(out, overwrite=force)
    meant, axes = o.encoding_named(encoding), o.layout_named(layout)
    x, y = (read_image(existing_file(path), encoding=meant, layout=axes) for path in (sharp, blurred))
    common: dict[str, Any] = {"size": size}
    if model == "all":  # one registration and one size, so that the same pixels are held out
        from solvers.estimation import fit_radius

        first = fit_radius(x, y, size=size)
        common = {"registration": first.registration, "size": size or _width(first.registration.radius)}
    typer.echo(f"{'model':<13}{'held out':>9}{'no blur':>9}{'trained':>9}{'unknowns':>10}  parameters")
    found = []
    for name in MODELS if model == "all" else (model,):
        result = _fitted(name, x, y, common)
        found.append(result)
        typer.echo(
            f"{name:<13}{result.heldout_psnr:9.2f}{result.identity_psnr:9.2f}{result.train_psnr:9.2f}"
            f"{result.unknowns:10d}  {_words(result)}"
        )
    best = max(found, key=lambda result: result.heldout_psnr)
    shift, moved = best.registration.shift, best.registration
    typer.echo(
        f"registration: {shift[0]:+.3f} px down, {shift[1]:+.3f} px right, scale {moved.scale:.5f}, rotation "
        f"{moved.rotation:+.3f} degrees, gain {', '.join(f'{g:.3f}' for g in moved.gain)}"
    )
    if out is not None:
        bp.save(best.operator, out, overwrite=force)
        typer.echo(f"wrote {out}: {best.model}")


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
