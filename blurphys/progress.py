"""Progress bars of commands and of long calls in the library."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol, TextIO, final

__all__ = ["Advance", "progress", "watch"]

PATIENCE = 5.0
"""Seconds after which `watch` shows a bar."""

_SHOWN: ContextVar[bool] = ContextVar("blurphys_progress_shown", default=False)
"""Whether a bar is on the screen: nested calls show no second one."""


class Advance(Protocol):
    """Type of what `progress` yields: call it after each step, or with a message when a step begins."""

    def __call__(self, message: str = "", steps: int = 1) -> None:
        """Count `steps` more steps and show `message`."""


@contextmanager
def progress(title: str, total: int, *, stream: TextIO | None = None, interval: float = 5.0) -> Iterator[Advance]:
    """Show the progress of a command: a bar on a terminal, a line every few seconds otherwise.

    Parameters
    ----------
    title : str
        Name of the job.
    total : int
        Number of steps.
    stream : text file, optional
        Output; by default stderr, so that stdout has results only.
    interval : float
        Without a terminal: seconds between two lines without a message.

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
        with _bar(title, total, stream) as advance:
            yield advance
    else:
        yield _lines(title, total, stream, interval)


@contextmanager
def watch(
    title: str, total: int | None, *, after: float | None = None, stream: TextIO | None = None
) -> Iterator[Advance]:
    """Show the progress of a call in the library with a bar on a terminal, once it has taken some seconds.

    Parameters
    ----------
    title : str
        Name of the job.
    total : int or None
        Number of steps; None if unknown.
    after : float
        Seconds after which the next step shows the bar; 5 by default. It is removed when the job ends.
    stream : text file, optional
        Output; stderr by default. Nothing is written if it is not a terminal, or if another bar is shown.

    Yields
    ------
    Advance
        ``advance(message="", steps=1)``; cheap, it reads the clock.

    Examples
    --------
    >>> with watch("tiled", 3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    stream = sys.stderr if stream is None else stream
    if stream is None or stream.closed or not stream.isatty() or _SHOWN.get():
        yield _ignore
        return
    with ExitStack() as stack:
        yield _Late(stack, title, total, stream, time.monotonic() + (PATIENCE if after is None else after))


def _ignore(message: str = "", steps: int = 1) -> None:
    pass


@final
class _Late:
    """Counts steps, and shows the bar once the delay is over."""

    def __init__(self, stack: ExitStack, title: str, total: int | None, stream: TextIO, due: float) -> None:
        self.stack, self.title, self.total, self.stream, self.due = stack, title, total, stream, due
        self.done = 0
        self.bar: Advance | None = None

    def __call__(self, message: str = "", steps: int = 1) -> None:
        """Count `steps` more steps and show `message`."""
        self.done += steps
        if self.bar is not None:
            self.bar(message, steps)
        elif time.monotonic() >= self.due:
            self.bar = _ignore if _SHOWN.get() else self._open()
            self.bar(message, self.done)

    def _open(self) -> Advance:
        from rich.errors import LiveError

        try:
            return self.stack.enter_context(_bar(self.title, self.total, self.stream, transient=True))
        except LiveError:  # the caller already shows a bar of rich
            return _ignore


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


@contextmanager
def _bar(title: str, total: int | None, stream: TextIO, *, transient: bool = False) -> Iterator[Advance]:
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
    with _shown(), Progress(*columns, console=console, transient=transient) as bar:
        task = bar.add_task(escape(title), total=total, message="")

        def advance(message: str = "", steps: int = 1) -> None:
            if message:
                bar.update(task, advance=steps, message=escape(message))
            else:
                bar.update(task, advance=steps)

        yield advance


@contextmanager
def _shown() -> Iterator[None]:
    before = _SHOWN.get()
    _SHOWN.set(True)
    try:
        yield
    finally:
        _SHOWN.set(before)
