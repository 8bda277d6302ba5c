"""Building blocks of procedural scenes: a canvas with separate colour and alpha, colours, textures and shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .scene import Layer

__all__ = [
    "Canvas", "Paint", "Share", "any_colour", "checks", "cloth", "disc", "grid", "make_layer", "sampled",
    "space_depths", "strand", "texture", "wall",
]  # fmt: skip


Paint = Callable[[slice, slice], np.ndarray]
"""Colour of shape (3, h, w) for a rectangle of the frame."""
Share = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Share of the pixels whose centres are at (y, x) that a shape covers."""


class Canvas:
    """A layer under construction; each new shape goes under the existing ones."""

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._light, self._alpha = np.zeros((3, height, width)), np.zeros((height, width))

    def under(self, share: Share, centre: tuple[float, float], reach: float, paint: Paint) -> None:
        """Add a shape, which ends within `reach` px of its centre, under the existing ones."""
        top, left = (max(0, math.floor(c - reach)) for c in centre)
        bottom, right = math.ceil(centre[0] + reach) + 1, math.ceil(centre[1] + reach) + 1
        if bottom <= 0 or right <= 0 or top >= self.height or left >= self.width:
            return
        rows, columns = slice(top, min(bottom, self.height)), slice(left, min(right, self.width))
        y, x = np.arange(rows.start, rows.stop)[:, None] + 0.5, np.arange(columns.start, columns.stop) + 0.5
        self.under_alpha(share(y, x), rows, columns, paint)

    def under_alpha(self, alpha: np.ndarray, rows: slice, columns: slice, paint: Paint) -> None:
        added = (1 - self._alpha[rows, columns]) * alpha
        self._light[:, rows, columns] += added * paint(rows, columns)
        self._alpha[rows, columns] += added

    def fill(self, paint: Paint) -> None:
        """Cover all remaining pixels."""
        whole = slice(0, self.height), slice(0, self.width)
        self.under_alpha(np.ones((self.height, self.width)), *whole, paint)
        self._alpha[:] = 1

    def layer(self, depth: float) -> Layer:
        colour = self._light / np.where(self._alpha > 0, self._alpha, 1)
        return make_layer(colour, self._alpha, np.full(self._alpha.shape, depth))


def make_layer(colour: np.ndarray, alpha: np.ndarray, depth: np.ndarray) -> Layer:
    stored = np.clip(alpha, 0, 1).astype(np.float32)
    return Layer(colour=np.where(stored > 0, colour, 0).astype(np.float32), alpha=stored, depth_m=depth)


def disc(y0: float, x0: float, radius: float) -> Share:
    def share(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        covered: np.ndarray = np.clip(radius + 0.5 - np.hypot(y - y0, x - x0), 0, 1)
        return covered

    return share


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour, from nearly black to nearly white."""
    level = rng.uniform(0.05, 0.9)
    return np.asarray(level * rng.uniform(0.35, 1.0, 3))


def cloth(colour: np.ndarray, grain: np.ndarray | None, shift: np.ndarray | None, *, limit: float = 1.0) -> Paint:
    """Make one colour, times a piece of texture if there is one."""

    def paint(rows: slice, columns: slice) -> np.ndarray:
        flat = colour[:, None, None]
        if grain is None or shift is None:
            return np.asarray(np.minimum(flat, limit))
        at = [(np.arange(s.start, s.stop) + o) % n for s, o, n in zip((rows, columns), shift, grain.shape, strict=True)]
        return np.asarray(np.minimum(flat * grain[np.ix_(*at)], limit))

    return paint


def texture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Periodic noise with the 1 / f amplitudes of photographs, positive, mean about 1."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    # weak longest waves: they would be a gradient, not a texture
    amplitude = 1 / np.maximum(frequency, 8 / max(shape)) ** 1.1
    amplitude[0, 0] = 0
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * amplitude, shape)
    return np.asarray(np.exp(0.45 * noise / noise.std() - 0.1))


def checks(rng: np.random.Generator) -> np.ndarray:
    """Periodic squares, softened over a pixel, turned by the plane they lie on."""
    side = int(rng.integers(12, 40))
    ramp = np.clip(np.abs((np.arange(2 * side) + 0.5) % (2 * side) - side) - side / 2 + 0.5, 0, 1)
    return np.asarray(ramp[:, None] * ramp + (1 - ramp[:, None]) * (1 - ramp))


def sampled(plane: np.ndarray, y: np.ndarray, x: np.ndarray, *, wrap: bool = True) -> np.ndarray:
    """Values between the pixels of a plane, bilinear; periodic or 0 outside."""
    from scipy.ndimage import map_coordinates

    result: np.ndarray = map_coordinates(
        plane, np.broadcast_arrays(y, x), order=1, mode="grid-wrap" if wrap else "constant"
    )
    return result


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the pixels' centres, px from the centre of the frame."""
    return np.arange(height)[:, None] + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2


def wall(rng: np.random.Generator, height: int, width: int, depth: float, *, level: float) -> Layer:
    grain = texture(rng, (max(height, 64), max(width, 64)))[:height, :width]
    other = texture(rng, (max(height, 64), max(width, 64)))[:height, :width]
    mix = other / (1 + other)
    one, two = (level * rng.uniform(0.4, 1.6, 3)[:, None, None] for _ in range(2))
    colour = np.clip(grain * (mix * one + (1 - mix) * two), 0, 1)
    return make_layer(colour, np.ones((height, width)), np.full((height, width), depth))


def strand(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Share of a pixel that a strand covers whose axis is `distance` px from its centre."""
    share: np.ndarray = np.clip(np.minimum(width / 2 + 0.5 - distance, width), 0, 1)
    return share


def space_depths(near: float, far: float, count: int) -> list[float]:
    """Depths equally spaced in inverse depth, nearest first, both ends exact."""
    inner = 1 / np.linspace(1 / near, 1 / far, count)[1:-1]
    return [near, *(float(depth) for depth in inner), far]
