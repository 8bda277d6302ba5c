"""From photographs whose blur nobody knows to a picture in focus: estimate, restore, and write everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import blurphys as bp
import solvers
from blurphys.colour import linear_to_srgb
from blurphys.files.publishing import publish_together
from synth.io import png

__all__ = ["FILES", "Restored", "most_changed", "restore", "write"]

Image = NDArray[np.floating]

FILES = ("all_in_focus.png", "defocus_map.png", "confidence.png", "overview.png", "restoration.h5", "report.json")
"""What a restoration consists of on disk."""

KEPT = 0.05
"""Below this share of trusted pixels the picture is practically the photograph."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Restored:
    """A restoration and how it came about.

    Attributes
    ----------
    found : solvers.AllInFocus
        The picture, and where it can be trusted.
    defocus_map : ndarray of shape (H, W)
        Signed circle-of-confusion radius, px.
    confidence : ndarray of shape (H, W) or None
        Of the map, where it was estimated.
    settings : dict
        What was given, for the report.
    """

    found: solvers.AllInFocus
    defocus_map: Image
    confidence: Image | None
    settings: dict[str, Any]

    @property
    def verdict(self) -> str:
        """One sentence on how much of the picture was restored."""
        share = self.found.explained
        if share < KEPT:
            return (
                "The photograph was kept: the map and the PSFs explain it hardly anywhere. Is this its camera "
                "(--camera, --split), is the light linear (--encoding), are the views in order?"
            )
        if share < 0.7:
            return f"Restored where the model explains the photograph, {share:.0%} of the frame; kept elsewhere."
        return f"The model explains {share:.0%} of the frame, which was restored; the rest was kept."

    def report(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        radii = self.defocus_map
        low, middle, high = (float(np.quantile(radii, q)) for q in (0.01, 0.5, 0.99))
        return {
            **self.settings,
            "radius_px": {"1%": low, "median": middle, "99%": high},
            "confident_share": None if self.confidence is None else float((self.confidence > 0.5).mean()),
            "noise": self.found.noise,
            "strength": self.found.strength,
            "layers": self.found.layers,
            "explained_share": self.found.explained,
            "median_misfit": float(np.median(self.found.misfit)),
            "verdict": self.verdict,
        }


def restore(
    views: dict[str, Image],
    *,
    pupil: Any,
    max_radius: float,
    defocus_map: Image | None = None,
    noise: float | None = None,
    strength: float | None = None,
    slabs: int = 24,
    settings: dict[str, Any] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Restored:
    """Estimate the defocus map, unless it is given, and restore the picture.

    Parameters
    ----------
    views : dict
        "left" and "right", or "combined" alone: arrays (C, H, W) of linear light.
    pupil : Pupil or PSFBank
        The PSFs.
    max_radius : float
        Largest radius of the search, px.
    defocus_map : ndarray of shape (H, W), optional
        The map; needed for one photograph.
    noise, strength, slabs
        As for `solvers.all_in_focus`.
    settings : dict, optional
        What to add to the report.
    say : callable
        Called with each step as it begins.

    Raises
    ------
    ValueError
        As for `solvers.estimation.dual_pixel_map` and `solvers.all_in_focus`.
    """
    confidence = None
    if defocus_map is None:
        say("matching left and right")
        estimate = solvers.estimation.dual_pixel_map(
            views["left"], views["right"], pupil=pupil, max_radius=max_radius, noise=noise
        )
        defocus_map, confidence = estimate.defocus_map, estimate.confidence
    y = np.concatenate(list(views.values()))
    say("restoring layers")
    found = solvers.all_in_focus(
        y, defocus_map.astype(y.dtype), pupil=pupil, views=tuple(views), noise=noise,
        confidence=confidence, strength="auto" if strength is None else strength, slabs=slabs,
        on_progress=lambda done, total: say(f"restoring layers, part {done} of {total}"),
    )  # fmt: skip
    return Restored(found=found, defocus_map=defocus_map, confidence=confidence, settings=settings or {})


def write(folder: Path, result: Restored, *, overwrite: bool) -> None:
    """Write `FILES` into a folder: all of them appear, or none."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with publish_together([folder / name for name in FILES], overwrite=overwrite) as parts:
            picture, map_file, confidence, overview, arrays, report = parts
            picture.write_bytes(_png(linear_to_srgb(np.clip(result.found.image, 0, 1))))
            limit = max(float(np.abs(result.defocus_map).max()), 1e-6)
            map_file.write_bytes(_png(0.5 + 0.5 * result.defocus_map[None] / limit))
            trusted = result.found.trust if result.confidence is None else result.confidence
            confidence.write_bytes(_png(trusted[None]))
            _draw(overview, result)
            _store(arrays, result)
            report.write_text(json.dumps(result.report(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except BaseException:
        if new and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _png(planes: Image) -> bytes:
    """Return a PNG of 16 bits of values in [0, 1], (3 or 1, H, W)."""
    levels = np.rint(np.clip(np.asarray(planes, np.float64), 0, 1) * 65535).astype(np.uint16)
    return png.encode(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))


def _store(path: Path, result: Restored) -> None:
    import h5py

    found = result.found
    recorded = np.asarray(found.recorded)
    alphas, radii, _ = bp.layers_from_map(
        recorded, result.defocus_map.astype(recorded.dtype), slabs=max(found.layers, 1)
    )
    with h5py.File(path, "w") as file:
        arrays = {
            "all_in_focus": found.image, "restored": found.restored, "recorded": found.recorded, "trust": found.trust,
            "misfit": found.misfit, "defocus_map": result.defocus_map, "confidence": result.confidence,
            "alphas": alphas,
        }  # fmt: skip
        for name, array in arrays.items():
            if array is not None:
                file.create_dataset(name, data=np.asarray(array, np.float32), compression="gzip", compression_opts=1)
        file["alphas"].attrs["radii_px"] = np.asarray(radii)
        file.attrs["light"] = "linear"
        file.attrs["report"] = json.dumps(result.report(), allow_nan=False)


def _draw(path: Path, result: Restored) -> None:
    """Draw photograph, map, confidence, restored picture, what was kept, and a detail of both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found, radii = result.found, result.defocus_map
    height, width = radii.shape
    figure = Figure(figsize=(15, 1.4 + 10 * height / width), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)

    def show(ax: Any, image: Image, title: str) -> None:
        shown = linear_to_srgb(np.clip(np.asarray(image, np.float64), 0, 1))
        shown = np.repeat(shown, 3, axis=0) if len(shown) == 1 else shown
        ax.imshow(shown.transpose(1, 2, 0), interpolation="nearest")
        ax.set_title(title)

    limit = max(float(np.abs(radii).max()), 1e-6)
    show(axes[0, 0], found.recorded, "photograph")
    drawn = axes[0, 1].imshow(radii, cmap="RdBu", vmin=-limit, vmax=limit)
    axes[0, 1].set_title("defocus map")
    figure.colorbar(drawn, ax=axes[0, 1], orientation="horizontal", label="signed radius (px), + behind focus")
    drawn = axes[0, 2].imshow(found.trust if result.confidence is None else result.confidence, vmin=0, vmax=1)
    axes[0, 2].set_title("trust" if result.confidence is None else "confidence of the map")
    figure.colorbar(drawn, ax=axes[0, 2], orientation="horizontal")
    show(axes[1, 0], found.image, "all in focus")
    row, col, side = most_changed(found.image, found.recorded)
    detail = (..., slice(row, row + side), slice(col, col + side))
    show(axes[1, 1], found.recorded[detail], "detail of the photograph")
    show(axes[1, 2], found.image[detail], "the same, all in focus")
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    figure.suptitle(result.verdict, fontsize=11)
    figure.savefig(path, format="png")


def most_changed(image: Image, recorded: Image, most: int = 400) -> tuple[int, int, int]:
    """Return the square, at most `most` px wide, in which a picture changed most: row, column, side."""
    from scipy.ndimage import uniform_filter

    change = np.asarray((image - recorded) ** 2).mean(axis=0)
    side = max(1, min(min(change.shape) // 3, most))
    half = side // 2
    rows, cols = (slice(half, n - side + half + 1) for n in change.shape)
    mean = uniform_filter(change, side)[rows, cols]
    row, col = np.unravel_index(int(np.argmax(mean)), mean.shape)
    return int(row), int(col), side
