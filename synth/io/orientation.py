"""How a camera was held: EXIF orientation, and turning what belongs to a picture with it.

The rule for a companion (a depth map, a mask, another view): one with an orientation of its own is turned by that. One
without is taken to lie as the pixels of its picture are stored, and is turned with them, unless only the upright
picture has its shape: then somebody has turned it already.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from blurphys.notes import NoteWarning

__all__ = ["TAG", "Layout", "PictureWarning", "from_exif", "of_companion", "upright"]

TAG = 0x0112
_WORDS = {
    2: "mirrored", 3: "upside down", 4: "mirrored and upside down", 5: "mirrored and on its side", 6: "on its side",
    7: "mirrored and on its side", 8: "on its side",
}  # fmt: skip


class PictureWarning(NoteWarning):
    """What a picture does not say, or says in a way that is not understood, and what was assumed."""


class Layout(NamedTuple):
    """How a picture lies in its file: its stored size, and its EXIF orientation, None where the file has none."""

    size: tuple[int, int]
    orientation: int | None


def from_exif(exif: object) -> int | None:
    """Return the orientation that Pillow's EXIF record holds, None for none and for numbers that mean nothing."""
    value = exif.get(TAG) if hasattr(exif, "get") else None
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else None


def upright(values: np.ndarray, orientation: int | None) -> np.ndarray:
    """Turn an array of shape (H, W) or (H, W, C) as EXIF orientation 1 to 8 says; None leaves it."""
    turned = values
    if orientation in (5, 6, 7, 8):
        turned = turned.swapaxes(0, 1)
    # after the exchange of axes: 6 and 7 mirror left-right, 7 and 8 up-down
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def of_companion(file: object, own: Layout, picture_file: object, picture: Layout) -> int | None:
    """Return by which orientation a companion is turned.

    Warns
    -----
    PictureWarning
        Its shape is that of the stored and of the upright picture, so that the rule is all there is to go by.
    """
    if own.orientation is not None or picture.orientation in (None, 1):
        return own.orientation
    lying = picture.size
    standing = lying[::-1] if picture.orientation in (5, 6, 7, 8) else lying
    if own.size != lying:
        return None
    if own.size == standing:
        warnings.warn(
            f"{file} has no orientation of its own and was turned with {picture_file}, which is stored "
            f"{_WORDS[picture.orientation]}",
            PictureWarning,
            stacklevel=4,
        )
    return picture.orientation
