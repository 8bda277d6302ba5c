"""Every command that reads pictures takes --encoding, and says in one sentence what it does not know."""

import io
import json
import struct
import zlib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blurphys as bp
import synth
from blurphys.cli import application
from blurphys.colour import srgb_to_linear
from nets.classical.problem import from_image
from nets.commands.solve import _mask
from nets.weights.saving import save
from synth.io import read_image, write_array, write_image
from tests.nets.inference.test_deblurring import Identity, registered

__all__ = ["registered"]

SIZE = (12, 16)
COMMANDS = {
    "blur": ("blur", "--image", "photo.png", "--depth", "depth.png", "--depth-unit", "mm", "--out", "out.h5"),
    "demo": ("demo", "--image", "photo.png", "--depth", "depth.png", "--depth-unit", "mm", "--out", "demo.h5"),
    "synth": ("synth", "generate", "--scenes", "scene", "--samples", "1", "--fit", "--max-radius", "1",
              "--out", "made"),
    "solve": ("solve", "photo.png", "--operator", "same.h5", "--method", "cgls", "--max-iterations", "1",
              "--out", "solved.npy"),
    "deblur": ("deblur", "photo.png", "--net", "identity.safetensors", "--out", "deblurred.npy"),
    "evaluate": ("evaluate", "pairs", "--out", "scores.json"),
    "train": ("train", "kpac-tiny", "--data", "pairs"),
}  # fmt: skip


def run(*arguments):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        application()([str(a) for a in arguments], prog_name="blurphys")
    return end.value.code or 0, said.getvalue()


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    for place in ("scene", "pairs/blurred", "pairs/sharp"):
        Path(place).mkdir(parents=True)
    for file in ("photo.png", "pairs/blurred/a.png", "pairs/sharp/a.png"):
        write_array(file, photo)
    write_array("pairs/blurred/a.png", 255 - photo, overwrite=True)
    depth = np.tile(np.linspace(1000, 3000, SIZE[1]), (SIZE[0], 1)).astype(np.uint16)
    write_array("depth.png", depth)
    write_array("scene/color.png", photo)
    write_array("scene/depth.png", depth * np.uint16(5))
    bp.save(bp.Identity((3, *SIZE)), "same.h5")
    save(Identity(), "identity.safetensors")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_another_encoding_is_refused(command, folder):
    before = sorted(file.name for file in folder.rglob("*"))
    code, said = run(*COMMANDS[command], "--encoding", "gamma")
    assert code == 2 and said.strip().endswith("--encoding: expected srgb or linear, got 'gamma'")
    assert sorted(file.name for file in folder.rglob("*")) == before


def written(command):
    if command in ("blur", "synth"):
        with synth.open("out.h5" if command == "blur" else "made") as data:
            return data[0]["all_in_focus"]
    if command == "evaluate":
        return json.loads(Path("scores.json").read_text())["scores"][0]["psnr"]
    return np.load(f"{command}{'d' if command == 'solve' else 'red'}.npy")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("demo", "train")])
def test_an_encoding_that_is_said_is_used(command, folder):
    """Linear light stays what the file holds; sRGB, the default of integers, is decoded."""
    code, said = run(*COMMANDS[command], "--encoding", "linear")
    assert code == 0, said
    found = written(command)
    if command == "evaluate":
        x, y = (read_image(f"pairs/{kind}/a.png", encoding="linear", linear=False) for kind in ("sharp", "blurred"))
        assert found == pytest.approx(-10 * np.log10(np.mean((x.astype(float) - y) ** 2)), abs=1e-3)
        return
    linear, srgb = read_image("photo.png", encoding="linear"), read_image("photo.png")
    np.testing.assert_allclose(found, linear, atol=1e-6)
    assert np.abs(found - srgb).max() > 0.1


def test_what_is_assumed_is_one_line(folder):
    data = Path("photo.png").read_bytes()
    body = b"iCCP" + b"x\0\0junk"
    chunk = struct.pack(">I", 7) + body + struct.pack(">I", zlib.crc32(body))
    Path("photo.png").write_bytes(data[:33] + chunk + data[33:])
    for command, more in (("blur", ()), ("solve", ("--noise-level", 0)), ("deblur", ())):
        code, said = run(*COMMANDS[command], *more)
        assert code == 0, said
        notes = [line for line in said.splitlines() if line.startswith("note:")]
        assert notes == [
            "note: photo.png: sRGB is assumed, since the file has a colour profile that is damaged; say the encoding, "
            "srgb or linear, to choose"
        ]


@pytest.mark.parametrize("unit", ["1/256", "0.00390625"])
def test_depth_of_any_scale(unit, folder):
    metres = np.tile(np.linspace(1, 5, SIZE[1]), (SIZE[0], 1))
    write_array("scaled.png", np.rint(metres * 256).astype(np.uint16))
    code, said = run("blur", "--image", "photo.png", "--depth", "scaled.png", "--depth-unit", unit, "--out", "out.h5")
    assert code == 0, said
    with synth.open("out.h5") as data:
        np.testing.assert_allclose(data[0]["depth_m"], np.rint(metres * 256) / 256, rtol=1e-6)


def test_relative_inverse_depth(folder):
    """1 / z = A + B q, of which q = 0 is the farthest."""
    inverse = np.tile(np.linspace(0, 60000, SIZE[1]), (SIZE[0], 1)).round().astype(np.uint16)
    write_array("inverse.png", inverse)
    rig = ("--stereo-focal-px", 1, "--baseline", 1, "--doffs", 0.1, "--disparity-scale", 1e-5)
    base = ("blur", "--image", "photo.png", "--depth", "inverse.png", "--depth-unit", "disparity", *rig)
    assert run(*base, "--out", "out.h5")[0] == 0
    with synth.open("out.h5") as data:
        np.testing.assert_allclose(data[0]["depth_m"], 1 / (0.1 + 1e-5 * inverse), rtol=1e-6)
    code, said = run(*base, "--zero-unknown", "--invalid", "error", "--out", "x.h5")
    assert code == 2, said


def test_a_turned_photo_and_its_depth(folder, rng):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(stored).save("turned.png", exif=exif)
    code, said = run("blur", "--image", "turned.png", "--depth", "depth.png", "--depth-unit", "mm", "--out", "out.h5")
    assert code == 0, said
    with synth.open("out.h5") as data:
        sample = data[0]
    upright = np.rot90(stored, -1)
    np.testing.assert_allclose(sample["all_in_focus"], srgb_to_linear(upright.transpose(2, 0, 1) / 255), atol=1e-6)
    assert np.all(np.diff(sample["depth_m"], axis=0) > 0), "what grew from left to right grows downwards"


@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("channels", [1, 3])
def test_npy_is_read_as_it_was_written(layout, channels, folder, rng):
    """float64 beyond [0, 1], of either layout, grey or not, in and out of solve twice."""
    image = rng.random((channels, *SIZE)) * 1.5
    bp.save(bp.Identity((channels, *SIZE)), "blur.h5")
    np.save("y.npy", image if layout == "chw" else image.transpose(1, 2, 0))
    if channels == 1 and layout == "hwc":
        np.save("y.npy", image[0])
    for before, after in (("y.npy", "x.npy"), ("x.npy", "z.npy")):
        code, said = run(
            "solve", before, "--operator", "blur.h5", "--method", "cgls", "--max-iterations", 1, "--out", after
        )
        assert code == 0, said
    assert np.load("x.npy").dtype == np.load("z.npy").dtype == np.float64
    np.testing.assert_allclose(np.load("z.npy"), image, rtol=1e-12)


def test_an_ambiguous_npy_is_asked_about(folder, rng):
    np.save("y.npy", rng.random((3, 8, 3)))
    deblur = ("deblur", "y.npy", "--net", "identity.safetensors", "--out", "x.npy")
    code, said = run(*deblur)
    assert code == 2 and "layout chw or hwc" in said
    assert run(*deblur, "--layout", "chw")[0] == 0
    assert np.load("x.npy").shape == (3, 8, 3)
    assert run(*deblur, "--layout", "rows")[0] == 2


def test_masks_of_jpeg_quality(folder):
    mask = np.full(SIZE, 255, np.uint8)
    mask[3:8, 4:10] = 0
    Image.fromarray(mask).save("mask.jpg", quality=60)
    write_image("black.png", np.zeros(SIZE))
    given = from_image(Path("photo.png"), bp.Identity((3, *SIZE)))
    assert np.array_equal(_mask(Path("mask.jpg"), given), mask == 255)
    code, said = run(*COMMANDS["solve"], "--mask", "black.png")
    assert code == 2 and "--mask: black.png is black everywhere" in said
