<<<<<<< HEAD
"""Estimates of noise, defocus and blur: from one photograph, a dual-pixel pair, or a sharp and a blurred photograph."""
=======
"""Estimates of the noise and blur of a photograph from the photograph itself, and of a lens from a photo of a grid."""
>>>>>>> 7715e756bb6ca9cc8ebee0b22f3cdfbf96412956

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
from .noise import noise_level
from .noise_curve import NoiseCurve, noise_curve

__all__ = [
<<<<<<< HEAD
    "Advice",
    "Approximation",
    "DefocusEstimate",
    "EstimateWarning",
    "Fit",
    "NoiseCurve",
    "Registration",
    "advise",
    "approximate",
    "complete",
    "dual_pixel_map",
    "fit_gkm",
    "fit_mixture",
    "fit_psf_bank",
    "fit_radius",
    "fit_rkr",
    "noise_curve",
    "noise_level",
    "register",
=======
    "Calibration",
    "DefocusEstimate",
    "EstimateWarning",
    "GridNotFoundError",
    "calibrate_grid",
    "complete",
    "dual_pixel_map",
    "grid_sheet",
    "noise_level",
>>>>>>> 7715e756bb6ca9cc8ebee0b22f3cdfbf96412956
]

__dir__ = __all__.copy  # what completion offers
