"""Writing a dataset file sample by sample."""

from __future__ import annotations

import contextlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from blurphys.files.publishing import PathLike, publish, uninterrupted
from blurphys.inputs import require_choice

from .reader import CACHE
from .schema import CHECKSUMS, FIELDS, FORMAT, VERSION, Row, digest_of
from .statistics import Statistics

__all__ = ["Writer", "library_version", "put_text", "writing"]

_ATTRIBUTES = {
    "defocus_convention": "signed radius in px of the stored image, positive behind the plane of focus",
    "view_normalisation": "each view has the exposure of the combined image; combined = (left + right) / 2 in light",
}
_MAX_CHUNK_BYTES = 1 << 20  # a sample's array up to this size is one chunk
_CHUNK_SIDE = 256


def library_version() -> str:
    """Return the version of blurphys that is installed."""
    try:
        return version("blurphys")
    except PackageNotFoundError:
        return "unknown"


def put_text(target: Any, key: str, text: str) -> None:
    """Write a text attribute of fixed length.

    HDF5 keeps strings of variable length in a heap without checksums, where flipped bits go unnoticed or make the
    library read forever.
    """
    import h5py

    data = text.encode()
    target.attrs.create(key, np.bytes_(data), dtype=h5py.string_dtype("utf-8", max(1, len(data))))


@contextlib.contextmanager
def writing(
    path: PathLike,
    *,
    samples: int,
    shape: tuple[int, int],
    names: Sequence[str],
    configuration: Mapping[str, Any],
    seed: int,
    dtype: str = "float32",
    compression: int | None = 1,
    overwrite: bool = False,
    model: str = "gather",
    transfer: str = "linear",
    part: Path | None = None,
    layers: int = 0,
) -> Iterator[Writer]:
    """Open a new dataset file for writing; it appears under its name when the block ends without an error.

    Parameters
    ----------
    path : path
        The file to make.
    samples : int
        How many samples it holds, at least 1; each must be written.
    shape : (int, int)
        Height and width of all samples, px.
    names : sequence of str
        Which datasets of the schema it holds.
    configuration : mapping
        JSON-serialisable record of how the samples were made.
    seed : int
        Root seed, at least 0.
    dtype : {"float32", "float16"}
        Type of the images.
    compression : int, optional
        gzip level 0 to 9; None stores plainly.
    overwrite : bool
        Whether a file there may be replaced.
    model : str
        How the samples are rendered.
    transfer : str
        Tone curve of the images.
    part : Path, optional
        An existing empty file to write to, which the caller publishes; `path` is then only used in messages.
    layers : int
        Of ``alpha``, where that is among the names.

    Yields
    ------
    Writer
        Takes the samples.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError
        The file exists, its folder does not, or the disk is full; in each case nothing is left behind.
    ValueError
        An argument is out of range, or a sample was not written.
    """
    import h5py

    if samples < 1 or min(shape) < 1:
        raise ValueError(f"dataset: expected at least one sample and pixel, got {samples} samples of shape {shape}")
    if unknown := set(names) - set(FIELDS):
        raise ValueError(f"dataset: expected names among {', '.join(FIELDS)}, got {', '.join(sorted(unknown))}")
    require_choice("dataset", "dtype", dtype, ("float32", "float16"))
    with publish(path, overwrite=overwrite) if part is None else contextlib.nullcontext(part) as part:
        stream, file = _Stream(part), None
        try:
            with uninterrupted():
                # Format 1.10 checksums its own metadata and lifts the 64 KiB limit on attributes.
                file = h5py.File(stream, "w", libver=("v110", "v110"), **CACHE)
                writer = Writer(file, stream, samples, shape, names, dtype, compression, layers)
                generator = f"blurphys {library_version()}, h5py {h5py.__version__}, numpy {np.__version__}"
                file.attrs["version"], file.attrs["seed"] = VERSION, np.uint64(seed)
                text = json.dumps(configuration, sort_keys=True, allow_nan=False)
                attributes = {"format": FORMAT, "generator": generator, **_ATTRIBUTES, "model": model}
                attributes |= {"transfer_function": transfer, "configuration": text}
                attributes["configuration_sha256"] = sha256(text.encode()).hexdigest()
                for key, value in attributes.items():
                    put_text(file, key, value)
            yield writer
            writer.finish()
        finally:
            with uninterrupted():
                try:
                    if file is not None:
                        file.close()
                finally:
                    stream.close()
                    stream.check()


class _Stream(io.RawIOBase):
    """The file under HDF5, which never reports a failure to HDF5: it keeps the first error for `check`.

    HDF5 cannot close a file on a full disk: it keeps the unwritten data and prints errors for every object and again at
    exit. h5py may also drop an exception that a signal handler raises in a callback. So every call succeeds as far as
    HDF5 can see, nothing is written after the first error, and `check` raises that error afterwards.
    """

    def __init__(self, path: Path):
        self._file = path.open("w+b", buffering=0)
        self._error: BaseException | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._keep(self._write, view)
        return len(view)

    def _write(self, view: memoryview) -> None:
        done = 0
        while self._error is None and done < len(view):
            done += self._put(view[done:])

    def _put(self, view: memoryview) -> int:
        return self._file.write(view)

    def truncate(self, size: int | None = None) -> int:
        return self._keep(self._file.truncate, size) or 0

    def readinto(self, buffer: Any) -> int:
        return self._keep(self._file.readinto, buffer) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._keep(self._file.seek, offset, whence) or 0

    def tell(self) -> int:
        return self._keep(self._file.tell) or 0

    def _keep(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; after an error return None, and keep the error for `check` if it is the first."""
        try:
            return call(*arguments)
        except BaseException as error:
            self._error = self._error or error
            return None

    def close(self) -> None:
        self._file.close()
        super().close()

    def check(self) -> None:
        """Raise the first error of a callback, if there was one."""
        if self._error is not None:
            raise self._error


class Writer:
    """Writes samples into an open file; made by `writing`."""

    def __init__(
        self,
        file: Any,
        stream: _Stream,
        samples: int,
        shape: tuple[int, int],
        names: Sequence[str],
        dtype: str,
        compression: int | None,
        layers: int = 0,
    ):
        self._file, self._stream, self._samples = file, stream, samples
        self._written = np.zeros(samples, bool)
        self._datasets: dict[str, Any] = {}
        self._columns: dict[str, Any] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._values: dict[str, np.ndarray] = {}
        self.digest = ""
        for name in FIELDS:
            if name not in names:
                continue
            field = FIELDS[name]
            inner, kind = field.shape(shape, layers), field.dtype(images=dtype)
            whole = int(np.prod(inner)) * kind.itemsize <= _MAX_CHUNK_BYTES
            tile = shape if whole else (min(_CHUNK_SIDE, shape[0]), min(_CHUNK_SIDE, shape[1]))
            dataset = file.create_dataset(
                name,
                (samples, *inner),
                kind,
                chunks=(1, *inner[:-2], *tile),
                shuffle=compression is not None,
                compression="gzip" if compression is not None else None,
                compression_opts=compression,
                fletcher32=True,
                track_times=False,
            )
            for key, text in field._asdict().items():
                put_text(dataset, key, text)
            self._datasets[name] = dataset
            self._sums[name] = np.zeros(samples, np.uint32)

    def write(self, index: int, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, float | int]) -> None:
        """Store sample `index`: arrays by name as in the schema, and its parameters (the same names for every sample).

        ValueError if an array or parameter is missing or has another shape, or a float16 file cannot hold the values.
        """
        for name in self._datasets:
            with uninterrupted():
                self._store(name, index, np.asarray(arrays[name]) if name in arrays else None)
        with uninterrupted():
            if not self._columns:
                self._make_columns(parameters)
            if set(parameters) != set(self._columns):
                raise ValueError(f"dataset: expected parameters {sorted(self._columns)}, got {sorted(parameters)}")
            for name, column in self._columns.items():
                column[index] = self._values[name][index] = parameters[name]
        self._written[index] = True
        self._stream.check()

    def write_all(self, rows: Iterable[Row]) -> Statistics:
        """Store samples from the first on, and count them; see `write`."""
        statistics = Statistics()
        for index, row in enumerate(rows):
            self.write(index, row.arrays, row.parameters)
            statistics.add(row.arrays["defocus_map"], row.parameters)
        return statistics

    def _store(self, name: str, index: int, array: np.ndarray | None) -> None:
        dataset = self._datasets[name]
        if array is None or array.shape != dataset.shape[1:]:
            came = "none" if array is None else f"one of shape {array.shape}"
            raise ValueError(f"dataset: expected an array {name} of shape {dataset.shape[1:]}, got {came}")
        with np.errstate(over="ignore"):
            stored = FIELDS[name].encode(array).astype(dataset.dtype)
        if dataset.dtype == np.float16 and np.isinf(stored).any():
            raise ValueError(
                f"dataset: {name} reaches {np.abs(array).max():g}, more than float16 holds; use dtype='float32'"
            )
        dataset[index] = stored
        self._sums[name][index] = zlib.crc32(np.ascontiguousarray(stored).data)
        self._stream.check()

    def _make_columns(self, parameters: Mapping[str, float | int]) -> None:
        group = self._file.create_group("parameters")
        for name, value in parameters.items():
            kind = np.int64 if isinstance(value, int | np.integer) else np.float64
            size = min(self._samples, 4096)
            self._values[name] = np.zeros(self._samples, kind)
            self._columns[name] = group.create_dataset(
                name, (self._samples,), kind, chunks=(size,), fletcher32=True, track_times=False
            )

    def finish(self) -> None:
        """Check that every sample was written."""
        if not self._written.all():
            missing = np.flatnonzero(~self._written)
            raise ValueError(
                f"dataset: {missing.size} of {self._samples} samples were never written, first {missing[0]}"
            )
        with uninterrupted():
            group = self._file.create_group(CHECKSUMS)
            for name, sums in self._sums.items():
                size = min(self._samples, 4096)
                group.create_dataset(name, data=sums, chunks=(size,), fletcher32=True, track_times=False)
            self.digest = digest_of(self._sums, self._values)
            self._stream.check()
