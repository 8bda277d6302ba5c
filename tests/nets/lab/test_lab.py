"""The lab: what it computes is what the operators say, whatever is dragged; its command and its page."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import blurphys as bp
import synth
from blurphys import cli
from nets.lab import panels, server
from nets.lab.state import METHODS, SIDE, VIEWS, Lab, Settings, reduced
from synth import Camera, Scene


@pytest.fixture(scope="module")
def lab():
    return Lab(small_scene(), small_camera(noise=0.0))


def small_scene(height=40, width=52):
    rng = np.random.default_rng(3)
    depth = np.broadcast_to(np.linspace(1.0, 3.0, width), (height, width)).copy()
    depth[:2, :3] = np.nan
    return Scene(all_in_focus=rng.random((3, height, width)), depth_m=depth, name="ramp")


def small_camera(noise=1e-4, **changes):
    lens = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1.7, pixel_pitch_um=60)
    given = {"lens": lens, "pupil": bp.Pupil.measured(np.ones((12, 12)), split=0.2), "max_radius": 4.0, "step": 1.0}
    return Camera(**given, noise=synth.noise.ShotReadNoise(noise), **changes)


@st.composite
def chosen(draw):
    return Settings(draw(st.floats(0.8, 5.0)), draw(st.floats(1.4, 16.0)), draw(st.floats(0.0, 0.5)))


@given(at=chosen(), row=st.integers(0, 39), col=st.integers(0, 51))
@settings(max_examples=20)
def test_a_picture_is_the_blur_of_the_lens_that_was_set(lab, at, row, col):
    lens = replace(small_camera().lens, focus_distance_m=at.focus_m, f_number=at.f_number)
    radii = lens.defocus_map(lab.scene.depth_m, invalid="nearest")
    clipped = np.clip(radii, -8, 8)
    bank = bp.PSFBank(bp.Pupil.measured(np.ones((12, 12)), split=at.split), max_radius=8.0, step=1.0)
    exposure = lab.expose(at)
    assert lab.max_radius == 8.0 and exposure.clamped == pytest.approx(np.mean(np.abs(radii) > 8))
    plain = bp.DefocusBlur(clipped, bank=bank)(lab.scene.all_in_focus)
    np.testing.assert_allclose(exposure.y, plain, atol=2e-5)
    both = bp.DualPixel(clipped, bank=bank, views=VIEWS)
    for name, psf in zip(VIEWS, both.psf_at(row, col), strict=True):
        np.testing.assert_allclose(exposure.psf(row, col)[name], psf, atol=2e-6)
    np.testing.assert_allclose(exposure.view("left"), both(lab.scene.all_in_focus)[:3], atol=2e-5)


def test_noise_is_the_same_for_every_setting():
    quiet, noisy = Lab(small_scene(), small_camera(0.0)), Lab(small_scene(), small_camera(1e-3))
    at = quiet.initial
    difference = noisy.expose(at).y - quiet.expose(at).y
    assert np.array_equal(noisy.expose(at).y, noisy.expose(at).y)
    expected = 1e-3 / 2 * quiet.expose(at).y.mean()
    assert difference.var() == pytest.approx(expected, rel=0.1)
    assert noisy.expose(at).noise_variance == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_steps_of_a_restoration_are_those_of_fewer_steps(lab, method):
    exposure, seen = lab.expose(lab.initial), []
    whole = exposure.restore(method, on_step=lambda k, x: seen.append(k))
    short = exposure.restore(method, steps=2)
    assert seen == list(range(1, whole.steps + 1)) and short.steps == 2
    assert whole.images[0] is exposure.y and len(whole.residuals) == len(whole.images) == len(whole.psnr)
    for image, residual in list(zip(whole.images, whole.residuals, strict=True))[:3]:
        found = np.linalg.norm(exposure.y - exposure.A(image)) / np.linalg.norm(exposure.y)
        assert residual == pytest.approx(found, rel=1e-3, abs=1e-5)
    for a, b in zip(short.images, whole.images, strict=False):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert whole.psnr[1] > whole.psnr[0]


def test_the_certificate_is_that_of_a_square_in_the_frame(lab, monkeypatch):
    exposure = lab.expose(lab.initial)
    for row, col in ((0, 0), (39, 51), (20, 26)):
        rows, cols = exposure.square(row, col)
        assert rows.start <= row < rows.stop <= 40 and cols.start <= col < cols.stop <= 52
        assert rows.stop - rows.start == cols.stop - cols.start == 40
    monkeypatch.setattr(bp, "certificate", lambda A: A)
    rows, cols = exposure.square(5, 50)
    cut = exposure.certificate(5, 50)
    assert np.array_equal(cut.defocus_map, exposure.A.defocus_map[rows, cols]) and cut.in_shape == (1, 40, 40)
    assert cut.bank is exposure.A.bank


def test_what_controls_offer_contains_the_start_and_can_all_be_set(lab):
    for values, first in zip((lab.focus_m, lab.f_numbers, lab.splits), lab.initial, strict=True):
        assert first in values and list(values) == sorted(set(values)) and len(values) > 5
    for focus in (lab.focus_m[0], lab.focus_m[-1]):
        for stop in (lab.f_numbers[0], lab.f_numbers[-1]):
            assert np.isfinite(lab.expose(Settings(focus, stop, lab.splits[-1])).y).all()


@pytest.mark.parametrize("shape", [(300, 200), (256, 256), (40, 700)])
def test_large_photos_are_reduced(shape):
    small = reduced(Scene(all_in_focus=np.ones((3, *shape)), depth_m=np.full(shape, 2.0), name="flat"))
    assert max(small.shape) == min(SIDE, max(shape))
    assert small.shape[0] / small.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.05)


def test_bad_scenes_are_refused():
    with pytest.raises(ValueError, match="at least 32 x 32 px, got 20 x 40"):
        Lab(small_scene(20, 40))
    with pytest.raises(ValueError, match="--max-radius"):
        Lab(small_scene(), replace(small_camera(), max_radius=50.0))
    with pytest.raises(ValueError, match="invalid"):
        Lab(small_scene(), small_camera(), invalid="error")


def test_panels_show_every_setting(lab):
    exposure = lab.expose(lab.initial)
    for name in panels.SHOWN:
        assert panels.picture(exposure, name).startswith("data:image/")
    assert "depth unknown" in panels.psf(lab, exposure, 0, 0)
    assert "in front of" in panels.psf(lab, exposure, 20, 1) and "behind" in panels.psf(lab, exposure, 20, 50)
    restoration = exposure.restore("CGLS", steps=2)
    assert "<img" in panels.residuals(restoration) and "step 1" in panels.score(restoration, 1)
    assert "Press Restore" not in panels.outcome(exposure, restoration)
    other = lab.expose(lab.initial._replace(f_number=8.0))
    assert "Press Restore" in panels.outcome(other, restoration)
    found = exposure.certificate(20, 26)
    assert "Press Certify" not in panels.certificate(exposure, (20, 26), exposure, (20, 26), found)
    assert "Press Certify" in panels.certificate(exposure, (20, 27), exposure, (20, 26), found)
    assert "Press Certify" in panels.certificate(other, (20, 26), exposure, (20, 26), found)
    assert "clamped" in panels.radii(lab.expose(Settings(0.5, 1.4, 0.0)))


def test_ports(monkeypatch):
    with server.open_socket(None) as first:
        taken = first.getsockname()[1]
        with pytest.raises(ValueError, match=f"{taken} is in use"):
            server.open_socket(taken)
        with server.open_socket(None) as second:
            assert second.getsockname()[1] != taken
    with pytest.raises(ValueError, match="--port: expected a number from 1 to 65535, got 0"):
        server.open_socket(0)
    monkeypatch.setattr(server, "TRIES", 0)
    with pytest.raises(ValueError, match="in use"):
        server.open_socket(None)


def test_a_display_decides_whether_a_browser_opens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not server.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert server.has_display()


def run(*arguments):
    return CliRunner().invoke(cli.application(), ["lab", *map(str, arguments)])


@pytest.fixture
def started(monkeypatch):
    """Labs that the command would serve."""
    labs = []
    monkeypatch.setattr(server, "require_packages", lambda: None)
    monkeypatch.setattr(server, "serve", lambda lab, listening, browser: labs.append((lab, browser)))
    return labs


def test_command_reads_a_photo_with_depth(tmp_path, started):
    rng = np.random.default_rng(0)
    synth.io.write_image(tmp_path / "photo.png", rng.random((3, 320, 512)))
    synth.io.write_array(tmp_path / "depth.png", np.linspace(1000, 4000, 320 * 512).astype(np.uint16).reshape(320, 512))
    given = [tmp_path / "photo.png", "--depth", tmp_path / "depth.png", "--depth-unit", "mm", "--max-radius", 4]
    done = run(*given, "--no-browser")
    assert done.exit_code == 0, done.output
    ((lab, browser),) = started
    assert lab.scene.shape == (160, 256) and lab.max_radius == 8.0 and not browser
    done = run(*given, "--pixel-pitch", 10, "--f-number", 2.0, "--focus-distance", 2.0)
    assert done.exit_code == 0, done.output
    assert started[1][0].camera.lens.pixel_pitch_um == 20.0 and started[1][0].initial[:2] == (2.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png", "--depth", "depth.png"], "missing.png"),
        (["photo.png"], "no --depth"),
        (["photo.png", "--image", "other.png", "--depth", "depth.png"], "one photo"),
        (["--invalid", "some"], "nearest, far or error"),
        (["--port", "70000"], "1 to 65535"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(arguments, words, started, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nets.lab.state.bundled_scene", small_scene)
    done = run(*arguments)
    assert done.exit_code == 2 and words in done.output and not started
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    done = run()
    assert done.exit_code == 2
    assert done.stderr == "blurphys lab: needs marimo and anywidget, not installed: pip install 'blurphys[lab]'\n"


def test_the_page_runs():
    """Every cell of the notebook runs, as `marimo export` would run it."""
    pytest.importorskip("marimo", reason="marimo is not installed")
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    code = (
        "import json, nets.lab.server as s; from tests.nets.lab.test_lab import *\n"
        "s._LABS.append(Lab(small_scene(), small_camera()))\n"
        "from nets.lab.app import app\n"
        "outputs, found = app.run()\n"
        "print(json.dumps([found['restored']().steps, found['certified']() is not None, found['canvas'].picture[:10]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [METHODS["CGLS"], True, "data:image"]


def test_the_page_is_served_to_who_knows_its_address_until_interrupted():
    pytest.importorskip("marimo", reason="marimo is not installed")
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells start background jobs without\n"
        "from nets.lab.server import open_socket, serve\n"
        "from tests.nets.lab.test_lab import Lab, small_camera, small_scene\n"
        "if __name__ == '__main__':\n"
        "    serve(Lab(small_scene(), small_camera()), open_socket(None), browser=False)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline()).group()
            for url, title in ((address, "blurphys lab"), (address.partition("?")[0], "login")):
                with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url, timeout=60) as page:
                    assert title in page.read().decode() + page.url
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0 and process.stderr.read() == ""
        finally:
            process.kill()
