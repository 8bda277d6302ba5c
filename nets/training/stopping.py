"""A training that is told to stop ends after the step it is in, not inside of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "StoppedError", "leave_interrupts", "stoppable"]


class StoppedError(KeyboardInterrupt):
    """The training was told to stop, and its state was written; the message says how to go on."""


class Stop:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # for the second time: at once
            raise KeyboardInterrupt
        self.asked = True


def leave_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the process that trains: a terminal sends it to those that read samples, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Take Ctrl-C and SIGTERM as a wish; a second one ends the block where it is.

    Yields
    ------
    Stop
        Its `asked` says whether there was one. Outside of the main thread signals are left alone.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop._ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
