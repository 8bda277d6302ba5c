"""Second moments of a registered pair, from which every uniform kernel is fitted without another look at the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .inputs import Image
from .pair import Mask, Pair

__all__ = ["Moments", "moments_of", "whitened"]

SAMPLES = 30_000
"""Most pixels of a colour and fold that are looked at, drawn at random."""

CHUNK = 8192


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """``||T - h * x||^2 = power - 2 b.h + h.G h`` over pixels, every colour about its own mean.

    Attributes
    ----------
    G : ndarray of shape (n n, n n)
        Of pairs of taps.
    b : ndarray of shape (n n,)
        Of tap and target.
    power : float
        Of the target.
    count : int
        Numbers summed.
    """

    G: Image
    b: Image
    power: float
    count: int

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.G + other.G, self.b + other.b, self.power + other.power, self.count + other.count)

    def error(self, kernel: Image) -> float:
        """Return the mean square error of a kernel (n n,)."""
        h = kernel.ravel()
        return max(float(self.power - 2 * self.b @ h + h @ (self.G @ h)), 0.0) / max(1, self.count)


def moments_of(pair: Pair, weights: Image | None = None) -> tuple[Moments, Moments]:
    """Return the moments of both folds of the training pixels, each pixel weighted by `weights` (H, W) if given."""
    target = pair.target
    rng = np.random.default_rng(0)
    found = [_moments(pair.x, target, mask, pair.support, weights, rng) for mask in pair.masks]
    return found[0], found[1]


def _moments(
    x: Image, target: Image, mask: Mask, size: int, weights: Image | None, rng: np.random.Generator
) -> Moments:
    taps, half = size * size, size // 2
    total = Moments(np.zeros((taps, taps)), np.zeros(taps), 0.0, 0)
    usable = mask if weights is None else mask & (weights > 1e-3)
    rows, cols = np.nonzero(usable)
    if len(rows) == 0:
        return total
    for plane, wanted in zip(x, target, strict=True):
        chosen = np.arange(len(rows))
        if len(chosen) > SAMPLES:
            chosen = np.sort(rng.choice(len(chosen), SAMPLES, replace=False))
        i, j = rows[chosen], cols[chosen]
        windows = sliding_window_view((plane - plane[usable].mean()).astype(np.float32), (size, size))[:, :, ::-1, ::-1]
        t = wanted[i, j] - wanted[usable].mean()
        w = np.ones(len(i)) if weights is None else weights[i, j]
        root = np.sqrt(w).astype(np.float32)[:, None]
        G, b = np.zeros((taps, taps)), np.zeros(taps)
        first = np.zeros(taps)
        for start in range(0, len(i), CHUNK):
            part = slice(start, start + CHUNK)
            X = root[part] * windows[i[part] - half, j[part] - half].reshape(-1, taps)
            G += X.T @ X
            b += X.T @ (root[part, 0] * t[part])
            first += root[part, 0] @ X
        mean_x, mean_t, mass = first / w.sum(), float(w @ t) / w.sum(), w.sum()
        G -= mass * np.outer(mean_x, mean_x)
        b -= mass * mean_x * mean_t
        total += Moments(G, b, float(w @ (t - mean_t) ** 2), len(i))
    return total


def whitened(moments: Moments) -> tuple[Image, Image]:
    """Return R and z with ``||R h - z||^2`` the error of a kernel, up to a constant and a share of 1e-9 for rounding."""
    slack = 1e-9 * np.trace(moments.G) / len(moments.G)
    lower = np.linalg.cholesky(moments.G + slack * np.eye(len(moments.G)))
    from scipy.linalg import solve_triangular

    z: Any = solve_triangular(lower, moments.b, lower=True)
    return lower.T, z
