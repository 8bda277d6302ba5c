"""From photographs at several focus distances to depth and one picture in focus, and what is written of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import blurphys as bp
import solvers
from blurphys import plot
from blurphys.colour import linear_to_srgb
from blurphys.files.publishing import publish_together
from blurphys.plot.panels import new_figure
from solvers.estimation import DepthEstimate
from solvers.restoration.focal_stack import sharpest
from synth.io import png

__all__ = ["STACK_FILES", "MergedStack", "merge", "write_stack"]

Image = NDArray[np.floating]

STACK_FILES = ("all_in_focus.png", "sharpest.png", "depth_m.npy", "confidence.png", "overview.png", "report.json")
"""What the restoration of a stack consists of on disk."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MergedStack:
    """Depth and picture of a stack, and what they were made of."""

    estimate: DepthEstimate
    image: Image
    sharpest: Image
    report: dict[str, Any]


def merge(
    photos: Sequence[Image],
    lenses: Sequence[bp.ThinLens],
    *,
    pupil: bp.Pupil,
    near_m: float,
    far_m: float,
    noise: float | None = None,
    strength: float | None = None,
    settings: dict[str, Any] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> MergedStack:
    """Estimate the depth of a stack and merge it; arguments and errors as for the functions of `solvers`."""
    say("estimating depth")
    estimate = solvers.estimation.focal_stack_depth(
        photos, lenses, pupil=pupil, near_m=near_m, far_m=far_m, noise=noise
    )
    maps = estimate.defocus_maps.astype(photos[0].dtype)
    say("merging the photographs")
    found = solvers.merge_focal_stack(photos, maps, pupil=pupil, strength="auto" if strength is None else strength)
    depth = estimate.depth_m
    report = {
        **(settings or {}),
        "focus_distances_m": [lens.focus_distance_m for lens in lenses],
        "depth_m": {f"{q:.0%}": float(np.quantile(depth, q)) for q in (0.05, 0.5, 0.95)},
        "largest_radius_px": float(np.abs(maps).max()),
        "confident_share": float((estimate.confidence > 0.5).mean()),
        "noise": estimate.noise,
        "status": found.status.name,
        "verdict": f"One picture in focus from {len(photos)} photographs.",
    }
    return MergedStack(estimate=estimate, image=found.x, sharpest=sharpest(photos, maps), report=report)


def write_stack(folder: Path, photos: Sequence[Image], merged: MergedStack, *, overwrite: bool) -> None:
    """Write `STACK_FILES` into a folder: all of them appear, or none."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with publish_together([folder / name for name in STACK_FILES], overwrite=overwrite) as parts:
            picture, classical, depth, confidence, overview, report = parts
            picture.write_bytes(_png(merged.image))
            classical.write_bytes(_png(merged.sharpest))
            with depth.open("wb") as file:
                np.save(file, merged.estimate.depth_m.astype(np.float32))
            levels = np.rint(np.clip(merged.estimate.confidence, 0, 1) * 255).astype(np.uint8)
            confidence.write_bytes(png.encode(levels))
            _draw(overview, photos, merged)
            report.write_text(json.dumps(merged.report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except BaseException:
        if new and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _png(image: Image) -> bytes:
    levels = np.rint(linear_to_srgb(np.clip(image.astype(np.float64), 0, 1)) * 65535).astype(np.uint16)
    return png.encode(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))


def _draw(path: Path, photos: Sequence[Image], merged: MergedStack) -> None:
    """Draw the nearest and the farthest focus, the merged picture, details of all, and the depth."""
    height, width = merged.estimate.depth_m.shape
    figure = new_figure(16, 1.5 + 10 * height / width)
    grid = figure.add_gridspec(2, 4)
    axes = [figure.add_subplot(grid[row, col]) for row in range(2) for col in range(3)]
    names = (
        f"focus {merged.report['focus_distances_m'][0]:g} m",
        f"focus {merged.report['focus_distances_m'][-1]:g} m",
    )
    plot.before_after(photos[0], photos[-1], merged.image, labels=(*names, "merged"), ax=axes)
    depth = figure.add_subplot(grid[0, 3])
    drawn = depth.imshow(merged.estimate.depth_m, cmap="viridis")
    depth.set(title="depth", xticks=[], yticks=[])
    figure.colorbar(drawn, ax=depth, orientation="horizontal", label="m")
    figure.savefig(path, format="png")
