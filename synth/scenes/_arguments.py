"""Sizes, numbers and depths as the drawn scenes are given them."""

from __future__ import annotations

import operator

import numpy as np

__all__ = ["count_of", "depths_of", "start"]

_SMALLEST = 16


def start(owner: str, height: int, width: int, seed: int) -> np.random.Generator:
    count_of(owner, "height", height, _SMALLEST)
    count_of(owner, "width", width, _SMALLEST)
    return np.random.Generator(np.random.Philox(count_of(owner, "seed", seed, 0)))


def count_of(owner: str, name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{owner}: expected {name} as a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{owner}: expected {name} of at least {least}, got {number}")
    return number


def depths_of(owner: str, depth_range_m: tuple[float, float], *, ordered: bool = True) -> tuple[float, float]:
    pair = tuple(float(depth) for depth in depth_range_m)
    if len(pair) != 2 or not all(1e-3 <= depth <= 1e6 for depth in pair) or (ordered and pair[0] >= pair[1]):
        order = ", the nearer first" if ordered else ""
        raise ValueError(f"{owner}: expected depth_range_m as two depths in metres{order}, got {depth_range_m}")
    return pair[0], pair[1]
