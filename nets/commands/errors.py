"""Error messages of library functions, reworded for commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from warnings import WarningMessage

from blurphys.notes import NoteWarning, say_note

__all__ = ["command_message", "print_notes", "without_owner"]

OWNERS = re.compile(
    r"(train|load|load_weights|deblur|evaluate|calibrate_grid|grid_sheet|restore|restore_photo|report|focal_stack_depth|"
    r"merge_focal_stack): "
)


def command_message(text: str) -> str:
    """Return a message without the name of the function at its start, since the command prints its own name.

    Examples
    --------
    >>> command_message("train: expected batch to be a whole number")
    'expected batch to be a whole number'
    """
    return OWNERS.sub("", text, count=1) if OWNERS.match(text) else text


@contextmanager
def without_owner() -> Iterator[None]:
    """Strip the function's name from errors that leave the block or the decorated function."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (command_message(error.args[0]),)
        raise


def print_notes(raised: Sequence[WarningMessage]) -> None:
    """Print warnings as lines ``note: ...``: each `NoteWarning`, and of other kinds, which each tile may raise, one."""
    lines: dict[object, str] = {}
    for warning in raised:
        text = " ".join(str(warning.message).split())
        lines.setdefault(text if issubclass(warning.category, NoteWarning) else warning.category, text)
    for text in lines.values():
        say_note(text)
