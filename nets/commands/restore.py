"""`blurphys restore`: a picture in focus from photographs whose blur is not known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from synth.commands import options as o
from synth.commands.pupil import PupilOption, pupil_named

from .errors import without_owner

__all__ = ["restore"]

MOST_RADIUS = 64.0
"""Largest radius that may be searched for in one photograph, px."""


@without_owner()
def restore(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PHOTO]...", help="One photograph, whose blur may be unknown; several with --stack."),
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
        str | None,
        typer.Option(
            "--camera",
            help="Whose pupil: canon-r6ii, pixel4, or a file, my.toml. [default: canon-r6ii; a disk for one photograph "
            "of unknown blur]",
        ),
    ] = None,
    pupil: PupilOption = None,
    split: o.SplitOption = None,
    view: Annotated[
        str,
        typer.Option(
            "--view",
            help="What one photograph of unknown blur is: combined, or the left or right half of a dual pixel, all of "
            "it taken to be behind the plane of focus.",
        ),
    ] = "combined",
    max_radius: Annotated[float, typer.Option("--max-radius", help="Largest radius of the search, px.")] = 8.0,
    noise: Annotated[
        float | None,
        typer.Option("--noise-level", help="Standard deviation of the noise, linear light. [default: estimated]"),
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Weight of the prior. [default: from the noise]")
    ] = None,
    slabs: Annotated[int, typer.Option("--slabs", help="Largest number of layers.")] = 24,
    stack: Annotated[
        bool, typer.Option("--stack", help="Registered photographs of one scene at several focus distances.")
    ] = False,
    focus_distances: Annotated[
        str | None, typer.Option("--focus-distances", help="Of a stack: planes of focus, m, such as 0.5,0.8,2.")
    ] = None,
    f_numbers: Annotated[
        str | None, typer.Option("--f-number", help="Of a stack: one number, or one for each photograph.")
    ] = None,
    focal_length: o.FocalOption = None,
    pixel_pitch: o.PitchOption = None,
    near: Annotated[float | None, typer.Option("--near", help="Of a stack: smallest depth of the scene, m.")] = None,
    far: Annotated[float | None, typer.Option("--far", help="Of a stack: largest depth, m.")] = None,
    encoding: o.EncodingOption = None,
    layout: o.LayoutOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("restored"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
) -> None:
    """Restore a picture in focus: from one photograph, or from a dual-pixel pair.

    One photograph of which nothing is known: a network estimates its blur, and a solver undoes it where that can be
    trusted. Writes restored.png (16 bit), the map of the blur, its confidence, the trust, an overview and report.json.

    A pair, or one photograph with its map (--defocus, --radius): layers are restored. Writes all_in_focus.png (16 bit),
    the map, its confidence, an overview, all arrays in HDF5, and report.json.

    A stack (--stack *.tif --focus-distances 0.5,0.8,2 --near 0.4 --far 5): depth, and one picture in focus.

    Where the model does not explain the photograph, the photograph is kept.

    Example: blurphys restore photo.jpg --out result
    """
    started = time.perf_counter()
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"--out: expected a folder, got the file {out}")
    if stack:
        _refuse_with_stack(
            {"--left": left, "--right": right, "--defocus": defocus, "--radius": radius, "--pupil": pupil}
        )
        for line in _stack(
            photos or [], out, focus_distances=focus_distances, f_numbers=f_numbers, focal_length=focal_length,
            pixel_pitch=pixel_pitch, camera=camera or "canon-r6ii", near=near, far=far, noise=noise,
            strength=strength, encoding=encoding, layout=layout, force=force, started=started,
        ):  # fmt: skip
            typer.echo(line)
        return
    if photos and len(photos) > 1:
        raise ValueError(f"expected one photograph, got {len(photos)}; --stack for several of one scene")
    photo = photos[0] if photos else None
    files = _files(photo, left, right, defocus, radius)
    unknown = photo is not None and defocus is None and radius is None
    if pupil is not None and (camera is not None or not unknown):
        raise ValueError("--pupil: expected it for one photograph of unknown blur, without --camera")
    if view != "combined" and not unknown:
        raise ValueError("--view: expected it for one photograph of unknown blur only")
    if unknown:
        lines = _one_photo(
            files["combined"], out, pupil=pupil, camera=camera, split=split, view=view, max_radius=max_radius,
            noise=noise, strength=strength, encoding=encoding, layout=layout, force=force, started=started,
        )  # fmt: skip
    else:
        lines = _known(
            files, out, defocus, defocus_unit, radius, camera=camera or "canon-r6ii", split=split,
            max_radius=max_radius, noise=noise, strength=strength, slabs=slabs, encoding=encoding, layout=layout,
            force=force, started=started,
        )  # fmt: skip
    for line in lines:
        typer.echo(line)


def _refuse_with_stack(given: dict[str, Any]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"{option}: expected nothing of it with --stack")


def _stack(
    files: list[Path], out: Path, *, encoding: str | None, layout: str | None, force: bool, **settings: Any
) -> list[str]:
    """Restore a stack; return lines to print."""
    from ..classical.stack import STACK_FILES
    from .restore_stack import restore_stack

    _require_free(out, STACK_FILES, force)

    def read(file: Path) -> np.ndarray:
        return _read({"photo": file}, encoding, layout)["photo"]

    return restore_stack(files, out, read, force=force, **settings)


def _one_photo(
    file: Path,
    out: Path,
    *,
    pupil: str | None,
    camera: str | None,
    split: float | None,
    view: str,
    max_radius: float,
    noise: float | None,
    strength: float | None,
    encoding: str | None,
    layout: str | None,
    force: bool,
    started: float,
) -> list[str]:
    """Restore one photograph of which nothing is known; return lines to print."""
    import blurphys as bp
    from blurphys.progress import progress
    from synth.camera.file import camera_named

    from ..classical.one_photo import PHOTO_FILES, write_photo
    from ..inference.one_photo import restore as run

    if view not in ("combined", "left", "right"):
        raise ValueError(f"--view: expected combined, left or right, got {view!r}")
    _require_free(out, PHOTO_FILES, force)
    if not 0 < max_radius <= MOST_RADIUS:
        raise ValueError(f"--max-radius: expected more than 0 and at most {MOST_RADIUS:g} px, got {max_radius:g}")
    shape = pupil_named(pupil or "disk", split=split) if camera is None else camera_named(camera).pupil
    if camera is not None and split is not None:
        shape = bp.Pupil.disk(split=split)
    y = _read({"photo": file}, encoding, layout)["photo"]
    grey = bool((y[0] == y[1]).all() and (y[0] == y[2]).all())
    y = y[:1] if grey else y
    settings: dict[str, Any] = {
        "photograph": str(file), "pupil": pupil or camera or "disk", "view": view,
        "split": None if view == "combined" else shape.split,
        "side": None if view == "combined" else "behind", "max_radius": max_radius, "map": "estimated",
    }  # fmt: skip
    with progress("restore", total=1) as advance:
        found = run(
            y, max_radius=max_radius, pupil=shape, view=cast(Any, view), noise=noise,
            strength="auto" if strength is None else strength,
            on_progress=lambda step, done, total: advance(
                "estimating the blur" if step == "estimate" else f"restoring, part {done} of {total}", 0
            ),
        )  # fmt: skip
        advance("writing")
        settings["seconds"] = round(time.perf_counter() - started, 2)
        report = write_photo(out, y, found, settings, overwrite=force)
    low, _, middle, _, high = report["radius_px"].values()
    kept = ", ".join(f"{cause} {share:.0%}" for cause, share in found.kept.items() if share >= 0.005)
    return [
        f"{'radius':<10}{low:.2f} to {high:.2f} px, median {middle:.2f} (5 % to 95 % of the pixels)",
        f"{'map':<10}certain on {report['confident_share']:.0%} of the frame",
        f"{'noise':<10}standard deviation {found.noise:.3g}, strength of the prior {found.strength:.3g}",
        f"{'restored':<10}{found.restored_share:.0%} of the frame; kept: {kept or 'nothing'}",
        f"{'result':<10}{found.verdict}",
        f"wrote {', '.join(PHOTO_FILES)} to {out} in {time.perf_counter() - started:.1f} s",
    ]


def _known(
    files: dict[str, Path],
    out: Path,
    defocus: Path | None,
    defocus_unit: float | None,
    radius: float | None,
    *,
    camera: str,
    split: float | None,
    max_radius: float,
    noise: float | None,
    strength: float | None,
    slabs: int,
    encoding: str | None,
    layout: str | None,
    force: bool,
    started: float,
) -> list[str]:
    """Restore a pair, or a photograph with its map, by layers; return lines to print."""
    import blurphys as bp
    from blurphys.progress import progress
    from synth.camera.file import camera_named

    from ..classical.restore import FILES, write
    from ..classical.restore import restore as run

    _require_free(out, FILES, force)
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
    lines = [f"{'radius':<10}{low:+.2f} to {high:+.2f} px, median {middle:+.2f} (1 % to 99 % of the pixels)"]
    if result.confidence is not None:
        measured = (result.confidence > 0.5).mean()
        lines.append(f"{'map':<10}measured on {measured:.0%} of the frame, completed elsewhere")
    level, weight = result.found.noise, result.found.strength
    return [
        *lines,
        f"{'noise':<10}standard deviation {level:.3g}, strength of the prior {weight:.3g}",
        f"{'result':<10}{result.verdict}",
        f"wrote {', '.join(FILES)} to {out} in {time.perf_counter() - started:.1f} s",
    ]


def _require_free(out: Path, names: tuple[str, ...], force: bool) -> None:
    if not force and (there := [name for name in names if (out / name).exists()]):
        raise FileExistsError(f"{out / there[0]} exists already; --force replaces it")


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
        raise ValueError("expected a photograph, or --left and --right, got no photograph")
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
