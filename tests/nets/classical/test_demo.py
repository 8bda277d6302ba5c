"""The main job end to end, through the command line and on the real photograph that scikit-image carries."""

import errno
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import blurphys as bp
import nets.classical.demo
import synth
from blurphys.cli import application
from nets.classical.demo import restore
from nets.classical.quality import psnr, ssim
from synth.io import write_array, write_image


@pytest.fixture(scope="module")
def motorcycle():
    scene = synth.scenes.with_background(synth.scenes.stereo_motorcycle().window(120, 260, 224, 320))
    camera = synth.Camera.for_scene(scene, max_radius=6)
    sample = synth.render(scene, camera, rng=0, views=("combined",), model="layered")
    A = bp.DefocusBlur(sample.defocus_map, bank=camera.bank())
    alphas, radii, _ = bp.layers_from_map(sample.combined, sample.defocus_map)
    layers = bp.LayeredDefocus(alphas, radii=radii, bank=camera.bank())
    variance = float(camera.noise.combined.variance(np.maximum(sample.combined, 0)).mean())
    found = restore(A, sample.combined, sample.all_in_focus, noise_variance=variance, layers=layers)
    return {r.name: r for r in found}


def test_layers_restore_what_the_gather_operator_cannot(motorcycle):
    assert motorcycle["layers + TV"].psnr >= motorcycle["blurred"].psnr + 1.5
    assert motorcycle["layers + TV"].psnr >= motorcycle["HQS + TV"].psnr + 1.5
    assert motorcycle["layers + TV"].ssim > motorcycle["blurred"].ssim


def test_hqs_restores_what_the_gather_operator_blurred():
    """By more than 3 dB, without occlusion: its model of the blur is then exact."""
    scene = synth.scenes.stereo_motorcycle().window(120, 260, 224, 320)
    camera = synth.Camera.for_scene(scene, max_radius=8)
    sample = synth.render(scene, camera, rng=0, views=("combined",), model="gather")
    A = bp.DefocusBlur(sample.defocus_map, bank=camera.bank())
    variance = float(camera.noise.combined.variance(np.maximum(sample.combined, 0)).mean())
    blurred, *_, hqs = restore(A, sample.combined, sample.all_in_focus, noise_variance=variance)
    assert hqs.name == "HQS + TV"
    assert hqs.psnr >= blurred.psnr + 3.0 and hqs.ssim > blurred.ssim


def test_residuals_and_times_go_together(motorcycle):
    for result in list(motorcycle.values())[1:]:
        assert len(result.residuals) == len(result.times) >= 2
        assert list(result.times) == sorted(result.times) and result.applications > 0
        assert result.residuals[1] < result.residuals[0]


def test_a_series_and_a_schedule_end_as_planned(motorcycle):
    ends = [r.status for r in motorcycle.values()]
    assert ends == ["", "step limit", "all its terms", "all its steps", "all its steps"]


def test_quality_is_that_of_equal_images_and_of_a_known_error():
    x = np.full((3, 16, 16), 0.5)
    screen = {"encoding": "srgb", "clip": True}
    assert (psnr(x, x, **screen), ssim(x, x, **screen)) == (np.inf, pytest.approx(1.0))
    shifted = bp.colour.srgb_to_linear(bp.colour.linear_to_srgb(x) + 0.1)
    assert psnr(shifted, x, **screen) == pytest.approx(20.0, abs=1e-9)
    assert psnr(x + 2, x, **screen) == psnr(x + 0.5, x, **screen) > psnr(x + 2, x, encoding="srgb", clip=False)
    assert psnr(x + 0.1, x, encoding="linear", clip=False) == pytest.approx(20.0, abs=1e-9)


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(3)
    write_image(tmp_path / "rgb.png", rng.random((3, 40, 56)))
    depth = np.full((40, 56), 1500, np.uint16)
    depth[:, 28:] = 4000
    depth[0, 0] = 0
    write_array(tmp_path / "depth.png", depth)
    return ["--image", str(tmp_path / "rgb.png"), "--depth", str(tmp_path / "depth.png"), "--depth-unit", "mm"]


class Outcome(NamedTuple):
    exit_code: int
    output: str


def run(*arguments):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        application()([str(a) for a in arguments], prog_name="blurphys")
    return Outcome(end.value.code or 0, said.getvalue())


def test_demo_on_a_photo_of_ones_own(pair, tmp_path):
    out = tmp_path / "demo.h5"
    first = run("demo", *pair, "--max-radius", 2, "--out", out)
    assert first.exit_code == 0, first.output
    for word in ("CoC radius", "px", "fixed point", "Neumann", "HQS + TV", "layers + TV", "PSNR", "SSIM", "50 mm f/4"):
        assert word in first.output
    with synth.open(out) as data:
        assert data[0]["left"].shape == (3, 40, 56)
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"
    again = run("demo", *pair, "--out", out)
    assert again.exit_code == 2 and "--force" in again.output and "Traceback" not in again.output
    assert run("demo", *pair, "--max-radius", 2, "--out", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--depth", "missing.png"], ("missing.png",)),
        (["--depth-unit", "feet"], ("feet", "0.2mm")),
        (["--focal-length", "50", "--focus-distance", "0.03"], ("focal length", "metres")),
        (["--f-number", "0"], ("f_number",)),
        (["--invalid", "zero"], ("nearest", "zero")),
        (["--invalid", "error"], ("NaN", "nearest")),
        (["--camera", "holga"], ("canon-r6ii", "holga")),
        (["--depth-unit", "disparity"], ("--baseline",)),
        (["--baseline", "0.1"], ("--stereo-focal-px",)),
        (["--split", "0.7"], ("split", "0.7")),
        (["--max-radius", "60"], ("reach", "image")),
        (["--scene", "."], ("--scene", "--image")),
        (["--out", "demo.txt"], (".h5",)),
        (["--seed", "-1"], ("--seed: expected a whole number >= 0, got -1",)),
        (["--shot-noise", "1e300"], ("--shot-noise", "from 0 to 1", "1e+300")),
        (["--shot-noise", "-0.1"], ("--shot-noise", "from 0 to 1", "-0.1")),
        (["--shot-noise", "nan"], ("--shot-noise", "from 0 to 1", "nan")),
    ],
)
@pytest.mark.parametrize("command", ["demo", "blur"])
def test_bad_input_is_one_sentence_and_writes_nothing(command, change, words, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    out = [] if "--out" in change else ["--out", "result.h5"]
    result = run(command, *pair, *out, *change)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output.replace("\n", " "), result.output
    assert set(tmp_path.iterdir()) == before


def test_blur_writes_png_in_both_depths_and_both_views(pair, tmp_path):
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        out = tmp_path / f"blur{bits}.png"
        result = run("blur", *pair, "--max-radius", 2, "--bits", bits, "--out", out)
        assert result.exit_code == 0, result.output
        assert synth.io.read_array(out).dtype == dtype and synth.io.read_array(out).shape == (40, 56, 3)
    assert run("blur", *pair, "--max-radius", 2, "--view", "dual", "--out", tmp_path / "dp.png").exit_code == 0
    left, right = (synth.io.read_image(tmp_path / f"dp_{side}.png") for side in ("left", "right"))
    assert np.abs(left - right).max() > 0.01
    assert run("blur", *pair, "--max-radius", 2, "--out", tmp_path / "one.h5").exit_code == 0
    with synth.open(tmp_path / "one.h5") as data:
        assert set(data[0]) >= {"left", "right", "combined", "defocus_map"}


def test_blur_by_the_lens_that_was_given(pair, tmp_path):
    """Depths of 1.5 and 4 m, 50 mm f/2 at 2 m on 36 mm / 56 px: radii -0.17 and +0.25 px, no fit."""
    out = tmp_path / "x.png"
    lens = ["--focal-length", 50, "--f-number", 2, "--focus-distance", 2]
    result = run("blur", *pair, *lens, "--out", out)
    expected = bp.ThinLens(focal_length_mm=50, f_number=2, focus_distance_m=2, pixel_pitch_um=36000 / 56)
    low, high = expected.defocus_map(np.array([[1.5, 4.0]]))[0]
    assert result.exit_code == 0 and f"radius {low:.2f} to {high:.2f} px" in result.output, result.output


@pytest.mark.parametrize(("option", "value"), [("--view", "top"), ("--bits", "12")])
def test_blur_names_the_choices(option, value, pair, tmp_path):
    result = run("blur", *pair, option, value, "--out", tmp_path / "x.png")
    assert result.exit_code == 2 and value in result.output and not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["restore", "figure"])
def test_demo_leaves_both_files_or_none(error, failing, pair, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    before = set(tmp_path.iterdir())
    monkeypatch.setattr(nets.classical.demo, failing, fail)
    result = run("demo", *pair, "--max-radius", 2, "--out", tmp_path / "demo.h5")
    assert result.exit_code == (130 if isinstance(error, KeyboardInterrupt) else 2), result.output
    assert "Traceback" not in result.output and ".part" not in result.output
    assert set(tmp_path.iterdir()) == before


def test_demo_replaces_both_files_or_none(pair, tmp_path, monkeypatch):
    for name in ("demo.h5", "demo.png"):
        (tmp_path / name).write_text("old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nets.classical.demo, "figure", fail)
    result = run("demo", *pair, "--max-radius", 2, "--out", tmp_path / "demo.h5", "--force")
    assert result.exit_code == 2 and "demo.h5 and " in result.output and "the disk is full" in result.output
    assert (tmp_path / "demo.h5").read_text() == (tmp_path / "demo.png").read_text() == "old"


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (1, 1)])
def test_demo_refuses_images_smaller_than_the_window_of_ssim(shape, tmp_path):
    write_image(tmp_path / "rgb.png", np.full((3, *shape), 0.5))
    write_array(tmp_path / "depth.png", np.full(shape, 1500, np.uint16))
    before = set(tmp_path.iterdir())
    photo = ["--image", tmp_path / "rgb.png", "--depth", tmp_path / "depth.png", "--depth-unit", "mm"]
    result = run("demo", *photo, "--out", tmp_path / "demo.h5")
    assert result.exit_code == 2
    assert f"expected an image of at least 7 x 7 px, got {shape[0]} x {shape[1]}" in result.output
    assert set(tmp_path.iterdir()) == before


def test_blur_leaves_both_views_or_none(pair, tmp_path, monkeypatch):
    before, write, calls = set(tmp_path.iterdir()), Path.write_bytes, []

    def refuse(path, data):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    result = run("blur", *pair, "--max-radius", 2, "--view", "dual", "--out", tmp_path / "dp.png")
    assert result.exit_code == 130 and "wrote" not in result.output
    assert len(calls) == 2 and set(tmp_path.iterdir()) == before
