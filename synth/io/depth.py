"""Units of depth files, stereo disparity, relative inverse depth, steps of 8 bits, and unknown pixels."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from blurphys.files.publishing import PathLike
from blurphys.inputs import require_number

from .formats import orientation_for, read_stored
from .orientation import PictureWarning, turn_upright

__all__ = ["UNITS", "DepthFile", "Stereo", "metres_per_unit", "read_depth", "read_depth_file", "to_metres"]

UNITS = ("m", "mm", "0.2mm", "disparity", "relative")
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

    What monocular networks predict is relative inverse depth, 1 / z = A + B q. Where A and B are known:
    ``Stereo(focal_px=1, baseline_m=1, doffs=A, scale=B)``, in which q = 0 is the largest depth, 1 / A. Where
    the nearest and the farthest distance are known: `to_metres` with ``unit="relative"``.
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
    """Return one unit of a depth file in metres, exactly; None for disparity and relative inverse depth.

    Parameters
    ----------
    unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or a number or its text
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
    if unit in ("disparity", "relative"):
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


def to_metres(
    values: np.ndarray,
    *,
    unit: str | float,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
) -> np.ndarray:
    """Convert the numbers of a depth file to metres along the optical axis; unknown pixels become NaN.

    Parameters
    ----------
    values : ndarray of shape (H, W)
        Integers or floats as they stand in the file.
    unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or a number or its text
        ``"0.2mm"`` is the TUM and ICL-NUIM convention (metres = value / 5000). A number is the metres of one unit of
        the file: ``"1/256"`` for KITTI's. ``"relative"`` is what MiDaS and Depth Anything predict: inverse depth up to
        scale and offset, large where the scene is near.
    stereo : Stereo, optional
        The rig; needed for, and only for, ``"disparity"``.
    near_m, far_m : float, optional
        Depth of the nearest and of the farthest pixel, m; needed for, and only for, ``"relative"``.

    Returns
    -------
    ndarray of shape (H, W)
        float64 metres. NaN where unknown: 0, negative, NaN or infinite depth; disparity that is NaN or infinite, not
        positive after the offset, or 0 in an integer file unless `zero_known`; relative inverse depth that is NaN or
        infinite.

    Raises
    ------
    ValueError
        Unknown unit, `stereo`, `near_m` or `far_m` missing or superfluous, a shape other than (H, W), integers that
        cannot be whole metres, relative inverse depth without a range, or no known pixel at all.

    Notes
    -----
    Depth is measured along the axis, not along the ray. Of relative inverse depth q, from its smallest value q0 to its
    largest q1: ``1 / z = 1 / far_m + (q - q0) / (q1 - q0) (1 / near_m - 1 / far_m)``. Cost O(H W).

    Examples
    --------
    >>> to_metres(np.array([[0.0, 1.5, 3.0]]), unit="relative", near_m=1, far_m=3).round(6).tolist()
    [[3.0, 1.5, 1.0]]
    """
    factor = metres_per_unit(unit)
    if (unit == "disparity") != (stereo is not None):
        problem = (
            "the stereo rig (focal length in px, baseline in m)"
            if stereo is None
            else "unit='disparity' with a stereo rig"
        )
        raise ValueError(f"depth: expected {problem}, got unit={unit!r} and stereo={stereo!r}")
    _check_range(unit, near_m, far_m)
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"depth: expected one plane of shape (H, W), got {array.shape}; is this the colour image, or a "
            "depth map drawn in colours?"
        )
    if array.dtype.kind not in "uif":
        raise ValueError(f"depth: expected integers or floats, got {array.dtype}")
    known = np.isfinite(array)
    number = np.where(known, array, 0).astype(np.float64)
    if unit == "relative":
        assert near_m is not None and far_m is not None
        metres = _from_relative(number, known, near_m, far_m)
    elif stereo is None:
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


def _check_range(unit: str | float, near_m: float | None, far_m: float | None) -> None:
    if unit != "relative":
        if near_m is not None or far_m is not None:
            raise ValueError(f"depth: near_m and far_m are for unit 'relative' alone, got unit {unit!r}")
        return
    if near_m is None or far_m is None:
        raise ValueError(
            "depth: relative inverse depth (MiDaS, Depth Anything) has neither scale nor offset; say how far the "
            "nearest and the farthest pixel are, near_m and far_m, in metres"
        )
    require_number("depth", "near_m", near_m, above=0)
    require_number("depth", "far_m", far_m, above=0)
    if not near_m < far_m:
        raise ValueError(f"depth: expected near_m < far_m, got {near_m:g} and {far_m:g} m; were they exchanged?")


def _from_relative(number: np.ndarray, known: np.ndarray, near_m: float, far_m: float) -> np.ndarray:
    """Metres of relative inverse depth, large where near; see the notes of `to_metres`."""
    if not known.any():
        return np.zeros_like(number)
    low, high = float(number[known].min()), float(number[known].max())
    if not low < high:
        raise ValueError(f"depth: expected relative inverse depth that varies, got {low:g} in every pixel")
    share = (number - low) / (high - low)
    metres: np.ndarray = 1.0 / (1.0 / far_m + share.clip(0.0, 1.0) * (1.0 / near_m - 1.0 / far_m))
    return metres


class DepthFile(NamedTuple):
    """A depth file in metres.

    Attributes
    ----------
    metres : ndarray of shape (H, W)
        float64, NaN where unknown.
    levels : tuple of float
        The depths that neighbouring codes of an 8-bit file stand for, m, nearest first; empty for other files.
    """

    metres: np.ndarray
    levels: tuple[float, ...] = ()


def read_depth(
    path: PathLike,
    *,
    unit: str | float | None = None,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    belongs_to: PathLike | None = None,
) -> np.ndarray:
    """Read a depth or disparity file as metres; unknown pixels become NaN.

    Parameters
    ----------
    path : path
        Grey PNG or TIFF (16 bits; of 8 the steps are named), PFM, OpenEXR (its channel Z), Sintel ``.dpt``, COLMAP
        ``.bin``, ``.npy``, or ``.npz`` of one array, or with one called ``depth``. Three equal colours count as grey.
    unit : {"m", "mm", "0.2mm", "disparity", "relative"}, or a number or its text, optional
        As for `to_metres`. Only ``.dpt`` files have a known unit (m), and COLMAP's that of its reconstruction, which is
        taken as metres; for all others it must be given.
    stereo : Stereo, optional
        The rig, with ``unit="disparity"``.
    near_m, far_m : float, optional
        The range, with ``unit="relative"``.
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

    Warns
    -----
    PictureWarning
        The file has 8 bits; the unit of a COLMAP map was taken as metres.
    """
    return read_depth_file(
        path, unit=unit, stereo=stereo, near_m=near_m, far_m=far_m, belongs_to=belongs_to
    ).metres  # fmt: skip


def read_depth_file(
    path: PathLike,
    *,
    unit: str | float | None = None,
    stereo: Stereo | None = None,
    near_m: float | None = None,
    far_m: float | None = None,
    belongs_to: PathLike | None = None,
) -> DepthFile:
    """Do what `read_depth` does, and return the levels of an 8-bit file, too."""
    stored = read_stored(path, depth=True)
    values = _one_plane(turn_upright(stored.values, orientation_for(path, stored, belongs_to)))
    if unit is None:
        if stored.unit is None:
            raise ValueError(f"{path}: the file does not say its unit; give one of {_ANY}")
        unit = "m"
        if stored.unit == "colmap":
            _note(
                path,
                "the depth of a COLMAP reconstruction has a scale of its own, which was taken as metres; a depth unit "
                "of 0.5 would say that one of its units is half a metre",
            )
    given = {"unit": unit, "stereo": stereo, "near_m": near_m, "far_m": far_m}
    try:
        metres = to_metres(values, **given)  # type: ignore[arg-type]
        if values.dtype != np.uint8:
            return DepthFile(metres)
        known = values[~np.isnan(metres)]
        codes = np.arange(int(known.min()), int(known.max()) + 1, dtype=np.uint8)[None]
        found = to_metres(codes, **given) if codes.size > 1 else metres[:1, :0]  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    levels = tuple(float(level) for level in np.sort(found[~np.isnan(found)]))
    if len(levels) > 1:
        _note(path, _steps(levels, stored.exact))
    return DepthFile(metres, levels)


def _one_plane(values: np.ndarray) -> np.ndarray:
    """Drop axes of length 1 and an opaque alpha, and make one plane of three equal colours; else leave it."""
    if values.ndim > 2 and 1 in values.shape:
        squeezed = values.reshape([length for length in values.shape if length != 1])
        values = squeezed if squeezed.ndim == 2 else values
    if values.ndim != 3:
        return values
    colours = values
    if values.shape[-1] in (2, 4) and values.dtype.kind in "uf":
        white = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        colours = values[..., :-1] if (values[..., -1] == white).all() else values
    if colours.shape[-1] == 1 or (colours.shape[-1] == 3 and (colours == colours[..., :1]).all()):
        return np.ascontiguousarray(colours[..., 0])
    return values


def _steps(levels: tuple[float, ...], exact: bool) -> str:
    """Say how coarse the depths of an 8-bit file are."""
    near, far = levels[1] - levels[0], levels[-1] - levels[-2]
    text = f"in steps of {near:.2g} m at {levels[0]:.3g} m and {far:.2g} m at {levels[-1]:.3g} m"
    lossy = "" if exact else "; its compression with loss smears the edges"
    return f"the depth has 8 bits: it comes {text}{lossy}; 16 bits or floats are better"


def _note(path: PathLike, text: str) -> None:
    warnings.warn(f"{path}: {text}", PictureWarning, stacklevel=4)
