"""Windows of a scene: drawn where enough of its depth is known, and widened by what blurs into them."""

from __future__ import annotations

import math

import numpy as np

from .scene import Scene

__all__ = ["draw_window", "widen"]


def draw_window(
    scene: Scene, size: tuple[int, int], rng: np.random.Generator, min_valid: float
) -> tuple[int, int, int, int]:
    """Draw a window (top, left, height, width) among those of a size in which a share `min_valid` of depths is known.

    ValueError where there is none; at least one depth is known in any case.
    """
    height, width = size
    known = np.pad(scene.valid.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = known[height:, width:] - known[:-height, width:] - known[height:, :-width] + known[:-height, :-width]
    places = np.flatnonzero(inside >= max(1, math.ceil(min_valid * height * width)))
    if not places.size:
        raise ValueError(
            f"scene {scene.name}: at no place of {height} x {width} px is the depth known for {min_valid:.2%} of the "
            f"pixels (at best {inside.max() / (height * width):.2%})"
        )
    top, left = np.unravel_index(places[rng.integers(places.size)], inside.shape)
    return int(top), int(left), height, width


def widen(scene: Scene, window: tuple[int, int, int, int], margin: int) -> tuple[Scene, tuple[int, int]]:
    """Cut out a window with a margin on each side, as far as the scene goes, px.

    Returns
    -------
    Scene
        The window and its margins.
    (int, int)
        Rows above and columns left of the window in it.
    """
    top, left, height, width = window
    H, W = scene.shape
    above, before = min(margin, top), min(margin, left)
    below, after = min(margin, H - top - height), min(margin, W - left - width)
    return scene.window(top - above, left - before, height + above + below, width + before + after), (above, before)
