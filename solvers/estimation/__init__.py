"""Estimates of the noise and blur of a photograph from the photograph itself."""

from .completion import complete
from .dual_pixel.checks import EstimateWarning
from .dual_pixel.estimate import DefocusEstimate, dual_pixel_map
from .noise import noise_level

__all__ = ["DefocusEstimate", "EstimateWarning", "complete", "dual_pixel_map", "noise_level"]

__dir__ = __all__.copy  # what completion offers
