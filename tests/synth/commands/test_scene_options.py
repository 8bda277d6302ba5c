"""Photographs and depth as people have them, at the command line: blur, demo and synth generate."""

import io as text_io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import synth
from blurphys.cli import application
from synth import io
from tests.synth.scenes.test_scene_readers import middlebury

SIZE = (24, 36)
COMMANDS = {
    "blur": ("blur", "--image", "photo.png", "--depth", "depth.png", "--out", "out.h5"),
    "demo": ("demo", "--image", "photo.png", "--depth", "depth.png", "--out", "out.h5"),
    "synth": (
        "synth",
        "generate",
        "--scenes",
        "scene",
        "--samples",
        "1",
        "--fit",
        "--max-radius",
        "2",
        "--out",
        "made",
    ),
}


def run(*arguments):
    said = text_io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        application()([str(argument) for argument in arguments], prog_name="blurphys")
    return end.value.code or 0, said.getvalue()


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """A photograph and what a network says of it: 8 bits, a third of the size, large where near."""
    monkeypatch.chdir(tmp_path)
    Path("scene").mkdir()
    photo = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    predicted = np.tile(np.linspace(255, 0, SIZE[1] // 3), (SIZE[0] // 3, 1)).astype(np.uint8)
    for place, names in ((".", ("photo.png", "depth.png")), ("scene", ("color.png", "depth.png"))):
        io.write_array(f"{place}/{names[0]}", photo)
        io.write_array(f"{place}/{names[1]}", predicted)
    return tmp_path


@pytest.mark.parametrize("command", ["blur", "synth"])
def test_what_a_network_predicts_can_be_used(command, folder):
    code, said = run(*COMMANDS[command], "--depth-unit", "relative", "--near", "1", "--far", "4")
    assert code == 0, said
    assert "note: " in said and "the depth has 8 bits: it comes in steps of 0.0029 m at 1 m and 0.047 m at 4 m" in said
    assert "the depth has 8 x 12 px and was brought to the photograph's 24 x 36 px, along the edges" in said
    if command == "blur":
        assert "depth steps of 8 bits: up to 0." in said and "px of blur radius" in said
    with synth.open("out.h5" if command == "blur" else "made") as data:
        depth = data[0]["depth_m"]
    assert depth[:, 0] == pytest.approx(1.0) and depth[:, -1] == pytest.approx(4.0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--depth-unit", "relative"), "--depth-unit relative: expected --near and --far too, the distances in metres"),
        (("--depth-unit", "relative", "--far", "4"), "expected --near too"),
        (
            ("--depth-unit", "relative", "--near", "5", "--far", "4"),
            "expected 0 < --near < --far in metres, got 5 and 4",
        ),
        (("--depth-unit", "m", "--near", "1", "--far", "4"), "expected --depth-unit relative with them, got m"),
        (("--depth-unit", "m", "--depth-resize", "bicubic"), "--depth-resize: expected guided, nearest or off, got"),
        (("--depth-unit", "0.04", "--depth-resize", "off"), "depth.png: expected depth of the photograph's 24 x 36 px"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the depth has 8 bits")
def test_bad_options_are_one_sentence_and_write_nothing(command, options, words, folder):
    before = sorted(folder.rglob("*"))
    code, said = run(*COMMANDS[command], *options)
    errors = [line for line in said.splitlines() if line and not line.startswith("note: ")]
    assert code == 2 and len(errors) == 1, said
    assert words in errors[0]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got an empty file"),
        (b"hello there", "expected a PNG, JPEG, JPEG XL, TIFF, WebP, OpenEXR, camera raw"),
        (b"v/1\x01" + bytes(40), "OpenEXR file is damaged"),
        (b"PK\x03\x04" + bytes(40), "npz file is damaged"),
        (b"9&9&1&" + bytes(40), "COLMAP depth map is cut short"),
        (b"FUJIFILMCCD-RAW " + bytes(40), "camera raw file"),
    ],
)
@pytest.mark.parametrize("which", ["photo.png", "depth.png"])
def test_bad_files_are_one_sentence_and_write_nothing(content, words, which, folder):
    Path(which).write_bytes(content)
    before = sorted(folder.rglob("*"))
    code, said = run(*COMMANDS["blur"], "--depth-unit", "m")
    errors = [line for line in said.splitlines() if line and not line.startswith("note: ")]
    assert code == 2 and len(errors) == 1, said
    assert words in errors[0] and which in errors[0]
    assert sorted(folder.rglob("*")) == before


def test_a_middlebury_pair_needs_no_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    middlebury(tmp_path / "chess")
    pair = ("--image", "chess/im0.png", "--depth", "chess/disp0.pfm")
    for scene in (pair, ("--scene", "chess"), (*pair, "--depth-unit", "disparity")):
        code, said = run("blur", *scene, "--max-radius", "1", "--out", "a.h5", "--force")
        assert code == 0, said
        assert "2.17 to 5.32 m" in said
    code, said = run("blur", *pair, "--focal-length", "50", "--max-radius", "1", "--out", "b.h5")
    assert code == 0, said
    assert "12.56 um, of the calibration, a focal length of 3979.91 px" in said  # 50 mm / 3979.911 px
    (tmp_path / "chess/calib.txt").unlink()
    code, said = run("blur", *pair, "--depth-unit", "disparity", "--out", "c.h5")
    assert code == 2 and "or Middlebury's calib.txt beside the files" in said
    assert not Path("c.h5").exists()


def test_a_photograph_in_ink_is_said(folder):
    Image.new("CMYK", SIZE[::-1], (10, 20, 30, 40)).save("photo.png", "JPEG")
    io.write_array("depth.pfm", np.linspace(1, 3, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE))
    code, said = run("blur", "--image", "photo.png", "--depth", "depth.pfm", "--depth-unit", "m", "--out", "a.png")
    assert code == 0, said
    assert said.count("ink (CMYK) was converted to sRGB") == 1
