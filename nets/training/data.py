"""Training samples; their order, crops and flips are a pure function of the seed and the step."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from synth.dataset.schema import field_of

from .settings.reading import generation_commands
from .settings.records import DataConfig
from .stopping import leave_interrupts

__all__ = ["Batches", "Draw", "Samples", "draws", "flip_and_rotate", "pack_in_16_bits", "steps_per_epoch"]

ORDER, DRAW = 0, 1
PARTNER = {"left": "right", "right": "left"}


class Draw(NamedTuple):
    """One crop of one sample: its position, as a fraction of the possible range, and its flips and rotation."""

    sample: int
    down: float
    across: float
    flip_rows: bool
    flip_columns: bool
    quarter_turns: int


def steps_per_epoch(samples: int, *, repeats: int, batch: int) -> int:
    """Return the number of whole batches in one pass over all samples."""
    if samples * repeats < batch:
        raise ValueError(
            f"train: expected at least one batch of {batch} in an epoch, got {samples} samples x {repeats} crops; "
            "raise data.repeats, or the samples of a stream"
        )
    return samples * repeats // batch


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, items: int) -> np.ndarray:
    key = np.random.SeedSequence(seed, spawn_key=(ORDER, epoch))
    return np.random.Generator(np.random.Philox(key)).permutation(items)


def draws(seed: int, step: int, *, samples: int, batch: int, repeats: int = 1, augment: str = "none") -> list[Draw]:
    """Choose the batch of a step.

    Parameters
    ----------
    seed : int
    step : int
        From 0.
    samples : int
        Of the dataset.
    batch : int
    repeats : int
        Crops of each sample in one epoch.
    augment : {"none", "flips", "dihedral", "half-dihedral"}

    Returns
    -------
    list of Draw
        Each sample comes `repeats` times in an epoch, less what fills no batch.

    Notes
    -----
    Stateless: the order of an epoch is keyed by (seed, epoch), a crop by (seed, step, position in the batch), both with
    Philox.
    """
    epoch, at = divmod(step, steps_per_epoch(samples, repeats=repeats, batch=batch))
    order = _order(seed, epoch, samples * repeats)[at * batch : (at + 1) * batch]
    return [_draw(seed, step, place, int(item) % samples, augment) for place, item in enumerate(order)]


def _draw(seed: int, step: int, place: int, sample: int, augment: str) -> Draw:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(DRAW, step, place))))
    down, across = (float(value) for value in rng.random(2))
    rows, columns = (bool(flip) for flip in rng.integers(2, size=2))
    turns, flips, turned = int(rng.integers(12)), bool(rng.integers(2)), bool(rng.integers(2))
    if augment == "none":
        return Draw(sample, down, across, False, False, 0)
    if augment == "half-dihedral":
        return Draw(sample, down, across, flips and rows, flips and not rows, 1 + turns % 3 if turned else 0)
    return Draw(sample, down, across, rows, columns, turns % 4 if augment == "dihedral" else 0)


class Samples:
    """The samples that a configuration names, from datasets of `synth` or folders of published ones.

    Parameters
    ----------
    config : DataConfig
    fields : sequence of str
        Fields to read of each sample: "image", "sharp", "left", "right", "centre", "defocus_map" or "valid".
    owners : mapping of str to str, optional
        What needs each field, for messages.

    Raises
    ------
    ValueError
        A field is missing (the message names it and what needs it); samples smaller than the crop; an augmentation that
        is wrong for the views; linear light wanted of data that are encoded.

    Notes
    -----
    Files are opened when needed and once in each process.
    """

    def __init__(self, config: DataConfig, fields: Sequence[str], owners: Mapping[str, str] | None = None) -> None:
        self.config, self.fields = config, tuple(dict.fromkeys(fields))
        self._stored = {field: field_of(field, view=config.view) for field in self.fields}
        views = [stored for stored in self._stored.values() if stored in PARTNER]
        # A left-right flip exchanges the views, so that one needs the other.
        both = set(PARTNER) if views and config.augment != "none" else set()
        self._source = _Folder(config, both | set(self._stored.values())) if config.reader else _Files(config)
        self._check_fields(owners or {})
        if both and not both <= self._source.names:
            raise ValueError(
                f"train: flips exchange the views, and {self._source.location} has one of them; augment = 'none'"
            )
        if views and config.augment not in ("none", "flips"):
            raise ValueError(
                f"train: data.augment = {config.augment!r} would turn the {views[0]} view, whose blur leans left or "
                "right; use 'flips' or 'none'"
            )
        if views and config.augment == "flips" and not self._source.upright:
            raise ValueError("train: the views are not split left-right and cannot be flipped; use augment = 'none'")

    def _check_fields(self, owners: Mapping[str, str]) -> None:
        have = self._source.names
        for field, stored in self._stored.items():
            if stored not in have and not (stored == "combined" and self._source.averages):
                who = owners.get(field, "the training")
                called = f"{field!r}" if field == stored else f"{field!r} (stored as {stored!r})"
                raise ValueError(
                    f"train: {who} needs the field {called}, which {self._source.location} does not have; it has "
                    f"{', '.join(sorted(have))}"
                )

    def __len__(self) -> int:
        return len(self._source)

    @property
    def location(self) -> str:
        """Files or folder of the samples, for messages."""
        return self._source.location

    def read(self, draw: Draw) -> dict[str, np.ndarray]:
        """Read one crop.

        Parameters
        ----------
        draw : Draw

        Returns
        -------
        dict of str to ndarray
            float32, images (3, h, w), maps (1, h, w), by the names of `fields`.
        """
        wanted = set(self._stored.values())
        if draw.flip_columns:
            wanted = {PARTNER.get(name, name) for name in wanted}
        arrays = self._source.read(draw, wanted)
        result = {}
        for field, stored in self._stored.items():
            array = arrays[PARTNER.get(stored, stored) if draw.flip_columns else stored]
            result[field] = np.ascontiguousarray(
                flip_and_rotate(array if array.ndim == 3 else array[None], draw), np.float32
            )
        return result

    def middle(self, sample: int) -> dict[str, np.ndarray]:
        """Read the middle crop of a sample, or all of it."""
        return self.read(Draw(sample, 0.5, 0.5, False, False, 0))


def flip_and_rotate(array: np.ndarray, draw: Draw) -> np.ndarray:
    """Flip and turn an image or a map (C, H, W) as a draw says."""
    if draw.flip_rows:
        array = array[..., ::-1, :]
    if draw.flip_columns:
        array = array[..., ::-1]
    return np.rot90(array, draw.quarter_turns, axes=(-2, -1))


def _window(owner: str, config: DataConfig, draw: Draw, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop."""
    height, width = size if config.crop is None else config.crop
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"train: expected samples of at least the crop, {height} x {width} px, got {size[0]} x {size[1]} in {owner}"
        )
    return int(draw.down * (size[0] - height + 1)), int(draw.across * (size[1] - width + 1)), height, width


class _Files:
    """Datasets of `synth`, concatenated."""

    def __init__(self, config: DataConfig) -> None:
        import synth

        self.location = ", ".join(config.path)
        self._config = config
        self._paths = [os.path.abspath(path) for path in config.path]
        self._opened: tuple[int, list[Any]] | None = None
        names, self._lengths, self.upright, curves = [], [], True, set[str]()
        middle = Draw(0, 0.5, 0.5, False, False, 0)
        for path in config.path:
            if not os.path.exists(path):
                commands = generation_commands(path)
                hint = f"; make it with: {commands}" if commands else "; blurphys synth generate makes such data"
                raise FileNotFoundError(f"train: there is no data set {path}{hint}")
            if synth.datasets.Pairs.lie_in(path):
                raise ValueError(
                    f"train: {path} holds pictures, no dataset of synth; set data.reader = 'pairs' and data.root"
                )
            with synth.open(path) as reader:
                names.append(set(reader.names))
                self._lengths.append(len(reader))
                own = {_curve(reader, part) for part in reader.parts}
                for part in reader.parts:
                    self.upright &= reader.configuration_of(part)["camera"]["pupil"].get("angle", 0.0) % 180 == 0
                _window(path, config, middle, reader.shape)
            if config.transfer == "linear" and own != {"linear"}:
                encoded = ", ".join(repr(curve) for curve in sorted(own - {"linear"}))
                some = "is" if len(own) == 1 else "is in part"
                raise ValueError(f"train: data.transfer = 'linear', but {path} {some} encoded with the curve {encoded}")
            curves |= own
        self.names = frozenset(set.intersection(*names))
        # The mean of the views is the ordinary image in linear light only.
        views = {"left", "right"} <= self.names and "combined" not in self.names
        self.averages = views and curves == {"linear"}
        self._ends = np.cumsum(self._lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _reader(self, number: int) -> Any:
        import synth

        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), [synth.open(path) for path in self._paths]
        return self._opened[1][number]

    def read(self, draw: Draw, names: set[str]) -> dict[str, np.ndarray]:
        from blurphys.colour import linear_to_srgb

        number = int(np.searchsorted(self._ends, draw.sample, side="right"))
        row = draw.sample - int(self._ends[number]) + self._lengths[number]
        reader = self._reader(number)
        window = _window(self.location, self._config, draw, reader.shape)
        mean = "combined" in names and self.averages
        stored = sorted((names | {"left", "right"}) - {"combined"} if mean else names)
        arrays: dict[str, np.ndarray] = reader.read(row, names=stored, window=window)
        if mean:
            arrays["combined"] = (arrays["left"] + arrays["right"]) / 2
        if self._config.transfer == "display" and _curve(reader, row) == "linear":
            for name, array in arrays.items():
                if array.ndim == 3:
                    arrays[name] = linear_to_srgb(np.clip(array, 0.0, 1.0))
        return arrays


def _curve(reader: Any, index: int) -> str:
    """Return the tone curve that a sample is stored with."""
    return str(reader.attrs_of(index).get("transfer_function", "linear"))


class _Folder:
    """A published dataset, read by its reader of `synth.datasets`."""

    averages = False
    upright = True

    def __init__(self, config: DataConfig, wanted: set[str]) -> None:
        import synth.datasets

        kind = getattr(synth.datasets, "Pairs" if config.reader == "pairs" else str(config.reader))
        takes = inspect.signature(kind).parameters
        options: dict[str, Any] = {"linear": config.transfer == "linear"}
        if config.encoding is not None:
            options["encoding"] = config.encoding
        if config.split is not None:
            if "split" not in takes:
                raise ValueError(f"train: {config.reader} has no splits; leave data.split out")
            options["split"] = config.split
        if "views" in takes:
            views = [view for view in ("combined", "left", "right") if view in wanted]
            options["views"] = views or ["combined"]
        self._config, self._set = config, kind(config.root, **options)
        self.location = f"{config.reader} in {config.root}"
        self.names = frozenset(self._set.files(0))
        self._kept: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._set)

    def _sample(self, index: int) -> dict[str, np.ndarray]:
        if not self._config.cache:
            fresh: dict[str, np.ndarray] = self._set[index]
            return fresh
        if index not in self._kept:
            self._kept[index] = {
                name: pack_in_16_bits(array) if array.ndim == 3 else array for name, array in self._set[index].items()
            }
        return self._kept[index]

    def read(self, draw: Draw, names: set[str]) -> dict[str, np.ndarray]:
        sample = self._sample(draw.sample)
        size = next(iter(sample.values())).shape[-2:]
        top, left, height, width = _window(self.location, self._config, draw, size)
        crops = {name: sample[name][..., top : top + height, left : left + width] for name in names}
        return {
            name: crop / np.float32(65535) if crop.dtype == np.uint16 else np.asarray(crop)
            for name, crop in crops.items()
        }


def pack_in_16_bits(image: np.ndarray) -> np.ndarray:
    """Store an image in 16 bits per value where this is exact, as for 8- and 16-bit files that are not decoded."""
    narrow = np.round(np.clip(image, 0.0, 1.0) * 65535).astype(np.uint16)
    return narrow if np.array_equal(narrow / np.float32(65535), image) else image


class Source(Protocol):
    """Where batches come from: `Samples`, or samples rendered on the fly."""

    config: DataConfig

    @property
    def location(self) -> str: ...  # noqa: D102

    def __len__(self) -> int: ...

    def read(self, draw: Draw) -> dict[str, np.ndarray]: ...  # noqa: D102


class Batches:
    """Batches by the number of the step, for a ``torch.utils.data.DataLoader`` with ``batch_size=None``.

    Parameters
    ----------
    samples : Samples or StreamedSamples
    seed, batch : int
    rank, world : int
        Index and number of processes; each reads its share of every batch.
    """

    def __init__(self, samples: Source, *, seed: int, batch: int, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise ValueError(f"train: expected a batch that {world} processes can share evenly, got {batch}")
        self.samples, self.seed, self.batch = samples, seed, batch
        self.share = slice(rank * batch // world, (rank + 1) * batch // world)
        self.steps_per_epoch = steps_per_epoch(len(samples), repeats=samples.config.repeats, batch=batch)

    def draws(self, step: int) -> list[Draw]:
        """Return the crops of the whole batch of a step."""
        config = self.samples.config
        if config.stream is not None and not config.cache:  # which flips and turns by itself, and never comes to an end
            return [Draw(step * self.batch + place, 0.5, 0.5, False, False, 0) for place in range(self.batch)]
        size, repeats = len(self.samples), config.repeats
        return draws(self.seed, step, samples=size, batch=self.batch, repeats=repeats, augment=config.augment)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = [self.samples.read(draw) for draw in self.draws(step)[self.share]]
        return collate(rows, self.samples.location)

    def loader(self, start: int, stop: int, *, workers: int = 0, pinned: bool = False) -> Iterator[dict[str, Tensor]]:
        """Iterate over the batches of the steps start to stop - 1, read by `workers` processes."""
        from torch.utils.data import DataLoader

        more: dict[str, Any] = {}
        if workers:
            more = {"multiprocessing_context": "spawn", "worker_init_fn": leave_interrupts}
        return iter(
            DataLoader(
                self, batch_size=None, sampler=range(start, stop), num_workers=workers, pin_memory=pinned, **more
            )
        )


def collate(rows: Sequence[Mapping[str, np.ndarray]], place: str) -> dict[str, Tensor]:
    """Stack samples into one batch of tensors."""
    for name in rows[0]:
        sizes = {row[name].shape for row in rows}
        if len(sizes) > 1:
            raise ValueError(f"train: {place} has samples of several sizes, {sorted(sizes)}; set data.crop")
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
