"""Estimates of the noise and blur of a photograph from the photograph itself."""

from .noise import noise_level
from .noise_curve import NoiseCurve, noise_curve

__all__ = ["NoiseCurve", "noise_curve", "noise_level"]

__dir__ = __all__.copy  # what completion offers
