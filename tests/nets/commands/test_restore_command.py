"""`blurphys restore` on rendered photographs, through the front door."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import h5py
import numpy as np
import pytest

import blurphys as bp
import nets.classical.restore
import synth
from blurphys.cli import application
from nets.classical.one_photo import PHOTO_FILES
from nets.classical.restore import FILES


class Outcome(NamedTuple):
    exit_code: int
    output: str


def run(*words):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        application()(["restore", *(str(word) for word in words)], prog_name="blurphys")
    return Outcome(end.value.code or 0, said.getvalue())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Left, right and their mean as 16-bit PNG, a map in three files, and the sharp picture."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(2)
    sharp = (0.1 + 0.8 * rng.random((3, 18, 24))).repeat(4, axis=1).repeat(4, axis=2)
    c = np.full((72, 96), 2.0)
    c[:, 48:] = -1.5
    bank = bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=3.0, step=0.25)
    y = bp.DualPixel(c, bank=bank)(sharp) + 0.002 * rng.standard_normal((6, 72, 96))
    for name, image in (("l", y[:3]), ("r", y[3:]), ("mean", (y[:3] + y[3:]) / 2)):
        synth.io.write_image(folder / f"{name}.png", image, bits=16)
    np.save(folder / "map.npy", c)
    synth.io.write_array(folder / "map.png", (c * 100 + 1000).astype(np.uint16))
    synth.io.write_image(folder / "small.png", y[:3, :-8], bits=16)
    return folder, sharp, c


def error(folder, sharp):
    with h5py.File(folder / "restoration.h5") as file:
        image, recorded = file["all_in_focus"][()], file["recorded"][()]
    inner = (..., slice(8, -8), slice(8, -8))
    return np.mean((image - sharp)[inner] ** 2) / np.mean((recorded - sharp)[inner] ** 2)


def test_a_pair(photos, tmp_path):
    folder, sharp, c = photos
    out = tmp_path / "result"
    pair = ("--left", folder / "l.png", "--right", folder / "r.png", "--split", 0.4, "--max-radius", 4)
    done = run(*pair, "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    report = json.loads((out / "report.json").read_text())
    assert report["split"] == 0.4 and report["map"] == "estimated" and report["explained_share"] > 0.3
    assert synth.io.read_array(out / "all_in_focus.png").dtype == np.uint16
    with h5py.File(out / "restoration.h5") as file:
        assert np.median(np.abs(file["defocus_map"][()] - c)) < 0.2
        assert len(file["alphas"]) == len(file["alphas"].attrs["radii_px"])
        light = file["all_in_focus"][()]
    decoded = synth.io.read_image(out / "all_in_focus.png", encoding="srgb")
    assert np.allclose(decoded, np.clip(light, 0, 1), atol=1e-4)
    assert error(out, sharp) < 0.8
    again = run(*pair, "--out", out)
    assert again.exit_code == 2 and "--force" in again.output


@pytest.mark.parametrize("given", [("--defocus", "map.npy"), ("--radius", "2")])
def test_one_photograph_with_its_map(given, photos, tmp_path):
    folder, sharp, _ = photos
    option, value = given
    value = folder / value if option == "--defocus" else value
    done = run(folder / "mean.png", option, value, "--strength", 1e-4, "--out", tmp_path / "result")
    assert done.exit_code == 0, done.output
    if option == "--defocus":
        assert error(tmp_path / "result", sharp) < 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "got no photograph"),
        (("--left", "l.png"), "got no --right"),
        (("mean.png", "--pupil", "square"), "polygon:N"),
        (("mean.png", "--pupil", "polygon:2"), "polygon:2"),
        (("mean.png", "--view", "up"), "combined, left or right"),
        (("mean.png", "--max-radius", "0"), "--max-radius"),
        (("mean.png", "--strength", "-1"), "strength"),
        (("mean.png", "--pupil", "disk", "--camera", "pixel4"), "without --camera"),
        (("mean.png", "--radius", "2", "--view", "left"), "unknown blur only"),
        (("mean.png", "--left", "l.png", "--right", "r.png"), "a pair or one photograph"),
        (("mean.png", "--radius", "2", "--defocus", "map.npy"), "got both"),
        (("mean.png", "--radius", "nan"), "finite"),
        (("mean.png", "--defocus", "map.png"), "--defocus-unit"),
        (("small.png", "--defocus", "map.npy"), "64 x 96"),
        (("mean.png", "--defocus", "absent.npy"), "absent.npy"),
        (("--left", "l.png", "--right", "small.png"), "one size"),
        (("--left", "l.png", "--right", "absent.png"), "absent.png"),
        (("--left", "l.png", "--right", "r.png", "--camera", "holga"), "holga"),
        (("--left", "l.png", "--right", "r.png", "--split", "0"), "split"),
        (("mean.png", "--radius", "2", "--slabs", "0"), "--slabs"),
        (("mean.png", "--radius", "2", "--encoding", "rec709"), "rec709"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(words, said, photos, tmp_path):
    folder, _, _ = photos
    words = [str(folder / word) if word.endswith((".png", ".npy")) else word for word in words]
    done = run(*words, "--out", tmp_path / "result")
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert said in " ".join(done.output.split()), done.output
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("pupil", ["disk", "polygon:6"])
def test_one_photograph_of_unknown_blur(pupil, photos, tmp_path, monkeypatch):
    from nets.inference import blur_map

    folder, sharp, c = photos

    def stand_in(photo, *, net=None):
        radii, cells = np.arange(0, 8.5, 0.5, dtype=np.float32), (9, 12)
        p = np.exp(-(((radii - 1.75) / 0.4) ** 2))[:, None, None] * np.ones(cells)
        plane = np.abs(c).astype(np.float32)
        return blur_map.BlurEstimate(
            radius=plane,
            confidence=plane,
            noise=0.002,
            distribution=(p / p.sum(axis=0)).astype(np.float32),
            radii=radii,
        )

    monkeypatch.setattr(blur_map, "estimate_blur", stand_in)
    out = tmp_path / "result"
    done = run(folder / "mean.png", "--max-radius", 4, "--pupil", pupil, "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == sorted(PHOTO_FILES)
    report = json.loads((out / "report.json").read_text())
    assert report["pupil"] == pupil and report["map"] == "estimated" and report["seconds"] > 0
    assert report["restored_share"] + sum(report["kept_share"].values()) == pytest.approx(1, abs=1e-6)
    before, after = (synth.io.read_image(path) for path in (folder / "mean.png", out / "restored.png"))
    inner = (..., slice(8, -8), slice(8, -8))
    assert np.mean((after - sharp)[inner] ** 2) < np.mean((before - sharp)[inner] ** 2)
    assert np.load(out / "defocus_map.npy").shape == (72, 96)
    again = run(folder / "mean.png", "--out", out)
    assert again.exit_code == 2 and "--force" in again.output


def test_pixels_that_are_kept_do_not_change_by_a_level(photos, tmp_path, monkeypatch):
    """An 8-bit photograph that is left as it is comes back with the same values, in 16 bits."""
    from nets.inference import blur_map

    levels = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    synth.io.write_array(tmp_path / "photo.png", levels)

    def stand_in(photo, *, net=None):
        radii = np.arange(0, 8.5, 0.5, dtype=np.float32)
        p = np.zeros((17, 5, 6), np.float32)
        p[0] = 1
        plane = np.zeros((40, 48), np.float32)
        return blur_map.BlurEstimate(radius=plane, confidence=plane, noise=0.0, distribution=p, radii=radii)

    monkeypatch.setattr(blur_map, "estimate_blur", stand_in)
    done = run(tmp_path / "photo.png", "--out", tmp_path / "result")
    assert done.exit_code == 0 and "Nothing to restore" in done.output, done.output
    assert np.array_equal(synth.io.read_array(tmp_path / "result" / "restored.png"), levels.astype(np.uint16) * 257)


def test_what_fails_while_writing_leaves_nothing(photos, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nets.classical.restore, "_store", fail)
    done = run(photos[0] / "mean.png", "--radius", "2", "--out", tmp_path / "result")
    assert done.exit_code == 2 and "disk is full" in done.output
    assert not (tmp_path / "result").exists()
