"""Aberrations of real lenses: PSFs that differ by colour and over the frame, diffraction, shading.

Banks made here go into `blurphys.DualPixel`, `blurphys.LayeredDefocus` and, as grids, into
`blurphys.FieldDefocus`. Places are measured from the centre of the frame in units of the distance of its corners.
"""

from .aberrations import cat_eye_banks, chromatic_bank
from .diffraction import diffraction_sigma, softened
from .measured import measured_banks, stack_bank
from .shading import field_curvature, view_shading, vignetting

__all__ = [
    "cat_eye_banks",
    "chromatic_bank",
    "diffraction_sigma",
    "field_curvature",
    "measured_banks",
    "softened",
    "stack_bank",
    "view_shading",
    "vignetting",
]
__dir__ = __all__.copy  # what completion offers
