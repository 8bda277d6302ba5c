"""Public RGB-D sets that need more than a folder name: calibrated stereo, MATLAB files, coded and ray-wise depth."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blurphys.files.publishing import PathLike, existing_file
from blurphys.inputs import require_number

from ..io import read_array, read_image
from ..io.calibration import middlebury_rig
from ..io.depth import Stereo, to_metres
from .scene import Scene

if TYPE_CHECKING:
    import h5py

__all__ = ["hypersim", "middlebury", "nyu_labelled", "synthia"]

_DEFLATE = 1032
"""No deflated byte unfolds to more bytes than this, so a small file that declares a huge array is damaged."""
_DAMAGE = (
    OSError, RuntimeError, KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError, MemoryError,
    SystemError, AssertionError,
)  # fmt: skip
"""What h5py lets out when the bytes of a file make no sense."""


def middlebury(folder: PathLike) -> Scene:
    """Read a Middlebury stereo scene of 2014 or 2021: photograph, disparity, and the rig that makes it a depth.

    Parameters
    ----------
    folder : path
        Holds ``im0.png`` (left view), ``disp0.pfm`` (its disparity in px) and ``calib.txt``.

    Returns
    -------
    Scene
        Left view and its depth. Infinite or NaN disparity is unknown, as is one that is not positive once the offset
        is added.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or one of the three files is missing.
    ValueError
        A file is damaged, the calibration lacks an entry or is not a rectified rig of square pixels, or sizes differ.

    Notes
    -----
    depth = baseline f / (q + doffs), with f from ``cam0=[f 0 cx; 0 f cy; 0 0 1]`` in px and the baseline in mm. All of
    them belong to the size that calib.txt gives; a scaled-down copy needs a calibration divided by the same factor
    (the baseline excepted), so that another size is refused.

    References
    ----------
    D. Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014.
    """
    where = Path(folder)
    if not where.exists():
        raise FileNotFoundError(f"there is no folder {where}")
    if not where.is_dir():
        raise ValueError(f"expected a folder with im0.png, disp0.pfm and calib.txt, got the file {where}")
    calibration = existing_file(where / "calib.txt")
    stereo, size = middlebury_rig(calibration)
    image = read_image(where / "im0.png")
    disparity = read_array(where / "disp0.pfm", belongs_to=where / "im0.png")
    for name, shape in (("im0.png", image.shape[1:]), ("disp0.pfm", disparity.shape)):
        if shape != size:
            raise ValueError(
                f"{where}: calib.txt is for {size[0]} x {size[1]} px, but {name} has shape {shape}; was it scaled down "
                "without its calibration?"
            )
    scene = _scene(
        image,
        _metres(where / "disp0.pfm", disparity, stereo=stereo),
        name=where.name,
        source=f"Middlebury left view; depth from disparity with f = {stereo.focal_px:g} px, baseline "
        f"{stereo.baseline_m:g} m, doffs {stereo.doffs:g} px; infinite disparity is unknown",
        file=where,
    )
    return replace(scene, focal_px=stereo.focal_px)


def nyu_labelled(path: PathLike, index: int, *, raw: bool = False, rim: int = 10) -> Scene:
    """Read one frame of the labelled NYU Depth V2 file, ``nyu_depth_v2_labeled.mat``.

    Parameters
    ----------
    path : path
        The MATLAB 7.3 file, which is HDF5: ``images`` (frame, channel, column, row), ``depths`` and ``rawDepths``
        (frame, column, row).
    index : int
        Which frame, from 0; the published file has 1449.
    raw : bool
        False reads ``depths``, inpainted by the authors, so that every pixel is known. True reads ``rawDepths``: as
        measured, NaN where the sensor has no value (stored as 0).
    rim : int
        Pixels cut off each side: registering the two cameras left a white frame of 8 to 10 px around the photograph.

    Returns
    -------
    Scene
        Photograph from 8-bit sRGB, upright (MATLAB stores columns first), and depth in metres.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or of another layout, there is no such frame, the rim leaves nothing, or no pixel of the
        frame is known.

    Notes
    -----
    Only the frame asked for is read. Cost O(H W), and the unpacking of the chunks that it touches.

    References
    ----------
    N. Silberman, D. Hoiem, P. Kohli, R. Fergus, Indoor segmentation and support inference from RGBD images, ECCV 2012.
    """
    file, key = existing_file(path), "rawDepths" if raw else "depths"
    try:
        frame = operator.index(index)
    except TypeError:
        raise ValueError(f"nyu_labelled: expected the frame as a whole number, got {index!r}") from None
    with _hdf5(file) as content:
        images, depths = _array(content, "images", "u", 4), _array(content, key, "f", 3)
        if images.dtype != np.uint8 or images.shape[1] != 3 or depths.shape != (images.shape[0], *images.shape[2:]):
            raise _UnfitError(
                f"expected images (N, 3, W, H) of uint8 and {key} (N, W, H), got {images.shape} of {images.dtype} and "
                f"{depths.shape}"
            )
        if not 0 <= frame < images.shape[0]:
            raise _UnfitError(f"expected a frame from 0 to {images.shape[0] - 1}, got {frame}")
        colour, metres = _read(images, frame), _read(depths, frame)
    from blurphys.colour import srgb_to_linear

    known = "depth as measured, NaN where the sensor has no value" if raw else "filled depth"
    scene = _scene(
        np.ascontiguousarray(srgb_to_linear(colour.transpose(0, 2, 1) / 255.0), np.float32),
        _metres(file, np.ascontiguousarray(metres.T)),
        name=f"nyu_{frame:04d}",
        source=f"NYU Depth V2 labelled frame {frame}, {known}; rim of {rim} px cut off",
        file=file,
    )
    H, W = scene.shape
    return scene.window(rim, rim, H - 2 * rim, W - 2 * rim)


def synthia(image: PathLike, depth: PathLike, *, farthest_m: float = 250.0) -> Scene:
    """Read a SYNTHIA frame: a rendered street and its depth, coded in the three colours of an 8-bit PNG file.

    Parameters
    ----------
    image : path
        Colour, such as ``RGBLeft/0000000.png``.
    depth : path
        Its depth, such as ``DepthLeft/0000000.png``.
    farthest_m : float
        Depths beyond it, the sky included, are set to it: at 250 m and at infinity defocus is the same.

    Returns
    -------
    Scene
        Every pixel is known but those of code 0, which no surface in front of a camera can have: they are NaN.

    Raises
    ------
    FileNotFoundError
        One of the files is missing.
    ValueError
        A file cannot be read, the depth is not 8-bit RGB, the limit is not positive, or the sizes differ.

    Notes
    -----
    ``d = 1000 (R + 256 G + 65536 B) / (2^24 - 1)`` metres, clipped, as the published dual-pixel generator reads it.
    The largest code, 1000 m, counts as sky rather than as an unknown depth. Depth is assumed to run along the axis, not
    along the ray, as that generator does.

    References
    ----------
    A. Abuolaim et al., Learning to reduce defocus blur by realistically modeling dual-pixel data, ICCV 2021.
    """
    require_number("synthia", "farthest_m", farthest_m, above=0)
    code = read_array(depth, belongs_to=image)
    if code.dtype == np.uint8 and code.ndim == 3 and code.shape[-1] == 4 and (code[..., 3] == 255).all():
        code = code[..., :3]
    if code.dtype != np.uint8 or code.ndim != 3 or code.shape[-1] != 3:
        raise ValueError(
            f"{depth}: expected the depth code in the colours of an 8-bit RGB image, got {code.dtype} of shape "
            f"{code.shape}; is it a 16-bit depth map for from_files?"
        )
    value = code.astype(np.float64) @ np.array([1.0, 256.0, 65536.0])
    metres = np.minimum(1000.0 * value / (2**24 - 1), farthest_m)
    return _scene(
        read_image(image),
        _metres(depth, metres),
        name=Path(image).stem,
        source=f"SYNTHIA frame, exact depth, clipped at {farthest_m:g} m; code 0 is unknown",
        file=depth,
    )


def hypersim(colour: PathLike, depth: PathLike, *, focal_px: float = 886.81, exposure: float = 1.0) -> Scene:
    """Read a Hypersim frame: HDR colour, and depth turned from the distance along each ray to planar depth.

    Parameters
    ----------
    colour : path
        ``frame.NNNN.color.hdf5``: ``dataset`` of shape (H, W, 3), linear light in arbitrary units.
    depth : path
        ``frame.NNNN.depth_meters.hdf5``: ``dataset`` of shape (H, W), metres from the centre of the lens to the
        surface along the ray.
    focal_px : float
        Focal length in px of these very images: 886.81 for the default camera at its 1024 x 768. Scale it with the
        width, and give that of scenes which have a camera of their own.
    exposure : float
        Factor on the colour; choose it so that a white surface is about 1. Brighter pixels stay above 1.

    Returns
    -------
    Scene
        Depth that is NaN, infinite or not positive (nothing was hit) is NaN.

    Raises
    ------
    FileNotFoundError
        One of the files is missing.
    ValueError
        A file is damaged or of another layout, the sizes differ, the colour is not finite or negative, or a factor is
        not positive.

    Notes
    -----
    With x and y in px from the centre of the image, ``z = distance f / sqrt(f^2 + x^2 + y^2)``. At the corners of the
    default camera the distance is 23 % more than z; used as depth it would bend every wall.

    References
    ----------
    M. Roberts et al., Hypersim: a photorealistic synthetic dataset for holistic indoor scene understanding, ICCV 2021.
    """
    for name, value in (("focal_px", focal_px), ("exposure", exposure)):
        require_number("hypersim", name, value, above=0)
    light = _whole(colour, 3)
    if light.shape[-1] != 3:
        raise ValueError(f"{colour}: expected colour of shape (H, W, 3), got {light.shape}")
    distance = _whole(depth, 2)
    H, W = distance.shape
    y, x = np.arange(H)[:, None] - (H - 1) / 2, np.arange(W) - (W - 1) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is judged below
        image = np.ascontiguousarray(light.transpose(2, 0, 1).astype(np.float64) * exposure, np.float32)
        planar = distance.astype(np.float64) * (focal_px / np.sqrt(focal_px**2 + x**2 + y**2))
    return _scene(
        image,
        _metres(depth, planar),
        name=Path(colour).name.removesuffix(".hdf5"),
        source=f"Hypersim frame, exposure {exposure:g}; depth from distance along the ray with f = {focal_px:g} px",
        file=colour,
    )


class _UnfitError(ValueError):
    """The file can be read, but lacks the requested array."""


def _metres(file: PathLike, values: np.ndarray, *, stereo: Stereo | None = None) -> np.ndarray:
    """Do what `to_metres` does for metres or disparity, with the file named in errors."""
    try:
        return to_metres(values, unit="m" if stereo is None else "disparity", stereo=stereo)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _scene(image: np.ndarray, depth: np.ndarray, *, name: str, source: str, file: PathLike) -> Scene:
    try:
        return Scene(all_in_focus=image, depth_m=depth, name=name, source=source)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


@contextlib.contextmanager
def _hdf5(path: PathLike) -> Iterator[h5py.File]:
    """Open an untrusted HDF5 file for reading; any error inside the block becomes a ValueError that names the file."""
    import h5py

    file = existing_file(path)
    try:
        with h5py.File(file, "r") as content:
            yield content
    except _UnfitError as error:
        raise ValueError(f"{file}: {error}") from None
    except _DAMAGE as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise ValueError(
            f"{file}: expected a whole HDF5 file, this one is damaged or of another kind ({reason})"
        ) from None


def _array(content: h5py.File, key: str, kind: str, axes: int) -> h5py.Dataset:
    """Return an array of the file, after checking that the file can hold it."""
    import h5py

    if not isinstance(content.get(key, getlink=True), h5py.HardLink):
        raise _UnfitError(f"expected an array {key!r}, found none in this file")
    found: Any = content[key]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise _UnfitError(f"expected {key!r} to be an array stored in this file")
    if found.dtype.kind != kind or found.ndim != axes or min(found.shape) < 1:
        wanted = "floats" if kind == "f" else "unsigned integers"
        raise _UnfitError(f"expected {key!r} as {wanted} with {axes} axes, got {found.dtype} of shape {found.shape}")
    packing = _DEFLATE if found.compression is not None else 1
    room = packing * found.id.get_storage_size()
    chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
    if math.prod(found.shape) * found.dtype.itemsize > room or chunk > max(room, 1):
        raise _UnfitError(f"{key!r} says {found.shape} but only {found.id.get_storage_size()} bytes are stored")
    if found.id.get_storage_size() > Path(content.filename).stat().st_size:
        raise _UnfitError(f"{key!r} says it is larger than the file")
    return found


def _read(array: h5py.Dataset, selection: Any) -> np.ndarray:
    values = np.asarray(array[selection])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _whole(path: PathLike, axes: int) -> np.ndarray:
    with _hdf5(path) as content:
        return _read(_array(content, "dataset", "f", axes), ...)
