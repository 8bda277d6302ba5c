"""Estimates of the noise and blur of a photograph from the photograph itself, and of a lens from a photo of a grid."""

from .calibration.calibrate import Calibration, GridNotFoundError, calibrate_grid
from .calibration.sheet import grid_sheet
from .completion import complete
from .dual_pixel.checks import EstimateWarning
from .dual_pixel.estimate import DefocusEstimate, dual_pixel_map
from .noise import noise_level

__all__ = [
    "Calibration",
    "DefocusEstimate",
    "EstimateWarning",
    "GridNotFoundError",
    "calibrate_grid",
    "complete",
    "dual_pixel_map",
    "grid_sheet",
    "noise_level",
]

__dir__ = __all__.copy  # what completion offers
