"""Reading a dataset file sample by sample."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from blurphys.files.publishing import PathLike, existing_file
from blurphys.inputs import require_window

from .index import row_of
from .schema import CHECKSUMS, FIELDS, FORMAT, VERSION, digest_of

if TYPE_CHECKING:
    from ..camera.camera import Camera

__all__ = ["CACHE", "Reader", "VersionError"]

CACHE = {"rdcc_nbytes": 16 << 20, "rdcc_nslots": 2003}
"""Chunk cache of each array: some twenty chunks, and a prime number of slots about a hundred times larger."""


class VersionError(ValueError):
    """A file of another version of the format, which must not be overwritten."""


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
            checksum = self.attrs.get("configuration_sha256")
            if checksum is not None and sha256(text.encode()).hexdigest() != checksum:
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
                found = self._file[name].shape
                layers = found[1] if len(found) > 1 else 0
                expected = (self._samples, *FIELDS[name].shape(self.shape, layers))
                if found != expected:
                    raise ValueError(f"dataset {name} has shape {found}, not {expected}")
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
            No such sample; `index` not a whole number.
        ValueError
            Unknown name, window outside the image, or stored data whose checksum fails.
        """
        row = self._row(index)
        chosen = self.names if names is None else tuple(names)
        if unknown := set(chosen) - set(self.names):
            raise ValueError(
                f"{self.path}: expected names among {', '.join(self.names)}, got {', '.join(sorted(unknown))}"
            )
        rows, columns = require_window(str(self.path), (0, 0, *self.shape) if window is None else window, self.shape)
        result = {}
        for name in chosen:
            try:
                values = self._file[name][row, ..., rows, columns]
            except (OSError, RuntimeError) as error:
                reason = "its checksum is wrong" if "filter returned failure" in str(error) else str(error)
                raise ValueError(f"{self.path}: sample {row} is damaged: {name} cannot be read ({reason})") from None
            if window is None and name in self._sums and zlib.crc32(values) != self._sums[name][row]:
                raise ValueError(f"{self.path}: sample {row} is damaged: {name} is not what was written")
            result[name] = FIELDS[name].decode(values)
        return result

    @property
    def digest(self) -> str:
        """Hash of all arrays, by their checksums, and of all parameters."""
        return digest_of(self._sums, self._columns)

    @property
    def parts(self) -> tuple[int, ...]:
        """The first sample of each part; a file is one part."""
        return (0,)

    def attrs_of(self, index: int) -> dict[str, Any]:
        """Attributes of the file that holds sample `index`, such as its model and transfer function."""
        self._row(index)
        return self.attrs

    def fingerprints(self) -> list[bytes]:
        """Return the checksums of all arrays of each sample; equal ones mean equal samples."""
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
        """Return the parameters of one sample: the settings drawn for it, and counts of its pixels."""
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
