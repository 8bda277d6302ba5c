"""A random camera: exposure, noise, mosaic, tone curve, JPEG, 8 bits."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blurphys.colour import srgb_to_linear

from ..camera.noise import ShotReadNoise
from ..camera.sensor import Sensor
from ..camera.tone import Curve, ToneCurve, dequantise, quantise

__all__ = ["MID_GREY", "Recording", "brighten_lights"]

MID_GREY = 0.18
"""Linear light at which noise is stated."""
PATTERNS = ("rggb", "bggr", "grbg", "gbrg")
BITS, BLACK = 14, 512.0
"""Converter of the sensor."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How one photograph is taken.

    Attributes
    ----------
    gains : ndarray of shape (3, 1, 1)
        Exposure and colour of the light.
    balance : ndarray of shape (3, 1, 1)
        White balance: the sensor measures the light divided by it.
    noise : float
        Standard deviation at mid grey in linear light, of one pixel and view; mean square over the colours.
    read_share : float
        Share of the variance at mid grey that is read noise.
    pattern, demosaic : str, optional
        Mosaic, or None.
    curve : ToneCurve
    scale : float
        Of the light before the curve.
    bend : ndarray of shape (2, 3, 1, 1)
        Contrast of the encoded values, see `encode`.
    quality : int, optional
        Of JPEG, or None.
    chroma : int
        Pillow's subsampling: 0 for 4:4:4, 2 for 4:2:0.
    bits : int, optional
        Of the stored values.
    sharpening : (float, float), optional
        Standard deviation (px) and amount of an unsharp mask on the encoded values, or None.
    """

    gains: np.ndarray
    balance: np.ndarray
    noise: float
    read_share: float
    pattern: str | None
    demosaic: str
    curve: ToneCurve
    scale: float
    bend: np.ndarray
    quality: int | None
    chroma: int
    bits: int | None
    sharpening: tuple[float, float] | None = None

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        noise: tuple[float, float] | None,
        mosaic: float,
        tone: bool,
        jpeg: float,
        bits: int | None,
        sharpening: float = 0.0,
    ) -> Recording:
        """Draw a camera: the range of `noise`, the shares of mosaics, JPEG files and sharpened photographs, and whether
        tone curves vary.

        The number of random numbers that are drawn does not depend on the arguments.
        """
        exposure, cast = rng.uniform(np.log(0.55), np.log(1.6)), rng.normal(0.0, 0.05, 3) * (1, 0.4, 1)
        balance = np.array([rng.uniform(1.3, 2.4), 1.0, rng.uniform(1.2, 2.2)])
        level, read_share = rng.random(), float(rng.uniform(0.02, 0.25))
        has_mosaic, pattern, method = rng.random(), int(rng.integers(4)), rng.random()
        curve, scale, bend = _draw_tone(rng)
        is_jpeg, quality, chroma = rng.random(), int(rng.integers(75, 99)), 2 * int(rng.integers(2))
        is_sharpened, mask = rng.random(), (float(rng.uniform(0.5, 1.6)), float(rng.uniform(0.1, 1.0)))
        low, high = noise or (0.0, 0.0)
        return cls(
            gains=_columns(np.exp(exposure + cast) if tone else np.ones(3)),
            balance=_columns(balance),
            noise=float(low * (high / low) ** level if low > 0 else high * level**2),
            read_share=read_share,
            pattern=PATTERNS[pattern] if has_mosaic < mosaic else None,
            demosaic="malvar" if method < 0.7 else "bilinear",
            curve=curve if tone else ToneCurve("srgb"),
            scale=scale if tone else 1.0,
            bend=bend if tone else np.zeros((2, 3, 1, 1), np.float32),
            quality=quality if is_jpeg < jpeg and bits == 8 else None,
            chroma=chroma,
            bits=bits,
            sharpening=mask if is_sharpened < sharpening else None,
        )

    def light(self, scene: np.ndarray) -> np.ndarray:
        """Return the light of a scene as exposed: float32, not negative."""
        exposed: np.ndarray = np.maximum(scene * self.gains, 0)
        return exposed

    def expose(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what the sensor measures of the light (3, H, W), white-balanced."""
        if self.noise == 0 and self.pattern is None:
            return light
        sensor = self.sensor
        measured: np.ndarray = sensor.expose(light / self.balance, rng) * self.balance
        return measured

    @property
    def sensor(self) -> Sensor:
        """The sensor, whose noise is that before the white balance."""
        variance, balance = self.noise**2, self.balance.astype(np.float64)
        shot = (1 - self.read_share) * variance / (MID_GREY * float(balance.mean()))
        read = self.read_share * variance / float((balance**2).mean())
        noisy: dict[str, Any] = {}
        if self.noise > 0:
            noisy = {"noise": ShotReadNoise(shot if shot >= 1e-12 else 0.0, read), "bits": BITS, "black_level": BLACK}
        chosen: dict[str, Any] = {"mosaic": self.pattern, "demosaic": self.demosaic}
        return Sensor(**noisy, **chosen)

    def encode(self, light: np.ndarray) -> np.ndarray:
        """Return the recorded values of light, 0 to 1.

        The curve, then ``v (1 + (1 - v) (a + b (1 - 2 v)))`` for each colour: a brightens, a negative b adds contrast.
        Then the unsharp mask.
        """
        v: np.ndarray = np.clip(self.curve.apply(np.clip(light, 0, None) * np.float32(self.scale)), 0, 1)
        if self.bend.any():
            a, b = self.bend
            v = np.clip(v * (1 + (1 - v) * (a + b * (1 - 2 * v))), 0, 1)
        if self.sharpening is not None:
            from scipy.ndimage import gaussian_filter

            spread, amount = self.sharpening
            v = np.clip(v + np.float32(amount) * (v - gaussian_filter(v, (0, spread, spread), truncate=3)), 0, 1)
        return v

    def store(self, values: np.ndarray) -> np.ndarray:
        """Round recorded values, and compress them where the camera does."""
        if self.bits is None:
            return values
        codes = quantise(values, self.bits)
        if self.quality is not None:
            codes = _through_jpeg(codes, self.quality, self.chroma)
        return dequantise(codes, self.bits)


def finish(values: Mapping[str, np.ndarray], transfer: str) -> dict[str, np.ndarray]:
    """Return images as they are, or decoded by the sRGB curve with transfer "linear"."""
    if transfer == "linear":
        values = {name: srgb_to_linear(image) for name, image in values.items()}
    return {name: np.ascontiguousarray(image, np.float32) for name, image in values.items()}


def brighten_lights(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Make the brightest parts of some crops brighter than white, as lamps are before a camera clips them."""
    chance, factor = rng.random(), rng.uniform(1.0, 8.0)
    if chance > 0.25:
        return light
    over = np.clip((light.min(axis=0) - 0.8) / 0.2, 0, 1)
    brighter: np.ndarray = light * (1 + np.float32(factor) * over * over)
    return brighter


def _draw_tone(rng: np.random.Generator) -> tuple[ToneCurve, float, np.ndarray]:
    kind, gamma, white, bent = rng.random(), float(rng.uniform(1.8, 2.5)), float(rng.uniform(2.0, 6.0)), rng.random()
    a, b, spread = rng.uniform(-0.3, 0.35), rng.uniform(-0.4, 0.15), rng.normal(0.0, 0.04, (2, 3))
    name: Curve = "srgb" if kind < 0.65 else "gamma" if kind < 0.8 else "filmic"
    # Light `white` becomes 1 on the filmic curve; white / 2 keeps the middle tones about where they were.
    scale = white / 2 if name == "filmic" else 1.0
    bend = np.clip(np.array([[a], [b]]) + spread, -0.45, 0.45)[..., None, None].astype(np.float32)
    return ToneCurve(name, gamma=gamma, white=white), scale, bend if bent < 0.6 else np.zeros_like(bend)


def _columns(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).reshape(3, 1, 1)


def _through_jpeg(codes: np.ndarray, quality: int, chroma: int) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(codes.transpose(1, 2, 0))).save(
        file, "JPEG", quality=quality, subsampling=chroma
    )
    with Image.open(file) as image:
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
