"""What is checked before and after matching, each with one sentence: the views, the PSFs, the search, the result."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from blurphys.inputs import require_number, require_same_kind
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ...core.arrays import to_host
from ...core.checks import check_image
from .candidates import FOCUS

__all__ = [
    "NAME",
    "EstimateWarning",
    "check_banks",
    "check_range",
    "check_views",
    "clipped_pixels",
    "exposure_gain",
    "warn_if_at_the_limit",
]

NAME = "dual_pixel_map"

MAX_GAIN = 1.5
"""Views whose exposures differ by more are no pair of one photograph; a factor up to it is corrected."""

MAX_CLIPPED = 0.5
"""Share of clipped pixels above which there is too little left to compare."""

CLIPPED_RUN = 0.002
"""The largest value of an image is taken as clipped if this share of its pixels has it."""

PILE = 0.25
"""Share of the confident pixels at the largest radius above which the search was too narrow."""

Plane = np.ndarray[Any, Any]


class EstimateWarning(UserWarning):
    """An estimate was made, but something about the photographs suggests that it may be wrong."""


def check_views(left: Any, right: Any) -> tuple[Plane, Plane]:
    """Return both views as NumPy arrays (C, H, W) float32."""
    for name, view in (("left", left), ("right", right)):
        check_image(NAME, name, view)
        if view.ndim != 3:
            raise ValueError(f"{NAME}: expected {name} of shape (C, H, W), got {tuple(view.shape)}; one pair at a time")
    require_same_kind(NAME, "right", right, "left", left)
    if tuple(left.shape) != tuple(right.shape):
        raise ValueError(
            f"{NAME}: expected views of one size, got left {tuple(left.shape)} and right {tuple(right.shape)}; "
            f"are both from the same photograph, uncropped?"
        )
    views = [to_host(view).astype(np.float32) for view in (left, right)]
    for name, values in zip(("left", "right"), views, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"{NAME}: {name} must be finite, got NaN or infinity.")
    return views[0], views[1]


def check_banks(pupil: Any) -> None:
    """Raise unless the PSFs are a pupil, a bank or a grid of banks with two views that differ."""
    grid: Sequence[Any] = [[pupil]] if isinstance(pupil, Pupil | PSFBank) else pupil
    if not (isinstance(grid, Sequence) and grid and all(isinstance(row, Sequence) and len(row) for row in grid)):
        raise ValueError(
            f"{NAME}: expected pupil to be a Pupil, a PSFBank or rows of PSFBanks over the frame, got "
            f"{type(pupil).__name__}"
        )
    if len({len(row) for row in grid}) > 1:
        raise ValueError(f"{NAME}: expected rows of banks of one length, got {[len(row) for row in grid]}")
    for bank in (bank for row in grid for bank in row):
        if not isinstance(bank, Pupil | PSFBank):
            raise ValueError(f"{NAME}: expected every item of pupil to be a PSFBank, got {type(bank).__name__}")
        if isinstance(bank, PSFBank) and bank.pupil is None:
            if not {"left", "right"} <= set(bank.views):
                raise ValueError(f'{NAME}: expected banks with the views "left" and "right", got {bank.views}')
            continue
        source = bank if isinstance(bank, Pupil) else bank.pupil
        if source is not None and source.split * (1 - 2 * source.cross_talk) == 0:
            raise ValueError(
                f"{NAME}: expected a pupil whose views differ, got split {source.split:g} and cross-talk "
                f"{source.cross_talk:g}: left and right are then the same, whatever the radius"
            )


def check_range(max_radius: Any, pupil: Any) -> tuple[float, float]:
    """Return the smallest and largest radius of the search, px."""
    if isinstance(max_radius, tuple | list):
        if len(max_radius) != 2:
            raise ValueError(f"{NAME}: expected max_radius as a number or as (lowest, highest), got {max_radius!r}")
        low, high = (require_number(NAME, "max_radius", value, unit="px") for value in max_radius)
        if low >= high:
            raise ValueError(f"{NAME}: expected max_radius as (lowest, highest), got {max_radius!r}")
    else:
        high = require_number(NAME, "max_radius", max_radius, above=FOCUS, unit="px")
        low = -high
    banks = [pupil] if isinstance(pupil, Pupil | PSFBank) else [bank for row in pupil for bank in row]
    for bank in banks:
        if isinstance(bank, PSFBank) and not bank.holds(low, high):
            raise ValueError(
                f"{NAME}: expected radii within the bank, {bank.radii[0]:g} to {bank.radii[-1]:g} px, got a search "
                f"from {low:g} to {high:g} px; narrow max_radius to (lowest, highest)"
            )
    return low, high


def clipped_pixels(views: tuple[Plane, Plane]) -> Plane:
    """Return where a colour of either view is at its largest value, if many pixels are, (H, W)."""
    clipped = np.zeros(views[0].shape[-2:], dtype=bool)
    for view in views:
        for plane in view:
            top = plane >= plane.max()
            if top.mean() > CLIPPED_RUN and plane.max() > plane.min():
                clipped |= top
    if clipped.mean() > MAX_CLIPPED:
        raise ValueError(
            f"{NAME}: expected at most half of the pixels clipped, got {100 * clipped.mean():.0f} %; take a shorter "
            f"exposure"
        )
    return clipped


def exposure_gain(views: tuple[Plane, Plane], valid: Plane) -> Plane:
    """Return the exposure of left over right for each colour, (C,); up to 1.5 it can be corrected."""
    means = [view[:, valid].mean(axis=1, dtype=np.float64) for view in views]
    if min(means[0].min(), means[1].min()) <= 0:
        return np.ones(len(means[0]))  # a dark pair has no ratio; it has no texture either
    gain: Plane = means[0] / means[1]
    worst = float(gain[np.argmax(np.abs(np.log(gain)))])
    if not 1 / MAX_GAIN <= worst <= MAX_GAIN:
        raise ValueError(
            f"{NAME}: expected views of one exposure, got left {worst:.3g} times as bright as right; a ratio up to "
            f"{MAX_GAIN:g} is corrected, this one is no vignetting: is the light linear, the black level subtracted?"
        )
    return gain


def warn_if_at_the_limit(radii: Plane, confidence: Plane, low: float, high: float) -> None:
    """Warn if a large share of the confident pixels has the smallest or largest radius."""
    sure = confidence > 0.5
    if not sure.any():
        return
    edge = 0.05 * (high - low)
    at_end = ((radii >= high - edge) & (high > 0)) | ((radii <= low + edge) & (low < 0))
    share = float(at_end[sure].mean())
    if share > PILE:
        warnings.warn(
            f"{NAME}: {100 * share:.0f} % of the confident pixels have the largest radius of the search, {low:g} to "
            f"{high:g} px; their blur may be larger: raise max_radius",
            EstimateWarning,
            stacklevel=3,
        )
