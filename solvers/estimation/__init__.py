"""Estimates of the noise and blur of a photograph from the photograph itself."""

from .noise import noise_level

__all__ = ["noise_level"]

__dir__ = __all__.copy  # what completion offers
