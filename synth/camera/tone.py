"""Tone curves, from linear light to stored values, and rounding to integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.frozen import freeze
from blurphys.inputs import require_choice, require_number

from .checks import check_bits, check_keys, describe_value, to_float64

__all__ = ["Curve", "ToneCurve", "dequantise", "quantise"]

Curve: TypeAlias = Literal["linear", "srgb", "gamma", "filmic"]


@dataclass(frozen=True)
class ToneCurve:
    """A tone curve, from linear light to stored or displayed values; the same for input and target.

    Parameters
    ----------
    name : {"linear", "srgb", "gamma", "filmic"}
        ``linear`` changes nothing. ``srgb`` is the exact piecewise curve of `blurphys.colour`. ``gamma`` is the
        power 1 / `gamma`. ``filmic`` rolls the highlights off so that light `white` becomes 1, then encodes as sRGB.
    gamma : float
        Exponent of ``gamma``; the others do not use it.
    white : float
        Brightest light that ``filmic`` keeps below 1, in units of white, at least 1; the others do not use it.

    Raises
    ------
    ValueError
        An unknown name, or a number out of range.

    Notes
    -----
    Every curve increases over all real numbers: noise below 0 is encoded oddly (``gamma``, ``filmic``) or linearly
    (``srgb``), values above 1 by the formula, and nothing is clipped, so that `invert` undoes `apply` to rounding. Blur
    belongs before the curve, in linear light.

    The shoulder of ``filmic`` is t = x (1 + x / white^2) / (1 + x) for x >= 0, with slope 1 at 0.

    References
    ----------
    Reinhard, Stark, Shirley and Ferwerda, Photographic tone reproduction for digital images, SIGGRAPH 2002: the
    shoulder, here on each channel.

    Examples
    --------
    >>> import numpy as np
    >>> ToneCurve("srgb").apply(np.array([0.0, 0.5, 1.0])).round(4).tolist()
    [0.0, 0.7354, 1.0]
    """

    name: Curve = "srgb"
    gamma: float = 2.2
    white: float = 4.0

    def __post_init__(self) -> None:
        require_choice("ToneCurve", "name", self.name, get_args(Curve))
        for field, least in (("gamma", 0.1), ("white", 1.0)):
            freeze(self, **{field: require_number("ToneCurve", field, getattr(self, field), least=least, most=1000)})

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Encode linear light.

        Parameters
        ----------
        image : ndarray of any shape
            Floats, linear light in units of white.

        Returns
        -------
        ndarray
            Same shape and dtype; computed in double precision.

        Raises
        ------
        ValueError
            Values that are not floats.
        """
        x = to_float64("ToneCurve.apply", image)
        if self.name == "srgb":
            x = linear_to_srgb(x)
        elif self.name == "gamma":
            x = np.copysign(np.abs(x) ** (1 / self.gamma), x)
        elif self.name == "filmic":
            light = np.abs(x)
            shoulder = light * ((1 + light / self.white**2) / (1 + light))
            x = np.copysign(linear_to_srgb(shoulder), x)
        return x.astype(image.dtype)

    def invert(self, image: np.ndarray) -> np.ndarray:
        """Undo `apply`: decode to linear light.

        Parameters
        ----------
        image : ndarray of any shape
            Floats, encoded.

        Returns
        -------
        ndarray
            Same shape and dtype; computed in double precision.

        Raises
        ------
        ValueError
            Values that are not floats.
        """
        x = to_float64("ToneCurve.invert", image)
        if self.name == "srgb":
            x = srgb_to_linear(x)
        elif self.name == "gamma":
            x = np.copysign(np.abs(x) ** self.gamma, x)
        elif self.name == "filmic":
            t = srgb_to_linear(np.abs(x))
            # Positive root of x^2 / white^2 + (1 - t) x - t = 0, in the form that subtracts no near-equal numbers.
            reach = np.abs(1 - t) + np.sqrt((1 - t) ** 2 + 4 * t / self.white**2)
            x = np.copysign(np.where(t < 1, 2 * t / reach, self.white**2 / 2 * reach), x)
        return x.astype(image.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Name and numbers of the curve, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> ToneCurve:
        """Undo `to_dict`; ValueError names an unknown key."""
        return cls(**check_keys("ToneCurve", description, {field.name for field in fields(cls)}))


def quantise(image: np.ndarray, bits: int) -> np.ndarray:
    """Round encoded values to integers: clip to [0, 1], then rint of (2^bits - 1) times the value.

    Parameters
    ----------
    image : ndarray of any shape
        Floats, white at 1; encoded (`ToneCurve`) or linear.
    bits : int
        1 to 24.

    Returns
    -------
    ndarray of uint8, uint16 or uint32
        The smallest that holds `bits`.

    Raises
    ------
    ValueError
        NaN, values that are not floats, or bits out of range.

    Examples
    --------
    >>> import numpy as np
    >>> quantise(np.array([-0.1, 0.4999, 1.5]), 8).tolist()
    [0, 127, 255]
    """
    bits = check_bits("quantise", bits)
    values = to_float64("quantise", image)
    if np.isnan(values).any():
        raise ValueError("quantise: expected numbers, got NaN, which has no integer value")
    codes = np.rint(np.clip(values, 0.0, 1.0) * (2**bits - 1))
    whole: np.ndarray = codes.astype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
    return whole


def dequantise(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return codes / (2^bits - 1) in float32, or in float64 above 16 bits; `quantise` of it gives the codes again.

    Parameters
    ----------
    codes : ndarray of unsigned integers
        At most 2^bits - 1.
    bits : int
        1 to 24.

    Returns
    -------
    ndarray
        Same shape, white at 1.

    Raises
    ------
    ValueError
        Codes of another kind or too large, or bits out of range.
    """
    bits = check_bits("dequantise", bits)
    largest = 2**bits - 1
    if not (isinstance(codes, np.ndarray) and np.issubdtype(codes.dtype, np.unsignedinteger)):
        raise ValueError(f"dequantise: expected unsigned integers, got {describe_value(codes)}")
    if codes.size and int(codes.max()) > largest:
        raise ValueError(f"dequantise: expected codes up to {largest} for {bits} bits, got {int(codes.max())}")
    values: np.ndarray = (codes / float(largest)).astype(np.float32 if bits <= 16 else np.float64)
    return values
