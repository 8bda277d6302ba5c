"""Report on the folder of a restored photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from blurphys import plot
from blurphys.plot.panels import new_figure, picture

from .page import Page
from .records import read_json

__all__ = ["report_restored"]


def report_restored(folder: Path) -> tuple[Page, list[Path]]:
    """Return the page of what ``blurphys restore`` wrote; arrays that are damaged or missing are named."""
    figures = read_json(folder / "report.json")
    if not isinstance(figures, dict):
        raise ValueError(f"report: expected figures by name in {folder / 'report.json'}, got {type(figures).__name__}")
    page = Page(title=folder.name, kind="restored photograph", verdict=str(figures.get("verdict", "")))
    kinds = {"photograph": _of_photo, "focus_distances_m": _of_stack}
    read = next((function for key, function in kinds.items() if key in figures), None)
    arrays, wrong = _of_arrays(folder) if read is None else read(folder, figures)
    if wrong:
        page.tone = "bad"
        page.verdict = f"Damaged: {', '.join(wrong)}; the rest is shown. {page.verdict}"
    if {"recorded", "all_in_focus"} <= set(arrays):
        page.section("Before and after")
        page.wipe(arrays["recorded"], arrays["all_in_focus"], ("photograph", "restored"))
        figure = new_figure(11, 3.4 + 7.4 * arrays["recorded"].shape[-2] / arrays["recorded"].shape[-1])
        plot.before_after(arrays["recorded"], arrays["all_in_focus"], ax=figure.subplots(2, 2))
        page.figure(figure, "Where the picture changed most")
        figure = new_figure(7, 4)
        plot.radial_spectrum(
            arrays["recorded"], arrays["all_in_focus"], labels=("photograph", "restored"), ax=figure.subplots()
        )
        page.figure(figure, "Power of the frequencies: what was restored lies between the curves")
    _maps(page, arrays)
    page.section("Figures")
    page.table(figures.items())
    return page, [file for file in sorted(folder.iterdir()) if file.suffix in (".h5", ".json", ".png", ".npy")]


def _of_arrays(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the arrays of a pair, or of a photograph with a given map, and the names of those that are damaged."""
    import h5py

    arrays, wrong = {}, []
    try:
        with h5py.File(folder / "restoration.h5") as file:
            for name in ("recorded", "all_in_focus", "restored", "defocus_map", "confidence", "trust", "misfit"):
                try:
                    if name in file:
                        arrays[name] = file[name][()]
                except (OSError, KeyError):
                    wrong.append(name)
    except OSError as error:
        wrong.append(f"restoration.h5 ({error})")
    return arrays, wrong


def _of_photo(folder: Path, figures: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the pictures of one photograph of which nothing was known; the photograph itself if it is still there."""
    from synth.io import read_array, read_image

    return _read(
        {
            "recorded": (Path(str(figures["photograph"])), read_image),
            "all_in_focus": (folder / "restored.png", read_image),
            "defocus_map": (folder / "defocus_map.npy", read_array),
            "confidence": (folder / "confidence.png", read_array),
            "trust": (folder / "trust.png", read_array),
        }
    )


def _of_stack(folder: Path, figures: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the pictures of a focal stack, beside its first photograph if that is still there."""
    from synth.io import read_array, read_image

    first = next(iter(figures.get("photographs") or [""]))
    return _read(
        {
            "recorded": (Path(str(first)), read_image),
            "all_in_focus": (folder / "all_in_focus.png", read_image),
            "confidence": (folder / "confidence.png", read_array),
        }
    )


def _read(sources: dict[str, tuple[Path, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return what can be read, and the names of the other files, but for the photograph itself."""
    arrays: dict[str, Any] = {}
    wrong = []
    for name, (path, read) in sources.items():
        try:
            values = np.asarray(read(path))
        except (OSError, ValueError):
            if name != "recorded":
                wrong.append(path.name)
            continue
        arrays[name] = values / np.iinfo(values.dtype).max if values.dtype.kind == "u" else values
    if "recorded" in arrays and arrays["recorded"].shape != arrays.get("all_in_focus", arrays["recorded"]).shape:
        del arrays["recorded"]
    return arrays, wrong


def _maps(page: Page, arrays: dict[str, Any]) -> None:
    shown = [name for name in ("defocus_map", "confidence", "trust", "misfit") if name in arrays]
    if not shown:
        return
    page.section("What it rests on")
    height, width = arrays[shown[0]].shape
    figure = new_figure(5 * len(shown), 1.2 + 5 * height / width)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        if name == "defocus_map":
            plot.defocus_map(arrays[name], ax=axes)
        elif name == "misfit":
            high = float(np.quantile(arrays[name], 0.99)) or 1.0
            drawn = picture(axes, arrays[name], name, cmap="magma", vmin=0, vmax=high)
            figure.colorbar(drawn, ax=axes, orientation="horizontal", label="root mean square beyond the noise")
        else:
            picture(axes, arrays[name], f"{name}, 0 black to 1 white", cmap="gray", vmin=0, vmax=1)
    page.figure(figure, "Defocus map, its confidence, and where the restoration was trusted")
