"""Checks of PSFs: finite values, sums near one; and the distance to which a kernel reaches."""

from __future__ import annotations

import warnings

from array_api_compat import array_namespace

from ..files.stored import row_blocks
from ..inputs import detach, tracing
from ..notes import NoteWarning
from ..types import Array

__all__ = ["PSFWarning", "check_psfs", "check_unit_sum", "kernel_reach"]


class PSFWarning(NoteWarning):
    """PSFs whose sum makes an image much brighter or darker."""


MAX_SUM = 1000.0
"""Sums above this are camera counts: a PSF of plausible size with a peak of one has a smaller sum."""


MIN_NEGATIVE_SHARE = 0.05
"""Share of negative values above which PSFs are taken to have both signs on purpose."""


def check_psfs(owner: str, name: str, psfs: Array) -> None:
    """Raise ValueError for PSFs (..., h, w) with NaN or inf or in camera counts; warn if sums are far from one.

    PSFs with both signs (eigenvectors of a set of PSFs, derivatives) may have any sum; a few values below zero are the
    noise of a measurement. Parameters that torch optimizes may have any values.
    """
    if tracing() or getattr(psfs, "requires_grad", False):
        return
    values = detach(psfs)
    xp = array_namespace(values)
    if not bool(xp.all(xp.isfinite(values))):
        raise ValueError(f"{owner}: expected finite PSFs, got NaN or inf in {name}")
    total = xp.sum(values, axis=(-2, -1))
    largest = float(xp.max(total))
    if largest == 0.0 or 0.5 <= largest <= 2.0:  # PSFs of zeros are not a mistake of scale
        return
    below = float(xp.sum(xp.where(values < 0, -values, xp.zeros_like(values))))
    if below > MIN_NEGATIVE_SHARE * float(xp.sum(xp.abs(values))):
        return
    sentence = (
        f"{owner}: expected {name} near unit sum, got a sum of {largest:.6g}: a white image would become "
        f"{largest:.6g}; bp.psf.normalize(...) divides by it, 2 * A scales an operator"
    )
    if largest > MAX_SUM:
        raise ValueError(sentence)
    warnings.warn(sentence, PSFWarning, stacklevel=4)


def check_unit_sum(owner: str, psfs: Array) -> None:
    """Raise ValueError unless every PSF (..., h, w) is finite, non-negative and sums to one, to sqrt(eps)."""
    low, high = float("inf"), -float("inf")
    for _, block in row_blocks(detach(psfs), axis=0):
        xp = array_namespace(block)
        total = xp.sum(block, axis=(-2, -1))
        if not bool(xp.all(xp.isfinite(block))) or bool(xp.any(block < 0)):
            raise ValueError(f"{owner}: expected finite, non-negative PSFs, got values that are not")
        low, high = min(low, float(xp.min(total))), max(high, float(xp.max(total)))
        tolerance = float(xp.finfo(block.dtype).eps) ** 0.5
    if max(high - 1.0, 1.0 - low) > tolerance:
        raise ValueError(
            f"{owner}: expected PSFs that sum to one, got sums from {low:.6g} to {high:.6g}; divide each by its sum"
        )


def kernel_reach(support: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pixels that a kernel needs (above, left) and (below, right) of the image; its centre is size // 2."""
    h, w = support
    return (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)
