"""What the numbers of a depth file mean: units, stereo disparity, and pixels nobody measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blurphys.publishing import PathLike

from ._formats import read_array

__all__ = ["UNITS", "Stereo", "read_depth", "to_metres"]

UNITS = ("m", "mm", "0.2mm", "disparity")
_METRES = {"m": 1.0, "mm": 1e-3, "0.2mm": 2e-4}


@dataclass(frozen=True, kw_only=True)
class Stereo:
    """A rectified stereo rig, which turns a disparity into a depth.

    Parameters
    ----------
    focal_px : float
        Focal length in pixels of the disparity map.
    baseline_m : float
        Distance between the two cameras, in metres.
    doffs : float
        Difference of the two principal points in px (Middlebury's ``doffs``), added to every disparity.
    scale : float
        Disparity in px of one unit of the file: 0.25 for the quarter-size Middlebury 2003 files.

    Raises
    ------
    ValueError
        A length or the scale is not positive and finite, or `doffs` is not finite.

    Notes
    -----
    depth = baseline_m focal_px / (scale q + doffs). Disparity is inverse depth up to scale and offset, so a circle of
    confusion is linear in it, and a wrong baseline or focal length only rescales the scene.
    """

    focal_px: float
    baseline_m: float
    doffs: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("focal_px", "baseline_m", "scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Stereo: expected {name} > 0, got {value}")
        if not math.isfinite(self.doffs):
            raise ValueError(f"Stereo: expected a finite doffs, got {self.doffs}")


def to_metres(values: np.ndarray, *, unit: str, stereo: Stereo | None = None) -> np.ndarray:
    """Turn the numbers of a depth file into metres along the optical axis; unknown pixels become NaN.

    Parameters
    ----------
    values : ndarray of shape (H, W)
        Integers or floats as they stand in the file.
    unit : {"m", "mm", "0.2mm", "disparity"}
        ``"0.2mm"`` is the TUM and ICL-NUIM convention (metres = value / 5000).
    stereo : Stereo, optional
        The rig; needed for, and only for, ``"disparity"``.

    Returns
    -------
    ndarray of shape (H, W)
        float64 metres. NaN where the file says unknown: 0, negative, NaN or infinite depth; disparity that is NaN or
        infinite, 0 in an integer file, or not positive after the offset.

    Raises
    ------
    ValueError
        Unknown unit, `stereo` missing or superfluous, a shape other than (H, W), integers that cannot be whole metres,
        or no known pixel at all.

    Notes
    -----
    Depth is measured along the axis, not along the ray. Cost O(H W).
    """
    if unit not in UNITS:
        raise ValueError(f"depth: expected a unit among {', '.join(UNITS)}, got {unit!r}")
    if (unit == "disparity") != (stereo is not None):
        problem = (
            "the stereo rig (focal length in px, baseline in m)"
            if stereo is None
            else "unit='disparity' with a stereo rig"
        )
        raise ValueError(f"depth: expected {problem}, got unit={unit!r} and stereo={stereo!r}")
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"depth: expected one plane of shape (H, W), got {array.shape}; is this the colour image?")
    if array.dtype.kind not in "uif":
        raise ValueError(f"depth: expected integers or floats, got {array.dtype}")
    known = np.isfinite(array)
    number = np.where(known, array, 0).astype(np.float64)
    if stereo is None:
        metres = number * _METRES[unit] if unit != "0.2mm" else number / 5000.0
    else:
        if array.dtype.kind in "ui":
            known &= array != 0
        pixels = number * stereo.scale + stereo.doffs
        known &= pixels > 0
        metres = stereo.baseline_m * stereo.focal_px / np.where(known, pixels, 1.0)
    known &= metres > 0
    if not known.any():
        raise ValueError(f"depth: none of the {array.size} pixels has a known depth")
    metres = np.where(known, metres, np.nan)
    if unit == "m" and array.dtype.kind in "ui" and (typical := float(np.nanmedian(metres))) > 100:
        raise ValueError(
            f"depth: read as whole metres the median pixel is {typical:.0f} m away; is the unit mm or 0.2mm?"
        )
    return metres


def read_depth(path: PathLike, *, unit: str | None = None, stereo: Stereo | None = None) -> np.ndarray:
    """Read a depth or disparity file as metres; unknown pixels become NaN.

    Parameters
    ----------
    path : path
        16-bit grey PNG, PFM, Sintel ``.dpt`` or ``.npy``.
    unit : {"m", "mm", "0.2mm", "disparity"}, optional
        Only a ``.dpt`` file says its unit (m) itself; for every other it must be given.
    stereo : Stereo, optional
        The rig, with ``unit="disparity"``.

    Returns
    -------
    ndarray of shape (H, W)
        float64 metres, NaN where unknown; see `to_metres`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file cannot be read, the unit is missing, or any cause of `to_metres`.
    """
    values = read_array(path)
    if unit is None:
        if not str(path).lower().endswith(".dpt"):
            raise ValueError(f"{path}: the file does not say its unit; give one of {', '.join(UNITS)}")
        unit = "m"
    try:
        return to_metres(values, unit=unit, stereo=stereo)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
