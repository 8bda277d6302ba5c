"""Checks of point spread functions: finite, near unit sum, and how far they reach."""

from __future__ import annotations

import warnings

from array_api_compat import array_namespace

from ..files.stored import row_blocks
from ..inputs import detached, tracing
from ..notes import NoteWarning
from ..types import Array

__all__ = ["PSFWarning", "check_psfs", "check_unit_sum", "kernel_reach"]


class PSFWarning(NoteWarning):
    """PSFs that make an image much brighter or darker."""


COUNTS = 1000.0
"""A sum that no PSF of a plausible size has whose peak is one: these are counts of a camera."""


SIGNED = 0.05
"""Share of negative values from which on PSFs are meant to have both signs."""


def check_psfs(owner: str, name: str, psfs: Array) -> None:
    """Raise ValueError for PSFs (..., h, w) with NaN or inf or in counts; warn of those far from unit sum.

    PSFs that are negative in part (eigenvectors of a set of PSFs, derivatives) have any sum; a few values below zero
    are the noise of a recording. Those that torch learns have any value.
    """
    if tracing() or getattr(psfs, "requires_grad", False):
        return
    values = detached(psfs)
    xp = array_namespace(values)
    if not bool(xp.all(xp.isfinite(values))):
        raise ValueError(f"{owner}: expected finite PSFs, got NaN or inf in {name}")
    total = xp.sum(values, axis=(-2, -1))
    largest = float(xp.max(total))
    if largest == 0.0 or 0.5 <= largest <= 2.0:  # none at all is no slip of scale
        return
    below = float(xp.sum(xp.where(values < 0, -values, xp.zeros_like(values))))
    if below > SIGNED * float(xp.sum(xp.abs(values))):
        return
    sentence = (
        f"{owner}: expected {name} near unit sum, got a sum of {largest:.6g}: a white image would become "
        f"{largest:.6g}; bp.psf.normalize(...) divides by it, a scale of the whole is 2 * A"
    )
    if largest > COUNTS:
        raise ValueError(sentence)
    warnings.warn(sentence, PSFWarning, stacklevel=4)


def check_unit_sum(owner: str, psfs: Array) -> None:
    """Raise ValueError unless every PSF (..., h, w) is finite, non-negative and sums to one, to sqrt(eps)."""
    low, high = float("inf"), -float("inf")
    for _, block in row_blocks(detached(psfs), axis=0):
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
    """Pixels a kernel of this support needs (above, left) and (below, right) of the image; the centre is size // 2."""
    h, w = support
    return (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)
