"""Affine maps between the frames of two photographs, measured from their centres, and resampling by cubic splines."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import Image

__all__ = ["inverse", "positions", "warp"]


def positions(shape: tuple[int, ...], matrix: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return the positions (row, col) that a map (2, 3) assigns to every pixel of a frame (..., H, W)."""
    rows, cols = shape[-2:]
    i, j = np.arange(rows)[:, None] - (rows - 1) / 2, np.arange(cols) - (cols - 1) / 2
    row = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] + (rows - 1) / 2
    col = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] + (cols - 1) / 2
    return row, col


def inverse(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the inverse of an affine map (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -(linear @ matrix[:, 2])[:, None]], axis=1)


def warp(image: Image, matrix: np.ndarray[Any, Any], *, order: int = 3) -> Image:
    """Resample an image (..., H, W) at the positions that `matrix` assigns to its pixels; edges are repeated."""
    from scipy.ndimage import affine_transform

    if np.array_equal(matrix, np.eye(2, 3)):
        return image
    centre = (np.array(image.shape[-2:]) - 1) / 2
    start = matrix[:, 2] + centre - matrix[:, :2] @ centre
    planes = image.reshape(-1, *image.shape[-2:])
    moved = [affine_transform(plane, matrix[:, :2], start, order=order, mode="nearest") for plane in planes]
    return np.stack(moved).reshape(image.shape)
