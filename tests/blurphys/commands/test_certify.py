"""`blurphys certify`: the table, JSON, exit codes, and one sentence for bad input."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import blurphys as bp
from blurphys.commands.certify import certify
from blurphys.commands.errors import run_safely

OPERATORS = """
import numpy as np
import blurphys as bp

print("noise on stdout while importing")


def mild():
    return bp.Convolution(np.array([[0.2, 0.6, 0.2]]), shape=(1, 6, 8), boundary="circular")


def negative():
    return bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")


def wide():
    return bp.stack([mild(), mild()])


scipy_operator = mild().as_scipy()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the command in an empty folder with a module of operators; returns click's result."""
    (tmp_path / "certified_operators.py").write_text(OPERATORS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(run_safely("certify")(certify))
    yield lambda *arguments: CliRunner().invoke(app, list(arguments))
    sys.modules.pop("certified_operators", None)


def test_a_table_and_the_exit_code(run):
    good, bad = run("certified_operators:mild"), run("certified_operators:negative")
    assert (good.exit_code, bad.exit_code) == (0, 1), good.output + bad.output
    assert "fixed_point converges" in good.stdout and "fixed_point diverges" in bad.stdout
    assert "spectral radius of M    1.2 " in bad.stdout and "solvers.cgls" in bad.stdout
    assert "noise" not in good.stdout


def test_what_cannot_be_is_said_in_words_and_once(run):
    words = run("certified_operators:negative").stdout
    assert "never to 0.001" in words and "inf" not in words
    assert "safe damping            none\n" in words and words.count("no damping") == 1
    assert "leftmost point of the numerical range" in words and "least x^T A x / x^T x" in words


def test_json(run):
    result = run("certified_operators:negative", "--json", "--seed", "3", "--tol", "1e-4")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["diverges"] is True and found["converges"] is False
    assert found["spectral_radius"] == pytest.approx(1.2, abs=1e-6)  # 1 - (0.4 - 0.6)
    assert found["eigenvalue_interval"]["lowest"] == pytest.approx(-0.2, abs=1e-6)
    assert found["transient_bound"] is None and found["safe_damping"] == 0.0


def test_damping_decides(run):
    """The largest eigenvalue is 1: a damping above 2 diverges."""
    for damping, code in (("1.9", 0), ("2.1", 1)):
        assert run("certified_operators:mild", "--damping", damping).exit_code == code


def test_operators_in_files_and_of_scipy(run):
    bp.save(bp.Convolution(np.array([[0.2, 0.6, 0.2]]), shape=(1, 6, 8)), "blur.h5")
    assert run("blur.h5").exit_code == 0
    result = run("certified_operators:scipy_operator")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("certified_operators:wide",), "square"),
        (("certified_operators:missing",), "missing"),
        (("certified_operators",), "module:factory"),
        (("not_there.h5",), "not_there.h5"),
        (("certified_operators:mild", "--damping", "0"), "damping"),
        (("certified_operators:mild", "--tol", "-1"), "tol"),
    ),
)
def test_bad_input_ends_with_one_sentence(run, arguments, words):
    result = run(*arguments)
    lines = [line for line in result.stderr.splitlines() if line.startswith("blurphys certify:")]
    assert result.exit_code == 2 and len(lines) == 1 and words in lines[0], result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_no_operator(run):
    with open("wrong.npz", "wb") as file:
        file.write(b"PK")
    result = run("wrong.npz")
    assert result.exit_code == 2 and "wrong.npz" in result.stderr


def test_help_has_an_example(run):
    assert "blurphys certify blur.h5" in " ".join(run("--help").output.split())
