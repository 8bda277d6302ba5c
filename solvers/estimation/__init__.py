"""Estimates of noise and blur: from a photograph, or from a sharp and a blurred one of the same scene."""

from .fitting.approximate import Advice, Approximation, advise, approximate
from .fitting.fit import Fit
from .fitting.radius import fit_radius
from .fitting.registration import Registration, register
from .fitting.uniform import fit_gkm, fit_mixture, fit_psf_bank, fit_rkr
from .noise import noise_level

__all__ = [
    "Advice",
    "Approximation",
    "Fit",
    "Registration",
    "advise",
    "approximate",
    "fit_gkm",
    "fit_mixture",
    "fit_psf_bank",
    "fit_radius",
    "fit_rkr",
    "noise_level",
    "register",
]

__dir__ = __all__.copy  # what completion offers
