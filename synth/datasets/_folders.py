"""Datasets of image files in folders: finding the folders, pairing the files, reading samples on demand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from blurphys.files.publishing import PathLike

from ..dataset.index import row_of
from ..io import Encoding, read_array, read_image

__all__ = ["FolderDataset", "files_in", "find_root", "natural", "pair_by_key", "pair_by_order", "read_plane"]

Rows = Sequence[tuple[str, dict[str, Path]]]
MAX_LISTED = 6  # how many entries of a folder an error message lists


class FolderDataset:
    """Base class of published datasets: named samples, each a mapping of array names to files.

    Attributes
    ----------
    root : Path
        The folder of the set.
    names : tuple of str
        One name per sample, from its file name.
    linear : bool
        Whether images are returned as linear light, or as the encoded values of the files.

    Notes
    -----
    The constructor lists folders and opens no file; items are read on access and not cached. Instances may be pickled
    and shared by workers. Items are dictionaries of NumPy arrays, which a
    ``torch.utils.data.DataLoader`` turns into tensors.
    """

    encoding: Encoding | None = "srgb"
    """Encoding of the images. Published figures were measured on the stored numbers, so that the colour metadata of the
    files is ignored."""
    _maps: ClassVar[Mapping[str, Callable[[Path, Path], np.ndarray]]] = {}
    """Readers of the arrays other than images, called with their file and that of the image they belong to."""
    _slip: ClassVar[str] = "is one of them a resized or turned copy?"
    """The likely cause of files of different size in a sample, for messages."""

    def __init__(self, root: Path, rows: Rows, *, linear: bool, **options: object):
        self.root, self.linear, self._options = root, linear, options
        self.names = tuple(name for name, _ in rows)
        self._files = tuple(files for _, files in rows)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        files = self._files[self._row(index)]
        picture = files.get("combined") or next(iter(files.values()))
        sample = {name: self._read(name, file, picture) for name, file in files.items()}
        (first, shape), *others = ((files[name], array.shape[-2:]) for name, array in sample.items())
        for other, size in others:
            if size != shape:
                raise ValueError(
                    f"{type(self).__name__}: expected files of one size, got {shape[0]} x {shape[1]} px in {first} and "
                    f"{size[0]} x {size[1]} px in {other}; {self._slip}"
                )
        return sample

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        arrays = ", ".join(self._files[0])
        return f"{type(self).__name__}({str(self.root)!r}{options}, linear={self.linear}): {len(self)} of {arrays}"

    def files(self, index: int) -> dict[str, Path]:
        """Files of one sample.

        Parameters
        ----------
        index : int
            Which sample; negative counts from the end.

        Returns
        -------
        dict of str to Path
            The file of each array of ``dataset[index]``.

        Raises
        ------
        IndexError
            No such sample.
        """
        return dict(self._files[self._row(index)])

    def _row(self, index: int) -> int:
        return row_of(type(self).__name__, index, len(self))

    def _read(self, name: str, file: Path, picture: Path) -> np.ndarray:
        if name in self._maps:
            return self._maps[name](file, picture)
        return read_image(file, linear=self.linear, encoding=self.encoding, belongs_to=picture)


def find_root(owner: str, root: PathLike, spellings: Sequence[str], marks: Sequence[str]) -> Path:
    """Find the folder of a set: `root` itself or a usual name inside it, recognised by its entries.

    Parameters
    ----------
    owner : str
        Name of the set, for messages.
    root : path
        What the user gave.
    spellings : sequence of str
        Names the set's folder goes by.
    marks : sequence of str
        Patterns of entries, of which a folder of the set has at least one.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or neither it nor a folder of those names in it holds such entries.
    ValueError
        `root` is a file, or several of the folders in it qualify.
    """
    given = Path(root).absolute()
    if not given.exists():
        raise FileNotFoundError(f"{owner}: there is no folder {given}")
    if not given.is_dir():
        raise ValueError(f"{owner}: expected a folder, got the file {given}; is it the archive, still packed?")
    if _has(given, marks):
        return given
    inside = [given / name for name in spellings if _has(given / name, marks)]
    if len(inside) > 1:
        raise ValueError(f"{owner}: found {len(inside)} copies, {' and '.join(map(str, inside))}; give one as the root")
    if not inside:
        raise FileNotFoundError(
            f"{owner}: expected {_either(marks)} in {given} or in {_either(spellings)} inside it, found "
            f"{_content(given)}; is the root a folder too deep or too high?"
        )
    return inside[0]


def files_in(
    owner: str, folder: Path, *, prefix: str = "", suffixes: Sequence[str] = (".png",), empty: bool = False
) -> list[Path]:
    """Return the files of a folder in natural order: by name, numbers by their value.

    Parameters
    ----------
    owner : str
        Name of the set, for messages.
    folder : Path
        Subfolders are not searched, and hidden files are skipped.
    prefix, suffixes : str, sequence of str
        What a name begins and, in capitals or not, ends with.
    empty : bool
        Whether no file at all is an answer too.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError
        There is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        above = next(parent for parent in folder.parents if parent.is_dir())
        raise FileNotFoundError(f"{owner}: there is no folder {folder}; {above} holds {_content(above)}")
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.startswith(prefix)
            and entry.name.lower().endswith(tuple(suffixes))
            and not entry.name.startswith(".")  # copying from macOS leaves ._name.png beside name.png
            and entry.is_file()
        ]
    if not names and not empty:
        raise FileNotFoundError(
            f"{owner}: expected files {_either([f'{prefix}*{suffix}' for suffix in suffixes])} in {folder}, found "
            f"{_content(folder)}; is the download complete and unpacked?"
        )
    return [folder / name for name in sorted(names, key=natural)]


def pair_by_order(owner: str, columns: Mapping[str, Sequence[Path]], *, named_by: str) -> Rows:
    """Pair files by their position in the sorted columns; ValueError for unequal counts.

    Parameters
    ----------
    owner : str
        Name of the set, for messages.
    columns : mapping of str to sequence of Path
        The files of each array.
    named_by : str
        The array whose files name the samples.

    Returns
    -------
    list of (str, dict of str to Path)
        Name and files of each sample.

    Raises
    ------
    ValueError
        The counts differ.
    """
    if len({len(files) for files in columns.values()}) > 1:
        counts = ", ".join(f"{len(files)} in {files[0].parent}" for files in columns.values())
        raise ValueError(
            f"{owner}: expected equally many files in each folder, got {counts}; samples are paired by sorted "
            "order, so that one missing or added file shifts all after it: is the download complete?"
        )
    rows = zip(*columns.values(), strict=True)
    names = [file.stem for file in columns[named_by]]
    return [(name, dict(zip(columns, row, strict=True))) for name, row in zip(names, rows, strict=True)]


def pair_by_key(owner: str, columns: Mapping[str, Sequence[Path]], key: Callable[[Path], str]) -> Rows:
    """Pair files by a key, in the order of the first column; ValueError for a file without partner.

    Parameters
    ----------
    owner : str
        Name of the set, for messages.
    columns : mapping of str to sequence of Path
        The files of each array.
    key : callable
        From a file to what it has in common with its partners; it names the sample.

    Returns
    -------
    list of (str, dict of str to Path)
        Name and files of each sample.

    Raises
    ------
    ValueError
        Two files of an array have the same key, or a key is not in all columns.
    """
    tables = {name: {key(file): file for file in files} for name, files in columns.items()}
    for name, files in columns.items():
        if len(tables[name]) != len(files):
            twice = next(file for file in files if tables[name][key(file)] != file)
            raise ValueError(
                f"{owner}: {twice} and {tables[name][key(twice)].name} are both {name} of the sample {key(twice)!r}; "
                "is one a converted copy?"
            )
    for table in tables.values():
        for name, other in tables.items():
            if lonely := [file for k, file in table.items() if k not in other]:
                raise ValueError(
                    f"{owner}: {len(lonely)} of {len(table)} files have no partner for {name} in "
                    f"{next(iter(other.values())).parent}, the first being {lonely[0]}; is the download complete?"
                )
    return [(k, {name: table[k] for name, table in tables.items()}) for k in next(iter(tables.values()))]


def read_plane(file: Path, picture: Path | None = None) -> np.ndarray:
    """Read the integers of a grey map, or of one with equal red, green and blue.

    Parameters
    ----------
    file : Path
        An 8- or 16-bit image; an opaque alpha channel is dropped.
    picture : Path, optional
        The image it belongs to, with which it is turned: see `synth.io.read_array`.

    Returns
    -------
    ndarray of shape (H, W)
        uint8 or uint16.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be read, holds no such integers, is coloured, or has transparent pixels.
    """
    values = read_array(file, belongs_to=picture)
    if values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{file}: expected a map of uint8 or uint16, got {values.dtype}")
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        if (values[..., -1] != np.iinfo(values.dtype).max).any():
            raise ValueError(f"{file}: expected an opaque map, got transparent pixels; what do they mean?")
        values = values[..., :-1]
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise ValueError(
                f"{file}: expected a grey map, got colours; is it the photograph or a false-colour picture?"
            )
        values = values[..., 0]
    return values


def _has(folder: Path, marks: Sequence[str]) -> bool:
    return any(next(folder.glob(mark), None) is not None for mark in marks) if folder.is_dir() else False


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorting key of a name that counts the numbers in it by their value: 2 before 10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))], name


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _content(folder: Path) -> str:
    entries = sorted((entry.name for entry in folder.iterdir()), key=natural)
    more = f" and {len(entries) - MAX_LISTED} more" if len(entries) > MAX_LISTED else ""
    return ", ".join(entries[:MAX_LISTED]) + more if entries else "nothing"
