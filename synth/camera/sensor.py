"""From light to numbers: colour mosaic, noise, black level, converter, demosaic, and one tone curve for all images."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.frozen import freeze

from ..noise import ShotReadNoise

__all__ = [
    "Curve",
    "Demosaic",
    "Mosaic",
    "Sensor",
    "ToneCurve",
    "bayer_demosaic",
    "bayer_mosaic",
    "dequantise",
    "quantise",
]

Mosaic: TypeAlias = Literal["rggb", "bggr", "grbg", "gbrg"]
Demosaic: TypeAlias = Literal["bilinear", "malvar"]
Curve: TypeAlias = Literal["linear", "srgb", "gamma", "filmic"]

MOST_BITS = 24


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What turns the light on one view into stored numbers.

    Parameters
    ----------
    noise : ShotReadNoise
        Noise of one dual-pixel view, in units of white; on the mosaic where there is one.
    bits : int, optional
        Resolution of the converter, 1 to 24; its codes are the whole numbers 0 to 2^bits - 1. Without it the codes are
        not rounded, and run from 0 to 1.
    black_level : float
        Code of no light.
    white_level : float, optional
        Code of white (signal 1), where the sensor saturates, a whole number with `bits`; the largest code without it.
    mosaic : {"rggb", "bggr", "grbg", "gbrg"}, optional
        Colours of the first two pixels of the first row, then of the second. Without it every pixel measures all three.
    demosaic : {"bilinear", "malvar"}
        How the missing colours are filled in; see `bayer_demosaic`.

    Raises
    ------
    ValueError
        A number out of range, levels that are not 0 <= black < white <= largest code, or an unknown name.

    Notes
    -----
    For light y, already blurred and shaded, a pixel stores

    code = rint(clip(black_level + (white_level - black_level) noise(y), 0, white_level)),

    and `expose` gives (code - black_level) / (white_level - black_level), demosaiced. A black level some standard
    deviations of the read noise above 0 keeps the negative half of the noise in the dark, so that the mean stays the
    light; without one, clipping lifts it. With the defaults there is no converter: nothing is clipped or rounded, and
    `expose` is `ShotReadNoise.add`.

    Examples
    --------
    >>> import numpy as np
    >>> from synth.noise import ShotReadNoise
    >>> sensor = Sensor(noise=ShotReadNoise.from_electrons(5000, 3), bits=14, black_level=1024, mosaic="rggb")
    >>> y = sensor.expose(np.full((3, 64, 64), 0.25), np.random.default_rng(0))
    >>> y.shape, bool(abs(y.mean() - 0.25) < 1e-3)
    ((3, 64, 64), True)
    """

    noise: ShotReadNoise = ShotReadNoise()
    bits: int | None = None
    black_level: float = 0.0
    white_level: float | None = None
    mosaic: Mosaic | None = None
    demosaic: Demosaic = "bilinear"

    def __post_init__(self) -> None:
        if not isinstance(self.noise, ShotReadNoise):
            raise ValueError(f"Sensor: expected noise to be a ShotReadNoise, got {self.noise!r}")
        if self.bits is not None:
            freeze(self, bits=_bits("Sensor", self.bits))
        black = _number("Sensor", "black_level", self.black_level)
        freeze(self, black_level=black)
        if self.white_level is not None:
            freeze(self, white_level=_number("Sensor", "white_level", self.white_level))
        if not 0 <= black < self.white <= self.largest_code:
            hint = "; with bits unset the codes run from 0 to 1" if self.bits is None else ""
            raise ValueError(
                f"Sensor: expected 0 <= black_level < white_level <= {self.largest_code:g}, got black_level "
                f"{black:g} and white_level {self.white:g}{hint}"
            )
        if self.bits is not None and self.white != int(self.white):
            raise ValueError(
                f"Sensor: expected white_level to be a code of the converter, a whole number, got {self.white:g}"
            )
        if self.mosaic is not None:
            _one_of("Sensor", "mosaic", self.mosaic, get_args(Mosaic))
        _one_of("Sensor", "demosaic", self.demosaic, get_args(Demosaic))

    @property
    def largest_code(self) -> float:
        """Largest code of the converter: 2^bits - 1, or 1 where codes are not rounded."""
        return 1.0 if self.bits is None else float(2**self.bits - 1)

    @property
    def white(self) -> float:
        """Code of white: `white_level`, or the largest code."""
        return self.largest_code if self.white_level is None else self.white_level

    @property
    def converts(self) -> bool:
        """Whether there is a converter that clips; without one any value can be stored."""
        return self.bits is not None or self.black_level != 0 or self.white_level is not None

    def expose(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take one exposure of one view.

        Parameters
        ----------
        image : ndarray of shape (3, H, W)
            Floats, linear light in units of white, finite and not negative; vignetting and shading applied.
        rng : numpy.random.Generator
            Source of the noise; it advances.

        Returns
        -------
        ndarray of shape (3, H, W)
            Linear light of the input's dtype, at most 1 where the sensor has a converter, before the colours are filled
            in. Dark pixels can lie below 0.

        Raises
        ------
        ValueError
            Another shape or dtype, values that are negative or not finite, or fewer than 2 rows or columns to demosaic.

        Notes
        -----
        Two calls with one `rng` are independent. O(H W).
        """
        _check_image("Sensor.expose", image)
        if self.mosaic is None and not self.converts:
            return self.noise.add(image, rng)
        # From here in double precision, so that the last rounding is the only one besides the converter's.
        light: np.ndarray = image.astype(np.float64)
        if self.mosaic is not None:
            light = bayer_mosaic(light, self.mosaic)
        signal = self.noise.add(light, rng)
        if self.converts:
            signal = self._convert(signal)
        if self.mosaic is not None:
            signal = bayer_demosaic(signal, self.mosaic, self.demosaic)
        return signal.astype(image.dtype)

    def views(self, both: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Expose the views of a divided pixel and form the combined image from what was read.

        Parameters
        ----------
        both : mapping of two or four names, such as "left" and "right", to ndarrays of shape (3, H, W)
            Light on the views, as `expose` takes it.
        rng : numpy.random.Generator
            Source of the noise. The first view draws from it; each other one draws from the stream that the one before
            gives when it jumps ahead (2^128 numbers for Philox), or after that one where it cannot.

        Returns
        -------
        dict with the same names and "combined"
            Combined is the mean of the noisy views, to the bit; it is never drawn, so the noise of two has half the
            variance and goes with that of the views.

        Raises
        ------
        ValueError
            Fewer than two views, "combined" among them, views that differ in shape or dtype, or what `expose` refuses.
        """
        if len(both) < 2 or "combined" in both:
            raise ValueError(
                "Sensor.views: expected the views of a divided pixel, such as 'left' and 'right', got "
                f"{sorted(map(str, both))}; combined is formed from them"
            )
        light = {name: np.asarray(both[name]) for name in sorted(both)}
        if len({(view.shape, view.dtype) for view in light.values()}) > 1:
            listed = " and ".join(f"{view.shape} {view.dtype}" for view in light.values())
            raise ValueError(f"Sensor.views: expected views of one shape and dtype, got {listed}")
        read = dict(zip(light, self._together(list(light.values()), rng), strict=True))
        first, *others = read.values()
        total = first
        for view in others:
            total = total + view
        return {**read, "combined": total / total.dtype.type(len(read))}

    def _together(self, views: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """Expose views at the same time: drawing the photons takes longer than the blur.

        Each view draws from a stream of its own, as far ahead as the generator can jump, so that the numbers do not
        depend on which thread comes first.
        """
        from concurrent.futures import ThreadPoolExecutor

        if not hasattr(rng.bit_generator, "jumped"):
            return [self.expose(view, rng) for view in views]
        ahead = [np.random.Generator(rng.bit_generator.jumped(n)) for n in range(1, len(views))]
        with ThreadPoolExecutor(len(ahead)) as pool:
            others = [pool.submit(self.expose, view, own) for view, own in zip(views[1:], ahead, strict=True)]
            return [self.expose(views[0], rng), *(other.result() for other in others)]

    def to_dict(self) -> dict[str, Any]:
        """Everything about the sensor as numbers, strings and dictionaries, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Sensor:
        """Make the sensor that `to_dict` described; ValueError names a key that does not belong there."""
        values = _known("Sensor", description, {field.name for field in fields(cls)})
        if "noise" in values:
            noise = _known("Sensor: noise", values["noise"], {field.name for field in fields(ShotReadNoise)})
            values["noise"] = ShotReadNoise(
                **{name: _number("Sensor: noise", name, value) for name, value in noise.items()}
            )
        return cls(**values)

    def _convert(self, signal: np.ndarray) -> np.ndarray:
        """Black level, saturation and rounding, undone but for what they lose."""
        span = self.white - self.black_level
        codes = np.clip(self.black_level + span * signal, 0.0, self.white)
        if self.bits is not None:
            codes = np.rint(codes)
        converted: np.ndarray = (codes - self.black_level) / span
        return converted


def bayer_mosaic(image: np.ndarray, pattern: Mosaic) -> np.ndarray:
    """Keep at every pixel the one colour that its filter lets through.

    Parameters
    ----------
    image : ndarray of shape (3, H, W)
        Red, green, blue.
    pattern : {"rggb", "bggr", "grbg", "gbrg"}
        Colours of the first two pixels of the first row, then of the second.

    Returns
    -------
    ndarray of shape (H, W)
        Of the input's dtype.

    Raises
    ------
    ValueError
        Another shape, dtype or pattern.
    """
    _check_image("bayer_mosaic", image)
    _one_of("bayer_mosaic", "pattern", pattern, get_args(Mosaic))
    plane = np.empty(image.shape[1:], image.dtype)
    for site, colour in enumerate(pattern):
        rows, columns = slice(site // 2, None, 2), slice(site % 2, None, 2)
        plane[rows, columns] = image["rgb".index(colour), rows, columns]
    return plane


def bayer_demosaic(plane: np.ndarray, pattern: Mosaic, method: Demosaic = "bilinear") -> np.ndarray:
    """Fill in the two colours that each pixel of a mosaic did not measure.

    Parameters
    ----------
    plane : ndarray of shape (H, W)
        Floats, linear light; H and W at least 2.
    pattern : {"rggb", "bggr", "grbg", "gbrg"}
        As in `bayer_mosaic`.
    method : {"bilinear", "malvar"}
        Mean of the nearest two or four pixels of that colour, or the same corrected by the second difference of the
        colour measured at the pixel.

    Returns
    -------
    ndarray of shape (3, H, W)
        Of the input's dtype; measured values are kept to the bit. Malvar overshoots at edges, also below 0.

    Raises
    ------
    ValueError
        Another shape, dtype, pattern or method.

    Notes
    -----
    Linear in `plane`, and a grey constant comes back unchanged (with Malvar to rounding). Bilinear weights also keep
    every constant colour, and linear ramps away from the border. The border is mirrored about the outermost pixels,
    which keeps the colours of the mosaic in step. O(H W), four filters of up to 5 x 5 in double precision.

    References
    ----------
    Malvar, He and Cutler, High-quality linear interpolation for demosaicing of Bayer-patterned color images, ICASSP
    2004: the four filters, with gains 1/2, 5/8 and 3/4.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((3, 4, 6), 0.3)
    >>> bool((bayer_demosaic(bayer_mosaic(grey, "grbg"), "grbg") == grey).all())
    True
    """
    from scipy import ndimage

    if not (isinstance(plane, np.ndarray) and plane.ndim == 2 and np.issubdtype(plane.dtype, np.floating)):
        raise ValueError(f"bayer_demosaic: expected floats of shape (H, W), got {_described(plane)}")
    if min(plane.shape) < 2:
        raise ValueError(f"bayer_demosaic: expected at least 2 rows and columns, got shape {plane.shape}")
    _one_of("bayer_demosaic", "pattern", pattern, get_args(Mosaic))
    _one_of("bayer_demosaic", "method", method, get_args(Demosaic))
    values = plane.astype(np.float64)
    filled = {
        name: ndimage.correlate(values, np.array(weights) / 16, mode="mirror")
        for name, weights in FILTERS[method].items()
    }
    image = np.empty((3, *plane.shape), plane.dtype)
    for site, measured in enumerate(pattern):
        rows, columns = slice(site // 2, None, 2), slice(site % 2, None, 2)
        beside = pattern[site ^ 1]  # the other colour of this row
        for channel, wanted in enumerate("rgb"):
            if wanted == measured:
                source = plane
            elif wanted == "g":
                source = filled["cross"]
            elif measured == "g":
                source = filled["row" if beside == wanted else "column"]
            else:
                source = filled["diagonal"]
            image[channel, rows, columns] = source[rows, columns]
    return image


def _rows(*rows: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(weight) for weight in row.split()) for row in rows)


def _transposed(weights: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(zip(*weights, strict=True))


_BILINEAR_ROW = _rows("0 0 0 0 0", "0 0 0 0 0", "0 8 0 8 0", "0 0 0 0 0", "0 0 0 0 0")
_MALVAR_ROW = _rows("0 0 1 0 0", "0 -2 0 -2 0", "-2 8 10 8 -2", "0 -2 0 -2 0", "0 0 1 0 0")

# Sixteenths. cross: green where red or blue was measured; row (column): red or blue at a green pixel with that colour
# beside it in its row (column); diagonal: red at blue and blue at red.
FILTERS: dict[str, dict[str, tuple[tuple[int, ...], ...]]] = {
    "bilinear": {
        "cross": _rows("0 0 0 0 0", "0 0 4 0 0", "0 4 0 4 0", "0 0 4 0 0", "0 0 0 0 0"),
        "row": _BILINEAR_ROW,
        "column": _transposed(_BILINEAR_ROW),
        "diagonal": _rows("0 0 0 0 0", "0 4 0 4 0", "0 0 0 0 0", "0 4 0 4 0", "0 0 0 0 0"),
    },
    "malvar": {
        "cross": _rows("0 0 -2 0 0", "0 0 4 0 0", "-2 4 8 4 -2", "0 0 4 0 0", "0 0 -2 0 0"),
        "row": _MALVAR_ROW,
        "column": _transposed(_MALVAR_ROW),
        "diagonal": _rows("0 0 -3 0 0", "0 4 0 4 0", "-3 0 12 0 -3", "0 4 0 4 0", "0 0 -3 0 0"),
    },
}


@dataclass(frozen=True)
class ToneCurve:
    """From linear light to the values an image is stored or shown in: the same curve for input and target.

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
        _one_of("ToneCurve", "name", self.name, get_args(Curve))
        for field, least in (("gamma", 0.1), ("white", 1.0)):
            value = _number("ToneCurve", field, getattr(self, field))
            if not least <= value <= 1000:
                raise ValueError(f"ToneCurve: expected {field} from {least:g} to 1000, got {value:g}")
            freeze(self, **{field: value})

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
        x = _doubles("ToneCurve.apply", image)
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
        """Decode to linear light what `apply` encoded.

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
        x = _doubles("ToneCurve.invert", image)
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
        """Make the curve that `to_dict` described; ValueError names a key that does not belong there."""
        return cls(**_known("ToneCurve", description, {field.name for field in fields(cls)}))


def quantise(image: np.ndarray, bits: int) -> np.ndarray:
    """Round encoded values to whole numbers: clip to [0, 1], then rint of (2^bits - 1) times the value.

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
    bits = _bits("quantise", bits)
    values = _doubles("quantise", image)
    if np.isnan(values).any():
        raise ValueError("quantise: expected numbers, got NaN, which no whole number stands for")
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
    bits = _bits("dequantise", bits)
    largest = 2**bits - 1
    if not (isinstance(codes, np.ndarray) and np.issubdtype(codes.dtype, np.unsignedinteger)):
        raise ValueError(f"dequantise: expected unsigned integers, got {_described(codes)}")
    if codes.size and int(codes.max()) > largest:
        raise ValueError(f"dequantise: expected codes up to {largest} for {bits} bits, got {int(codes.max())}")
    values: np.ndarray = (codes / float(largest)).astype(np.float32 if bits <= 16 else np.float64)
    return values


def _check_image(owner: str, image: np.ndarray) -> None:
    """ValueError unless `image` is a picture of floats with three channels first."""
    good = isinstance(image, np.ndarray) and image.ndim == 3 and np.issubdtype(image.dtype, np.floating)
    if not (good and image.shape[0] == 3 and image.size):
        raise ValueError(
            f"{owner}: expected floats of shape (3, H, W) in linear light, got {_described(image)}; channels last, or "
            "integers of a file?"
        )


def _doubles(owner: str, image: np.ndarray) -> np.ndarray:
    if not (isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating)):
        raise ValueError(f"{owner}: expected an array of floats with white at 1, got {_described(image)}")
    doubles: np.ndarray = image.astype(np.float64)
    return doubles


def _described(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__}"


def _bits(owner: str, bits: Any) -> int:
    """Return `bits` as an int; ValueError unless it is a whole number from 1 to `MOST_BITS`."""
    try:
        number = 0 if isinstance(bits, bool) else operator.index(bits)
    except TypeError:
        number = 0
    if not 1 <= number <= MOST_BITS:
        raise ValueError(f"{owner}: expected bits to be a whole number from 1 to {MOST_BITS}, got {bits!r}")
    return number


def _number(owner: str, name: str, value: Any) -> float:
    """Return `value` as a float; ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{owner}: expected {name} to be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{owner}: expected {name} to be finite, got {value!r}")
    return float(value)


def _one_of(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{owner}: expected {name} to be one of {', '.join(choices)}, got {value!r}")


def _known(owner: str, description: Any, names: set[str]) -> dict[str, Any]:
    """Return the description as a dict; ValueError for anything but a mapping whose keys are among `names`."""
    if not isinstance(description, Mapping):
        raise ValueError(f"{owner}: expected a mapping of {', '.join(sorted(names))}, got {type(description).__name__}")
    unknown = sorted(str(key) for key in description if key not in names)
    if unknown:
        raise ValueError(
            f"{owner}: unknown key {', '.join(map(repr, unknown))}; expected keys among {', '.join(sorted(names))}"
        )
    return dict(description)
