"""A lock file for one process at a time, released when the process ends, however it ends."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["BusyError", "locked"]


class BusyError(ValueError):
    """Another process holds the lock."""


@contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock while the block runs.

    Parameters
    ----------
    file : Path
        Created if missing, and not deleted; its folder has to exist.
    refusal : str
        The message where another process holds the lock.

    Raises
    ------
    BusyError
        Another process holds it.
    OSError
        The file cannot be opened.

    Notes
    -----
    If the system or the file system does not support locks, the block runs without one.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BusyError(refusal) from None
        yield
