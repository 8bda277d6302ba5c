"""Sharp crops of photographs: which scenes a split has, how sharp they are where, and random cuts from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.files.publishing import PathLike

from ..datasets._folders import files_in
from ..datasets.pairs import SUFFIXES
from ..generation.splitting import split_scenes
from ..io import read_image
from ..scenes import dead_leaves

__all__ = ["BUILT_IN", "LEAVES", "SPLITS", "Photos", "blur_of_cells", "scenes_of"]

BUILT_IN, LEAVES = "scikit-image", "dead-leaves"
"""Names that stand for photographs of scikit-image and for drawn scenes."""
SPLITS = ("train", "val", "all")

PICTURES = ("astronaut", "chelsea", "coffee", "rocket", "brick", "grass", "gravel")
DRAWN, DRAWN_SIDE = 16, 400
SHARES = {"train": 0.85, "val": 0.15}
PIXELS = 3_000_000
"""Larger photographs are reduced to this many when they are read."""
MEMORY = 2 << 30
"""Bytes of photographs that are kept; beyond it the oldest are read again when needed."""
CELL = 16
TEXTURE = 5e-5
"""Mean square gradient of encoded values per px, after a Gaussian of 1 px, from which a cell has a known sharpness."""
TRIES, PHOTOS = 8, 6
"""Places that are looked at in one photograph, and photographs."""
LARGEST_SCALE = 3.0
SHARP, TOLERATED = 0.6, 0.9
"""Blur (px, after scaling) of the cells of a crop up to which it is taken at once, and if none better is found."""


class SceneFile(NamedTuple):
    """A scene by name; `kind` is "file", "picture" (of scikit-image) or "drawn"."""

    name: str
    kind: str
    location: str


class Photo(NamedTuple):
    """sRGB-encoded values (H, W, 3), uint8, and the blur of each cell of 16 x 16 px; NaN where nothing shows it."""

    values: np.ndarray
    blur: np.ndarray


def scenes_of(sources: PathLike | Sequence[PathLike] | None, split: str) -> tuple[SceneFile, ...]:
    """List the scenes of one split; see `Stream` for the sources.

    Raises
    ------
    FileNotFoundError
        A folder is missing or has no photographs.
    ValueError
        No source, or fewer than two scenes to divide.
    """
    if sources is None:
        sources = (BUILT_IN, LEAVES)
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given or not all(isinstance(source, str | os.PathLike) for source in given):
        raise ValueError(f"Stream: expected sources as folders of photographs, {BUILT_IN!r} or {LEAVES!r}, got {given}")
    found: dict[str, SceneFile] = {}
    for source in given:
        for scene in _listed(source):
            name, number = scene.name, 1
            while name in found:  # two folders of one name
                number += 1
                name = f"{scene.name} ({number})"
            found[name] = scene._replace(name=name)
    if split == "all":
        return tuple(found.values())
    if len(found) < 2:
        raise ValueError(f"Stream: expected at least two scenes to divide, got {', '.join(found)}; use split='all'")
    names = split_scenes(list(found), SHARES, seed=0)[split]
    return tuple(found[str(name)] for name in names)


def _listed(source: PathLike) -> list[SceneFile]:
    text = os.fspath(source)
    if text == BUILT_IN:
        return [SceneFile(f"{BUILT_IN}/{name}", "picture", name) for name in PICTURES]
    if text == LEAVES:
        return [SceneFile(f"{LEAVES}/{seed}", "drawn", str(seed)) for seed in range(DRAWN)]
    folder = Path(text).absolute()
    if folder.is_file():
        raise ValueError(f"Stream: expected a folder of photographs, got the file {text}")
    return [
        SceneFile(f"{folder.name}/{file.name}", "file", str(file))
        for file in files_in("Stream", folder, suffixes=SUFFIXES)
    ]


class Photos:
    """Random sharp crops of scenes, in linear light.

    Parameters
    ----------
    scenes : sequence of SceneFile

    Notes
    -----
    Photographs are read when first needed, once in each process. What a crop shows depends on the generator alone.
    """

    def __init__(self, scenes: Sequence[SceneFile]) -> None:
        self.scenes = tuple(scenes)
        self._kept: dict[int, Photo] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def crop(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Return a random crop (3, h, w), float32 linear light; scaled down, flipped and turned at random.

        Raises
        ------
        ValueError
            No photograph is as large as the crop, or one cannot be read.
        """
        turns, flip, anything = int(rng.integers(4)), bool(rng.integers(2)), rng.random() < 0.06
        h, w = shape if turns % 2 == 0 else shape[::-1]
        best: tuple[float, int, tuple[float, float, float]] | None = None
        looked = 0
        for number in rng.permutation(len(self.scenes)).tolist():
            photo = self._photo(number)
            H, W = photo.values.shape[:2]
            most = min(H / h, W / w, LARGEST_SCALE)
            draws = rng.random((TRIES, 4))
            if most < 1:
                continue
            looked += 1
            for whole, size, down, across in draws:
                scale = 1.0 if whole < 0.25 else float(most**size)
                place = (scale, down * (H - h * scale), across * (W - w * scale))
                blur, textured = _blur_in(photo.blur, place, (h, w))
                score = blur / scale if textured >= (0.0 if anything else 0.2) else 9.0 - textured
                if best is None or score < best[0]:
                    best = score, number, place
                if score <= SHARP:
                    break
            if best is not None and best[0] <= TOLERATED or looked == PHOTOS:
                break
        if best is None:
            raise ValueError(
                f"Stream: expected photographs of at least {h} x {w} px (crop, and the reach of the blur around it), "
                f"found none among {len(self.scenes)}"
            )
        light = _cut(self._photo(best[1]).values, best[2], (h, w))
        light = np.rot90(light, turns, axes=(1, 2))
        return np.ascontiguousarray(light[..., ::-1] if flip else light)

    def _photo(self, number: int) -> Photo:
        if number not in self._kept:
            values = _values(self.scenes[number])
            kept = self._kept
            while kept and sum(photo.values.nbytes for photo in kept.values()) + values.nbytes > MEMORY:
                del kept[next(iter(kept))]
            kept[number] = Photo(values, blur_of_cells(values))
        return self._kept[number]


def _values(scene: SceneFile) -> np.ndarray:
    """Return the sRGB-encoded values of a scene: (H, W, 3), uint8."""
    if scene.kind == "picture":
        from skimage import data

        values: np.ndarray = np.asarray(getattr(data, scene.location)())
        return np.ascontiguousarray(np.stack([values] * 3, -1) if values.ndim == 2 else values[..., :3])
    if scene.kind == "drawn":
        seed = int(scene.location)
        drawn = dead_leaves(DRAWN_SIDE, DRAWN_SIDE, layers=3 + seed % 4, seed=seed, exponent=2.0 + 0.25 * (seed % 5))
        encoded = linear_to_srgb(np.clip(drawn.all_in_focus, 0, 1))
    else:
        encoded = np.clip(read_image(scene.location, linear=False), 0, 1)
    values = np.rint(255 * encoded).astype(np.uint8).transpose(1, 2, 0)
    return _reduced(np.ascontiguousarray(values))


def _reduced(values: np.ndarray) -> np.ndarray:
    if (pixels := values.shape[0] * values.shape[1]) <= PIXELS:
        return values
    from PIL import Image

    size = [max(1, round(side * (PIXELS / pixels) ** 0.5)) for side in values.shape[1::-1]]
    return np.asarray(Image.fromarray(values).resize((size[0], size[1]), Image.Resampling.LANCZOS))


def blur_of_cells(values: np.ndarray) -> np.ndarray:
    """Estimate the blur of each cell of 16 x 16 px.

    Parameters
    ----------
    values : ndarray of uint8, shape (H, W, 3)

    Returns
    -------
    ndarray of float32
        Standard deviation, px, one for each whole cell; NaN where there is no texture.

    Notes
    -----
    A Gaussian of 1 px lowers the integral of the squared gradient across an edge of blur s by sqrt(1 + s^2) / s: the
    ratio of both over a cell, less what the noise adds, gives s.
    """
    from scipy.ndimage import gaussian_filter

    grey = values.astype(np.float32).mean(axis=2) / 255
    smooth = gaussian_filter(grey, 1.0)
    noise = np.percentile(_cells((grey - smooth) ** 2), 5)
    # Neighbouring differences of white noise have 4 times (both directions) its variance; the smoothed ones 1/20 of it.
    before = np.maximum(_cells(_energy(grey)) - 4 * noise, 0)
    after = np.maximum(_cells(_energy(smooth)) - noise / 5, 0)
    ratio = np.maximum(before / np.maximum(after, 1e-9), 1.0001)
    return np.where(after > TEXTURE + noise, 1 / np.sqrt(ratio**2 - 1), np.nan).astype(np.float32)


def _energy(plane: np.ndarray) -> np.ndarray:
    energy = np.zeros_like(plane)
    energy[:-1] += np.diff(plane, axis=0) ** 2
    energy[:, :-1] += np.diff(plane, axis=1) ** 2
    return energy


def _cells(plane: np.ndarray) -> np.ndarray:
    rows, columns = (side // CELL for side in plane.shape)
    cells: np.ndarray = plane[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL).mean(axis=(1, 3))
    return cells


def _blur_in(blur: np.ndarray, place: tuple[float, float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Return the blur (px of the photograph) that a quarter of the textured cells exceed, and the share of those."""
    scale, top, left = place
    rows = slice(round(top / CELL), max(round((top + scale * shape[0]) / CELL), round(top / CELL) + 1))
    columns = slice(round(left / CELL), max(round((left + scale * shape[1]) / CELL), round(left / CELL) + 1))
    cells = blur[rows, columns]
    known = cells[~np.isnan(cells)]
    if not known.size:
        return 0.0, 0.0
    return float(
        np.partition(known, int(0.75 * (known.size - 1)))[int(0.75 * (known.size - 1))]
    ), known.size / cells.size


def _cut(values: np.ndarray, place: tuple[float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """Cut a window, scale it down and decode it: (3, h, w), float32."""
    (scale, top, left), (h, w) = place, shape
    if scale == 1.0:
        window = values[int(top) : int(top) + h, int(left) : int(left) + w]
    else:
        from PIL import Image

        first, begin = int(top), int(left)
        part = values[first : int(np.ceil(top + scale * h)) + 1, begin : int(np.ceil(left + scale * w)) + 1]
        low, before = top - first, left - begin
        box = (before, low, min(before + scale * w, part.shape[1]), min(low + scale * h, part.shape[0]))
        scaled = Image.fromarray(np.ascontiguousarray(part)).resize((w, h), Image.Resampling.HAMMING, box=box)
        window = np.asarray(scaled)
    return np.ascontiguousarray(_decoded()[window].transpose(2, 0, 1))


@lru_cache(maxsize=1)
def _decoded() -> np.ndarray:
    table: np.ndarray = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
    return table
