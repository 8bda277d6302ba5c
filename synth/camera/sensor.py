"""A sensor: colour mosaic, noise, black level, converter and demosaicing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

import numpy as np

from blurphys.frozen import freeze
from blurphys.inputs import require_choice, require_number

from .checks import check_bits, check_image, check_keys
from .mosaic import Demosaic, Mosaic, bayer_demosaic, bayer_mosaic
from .noise import ShotReadNoise

__all__ = ["Sensor"]


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A sensor: from the light of a view to stored numbers.

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
            freeze(self, bits=check_bits("Sensor", self.bits))
        black = require_number("Sensor", "black_level", self.black_level)
        freeze(self, black_level=black)
        if self.white_level is not None:
            freeze(self, white_level=require_number("Sensor", "white_level", self.white_level))
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
            require_choice("Sensor", "mosaic", self.mosaic, get_args(Mosaic))
        require_choice("Sensor", "demosaic", self.demosaic, get_args(Demosaic))

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
        check_image("Sensor.expose", image)
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
        """Return the sensor as numbers, strings and dictionaries, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Sensor:
        """Undo `to_dict`; ValueError names an unknown key."""
        values = check_keys("Sensor", description, {field.name for field in fields(cls)})
        if "noise" in values:
            noise = check_keys("Sensor: noise", values["noise"], {field.name for field in fields(ShotReadNoise)})
            values["noise"] = ShotReadNoise(
                **{name: require_number("Sensor: noise", name, value) for name, value in noise.items()}
            )
        return cls(**values)

    def _convert(self, signal: np.ndarray) -> np.ndarray:
        """Apply black level, saturation and rounding, and convert the codes back to light."""
        span = self.white - self.black_level
        codes = np.clip(self.black_level + span * signal, 0.0, self.white)
        if self.bits is not None:
            codes = np.rint(codes)
        converted: np.ndarray = (codes - self.black_level) / span
        return converted
