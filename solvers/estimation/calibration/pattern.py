"""Dots of a grid under a known geometry, as spectra of patches."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cut_patches", "dot_spectra"]

Array = np.ndarray[Any, Any]


def dot_spectra(offsets: Array, jacobians: Array, diameter: float, size: int) -> Array:
    """Return the spectra of ellipses in patches, as `numpy.fft.rfft2` has them.

    Parameters
    ----------
    offsets : ndarray of shape (n, 2)
        (row, column) of the centres of the dots from pixel (0, 0) of their patches, px.
    jacobians : ndarray of shape (n, 2, 2)
        Derivatives of (row, column) by grid coordinates (u, v); the dots are images of circles under them.
    diameter : float
        Of a dot, in units of the spacing.
    size : int
        Height and width of the patches, odd: at the Nyquist frequency of an even size, two waves are one.

    Returns
    -------
    complex ndarray of shape (n, size, size // 2 + 1)
        Of the dots below the Nyquist frequency, sampled at the centres of the pixels: their Fourier transform is
        that of a disk, ``2 J1(x) / x`` times the area.
    """
    from scipy.special import j1

    rows, cols = 2 * np.pi * np.fft.fftfreq(size)[:, None], 2 * np.pi * np.fft.rfftfreq(size)
    a = jacobians[:, 0, 0, None, None] * rows + jacobians[:, 1, 0, None, None] * cols
    b = jacobians[:, 0, 1, None, None] * rows + jacobians[:, 1, 1, None, None] * cols
    x = np.maximum(diameter / 2 * np.hypot(a, b), 1e-9)
    area = np.pi * diameter**2 / 4 * np.abs(np.linalg.det(jacobians))
    phase = np.exp(-1j * (rows * offsets[:, 0, None, None] + cols * offsets[:, 1, None, None]))
    spectra: Array = area[:, None, None] * 2 * j1(x) / x * phase
    return spectra


def cut_patches(image: Array, centres: Array, size: int) -> tuple[Array, Array]:
    """Return the patches (n, size, size) around centres (n, 2), and the pixel (n, 2) at which each begins."""
    corners = np.rint(centres - (size - 1) / 2).astype(int)
    span = np.arange(size)
    rows, cols = corners[:, 0, None, None] + span[:, None], corners[:, 1, None, None] + span
    return image[rows, cols], corners
