"""Samples for training: a torch-style map dataset with random crops and flips."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from blurphys.files.publishing import PathLike
from blurphys.inputs import require_integer
from blurphys.optics.pupil import DIRECTIONS

from .folder import FolderReader, open
from .index import row_of
from .reader import Reader

__all__ = ["Dataset"]

_INHERITED: list[Reader | FolderReader] = []
"""Files inherited through a fork, which belong to the parent process: neither used nor closed here."""


class Dataset:
    """Samples of a dataset for training: a torch-style map dataset.

    ::

        data = synth.Dataset("data", crop=256, augment=True, seed=0)
        for epoch in range(100):
            for batch in DataLoader(data, batch_size=8, shuffle=True, num_workers=4):
                ...  # other crops and mirror images in every epoch

    Parameters
    ----------
    path : path
        A file or folder that `synth.generate` wrote.
    crop : int or (int, int), optional
        Height and width of the part to return, px. The centre without `augment`, a random position with it.
    augment : bool
        Random position of the crop, random flips left-right and up-down. A left-right flip exchanges the left and right
        views, an up-down flip top and bottom; with a pupil rotated by a multiple of 90 degrees, the views that lie
        opposite. A flip that turns a stored view into one that is not stored (other angles of the pupil) is left out.
    seed : int
        Root of the augmentation, at least 0; see Notes.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    IndexError
        On reading: no such sample.
    TypeError
        A crop that is neither a whole number nor two; on reading: not a whole number.
    ValueError
        The file is not a dataset, the crop is larger than its samples, or a negative seed.

    Notes
    -----
    Items are dictionaries of NumPy arrays, which a ``torch.utils.data.DataLoader`` turns into tensors:
    ``all_in_focus``, each view that is stored (``left``, ``right``, ``combined``), ``defocus_map``, ``depth_m``,
    ``valid`` and, of drawn scenes, ``alpha``: what ``synth.open(path).names`` lists. Images are as they are stored, see
    `attrs_of`. The file is opened when first needed and once in each process, so instances may be pickled and cross a
    fork or spawn; crops read only the chunks they touch.

    After `set_epoch`, the augmentation of a sample depends on (seed, epoch, index) and nothing else. Without it every
    pass is augmented differently: in a ``DataLoader`` by torch's random numbers, in the main process or its workers
    (persistent ones too), so that ``torch.manual_seed`` (or the loader's ``generator``, with workers) and `seed`
    reproduce a run; otherwise the n-th access to a sample, counted from 0, is its epoch n.
    """

    def __init__(
        self, path: PathLike, *, crop: int | tuple[int, int] | None = None, augment: bool = False, seed: int = 0
    ):
        self.path = Path(path).absolute()
        self.augment, self.seed = augment, _whole("seed", seed)
        with open(self.path) as reader:
            self._length, (H, W), self._names = len(reader), reader.shape, reader.names
        self.crop = (H, W) if crop is None else _size(crop)
        if not (0 < self.crop[0] <= H and 0 < self.crop[1] <= W):
            raise ValueError(f"Dataset: expected a crop of at most {H} x {W} px, got {self.crop[0]} x {self.crop[1]}")
        self._spare = (H - self.crop[0], W - self.crop[1])
        self._opened: tuple[int, Reader | FolderReader] | None = None
        self._epoch = _Epoch()
        self._visits: dict[int, int] = {}

    @property
    def epoch(self) -> int | None:
        """The epoch that `set_epoch` chose last; None before."""
        return self._epoch.value

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch for the augmentation of the following items.

        Parameters
        ----------
        epoch : int
            At least 0. The same epoch gives the same crops and flips, whatever the number of workers, so that an
            interrupted training resumes exactly.

        Raises
        ------
        ValueError
            A negative number, or not a whole one.

        Notes
        -----
        Call it before each epoch, before the loop over the loader begins. It also reaches workers that are kept alive
        between epochs (``persistent_workers=True``), through shared memory. Without any call every epoch is augmented
        differently.
        """
        self._epoch.value = _whole("epoch", epoch)

    def attrs_of(self, index: int) -> dict[str, Any]:
        """Attributes of the file that holds sample `index`; ``["transfer_function"]`` is "linear" or a tone curve."""
        return self._reader().attrs_of(row_of("Dataset", index, len(self)))

    def configuration_of(self, index: int) -> dict[str, Any]:
        """How sample `index` was made: camera, scenes, arguments."""
        return self._reader().configuration_of(row_of("Dataset", index, len(self)))

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_epoch": copy(self._epoch), "_visits": dict(self._visits)}

    def _reader(self) -> Reader | FolderReader:
        if self._opened is None or self._opened[0] != os.getpid():
            if self._opened is not None:
                _INHERITED.append(self._opened[1])
            self._opened = (os.getpid(), open(self.path))
        return self._opened[1]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._item(row_of("Dataset", index, len(self)), loading=_in_a_worker())

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        """Read a batch; a ``DataLoader`` calls this."""
        return [self._item(row_of("Dataset", index, len(self)), loading=True) for index in indices]

    def _item(self, row: int, *, loading: bool) -> dict[str, np.ndarray]:
        top, left = self._spare[0] // 2, self._spare[1] // 2
        flips = np.zeros(2, bool)
        if self.augment:
            key = np.random.SeedSequence(self.seed, spawn_key=(*self._pass(row, loading), row))
            rng = np.random.Generator(np.random.Philox(key))
            top, left = int(rng.integers(self._spare[0] + 1)), int(rng.integers(self._spare[1] + 1))
            flips = rng.integers(2, size=2).astype(bool)
        reader = self._reader()
        sample = reader.read(row, window=(top, left, *self.crop))
        if flips.any():
            angle = float(reader.configuration_of(row)["camera"]["pupil"].get("angle", 0.0))
            for flip, axis in zip(flips, (-2, -1), strict=True):
                exchanged = _mirrored(self._names, angle, axis) if flip else None
                if exchanged is not None:
                    sample = {exchanged.get(name, name): np.flip(array, axis) for name, array in sample.items()}
        return {name: np.ascontiguousarray(sample[name]) for name in self._names}

    def _pass(self, row: int, loading: bool) -> tuple[int, ...]:
        """Return the pass over the data that an item belongs to, as a key of its random numbers."""
        epoch = self._epoch.value
        if epoch is not None:
            return (epoch,)
        if loading:  # torch reseeds this in every worker for every epoch
            import torch

            return 0, int(torch.randint(1 << 62, ()))
        number = self._visits.get(row, 0)
        self._visits[row] = number + 1
        return (number,)


class _Epoch:
    """A number, or None, shared with worker processes; other copies are independent."""

    _NONE = -1

    def __init__(self, value: int = _NONE):
        from multiprocessing.sharedctypes import RawValue

        self._memory = RawValue("q", value)

    @property
    def value(self) -> int | None:
        return None if self._memory.value == self._NONE else int(self._memory.value)

    @value.setter
    def value(self, epoch: int) -> None:
        self._memory.value = epoch

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.context import get_spawning_popen

        if get_spawning_popen() is None:  # an ordinary copy or pickle
            return _Epoch, (int(self._memory.value),)
        return _attached, (self._memory,)


def _attached(memory: Any) -> _Epoch:
    made = _Epoch.__new__(_Epoch)
    made._memory = memory
    return made


def _whole(name: str, value: Any) -> int:
    number = require_integer("Dataset", name, value, 0)
    if number >= 1 << 63:
        raise ValueError(f"Dataset: expected {name} to be an integer < 2^63, got {number}")
    return number


def _size(crop: Any) -> tuple[int, int]:
    try:
        sides = [crop, crop] if np.ndim(crop) == 0 else list(crop)
        if not any(isinstance(side, bool) for side in sides):
            height, width = (operator.index(side) for side in sides)
            return height, width
    except (TypeError, ValueError):
        pass
    raise TypeError(f"Dataset: expected crop as a whole number, or height and width, got {crop!r}")


def _in_a_worker() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.utils.data.get_worker_info() is not None


@lru_cache(maxsize=16)
def _mirrored(names: tuple[str, ...], angle: float, axis: int) -> dict[str, str] | None:
    """Return the new name of each view after a flip along an axis; None where one would not be a stored view."""
    turned = {
        name: frozenset(round((angle + direction) % 360, 6) % 360 for direction in DIRECTIONS[name])
        for name in names
        if name in DIRECTIONS
    }
    known = {directions: name for name, directions in turned.items()}
    flipped = {
        name: frozenset(round(((180 if axis == -1 else 0) - direction) % 360, 6) % 360 for direction in directions)
        for name, directions in turned.items()
    }
    if not set(flipped.values()) <= set(known):
        return None
    return {name: known[directions] for name, directions in flipped.items()}
