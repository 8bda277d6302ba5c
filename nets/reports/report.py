"""`report`: from a file or folder of any kind to its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blurphys.files.publishing import PathLike, publish

from .dataset import report_dataset
from .operator import report_operator
from .page import Page
from .provenance import provenance
from .records import is_scores, is_solution, read_json, report_scores, report_solution, report_training
from .restored import report_restored

__all__ = ["report"]

KINDS = (
    "a dataset (file or folder of blurphys synth generate), an operator (blurphys.save, fit, calibrate), the JSON of "
    "blurphys solve --report or evaluate --out, the folder of a training or of blurphys restore"
)


def report(
    path: PathLike, out: PathLike, *, pictures: tuple[PathLike, PathLike] | None = None, overwrite: bool = False
) -> str:
    """Write a self-contained HTML page about a dataset, operator, solution, evaluation, training or restored photo.

    Parameters
    ----------
    path : path
        File or folder; what it is, is found out by its content.
    out : path
        The page, ``*.html``. It needs neither network nor other files.
    pictures : (path, path), optional
        Two pictures of one size to compare with a slider, before and after.
    overwrite : bool
        Whether an existing page may be replaced.

    Returns
    -------
    str
        The sentence at the top of the page.

    Raises
    ------
    FileNotFoundError, FileExistsError, OSError
        No such file, or a page that exists.
    ValueError
        Nothing that can be reported on; pictures of different sizes.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"report: there is no file or folder {place}")
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"report: expected a page named .html, got {out}")
    page, files = _page(place)
    if pictures is not None:
        _compare(page, *map(Path, pictures))
    provenance(page, files)
    text = page.html()
    with publish(out, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")
    return page.verdict


def _page(place: Path) -> tuple[Page, list[Path]]:
    if place.is_dir():
        if (place / "report.json").is_file():
            return report_restored(place)
        if (place / "log.jsonl").is_file():
            return report_training(place)
        return report_dataset(place)
    if place.suffix.lower() == ".json":
        content = read_json(place)
        if is_solution(content):
            return report_solution(place, content), [place]
        if is_scores(content):
            return report_scores(place, content), [place]
        raise ValueError(f"report: {place} is neither a solution nor an evaluation; expected {KINDS}")
    if place.suffix.lower() in (".h5", ".hdf5"):
        return report_operator(place) if _is_operator(place) else report_dataset(place)
    raise ValueError(f"report: expected {KINDS}; got {place}")


def _is_operator(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path) as file:
            return str(file.attrs.get("format", "")) == "blurphys operator"
    except OSError as error:
        raise ValueError(f"report: {path} cannot be read, it is damaged or no HDF5 file: {error}") from error


def _compare(page: Page, before: Path, after: Path) -> None:
    from blurphys.colour import linear_to_srgb
    from synth.io import read_image

    images = [np.asarray(linear_to_srgb(np.clip(read_image(path), 0, 1))) for path in (before, after)]
    if images[0].shape != images[1].shape:
        sizes = " and ".join(f"{image.shape[-2]} x {image.shape[-1]}" for image in images)
        raise ValueError(f"report: expected pictures of one size to compare, got {sizes} px")
    page.section("Before and after")
    page.wipe(images[0], images[1], (before.name, after.name), encoded=True)
