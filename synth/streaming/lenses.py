"""Random lenses: pupils of many kinds, as banks of PSFs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import blurphys as bp

__all__ = ["EXTENT", "Lenses", "read_psfs"]

POOL, FEWEST = 128, 16
"""Lenses of a pool with radii up to 8 px; fewer with larger ones, whose PSFs take more memory."""
EXTENT = 1.6
"""No pupil reaches farther, in radii."""
FLAT = 1.4
"""Half-width of the grids of Gaussian and measured pupils, in radii."""
KINDS = ("disk", "cat_eye", "polygon", "butterworth", "gaussian")
WEIGHTS = (0.25, 0.15, 0.25, 0.2, 0.15)
MEASURED = 0.3
"""Share of measured pupils, where there are any."""


class Lenses:
    """A pool of banks, each a function of (seed, its number).

    Every pupil is scaled to the second moments of the unit disk, so that a radius says how wide a PSF is, whatever its
    shape: twice its standard deviation along an axis, without core and pixel.

    Parameters
    ----------
    seed : int
    max_radius : float
        px.
    core : (float, float)
        Range of the standard deviation of the core, px.
    views : sequence of str
    psfs : sequence of ndarray (n, n)
        Measured pupils.
    """

    def __init__(
        self,
        seed: int,
        *,
        max_radius: float,
        core: tuple[float, float],
        views: Sequence[str],
        psfs: Sequence[np.ndarray] = (),
    ) -> None:
        self.seed, self.max_radius, self.core, self.views = seed, max_radius, core, tuple(views)
        self.psfs = tuple(psfs)
        self._kept: dict[int, bp.PSFBank] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    @property
    def reach(self) -> int:
        """How far a PSF reaches from its centre, px."""
        return int(np.ceil(EXTENT * self.max_radius + 4 * self.core[1]))

    def draw(self, rng: np.random.Generator) -> bp.PSFBank:
        """Return one of the pool."""
        return self.bank(int(rng.integers(max(FEWEST, min(POOL, int(POOL * (8 / self.max_radius) ** 2))))))

    def bank(self, number: int) -> bp.PSFBank:
        """Return a bank by its number."""
        if number not in self._kept:
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(3, number)))
            bank = bp.PSFBank(
                _scaled(self._pupil(rng)), max_radius=self.max_radius, step=max(0.5, self.max_radius / 32)
            )
            bank.stacked(self.views, np.zeros(1, np.float32))
            self._kept[number] = bank
        return self._kept[number]

    def _pupil(self, rng: np.random.Generator) -> bp.Pupil:
        core = float(rng.uniform(*self.core))
        split, cross_talk, aside = float(rng.uniform(0.2, 0.5)), float(rng.uniform(0, 0.2)), rng.uniform(0.15, 0.5)
        kind, turn = rng.choice(KINDS, p=WEIGHTS), float(rng.uniform(0, 360))
        sensor: dict[str, Any] = {"split": split, "cross_talk": cross_talk, "core": core}
        cat_eye = (float(aside * np.cos(np.radians(turn))), float(aside * np.sin(np.radians(turn))))
        clipped: dict[str, Any] = {"cat_eye": cat_eye} if rng.random() < 0.2 else {}
        if self.psfs and rng.random() < MEASURED:
            grid = self.psfs[int(rng.integers(len(self.psfs)))]
            return _measured(grid, int(rng.integers(4)), sensor)
        if kind == "cat_eye":
            return bp.Pupil.disk(cat_eye=cat_eye, **sensor)
        if kind == "polygon":
            return bp.Pupil.polygon(int(rng.integers(5, 10)), rotation=turn, **clipped, **sensor)
        if kind == "butterworth":
            cutoff, floor = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.05, 0.6))
            order, smoothing = int(rng.integers(2, 5)), float(rng.uniform(0.02, 0.12))
            return bp.Pupil.butterworth(order, cutoff, floor, smoothing, **clipped, **sensor)
        if kind == "gaussian":
            line = (np.arange(96) + 0.5 - 48) / 48 * FLAT
            exponent = rng.uniform(2.0, 4.0)  # 2: a Gaussian with the second moments of a disk; above it flatter
            grid = np.exp(-2 * np.hypot(line[:, None], line) ** exponent)
            return bp.Pupil.measured(grid, extent=FLAT, **sensor)
        return bp.Pupil.disk(**sensor)


def _scaled(pupil: bp.Pupil) -> bp.Pupil:
    """Scale a pupil to the second moments of the unit disk about its centroid, 1/4 along an axis."""
    light = pupil.intensity
    line = (np.arange(len(light)) + 0.5) * (2 * pupil.extent / len(light)) - pupil.extent
    spread = sum(float(side @ line**2) - float(side @ line) ** 2 for side in (light.sum(0), light.sum(1))) / 2
    return replace(pupil, extent=min(pupil.extent / (2 * spread**0.5), EXTENT))


def _measured(grid: np.ndarray, turns: int, sensor: dict[str, Any]) -> bp.Pupil:
    """Make a pupil of a PSF, centred, with the second moments of the unit disk."""
    light = np.rot90(np.maximum(np.asarray(grid, np.float64), 0), turns)
    light = light / light.sum()
    y, x = (np.arange(side, dtype=np.float64) for side in light.shape)
    row, column = float((light.sum(1) * y).sum()), float((light.sum(0) * x).sum())
    spread = ((light.sum(1) * (y - row) ** 2).sum() + (light.sum(0) * (x - column) ** 2).sum()) / 2
    half = max(2 * np.sqrt(spread) * FLAT, 1.0)  # a disk of radius 2 s has the standard deviation s along an axis
    from scipy.ndimage import map_coordinates

    line = (np.arange(128) + 0.5 - 64) / 64 * half
    cells = map_coordinates(light, np.broadcast_arrays(row + line[:, None], column + line), order=1)
    return bp.Pupil.measured(np.maximum(cells, 0), extent=FLAT, **sensor)


def read_psfs(psfs: Any) -> tuple[np.ndarray, ...]:
    """Return measured PSFs, from arrays or from an ``.npy`` or ``.npz`` file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It holds no PSFs (n, h, w) or (h, w), or some that are negative, not finite or empty.
    """
    import os

    if psfs is None:
        return ()
    arrays = [psfs]
    if isinstance(psfs, str | os.PathLike):
        if not os.path.isfile(psfs):
            raise FileNotFoundError(f"Stream: there is no file of PSFs {os.fspath(psfs)}")
        try:
            read = np.load(psfs, allow_pickle=False)
        except (ValueError, OSError) as error:
            raise ValueError(f"Stream: {os.fspath(psfs)} is no .npy or .npz file of PSFs ({error})") from None
        arrays = [read] if isinstance(read, np.ndarray) else [read[name] for name in sorted(read.files)]
    found: list[np.ndarray] = []
    for array in arrays:
        values = np.asarray(array)
        if values.ndim < 2 or min(values.shape) < 1 or not np.issubdtype(values.dtype, np.number):
            raise ValueError(f"Stream: expected psfs of shape (n, h, w) or (h, w), got {values.shape} {values.dtype}")
        found.extend(values.astype(np.float64).reshape(-1, *values.shape[-2:]))
    if not all(np.isfinite(psf).all() and psf.min() >= 0 and psf.sum() > 0 for psf in found):
        raise ValueError("Stream: expected psfs that are finite, not negative and have a positive sum")
    return tuple(found)
