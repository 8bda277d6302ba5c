"""Families of kernels: the atoms of a Gaussian mixture, of a recursive representation, and anisotropic Gaussians.

All are ndarrays (K, n, n) of unit sum, n odd, centred on ``n // 2``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .inputs import Image

__all__ = ["anisotropic", "concentric", "embedded", "recursive", "recursive_taps"]


def concentric(sigmas: Sequence[float], size: int) -> Image:
    """Return Gaussians as `blurphys.GKM` has them: sampled at integers, cut to the size, of unit sum."""
    t = np.arange(size) - size // 2
    rows = [np.exp(-(t**2) / (2 * s * s)) if s > 0.02 else (t == 0).astype(float) for s in sigmas]
    taps = np.stack([row / row.sum() for row in rows])
    return np.einsum("ki,kj->kij", taps, taps)


def recursive_taps(values: Image, count: int, taps: int, *, symmetric: bool) -> Image:
    """Return the taps (count, taps), of unit sum, of free numbers: all but the central tap, or one half of them."""
    half = taps // 2
    given = values.reshape(count, -1)
    sides = given if not symmetric else np.concatenate([given[:, ::-1], given], axis=1)
    middle = 1 - sides.sum(axis=1, keepdims=True)
    return np.concatenate([sides[:, :half], middle, sides[:, half:]], axis=1)


def recursive(atoms: Image, size: int | None = None) -> Image:
    """Return the kernels of `blurphys.RKR`: the Dirac, then each the previous one convolved with ``a a^T``."""
    count, taps = atoms.shape
    width = count * (taps - 1) + 1
    line = np.zeros(width)
    line[width // 2] = 1
    lines = [line]
    for atom in atoms:
        lines.append(np.convolve(lines[-1], atom, mode="same"))
    kernels = np.einsum("ki,kj->kij", np.stack(lines), np.stack(lines))
    return kernels if size is None else embedded(kernels, size)


def anisotropic(parameters: Image, size: int) -> Image:
    """Return Gaussians with parameters (K, 5): centre down and right (px), two standard deviations (px), angle (rad).

    The first standard deviation is along the angle, from +x towards +y. Sampled at the pixel centres.
    """
    t = np.arange(size) - size // 2
    down, right, along, across, angle = (p[:, None, None] for p in parameters.T)
    i, j = t[None, :, None] - down, t[None, None, :] - right
    u = (np.cos(angle) * j + np.sin(angle) * i) / along
    v = (np.cos(angle) * i - np.sin(angle) * j) / across
    bells = np.exp(-0.5 * np.minimum(u * u + v * v, 1400.0))
    total = bells.sum(axis=(1, 2), keepdims=True)
    return bells / np.maximum(total, 1e-300)


def embedded(kernels: Image, size: int) -> Image:
    """Pad or crop kernels (..., n, n) about their centre to an odd size."""
    grow = (size - kernels.shape[-1]) // 2
    if grow >= 0:
        return np.pad(kernels, [(0, 0)] * (kernels.ndim - 2) + [(grow, grow)] * 2)
    return kernels[..., -grow:grow, -grow:grow]
