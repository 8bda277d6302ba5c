"""Colour encodings: transfer curves and primaries of ICC profiles and PNG chunks, converted to linear sRGB light.

Primaries are adapted to another white by the Bradford transform, as in ICC profiles. Every description of sRGB becomes
the exact curve.

References: W3C PNG specification, third edition (cICP before iCCP before sRGB before gAMA and cHRM); ICC.1:2022
(curveType, parametricCurveType, three-component matrix-based profiles); IEC 61966-2-1 (sRGB); ITU-T H.273 (cICP).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from blurphys.colour import srgb_to_linear

from .png import inflate_chunk

__all__ = ["ADOBE_RGB", "LINEAR", "SRGB", "Colour", "from_icc", "from_png", "from_primaries", "gamma", "unknown"]

Curve = Callable[[np.ndarray], np.ndarray]
"""From encoded values to linear light."""

_NEAR_CURVE, _NEAR_MATRIX = 1e-3, 4e-3
"""Tolerance, in linear light, for recognising sRGB: profiles are rounded."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


@dataclass(frozen=True, eq=False)
class Colour:
    """How the numbers of a file are converted to linear light.

    Attributes
    ----------
    about : str
        Description and origin, for messages.
    curves : tuple of callable
        One for all channels, or one each, from [0, 1] to linear light; empty for values that are linear light already.
    matrix : ndarray of shape (3, 3), optional
        From the light of the file's primaries to that of sRGB; None where they are the same.
    assumed : str
        The metadata that is not supported, so that sRGB was assumed; empty where there is none.
    """

    about: str
    curves: tuple[Curve, ...] = ()
    matrix: np.ndarray | None = None
    assumed: str = ""

    @property
    def is_srgb(self) -> bool:
        """Whether the numbers are sRGB, exactly."""
        return self.curves == (srgb_to_linear,) and self.matrix is None

    def light(self, planes: np.ndarray) -> np.ndarray:
        """Return linear light of sRGB's primaries for encoded planes of shape (3, H, W), not clipped."""
        if self.curves:
            curves = self.curves * 3 if len(self.curves) == 1 else self.curves
            planes = np.stack([curve(plane) for curve, plane in zip(curves, planes, strict=True)])
        return planes if self.matrix is None else np.tensordot(self.matrix, planes, axes=1)


SRGB = Colour("sRGB", (srgb_to_linear,))
LINEAR = Colour("linear light")


def unknown(what: str) -> Colour:
    """Return sRGB, assumed for a file with other metadata that cannot be used."""
    return Colour("sRGB, assumed", (srgb_to_linear,), assumed=what)


def gamma(exponent: float) -> Curve:
    """Return the curve ``light = value ** exponent``, of values below 0 their odd continuation."""
    return lambda values: np.sign(values) * np.abs(values) ** exponent


def _simplified(about: str, curves: tuple[Curve, ...], matrix: np.ndarray | None) -> Colour:
    """Return the exact sRGB for curves and matrices that equal it to rounding."""
    at = np.linspace(0.0, 1.0, 257)
    if curves and all(np.abs(curve(at) - srgb_to_linear(at)).max() < _NEAR_CURVE for curve in curves):
        curves = (srgb_to_linear,)
    elif all(np.abs(curve(at) - at).max() < 1e-4 for curve in curves):
        curves = ()
    if matrix is not None and np.abs(matrix - np.eye(3)).max() < _NEAR_MATRIX:
        matrix = None
    return Colour(about, curves, matrix)


# ---- primaries ----------------------------------------------------------------------------------------------------


def _to_xyz(primaries: tuple[float, ...], white: np.ndarray) -> np.ndarray:
    """Return the matrix RGB to XYZ adapted to `white`, for chromaticities (xw, yw, xr, yr, xg, yg, xb, yb)."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    columns = np.stack([x, y, 1 - x - y]) / y
    native, corners = columns[:, 0], columns[:, 1:]
    matrix = corners * np.linalg.solve(corners, native)
    scale = np.diag((_BRADFORD @ white) / (_BRADFORD @ native))
    adapted: np.ndarray = np.linalg.solve(_BRADFORD, scale @ _BRADFORD) @ matrix
    return adapted


def from_primaries(about: str, primaries: tuple[float, ...], curve: Curve | None) -> Colour:
    """Make a colour of the chromaticities (xw, yw, xr, yr, xg, yg, xb, yb) and a curve; None is linear light.

    Raises
    ------
    ValueError
        The primaries lie on one line or have no brightness.
    """
    try:
        with np.errstate(all="ignore"):
            matrix = np.linalg.solve(_to_xyz(_SRGB_PRIMARIES, _D50), _to_xyz(primaries, _D50))
    except np.linalg.LinAlgError:
        matrix = np.full((3, 3), np.nan)
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 100:
        raise ValueError(f"invalid primaries {primaries}")
    return _simplified(about, () if curve is None else (curve,), matrix)


ADOBE_RGB = from_primaries("Adobe RGB (1998)", (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma(563 / 256))


# ---- PNG chunks ---------------------------------------------------------------------------------------------------

_CICP_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # ITU-R BT.2020
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
_CICP_CURVES: dict[int, Curve | None] = {4: gamma(2.2), 5: gamma(2.8), 8: None, 13: srgb_to_linear}


def from_png(chunks: Mapping[bytes, bytes], channels: int) -> Colour | None:
    """Return the colour encoding of a PNG file; None where it has none.

    Notes
    -----
    gAMA 45455 is the fallback that every sRGB picture should have, so that it stands for sRGB's curve rather than the
    power 2.2.
    """
    if len(code := chunks.get(b"cICP", b"")) == 4:
        if code[0] in _CICP_PRIMARIES and code[1] in _CICP_CURVES and code[2] == 0 and code[3] == 1:
            return from_primaries("code points (cICP)", _CICP_PRIMARIES[code[0]], _CICP_CURVES[code[1]])
        return unknown(f"colour code points (cICP) {'-'.join(str(number) for number in code)}")
    if b"iCCP" in chunks:
        _, _, packed = chunks[b"iCCP"].partition(b"\0")
        try:
            return from_icc(inflate_chunk(packed[1:]), channels)
        except ValueError:
            return unknown("a colour profile that is damaged")
    if b"sRGB" in chunks:
        return SRGB
    exponent, points = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    if not exponent and not points:
        return None
    try:
        value = struct.unpack(">I", exponent)[0] if exponent else 45455
        if not 1000 <= value <= 1000000:
            return unknown(f"a gamma (gAMA) of {value / 1e5:g}")
        curve = srgb_to_linear if abs(value - 45455) <= 100 else gamma(1e5 / value)
        numbers = tuple(n / 1e5 for n in struct.unpack(">8I", points)) if points else _SRGB_PRIMARIES
        primaries = numbers if channels == 3 else _SRGB_PRIMARIES
        said = " and ".join(name for name, body in (("gAMA", exponent), ("cHRM", points)) if body)
        found = from_primaries(f"{said} of the file", primaries, curve)
        return found if exponent or found.is_srgb else replace(found, assumed="primaries (cHRM) and no curve (gAMA)")
    except (struct.error, ValueError):
        return unknown("a gamma or primaries (gAMA, cHRM) that are damaged")


# ---- ICC profiles -------------------------------------------------------------------------------------------------


def from_icc(profile: bytes, channels: int) -> Colour:
    """Read an ICC profile of the matrix or grey kind.

    Parameters
    ----------
    profile : bytes
    channels : int
        Of the picture, without alpha.

    Returns
    -------
    Colour
        `unknown` where the profile is damaged, of another kind, or for other channels than the picture's.
    """
    try:
        tags = _tags(profile)
        name = _description(tags.get(b"desc", b""))
        space = profile[16:20]
        called = f"the colour profile {name!r}" if name else "a colour profile"
        if space == b"GRAY" and b"kTRC" in tags and channels == 1:
            return _simplified(called, (_curve(tags[b"kTRC"]),), None)
        if space == b"RGB " and b"gTRC" in tags and channels == 1:  # left over from before the picture was grey
            return _simplified(called, (_curve(tags[b"gTRC"]),), None)
        if space != b"RGB " or channels != 3:
            return unknown(
                f"{called}, which is for {space.decode('ascii', 'replace').strip()} and not for this picture"
            )
        needed = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
        if any(tag not in tags for tag in needed) or profile[20:24] != b"XYZ ":
            return unknown(f"{called}, which is of tables instead of curves and a matrix")
        columns = np.stack([_fixed(tags[tag][8:20], 3) for tag in needed[:3]], axis=1)
        matrix = np.linalg.solve(_to_xyz(_SRGB_PRIMARIES, _D50), columns)
        return _simplified(called, tuple(_curve(tags[tag]) for tag in needed[3:]), matrix)
    except (ValueError, struct.error, IndexError, ArithmeticError):
        return unknown("a colour profile that is damaged")


def _tags(profile: bytes) -> Mapping[bytes, bytes]:
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ValueError("no profile")
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 1000:
        raise ValueError("too many tags")
    found = {}
    for number in range(count):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if start + size > len(profile):
            raise ValueError("a tag beyond the end")
        found[name] = profile[start : start + size]
    return found


def _fixed(data: bytes, count: int) -> np.ndarray:
    """Fixed-point numbers of 15.16 bits."""
    return np.array(struct.unpack_from(f">{count}i", data)) / 65536.0


def _curve(tag: bytes) -> Curve:
    curve = _named_curve(tag)
    with np.errstate(all="ignore"):
        values = curve(np.linspace(0.0, 1.0, 257))
    if not np.isfinite(values).all() or (np.diff(values) < 0).any() or not 0.5 < values[-1] - values[0] < 2:
        raise ValueError("an invalid curve")
    return curve


def _named_curve(tag: bytes) -> Curve:
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda values: values
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
        if count == 1:
            return gamma(float(table[0]) / 256)
        at = np.linspace(0.0, 1.0, count)
        return lambda values: np.interp(values, at, table / 65535)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    kind = struct.unpack_from(">H", tag, 8)[0]
    if kind > 4:
        raise ValueError("no such curve")
    g, *more = _fixed(tag[12:], (1, 3, 4, 5, 7)[kind])
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b, *rest = more
        if a == 0:
            raise ValueError("a curve without slope")
        d, e = -b / a, rest[0] if rest else 0.0
        f = e
    elif kind >= 3:
        a, b, c, d, *rest = more
        e, f = rest or (0.0, 0.0)

    def curve(values: np.ndarray) -> np.ndarray:
        # below d the straight line c X + f, above it the power of a X + b; kinds differ in what is zero
        return np.where(values >= d, np.maximum(a * values + b, 0.0) ** g + e, c * values + f)

    return curve


def _description(tag: bytes) -> str:
    """The name of a profile, ASCII of version 2 or the first language of version 4."""
    if tag[:4] == b"desc":
        (count,) = struct.unpack_from(">I", tag, 8)
        text = tag[12 : 12 + count].decode("ascii", "replace")
    elif tag[:4] == b"mluc":
        size, start = struct.unpack_from(">II", tag, 20)
        text = tag[start : start + size].decode("utf-16-be", "replace")
    else:
        text = ""
    return " ".join(text.replace("\0", " ").split())[:60]
