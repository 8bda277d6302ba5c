"""PSFs of a lens from a photo of a printed dot grid."""

from .calibrate import Calibration, GridNotFoundError, calibrate_grid
from .geometry import GridGeometry
from .sheet import grid_sheet

__all__ = ["Calibration", "GridGeometry", "GridNotFoundError", "calibrate_grid", "grid_sheet"]

__dir__ = __all__.copy  # what completion offers
