"""`blurphys solve`: restore an image whose blur is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from blurphys.notes import say_note
from blurphys.operators.layered import LayeredDefocus
from synth.commands import options as o

if TYPE_CHECKING:
    from ..classical.problem import Problem
    from ..classical.solve import SolveReport

__all__ = ["solve"]

FAILURES = frozenset({"STALLED", "WRONG_ADJOINT", "INDEFINITE", "DIVERGED", "NONFINITE"})
"""Statuses for which the image is not a restoration."""


def solve(
    target: Annotated[
        Path, typer.Argument(metavar="IMAGE|DATASET", help="The observed image, or an HDF5 file of blurphys synth.")
    ],
    operator: Annotated[
        str | None,
        typer.Option("--operator", help="Its blur: a file of bp.save, or MODULE:FACTORY. A dataset has its own."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="fixed-point, neumann, landweber, cgls, lsqr, gmres, bicgstab, richardson-lucy, hqs, admm, fista, or "
            "layered, which knows what hides what. [default: layered where there are layers, as for a "
            "dataset rendered with occlusion, else hqs]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG (sRGB) or .npy (linear light) to write.")] = Path(
        "restored.png"
    ),
    sample: Annotated[int, typer.Option("--sample", help="Which sample of a dataset.")] = 0,
    view: Annotated[
        str,
        typer.Option(
            "--view", help="Of a dataset: combined, left, right or another view it has, or dual (left and right)."
        ),
    ] = "combined",
    prior: Annotated[
        str | None,
        typer.Option(
            "--prior",
            help="For hqs, admm, fista, layered: tv, tv-anisotropic, hyper-laplacian, wavelet. [default: tv]",
        ),
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Weight of the prior. [default: from the noise]")
    ] = None,
    rho: Annotated[
        float | None,
        typer.Option(
            "--rho",
            help="Coupling of hqs and admm, one value for all steps. [default: for hqs the schedule 0.003, 0.01, "
            "0.03, 0.1, that of solvers.hqs without its last steps 0.3 and 1, which help tv a little and harm "
            "hyper-laplacian; for admm 0.1]",
        ),
    ] = None,
    noise_level: Annotated[
        float | None,
        typer.Option(
            "--noise-level",
            help="Standard deviation of the noise, linear light: methods without a prior stop there, others take their "
            "strength from it; 0 for none. [default: that of the sample, unknown for a picture; landweber and "
            "richardson-lucy stop at a given one only]",
        ),
    ] = None,
    damping: Annotated[
        float | None, typer.Option("--damping", help="Step of fixed-point and landweber. [default: theirs]")
    ] = None,
    accelerate: Annotated[
        str | None, typer.Option("--accelerate", help="For fixed-point: anderson or chebyshev.")
    ] = None,
    terms: Annotated[int | None, typer.Option("--terms", help="Of neumann. [default: 3]")] = None,
    tv_strength: Annotated[
        float | None, typer.Option("--tv-strength", help="Total variation in richardson-lucy. [default: none]")
    ] = None,
    tol: Annotated[float | None, typer.Option("--tol", help="Where to stop. [default: that of the method]")] = None,
    max_iterations: Annotated[
        int | None, typer.Option("--max-iterations", help="Step limit. [default: that of the method]")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Image that is black where nothing was observed, white elsewhere.")
    ] = None,
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    unknown_boundary: Annotated[
        bool,
        typer.Option("--unknown-boundary", help="Estimate the scene around the frame instead of assuming a boundary."),
    ] = False,
    bits: Annotated[int, typer.Option("--bits", help="Bits per channel of the PNG: 8 or 16.")] = 8,
    report: Annotated[Path | None, typer.Option("--report", help="JSON file with residuals and status.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG with the residuals.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Restore an image whose blur is known, and report how far the result can be trusted.

    Exit code: 0 if the method ended as it should, 1 if it diverged, became non-finite, did not move or has a wrong
    adjoint (the best iterate is written), 2 for bad input.

    Example: blurphys solve demo.h5 --method richardson-lucy --out restored.png --report report.json
    """
    from synth.io import write_array, write_image

    from ..classical import solve as job

    suffix = out.suffix.lower()
    if suffix not in (".png", ".npy"):
        raise ValueError(f"--out: expected a name ending in .png or .npy, got {out}")
    if plot is not None and plot.suffix.lower() != ".png":
        raise ValueError(f"--plot: expected a name ending in .png, got {plot}")
    if bits not in (8, 16):
        raise ValueError(f"--bits: expected 8 or 16, got {bits}")
    files = [file for file in (out, report, plot) if file is not None]
    if len(set(files)) < len(files):
        raise ValueError("--out, --report and --plot: expected different files")
    for file in files:
        if file.exists() and not force:
            raise FileExistsError(f"{file} exists already; --force replaces it")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"cannot write {file}: there is no folder {file.parent}")
    hidden = None if mask is None else _mask(mask, picture=None if _is_dataset(target) else target)
    layered = None if method is None else method == "layered"
    given = _given(target, operator, sample, view, encoding, layout, hidden, layered=layered)
    method = method or ("layered" if isinstance(given.A, LayeredDefocus) else "hqs")
    if hidden is not None:
        _check_mask(hidden, given)
    for note in given.notes:
        say_note(note)
    options: dict[str, Any] = {
        "prior": prior,
        "strength": strength,
        "rho": rho,
        "damping": damping,
        "accelerate": accelerate,
        "terms": terms,
        "tv_strength": tv_strength,
        "tol": tol,
        "max_iterations": max_iterations,
    }
    if noise_level is not None:
        if not 0 <= noise_level < float("inf"):
            raise ValueError(f"--noise-level: expected a positive number, or 0 for none, got {noise_level}")
        given = replace(given, noise_level=noise_level)
        if noise_level and "noise_level" in job.METHODS.get(method, ()):
            options["noise_level"] = noise_level
    if unknown := job.note_on_noise(given, method, **options):
        say_note(unknown)
    x, solution, result = job.solve(given, method, mask=hidden, unknown_boundary=unknown_boundary, **options)
    if suffix == ".png":
        write_image(out, x, bits=16 if bits == 16 else 8, overwrite=force)
    else:
        write_array(out, x, overwrite=force)
    if report is not None:
        _write_report(report, result, overwrite=force)
    if plot is not None:
        _draw(plot, solution, method, overwrite=force)
    _print_report(result, files, "that of the sample" if noise_level is None else "--noise-level")
    raise typer.Exit(1 if result.status in FAILURES else 0)


def _is_dataset(target: Path) -> bool:
    return target.suffix.lower() in (".h5", ".hdf5")


def _given(
    target: Path,
    operator: str | None,
    sample: int,
    view: str,
    encoding: str | None,
    layout: str | None,
    observed: np.ndarray | None,
    *,
    layered: bool | None,
) -> Problem:
    from blurphys.files.publishing import existing_file

    from ..classical.problem import from_dataset, from_image, load_blur

    if target.is_dir():
        raise ValueError(_which_file(target))
    existing_file(target)
    made = None if operator is None else load_blur(operator)
    meant, axes = o.encoding_named(encoding), o.layout_named(layout)
    if _is_dataset(target):
        if meant or axes:
            raise ValueError("--encoding and --layout are for images; a dataset says what its numbers mean")
        return from_dataset(target, sample, view, made, layered=layered)
    if made is None:
        raise ValueError(
            "--operator: an image needs its blur: expected a file that bp.save wrote, or MODULE:FACTORY; only the "
            "samples of a dataset bring their own"
        )
    return from_image(target, made, encoding=meant, layout=axes, observed=observed)


def _which_file(folder: Path) -> str:
    """Return what to pass instead of a folder."""
    shards = sorted(file for kind in ("*.h5", "*.hdf5") for file in folder.glob(kind))
    if not shards:
        return f"expected an image or an HDF5 file of blurphys synth, got the folder {folder}, which holds no HDF5 file"
    return (
        f"expected one file, got the folder {folder}: name one of its {len(shards)} HDF5 files, {shards[0]} for "
        "instance, and with --sample which of its samples"
    )


def _mask(path: Path, given: Problem | None = None, picture: Path | None = None) -> np.ndarray:
    """Read a mask; it must have the size of `given`, where that is known already."""
    from synth.io import read_mask

    mask = read_mask(path, belongs_to=picture)
    if given is not None:
        _check_mask(mask, given)
    if not mask.any():
        raise ValueError(f"--mask: {path} is black everywhere, so that nothing would be observed")
    return mask


def _check_mask(mask: np.ndarray, given: Problem) -> None:
    if mask.shape != given.y.shape[-2:]:
        height, width = given.y.shape[-2:]
        raise ValueError(f"--mask: expected {height} x {width} px like the image, got {mask.shape}")


def _write_report(path: Path, result: SolveReport, *, overwrite: bool) -> None:
    from blurphys.files.publishing import publish

    def plain(value: Any) -> Any:  # JSON has no infinity and no NaN
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    fields = {key: plain(value) for key, value in result.to_dict().items()}
    with publish(path, overwrite=overwrite) as part:
        part.write_text(json.dumps(fields, indent=2, allow_nan=False) + "\n")


def _draw(path: Path, solution: Any, method: str, *, overwrite: bool) -> None:
    from blurphys.files.publishing import publish
    from blurphys.plot.panels import new_figure

    figure = new_figure(7, 4.5, dpi=120)
    solution.plot(figure.subplots(), label=method).legend()
    with publish(path, overwrite=overwrite) as part:
        figure.savefig(part, format="png")


def _print_report(result: SolveReport, files: list[Path], level_from: str) -> None:
    whole = result.residual == result.residuals[-1]
    last = "" if whole else f" ({result.residuals[-1]:.3g} at the last step)"
    rows = [
        ("operator", result.operator),
        ("method", result.method),
        ("status", f"{result.status}: {result.advice}"),
        ("steps", f"{result.iterations}, with {result.operator_applications} applications of A and its adjoint"),
        ("residual", f"{result.residuals[0]:.3g} at the start, {result.residual:.3g} in the image written{last}"),
        ("time", f"{result.seconds:.1f} s"),
    ]
    if result.noise_level is not None:
        weighed = f", which sets strength {result.options['strength']:.3g}" if "strength" in result.options else ""
        text = f"standard deviation {result.noise_level:.3g} in linear light, {level_from}{weighed}"
        rows.insert(2, ("noise", text if result.noise_level else f"none, {level_from}"))
    if result.psnr_restored is not None:
        before = "" if result.psnr_blurred is None else f"{result.psnr_blurred:.2f} dB before, "
        after = f"{result.psnr_restored:.2f} dB after"
        rows.append(("PSNR", f"{before}{after}, in linear light (demo and evaluate: in sRGB)"))
    for name, text in rows:
        typer.echo(f"{name:<10}{text}")
    typer.echo(f"wrote {', '.join(str(file) for file in files)}")
