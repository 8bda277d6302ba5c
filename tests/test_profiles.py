"""The same examples in every run, and a search at random on request that says how to find its failures again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROPERTY = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_property(n):
    with open("drawn", "a") as file:
        print(n, file=file)
    assert abs(n) < {limit}

def test_plain():
    open("plain", "w").close()
"""


@pytest.fixture
def run(tmp_path):
    """Run this property in a process of its own; (exit code, what was printed, what was drawn)."""

    def start(*options, limit=2**200, **environment):
        (tmp_path / "test_it.py").write_text(PROPERTY.format(limit=limit))
        (tmp_path / "drawn").write_text("")
        own = ("PYTEST", "CI", "BLURPHYS_HYPOTHESIS", "BLURPHYS_EXAMPLES")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [*command, *options, "test_it.py"], cwd=tmp_path, env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout, (tmp_path / "drawn").read_text().split()

    return start


def test_the_default_draws_the_same_everywhere(run):
    (code, _, here), (_, _, in_ci) = run(), run(CI="true")
    assert code == 0 and len(here) == 40
    assert here == in_ci


def test_a_search_ends_with_the_commands_that_repeat_its_failures(run, tmp_path):
    search = {"BLURPHYS_HYPOTHESIS_PROFILE": "nightly", "BLURPHYS_EXAMPLES": "300"}
    options = ("-m", "hypothesis", "--hypothesis-seed=7")
    code, printed, drawn = run(*options, limit=1000, **search)
    assert code == 1 and not (tmp_path / "plain").exists()
    end = printed[printed.index("failures of the search") :]
    command = "BLURPHYS_HYPOTHESIS_PROFILE=nightly BLURPHYS_EXAMPLES=300 .venv/bin/python -m pytest --hypothesis-seed=7"
    assert f"{command} 'test_it.py::test_property'" in end
    assert "@reproduce_failure(" in end
    assert run(*options, limit=1000, **search)[2] == drawn
    code, printed, others = run("--hypothesis-seed=8", **search)
    assert code == 0 and len(others) == 300 and "failures of the search" not in printed
    assert set(drawn) != set(others)
