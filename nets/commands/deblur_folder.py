"""`blurphys deblur FOLDER`: every photo of a folder, with the errors of single photos at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blurphys.notes import say_note

from .deblur_photo import Job, check_views, restore_photo
from .errors import command_message

if TYPE_CHECKING:
    from ..net import Net

__all__ = ["SUFFIXES", "deblur_folder", "pictures_in", "result_names"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".jxl", ".exr", ".pfm", ".npy")
"""Suffixes of photos."""

_SHOWN = 5


def deblur_folder(
    network: Callable[[], Net], job: Job, photos: Path, out: Path, left: Path | None, right: Path | None
) -> int:
    """Restore every photo of a folder into another, which is created if needed.

    Parameters
    ----------
    network : callable
        Loads the network; called after all folders have been checked.
    job : Job
    photos, out : Path
        Folders.
    left, right : Path, optional
        Folders of the views; a photo and its views have one name, up to the suffix.

    Returns
    -------
    int
        Exit code: 0, or 1 where a photo has no result, or one from before; they are named on stderr.

    Raises
    ------
    FileNotFoundError
        There is no such folder of views, or none to make `out` in.
    KeyboardInterrupt
        How many photos are done, and how to go on.
    OSError
        The disk is full.
    ValueError
        No photo in the folder; `out` is a file, or one of the folders that are read.
    """
    from blurphys.commands.errors import sentence
    from blurphys.progress import progress

    files, others = pictures_in(photos)
    if not files:
        raise ValueError(f"expected photos ({', '.join(SUFFIXES)}) in {photos}, found {_named(others) or 'nothing'}")
    views = {side: _by_stem(side, folder) for side, folder in (("left", left), ("right", right)) if folder is not None}
    _check_out(out, [folder for folder in (photos, left, right) if folder is not None])
    net = network()
    check_views(net, {"left": left, "right": right})
    if others:
        say_note(f"{photos} holds more than photos; passed over {_named(others)}")
    names = result_names(files)
    if changed := [f"{file.name} becomes {names[file]}" for file in files if names[file] != f"{file.stem}.png"]:
        say_note(f"photos of one name: {_named(changed)}")
    made = not out.exists()
    out.mkdir(exist_ok=True)
    written, failed = 0, list[tuple[str, str]]()
    try:
        with progress("deblur", total=len(files)) as advance:
            for file in files:
                target = out / names[file]
                try:
                    if target.exists() and not job.force:
                        raise FileExistsError(f"{target} exists already; --force replaces it")
                    sides = {side: _view(side, file, found) for side, found in views.items()}
                    restore_photo(net, job, {"photo": file, **sides}, target)
                    written += 1
                except Exception as error:  # an error of one photo does not stop the others
                    if _disk_is_full(error):
                        raise
                    failed.append((file.name, command_message(sentence(error))))
                advance(file.name)
    except KeyboardInterrupt:
        # an interrupt may come when a photo is written and not yet counted
        done = written if job.force else sum((out / name).exists() for name in names.values())
        again = (
            "begins again, without --force it makes those that are not there"
            if job.force
            else "goes on with the others"
        )
        raise KeyboardInterrupt(
            f"{done} of {len(files)} photos are done{f', in {out}' if done else ''}; the same command {again}"
        ) from None
    finally:
        if made and not written:
            with contextlib.suppress(OSError):  # something is in it
                out.rmdir()
    if written:
        typer.echo(f"wrote {written} photo{'s' if written > 1 else ''} to {out}")
    if failed:
        _print_line(f"{len(failed)} of {len(files)} photos have no new result:")
        for name, reason in failed:
            _print_line(f"  {name}: {reason}")
    return 1 if failed else 0


def pictures_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Photos of a folder, and the names of what else is in it; hidden files are neither."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    photos = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    return photos, [f"{e.name}{os.sep if e.is_dir() else ''}" for e in entries if e not in photos]


def result_names(files: Sequence[Path]) -> dict[Path, str]:
    """Name the result of each photo: ``a.png`` of ``a.jpg``; ``a_jpg.png`` and ``a_png.png`` where both are there.

    Raises
    ------
    ValueError
        Two results would have one name even so.

    Examples
    --------
    >>> list(result_names([Path("a.jpg"), Path("a.png"), Path("b.tif")]).values())
    ['a_jpg.png', 'a_png.png', 'b.png']
    """
    stems = [file.stem.lower() for file in files]  # some file systems ignore case
    names = {
        file: f"{file.stem}_{file.suffix[1:]}.png" if stems.count(file.stem.lower()) > 1 else f"{file.stem}.png"
        for file in files
    }
    taken: dict[str, Path] = {}
    for file, name in names.items():
        if (other := taken.setdefault(name.lower(), file)) != file:
            raise ValueError(f"expected photos whose results have different names, got {name} of {other} and {file}")
    return names


def _check_out(out: Path, read: Sequence[Path]) -> None:
    if out.is_file() or (not out.exists() and out.suffix.lower() in SUFFIXES):
        raise ValueError(f"--out: the photos of a folder need a folder for their results, got {out}")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"cannot make {out}: there is no folder {out.absolute().parent}")
    if any(out.resolve() == folder.resolve() for folder in read):
        raise ValueError(f"--out: expected another folder than those that are read, got {out}")


def _by_stem(side: str, folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"--{side}: expected a folder of {side} views, as for a folder of photos, got {folder}")
    found: dict[str, Path] = {}
    for file in pictures_in(folder)[0]:
        key = _key(file)
        if key in found:
            raise ValueError(f"--{side}: {found[key]} and {file.name} are both the {side} view of {file.stem!r}")
        found[key] = file
    return found


def _view(side: str, photo: Path, views: dict[str, Path]) -> Path:
    if _key(photo) not in views:
        raise FileNotFoundError(f"it has no {side} view of that name")
    return views[_key(photo)]


def _key(file: Path) -> str:
    """The name without suffix, in one Unicode normal form, since file systems differ."""
    return unicodedata.normalize("NFC", file.stem)


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _print_line(line: str) -> None:
    print(line, file=sys.stderr)
