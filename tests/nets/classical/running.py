"""`blurphys solve` in this process, as from a terminal."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from blurphys.cli import application


class Outcome(NamedTuple):
    exit_code: int
    output: str


def run(*arguments):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        application()(["solve", *(str(a) for a in arguments)], prog_name="blurphys")
    return Outcome(end.value.code or 0, said.getvalue())
