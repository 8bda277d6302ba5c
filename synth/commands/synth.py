"""`blurphys synth`: make, continue, check and look at datasets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from ..camera.camera import Camera
from ..camera.file import camera_named
from ..camera.views import VIEWS
from ..generation.generate import MAX_CLAMPED
from ..generation.recipe import MIN_VALID
from ..rendering.models import Model
from . import options as o

__all__ = ["app"]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", no_args_is_help=True
)

Split = Literal["train", "val", "test"]
Number = Literal["float32", "float16"]
_FOLDER = Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)]
_WORKERS = Annotated[int, typer.Option("--workers", "-w", help="Processes that make shards.")]
_SCHEDULER = Annotated[
    str | None,
    typer.Option("--scheduler", help="Address of a dask scheduler that makes the shards instead, tcp://HOST:PORT."),
]


@app.callback()
def synth() -> None:
    """Make datasets of defocused photos: views, sharp image, blur and depth maps, in HDF5 shards that can be resumed.

    Example: blurphys synth generate --scenes motorcycle --samples 8 --size 256x256 --out data
    """


@app.command()
def generate(
    scenes: Annotated[
        list[str],
        typer.Option(
            "--scenes",
            help="RGB-D folder, folder of such folders, motorcycle, or a drawn scene: dead-leaves, slanted-planes, "
            "thin-occluders, highlights, text-chart, with :N for N of them. May be given several times.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make (or one file, if it ends in .h5).")],
    samples: Annotated[int, typer.Option("--samples", "-n", help="How many samples.")],
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            help=f"One of {', '.join(Camera.presets())}; or a file, my.toml (keys as in a dataset's config.json).",
        ),
    ] = "canon-r6ii",
    seed: Annotated[int, typer.Option("--seed", help="Root of all random numbers.")] = 0,
    size: Annotated[str | None, typer.Option("--size", help="Height x width of a sample [whole scenes].")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test; another split, other numbers.")] = "train",
    model: Annotated[
        str, typer.Option("--model", help="layered (occlusion), gather (as published generators), aperture (slow).")
    ] = "layered",
    views: Annotated[
        str,
        typer.Option(
            "--views",
            help="What is stored, separated by commas: combined, or left,right or top,bottom or the quad-pixel views "
            "top_left,top_right,bottom_left,bottom_right, each with or without combined.",
        ),
    ] = ",".join(VIEWS),
    angle: Annotated[
        float | None,
        typer.Option("--angle", help="Direction in which the sensor divides its pixels, degrees from right to down."),
    ] = None,
    shard_size: Annotated[int, typer.Option("--shard-size", help="Samples in a file.")] = 256,
    workers: _WORKERS = 1,
    scheduler: _SCHEDULER = None,
    depth_unit: o.UnitOption = None,
    near: o.NearOption = None,
    far: o.FarOption = None,
    depth_resize: o.ResizeOption = "guided",
    encoding: o.EncodingOption = None,
    invalid: o.InvalidOption = "nearest",
    max_radius: Annotated[
        float | None, typer.Option("--max-radius", help="Largest blur radius, px; larger ones are clamped and counted.")
    ] = None,
    max_clamped: Annotated[
        float,
        typer.Option("--max-clamped", help="Refuse a larger share of clamped pixels, of all of known depth; 1: any."),
    ] = MAX_CLAMPED,
    min_valid: Annotated[
        float, typer.Option("--min-valid", help="Least share of a sample's pixels whose depth is known, 0 to 1.")
    ] = MIN_VALID,
    alpha: Annotated[
        bool, typer.Option("--alpha/--no-alpha", help="Store alpha masks of scenes that are drawn from layers.")
    ] = True,
    pixel_pitch: o.PitchOption = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Fit the pixel pitch and the range of focus to all scenes, so that the strongest blur is --max-radius "
            "[8] and next to nothing is clamped. Focus, aperture and gain are drawn as without it.",
        ),
    ] = False,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float16.")] = "float32",
    compression: Annotated[
        int | None, typer.Option("--compression", help="gzip level 1 to 9; slow, and noise does not compress [none].")
    ] = None,
) -> None:
    """Render samples of scenes through a camera and store them.

    Each sample draws focus, aperture and gain from the camera's ranges, and its window. The same arguments give the
    same bytes, whatever the number of workers, and `blurphys synth resume` continues an interrupted folder.

    Example: blurphys synth generate --scenes photos/ --camera canon-r6ii --samples 1000 --seed 7 --workers 4
    --shard-size 100 --size 512x512 --out data
    """
    from .. import generate as run

    if out.suffix.lower() in (".h5", ".hdf5") and out.exists():
        raise FileExistsError(f"{out} exists already; name another file, or delete it")
    if fit and pixel_pitch is not None:
        raise ValueError("expected --fit or --pixel-pitch, got both: --fit chooses the pitch")
    shot, wanted = camera_named(camera), _size(size)
    o.range_named(depth_unit, near, far)
    reading: dict[str, Any] = {
        "depth_unit": depth_unit, "near_m": near, "far_m": far, "depth_resize": o.resize_named(depth_resize),
        "encoding": o.encoding_named(encoding),
    }  # fmt: skip
    with _as_options():
        if fit:
            shot = _fitted(scenes, shot, reading, size=wanted, max_radius=max_radius)
        elif max_radius is not None:
            shot = replace(shot, max_radius=max_radius)
        if pixel_pitch is not None:
            shot = replace(shot, lens=replace(shot.lens, pixel_pitch_um=pixel_pitch))
        if angle is not None:
            shot = replace(shot, pupil=replace(shot.pupil, angle=angle))
    psfs = shot.psf_model
    if model == "layered" != psfs.default_rendering:
        model = psfs.default_rendering
        typer.echo(f"{shot.name}: {psfs.gather_only}, rendered by model {model}")
    # The generator refuses other words.
    part, kind, number = cast(Split, split), cast(Model, model), cast(Number, dtype)
    chosen = tuple(view.strip() for view in views.split(","))
    with _as_options(), _goes_on(out), _progress("synth", samples) as on_progress, _client(scheduler) as executor:
        report = run(
            list(scenes), out, camera=shot, samples=samples, seed=o.check_seed(seed), split=part, size=wanted,
            views=chosen, invalid=o.policy(invalid), model=kind, dtype=number, compression=compression,
            max_clamped=max_clamped, min_valid=min_valid, alpha=alpha, shard_size=shard_size,
            workers=workers, executor=executor, resume=False, on_progress=on_progress, **reading,
            on_note=lambda sentence, warning: _say(f"{'warning: ' if warning else ''}{sentence}"),
        )  # fmt: skip
    typer.echo(str(report))


def _fitted(
    scenes: list[str],
    base: Camera,
    reading: dict[str, Any],
    *,
    size: tuple[int, int] | None,
    max_radius: float | None,
) -> Camera:
    """Fit a camera to these scenes, or to 64 of them."""
    from ..generation.sources import sources_of

    sources = sources_of(scenes, **reading, size=size)
    looked_at = sources[:: -(-len(sources) // 64)]
    limit = 8.0 if max_radius is None else max_radius
    return Camera.for_scenes((source.load() for source in looked_at), base=base, max_radius=limit)


@app.command()
def resume(
    folder: _FOLDER,
    workers: _WORKERS = 1,
    scheduler: _SCHEDULER = None,
    max_clamped: Annotated[
        float | None, typer.Option("--max-clamped", help="Another limit on clamping from now on; 1: any [as begun].")
    ] = None,
) -> None:
    """Continue an interrupted dataset: intact shards stay, missing and damaged ones are made.

    Example: blurphys synth resume data --workers 4
    """
    from ..dataset.config import read_config
    from ..generation.run import resume as run

    total = sum(read_config(folder)["shards"])
    limit: Any = "stored" if max_clamped is None else max_clamped
    with _as_options(), _goes_on(folder), _progress("synth", total) as on_progress, _client(scheduler) as executor:
        report = run(
            folder, workers=workers, executor=executor, on_progress=on_progress, on_damage=_say, max_clamped=limit
        )  # fmt: skip
    typer.echo(str(report))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder or file of a dataset.", show_default=False)],
) -> None:
    """Read every sample of every shard and compare it with its checksums; exit code 1 and the names of bad shards.

    Example: blurphys synth verify data
    """
    from ..dataset.config import read_config
    from ..generation.verify import verify as run

    shards = 1 if folder.is_file() else len(read_config(folder)["shards"])
    with _counted("verify", shards) as advance:
        verdicts = run(folder, on_progress=lambda done, total: advance())
    bad = [verdict for verdict in verdicts if not verdict.whole]
    for verdict in bad:
        typer.echo(f"{verdict.name}: {verdict.problem}")
    good = len(verdicts) - len(bad)
    files = "shards" if folder.is_dir() else "files"
    typer.echo(f"{folder}: {good} of {len(verdicts)} {files} intact, {sum(v.samples for v in verdicts)} samples")
    if bad:
        raise typer.Exit(1)


@app.command()
def repair(folder: _FOLDER, workers: _WORKERS = 1) -> None:
    """Make damaged and missing shards again, and the manifest from the shards.

    Example: blurphys synth repair data
    """
    from ..dataset.manifest import rebuild

    resume(folder, workers)
    typer.echo(f"{folder}: manifest of {rebuild(folder)} shards")


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of two or more datasets.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
) -> None:
    """Concatenate datasets in a new folder.

    Example: blurphys synth merge photos leaves --out both
    """
    from ..dataset.merging import merge as run

    total = run(list(folders), out)
    typer.echo(f"wrote {out}: {total} samples of {len(folders)} datasets")


@app.command()
def diff(
    one: _FOLDER, other: Annotated[Path, typer.Argument(help="Folder to compare with.", show_default=False)]
) -> None:
    """Compare two datasets array by array; exit code 1 where they differ.

    Example: blurphys synth diff data copy
    """
    from ..dataset.merging import difference

    found = difference(one, other)
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{one} and {other} hold the same")


@app.command()
def preview(
    folder: Annotated[Path, typer.Argument(help="Folder or file of a dataset.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")] = Path("preview.png"),
    samples: Annotated[int, typer.Option("--samples", "-n", help="How many samples, spread over the dataset.")] = 6,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Draw a contact sheet: views, left minus right, blur radius with its sign, and the camera's PSFs.

    Example: blurphys synth preview data --out preview.png
    """
    from ..generation.preview import preview as run

    if not folder.exists():
        raise FileNotFoundError(f"there is no folder or file {folder}")
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists already; --force replaces it")
    run(folder, out, samples=samples, overwrite=force)
    typer.echo(f"wrote {out}")


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


_OPTIONS = {
    "max_clamped": "--max-clamped", "max_radius": "--max-radius", "min_valid": "--min-valid",
    "shard_size": "--shard-size", "depth_unit": "--depth-unit", "pixel_pitch_um": "--pixel-pitch",
    "give a size,": "give one with --size,", "use dtype='float32'": "use --dtype float32",
    "; from_files takes any two files": "",
}  # fmt: skip


@contextmanager
def _as_options() -> Iterator[None]:
    """Replace the names of arguments of `synth.generate` by those of options in errors."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        for name, option in _OPTIONS.items():
            text = text.replace(name, option)
        if text == str(error):
            raise
        raise ValueError(text) from error


@contextmanager
def _goes_on(out: Path) -> Iterator[None]:
    """After Ctrl-C, print how to continue."""
    from ..dataset.schema import CONFIG

    try:
        yield
    except KeyboardInterrupt:
        if (out / CONFIG).is_file():
            _say(f"`blurphys synth resume {out}` continues it")
        raise


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise ValueError(f"--size: expected HEIGHTxWIDTH in px, such as 512x768, got {text!r}")
    return int(height), int(width)


@contextmanager
def _counted(title: str, total: int) -> Iterator[Any]:
    from blurphys.progress import progress

    with progress(title, total) as advance:
        yield advance


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int, int, int], None]]:
    """Show progress: samples per second, remaining time, and the number of clamped pixels."""
    started, first, before = time.monotonic(), -1, 0
    said = started - 10
    with _counted(title, total) as advance:

        def on_progress(done: int, all_of_them: int, clamped: int) -> None:
            nonlocal first, before, said
            now = time.monotonic()
            first = done if first < 0 else first
            message = ""
            if done > first and (now - said >= 2 or done == all_of_them):
                rate = (done - first) / max(now - started, 1e-9)
                left = (all_of_them - done) / rate
                message = f"{rate:.2f} samples/s, {_clock(left)} left, {clamped} px clamped"
                said = now
            advance(message, done - before)
            before = done

        yield on_progress


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _client(scheduler: str | None) -> Iterator[Any]:
    if scheduler is None:
        yield None
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise ValueError("--scheduler needs dask.distributed; pip install 'blurphys[dask]'") from None
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"--scheduler: no dask scheduler answers at {scheduler} ({error})") from None
    for name in ("distributed", "distributed.client"):  # a lost cluster is reported in one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with client:
        yield client
