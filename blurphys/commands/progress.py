"""A progress bar when a terminal watches, a line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

__all__ = ["Advance", "progress"]


class Advance(Protocol):
    """What `progress` yields: call it after each step, or with a message when a step begins."""

    def __call__(self, message: str = "", steps: int = 1) -> None:
        """Count `steps` more steps and show `message`."""


@contextmanager
def progress(title: str, total: int, *, stream: TextIO | None = None, interval: float = 5.0) -> Iterator[Advance]:
    """Show how far a long job has come.

    Parameters
    ----------
    title : str
        Name of the job.
    total : int
        Number of steps.
    stream : text file, optional
        Where to write; stderr by default, so that stdout holds results only.
    interval : float
        Without a terminal: seconds between two lines that have no message of their own.

    Yields
    ------
    Advance
        ``advance(message="", steps=1)``. The bar (or the line) shows the count, the total and the last message.

    Examples
    --------
    >>> import io
    >>> log = io.StringIO()
    >>> with progress("render", 2, stream=log) as advance:
    ...     advance("scene 1")
    ...     advance("scene 2")
    >>> print(log.getvalue(), end="")
    render: 1/2 scene 1
    render: 2/2 scene 2
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        yield from _bar(title, total, stream)
    else:
        yield _lines(title, total, stream, interval)


def _lines(title: str, total: int, stream: TextIO, interval: float) -> Advance:
    done, said = 0, time.monotonic()

    def advance(message: str = "", steps: int = 1) -> None:
        nonlocal done, said
        done += steps
        now = time.monotonic()
        if message or done >= total or now - said >= interval:
            print(f"{title}: {done}/{total} {message}".rstrip(), file=stream, flush=True)
            said = now

    return advance


def _bar(title: str, total: int, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=stream)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(title), total=total, message="")

        def advance(message: str = "", steps: int = 1) -> None:
            if message:
                bar.update(task, advance=steps, message=escape(message))
            else:
                bar.update(task, advance=steps)

        yield advance
