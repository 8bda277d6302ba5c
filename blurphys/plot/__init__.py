"""Figures of the field, drawn with matplotlib: each function takes `ax` and returns the figure and its axes.

`ax` is one `matplotlib.axes.Axes`, which is divided where a figure has several panels, or a sequence of as many axes as
it has panels; without it there is a new figure of `matplotlib.pyplot`. Images are arrays (C, H, W) or (H, W) of NumPy,
torch or CuPy, linear light, and are shown sRGB-encoded; ``encoded=True`` for values that are encoded already.
"""

from .curves import edge_spread, radial_spectrum, residuals, ritz_values, spectrum
from .images import before_after, error_map
from .maps import coefficient_maps, defocus_map
from .psfs import psf_field, psf_triptych
from .sheets import dataset_sheet

__all__ = [
    "before_after",
    "coefficient_maps",
    "dataset_sheet",
    "defocus_map",
    "edge_spread",
    "error_map",
    "psf_field",
    "psf_triptych",
    "radial_spectrum",
    "residuals",
    "ritz_values",
    "spectrum",
]
__dir__ = __all__.copy  # what completion offers
