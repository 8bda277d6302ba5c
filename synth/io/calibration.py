"""Calibration files that lie beside photographs and depth maps: Middlebury's ``calib.txt``, COLMAP's cameras.

References: D. Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014
(``calib.txt``); COLMAP documentation, "Output format" (cameras, images) and "Camera models".
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import NamedTuple

from blurphys.files.publishing import PathLike

from .depth import Stereo
from .orientation import similar

__all__ = ["Calibration", "calibration_beside", "colmap_focal", "middlebury_rig"]

_MOST_BYTES = 1 << 16
_MOST_COLMAP = 1 << 26
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8), 6: ("FULL_OPENCV", 12), 7: ("FOV", 5), 8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12), 11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}  # fmt: skip
"""Name and number of parameters of COLMAP's camera models, by their number in binary files."""
_TWO_FOCALS = (
    "PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE",
)  # fmt: skip


class Calibration(NamedTuple):
    """What a calibration file says of a photograph.

    Attributes
    ----------
    file : Path
        Where it stands.
    focal_px : float
        Focal length in px of a picture of `size`.
    size : (int, int)
        Height and width, px, of the pictures that it is for.
    stereo : Stereo or None
        The rig, of stereo sets.
    """

    file: Path
    focal_px: float
    size: tuple[int, int]
    stereo: Stereo | None = None

    def focal_for(self, shape: tuple[int, int]) -> float | None:
        """Focal length in px of a photograph of another size; None where its proportions are others."""
        if not (similar(shape, self.size) or similar(shape, self.size[::-1])):
            return None
        return self.focal_px * max(shape) / max(self.size)


def calibration_beside(image: PathLike, depth: PathLike) -> Calibration | None:
    """Return the calibration of a photograph and its depth map, from the folders that they are in; None without one.

    Parameters
    ----------
    image, depth : path
        The two files.

    Returns
    -------
    Calibration or None
        Middlebury's ``calib.txt`` in the folder of the depth map or of the photograph; else COLMAP's ``cameras.txt`` or
        ``cameras.bin`` there, in ``sparse`` or ``sparse/0`` beside them, or up to two folders above (the layout of its
        dense workspace). Other files of these names are passed over.

    Raises
    ------
    ValueError
        The file is of that kind, but damaged.
    """
    folders = list(dict.fromkeys((Path(depth).absolute().parent, Path(image).absolute().parent)))
    for folder in folders:
        file = folder / "calib.txt"
        if file.is_file() and b"cam0=" in _head(file).replace(b" ", b""):
            stereo, size = middlebury_rig(file)
            return Calibration(file, stereo.focal_px, size, stereo)
    above = [up for folder in folders for up in (folder, *folder.parents[:2])]
    for folder in dict.fromkeys(above):
        for place in (folder, folder / "sparse", folder / "sparse" / "0"):
            for name in ("cameras.txt", "cameras.bin"):
                if (place / name).is_file() and (found := colmap_focal(place / name, Path(image).name)) is not None:
                    return found
    return None


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES)


# ---- Middlebury ---------------------------------------------------------------------------------------------------


def middlebury_rig(file: PathLike) -> tuple[Stereo, tuple[int, int]]:
    """Read Middlebury's ``calib.txt`` of 2014 or 2021: the rig, and the (height, width) that it is for.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no text, lacks an entry or is not a rectified rig of square pixels.
    """
    try:
        return _rig(_text_of(Path(file)))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _text_of(file: Path) -> str:
    with file.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"expected a few lines of text, got more than {_MOST_BYTES} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("expected lines of plain text, got other bytes") from None


def _rig(text: str) -> tuple[Stereo, tuple[int, int]]:
    """Parse calib.txt: the rig, and the (height, width) it is for."""
    entries = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    entries = {key.strip(): value.strip() for key, value in entries.items()}
    needed = ("cam0", "doffs", "baseline", "width", "height")
    if missing := [key for key in needed if key not in entries]:
        raise ValueError(f"expected the entries {', '.join(needed)}, found no {', '.join(missing)}")
    matrix = [_numbers("cam0", row) for row in entries["cam0"].strip("[]").split(";")]
    if [len(row) for row in matrix] != [3, 3, 3]:
        raise ValueError(f"expected cam0 as a matrix [f 0 cx; 0 f cy; 0 0 1], got {entries['cam0'][:80]!r}")
    focal = matrix[0][0]
    if matrix[2] != [0, 0, 1] or matrix[0][1] != 0 or matrix[1][0] != 0 or matrix[1][1] != focal:
        raise ValueError(f"expected cam0 of square pixels, [f 0 cx; 0 f cy; 0 0 1], got {entries['cam0'][:80]!r}")
    (doffs,), (baseline,) = (_numbers(key, entries[key], 1) for key in ("doffs", "baseline"))
    (height,), (width,) = (_numbers(key, entries[key], 1) for key in ("height", "width"))
    if not (height >= 1 and width >= 1 and height.is_integer() and width.is_integer()):
        raise ValueError(f"expected whole height and width, got {height:g} and {width:g}")
    return Stereo(focal_px=focal, baseline_m=baseline / 1000, doffs=doffs), (int(height), int(width))


def _numbers(key: str, text: str, count: int | None = None) -> list[float]:
    words = text.split()
    # float() also takes underscores and words such as "nan", which no calibration holds
    if not all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", word) for word in words):
        raise ValueError(f"expected numbers after {key}=, got {text[:80]!r}")
    numbers = [float(word) for word in words]
    if (count is not None and len(numbers) != count) or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected {count or 'finite'} number(s) after {key}=, got {text[:80]!r}")
    return numbers


# ---- COLMAP -------------------------------------------------------------------------------------------------------


def colmap_focal(file: Path, picture: str) -> Calibration | None:
    """Read the focal length of a picture from COLMAP's ``cameras.txt`` or ``cameras.bin``.

    Parameters
    ----------
    file : Path
        The cameras.
    picture : str
        Name of the photograph, which ``images.txt`` beside it assigns to a camera where there are several.

    Returns
    -------
    Calibration or None
        None where several cameras differ and no ``images.txt`` names the picture. With two focal lengths, their mean.

    Raises
    ------
    ValueError
        The file is damaged, or of a camera model that is not known.
    """
    try:
        cameras = _colmap_binary(file) if file.suffix == ".bin" else _colmap_text(file)
    except (ValueError, struct.error) as error:
        reason = error if isinstance(error, ValueError) else "it is cut short"
        raise ValueError(f"{file}: expected COLMAP's cameras, {reason}") from None
    chosen = _camera_of(file.with_name("images.txt"), picture)
    found = [cameras[chosen]] if chosen in cameras else list(dict.fromkeys(cameras.values()))
    if len(found) != 1:
        return None
    focal, size = found[0]
    return Calibration(file, focal, size)


def _camera_of(file: Path, picture: str) -> int | None:
    """Return the number of the camera that took a picture, from ``images.txt``; None where it does not say."""
    if not file.is_file() or file.stat().st_size > _MOST_COLMAP:
        return None
    for line in file.read_text(errors="replace").splitlines():
        words = line.split(None, 9)  # IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME
        if len(words) == 10 and not line.startswith("#") and words[9].rsplit("/", 1)[-1].strip() == picture:
            return int(words[8]) if words[8].isdecimal() else None
    return None


def _colmap_text(file: Path) -> dict[int, tuple[float, tuple[int, int]]]:
    """Lines of CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]."""
    cameras = {}
    for line in _text_of(file).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        counts = {name: count for name, count in _MODELS.values()}
        if len(words) < 5 or not all(words[i].isdecimal() for i in (0, 2, 3)) or words[1] not in counts:
            raise ValueError(f"lines of number, model, width, height and parameters, got {line[:80]!r}")
        parameters = _numbers(words[1], " ".join(words[4:]), counts[words[1]])
        cameras[int(words[0])] = _camera(words[1], int(words[2]), int(words[3]), parameters)
    return cameras


def _colmap_binary(file: Path) -> dict[int, tuple[float, tuple[int, int]]]:
    """Number of cameras (uint64); of each number and model (int32), width and height (uint64), parameters (float64)."""
    data = file.read_bytes() if file.stat().st_size <= _MOST_COLMAP else b""
    (count,), position = struct.unpack_from("<Q", data), 8
    cameras = {}
    for _ in range(count):
        number, kind, width, height = struct.unpack_from("<iiQQ", data, position)
        if kind not in _MODELS:
            raise ValueError(f"got a camera model {kind} that is not known")
        name, parameters = _MODELS[kind]
        values = struct.unpack_from(f"<{parameters}d", data, position + 24)
        cameras[number] = _camera(name, width, height, list(values))
        position += 24 + 8 * parameters
    return cameras


def _camera(model: str, width: int, height: int, parameters: list[float]) -> tuple[float, tuple[int, int]]:
    focal = (parameters[0] + parameters[1]) / 2 if model in _TWO_FOCALS else parameters[0]
    if not (math.isfinite(focal) and focal > 0 and 0 < width < 1 << 20 and 0 < height < 1 << 20):
        raise ValueError(f"got a focal length of {focal:g} px for {width} x {height} px")
    return focal, (height, width)
