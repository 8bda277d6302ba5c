"""Estimates of noise, defocus and blur: from a photograph, a pair, or a printed grid."""

from .calibration.calibrate import Calibration, GridNotFoundError, calibrate_grid
from .calibration.sheet import grid_sheet
from .completion import complete
from .dual_pixel.checks import EstimateWarning
from .dual_pixel.estimate import DefocusEstimate, dual_pixel_map
from .fitting.approximate import Advice, Approximation, advise, approximate
from .fitting.fit import Fit
from .fitting.radius import fit_radius
from .fitting.registration import Registration, register
from .fitting.uniform import fit_gkm, fit_mixture, fit_psf_bank, fit_rkr
from .focal_stack.estimate import DepthEstimate, focal_stack_depth
from .noise import noise_level
from .noise_curve import NoiseCurve, noise_curve

__all__ = [
    "Advice",
    "Approximation",
    "Calibration",
    "DefocusEstimate",
    "DepthEstimate",
    "EstimateWarning",
    "Fit",
    "GridNotFoundError",
    "NoiseCurve",
    "Registration",
    "advise",
    "approximate",
    "calibrate_grid",
    "complete",
    "dual_pixel_map",
    "fit_gkm",
    "fit_mixture",
    "fit_psf_bank",
    "fit_radius",
    "fit_rkr",
    "focal_stack_depth",
    "grid_sheet",
    "noise_curve",
    "noise_level",
    "register",
]

__dir__ = __all__.copy  # what completion offers
