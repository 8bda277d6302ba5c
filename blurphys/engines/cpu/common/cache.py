"""Compiled kernels kept on disk: an entry that is old, damaged or out of reach costs a compilation, never more.

Numba's own cache looks at the one file that a kernel stands in, so a kernel keeps the old code of a function that has
changed in another file; and it trusts whatever bytes it finds. Here a folder belongs to one state of all sources of
this engine and one set of versions, an entry to one signature on one kind of processor, and nothing is unpickled whose
checksum does not fit.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import re
import sys
import time
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

__all__ = ["KernelCache", "cache_folders", "kept_in", "source_files"]

SOURCES = Path(__file__).parents[1]
"""The folder of the CPU engine: the kernels and all that they call stand in it and in the folders below."""

KEPT = 4
"""Folders of other sources or versions that stay beside the one in use, the latest used ones: for other branches and
environments on the same files."""

STALE_SECONDS = 3600
"""A file that is still being written after this time was left by a process that died."""

_NO_SOURCES = "the sources of the engine cannot be read, so nobody could tell when they change"

_SETTINGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE")
"""Numba's settings that change the machine code."""


def source_files() -> list[Path]:
    """Return every file whose code or constants can end up in a kernel."""
    return sorted(SOURCES.rglob("*.py"))


def _source_digest() -> str:
    """Return a hash of all sources of this engine, empty where there are none to read."""
    digest, files = sha256(), source_files()
    try:
        for path in files:
            digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + sha256(path.read_bytes()).digest())
    except OSError:
        return ""
    return digest.hexdigest() if files else ""


_AT_IMPORT = _source_digest()


@cache
def _folder_name() -> str:
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_implementation(), sys.version)
    return f"kernels-{sha256(repr((_AT_IMPORT, versions)).encode()).hexdigest()[:20]}"


def _user_folder() -> Path | None:
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "blurphys"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "blurphys"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blurphys"
    except RuntimeError:  # nobody knows where home is
        return None


def cache_folders() -> list[Path]:
    """Return where kernels are looked for, and where the first that can be written keeps them.

    NUMBA_CACHE_DIR alone where it is set; else beside the sources, then the user's cache folder.
    """
    given = config.CACHE_DIR
    homes = [Path(given)] if given else [SOURCES / "__pycache__", _user_folder()]
    return [home / _folder_name() for home in homes if home is not None]


@cache
def _processor() -> tuple[str, str]:
    """Return name and features of the processor that constants of the sources were chosen for."""
    try:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # the platform does not tell
        return platform.machine(), ""


class _Trouble:
    """Why compiled kernels could not be kept in this process; said once."""

    reason = ""

    @classmethod
    def say(cls, reason: str) -> None:
        if not cls.reason:
            cls.reason = reason
            logging.getLogger("blurphys").warning(
                "compiled kernels cannot be kept (%s): every process compiles its own; "
                "set NUMBA_CACHE_DIR to a folder that can be written",
                reason,
            )


def kept_in() -> tuple[Path | None, str]:
    """Return (the folder that takes compiled kernels, empty), or (None, why nothing can be kept); it is tried."""
    if not _AT_IMPORT:
        return None, _NO_SOURCES
    if _Trouble.reason:
        return None, _Trouble.reason
    reasons = []
    for folder in cache_folders():
        probe = folder / f"{uuid4().hex}.tmp"
        try:
            _write(probe, b"blurphys")
            probe.unlink()
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
        else:
            return folder, ""
    return None, "; ".join(reasons)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{uuid4().hex}.tmp")
    try:
        with partial.open("xb") as file:
            file.write(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@cache
def _tidy(folder: Path) -> None:
    """Remove what no process uses any more, once in a process: old folders, and files that were never finished."""
    try:
        others = [path for path in folder.parent.glob("kernels-*") if _is_ours(path) and path != folder]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        left = [path for path in folder.glob("*.tmp") if path.stat().st_mtime < time.time() - STALE_SECONDS]
        if folder.parent == SOURCES / "__pycache__":
            left += folder.parent.glob("*.nb[ci]")  # Numba's own, of earlier releases
    except OSError:
        return
    for path in others[KEPT:]:
        left += [*path.glob("*.nbc"), *path.glob("*.tmp")]
    for path in left:
        with suppress(OSError):
            path.unlink()
    for path in others[KEPT:]:
        with suppress(OSError):  # what else stands there is not ours
            path.rmdir()


def _is_ours(folder: Path) -> bool:
    """Whether a folder was made here: the one above is the user's choice, and may hold anything."""
    return re.fullmatch("kernels-[0-9a-f]{20}", folder.name) is not None and folder.is_dir()


@cache
def _mark_used(folder: Path) -> None:
    with suppress(OSError):
        os.utime(folder)


class KernelCache(NullCache):  # type: ignore[misc]
    """What a dispatcher of Numba asks for compiled code of one function, and gives it to keep.

    Parameters
    ----------
    function : callable
        A kernel whose source stands below `SOURCES`.
    """

    def __init__(self, function: Any) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        """Where the function's entries are kept."""
        return str(cache_folders()[0])

    def _entry(self, signature: Any, codegen: Any) -> str:
        settings = [getattr(config, name, None) for name in _SETTINGS]
        key = repr((self._name, signature, codegen.magic_tuple(), _processor(), settings))
        return f"{self._name.rpartition('.')[2]}-{sha256(key.encode()).hexdigest()[:32]}.nbc"

    @staticmethod
    def _checksum(entry: str, payload: bytes) -> bytes:
        return sha256(entry.encode() + payload).digest()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled function, None where no folder has a sound entry."""
        target_context.refresh()
        try:
            entry = self._entry(signature, target_context.codegen())
            for folder in cache_folders() if _AT_IMPORT and _source_digest() == _AT_IMPORT else []:
                found = self._load(folder / entry, target_context)
                if found is not None:
                    _mark_used(folder)
                    return found
        except Exception as error:
            logging.getLogger("blurphys").debug("no kept kernel: %r", error)
        return None

    def _load(self, path: Path, target_context: Any) -> Any:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        payload = content[32:]
        if content[:32] != self._checksum(path.name, payload):
            return None
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception as error:
            logging.getLogger("blurphys").debug("%s does not load: %r", path, error)
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function in the first folder that takes it; say once if none does."""
        try:
            self._save(signature, compiled)
        except Exception as error:
            _Trouble.say(" ".join(f"{type(error).__name__}: {error}".split()))

    def _save(self, signature: Any, compiled: Any) -> None:
        if not _AT_IMPORT:
            _Trouble.say(_NO_SOURCES)
            return
        if any(not part.can_cache for part in compiled.lifted) or compiled.library.has_dynamic_globals:
            return  # bound to this process
        if _source_digest() != _AT_IMPORT:
            return  # edited since this process read them: nobody knows which code this is
        entry, payload = self._entry(signature, compiled.codegen), dumps(compiled._reduce())
        reasons = []
        for folder in cache_folders():
            try:
                _write(folder / entry, self._checksum(entry, payload) + payload)
            except OSError as error:
                reasons.append(f"{folder}: {error.strerror or error}")
            else:
                _tidy(folder)
                return
        _Trouble.say("; ".join(reasons))
