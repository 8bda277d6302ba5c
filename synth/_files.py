"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["existing_file", "publish", "refuse_existing"]

PathLike = str | os.PathLike[str]


def existing_file(path: PathLike) -> Path:
    """Return the path of a regular file, or say in one sentence why it is none."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"expected a file, got the folder {file}")
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    if not file.is_file():
        raise ValueError(f"expected a regular file, got the device or pipe {file}")
    return file


def refuse_existing(path: PathLike, *, overwrite: bool) -> Path:
    """Check before any work is done that `path` may be written."""
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
    """Give the path of a temporary file beside `path`; move it there when the block ends well, delete it when not.

    Parameters
    ----------
    path : path
        Where the finished file is to be.
    overwrite : bool
        Whether a file there may be replaced.

    Yields
    ------
    Path
        ``<path>.part``, to be written and closed inside the block.

    Raises
    ------
    FileExistsError
        `path` exists and `overwrite` is False.
    FileNotFoundError
        Its folder does not exist.
    OSError
        The disk is full or refuses; the message says that nothing was left behind, and a file that was there still is.

    Notes
    -----
    The data are on the disk (fsync) before the name changes, and the name changes in one step (``os.replace``).
    """
    file = refuse_existing(path, overwrite=overwrite)
    part = file.with_name(file.name + ".part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        refuse_existing(file, overwrite=overwrite)
        os.replace(part, file)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if reason := _refusal(error):
            raise OSError(f"could not write {file}: {reason}; nothing was left behind") from error
        raise


def _refusal(error: BaseException) -> str | None:
    """Say in words why the disk refused, or None when the error is something else."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "the disk is full"
    if code == errno.EFBIG or "File too large" in str(error):
        return "the file would be larger than this system allows"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
        return os.strerror(code).lower()
    return None
