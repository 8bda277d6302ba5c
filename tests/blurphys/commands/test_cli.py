"""The front door: commands found by entry points, one sentence for bad input, and the commands check and doctor."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import blurphys
from blurphys import cli
from blurphys.commands.errors import run_safely, sentence

OPERATORS = """
import numpy as np
import blurphys as bp

print("noise on stdout while importing")


def good():
    return bp.Convolution(np.array([[0.1, 0.3, 0.6]]), shape=(1, 6, 7))


def broken():
    return (lambda x: np.roll(x, 1, -1)), (lambda y: np.roll(y, 1, -1))


def needs(argument):
    return None


def fails():
    raise KeyError("beta.npy")


def leaves():
    raise SystemExit(3)


instance = good()
scipy_operator = good().as_scipy()
number = 3


class namespace:
    build = staticmethod(good)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the command line in an empty folder with a module of operators; returns click's result."""
    (tmp_path / "user_operators.py").write_text(OPERATORS)
    (tmp_path / "does_not_import.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "syntax_error.py").write_text("def build(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)

    def call(*arguments: str):
        return CliRunner().invoke(cli.application(), list(arguments), prog_name="blurphys")

    yield call
    for name in ("user_operators", "does_not_import", "syntax_error"):
        sys.modules.pop(name, None)


def assert_sentence(result, command: str, *words: str, code: int = 2):
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.exit_code == code, result.output
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"blurphys {command}: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[0], lines[0]


def test_no_command_shows_help(run):
    result = run()
    assert result.exit_code == 0
    assert "Commands:" in result.stdout
    for name in ("bench", "check", "doctor"):
        assert name in result.stdout


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"blurphys {blurphys.__version__}"


def test_two_words_are_the_command_they_name_together(run):
    """`bench solvers` is `bench-solvers`; a word that makes no command stays an argument of the first."""
    joined, words = run("bench-solvers", "--size", "3"), run("bench", "solvers", "--size", "3")
    assert joined.exit_code == words.exit_code == 2
    assert "expected height x width" in words.stderr
    assert run("bench", "nothing").exit_code == 2


@pytest.mark.parametrize("name", ["bench", "check", "doctor"])
def test_help_has_an_example(run, name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Example: blurphys {name}" in result.stdout


@pytest.mark.parametrize("arguments", [["chek", "a:b"], ["check"], ["check", "a:b", "--seed", "x"], ["--nonsense"]])
def test_usage_errors_exit_with_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_typo_is_answered_with_the_right_name(run):
    assert "'check'" in run("chek").stderr


def test_installed_script_is_light_and_quiet():
    """The script as installed: help without the heavy packages."""
    code = (
        "import sys; sys.argv = ['blurphys', '--help']\n"
        "from blurphys.cli import main\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert error.code == 0\n"
        "print([m for m in ('torch', 'cupy', 'numba', 'h5py', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


# ---- entry points


def _points(monkeypatch, **targets: str):
    points = [EntryPoint(name=name, value=value, group=cli.GROUP) for name, value in targets.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)


def test_a_command_that_does_not_import_leaves_the_others_alone(run, monkeypatch):
    _points(monkeypatch, check="blurphys.commands.check:check", bad="does_not_import:run", gone="blurphys.nowhere:run")
    listing = run("--help")
    assert listing.exit_code == 0
    assert "a_package_that_is_not_there" in listing.stdout
    assert_sentence(run("bad", "--whatever", "1"), "bad", "'a_package_that_is_not_there'", "not installed")
    assert_sentence(run("bad", "--help"), "bad", "not installed")
    assert_sentence(run("gone"), "gone", "blurphys.nowhere")
    assert run("check", "user_operators:good").exit_code == 0


def test_a_typer_with_subcommands_is_a_command(run, monkeypatch, tmp_path):
    text = """
import typer
app = typer.Typer()

@app.command()
def preview(count: int = 1):
    raise ValueError("expected a scene\\nwith depth")

@app.command()
def merge():
    typer.echo("merged")
"""
    (tmp_path / "sub_commands.py").write_text(text)
    _points(monkeypatch, synth="sub_commands:app")
    assert run("synth", "merge").stdout == "merged\n"
    assert_sentence(run("synth", "preview"), "synth", "expected a scene with depth")
    sys.modules.pop("sub_commands", None)


# ---- errors


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("expected a > 0,\n  got -1"), 2, ["expected a > 0, got -1"]),
        (TypeError("float64 and float32"), 2, ["float64 and float32"]),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), 2, ["a.png", "no such file"]),
        (FileExistsError("out.h5 exists already; --force replaces it"), 2, ["out.h5 exists already; --force"]),
        (FileExistsError(errno.EEXIST, "File exists", "out.h5"), 2, ["out.h5: it exists already"]),
        (PermissionError(errno.EACCES, "Permission denied", "/locked/x"), 2, ["/locked/x: permission denied"]),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "here"), 2, ["here: is a directory"]),
        (OSError(errno.ENOSPC, "No space left on device", "big.h5"), 2, ["big.h5: the disk is full"]),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), 2, ["disk is full"]),
        (ModuleNotFoundError("No module named 'skimage'", name="skimage"), 2, ["pip install scikit-image"]),
        (ModuleNotFoundError("No module named 'pylops.x'", name="pylops_"), 2, ["'pylops_'", "pip install"]),
        (ImportError("as_pylops: expected the package 'pylops'"), 2, ["as_pylops: expected"]),
        (MemoryError("Unable to allocate 90 GiB"), 2, ["memory", "90 GiB"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (RuntimeError("shape mismatch"), 70, ["RuntimeError: shape mismatch", "BLURPHYS_DEBUG=1"]),
        (ValueError(), 2, ["ValueError"]),
    ],
)
def test_every_error_is_one_sentence(error, code, words, capsys, monkeypatch):
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as left, run_safely("blur"):
        raise error
    assert left.value.exit_code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("blurphys blur: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("error", [typer.Exit(1), typer.BadParameter("x"), typer.Abort(), BrokenPipeError()])
def test_errors_of_the_command_line_itself_pass(error):
    with pytest.raises(type(error)) as left, run_safely("blur"):
        raise error
    assert left.value is error


def test_run_safely_decorates_and_returns():
    @run_safely("blur")
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("BLURPHYS_DEBUG", "1")
    with pytest.raises(typer.Exit), run_safely("blur"):
        raise ValueError("no")
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "blurphys blur: no"


def test_sentence_names_a_missing_module_of_an_installed_package():
    error = ModuleNotFoundError("No module named 'numpy.nothing'", name="numpy.nothing")
    assert "numpy.nothing" in sentence(error)
    assert "pip install" not in sentence(error)


# ---- check


@pytest.mark.parametrize("name", ["good", "instance", "scipy_operator", "namespace.build"])
def test_check_passes_a_right_operator(run, name):
    result = run("check", f"user_operators:{name}", "--seed", "5")
    assert result.exit_code == 0, result.output
    assert "all laws hold" in result.stdout


def test_check_json_is_json_whatever_the_module_prints(run):
    result = run("check", "user_operators:good", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert {"adjoint", "linearity"} <= {row["name"] for row in report["rows"]}
    assert "noise" in result.stderr


def test_check_reports_a_broken_law_by_exit_code_1(run):
    result = run("check", "user_operators:broken", "--in-shape", "1x6x7", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    assert [row["name"] for row in report["rows"] if row["passed"] is False] == ["adjoint", "dense twin"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("user_operators", ["module:factory", "'user_operators'"]),
        (":good", ["module:factory"]),
        ("user_operators:", ["module:factory"]),
        ("no_such_module:good", ["no module 'no_such_module'"]),
        ("user_operators.py:good", ["user_operators.py", ".py"]),
        ("user_operators:nothing", ["'nothing'", "good"]),
        ("user_operators:number", ["check: expected a LinearOperator", "int"]),
        ("user_operators:needs", ["raised TypeError", "argument"]),
        ("user_operators:fails", ["raised KeyError", "beta.npy"]),
        ("user_operators:leaves", ["raised SystemExit"]),
        ("user_operators:broken", ["in_shape"]),
        ("does_not_import:x", ["failed to import", "a_package_that_is_not_there"]),
        ("syntax_error:build", ["failed to import", "SyntaxError"]),
    ],
)
def test_check_bad_input_is_one_sentence(run, target, words):
    result = run("check", target)
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("blurphys check: ")
    assert "Traceback" not in result.output
    assert result.stdout == ""
    for word in words:
        assert word in last, last


@pytest.mark.parametrize("shape", ["3,4", "0x4x4", "x"])
def test_check_refuses_a_wrong_shape(run, shape):
    assert_sentence(run("check", "user_operators:broken", "--in-shape", shape), "check", "--in-shape", shape)


def test_user_module_next_to_the_working_directory_only(run, tmp_path, monkeypatch):
    """The current directory is on the path even if the interpreter did not put it there."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "local_operator.py").write_text("import blurphys as bp\nA = bp.Identity((1, 4, 5))\n")
    monkeypatch.chdir(other)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(Path.cwd()))])
    assert run("check", "local_operator:A").exit_code == 0
    sys.modules.pop("local_operator", None)
