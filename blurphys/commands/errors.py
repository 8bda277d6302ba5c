"""Errors of commands as one sentence and an exit code, instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import typer

__all__ = ["DEBUG_VARIABLE", "run_safely", "sentence"]

DEBUG_VARIABLE = "BLURPHYS_DEBUG"
BAD_INPUT, INTERRUPTED, DEFECT = 2, 130, 70
_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "skimage": "scikit-image", "cupy": "cupy-cuda12x or cupy-cuda13x"}


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _os_sentence(error: OSError) -> str:
    where = f"{os.fspath(error.filename)!s}: " if isinstance(error.filename, str | os.PathLike) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return f"{where}the disk is full; free some space or write elsewhere"
    if isinstance(error, PermissionError) and where:
        return f"{where}permission denied"
    if isinstance(error, FileNotFoundError) and where:
        return f"{where}no such file or folder"
    if isinstance(error, FileExistsError) and where:
        return f"{where}it exists already"
    if error.strerror:
        return where + error.strerror[:1].lower() + error.strerror[1:]
    return _one_line(error) or type(error).__name__


def sentence(error: BaseException) -> str:
    """Return one line that says what went wrong.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    str
        The error's own message on one line; for files, missing packages and a full disk, what to do about it.
    """
    if isinstance(error, KeyboardInterrupt):
        return _one_line(error) or "interrupted"
    if isinstance(error, OSError):
        return _os_sentence(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package != error.name and find_spec(package) is not None:
            return f"needs the module {error.name!r}, which the installed {package!r} does not have"
        distribution = _DISTRIBUTIONS.get(package, package)
        return f"needs the package {package!r}, which is not installed; pip install {distribution}"
    if isinstance(error, MemoryError):
        return f"not enough memory; try a smaller image{': ' + _one_line(error) if str(error) else ''}"
    message = _one_line(error)
    if isinstance(error, ValueError | TypeError | ImportError):
        return message or type(error).__name__
    return (
        f"unexpected {type(error).__name__}{': ' + message if message else ''}; this may be a defect of blurphys, "
        f"{DEBUG_VARIABLE}=1 shows where"
    )


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    expected = (ValueError, TypeError, OSError, ImportError, MemoryError)
    return BAD_INPUT if isinstance(error, expected) else DEFECT


@contextmanager
def run_safely(name: str) -> Iterator[None]:
    """Turn errors inside a command into one sentence on stderr and an exit code.

    A context manager that is also a decorator.

    Parameters
    ----------
    name : str
        The command; the sentence starts with ``blurphys NAME:``.

    Raises
    ------
    typer.Exit
        Code 2 for bad input (ValueError, TypeError, OSError, ImportError, MemoryError), 130 for Ctrl-C, 70 for any
        other exception. ``BLURPHYS_DEBUG=1`` shows the traceback as well. Usage errors, exits and closed pipes are
        not changed.

    Examples
    --------
    >>> @run_safely("blur")
    ... def radius(depth_m: float) -> float:
    ...     return 4.0 / depth_m
    >>> radius(2.0)
    2.0
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if hasattr(error, "exit_code") or isinstance(error, typer.Abort | BrokenPipeError):
            raise
        if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
            traceback.print_exc()
        print(f"{f'blurphys {name}'.strip()}: {sentence(error)}", file=sys.stderr)
        raise typer.Exit(_exit_code(error)) from None
