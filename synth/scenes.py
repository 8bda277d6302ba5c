"""Sharp photographs with a depth for every pixel: one record, and readers for RGB-D folders as they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._window import inside
from .depth import Stereo, read_depth, to_metres
from .io import read_image

__all__ = ["Scene", "Stereo", "from_files", "read_folder", "stereo_motorcycle"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """An all-in-focus photograph and the depth of what it shows.

    Parameters
    ----------
    all_in_focus : ndarray of shape (3, H, W)
        float32 or float64, linear light, finite and not negative; white is 1, highlights may exceed it.
    depth_m : ndarray of shape (H, W)
        float64, metres along the optical axis; NaN where nobody knows.
    name : str
        Short name, used in reports and stored with the data.
    source : str
        Where it comes from and what was done to it.

    Raises
    ------
    ValueError
        Shapes that do not fit each other, values outside the ranges above, or no pixel of known depth.
    """

    all_in_focus: np.ndarray
    depth_m: np.ndarray
    name: str
    source: str = ""

    def __post_init__(self) -> None:
        image, depth = self.all_in_focus, self.depth_m
        if image.ndim != 3 or image.shape[0] != 3:
            hint = "; is the image channels-last?" if image.ndim == 3 and image.shape[-1] == 3 else ""
            raise ValueError(f"Scene {self.name}: expected an image of shape (3, H, W), got {image.shape}{hint}")
        if depth.shape != image.shape[1:]:
            raise ValueError(
                f"Scene {self.name}: expected one depth per pixel, got an image of {image.shape[1]} x {image.shape[2]} "
                f"and a depth map of shape {depth.shape}; do the two files belong together?"
            )
        if image.dtype not in (np.float32, np.float64) or depth.dtype != np.float64:
            raise ValueError(
                f"Scene {self.name}: expected a float image and float64 depth, got {image.dtype}, {depth.dtype}"
            )
        if not np.isfinite(image).all() or image.min() < 0:
            raise ValueError(f"Scene {self.name}: the image holds values that are negative or not finite")
        known = ~np.isnan(depth)
        if not known.any():
            raise ValueError(f"Scene {self.name}: no pixel has a known depth")
        nearest, farthest = depth[known].min(), depth[known].max()
        if not (nearest > 0 and math.isfinite(farthest)):
            raise ValueError(
                f"Scene {self.name}: expected depths > 0 m and NaN where unknown, got {nearest} to {farthest}; "
                "to_metres turns the usual marks of unknown depth into NaN"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.depth_m.shape[0], self.depth_m.shape[1]

    @property
    def valid(self) -> np.ndarray:
        """Bool of shape (H, W): where the depth is known."""
        known: np.ndarray = ~np.isnan(self.depth_m)
        return known

    def window(self, top: int, left: int, height: int, width: int) -> Scene:
        """Cut out a rectangle of whole pixels; ValueError if it leaves the image."""
        rows, columns = inside(f"Scene {self.name}", (top, left, height, width), self.shape)
        return replace(self, all_in_focus=self.all_in_focus[:, rows, columns], depth_m=self.depth_m[rows, columns])


class _Layout(NamedTuple):
    """How one kind of RGB-D folder is recognised and read."""

    image: str  # pattern of the colour file
    depth: str  # pattern of its depth; "*" stands for the stem of the colour file
    unit: str
    source: str
    stereo: Stereo | None = None
    second: str | None = None  # a second view, averaged with the first
    rim: int = 0  # px without content on each side, cut off


# The 2003 Middlebury set publishes no calibration; the rig of the 2005 and 2006 sets (3740 px at full size, 160 mm)
# stands in for it. Being a pure scale of depth it does not change which pixel is blurred more than which.
_CONES = Stereo(focal_px=3740 / 4, baseline_m=0.160, scale=0.25)
_LAYOUTS = (
    _Layout("rgb.jpg", "depth_mm.png", "mm", "NYU Depth V2 frame, filled depth; white rim of 10 px cut off", rim=10),
    _Layout("*.png", "*.dpt", "m", "MPI-Sintel rendering, exact depth"),
    _Layout("color.png", "depth.png", "0.2mm", "ICL-NUIM or TUM RGB-D frame, metres = value / 5000"),
    _Layout(
        "im2.png", "disp2.png", "disparity",
        "Middlebury 2003 left view; depth from disparity with a nominal rig (935 px, 160 mm): right up to one scale",
        stereo=_CONES,
    ),
    _Layout(
        "l.png", "d.png", "mm", "dual-pixel capture with depth camera; mean of both views, blurred as the lens made it",
        second="r.png",
    ),
)  # fmt: skip


def read_folder(path: str | Path, depth_unit: str | None = None, *, stereo: Stereo | None = None) -> Scene:
    """Read the RGB-D pair in a folder, recognised by its file names.

    Parameters
    ----------
    path : path
        The folder. Known pairs: ``rgb.jpg`` + ``depth_mm.png`` (NYU), ``NAME.png`` + ``NAME.dpt`` (Sintel),
        ``color.png`` + ``depth.png`` (ICL-NUIM, TUM), ``im2.png`` + ``disp2.png`` (Middlebury 2003), ``l.png``,
        ``r.png`` + ``d.png`` (dual pixel with depth camera).
    depth_unit : {"m", "mm", "0.2mm", "disparity"}, optional
        Overrides the unit that the layout implies.
    stereo : Stereo, optional
        Overrides the rig that turns disparity into depth.

    Returns
    -------
    Scene
        Its `source` says what the files are and what was assumed; NYU's white rim of 10 px is cut off.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        The path is a file, no known pair is in the folder or several are, or the pair does not fit together.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise ValueError(f"expected a folder, got the file {folder}")
    found = [(layout, image, depth) for layout in _LAYOUTS for image, depth in _pairs(folder, layout)]
    if len(found) != 1:
        known = ", ".join(f"{layout.image} + {layout.depth}" for layout in _LAYOUTS)
        what = f"{len(found)} of them: {', '.join(pair[1].name for pair in found)}" if found else "none of them"
        raise ValueError(
            f"{folder}: expected one colour and depth pair ({known}), found {what}; from_files takes any two files"
        )
    layout, image, depth = found[0]
    unit = depth_unit or layout.unit
    rig = (stereo or layout.stereo) if unit == "disparity" else stereo
    scene = from_files(image, depth, depth_unit=unit, stereo=rig, name=folder.name, source=layout.source)
    if layout.second is not None:
        other = read_image(folder / layout.second)
        if other.shape != scene.all_in_focus.shape:
            raise ValueError(f"{folder}: {image.name} and {layout.second} differ in size")
        scene = replace(scene, all_in_focus=(scene.all_in_focus + other) / np.float32(2))
    if rim := layout.rim:
        H, W = scene.shape
        scene = scene.window(rim, rim, H - 2 * rim, W - 2 * rim)
    return scene


def _pairs(folder: Path, layout: _Layout) -> list[tuple[Path, Path]]:
    pairs = [(image, folder / layout.depth.replace("*", image.stem)) for image in sorted(folder.glob(layout.image))]
    needed = [] if layout.second is None else [folder / layout.second]
    return [pair for pair in pairs if all(file.is_file() for file in (*pair, *needed))]


def from_files(
    image: str | Path,
    depth: str | Path,
    *,
    depth_unit: str | None = None,
    stereo: Stereo | None = None,
    name: str | None = None,
    source: str | None = None,
) -> Scene:
    """Read any photograph and any depth file of the same size.

    Parameters
    ----------
    image, depth : path
        What `synth.io.read_image` and `synth.io.read_depth` read.
    depth_unit : {"m", "mm", "0.2mm", "disparity"}, optional
        Unit of the depth file; only ``.dpt`` files need none.
    stereo : Stereo, optional
        The rig, with ``depth_unit="disparity"``.
    name, source : str, optional
        Default to the stem of the image file and to both file names.

    Returns
    -------
    Scene
        Image as float32 linear light, depth in metres with NaN where unknown.

    Raises
    ------
    FileNotFoundError
        One of the files is missing.
    ValueError
        A file cannot be read, the unit is missing, or the sizes differ.
    """
    return Scene(
        all_in_focus=read_image(image),
        depth_m=read_depth(depth, unit=depth_unit, stereo=stereo),
        name=Path(image).stem if name is None else name,
        source=f"{Path(image).name} with {Path(depth).name}" if source is None else source,
    )


MOTORCYCLE = Stereo(focal_px=3979.911 / 4, baseline_m=0.193001, doffs=124.343 / 4)
"""Rig of the 741 px wide Motorcycle: that of the 2964 px wide original (3979.911 px, doffs 124.343 px) divided by 4."""


def stereo_motorcycle() -> Scene:
    """Left view of the Middlebury 2014 Motorcycle at 741 x 500, which scikit-image carries in its wheel.

    Returns
    -------
    Scene
        Real photograph, measured depth of 2.1 to 5.0 m, unknown for 7 % of the pixels (infinite disparity).

    Notes
    -----
    depth = 0.193001 m x 994.978 px / (q + 31.086 px), the published calibration divided by the down-sampling factor 4;
    the baseline is a length and stays. Photograph and disparity were averaged over 4 x 4 pixels by scikit-image.

    References
    ----------
    D. Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014.
    """
    from skimage import data

    from blurphys.colour import srgb_to_linear

    load: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]] = data.stereo_motorcycle
    left, _, disparity = load()
    return Scene(
        all_in_focus=np.ascontiguousarray(srgb_to_linear(left.transpose(2, 0, 1) / 255.0), np.float32),
        depth_m=to_metres(disparity, unit="disparity", stereo=MOTORCYCLE),
        name="motorcycle",
        source="Middlebury 2014 Motorcycle, left view, quarter size, from scikit-image; calibration divided by 4",
    )
