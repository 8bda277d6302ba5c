"""The weight of a prior for a noise: one rule for all methods that take one."""

from __future__ import annotations

import numpy as np

__all__ = ["strength_for"]

STRENGTH_PER_VARIANCE = 15.0
"""Weight of the prior for each unit of noise variance, chosen with total variation on the motorcycle, PSNR in sRGB."""

MIN_STRENGTH, MAX_STRENGTH = 1e-5, 1e-2


def strength_for(variance: float) -> float:
    """Return the weight of the prior for a mean variance of the noise, linear light."""
    return float(np.clip(STRENGTH_PER_VARIANCE * variance, MIN_STRENGTH, MAX_STRENGTH))
