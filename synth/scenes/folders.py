"""RGB-D folders, recognised by their file names, and any pair of photograph and depth file."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..io import Axes, Encoding, PictureWarning, read_array, read_image
from ..io.calibration import calibration_beside
from ..io.depth import Stereo, read_depth_file
from .fitting import DepthResize, fit_depth
from .scene import Scene

__all__ = ["from_files", "holds_pair", "holds_rig", "read_folder"]


class _Layout(NamedTuple):
    """How a kind of RGB-D folder is recognised and read."""

    image: str  # pattern of the colour file
    depth: str  # pattern of its depth; "*" stands for the stem of the colour file, "@" for its whole name
    unit: str | None  # None where the file or a calibration beside it says it
    source: str
    stereo: Stereo | None = None
    second: str | None = None  # a second view, averaged with the first
    rim: int = 0  # px without content on each side, cut off
    sharp: bool = True  # whether the photograph is in focus everywhere


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
        "l.png", "d.png", "mm",
        "dual-pixel capture with depth camera; mean of both views, not all in focus: blurred as the lens made it",
        second="r.png", sharp=False,
    ),
    _Layout("im0.png", "disp0.pfm", "disparity", "Middlebury left view; depth from disparity"),
    *(
        _Layout(f"{inside}*{suffix}", f"{depths}@.{kind}.bin", None, f"COLMAP, {kind} depth")
        for inside, depths in (("", ""), ("images/", "stereo/depth_maps/"))
        for suffix in (".jpg", ".JPG", ".png")
        for kind in ("geometric", "photometric")
    ),
)  # fmt: skip


def read_folder(
    path: str | Path,
    depth_unit: str | float | None = None,
    *,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_resize: DepthResize = "guided",
    encoding: Encoding | None = None,
) -> Scene:
    """Read the RGB-D pair in a folder, recognised by its file names.

    Parameters
    ----------
    path : path
        The folder. Known pairs: ``rgb.jpg`` + ``depth_mm.png`` (NYU), ``NAME.png`` + ``NAME.dpt`` (Sintel),
        ``color.png`` + ``depth.png`` (ICL-NUIM, TUM), ``im2.png`` + ``disp2.png`` (Middlebury 2003), ``l.png``,
        ``r.png`` + ``d.png`` (dual pixel with depth camera), ``im0.png`` + ``disp0.pfm`` with ``calib.txt`` (Middlebury
        2014, 2021), ``NAME`` + ``NAME.geometric.bin`` or ``NAME.photometric.bin`` (COLMAP; in one folder, or in
        ``images`` and ``stereo/depth_maps``).
    depth_unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or the metres of one unit, optional
        Overrides the unit that the layout implies, see `synth.io.depth.to_metres`.
    stereo : Stereo, optional
        Overrides the rig that turns disparity into depth.
    near_m, far_m, depth_resize
        As for `from_files`.
    encoding : {"srgb", "linear"}, optional
        What the numbers of the photograph mean, see `synth.io.read_image`.

    Returns
    -------
    Scene
        Its `source` names the kind of the files and what was assumed; NYU's white rim of 10 px is cut off.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    PermissionError
        The folder is not readable.
    ValueError
        The path is a file, the folder holds no known pair or several, the two files do not match, or the unit is
        invalid, such as 0 metres.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise ValueError(f"expected a folder, got the file {folder}")
    os.listdir(folder)  # `glob` silently finds nothing in a folder without permission
    found = [(layout, image, depth) for layout in _LAYOUTS for image, depth in _pairs(folder, layout)]
    files = {image for _, image, _ in found}
    if len(files) == 1:
        found = found[:1]  # of COLMAP's two kinds of depth the geometric one, which is checked among the views
    if len(found) != 1:
        known = ", ".join(f"{layout.image} + {layout.depth}" for layout in _LAYOUTS if layout.unit is not None)
        known += ", COLMAP's NAME + NAME.geometric.bin"
        what = f"{len(found)} of them: {', '.join(pair[1].name for pair in found)}" if found else "none of them"
        raise ValueError(
            f"{folder}: expected one colour and depth pair ({known}), found {what}; from_files takes any two files"
        )
    layout, image, depth = found[0]
    unit = layout.unit if depth_unit is None else depth_unit
    rig = (stereo or layout.stereo) if unit == "disparity" else stereo
    scene = from_files(
        image, depth, depth_unit=unit, stereo=rig, near_m=near_m, far_m=far_m, depth_resize=depth_resize,
        encoding=encoding, name=folder.name, source=layout.source,
    )  # fmt: skip
    if layout.second is not None:
        other = read_image(folder / layout.second, encoding=encoding, belongs_to=image)
        if other.shape != scene.all_in_focus.shape:
            raise ValueError(f"{folder}: {image.name} and {layout.second} differ in size")
        scene = replace(scene, all_in_focus=(scene.all_in_focus + other) / np.float32(2))
    scene = replace(scene, sharp=layout.sharp)
    if rim := layout.rim:
        H, W = scene.shape
        scene = scene.window(rim, rim, H - 2 * rim, W - 2 * rim)
    return scene


def holds_pair(folder: Path) -> bool:
    """Return whether `read_folder` would recognise a pair."""
    return any(_pairs(folder, layout) for layout in _LAYOUTS)


def holds_rig(image: Path, depth: Path) -> bool:
    """Return whether Middlebury's ``calib.txt``, which turns disparity into depth, lies beside a pair of files."""
    found = calibration_beside(image, depth)
    return found is not None and found.stereo is not None


def _pairs(folder: Path, layout: _Layout) -> list[tuple[Path, Path]]:
    pairs = [
        (image, folder / layout.depth.replace("*", image.stem).replace("@", image.name))
        for image in sorted(folder.glob(layout.image))
    ]
    needed = [] if layout.second is None else [folder / layout.second]
    return [pair for pair in pairs if all(file.is_file() for file in (*pair, *needed))]


def from_files(
    image: str | Path,
    depth: str | Path,
    *,
    depth_unit: str | float | None = None,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_resize: DepthResize = "guided",
    encoding: Encoding | None = None,
    layout: Axes | None = None,
    name: str | None = None,
    source: str | None = None,
) -> Scene:
    """Read any photograph and any depth file of the same proportions.

    Parameters
    ----------
    image, depth : path
        What `synth.io.read_image` and `synth.io.read_depth` read.
    depth_unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or the metres of one unit, optional
        Unit of the depth file, see `synth.io.depth.to_metres`; ``.dpt`` and COLMAP files need none, nor does the
        disparity in floats beside which Middlebury's ``calib.txt`` lies.
    stereo : Stereo, optional
        The rig, with ``depth_unit="disparity"``; without it that of ``calib.txt``.
    near_m, far_m : float, optional
        Depth of the nearest and of the farthest pixel, with ``depth_unit="relative"``.
    depth_resize : {"guided", "nearest", "off"}
        How depth of another size is brought to that of the photograph, see `fit_depth`.
    encoding : {"srgb", "linear"}, optional
        What the numbers of the photograph mean, see `synth.io.read_image`.
    layout : {"hwc", "chw"}, optional
        Of a photograph in a ``.npy`` file.
    name, source : str, optional
        Default to the stem of the image file and to both file names.

    Returns
    -------
    Scene
        Image as float32 linear light, depth in metres with NaN where unknown. A depth file without an orientation of
        its own is turned with the photograph, see `synth.io.read_array`. `focal_px` is that of a calibration beside
        the files (`synth.io.calibration.calibration_beside`).

    Raises
    ------
    FileNotFoundError
        One of the files is missing.
    ValueError
        A file cannot be read, the unit is missing, the proportions differ, or a calibration beside the files is
        damaged or for another size.

    Warns
    -----
    PictureWarning
        The depth was resized; or as for `synth.io.read_image` and `synth.io.read_depth`.
    """
    picture = read_image(image, encoding=encoding, layout=layout)
    found = calibration_beside(image, depth)
    about = f"{Path(image).name} with {Path(depth).name}" if source is None else source
    if found is not None and found.stereo is not None and stereo is None and depth_unit in (None, "disparity"):
        shape, kind = _stored_kind(depth, image)
        if depth_unit == "disparity" or kind == "f":
            if shape != found.size:
                raise ValueError(
                    f"{depth}: {found.file.name} is for {found.size[0]} x {found.size[1]} px, but the disparity has "
                    f"{shape[0]} x {shape[1]}; was it scaled down without its calibration?"
                )
            depth_unit, stereo = "disparity", found.stereo
            about += (
                f", {found.file.name}: f = {stereo.focal_px:g} px, baseline {stereo.baseline_m:g} m, doffs "
                f"{stereo.doffs:g} px"
            )
    read = read_depth_file(
        depth, unit=depth_unit, stereo=stereo, near_m=near_m, far_m=far_m, belongs_to=image
    )  # fmt: skip
    if read.metres.shape != picture.shape[1:]:
        (h, w), (H, W) = read.metres.shape, picture.shape[1:]
        try:
            read = read._replace(metres=fit_depth(read.metres, picture, how=depth_resize))
        except ValueError as error:
            raise ValueError(f"{depth}: {error}") from None
        how = "to the nearest pixel" if depth_resize == "nearest" else "along the edges of the photograph"
        about += f"; depth resized from {h} x {w} to {H} x {W}"
        warnings.warn(
            f"{depth}: the depth has {h} x {w} px and was brought to the photograph's {H} x {W} px, {how}",
            PictureWarning,
            stacklevel=2,
        )
    return Scene(
        all_in_focus=picture,
        depth_m=read.metres,
        name=Path(image).stem if name is None else name,
        source=about,
        focal_px=None if found is None else found.focal_for((picture.shape[1], picture.shape[2])),
        depth_levels=read.levels,
    )


def _stored_kind(depth: str | Path, image: str | Path) -> tuple[tuple[int, ...], str]:
    """Shape of a disparity map, and whether it holds floats (f)."""
    values = read_array(depth, belongs_to=image)
    return values.shape[:2], values.dtype.kind
