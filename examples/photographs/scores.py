"""What is measured of a result: against a sharp photograph, the photograph itself, true radii or a mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from photographs.cases import Case
from photographs.methods import Found
from scipy.ndimage import minimum_filter

import blurphys as bp
from blurphys.colour import linear_to_srgb
from nets.classical.quality import psnr, ssim
from nets.evaluation.blur_maps import map_scores, mask_scores
from nets.evaluation.matching import matched_scores

__all__ = ["encoded", "reblurred", "score"]

SAME = 99.0
"""What is given for the PSNR of equal pictures, dB."""


def encoded(image: np.ndarray) -> np.ndarray:
    """Return linear light as sRGB values, clipped to [0, 1] and not rounded, float64."""
    return np.asarray(linear_to_srgb(np.clip(image.astype(np.float64), 0.0, 1.0)))


def score(case: Case, found: Found) -> dict[str, float]:
    """Return the figures that have a meaning for a case.

    ``psnr`` and ``ssim`` towards the sharp photograph, after a gain and an offset for each colour; of a photograph that
    is sharp already, towards itself, without. ``reblurred`` (dB): the result, blurred with the depth camera's radii,
    towards the photograph. ``changed`` (dB): the result towards the photograph. ``radius``: that of the disk that was
    used. ``map_radius``: the median of the map where all is at one distance. ``constant_error``: the least median error
    of any constant map. Of maps what `map_scores` and `mask_scores` return.
    """
    figures: dict[str, Any] = {}
    if found.radius is not None:
        figures["radius"] = found.radius
    if found.image is not None and case.reference is not None:
        figures |= matched_scores(encoded(found.image), encoded(case.reference), border=case.border)
    elif found.image is not None and case.sharp:
        pair = {"image": found.image, "truth": case.photo, "encoding": "srgb", "clip": True}
        figures |= {"psnr": psnr(**pair), "ssim": ssim(**pair)}
    elif found.image is not None:
        figures["changed"] = psnr(found.image, case.photo, encoding="srgb", clip=True)
        if case.true_map is not None:
            figures["reblurred"] = reblurred(found.image, case)
    if case.true_map is not None:
        figures["constant_error"] = map_scores(case.true_map, case.true_map, known=case.known)["constant_error"]
    if found.defocus_map is not None:
        figures |= _of_map(np.asarray(found.defocus_map, np.float64), case)
    return {
        key: min(float(value), SAME) if key in ("psnr", "changed") else float(value) for key, value in figures.items()
    }


def _of_map(radii: np.ndarray, case: Case) -> dict[str, float]:
    figures: dict[str, float] = {}
    if case.true_map is not None:
        figures |= map_scores(radii, case.true_map, known=case.known)
    if case.mask is not None:
        figures |= mask_scores(radii, case.mask)
    if case.flat_radius is not None:
        rows, cols = (slice(case.border, n - case.border) for n in radii.shape)
        figures["map_radius"] = float(np.median(np.abs(radii[rows, cols])))
    return figures


def reblurred(image: np.ndarray, case: Case) -> float:
    """Return how well a result, blurred by the true radii, explains the photograph: PSNR in sRGB, dB.

    Pixels whose PSF reaches one of unknown depth do not count.
    """
    radii = case.true_map.astype(np.float64)
    largest = float(np.abs(radii).max())
    A = bp.DefocusBlur(radii, bank=bp.PSFBank(bp.Pupil.disk(), max_radius=max(largest, 1.0), step=0.25))
    blurred = A(image.astype(np.float64))
    near = minimum_filter(case.known, 2 * math.ceil(largest) + 1, mode="constant")
    error = (encoded(blurred) - encoded(case.photo))[:, near]
    return float(-10 * np.log10(np.mean(error**2)))
