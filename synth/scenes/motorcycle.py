"""A real scene that needs no download."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..io.depth import Stereo, to_metres
from .scene import Scene

__all__ = ["MOTORCYCLE", "stereo_motorcycle"]

MOTORCYCLE = Stereo(focal_px=3979.911 / 4, baseline_m=0.193001, doffs=124.343 / 4)
"""Rig of the 741 px wide Motorcycle: that of the 2964 px wide original (3979.911 px, doffs 124.343 px) divided by 4."""


def stereo_motorcycle() -> Scene:
    """Left view of the Middlebury 2014 Motorcycle at 741 x 500, which scikit-image carries in its wheel.

    Returns
    -------
    Scene
        Real photograph, measured depth of 2.1 to 5.0 m, unknown for 7 % of the pixels (infinite disparity).

    Notes
    -----
    depth = 0.193001 m x 994.978 px / (q + 31.086 px), the published calibration divided by the down-sampling factor 4;
    the baseline is a length and stays. Photograph and disparity were averaged over 4 x 4 pixels by scikit-image.

    References
    ----------
    D. Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014.
    """
    from skimage import data

    from blurphys.colour import srgb_to_linear

    load: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]] = data.stereo_motorcycle
    left, _, disparity = load()
    return Scene(
        all_in_focus=np.ascontiguousarray(srgb_to_linear(left.transpose(2, 0, 1) / 255.0), np.float32),
        depth_m=to_metres(disparity, unit="disparity", stereo=MOTORCYCLE),
        name="motorcycle",
        source="Middlebury 2014 Motorcycle, left view, quarter size, from scikit-image; calibration divided by 4",
    )
