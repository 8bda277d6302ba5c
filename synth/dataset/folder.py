"""A folder of shards read as one dataset, and `open`, which reads folders and single files alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from blurphys.files.publishing import PathLike

from .config import read_config
from .index import row_of
from .reader import Reader
from .schema import CONFIG, VIRTUAL, shard_name

if TYPE_CHECKING:
    from ..camera.camera import Camera

__all__ = ["FolderReader", "open"]

MAX_OPEN_SHARDS = 16
"""Shards of a folder that are open at a time."""


class FolderReader:
    """A folder of shards, read sample by sample as if it were one file; made by `open`.

    ::

        with synth.open("data") as data:
            sample = data[5]                         # {"left": (3, H, W), "defocus_map": (H, W), ...}
            data.camera(5), data.parameters(5)       # what took it, and what was drawn for it
            data.attrs_of(5)["transfer_function"]    # "linear", or the curve that its images are stored with

    The number of samples is that of the configuration, even where shards are missing: reading a sample of a missing or
    damaged shard raises an error that names the shard.

    Attributes
    ----------
    names : tuple of str
        The arrays each sample has.
    shape : (int, int)
        Height and width of every sample, px.
    attrs, configuration : mapping
        As of `Reader`. In a merged folder an entry in which the parts differ (the seed, the camera, the tone curve ...)
        raises a ValueError that points to `attrs_of(index)` and `configuration_of(index)` of a single sample.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self.config = read_config(self.path)
        self._ends = np.cumsum(self.config["shards"])
        self._readers: dict[int, Reader] = {}
        self._like: tuple[tuple[str, ...], tuple[int, int]] | None = None
        first = self._any()
        self.names, self.shape = first.names, first.shape

    def _any(self) -> Reader:
        problem: Exception = ValueError(f"{self.path}: there is no shard yet; `blurphys synth resume` continues it")
        for number in range(len(self._ends)):
            try:
                return self._shard(number)
            except (OSError, ValueError) as error:
                problem = problem if "is not there" in str(error) else error
        raise problem

    def _shard(self, number: int) -> Reader:
        if number not in self._readers:
            path = self.path / shard_name(number)
            if not path.is_file():
                raise ValueError(f"{path} is not there; `blurphys synth resume {self.path}` makes it")
            while len(self._readers) >= MAX_OPEN_SHARDS:
                self._readers.pop(next(iter(self._readers))).close()
            reader = Reader(path)
            problem = None
            if len(reader) != self.config["shards"][number]:
                problem = f"expected {self.config['shards'][number]} samples, got {len(reader)}"
            elif self._like not in (None, (reader.names, reader.shape)):
                problem = "it has other arrays than the shards before it; is it of another dataset?"
            if problem is not None:
                reader.close()
                raise ValueError(f"{path}: {problem}")
            self._like = reader.names, reader.shape
            self._readers[number] = reader
        return self._readers[number]

    def _find(self, index: int) -> tuple[Reader, int]:
        row = row_of(str(self.path), index, len(self))
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self._shard(number), row - int(self._ends[number]) + self.config["shards"][number]

    @cached_property
    def _parts(self) -> tuple[tuple[int, dict[str, Any], dict[str, Any]], ...]:
        """First sample, attributes and configuration of each run of shards with the same attributes."""
        parts: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
        problem: Exception | None = None
        for number, count in enumerate(self.config["shards"]):
            try:
                reader = self._shard(number)
            except (OSError, ValueError) as error:  # reading its samples raises this error again
                problem = problem or error
                continue
            if not parts or reader.attrs != parts[-1][1]:
                parts.append((int(self._ends[number]) - count, reader.attrs, reader.configuration))
            if self.config["recipe"] is not None:  # not merged: all shards have one recipe
                break
        if not parts and problem is not None:
            raise problem
        return tuple(parts)

    @property
    def parts(self) -> tuple[int, ...]:
        """The first sample of each part, a run of samples with the same configuration.

        (0,) unless the folder was merged. ``{data.attrs_of(i)["model"] for i in data.parts}`` are all its models.
        Missing and damaged shards are skipped.
        """
        return tuple(first for first, _, _ in self._parts)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes of the files; ValueError for one in which the parts differ."""
        return _common(str(self.path), "attrs", [attrs for _, attrs, _ in self._parts])

    @property
    def configuration(self) -> Mapping[str, Any]:
        """How the samples were made; ValueError for an entry in which the parts differ."""
        return _common(str(self.path), "configuration", [configuration for _, _, configuration in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.read(index)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self.read(index) for index in range(len(self)))

    def read(
        self, index: int, *, names: Sequence[str] | None = None, window: tuple[int, int, int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """As `Reader.read`; ValueError also for a missing or damaged shard."""
        reader, row = self._find(index)
        return reader.read(row, names=names, window=window)

    def parameters(self, index: int) -> dict[str, float | int]:
        """Return the parameters of one sample: the settings drawn for it, and counts of its pixels."""
        reader, row = self._find(index)
        return reader.parameters(row)

    def camera(self, index: int) -> Camera:
        """Return the camera that sample `index` was rendered with."""
        reader, row = self._find(index)
        return reader.camera(row)

    def attrs_of(self, index: int) -> dict[str, Any]:
        """Attributes of the file that holds sample `index`, such as its model and transfer function."""
        return self._find(index)[0].attrs

    def configuration_of(self, index: int) -> dict[str, Any]:
        """Return how sample `index` was made; the parts of a merged folder may differ in this."""
        return self._find(index)[0].configuration

    def stored_dtype(self, name: str) -> np.dtype[Any]:
        """Type in which an array is stored."""
        return self._any().stored_dtype(name)

    def close(self) -> None:
        """Close the files; reading afterwards opens them again."""
        while self._readers:
            self._readers.popitem()[1].close()

    def __enter__(self) -> FolderReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Common(Mapping[str, Any]):
    """Several mappings as one; ValueError for a key whose values differ, or that only some have."""

    def __init__(self, owner: str, kind: str, several: Sequence[Mapping[str, Any]]):
        self._owner, self._kind, self._several = owner, kind, several

    def __getitem__(self, key: str) -> Any:
        found = [one[key] for one in self._several if key in one]
        if not found:
            raise KeyError(key)
        if len(found) < len(self._several) or any(value != found[0] for value in found[1:]):
            raise ValueError(
                f"{self._owner}: its parts were merged and differ in {key!r}, so that there is no common value; "
                f"ask for that of a sample, {self._kind}_of(index)[{key!r}]"
            )
        return found[0]

    def __contains__(self, key: object) -> bool:
        return any(key in one for one in self._several)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for one in self._several for key in one))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _common(owner: str, kind: str, several: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
    return several[0] if len(several) == 1 else _Common(owner, kind, several)


def open(path: PathLike) -> Reader | FolderReader:
    """Open a dataset for reading.

    Parameters
    ----------
    path : path
        A file or a folder that `synth.generate` wrote.

    Returns
    -------
    Reader or FolderReader
        ``len(data)`` samples; ``data[i]`` maps names to arrays. Metadata of a sample: ``data.attrs_of(i)``,
        ``data.configuration_of(i)``, ``data.parameters(i)``, ``data.camera(i)``. Usable in a ``with`` statement.

    Raises
    ------
    FileNotFoundError
        There is no such file or folder.
    ValueError
        Not HDF5, not a dataset of `synth`, damaged, of another version, or a folder without a readable shard.
    """
    path = Path(path)
    if path.is_dir():
        return FolderReader(path)
    if path.name == VIRTUAL and (path.parent / CONFIG).is_file():
        return FolderReader(path.parent)  # HDF5 reads zeros from a missing shard
    return Reader(path)
