"""Helpers of the tests that tile: arrays on disk, and agreement to rounding."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.strategies import EPS, to_numpy


def agree(found, expected, dtype: str) -> bool:
    found, expected = to_numpy(found), to_numpy(expected)
    return np.abs(found - expected).max() <= 8.0 * EPS[dtype] * max(1.0, np.abs(expected).max())


def kept(array: np.ndarray, place: Path, kind: str, name: str, mode: str = "r", chunks=None):
    """Put an array on disk and open it: memory-mapped or an HDF5 dataset."""
    if kind == "memmap":
        np.save(place / f"{name}.npy", array)
        return np.load(place / f"{name}.npy", mmap_mode=mode)
    with h5py.File(place / f"{name}.h5", "w") as file:
        file.create_dataset("values", data=array, chunks=chunks)
    return h5py.File(place / f"{name}.h5", mode)["values"]


def maps_on_disk(A, place: Path, kind: str, chunks=None):
    maps = getattr(A, A._maps)
    return A.replace(**{A._maps: kept(np.array(maps), place, kind, A._maps, chunks=chunks)})
