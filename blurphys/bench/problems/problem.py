"""One operator of the benchmark with its contestants, and functions that make inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contestant import Contestant
from .work import Work

__all__ = [
    "CHANNELS",
    "OURS",
    "REFERENCES",
    "MIN_SIDE",
    "Entry",
    "Problem",
    "image",
    "simplex",
    "tensors",
]

OURS = ("ours: NumPy", "ours: torch")
REFERENCES = ("ours: reference, NumPy", "ours: reference, torch")
CHANNELS, MIN_SIDE = 3, 48
Entry = tuple[str, Callable[[], Contestant]]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One operator of the benchmark.

    Attributes
    ----------
    name, title : str
    shape : (int, int)
        H, W.
    levels : int
        K or J, or for the dual pixel the number of PSFs: full images that a dense formulation holds.
    image_bytes, map_bytes : int
        Size of one image (C, H, W), and of the maps, which is also that of their gradient.
    work : dict of str to Work
        What must be moved and computed, for each way.
    entries : tuple of (name, callable)
        The contestants; the callable makes one and raises ImportError if its package is missing. The first is ours,
        with which the others are compared.
    device : str
        "cpu" or "cuda".
    """

    name: str
    title: str
    shape: tuple[int, int]
    levels: int
    image_bytes: int
    map_bytes: int
    work: dict[str, Work]
    entries: tuple[Entry, ...]
    device: str = "cpu"

    def without_inputs(self) -> Problem:
        """Return its description only, so that images and maps can be freed."""
        return replace(self, entries=())


def tensors(device: str, *arrays: Any) -> list[Any]:
    """Return torch tensors, on the CPU without a copy."""
    import torch

    return [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]


def simplex(rng: np.random.Generator, count: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return random maps (count, H, W) that are positive and sum to one."""
    maps = rng.random((count, *shape), dtype=np.float32)
    maps += np.float32(0.01)
    maps /= maps.sum(axis=0)
    return maps


def image(rng: np.random.Generator, channels: int, shape: tuple[int, int], shift: float = 0.0) -> NDArray[np.float32]:
    """Return uniform noise (channels, H, W) in [0, 1] + shift."""
    values = rng.random((channels, *shape), dtype=np.float32)
    values += np.float32(shift)
    return values
