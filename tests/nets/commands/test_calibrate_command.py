"""`blurphys calibrate`: the files it writes, the grid it prints, and one sentence for bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import blurphys as bp
from blurphys.commands.errors import run_safely
from nets.commands.calibrate import calibrate
from synth.io import read_image, write_array, write_image
from tests.solvers.estimation.calibration.test_calibrate import FRAME, photo


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(run_safely("calibrate")(calibrate))
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def left_behind():
    return sorted(str(path) for path in Path().rglob("*"))


def test_the_files(run):
    write_image("grid.png", photo()[None], bits=16)
    done = run("grid.png", "--cells", "2x3", "--out", "lens")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("lens").iterdir()) == ["operator.h5", "overview.png", "report.json"]
    operator, report = bp.load("lens/operator.h5"), json.loads(Path("lens/report.json").read_text())
    assert operator.in_shape == read_image("grid.png").shape
    assert report["cells"] == [2, 3] and report["frame"] == list(FRAME)
    assert report["dots_found"] >= report["dots_used"] > 40
    assert report["misfit"] < 3 * report["noise"]
    with Image.open("lens/overview.png") as picture:
        assert np.asarray(picture).std() > 10
    assert f"{report['dots_found']} found" in done.stdout and "wrote lens/operator.h5" in done.stdout
    again = run("grid.png", "--cells", "2x3", "--out", "lens")
    assert again.exit_code == 2 and "--force" in again.output


def test_a_grid_that_is_not_found_leaves_a_picture_of_what_was(run, rng):
    write_image("noise.png", 0.4 + 0.1 * rng.random((1, *FRAME)), bits=16)
    done = run("noise.png", "--out", "lens")
    assert done.exit_code == 2
    assert done.output.count("\n") == 1 and "expected a photo of a dot grid" in done.output
    assert "lens/candidates.png shows the candidates" in done.output
    assert left_behind() == ["lens", "lens/candidates.png", "noise.png"]
    with Image.open("lens/candidates.png") as picture:
        assert picture.size[0] > 300


def test_a_sheet_to_print(run):
    done = run("--print", "grid.svg", "--spacing-mm", 20, "--dot-mm", 5, "--paper", "letter")
    assert done.exit_code == 0 and "--dot-ratio is 0.25" in done.stdout
    assert Path("grid.svg").read_text().count("<circle") == 13 * 10
    assert run("--print", "grid.svg").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a photo of a grid, or --print"),
        (("grid.npy", "--print", "a.svg"), "not both"),
        (("--print", "a.png"), "ending in .svg"),
        (("--print", "a.svg", "--paper", "b5"), "expected paper to be one of"),
        (("missing.png",), "there is no file missing.png"),
        (("grid.npy", "--cells", "8by12"), "--cells"),
        (("grid.npy", "--out", "nowhere/lens"), "there is no folder nowhere"),
        (("grid.npy", "--out", "grid.npy"), "expected a folder"),
        (("grid.npy", "--support", "21"), "blurred dots must not touch"),
        (("grid.npy", "--dot-ratio", "2"), "expected ratio"),
        (("blank.npy",), "blank"),
        (("clipped.npy",), "expected paper below white"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(run, arguments, message):
    light = photo().astype(np.float32)
    for name, values in (("grid", light), ("blank", np.full_like(light, 0.5)), ("clipped", np.minimum(1.6 * light, 1))):
        write_array(f"{name}.npy", values)
    before = left_behind()
    done = run(*arguments)
    assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
    assert message in done.output and "calibrate_grid" not in done.output
    assert left_behind() == before
