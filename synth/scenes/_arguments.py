"""Checks of the arguments of procedural scenes."""

from __future__ import annotations

import numpy as np

from blurphys.inputs import require_integer

__all__ = ["check_depths", "start"]

MIN_SIDE = 16


def start(owner: str, height: int, width: int, seed: int) -> np.random.Generator:
    require_integer(owner, "height", height, MIN_SIDE)
    require_integer(owner, "width", width, MIN_SIDE)
    return np.random.Generator(np.random.Philox(require_integer(owner, "seed", seed, 0)))


def check_depths(owner: str, depth_range_m: tuple[float, float], *, ordered: bool = True) -> tuple[float, float]:
    pair = tuple(float(depth) for depth in depth_range_m)
    if len(pair) != 2 or not all(1e-3 <= depth <= 1e6 for depth in pair) or (ordered and pair[0] >= pair[1]):
        order = ", the nearer first" if ordered else ""
        raise ValueError(f"{owner}: expected depth_range_m as two depths in metres{order}, got {depth_range_m}")
    return pair[0], pair[1]
