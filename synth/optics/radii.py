"""The radii at which a bank made here has its PSFs."""

from __future__ import annotations

from math import ceil, isfinite

import numpy as np

__all__ = ["bank_radii"]


def bank_radii(owner: str, max_radius: float, step: float) -> np.ndarray:
    """Radii as a bank from a pupil has them."""
    for name, value in (("max_radius", max_radius), ("step", step)):
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{owner}: expected {name} > 0 px, got {value}")
    return np.linspace(-max_radius, max_radius, 2 * ceil(max_radius / step - 1e-9) + 1)
