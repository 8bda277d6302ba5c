"""Windows of whole pixels."""

from __future__ import annotations

__all__ = ["inside"]


def inside(owner: str, window: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a window (top, left, height, width), px; ValueError if it leaves an image of `shape`."""
    top, left, height, width = window
    H, W = shape
    if not (0 <= top and 0 <= left and 0 < height <= H - top and 0 < width <= W - left):
        raise ValueError(
            f"{owner}: expected a window (top, left, height, width) within {H} x {W} px, got {tuple(window)}"
        )
    return slice(top, top + height), slice(left, left + width)
