"""`blurphys solve` of data rendered with occlusion: by layers of the stored map."""

import dataclasses
import json

import numpy as np
import pytest

import blurphys as bp
import synth
from tests.nets.classical.running import run


@pytest.fixture(scope="module")
def occluded(tmp_path_factory):
    """Leaves in four planes, rendered with occlusion, both views."""
    path = tmp_path_factory.mktemp("occluded") / "data.h5"
    scene = synth.scenes.dead_leaves(96, 128, layers=4, seed=21)
    camera = synth.Camera.for_scene(scene, max_radius=4)
    synth.generate(scene, path, camera=camera, samples=1, seed=0, model="layered")
    return path


def test_layers_restore_what_the_gather_operator_makes_worse(occluded, tmp_path):
    """With the stored map, from the combined image alone and from both views; the sharp image is not used."""
    reports = {}
    for method, view in (("hqs", "combined"), ("layered", "combined"), ("layered", "dual")):
        report = tmp_path / f"{method}-{view}.json"
        outcome = run(
            occluded, "--method", method, "--view", view, "--out", report.with_suffix(".png"), "--report", report
        )
        assert outcome.exit_code == 0, outcome.output
        assert ("gather form" in outcome.output) == (method == "hqs")
        reports[method, view] = json.loads(report.read_text())
    blurred = reports["hqs", "combined"]["psnr_blurred"]
    assert reports["hqs", "combined"]["psnr_restored"] < blurred
    assert reports["layered", "combined"]["psnr_restored"] > blurred + 0.4
    assert reports["layered", "dual"]["psnr_restored"] > blurred + 0.6
    outcome = run(occluded, "--out", tmp_path / "x.png", "--report", tmp_path / "x.json")
    assert outcome.exit_code == 0, outcome.output
    chosen = json.loads((tmp_path / "x.json").read_text())
    assert "normal end" in chosen["advice"]
    assert chosen["method"] == "layered" and chosen["psnr_restored"] == reports["layered", "combined"]["psnr_restored"]


def test_layers_of_a_file_and_operators_without(occluded, tmp_path):
    with synth.open(occluded) as data:
        A = synth.layered_operator_of(data, 0, "combined")
    bp.save(A, tmp_path / "layers.h5")
    out = tmp_path / "x.png"
    outcome = run(occluded, "--operator", tmp_path / "layers.h5", "--out", out)
    assert outcome.exit_code == 0 and out.exists() and "method    layered" in outcome.output, outcome.output
    bp.save(bp.Convolution(np.ones((1, 1), np.float32), shape=(3, 96, 128)), tmp_path / "blur.h5")
    blur = ("--operator", tmp_path / "blur.h5")
    outcome = run(occluded, *blur, "--method", "layered", "--out", tmp_path / "y.png")
    assert outcome.exit_code == 2 and not (tmp_path / "y.png").exists()
    assert "Convolution" in outcome.output and "hqs" in outcome.output


def test_a_camera_that_layers_cannot_describe(tmp_path):
    """Light that falls off to the corners: refused where layers are asked for, and left to the gather operator else."""
    scene = synth.scenes.slanted_planes(24, 32, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    camera = dataclasses.replace(camera, imperfections=synth.Imperfections(vignetting=0.5))
    synth.generate(scene, tmp_path / "data.h5", camera=camera, samples=1, seed=0, model="layered")
    outcome = run(tmp_path / "data.h5", "--method", "layered", "--out", tmp_path / "x.png")
    assert outcome.exit_code == 2 and "vignetting" in outcome.output and not (tmp_path / "x.png").exists()
    outcome = run(tmp_path / "data.h5", "--out", tmp_path / "x.png")
    assert outcome.exit_code == 0 and "method    hqs" in outcome.output and "gather form" in outcome.output


def test_a_scene_around_the_frame_is_refused(occluded, tmp_path):
    outcome = run(occluded, "--unknown-boundary", "--out", tmp_path / "x.png")
    assert outcome.exit_code == 2 and "--unknown-boundary" in outcome.output and "hqs" in outcome.output
