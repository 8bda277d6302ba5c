"""`blurphys restore`: a picture in focus from photographs whose blur is not known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from synth.commands import options as o

__all__ = ["restore"]


def restore(
    photo: Annotated[
        Path | None, typer.Argument(metavar="[PHOTO]", help="One photograph, with --defocus or --radius.")
    ] = None,
    left: Annotated[Path | None, typer.Option("--left", help="Left view of a dual-pixel pair.")] = None,
    right: Annotated[Path | None, typer.Option("--right", help="Right view of the pair.")] = None,
    defocus: Annotated[
        Path | None,
        typer.Option(
            "--defocus",
            help="Defocus map, if it is known: .npy or .pfm of signed radii in px, + behind the plane of focus, or a "
            "picture with --defocus-unit.",
        ),
    ] = None,
    defocus_unit: Annotated[
        float | None, typer.Option("--defocus-unit", help="Radius in px of one unit of an integer defocus map.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option("--radius", help="Or one signed radius for the whole frame, px.")
    ] = None,
    camera: Annotated[
        str,
        typer.Option("--camera", help="Whose pupil: canon-r6ii, pixel4, or a file, my.toml."),
    ] = "canon-r6ii",
    split: o.SplitOption = None,
    max_radius: Annotated[float, typer.Option("--max-radius", help="Largest radius of the search, px.")] = 8.0,
    noise: Annotated[
        float | None,
        typer.Option("--noise-level", help="Standard deviation of the noise, linear light. [default: estimated]"),
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Weight of the prior. [default: from the noise]")
    ] = None,
    slabs: Annotated[int, typer.Option("--slabs", help="Largest number of layers.")] = 24,
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("restored"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Restore a picture in focus from a dual-pixel pair, or from one photograph and its defocus map.

    Writes all_in_focus.png (16 bit), the map, its confidence, an overview, all arrays in HDF5, and report.json.
    Where the model does not explain the photograph, the photograph is kept.

    Example: blurphys restore --left l.png --right r.png --camera canon-r6ii --out result
    """
    import blurphys as bp
    from blurphys.progress import progress
    from synth.camera.file import camera_named

    from ..classical.restore import FILES, write
    from ..classical.restore import restore as run

    started = time.perf_counter()
    files = _files(photo, left, right, defocus, radius)
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"--out: expected a folder, got the file {out}")
    if not force and (there := [name for name in FILES if (out / name).exists()]):
        raise FileExistsError(f"{out / there[0]} exists already; --force replaces it")
    if slabs < 1:
        raise ValueError(f"--slabs: expected at least 1, got {slabs}")
    views = _read(files, encoding, layout)
    shape = next(iter(views.values())).shape[-2:]
    shot = camera_named(camera)
    pupil = shot.pupil if split is None else bp.Pupil.disk(split=split)
    given = _map_of(defocus, defocus_unit, radius, shape)
    if given is not None:
        pupil = _bank(pupil, float(np.abs(given).max()))
    settings: dict[str, Any] = {
        "photographs": {name: str(path) for name, path in files.items()},
        "camera": camera,
        "split": pupil.split if isinstance(pupil, bp.Pupil) else None,
        "map": "estimated" if given is None else str(defocus) if defocus is not None else f"radius {radius:g} px",
    }
    with progress("restore", total=1) as advance:
        result = run(
            views, pupil=pupil, max_radius=max_radius, defocus_map=given, noise=noise, strength=strength, slabs=slabs,
            settings=settings, say=lambda text: advance(text, 0),
        )  # fmt: skip
        advance("writing")
        write(out, result, overwrite=force)
    low, middle, high = result.report()["radius_px"].values()
    typer.echo(f"{'radius':<10}{low:+.2f} to {high:+.2f} px, median {middle:+.2f} (1 % to 99 % of the pixels)")
    if result.confidence is not None:
        typer.echo(f"{'map':<10}measured on {(result.confidence > 0.5).mean():.0%} of the frame, completed elsewhere")
    noise, strength = result.found.noise, result.found.strength
    typer.echo(f"{'noise':<10}standard deviation {noise:.3g}, strength of the prior {strength:.3g}")
    typer.echo(f"{'result':<10}{result.verdict}")
    typer.echo(f"wrote {', '.join(FILES)} to {out} in {time.perf_counter() - started:.1f} s")


def _files(
    photo: Path | None, left: Path | None, right: Path | None, defocus: Path | None, radius: float | None
) -> dict[str, Path]:
    """Return the photographs by view; ValueError for a combination that is none."""
    if (left is None) != (right is None):
        raise ValueError(f"expected --left and --right together, got no {'--right' if right is None else '--left'}")
    if defocus is not None and radius is not None:
        raise ValueError("expected --defocus or --radius, got both")
    if left is not None and right is not None:
        if photo is not None:
            raise ValueError(f"expected a pair or one photograph, got --left, --right and {photo}")
        return {"left": left, "right": right}
    if photo is None:
        raise ValueError("expected --left and --right, or one photograph with --defocus or --radius, got no photograph")
    if defocus is None and radius is None:
        raise ValueError(
            f"expected --defocus or --radius with {photo}: one photograph does not say how much it is blurred; with "
            f"both views of a dual pixel, --left and --right, the map is estimated"
        )
    return {"combined": photo}


def _read(files: dict[str, Path], encoding: str | None, layout: str | None) -> dict[str, np.ndarray]:
    from blurphys.files.publishing import existing_file
    from synth.io import read_image

    meant, axes = o.encoding_named(encoding), o.layout_named(layout)
    return {name: read_image(existing_file(path), encoding=meant, layout=axes) for name, path in files.items()}


def _map_of(path: Path | None, unit: float | None, radius: float | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the defocus map that was given, (H, W) float32; None where it has to be estimated."""
    from blurphys.files.publishing import existing_file
    from synth.io import read_array

    if radius is not None:
        if not np.isfinite(radius):
            raise ValueError(f"--radius: expected a finite number, got {radius}")
        return np.full(shape, radius, np.float32)
    if path is None:
        return None
    values = read_array(existing_file(path))
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values.reshape([n for n in values.shape if n != 1])
    if values.shape != tuple(shape):
        raise ValueError(
            f"--defocus: expected a map of {shape[0]} x {shape[1]} px, the size of the photograph, got "
            f"{' x '.join(str(n) for n in values.shape)}"
        )
    if values.dtype.kind in "ui" and unit is None:
        raise ValueError(f"--defocus-unit: {path} holds integers; expected the radius in px of one unit, such as 0.01")
    found: np.ndarray = (values * (1.0 if unit is None else unit)).astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"--defocus: expected finite radii, got NaN or infinity in {path}; fill unknown pixels first")
    return found


def _bank(pupil: Any, reach: float) -> Any:
    """Return PSFs up to the largest radius of a given map."""
    import blurphys as bp

    return bp.PSFBank(pupil, max_radius=max(0.5, reach), step=0.25)
