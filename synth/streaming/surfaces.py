"""Random geometry: maps of the signed radius, and the shapes and radii of layers that occlude each other."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["draw_alphas", "draw_map", "draw_radii", "signed_radius", "visible_map"]

NEAR_ZERO = 1.7
"""Exponent of the law of radii: a radius is the largest one times the power of a uniform number."""
SLOPE = 0.06
"""Steepest change of a map, px per px: beyond it the gather form is no physical model."""


def signed_radius(rng: np.random.Generator, largest: float) -> float:
    """Draw a radius of either sign, px, small ones more often."""
    return float(largest * rng.random() ** NEAR_ZERO * rng.choice((-1.0, 1.0)))


def draw_map(rng: np.random.Generator, shape: tuple[int, int], largest: float) -> np.ndarray:
    """Draw a map that is constant, slanted or smooth: float32 (H, W), px."""
    kind, centre = rng.random(), signed_radius(rng, largest)
    values: np.ndarray = np.full(shape, centre, np.float32)
    if kind >= 0.65:
        knots = int(rng.integers(1, 4))
        bumps = smooth_field(rng, shape, knots)
        values += np.float32(rng.uniform(0.1, 0.35) * SLOPE * max(shape) / knots) * bumps
    elif kind >= 0.3:
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, SLOPE)
        y, x = (np.arange(side, dtype=np.float32) - side / 2 for side in shape)
        values += np.float32(slope * np.sin(angle)) * y[:, None] + np.float32(slope * np.cos(angle)) * x
    clipped: np.ndarray = np.clip(values, -largest, largest).astype(np.float32)
    return clipped


def draw_radii(rng: np.random.Generator, count: int, largest: float) -> tuple[float, ...]:
    """Draw the radii of layers, px, nearest first: they increase. Two times in three one layer is in focus."""
    sizes = sorted(signed_radius(rng, largest) for _ in range(count))
    focused, small = int(rng.integers(count)), rng.uniform(-0.3, 0.3) * (rng.random() < 0.5)
    if rng.random() < 2 / 3:
        sizes = [-abs(size) if k < focused else abs(size) for k, size in enumerate(sizes)]
        sizes[focused] = min(max(float(small), -largest), largest)
        sizes.sort()
    return tuple(sizes)


def draw_alphas(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw the shares of the pixels that layers cover, nearest first: float32 (K, H, W), the last one 1."""
    alphas = np.ones((count, *shape), np.float32)
    for k in range(count - 1):
        softness = rng.uniform(1.5, 4.0) if rng.random() < 0.25 else 1.0
        distance = _shape(rng, shape)
        np.clip(0.5 + distance / np.float32(softness), 0, 1, out=alphas[k])
    return alphas


def visible_map(alphas: np.ndarray, radii: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the radius of what a pixel shows, float32 (H, W), and whether 9/10 of it are that layer."""
    clear = np.ones(alphas.shape[1:], np.float32)
    shares = np.empty_like(alphas)
    for k, alpha in enumerate(alphas):
        shares[k] = clear * alpha
        clear = clear * (1 - alpha)
    front = np.argmax(shares, axis=0)
    return np.asarray(radii, np.float32)[front], shares.max(axis=0) >= 0.9


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], knots: int) -> np.ndarray:
    """Draw a smooth random surface, float32 (H, W), of about unit size, with bumps of a `knots`-th of the frame."""
    height, width = shape
    field: np.ndarray = (
        _splines(height, knots)
        @ rng.standard_normal((knots + 3, knots + 3)).astype(np.float32)
        @ _splines(width, knots).T
    )
    return 2 * field


@lru_cache(maxsize=64)
def _splines(size: int, knots: int) -> np.ndarray:
    """Cubic B-splines: (size, knots + 3)."""
    place = (np.arange(size) + 0.5) / size * knots
    distance = np.abs(place[:, None] - np.arange(-1, knots + 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    values = np.where(distance < 1, near, far).astype(np.float32)
    values.setflags(write=False)
    return values


def _shape(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw a shape, as about the distance to its border, px, positive inside: float32 (H, W)."""
    height, width = shape
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    kind, size = rng.random(), np.float32(max(shape))
    if kind < 0.4:  # a blob
        field = smooth_field(rng, shape, int(rng.integers(2, 8)))
        level = np.quantile(field[::4, ::4], rng.uniform(0.35, 0.75))
        down, across = np.gradient(field)
        distance: np.ndarray = (field - np.float32(level)) / np.sqrt(down * down + across * across + np.float32(1e-6))
        return distance
    if kind < 0.65:  # one side of a line, straight or wavy
        angle = rng.uniform(0, 2 * np.pi)
        distance = np.float32(np.sin(angle)) * (y - height * np.float32(rng.uniform(0.3, 0.7))) + np.float32(
            np.cos(angle)
        ) * (x - width * np.float32(rng.uniform(0.3, 0.7)))
        if rng.random() < 0.5:
            distance = distance + size * np.float32(0.03) * smooth_field(rng, shape, 5)
        return distance
    distance = np.full(shape, -size, np.float32)
    if kind < 0.85:  # discs
        for _ in range(int(rng.integers(1, 7))):
            row, column = rng.uniform(0, height), rng.uniform(0, width)
            radius = np.float32(size * rng.uniform(0.04, 0.22))
            np.maximum(distance, radius - np.hypot(y - np.float32(row), x - np.float32(column)), out=distance)
        return distance
    bend = size * np.float32(0.02) * smooth_field(rng, shape, 3)  # strands
    for _ in range(int(rng.integers(1, 6))):
        angle, half = rng.uniform(0, np.pi), np.float32(rng.uniform(0.5, 6.0))
        line = np.float32(np.sin(angle)) * (y - np.float32(rng.uniform(0, height))) + np.float32(np.cos(angle)) * (
            x - np.float32(rng.uniform(0, width))
        )
        np.maximum(distance, half - np.abs(line + bend), out=distance)
    return distance
