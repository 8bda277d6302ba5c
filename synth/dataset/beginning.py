"""Beginning a folder of shards, locking it against a second process, and removing it again after an early error."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blurphys.files.locking import BusyError, locked
from blurphys.files.publishing import RefusedError, publish, refusal, refused, uninterrupted

from .config import config_text, find_difference, read_config, without_limit
from .manifest import MANIFEST
from .schema import CONFIG

__all__ = ["KEPT", "LOCK", "begin", "claim", "is_begun", "sync", "undo_on_error"]

LOCK = ".lock"
KEPT, NOTHING = "the shards published before are intact", "nothing was left behind"


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk (fsync)."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_begun(root: Path) -> bool:
    """Whether a folder is a dataset already; FileExistsError or FileNotFoundError where it can be none."""
    if (root / CONFIG).exists():
        return True
    if root.exists() and (not root.is_dir() or any(path.suffix != ".part" for path in root.iterdir())):
        raise FileExistsError(f"{root} exists and is not a dataset; choose a new or an empty folder")
    if not root.parent.is_dir():
        raise FileNotFoundError(f"cannot make {root}: there is no folder {root.parent}")
    return False


def begin(root: Path, config: dict[str, Any], resume: bool) -> bool:
    """Make the folder with its configuration, or check that an existing one was begun with the same configuration.

    Returns whether it is new.
    """
    if not is_begun(root):
        fresh = not root.exists()
        try:
            root.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError), publish(root / CONFIG, overwrite=False) as part:
                part.write_text(config_text(config))
                sync(root)
                return True
        except OSError as error:
            if fresh:
                with contextlib.suppress(OSError):
                    root.rmdir()
            if isinstance(error, PermissionError):
                raise OSError(f"cannot write to {root}: {os.strerror(error.errno or errno.EACCES).lower()}") from None
            if error.errno is not None and (reason := refusal(error)):
                raise refused(f"could not make {root}: {reason}", NOTHING) from error
            raise
    if not resume:
        if _is_claimed(root):
            raise FileExistsError(
                f"{root}: another process is making this dataset; wait for it, or name another folder"
            )
        raise FileExistsError(
            f"{root} is a dataset already; `blurphys synth resume {root}` continues it, another name starts a new one"
        )
    there = read_config(root)
    if field := find_difference(without_limit(config), without_limit(there)):
        raise ValueError(f"{root} was begun with another {field}; resume it as it was, or name another folder")
    if config["storage"].get("max_clamped") != (there["storage"] or {}).get("max_clamped"):
        with publish(root / CONFIG, overwrite=True) as part:
            limit = {"max_clamped": config["storage"]["max_clamped"]}
            part.write_text(config_text({**there, "storage": {**there["storage"], **limit}}))
    return False


@contextlib.contextmanager
def undo_on_error(root: Path, new: bool, *, alone: bool) -> Iterator[None]:
    """Remove a new folder after an error before its first shard; otherwise say in the error what is left.

    Such an error is a bad argument or a write that fails. After the death of a worker or a cluster the folder stays and
    can be resumed; so it does after a full disk while other processes (not `alone`) may still be writing.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if isinstance(error, ChildProcessError | ConnectionError | BusyError):
            raise
        shards = sum(1 for _ in root.glob("shard-*.h5"))
        if new and not shards and (alone or not isinstance(error, OSError)):
            with uninterrupted(), contextlib.suppress(OSError):
                for path in (*root.glob("*.part"), root / MANIFEST, root / LOCK, root / CONFIG):
                    path.unlink(missing_ok=True)
                root.rmdir()
        if not isinstance(error, OSError) or (reason := _reason_of(error)) is None:
            raise
        left = f"{KEPT} ({shards} of them), `blurphys synth resume {root}` continues it"
        raise OSError(f"{reason}; {left if root.exists() else NOTHING}") from error


def _reason_of(error: OSError) -> str | None:
    """Return what was being written and why it failed, without what is left; None for other errors."""
    if error.errno is None:
        return error.reason if isinstance(error, RefusedError) else None
    reason = refusal(error)
    return None if reason is None else f"could not write {error.filename or 'to the folder'}: {reason}"


@contextlib.contextmanager
def claim(root: Path) -> Iterator[bool]:
    """Lock a folder against a second process; the lock is released when the process ends, however it ends.

    Yields whether the folder is writable.
    """
    with contextlib.ExitStack() as held:
        try:
            refused = f"{root}: another process is making this dataset; wait for it, or stop it"
            held.enter_context(locked(root / LOCK, refused))
            writable = os.access(root, os.W_OK)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            writable = False
        yield writable


def _is_claimed(root: Path) -> bool:
    """Return whether a process is making shards in this folder."""
    try:
        with claim(root) if (root / LOCK).exists() else contextlib.nullcontext():
            return False
    except OSError:  # a folder that cannot be locked
        return False
    except BusyError:
        return True
