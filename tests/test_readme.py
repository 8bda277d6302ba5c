"""What the README and the tour show must run, and what they name must be there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import blurphys as bp
import solvers
from blurphys.boundary import extend
from blurphys.cli import application

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
TEXT = README + TOUR
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def table(heading):
    """Rows of the first table under a heading, as lists of cells; a bar that is text is written \\|."""
    section = TOUR.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_there_are_examples():
    assert len(blocks("python")) >= 2 and len(blocks("sh")) >= 2


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[-1][:40])
def test_python_block_runs(code, tmp_path, monkeypatch):
    before = set(ROOT.iterdir())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert set(ROOT.iterdir()) - before <= {ROOT / ".hypothesis", ROOT / ".pytest_cache"}


def command_lines():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.removeprefix(".venv/bin/") for line in lines if "blurphys " in line]


@pytest.mark.parametrize("line", command_lines(), ids=lambda line: line[:30])
def test_options_exist(line):
    _, *names = shlex.split(line)
    command = names[: 2 if names[0] == "synth" else 1]
    rest = names[len(command) :]
    shown = CliRunner().invoke(application(), [*command, "--help"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    known = set(re.findall(r"--[a-z-]+", shown.output))
    assert {word for word in rest if word.startswith("-")} <= known


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z-]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_named_operators_exist():
    names = [name for row in table("What each operator is for")[:-1] for name in re.findall(r"`(\w+)`", row[0])]
    assert len(names) == 10
    for name in names:
        assert issubclass(getattr(bp, name), bp.LinearOperator)


def test_named_solvers_exist():
    for row in table("Solvers"):
        for name in re.findall(r"`solvers\.(\w+)`", row[1]):
            assert callable(getattr(solvers, name))
            if name not in ("inverse_kernel", "scaled_inverse"):  # these do not iterate
                steps = name.replace("neumann_cross", "cross")
                assert hasattr(solvers, f"{steps}_init") and hasattr(solvers, f"{steps}_step")


@pytest.mark.parametrize("row", table("Boundaries"), ids=lambda row: row[0].split('"')[1])
def test_boundary_names_of_other_libraries(row):
    """Three pixels on both sides of a b c d, by each library under the name that the table gives."""
    ours, shown, *theirs = ([name.strip('`" ') for name in re.findall(r"`[^`]+`", cell)] for cell in row)
    line = np.arange(1.0, 5.0)
    plane = extend(line[None, None, :], (0, 3), (0, 3), ours[0])[0, 0]
    letters = shown[0].replace("\\|", " ").split()
    assert [{"0": 0, "a": 1, "b": 2, "c": 3, "d": 4}[letter] for letter in letters] == list(plane[:7])

    (numpy_name,), torch_name, (scipy_name,) = theirs
    assert_array_equal(np.pad(line, 3, mode=numpy_name), plane)
    if torch_name:
        torch = pytest.importorskip("torch")
        found = torch.nn.functional.pad(torch.from_numpy(line)[None], (3, 3), mode=torch_name[0])
        assert_array_equal(found[0].numpy(), plane)
    shifted = [np.eye(7)[k] for k in range(7)]
    for k, weights in enumerate(shifted):
        assert_array_equal(scipy.ndimage.correlate1d(line, weights, mode=scipy_name), plane[k : k + 4])
