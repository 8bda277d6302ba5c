"""Occluders thinner than their blur: hair, leaves and a fence."""

from __future__ import annotations

import math

import numpy as np

from ._drawing import Canvas, Paint, Share, cloth, strand, texture

__all__ = ["OCCLUDERS"]


def _hair(rng: np.random.Generator, canvas: Canvas) -> None:
    """Draw curved strands from the upper edge, a few pixels to a third of one wide, tapering to their tips."""
    H, W = canvas.height, canvas.width
    base = rng.uniform(0.02, 0.25) * np.array([1.0, 0.7, 0.45])
    for _ in range(max(8, W // 12)):
        root = np.array([-4.0, rng.uniform(-0.1, 1.1) * W])
        points = root + np.cumsum(
            np.stack(
                [np.zeros(2), *(np.array([rng.uniform(0.15, 0.4) * H, rng.normal(0, 0.1) * W]) for _ in range(3))]
            ),
            axis=0,
        )
        steps = max(8, H // 8)
        t = np.linspace(0, 1, steps + 1)[:, None]
        curve = (1 - t) ** 3 * points[0] + 3 * (1 - t) ** 2 * t * points[1] + 3 * (1 - t) * t**2 * points[2]
        curve = curve + t**3 * points[3]
        thick = rng.uniform(0.6, 2.2)
        widths = thick * (1 - 0.7 * np.linspace(0, 1, steps))
        colour = base * rng.uniform(0.6, 1.6)
        low = np.maximum(np.floor(curve.min(axis=0) - 3), 0).astype(int)
        high = np.minimum(np.ceil(curve.max(axis=0) + 3), (H, W)).astype(int)
        if (high <= low).any():
            continue
        alpha = np.zeros(high - low)
        for a, b, width in zip(curve[:-1], curve[1:], widths, strict=True):
            first = np.maximum(np.floor(np.minimum(a, b) - 3).astype(int), low)
            last = np.minimum(np.ceil(np.maximum(a, b) + 3).astype(int), high)
            if (last <= first).any():
                continue
            y, x = np.arange(first[0], last[0])[:, None] + 0.5, np.arange(first[1], last[1]) + 0.5
            along = np.clip(((y - a[0]) * (b - a)[0] + (x - a[1]) * (b - a)[1]) / ((b - a) @ (b - a)), 0, 1)
            distance = np.hypot(y - a[0] - along * (b - a)[0], x - a[1] - along * (b - a)[1])
            part = alpha[first[0] - low[0] : last[0] - low[0], first[1] - low[1] : last[1] - low[1]]
            np.maximum(part, strand(distance, width), out=part)
        canvas.under_alpha(alpha, slice(low[0], high[0]), slice(low[1], high[1]), cloth(colour, None, None))


def _leaves(rng: np.random.Generator, canvas: Canvas) -> None:
    """Draw pointed leaves, each the common part of two discs, with a lighter midrib."""
    size = min(canvas.height, canvas.width)
    grain = texture(rng, (128, 128))
    for _ in range(24):
        centre = rng.uniform(0, canvas.height), rng.uniform(0, canvas.width)
        half = rng.uniform(0.05, 0.14) * size
        slim = rng.uniform(0.25, 0.45) * half
        share, rib = _leaf(centre, half, slim, rng.uniform(0, 2 * math.pi))
        colour = rng.uniform(0.5, 1.3) * np.array([0.12, 0.3, 0.06]) * rng.uniform(0.7, 1.3, 3)
        skin = cloth(colour, grain, rng.integers(0, 128, 2))
        canvas.under(share, centre, half + 1, _veined(skin, rib))


def _leaf(centre: tuple[float, float], half: float, slim: float, angle: float) -> tuple[Share, Share]:
    """Outline and midrib of a leaf of length 2 half and width 2 slim, px."""
    radius, aside = (half**2 + slim**2) / (2 * slim), (half**2 - slim**2) / (2 * slim)
    cos, sin = math.cos(angle), math.sin(angle)

    def turned(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cos * (x - centre[1]) + sin * (y - centre[0]), cos * (y - centre[0]) - sin * (x - centre[1])

    def outline(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        u, v = turned(y, x)
        share: np.ndarray = np.clip(radius + 0.5 - np.hypot(u, np.abs(v) + aside), 0, 1)
        return share

    def rib(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return strand(np.abs(turned(y, x)[1]), 1.2)

    return outline, rib


def _veined(skin: Paint, rib: Share) -> Paint:
    def paint(rows: slice, columns: slice) -> np.ndarray:
        y, x = np.arange(rows.start, rows.stop)[:, None] + 0.5, np.arange(columns.start, columns.stop) + 0.5
        return np.minimum(skin(rows, columns) * (1 + 0.8 * rib(y, x)), 1)

    return paint


def _fence(rng: np.random.Generator, canvas: Canvas) -> None:
    """Draw a lattice of round wires, brighter along their upper side."""
    H, W = canvas.height, canvas.width
    y, x = np.arange(H)[:, None] + 0.5, np.arange(W) + 0.5
    pitch, width = rng.uniform(0.09, 0.14) * min(H, W), rng.uniform(1.5, 3.5)
    tint = rng.uniform(0.03, 0.1) * rng.uniform(0.85, 1.0, 3)[:, None, None]
    lean, phase = rng.uniform(0.7, 1.2), rng.uniform(0, 1, 2)
    norm = math.hypot(1, lean)
    for sign, start in zip((1, -1), phase, strict=True):
        across = (x + sign * lean * y) / norm
        signed = (across / pitch + start + 0.5) % 1 * pitch - pitch / 2
        shade = tint * (1 + 3 * np.clip(0.5 - signed * sign / width, 0, 1))

        def metal(rows: slice, columns: slice, shade: np.ndarray = shade) -> np.ndarray:
            return shade[:, rows, columns]

        canvas.under_alpha(strand(np.abs(signed), width), slice(0, H), slice(0, W), metal)


OCCLUDERS = {"hair": _hair, "leaves": _leaves, "fence": _fence}
