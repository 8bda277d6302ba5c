"""Checks that all fits share: the pair of photographs, the pupil, the held-out pixels."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

import blurphys as bp

from ...core.arrays import to_host
from ...core.checks import check_image
from ...core.types import Array

__all__ = ["Image", "checked_pair", "gaussian_pupil", "pupil_named"]

Image: TypeAlias = np.ndarray[Any, Any]

LEAST = 48
"""Least side of a photograph, px."""


def checked_pair(name: str, sharp: Array, blurred: Array) -> tuple[Image, Image]:
    """Return both photographs (C, H, W) as NumPy float64; raise an error where no blur can be fitted to them."""
    pair = []
    for what, value in (("sharp", sharp), ("blurred", blurred)):
        check_image(name, what, value)
        if value.ndim != 3:
            raise ValueError(f"{name}: {what} must have shape (C, H, W), one photograph, got {tuple(value.shape)}")
        image = to_host(value).astype(np.float64)
        if not np.isfinite(image).all():
            raise ValueError(f"{name}: {what} must be finite, got {int((~np.isfinite(image)).sum())} NaN or infinity")
        pair.append(image)
    x, y = pair
    if x.shape != y.shape:
        raise ValueError(
            f"{name}: expected two photographs of the same shape, got {x.shape} (sharp) and {y.shape} (blurred); crop "
            f"or resize one of them"
        )
    if min(x.shape[1:]) < LEAST:
        raise ValueError(f"{name}: expected at least {LEAST} x {LEAST} px, got {x.shape[1]} x {x.shape[2]}")
    for what, image in (("sharp", x), ("blurred", y)):
        if float(image.std(axis=(1, 2)).max()) <= 1e-6 * max(1.0, float(np.abs(image).max())):
            raise ValueError(f"{name}: the {what} photograph is constant, so that every blur fits")
    if _sharpness(y) > 1.5 * _sharpness(x):
        raise ValueError(f"{name}: the blurred photograph has more detail than the sharp one; are the two swapped?")
    return x, y


def _sharpness(image: Image) -> float:
    """Return the power of fine detail relative to that of coarse structure."""
    from scipy.ndimage import gaussian_filter

    grey = image.mean(axis=0)
    fine = gaussian_filter(grey, 1.0)
    coarse = gaussian_filter(grey, 4.0)
    return float(np.var(fine - coarse) / max(float(np.var(coarse)), 1e-30))


def gaussian_pupil() -> bp.Pupil:
    """Return the pupil whose PSF at radius c is a Gaussian with standard deviation c / 2."""
    line = (np.arange(256) - 127.5) * (2 * 2.0 / 256)  # over [-2, 2] radii: four standard deviations
    bell = np.exp(-(line**2) / (2 * 0.25))
    return bp.Pupil.measured(bell[:, None] * bell, extent=2.0)


def pupil_named(name: str, pupil: bp.Pupil | str) -> bp.Pupil:
    """Return the pupil itself, or the one of a name."""
    if isinstance(pupil, bp.Pupil):
        return pupil
    known = {"disk": bp.Pupil.disk, "gaussian": gaussian_pupil, "butterworth": bp.Pupil.butterworth}
    if not isinstance(pupil, str) or pupil not in known:
        raise ValueError(f"{name}: expected pupil to be a blurphys.Pupil or one of {', '.join(known)}, got {pupil!r}")
    return known[pupil]()
