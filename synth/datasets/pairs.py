"""Pairs of blurred and sharp photographs, in two folders or in one."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from blurphys.files.publishing import PathLike
from blurphys.inputs import require_choice

from ..io import Encoding, PictureWarning
from ..io.formats import upright_size
from ._folders import FolderDataset, Rows, files_in, natural, pair_by_key

__all__ = ["Pairs"]

BLURRED = ("blurred", "blur", "input", "inputs", "source", "defocused", "lq")
SHARP = ("sharp", "target", "targets", "gt", "ground_truth", "groundtruth", "all_in_focus", "in_focus", "hq")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".jxl", ".exr")
_LAYOUTS = (
    "blurred/NAME.png with sharp/NAME.jpg, or NAME_blurred.png with NAME_sharp.png, or blurred_NAME.png with "
    "sharp_NAME.png (other words: input and target, source and gt, ...; PNG, JPEG, TIFF, WebP, JPEG XL or OpenEXR)"
)


class Pairs(FolderDataset):
    """Pairs of blurred and sharp pictures of any camera, matched by name.

    Parameters
    ----------
    root : path
        A folder that holds ``blurred/`` and ``sharp/``, or the pairs themselves.
    split : str, optional
        A folder in `root` that holds them instead: ``train``, ``val``, ``test``, or any name.
    blurred, sharp : str, optional
        Names of the two folders, where they are none of the usual ones; both or neither.
    linear : bool
        True returns linear light, False sRGB-encoded values.
    encoding : {"srgb", "linear"}, optional
        Encoding of all files. Without it that of each file, as in `synth.io.read_image`.

    Raises
    ------
    FileNotFoundError
        A folder is missing or empty, or there are no pairs.
    ValueError
        A picture without counterpart, two of one name, pictures of a pair that differ in size (from their headers), or
        several folders that could be meant.

    Warns
    -----
    PictureWarning
        The orientation of pictures is not certain, see `synth.io.read_array`.

    Notes
    -----
    Layouts, PNG (8 or 16 bits), JPEG, TIFF (integers or floats) or WebP, the two of a pair in any two of them:

    - ``blurred/NAME.png`` and ``sharp/NAME.jpg``. The folders may also be called blur, input, inputs, source, defocused
      or lq, and target, targets, gt, ground_truth, groundtruth, all_in_focus, in_focus or hq; within them a name may
      repeat the word: ``blurred/NAME_blurred.png``.
    - one folder with ``NAME_blurred.png`` and ``NAME_sharp.png``, or ``blurred_NAME.png`` and ``sharp_NAME.png``.

    The constructor reads the header of every file. Samples have ``all_in_focus`` (sharp) and ``combined`` (blurred).

    Examples
    --------
    >>> import tempfile, numpy, synth.datasets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for kind in ("blurred", "sharp"):
    ...         synth.io.write_image(f"{folder}/leaf_{kind}.png", numpy.full((3, 4, 6), 0.5))
    ...     data = synth.datasets.Pairs(folder)
    ...     data.names, sorted(data[0]), data[0]["combined"].shape
    (('leaf',), ['all_in_focus', 'combined'], (3, 4, 6))
    """

    def __init__(
        self,
        root: PathLike,
        split: str | None = None,
        *,
        blurred: str | None = None,
        sharp: str | None = None,
        linear: bool = False,
        encoding: Encoding | None = None,
    ):
        where = Path(root).absolute()
        if not where.exists():
            raise FileNotFoundError(f"Pairs: there is no folder {where}")
        if not where.is_dir():
            raise ValueError(f"Pairs: expected a folder of pairs, got the file {where}")
        if (blurred is None) != (sharp is None):
            raise ValueError("Pairs: expected the names of both folders, blurred and sharp, or of neither")
        if encoding is not None:
            require_choice("Pairs", "encoding", encoding, get_args(Encoding))
        if split is not None:
            where = where / split
            if not where.is_dir():
                raise FileNotFoundError(f"Pairs: there is no folder {where} for the split {split!r}")
        folders = (where / blurred, where / sharp) if blurred and sharp else _two_folders(where)
        rows = _in_one(where) if folders is None else _in_two(*folders)
        self.encoding = encoding
        options = {"split": split} if split is not None else {}
        super().__init__(where, rows, linear=linear, encoding=encoding, **options)
        self._check_sizes()

    @classmethod
    def lie_in(cls, root: PathLike) -> bool:
        """Return whether a folder looks like pairs: two folders, or two kinds of files, with usual names."""
        where = Path(root)
        if not where.is_dir():
            return False
        try:
            return _two_folders(where) is not None or bool(_in_one(where))
        except FileNotFoundError:
            return False
        except ValueError:  # pairs, and something wrong with them
            return True

    def _check_sizes(self) -> None:
        doubts: list[str] = []
        for files in self._files:
            picture, other = files["combined"], files["all_in_focus"]
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always", PictureWarning)
                sizes = [upright_size(picture), upright_size(other, belongs_to=picture)]
            doubts += [str(warning.message) for warning in raised]
            if sizes[0] != sizes[1]:
                raise ValueError(
                    f"Pairs: expected pictures of one size, got {sizes[0][0]} x {sizes[0][1]} px in {picture} and "
                    f"{sizes[1][0]} x {sizes[1][1]} px in {other}; {self._slip}"
                )
        if doubts:
            more = f", and so were {len(doubts) - 1} more" if len(doubts) > 1 else ""
            warnings.warn(f"{doubts[0]}{more}", PictureWarning, stacklevel=3)

    def _read(self, name: str, file: Path, picture: Path) -> np.ndarray:
        with warnings.catch_warnings():
            if name == "all_in_focus":
                warnings.filterwarnings("ignore", ".*no orientation of its own", PictureWarning)  # said when made
            return super()._read(name, file, picture)


def _two_folders(where: Path) -> tuple[Path, Path] | None:
    """Return the folders of the blurred and the sharp pictures; None unless both exist."""
    entries = {entry.name.lower(): entry for entry in where.iterdir() if entry.is_dir()}
    found = [[entries[word] for word in words if word in entries] for words in (BLURRED, SHARP)]
    for kind, folders in zip(("blurred", "sharp"), found, strict=True):
        if len(folders) > 1:
            raise ValueError(
                f"Pairs: expected one folder of {kind} pictures in {where}, found "
                f"{' and '.join(folder.name for folder in folders)}; say which with blurred and sharp"
            )
    if not all(found):
        return None
    return found[0][0], found[1][0]


def _in_two(blurred: Path, sharp: Path) -> Rows:
    columns = {"all_in_focus": files_in("Pairs", sharp, suffixes=SUFFIXES)}
    columns["combined"] = files_in("Pairs", blurred, suffixes=SUFFIXES)
    words = {blurred: BLURRED, sharp: SHARP}
    rows = pair_by_key("Pairs", columns, lambda file: _bare(file.stem, words[file.parent])[0])
    return sorted(rows, key=lambda row: natural(row[0]))


def _in_one(where: Path) -> Rows:
    columns: dict[str, list[Path]] = {"all_in_focus": [], "combined": []}
    keys: dict[Path, str] = {}
    for file in files_in("Pairs", where, suffixes=SUFFIXES, empty=True):
        for column, words in (("all_in_focus", SHARP), ("combined", BLURRED)):
            keys[file], named = _bare(file.stem, words)
            if named:
                columns[column].append(file)
                break
    if not all(columns.values()):
        inner = [entry.name for entry in where.iterdir() if entry.is_dir() and _two_folders(entry)]
        hint = f"; there are pairs in {', '.join(sorted(inner))}: name one as the split" if inner else ""
        raise FileNotFoundError(f"Pairs: expected in {where} {_LAYOUTS}, found no pairs{hint}")
    return pair_by_key("Pairs", columns, keys.__getitem__)


def _bare(stem: str, words: Sequence[str]) -> tuple[str, bool]:
    """Strip a word from the beginning or the end of a name; returns the rest, and whether there was one.

    Names are normalised: file systems store an umlaut as one character or as two.
    """
    stem = unicodedata.normalize("NFC", stem)
    lower = stem.lower()
    for word in sorted(words, key=len, reverse=True):
        for mark in "_-. ":
            if lower.endswith(mark + word) and len(stem) > len(word) + 1:
                return stem[: -len(word) - 1], True
            if lower.startswith(word + mark) and len(stem) > len(word) + 1:
                return stem[len(word) + 1 :], True
    return stem, False
