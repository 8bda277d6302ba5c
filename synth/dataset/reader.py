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
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from blurphys.files.publishing import PathLike, existing_file

from .._window import inside
from .index import row_of

if TYPE_CHECKING:
    from ..camera.camera import Camera

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
    "Reader",
    "VersionError",
    "config_sum",
    "digest_of",
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
MOST_SAMPLES = 1 << 40
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
        `folder` is a file; the configuration is damaged, or of another version.
    """
    path = folder / CONFIG
    if folder.is_file():
        raise ValueError(f"expected a folder of shards, got the file {folder}")
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
    """A dataset file, read sample by sample; made by `open`.

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
        return row_of(str(self.path), index, len(self))

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
        IndexError, TypeError
            No such sample; `index` no whole number.
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

    @property
    def parts(self) -> tuple[int, ...]:
        """The first sample of each part that was made alike; a file is one part."""
        return (0,)

    def attrs_of(self, index: int) -> dict[str, Any]:
        """Attributes of the file that holds sample `index`, such as its model and transfer function."""
        self._row(index)
        return self.attrs

    def fingerprints(self) -> list[bytes]:
        """For each sample the checksums of all its arrays; two samples with equal ones hold the same."""
        columns = [self._sums[name] for name in self.names if name in self._sums]
        return [b"".join(column[row].tobytes() for column in columns) for row in range(len(self))] if columns else []

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
        from ..camera.camera import Camera

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
