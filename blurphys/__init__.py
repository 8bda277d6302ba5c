"""Spatially varying defocus blur: linear operators with exact adjoints, PSFs and the lens.

Images are arrays (..., C, H, W), linear light, nominal range [0, 1], of NumPy, torch or CuPy; what goes in comes out:
namespace, device and dtype.
"""

from . import colour, maps, psf
from .algebra import Identity, stack
from .bank import PSFBank
from .boundary import BOUNDARIES
from .certificate import Certificate, certificate
from .defocus import DefocusBlur, DualPixel
from .field import FieldDefocus
from .gkm import GKM, gkm_bank
from .layered import LayeredDefocus
from .lens import ThinLens
from .linalg import operator_norm, to_dense
from .linop import LinearOperator
from .observed import Window, extended, unknown_boundary
from .operator_files import load, save
from .psf_stack import Convolution, PixelPSF, PSFStack, PSFWarning
from .pupil import Pupil
from .rkr import RKR
from .symmetric import SymmetricMixture
from .testing import CheckReport, check
from .tiling import tiled

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
    "load",
    "maps",
    "operator_norm",
    "psf",
    "save",
    "stack",
    "tiled",
    "to_dense",
    "unknown_boundary",
]
__dir__ = __all__.copy  # what completion offers
