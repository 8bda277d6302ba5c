"""The HDF5 file that samples are kept in: written whole or not at all, read plainly or as a map dataset for training.

Schema ``blurphys-dataset``, version 1. N samples of H x W pixels, all of one size:

=================  ==============  ================  ==================================================================
dataset            shape           type              meaning
=================  ==============  ================  ==================================================================
``all_in_focus``   (N, 3, H, W)    float32, float16  white is 1, linear light unless ``transfer_function`` says more
``combined``       (N, 3, H, W)    float32, float16  what the lens records: (left + right) / 2 of the noisy views
``left, right``    (N, 3, H, W)    float32, float16  dual-pixel views, each with the exposure of ``combined``
``top, bottom``    (N, 3, H, W)    float32, float16  the same, divided the other way
``top_left, ...``  (N, 3, H, W)    float32, float16  the four views of a quad pixel
``defocus_map``    (N, H, W)       float32           signed CoC radius in px, positive behind focus, as it was rendered
``depth_m``        (N, H, W)       float32           metres along the optical axis, NaN where unknown
``valid``          (N, H, W)       uint8             1 where the depth is known and its CoC radius was not clamped
``alpha``          (N, L, H, W)    uint8             255 where a layer covers the pixel, front layer first; no photos
``parameters/*``   (N,)            int64, float64    one column per parameter drawn or counted for a sample
``crc32/*``        (N,)            uint32            CRC-32 of each array of a sample, as its bytes are stored
=================  ==============  ================  ==================================================================

One set of views stands there, or none beside ``combined``, which may be missing where they are there. Every array has
the attributes ``axes``, ``units`` and ``description``. Attributes of the file: ``format``, ``version``, ``generator``,
``model``, ``transfer_function``, ``defocus_convention``, ``view_normalisation``, ``seed`` and ``configuration``, a
JSON object with the camera, the scenes and the arguments, from which, with ``parameters``, each sample can be
rendered again. Axes run (sample, channel R G B, row, column). All data carry Fletcher-32 checksums and no time
stamps. Readers ignore datasets, columns and attributes they do not know, and refuse another version.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from blurphys.publishing import PathLike, existing_file
from blurphys.pupil import DIRECTIONS

from ._window import inside

if TYPE_CHECKING:
    from .camera import Camera

__all__ = [
    "CACHE",
    "CHECKSUMS",
    "CONFIG",
    "FIELDS",
    "FOLDER_FORMAT",
    "FOLDER_VERSION",
    "FORMAT",
    "VERSION",
    "VIRTUAL",
    "Dataset",
    "FolderReader",
    "Reader",
    "VersionError",
    "config_sum",
    "digest_of",
    "open",
    "read_config",
    "shard_name",
]

FORMAT = "blurphys-dataset"
VERSION = 1
CHECKSUMS = "crc32"
FOLDER_FORMAT, FOLDER_VERSION = "blurphys-dataset-folder", 1
CONFIG, VIRTUAL = "config.json", "dataset.h5"

_IMAGE = ("sample channel row column", "white = 1, by the transfer function of the file")
_PLANE = "sample row column"
FIELDS: dict[str, tuple[str, str, str]] = {  # name: axes, units, description
    "all_in_focus": (*_IMAGE, "what a pinhole camera would record"),
    "combined": (*_IMAGE, "all parts of the pixel together; the mean of the views where they are stored"),
    "left": (*_IMAGE, "left dual-pixel view"),
    "right": (*_IMAGE, "right dual-pixel view"),
    "top": (*_IMAGE, "top dual-pixel view"),
    "bottom": (*_IMAGE, "bottom dual-pixel view"),
    "top_left": (*_IMAGE, "top left view of a quad pixel"),
    "top_right": (*_IMAGE, "top right view of a quad pixel"),
    "bottom_left": (*_IMAGE, "bottom left view of a quad pixel"),
    "bottom_right": (*_IMAGE, "bottom right view of a quad pixel"),
    "defocus_map": (_PLANE, "px", "signed radius of the circle of confusion, positive behind the plane of focus"),
    "depth_m": (_PLANE, "m", "distance along the optical axis, NaN where unknown"),
    "valid": (_PLANE, "1", "1 where the depth is known and its circle of confusion was not clamped"),
    "alpha": (
        "sample layer row column",
        "1/255",
        "share of the pixel that each layer covers, also where nearer ones hide it",
    ),
}
_INHERITED: list[
    Reader | FolderReader
] = []  # files that a fork brought along: the parent's, to be neither used nor closed here
MOST_SAMPLES = 1 << 40
OPEN_SHARDS = 16
"""Shards of a folder that are open at a time."""
CACHE = {"rdcc_nbytes": 16 << 20, "rdcc_nslots": 2003}
"""Chunk cache of each array: some twenty chunks, and a prime number of slots about a hundred times larger."""


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:05d}.h5"


def digest_of(sums: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> str:
    """Hash the checksums of all arrays and all parameters of a file."""
    seen = sha256()
    for kind in (sums, columns):
        for name in sorted(kind):
            seen.update(name.encode() + b"\0" + np.ascontiguousarray(kind[name]).tobytes())
    return seen.hexdigest()


def config_sum(config: Mapping[str, Any]) -> str:
    """Hash a configuration, so that a change is noticed."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """Read what a folder of shards says of itself.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or it has no configuration.
    ValueError
        The configuration is damaged, or of another version.
    """
    path = folder / CONFIG
    if not path.is_file():
        what = "there is no folder" if not folder.exists() else "expected a dataset, but there is no config.json in"
        raise FileNotFoundError(f"{what} {folder}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] != FOLDER_FORMAT:
            raise ValueError(f"expected format {FOLDER_FORMAT}, got {config['format']!r}")
        if config["version"] != FOLDER_VERSION:
            raise ValueError(f"expected version {FOLDER_VERSION} of the format, got {config['version']!r}")
        shards = config["shards"]
        if not (type(shards) is list and shards and all(type(n) is int and 0 < n < MOST_SAMPLES for n in shards)):
            raise ValueError("it does not say how many samples each shard holds")
        told = config.pop("sha256", None)
        if told is not None and told != config_sum(config):
            raise ValueError("its checksum is wrong; was it edited?")
        if not {"recipe", "storage"} <= set(config):
            raise ValueError("it lacks the recipe or the storage")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable configuration ({error})") from None
    checked: dict[str, Any] = config
    return checked


class VersionError(ValueError):
    """A file of another version of the format: whole for all we know, and nothing to be written over."""


class Reader:
    """A dataset file, read sample by sample; see `open`.

    Attributes
    ----------
    attrs : dict
        The file's attributes.
    configuration : dict
        How the samples were made: camera, scenes, arguments.
    names : tuple of str
        The arrays each sample has.
    shape : (int, int)
        Height and width of every sample, px.
    """

    def __init__(self, path: PathLike):
        import h5py

        self.path = existing_file(path)
        try:
            self._file = h5py.File(self.path, "r", **CACHE)
        except OSError as error:
            raise ValueError(f"{self.path}: expected an HDF5 file, whole and closed ({error})") from None
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> None:
        try:
            self.attrs: dict[str, Any] = {key: _plain(value) for key, value in self._file.attrs.items()}
            if self.attrs.get("format") != FORMAT:
                raise ValueError(f"expected a file of format {FORMAT}, got {self.attrs.get('format', 'none')!r}")
            if int(self.attrs["version"]) != VERSION:
                raise VersionError(f"expected version {VERSION} of the format, got {self.attrs['version']}")
            text = self.attrs["configuration"]
            told = self.attrs.get("configuration_sha256")
            if told is not None and sha256(text.encode()).hexdigest() != told:
                raise ValueError("its configuration is not the one that was written")
            self.configuration: dict[str, Any] = json.loads(text)
            self.names = tuple(name for name in FIELDS if name in self._file)
            first = self._file["defocus_map"].shape
            self._samples, self.shape = int(first[0]), (int(first[1]), int(first[2]))
            self._columns = {name: column[:] for name, column in self._file["parameters"].items()}
            sums = self._file[CHECKSUMS].items() if CHECKSUMS in self._file else ()
            self._sums: dict[str, np.ndarray] = {name: column[:] for name, column in sums}
            if any(len(column) != self._samples for column in (*self._columns.values(), *self._sums.values())):
                raise ValueError("a column of parameters or checksums has another length than the samples")
            for name in self.names:
                inner = (3, *self.shape) if "channel" in FIELDS[name][0] else self.shape
                if name == "alpha" and len(self._file[name].shape) == 4:
                    inner = self._file[name].shape[1:2] + self.shape
                if self._file[name].shape != (self._samples, *inner):
                    raise ValueError(
                        f"dataset {name} has shape {self._file[name].shape}, not {(self._samples, *inner)}"
                    )
        except VersionError as error:
            raise VersionError(
                f"{self.path}: {error}; it is left as it is, use the version of blurphys that made it"
            ) from None
        except (OSError, RuntimeError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(f"{self.path}: not a readable dataset ({error})") from None

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.read(index)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self.read(index) for index in range(len(self)))

    def _row(self, index: int) -> int:
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"{self.path}: sample {index} of {len(self)}")
        return row

    def read(
        self, index: int, *, names: Sequence[str] | None = None, window: tuple[int, int, int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Read one sample, or a part of it.

        Parameters
        ----------
        index : int
            Which sample; negative counts from the end.
        names : sequence of str, optional
            Which arrays; all without it.
        window : (int, int, int, int), optional
            Top, left, height, width in px. Only the chunks it touches are read.

        Returns
        -------
        dict of str to ndarray
            Images float32 of shape (3, H, W), maps float32 of shape (H, W), ``valid`` bool of shape (H, W), ``alpha``
            float32 of shape (L, H, W), 0 to 1.

        Raises
        ------
        IndexError
            No such sample.
        ValueError
            Unknown name, window outside the image, or stored data whose checksum fails.
        """
        row = self._row(index)
        chosen = self.names if names is None else tuple(names)
        if unknown := set(chosen) - set(self.names):
            raise ValueError(
                f"{self.path}: expected names among {', '.join(self.names)}, got {', '.join(sorted(unknown))}"
            )
        rows, columns = inside(str(self.path), (0, 0, *self.shape) if window is None else window, self.shape)
        result = {}
        for name in chosen:
            try:
                values = self._file[name][row, ..., rows, columns]
            except (OSError, RuntimeError) as error:
                reason = "its checksum is wrong" if "filter returned failure" in str(error) else str(error)
                raise ValueError(f"{self.path}: sample {row} is damaged: {name} cannot be read ({reason})") from None
            if window is None and name in self._sums and zlib.crc32(values) != self._sums[name][row]:
                raise ValueError(f"{self.path}: sample {row} is damaged: {name} is not what was written")
            values = values.astype(bool if name == "valid" else np.float32, copy=False)
            result[name] = values / np.float32(255) if name == "alpha" else values
        return result

    @property
    def digest(self) -> str:
        """A hash of all arrays, by their checksums, and of all parameters."""
        return digest_of(self._sums, self._columns)

    def configuration_of(self, index: int) -> dict[str, Any]:
        """How sample `index` was made."""
        self._row(index)
        return self.configuration

    def stored_dtype(self, name: str) -> np.dtype[Any]:
        """Type in which an array is stored."""
        kind: np.dtype[Any] = self._file[name].dtype
        return kind

    def parameters(self, index: int) -> dict[str, float | int]:
        """Parameters of one sample: what was drawn for it and what was counted."""
        row = self._row(index)
        return {name: column[row].item() for name, column in self._columns.items()}

    def camera(self, index: int) -> Camera:
        """Return the camera that sample `index` was rendered with."""
        from .camera import Camera

        return Camera.from_dict(self.configuration["camera"]).with_parameters(self.parameters(index))

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


class FolderReader:
    """A folder of shards, read sample by sample as if it were one file; see `open`.

    The number of samples is what was asked for when the folder was begun, whatever became of its shards: reading a
    sample of a missing or damaged one raises an error that names it.

    Attributes
    ----------
    attrs, configuration, names, shape
        As of `Reader`, from the first shard that can be read.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self.config = read_config(self.path)
        self._ends = np.cumsum(self.config["shards"])
        self._readers: dict[int, Reader] = {}
        first = self._any()
        self.attrs, self.configuration = first.attrs, first.configuration
        self.names, self.shape = first.names, first.shape

    def _any(self) -> Reader:
        problem: Exception = ValueError(f"{self.path}: no shard is there yet; `blurphys synth resume` goes on")
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
            while len(self._readers) >= OPEN_SHARDS:
                self._readers.pop(next(iter(self._readers))).close()
            reader = Reader(path)
            if len(reader) != self.config["shards"][number]:
                reader.close()
                raise ValueError(f"{path}: expected {self.config['shards'][number]} samples, got {len(reader)}")
            self._readers[number] = reader
        return self._readers[number]

    def _find(self, index: int) -> tuple[Reader, int]:
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"{self.path}: sample {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self._shard(number), row - int(self._ends[number]) + self.config["shards"][number]

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
        """Parameters of one sample: what was drawn for it and what was counted."""
        reader, row = self._find(index)
        return reader.parameters(row)

    def camera(self, index: int) -> Camera:
        """Return the camera that sample `index` was rendered with."""
        reader, row = self._find(index)
        return reader.camera(row)

    def configuration_of(self, index: int) -> dict[str, Any]:
        """How sample `index` was made; the parts of a merged folder differ in it."""
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


def open(path: PathLike) -> Reader | FolderReader:
    """Open a dataset for reading.

    Parameters
    ----------
    path : path
        A file or a folder that `synth.generate` wrote.

    Returns
    -------
    Reader or FolderReader
        ``len(data)`` samples; ``data[i]`` maps names to arrays; ``data.attrs``; usable in a ``with`` statement.

    Raises
    ------
    FileNotFoundError
        There is no such file or folder.
    ValueError
        Not HDF5, not a dataset of ours, damaged, of another version, or a folder without a readable shard.
    """
    place = Path(path)
    if place.is_dir():
        return FolderReader(place)
    if place.name == VIRTUAL and (place.parent / CONFIG).is_file():
        return FolderReader(place.parent)  # HDF5 shows zeros where a shard is missing
    return Reader(place)


class Dataset:
    """Samples of a dataset for training: a torch-style map dataset.

    Parameters
    ----------
    path : path
        A file or folder that `synth.generate` wrote.
    crop : int or (int, int), optional
        Height and width of the part to return, px. The middle without `augment`, a random place with it.
    augment : bool
        Random place of the crop, random mirroring left-right and up-down. A left-right mirror exchanges the left and
        right views, as a mirrored world does, an up-down one top and bottom; with a pupil turned by a multiple of 90
        degrees it is those that lie opposite. Where the mirror image of a view would be none of the stored ones (views
        turned by other angles), the sample is not mirrored that way.
    seed : int
        Root of the augmentation: what is drawn depends on (seed, epoch, index) and on nothing else.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no dataset, or the crop is larger than its samples.

    Notes
    -----
    Items are dictionaries of NumPy arrays, which a ``torch.utils.data.DataLoader`` turns into tensors. The file is
    opened when first needed and once in each process, so instances may be pickled and cross a fork or spawn; crops
    read only the chunks they touch. Call `set_epoch` before an epoch begins; workers kept alive between epochs
    (``persistent_workers=True``) do not hear of it.
    """

    def __init__(
        self, path: PathLike, *, crop: int | tuple[int, int] | None = None, augment: bool = False, seed: int = 0
    ):
        self.path = Path(path).absolute()
        self.augment, self.seed, self.epoch = augment, seed, 0
        with open(self.path) as reader:
            self._length, (H, W), self._names = len(reader), reader.shape, reader.names
        self.crop = (H, W) if crop is None else (crop, crop) if isinstance(crop, int) else (int(crop[0]), int(crop[1]))
        if not (0 < self.crop[0] <= H and 0 < self.crop[1] <= W):
            raise ValueError(f"Dataset: expected a crop of at most {H} x {W} px, got {self.crop[0]} x {self.crop[1]}")
        self._spare = (H - self.crop[0], W - self.crop[1])
        self._opened: tuple[int, Reader | FolderReader] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the augmentation of the following items is drawn for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _reader(self) -> Reader | FolderReader:
        if self._opened is None or self._opened[0] != os.getpid():
            if self._opened is not None:
                _INHERITED.append(self._opened[1])
            self._opened = (os.getpid(), open(self.path))
        return self._opened[1]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"Dataset: sample {index} of {len(self)}")
        top, left = self._spare[0] // 2, self._spare[1] // 2
        flips = np.zeros(2, bool)
        if self.augment:
            key = np.random.SeedSequence(self.seed, spawn_key=(self.epoch, row))
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


@lru_cache(maxsize=16)
def _mirrored(names: tuple[str, ...], angle: float, axis: int) -> dict[str, str] | None:
    """What each view is called after the image was mirrored along an axis; None where one would be none of them."""
    turned = {
        name: frozenset(round((angle + direction) % 360, 6) % 360 for direction in DIRECTIONS[name])
        for name in names
        if name in DIRECTIONS
    }
    known = {directions: name for name, directions in turned.items()}
    seen = {
        name: frozenset(round(((180 if axis == -1 else 0) - direction) % 360, 6) % 360 for direction in directions)
        for name, directions in turned.items()
    }
    if not set(seen.values()) <= set(known):
        return None
    return {name: known[directions] for name, directions in seen.items()}
