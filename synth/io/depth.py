"""Units of depth files, stereo disparity, and unknown pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from blurphys.files.publishing import PathLike
from blurphys.inputs import require_number

from .formats import read_array

__all__ = ["UNITS", "Stereo", "metres_per_unit", "read_depth", "to_metres"]

UNITS = ("m", "mm", "0.2mm", "disparity")
_METRES = {"m": Fraction(1), "mm": Fraction(1, 1000), "0.2mm": Fraction(1, 5000)}
_ANY = f"{', '.join(UNITS)}, or the metres of one unit of the file such as 1/256 or 0.0001"
_FAR = 100.0
"""Median depth, m, above which the unit of an integer file in metres is assumed to be wrong."""


@dataclass(frozen=True, kw_only=True)
class Stereo:
    """A rectified stereo rig, to convert disparity to depth.

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
    zero_known : bool, optional
        Whether 0 in an integer file is a valid disparity, or marks an unknown pixel, as in stereo sets. Without it:
        valid where ``baseline_m focal_px`` is 1, which is relative inverse depth, else a mark.

    Raises
    ------
    ValueError
        A length or the scale is not positive and finite, or `doffs` is not finite.

    Notes
    -----
    depth = baseline_m focal_px / (scale q + doffs). Disparity is inverse depth up to scale and offset, so a circle of
    confusion is linear in it, and a wrong baseline or focal length only rescales the scene.

    What monocular networks predict is relative inverse depth, 1 / z = A + B q:
    ``Stereo(focal_px=1, baseline_m=1, doffs=A, scale=B)``, in which q = 0 is the largest depth, 1 / A.
    """

    focal_px: float
    baseline_m: float
    doffs: float = 0.0
    scale: float = 1.0
    zero_known: bool | None = None

    def __post_init__(self) -> None:
        for name in ("focal_px", "baseline_m", "scale"):
            require_number("Stereo", name, getattr(self, name), above=0)
        require_number("Stereo", "doffs", self.doffs)


def metres_per_unit(unit: str | float) -> Fraction | None:
    """Return one unit of a depth file in metres, exactly; None for disparity.

    Parameters
    ----------
    unit : {"m", "mm", "0.2mm", "disparity"}, or a number or its text
        A number is metres: ``1 / 256``, ``"1/256"``, ``"0.0001"``, ``"1e-4"``.

    Raises
    ------
    ValueError
        Neither, or a number that is not positive and finite.

    Examples
    --------
    >>> metres_per_unit("0.0001") == metres_per_unit("1/10000")
    True
    """
    if unit == "disparity":
        return None
    if isinstance(unit, str) and unit in _METRES:
        return _METRES[unit]
    try:
        factor = Fraction("".join(unit.split()) if isinstance(unit, str) else repr(float(unit)))
        if factor > 0 and 0 < float(factor) < math.inf:
            return factor
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        pass
    raise ValueError(f"depth: expected a unit among {_ANY}, got {unit!r}")


def to_metres(values: np.ndarray, *, unit: str | float, stereo: Stereo | None = None) -> np.ndarray:
    """Convert the numbers of a depth file to metres along the optical axis; unknown pixels become NaN.

    Parameters
    ----------
    values : ndarray of shape (H, W)
        Integers or floats as they stand in the file.
    unit : {"m", "mm", "0.2mm", "disparity"}, or a number or its text
        ``"0.2mm"`` is the TUM and ICL-NUIM convention (metres = value / 5000). A number is the metres of one unit of
        the file: ``"1/256"`` for KITTI's.
    stereo : Stereo, optional
        The rig; needed for, and only for, ``"disparity"``.

    Returns
    -------
    ndarray of shape (H, W)
        float64 metres. NaN where unknown: 0, negative, NaN or infinite depth; disparity that is NaN or infinite, not
        positive after the offset, or 0 in an integer file unless `zero_known`.

    Raises
    ------
    ValueError
        Unknown unit, `stereo` missing or superfluous, a shape other than (H, W), integers that cannot be whole metres,
        or no known pixel at all.

    Notes
    -----
    Depth is measured along the axis, not along the ray. Cost O(H W).
    """
    factor = metres_per_unit(unit)
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
        assert factor is not None
        inverse = factor.numerator == 1 and unit != "mm"  # of 1/256 and 0.0001 the quotient is the exact one
        metres = number / factor.denominator if inverse else number * float(factor)
    else:
        zero_known = stereo.zero_known
        if zero_known is None:
            zero_known = stereo.baseline_m * stereo.focal_px == 1
        if array.dtype.kind in "ui" and not zero_known:
            known &= array != 0
        pixels = number * stereo.scale + stereo.doffs
        known &= pixels > 0
        metres = stereo.baseline_m * stereo.focal_px / np.where(known, pixels, 1.0)
    known &= metres > 0
    if not known.any():
        raise ValueError(f"depth: none of the {array.size} pixels has a known depth")
    metres = np.where(known, metres, np.nan)
    whole = factor is not None and factor >= 1 and array.dtype.kind in "ui"
    if whole and (typical := float(np.nanmedian(metres))) > _FAR:
        how = "as whole metres" if factor == 1 else f"with {float(factor or 1):g} m for each unit"
        slip = "mm or 0.2mm" if factor == 1 else f"1/{float(factor or 1):g}"
        raise ValueError(f"depth: read {how} the median pixel is {typical:.0f} m away; is the unit {slip}?")
    return metres


def read_depth(
    path: PathLike,
    *,
    unit: str | float | None = None,
    stereo: Stereo | None = None,
    belongs_to: PathLike | None = None,
) -> np.ndarray:
    """Read a depth or disparity file as metres; unknown pixels become NaN.

    Parameters
    ----------
    path : path
        16-bit grey PNG or TIFF, PFM, Sintel ``.dpt`` or ``.npy``.
    unit : {"m", "mm", "0.2mm", "disparity"}, or a number or its text, optional
        As for `to_metres`. Only ``.dpt`` files have a known unit (m); for all others it must be given.
    stereo : Stereo, optional
        The rig, with ``unit="disparity"``.
    belongs_to : path, optional
        The photograph whose depth this is, so that both get the same orientation: see `synth.io.read_array`.

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
    values = read_array(path, belongs_to=belongs_to)
    if unit is None:
        if not str(path).lower().endswith(".dpt"):
            raise ValueError(f"{path}: the file does not say its unit; give one of {_ANY}")
        unit = "m"
    try:
        return to_metres(values, unit=unit, stereo=stereo)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
