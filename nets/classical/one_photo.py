"""What `blurphys restore` writes for one photo: picture, map, confidence, trust, an overview and a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blurphys.colour import linear_to_srgb
from blurphys.files.publishing import publish_together
from synth.io import png

from .restore import most_changed

if TYPE_CHECKING:
    from ..inference.one_photo import Restoration

__all__ = ["PHOTO_FILES", "report_of", "write_photo"]

Image = NDArray[np.floating]

PHOTO_FILES = (
    "restored.png", "defocus_map.png", "defocus_map.npy", "confidence.png", "trust.png", "overview.png", "report.json",
)  # fmt: skip
"""What the restoration of one photo consists of on disk."""

EFFORT = 3
"""Of compression, 0 to 9: the picture of a large photo takes seconds."""

BAND = 256
"""Rows that are encoded at once."""

PANEL = 900
"""Longest side of a panel of the overview, px."""


def report_of(found: Restoration, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a restoration, for JSON."""
    radii = np.asarray(found.defocus_map)
    return {
        **settings,
        "size_px": list(radii.shape),
        "radius_px": {f"{q:.0%}": float(np.quantile(radii, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "confident_share": float((np.asarray(found.confidence) > 0.5).mean()),
        "restored_share": found.restored_share,
        "kept_share": found.kept,
        "noise": found.noise,
        "strength": found.strength,
        "verdict": found.verdict,
    }


def write_photo(
    folder: Path, photo: Image, found: Restoration, settings: dict[str, Any], *, overwrite: bool
) -> dict[str, Any]:
    """Write `PHOTO_FILES` into a folder, all of them or none, and return the report."""
    report = report_of(found, settings)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    radii = np.asarray(found.defocus_map)
    limit = max(float(np.abs(radii).max()), 1e-6)
    try:
        with publish_together([folder / name for name in PHOTO_FILES], overwrite=overwrite) as parts:
            picture, map_picture, map_array, confidence, trust, overview, figures = parts
            picture.write_bytes(png.encode(_levels(np.asarray(found.image)), level=EFFORT))
            map_picture.write_bytes(png.encode(_grey(np.abs(radii) / limit)))
            with map_array.open("wb") as file:
                np.save(file, radii.astype(np.float32))
            confidence.write_bytes(png.encode(_grey(np.asarray(found.confidence))))
            trust.write_bytes(png.encode(_grey(np.asarray(found.trust))))
            _draw(overview, photo, found)
            figures.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except BaseException:
        if new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    return report


def _levels(image: Image) -> NDArray[np.uint16]:
    """Return 16-bit display values (H, W, C) or (H, W), band by band."""
    channels, height, width = image.shape
    levels = np.empty((height, width, channels), np.uint16)
    for top in range(0, height, BAND):
        band = np.clip(image[:, top : top + BAND].astype(np.float64), 0, 1)
        levels[top : top + BAND] = np.rint(linear_to_srgb(band) * 65535).transpose(1, 2, 0)
    return levels[..., 0] if channels == 1 else levels


def _grey(plane: Image) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)
    return levels


def _draw(path: Path, photo: Image, found: Restoration) -> None:
    """Draw photo, map, trust, restored picture, and a detail before and after."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    radii, image = np.abs(np.asarray(found.defocus_map)), np.asarray(found.image)
    height, width = radii.shape
    ratio = float(np.clip(height / width, 0.2, 5.0))
    figure = Figure(figsize=(15, 1.4 + 10 * ratio), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    every = max(1, -(-max(height, width) // PANEL))

    def show(ax: Any, planes: Image, title: str) -> None:
        shown = linear_to_srgb(np.clip(np.asarray(planes, np.float64), 0, 1))
        shown = np.repeat(shown, 3, axis=0) if len(shown) == 1 else shown
        ax.imshow(shown.transpose(1, 2, 0), interpolation="nearest")
        ax.set_title(title)

    thinned = (..., slice(None, None, every), slice(None, None, every))
    show(axes[0, 0], photo[thinned], "photo")
    drawn = axes[0, 1].imshow(radii[thinned], vmin=0, vmax=max(1.0, float(radii.max())), cmap="magma")
    axes[0, 1].set_title("radius that was undone")
    figure.colorbar(drawn, ax=axes[0, 1], orientation="horizontal", label="px")
    drawn = axes[0, 2].imshow(np.asarray(found.trust)[thinned], vmin=0, vmax=1)
    axes[0, 2].set_title("share of the restoration")
    figure.colorbar(drawn, ax=axes[0, 2], orientation="horizontal")
    show(axes[1, 0], image[thinned], "restored")
    row, col, side = most_changed(image, photo)
    detail = (..., slice(row, row + side), slice(col, col + side))
    show(axes[1, 1], photo[detail], "detail of the photo")
    show(axes[1, 2], image[detail], "the same, restored")
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    figure.suptitle(found.verdict, fontsize=11)
    figure.savefig(path, format="png")
