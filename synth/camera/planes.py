"""The kinds of planes of a sample, and resampling them at given positions: interpolated, or the nearest pixel."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

__all__ = ["KINDS", "Kind", "Lookup", "check_plane", "kind_of"]

Kind: TypeAlias = Literal["image", "depth", "mask", "radius"]

# The kinds of the planes of a sample; other planes are recognised by their type, or the caller names their kind.
KINDS: dict[str, Kind] = {
    "all_in_focus": "image",
    "combined": "image",
    "left": "image",
    "right": "image",
    "top": "image",
    "bottom": "image",
    "top_left": "image",
    "top_right": "image",
    "bottom_left": "image",
    "bottom_right": "image",
    "alpha": "image",
    "defocus_map": "radius",
    "depth_m": "depth",
    "valid": "mask",
}


class Lookup:
    """Source positions of the new pixels, prepared once for all planes of one size."""

    def __init__(self, r: np.ndarray, source: np.ndarray) -> None:
        self.r = r
        self.shape = r.shape
        H, W = self.shape
        row, column = source[..., 0], source[..., 1]
        # Pixels are squares: the image ends half a pixel beyond the outermost centres.
        self.exposed = (row < -0.5) | (row > H - 0.5) | (column < -0.5) | (column > W - 0.5)
        self.row, self.column = np.clip(row, 0, H - 1), np.clip(column, 0, W - 1)

        top, left = np.floor(self.row).astype(np.intp), np.floor(self.column).astype(np.intp)
        self.down, self.across = self.row - top, self.column - left
        # A pixel hit exactly has no neighbours: what they hold, even NaN, does not matter.
        bottom, right = top + (self.down > 0), left + (self.across > 0)
        self.corners = (top * W + left, top * W + right, bottom * W + left, bottom * W + right)

    def nearest(self, array: np.ndarray) -> np.ndarray:
        row, column = np.floor(self.row + 0.5).astype(np.intp), np.floor(self.column + 0.5).astype(np.intp)
        taken: np.ndarray = array[..., row, column]
        taken[..., self.exposed] = 0
        return taken

    def linear(self, array: np.ndarray) -> np.ndarray:
        warped = np.empty_like(array)
        for index in np.ndindex(array.shape[:-2]):
            plane = array[index].astype(np.float64).ravel()
            upper, upper_right, lower, lower_right = (plane.take(corner) for corner in self.corners)
            upper += self.across * (upper_right - upper)
            lower += self.across * (lower_right - lower)
            warped[index] = upper + self.down * (lower - upper)
        warped[..., self.exposed] = 0
        return warped


def check_plane(owner: str, name: str, array: np.ndarray, *, floats: bool) -> None:
    """ValueError unless `array` has the shape (..., H, W), and floats where `floats`."""
    if not isinstance(array, np.ndarray) or array.ndim < 2 or min(array.shape[-2:]) < 1:
        got = f"shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{owner}: expected {name} to be an array of shape (..., H, W), got {got}")
    if floats and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{owner}: expected {name} in floats, got {array.dtype}; masks and codes take the nearest pixel instead"
        )


def kind_of(owner: str, name: str, array: np.ndarray) -> Kind:
    """Return the kind of a plane from its name, or from its type; ValueError where neither determines it."""
    if name in KINDS:
        return KINDS[name]
    array = np.asarray(array)
    if array.dtype == bool:
        return "mask"
    if array.ndim == 3 and array.shape[0] == 3 and np.issubdtype(array.dtype, np.floating):
        return "image"
    raise ValueError(
        f"{owner}: expected kinds to say what {name!r} is ({', '.join(get_args(Kind))}); {array.dtype} of shape "
        f"{array.shape} does not tell"
    )
