"""Atomic writing of files: they appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

__all__ = [
    "RefusedError",
    "existing_file",
    "publish",
    "publish_together",
    "refusal",
    "refuse_existing",
    "refused",
    "uninterrupted",
]

PathLike = str | os.PathLike[str]


class RefusedError(OSError):
    """A file could not be written; `reason` says which and why, but not what is left on the disk. See `refused`.

    Its only argument is the message, so that it can be pickled between processes.
    """

    reason: str = ""


def refused(reason: str, left: str) -> RefusedError:
    """Return the error of a failed write, with the message ``<reason>; <left>``."""
    error = RefusedError(f"{reason}; {left}")
    error.reason = reason
    return error


def existing_file(path: PathLike) -> Path:
    """Return the path of a regular file; raise an error that says why it is not one."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"expected a file, got the folder {file}")
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    if not file.is_file():
        raise ValueError(f"expected a regular file, got the device or pipe {file}")
    return file


def refuse_existing(path: PathLike, *, overwrite: bool) -> Path:
    """Check, before any work is done, that `path` may be written, and return it."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"cannot write {file}: it is a folder")
    if not overwrite and file.exists():
        raise FileExistsError(f"{file} exists already; pass overwrite=True to replace it")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"cannot write {file}: there is no folder {file.parent}")
    return file


@contextlib.contextmanager
def publish(path: PathLike, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path of a temporary file, which is moved to `path` if the block succeeds, and deleted otherwise.

    Parameters
    ----------
    path : path
        The file.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    Path
        An empty file ``<path>.<random>.part``, to be written and closed inside the block.

    Raises
    ------
    FileExistsError
        `path` exists and `overwrite` is False.
    FileNotFoundError
        Its folder does not exist.
    OSError
        The file could not be written; the message says that nothing was left behind. An existing file is unchanged.

    Notes
    -----
    The data are flushed to the disk (fsync) before the file is renamed, in one step (``os.replace``).
    """
    with publish_together([path], overwrite=overwrite) as (part,):
        yield part


@contextlib.contextmanager
def publish_together(paths: Iterable[PathLike], *, overwrite: bool) -> Iterator[tuple[Path, ...]]:
    """Like `publish`, for several files that belong together: none is renamed before all of them are complete.

    Parameters
    ----------
    paths : iterable of path
        The files, each once.
    overwrite : bool
        Whether existing files may be replaced.

    Yields
    ------
    tuple of Path
        One empty temporary file for each path, beside it.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError
        As for `publish`; the message names all the files.

    Notes
    -----
    If renaming fails after some files were renamed, those that did not exist before are deleted again.
    """
    files = [refuse_existing(path, overwrite=overwrite) for path in paths]
    parts: list[Path] = []
    appeared: list[Path] = []
    try:
        for file in files:
            _add_part(file, parts)
        yield tuple(parts)
        for part in parts:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        with uninterrupted():
            for file in files:
                refuse_existing(file, overwrite=overwrite)
            for part, file in zip(parts, files, strict=True):
                new = not file.exists()
                os.replace(part, file)
                if new:
                    appeared.append(file)
            appeared.clear()
    except BaseException as error:
        with uninterrupted():
            for path in (*parts, *appeared):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        if reason := refusal(error):
            names = " and ".join(str(file) for file in files)
            raise refused(f"could not write {names}: {reason}", "nothing was left behind") from error
        raise


def _add_part(file: Path, parts: list[Path]) -> None:
    """Create an empty file with a unique name beside `file`, with the default mode, and append its path."""
    while True:
        # Appended before the file is created, so that it is deleted in any case.
        parts.append(file.with_name(f"{file.name}.{secrets.token_hex(4)}.part"))
        try:
            os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return
        except FileExistsError:
            parts.pop()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, if its handler runs in this thread."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(signal.SIGINT, came[0])


def refusal(error: BaseException) -> str | None:
    """Return in words why a file could not be written; None if neither the error nor its causes are of that kind."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "the disk is full"
    if code == errno.EFBIG or "File too large" in str(error):
        return "the file would be larger than this system allows"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
        return os.strerror(code).lower()
    return None if error.__cause__ is None else refusal(error.__cause__)
