"""A contact sheet of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blurphys.colour import linear_to_srgb
from blurphys.files.publishing import PathLike, publish
from blurphys.inputs import require_integer

from ..dataset.folder import open as open_dataset

__all__ = ["preview"]

PSF_TILES = 5


def preview(path: PathLike, out: PathLike, *, samples: int = 6, overwrite: bool = False) -> None:
    """Draw some samples of a dataset as a PNG.

    Parameters
    ----------
    path : path
        A file or folder that `synth.generate` wrote.
    out : path
        PNG to write.
    samples : int
        How many, spread evenly; at most as many as there are.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError
        As for `synth.io.write_image`.
    ValueError
        No dataset, a damaged one, `samples` < 1, or a name that does not end in .png.

    Notes
    -----
    One row for each sample: the sharp image, what was recorded, left minus right (red where left is brighter), the
    signed CoC radius with its colour bar, and the PSFs at five radii over the sample's range, left view in red, right
    in cyan. For top and bottom views these two are shown instead; quad-pixel views are averaged to left and right.
    """
    from matplotlib.figure import Figure

    if not Path(path).exists():
        raise FileNotFoundError(f"there is no folder or file {path}")
    require_integer("preview", "samples", samples)
    if not str(out).lower().endswith(".png"):
        raise ValueError(f"preview: expected a name ending in .png, got {out}")
    with open_dataset(path) as data:
        chosen = np.unique(np.linspace(0, len(data) - 1, min(samples, len(data))).round().astype(int))
        height, width = data.shape
        aspect = height / width
        columns = ("sharp", "recorded", " - ".join(_sides(data.names)), "CoC radius, px", "PSFs")
        size = (3.2 * len(columns) + 0.6, 3.2 * len(chosen) * min(aspect, 1.6) + 0.35 * len(chosen) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(chosen), len(columns), squeeze=False)
        for row, index in zip(axes, chosen, strict=True):
            _row(figure, row, data, int(index))
        for axis, title in zip(axes[0], columns, strict=True):
            axis.set_title(title, fontsize=10)
        models = ", ".join(dict.fromkeys(str(data.attrs_of(index).get("model")) for index in data.parts))
        figure.suptitle(f"{len(data)} samples of {height} x {width} px, model {models}", fontsize=10)
    with publish(out, overwrite=overwrite) as part:
        figure.savefig(part, format="png", dpi=110, metadata={"Software": None})


def _row(figure: Any, axes: Any, data: Any, index: int) -> None:
    sample, parameters = data.read(index), data.parameters(index)
    scene = data.configuration_of(index)["scenes"][int(parameters["scene"])]["name"]
    sharp, recorded, difference, radius, mosaic = axes
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    linear = data.attrs_of(index)["transfer_function"] == "linear"
    sharp.imshow(_shown(sample["all_in_focus"], linear))
    sharp.set_ylabel(f"{index}: {scene}", fontsize=8)
    first, second = _sides(data.names)
    both = [_side(sample, side) for side in (first, second)]
    image = sample["combined"] if "combined" in sample else sum(both) / 2
    recorded.imshow(_shown(image, linear))
    recorded.set_xlabel(f"focus {parameters['focus_distance_m']:.2f} m, f/{parameters['f_number']:.1f}", fontsize=8)
    if both[0] is not None:
        signed = (both[0] - both[1]).mean(axis=0)
        limit = max(float(np.quantile(np.abs(signed), 0.995)), 1e-6)
        drawn = difference.imshow(signed, cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(drawn, ax=difference, shrink=0.85).ax.tick_params(labelsize=7)
    else:
        difference.text(0.5, 0.5, "one view", ha="center", va="center", fontsize=9)
        difference.set_axis_off()
    limit = max(float(np.abs(sample["defocus_map"]).max()), 1e-6)
    drawn = radius.imshow(sample["defocus_map"], cmap="coolwarm", vmin=-limit, vmax=limit)
    figure.colorbar(drawn, ax=radius, shrink=0.85).ax.tick_params(labelsize=7)
    radius.set_xlabel("- in front of focus, + behind", fontsize=8)
    low, high = float(sample["defocus_map"].min()), float(sample["defocus_map"].max())
    mosaic.imshow(_psfs(data.camera(index), low, high, (first, second)))
    mosaic.set_xlabel(f"c = {low:+.1f} to {high:+.1f} px", fontsize=8)


def _shown(image: np.ndarray, linear: bool) -> np.ndarray:
    """Return an image (H, W, 3) for display: linear light is sRGB-encoded, encoded images are left as they are."""
    values = image.clip(0, 1)
    shown: np.ndarray = (linear_to_srgb(values) if linear else values).transpose(1, 2, 0)
    return shown


def _sides(names: Sequence[str]) -> tuple[str, str]:
    """Return the two views whose difference is shown."""
    return ("top", "bottom") if "top" in names else ("left", "right")


def _side(sample: dict[str, np.ndarray], side: str) -> Any:
    """Return a dual-pixel view, or the mean of two quad-pixel views; None where there is none."""
    views = [array for name, array in sample.items() if name.split("_")[-1] == side]
    return sum(views) / len(views) if views else None


def _psfs(camera: Any, low: float, high: float, sides: tuple[str, str] = ("left", "right")) -> np.ndarray:
    """Return PSFs at five radii side by side, each scaled to its peak; first view red, second green and blue."""
    bank = camera.bank(sides)
    tiles = []
    for radius in np.linspace(low, high, PSF_TILES):
        level = int(np.abs(bank.radii - radius).argmin())
        left, right = (bank.psfs(side)[level] for side in sides)
        peak = max(left.max(), right.max())
        tile = np.stack([left, right, right], axis=-1) / peak
        reach = int(np.ceil(max(abs(low), abs(high)))) + 2
        middle = tile.shape[0] // 2
        wide = np.zeros((2 * reach + 1, 2 * reach + 1, 3))
        inner = min(reach, middle)
        wide[reach - inner : reach + inner + 1, reach - inner : reach + inner + 1] = tile[
            middle - inner : middle + inner + 1, middle - inner : middle + inner + 1
        ]
        tiles.append(np.pad(wide, ((1, 1), (1, 1), (0, 0)), constant_values=0.25))
    return np.concatenate(tiles, axis=1)
