"""The ratio of the two views' exposures over the frame: the halves of a pixel see the lens from different angles."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["gain_field"]

BLOCK = 16
"""Side of the blocks whose means are compared, px: several times the largest shift between the views."""

DEGREE = 3
"""Degree of the polynomial in row and column that the logarithm of the ratio is taken to be."""

ROUNDS = 5
"""Repetitions of the fit, each with less weight on the blocks that the last one missed."""

Plane = np.ndarray[Any, Any]


def gain_field(views: tuple[Plane, Plane], valid: Plane, gain: Plane) -> Plane:
    """Return the exposure of left over right at each pixel, (C, H, W).

    Parameters
    ----------
    views : pair of ndarray of shape (C, H, W)
    valid : ndarray of bool of shape (H, W)
        Pixels that count.
    gain : ndarray of shape (C,)
        The mean ratio of each colour.

    Notes
    -----
    The mean ratio times the exponential of a cubic polynomial, fitted to the ratios of block means of all colours by
    iteratively reweighted least squares: vignetting is smooth, what parallax moves across the edge of a block is not.
    """
    rows, cols = (n // BLOCK for n in valid.shape)
    degree = min(DEGREE, rows - 1, cols - 1)
    flat = np.broadcast_to(gain[:, None, None], views[0].shape)
    if degree < 1:
        return flat
    weight = _blocks(valid[None].astype(np.float64))[0]
    left, right = (_blocks(view * valid).mean(axis=0) for view in (views[0] / gain[:, None, None], views[1]))
    used = (weight > 0.5) & (left > 0) & (right > 0)
    basis = [
        (x, y) for x in range(degree + 1) for y in range(degree + 1 - x)
    ]  # fmt: skip
    vertical, horizontal = (np.linspace(-1, 1, n * BLOCK).reshape(n, BLOCK).mean(axis=1) for n in (rows, cols))
    design = np.stack([np.outer(vertical**y, horizontal**x)[used] for x, y in basis], axis=1)
    if len(design) < 4 * len(basis):
        return flat
    ratio = np.log(left[used] / right[used])
    importance = np.sqrt(left[used])
    found = np.zeros(len(basis))
    for _ in range(ROUNDS):
        error = np.abs(design @ found - ratio)
        robust = importance / np.sqrt(np.maximum(error, 0.2 * np.median(error) + 1e-6))
        found = np.linalg.lstsq(design * robust[:, None], ratio * robust, rcond=None)[0]
    down, right_wards = (
        (np.arange(n) - (count * BLOCK - 1) / 2) / ((count * BLOCK - 1) / 2)
        for n, count in zip(valid.shape, (rows, cols), strict=True)
    )
    surface = np.zeros(valid.shape)
    for (x, y), factor in zip(basis, found, strict=True):
        surface += factor * np.outer(down**y, right_wards**x)
    return flat * np.exp(surface)


def _blocks(planes: Plane) -> Plane:
    """Return the means of whole blocks, (planes, rows // BLOCK, cols // BLOCK)."""
    count, rows, cols = planes.shape
    rows, cols = rows // BLOCK, cols // BLOCK
    blocks = planes[:, : rows * BLOCK, : cols * BLOCK].reshape(count, rows, BLOCK, cols, BLOCK)
    means: Plane = blocks.mean(axis=(2, 4), dtype=np.float64)
    return means
