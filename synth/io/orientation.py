"""EXIF orientation of pictures and of their companions (depth maps, masks, other views).

A companion with an orientation of its own is turned by that. One without is assumed to be stored like the pixels of its
picture and is turned with them, unless only the upright picture has its shape: then it is upright already. A companion
of another size is compared by its proportions.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from blurphys.notes import NoteWarning

__all__ = ["TAG", "Layout", "PictureWarning", "companion_orientation", "from_exif", "similar", "turn_upright"]

TAG = 0x0112
_WORDS = {
    2: "mirrored", 3: "upside down", 4: "mirrored and upside down", 5: "mirrored and on its side", 6: "on its side",
    7: "mirrored and on its side", 8: "on its side",
}  # fmt: skip


class PictureWarning(NoteWarning):
    """Metadata of a picture is missing or not supported; the message names what was assumed."""


class Layout(NamedTuple):
    """Stored size and EXIF orientation of a picture; None where the file has none."""

    size: tuple[int, int]
    orientation: int | None


def from_exif(exif: object) -> int | None:
    """Return the orientation in Pillow's EXIF record, None where it is missing or invalid."""
    value = exif.get(TAG) if hasattr(exif, "get") else None
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else None


def turn_upright(values: np.ndarray, orientation: int | None) -> np.ndarray:
    """Turn an array of shape (H, W) or (H, W, C) by EXIF orientation 1 to 8; None leaves it unchanged."""
    turned = values
    if orientation in (5, 6, 7, 8):
        turned = turned.swapaxes(0, 1)
    # after the transposition: 6 and 7 flip left-right, 7 and 8 up-down
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def similar(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same proportions, to within a pixel of the smaller one."""
    if min(*size, *other) < 1:
        return False
    (h, w), (H, W) = sorted((size, other))
    return abs(h * W / H - w) <= 1 or abs(w * H / W - h) <= 1


def companion_orientation(file: object, own: Layout, picture_file: object, picture: Layout) -> int | None:
    """Return the orientation that a companion is to be turned by.

    Warns
    -----
    PictureWarning
        Its shape fits both the stored and the upright picture, so that the orientation is not certain.
    """
    if own.orientation is not None or picture.orientation in (None, 1):
        return own.orientation
    lying = picture.size
    standing = lying[::-1] if picture.orientation in (5, 6, 7, 8) else lying
    exact = own.size in (lying, standing)
    if not (own.size == lying if exact else similar(own.size, lying)):
        return None
    if own.size == standing if exact else similar(own.size, standing):
        warnings.warn(
            f"{file} has no orientation of its own and was turned with {picture_file}, which is stored "
            f"{_WORDS[picture.orientation]}",
            PictureWarning,
            stacklevel=4,
        )
    return picture.orientation
