"""Brightness of one photograph relative to another: gain and offset of each colour, and shading over the frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import Image

__all__ = ["TERMS", "clipped", "fit_brightness", "shading_field"]

TERMS = 5
"""Terms of the shading: x, y, x^2, x y, y^2, each over [-1, 1] and free of a mean over the frame."""

ROUNDS = 3
"""Alternations of gain and offset with the shading; they are nearly independent."""


def shading_field(shape: tuple[int, ...], shading: tuple[float, ...]) -> Image:
    """Return the relative gain (H, W) over a frame (..., H, W)."""
    field = np.ones(shape[-2:])
    for weight, term in zip(shading, _terms(shape), strict=True):
        if weight:
            field = field + weight * term
    return field


def fit_brightness(
    u: Image, y: Image, mask: np.ndarray[Any, Any], *, shading: bool
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return the gains, offsets and shading with which u comes closest to y in the mask, by least squares."""
    targets, models = y[:, mask], u[:, mask]
    terms = np.stack([term[mask] for term in _terms(u.shape)])
    weights = np.zeros(TERMS)
    gain, offset = _lines(models, targets)
    for _ in range(ROUNDS if shading else 0):
        lit = gain[:, None] * models
        residual = targets - offset[:, None] - lit
        power = np.einsum("cn,cn->n", lit, lit)
        normal = (terms * power) @ terms.T
        weights = np.linalg.lstsq(normal, terms @ np.einsum("cn,cn->n", lit, residual), rcond=1e-10)[0]
        gain, offset = _lines(models * (1 + weights @ terms), targets)
    return tuple(map(float, gain)), tuple(map(float, offset)), tuple(map(float, weights))


def clipped(image: Image) -> np.ndarray[Any, Any]:
    """Return which pixels (H, W) are at the top of their range, in any colour, where more than a few are."""
    found = np.zeros(image.shape[-2:], dtype=bool)
    for plane in image:
        top = plane >= plane.max() - 2e-3 * (plane.max() - plane.min())
        if top.mean() > 5e-4:
            found |= top
    return found


def _lines(models: Image, targets: Image) -> tuple[Image, Image]:
    """Return slope and intercept of the targets over the models, (C,) each."""
    gains, offsets = [], []
    for a, b in zip(models, targets, strict=True):
        centred = a - a.mean()
        power = float(centred @ centred)
        gain = float(centred @ b) / power if power > 0 else 1.0
        gains.append(gain)
        offsets.append(float(b.mean()) - gain * float(a.mean()))
    return np.array(gains), np.array(offsets)


def _terms(shape: tuple[int, ...]) -> list[Image]:
    rows, cols = shape[-2:]
    i, j = np.linspace(-1, 1, rows)[:, None] + np.zeros(cols), np.linspace(-1, 1, cols) + np.zeros((rows, 1))
    return [term - term.mean() for term in (j, i, j * j, i * j, i * i)]
