"""Spatially varying defocus blur: linear operators with exact adjoints, PSFs and the lens.

Images are arrays (..., C, H, W), linear light, nominal range [0, 1], of NumPy, torch or CuPy; what goes in comes out:
namespace, device and dtype.
"""

from . import colour, maps, plot, psf
from .analysis.certificate import Certificate, certificate
from .analysis.check import CheckReport, check
from .analysis.linalg import operator_norm, to_dense
from .boundary import BOUNDARIES
from .files.operators import load, save
from .linop.algebra import stack
from .linop.elementary import Identity, Window
from .linop.tiling import tiled
from .methods import LinearOperator
from .operators.defocus import DefocusBlur, DualPixel
from .operators.field import FieldDefocus
from .operators.gkm import GKM, gkm_bank
from .operators.layered import LayeredDefocus
from .operators.layers_from_map import layers_from_map
from .operators.observed import extended, unknown_boundary
from .operators.psf_stack import Convolution, PixelPSF, PSFStack
from .operators.rkr import RKR
from .operators.symmetric import SymmetricMixture
from .optics.bank import PSFBank
from .optics.lens import ThinLens
from .optics.psf_checks import PSFWarning
from .optics.pupil import Pupil

__version__ = "0.1.0"

__all__ = [
    "BOUNDARIES",
    "GKM",
    "RKR",
    "Certificate",
    "CheckReport",
    "Convolution",
    "DefocusBlur",
    "DualPixel",
    "FieldDefocus",
    "Identity",
    "LayeredDefocus",
    "LinearOperator",
    "PSFBank",
    "PSFStack",
    "PSFWarning",
    "PixelPSF",
    "Pupil",
    "SymmetricMixture",
    "ThinLens",
    "Window",
    "certificate",
    "check",
    "colour",
    "extended",
    "gkm_bank",
    "layers_from_map",
    "load",
    "maps",
    "operator_norm",
    "plot",
    "psf",
    "save",
    "stack",
    "tiled",
    "to_dense",
    "unknown_boundary",
]
__dir__ = __all__.copy  # what completion offers
