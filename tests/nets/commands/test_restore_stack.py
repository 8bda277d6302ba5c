"""`blurphys restore --stack`: what it writes, and one sentence for bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import synth
from blurphys.commands.errors import run_safely
from nets.classical.stack import STACK_FILES
from nets.commands.restore import restore
from synth.io import read_image, write_image

FOCUS = (1.0, 1.6, 4.0)
NEEDED = ("--stack", "--focus-distances", "1,1.6,4", "--near", "0.8", "--far", "6", "--pixel-pitch", "60")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BLURPHYS_DEBUG", raising=False)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(run_safely("restore")(restore))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    sharp = rng.random((3, 12, 16)).repeat(3, axis=1).repeat(3, axis=2).astype(np.float32)
    depth = 1 / np.linspace(1 / 5, 1 / 0.9, 48) * np.ones((36, 1))
    scene = synth.scenes.Scene(name="ramp", all_in_focus=sharp, depth_m=depth, source="test")
    camera = synth.Camera.preset("canon-r6ii")
    paths = []
    for k, focus in enumerate(FOCUS):
        lens = replace(camera.lens, focus_distance_m=focus, pixel_pitch_um=60)
        shot = synth.render(scene, replace(camera, lens=lens), rng=k, views=("combined",), model="gather")
        paths.append(tmp_path / f"{k}.png")
        write_image(paths[-1], np.clip(shot.combined, 0, 1), bits=16)
    write_image(tmp_path / "sharp.png", sharp, bits=16)
    return paths


def test_a_stack(run, files, tmp_path):
    done = run(*files, *NEEDED, "--out", "r")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == sorted(STACK_FILES)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["focus_distances_m"] == list(FOCUS)
    depth = np.load(tmp_path / "r" / "depth_m.npy")
    assert np.median(np.abs(1 / depth - np.linspace(1 / 5, 1 / 0.9, 48))) < 0.1
    sharp = read_image(tmp_path / "sharp.png")

    def error(path):
        return float(((read_image(path) - sharp) ** 2).mean())

    assert error(tmp_path / "r" / "all_in_focus.png") < 0.5 * min(map(error, files))
    assert "exists already" in run(*files, *NEEDED, "--out", "r").output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (NEEDED[:1] + NEEDED[3:], "expected --focus-distances"),
        (NEEDED[:3], "--near and --far"),
        (("--stack", "--focus-distances", "1,2", *NEEDED[3:]), "expected 3 numbers"),
        (("--stack", "--focus-distances", "near,far,x", *NEEDED[3:]), "separated by commas"),
        ((*NEEDED, "--radius", "2"), "expected nothing of it with --stack"),
        ((), "--stack for several"),
    ],
)
def test_bad_input(run, files, tmp_path, words, expected):
    done = run(*files, *words, "--out", "r")
    assert done.exit_code == 2
    assert expected in " ".join(done.output.split())
    assert not (tmp_path / "r").exists()


def test_one_photograph_is_no_stack(run, files):
    assert "two or more" in " ".join(run(files[0], *NEEDED, "--out", "r").output.split())
