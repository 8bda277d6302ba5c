"""Warnings about arguments, which the command line prints as ``note: ...``, each on one line of stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["NoteWarning", "as_notes", "say_note"]


class NoteWarning(UserWarning):
    """A warning about an argument: what was assumed, and how to specify it."""


def say_note(text: object) -> None:
    """Print a line ``note: ...`` on stderr."""
    print(f"note: {' '.join(str(text).split())}", file=sys.stderr)


@contextmanager
def as_notes() -> Iterator[None]:
    """Print each `NoteWarning` of the block once, as a line ``note: ...`` on stderr; other warnings are unchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", NoteWarning)
        show, shown = warnings.showwarning, set[str]()

        def note(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
            if not issubclass(category, NoteWarning):
                show(message, category, filename, lineno, file, line)
            elif (text := " ".join(str(message).split())) not in shown:
                shown.add(text)
                say_note(text)

        warnings.showwarning = note
        yield
