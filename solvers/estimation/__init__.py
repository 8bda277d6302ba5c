"""What a photograph says about its own noise and blur."""

from .noise import noise_level

__all__ = ["noise_level"]

__dir__ = __all__.copy  # what completion offers
