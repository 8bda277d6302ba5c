"""How far a long job has come: of a command, or of a call in the library that takes its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol, TextIO, final

__all__ = ["Advance", "progress", "watch"]

PATIENCE = 5.0
"""Seconds that a call in the library may take before `watch` shows a bar."""

_SHOWN: ContextVar[bool] = ContextVar("blurphys_progress_shown", default=False)
"""Whether a bar of ours is on the screen: what runs inside of a job shows no second one."""


class Advance(Protocol):
    """What `progress` yields: call it after each step, or with a message when a step begins."""

    def __call__(self, message: str = "", steps: int = 1) -> None:
        """Count `steps` more steps and show `message`."""


@contextmanager
def progress(title: str, total: int, *, stream: TextIO | None = None, interval: float = 5.0) -> Iterator[Advance]:
    """Show how far a command has come: a bar when a terminal watches, a line now and then otherwise.

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
        with _bar(title, total, stream) as advance:
            yield advance
    else:
        yield _lines(title, total, stream, interval)


@contextmanager
def watch(
    title: str, total: int | None, *, after: float | None = None, stream: TextIO | None = None
) -> Iterator[Advance]:
    """Show how far a call in the library has come, once it has taken longer than somebody at a terminal waits.

    Parameters
    ----------
    title : str
        Name of the job.
    total : int or None
        Number of steps; None where it is not known.
    after : float
        Seconds until the bar appears, at the next step; 5 by default. It goes away when the job ends.
    stream : text file, optional
        Where to write; stderr by default. Nothing is ever written to what is not a terminal, nor beside another bar.

    Yields
    ------
    Advance
        ``advance(message="", steps=1)``; costs a look at the clock.

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
    """Counts, and opens the bar when its time has come."""

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
        except LiveError:  # the caller shows a bar of their own
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
