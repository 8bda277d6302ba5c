"""Signals: a training that is interrupted finishes its current step first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "StoppedError", "leave_interrupts", "stoppable"]


class StoppedError(KeyboardInterrupt):
    """The training was interrupted and its state written; the message says how to resume."""


class Stop:
    """Whether a signal has asked the training to stop."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # for the second time: at once
            raise KeyboardInterrupt
        self.asked = True


def leave_interrupts(worker: int) -> None:
    """Ignore Ctrl-C in a worker: a terminal sends it to all processes, and the main one handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Record Ctrl-C and SIGTERM as requests to stop; a second one raises at once.

    Yields
    ------
    Stop
        Its `asked` is True after the first signal. Outside of the main thread signals are left alone.
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
