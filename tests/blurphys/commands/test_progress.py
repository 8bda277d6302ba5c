"""Progress: a bar or lines for commands, and for long calls in the library a bar that nobody else sees."""

from __future__ import annotations

import io

import numpy as np
import pytest

import blurphys as bp
from blurphys import progress as module
from blurphys.progress import progress, watch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_without_a_terminal_writes_a_line_now_and_then():
    log = io.StringIO()
    with progress("job", 100, stream=log) as advance:
        for _ in range(99):
            advance()
        advance("last one")
    assert log.getvalue() == "job: 100/100 last one\n"
    log = io.StringIO()
    with progress("job", 3, stream=log, interval=0.0) as advance:
        advance(steps=2)
        advance()
    assert log.getvalue() == "job: 2/3\njob: 3/3\n"


def test_progress_on_a_terminal_is_a_bar():
    terminal = Terminal()
    with progress("job", 2, stream=terminal) as advance:
        advance("[first] part")
        advance()
    assert "2/2" in terminal.getvalue()
    assert "[first] part" in terminal.getvalue()


def test_progress_passes_errors_on():
    for stream in (io.StringIO(), Terminal()):
        with pytest.raises(ValueError, match="no"), progress("job", 2, stream=stream):
            raise ValueError("no")


def test_a_long_call_shows_a_bar_on_a_terminal_only():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with watch("restore", 3, after=0.0, stream=stream) as advance:
            for _ in range(3):
                advance("step")
    assert "restore" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert file.getvalue() == ""


def test_a_short_call_shows_nothing():
    terminal = Terminal()
    with watch("restore", 3, after=60.0, stream=terminal) as advance:
        advance()
    assert terminal.getvalue() == ""


def test_a_bar_that_comes_late_knows_the_steps_before(monkeypatch):
    terminal, now = Terminal(), iter([0.0, 1.0, 2.0, 7.0])
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "monotonic", lambda: next(now))
        with watch("restore", None, stream=terminal) as advance:
            advance()
            advance()
            assert terminal.getvalue() == ""
            patch.setattr(module.time, "monotonic", lambda: 7.0)
            advance()
    assert "3/?" in terminal.getvalue()


def test_what_runs_inside_of_a_job_shows_no_bar_of_its_own():
    outer, inner = Terminal(), Terminal()
    with watch("solve", 2, after=0.0, stream=outer) as advance:
        advance()
        with watch("tiled", 2, after=0.0, stream=inner) as step:
            step()
    with progress("command", 1, stream=outer), watch("tiled", 2, after=0.0, stream=inner) as step:
        step()
    assert inner.getvalue() == ""
    with watch("tiled", 1, after=0.0, stream=inner) as step:
        step()
    assert "1/1" in inner.getvalue()


def test_an_error_passes_through_a_bar():
    terminal = Terminal()
    with pytest.raises(ValueError, match="no"), watch("restore", 3, after=0.0, stream=terminal) as advance:
        advance()
        raise ValueError("no")
    with watch("next", 1, after=0.0, stream=terminal) as advance:
        advance()
    assert "next" in terminal.getvalue()


def test_a_long_tiled_operator_shows_its_tiles(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(module.sys, "stderr", terminal)
    A = bp.GKM(np.full((2, 20, 30), 0.5), sigmas=(0.0, 1.0))
    bp.tiled(A, tile=10)(np.ones((3, 20, 30)))
    assert "tiled" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()
