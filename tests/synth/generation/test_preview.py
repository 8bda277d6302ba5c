"""The contact sheet: a page for every kind of dataset, the same each time, and nothing left behind."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import blurphys as bp
import synth
from synth import Camera, Scene
from synth.generation.preview import _psfs, preview
from synth.noise import ShotReadNoise

H, W = 24, 30
CAMERA = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875),
    pupil=bp.Pupil.measured(np.ones((16, 16)), split=0.3),
    noise=ShotReadNoise(1e-3, 1e-6),
    max_radius=3.0,
    step=1.0,
    focus_range_m=(0.8, 1.5),
)


def scene(depth=None):
    depth = np.linspace(0.75, 3, W) if depth is None else depth
    depth = np.broadcast_to(np.asarray(depth, float), (H, W)).copy()
    depth[3:6, 4:8] = np.nan
    image = np.random.default_rng(0).random((3, H, W)).astype(np.float32)
    return Scene(all_in_focus=image, depth_m=depth, name="a scene")


def make(path, *, scenes=None, samples=2, camera=CAMERA, model="gather", **options):
    synth.generate(
        scenes or scene(), path, camera=camera, samples=samples, seed=2, shard_size=1, compression=None, model=model,
        max_clamped=None, **options,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("preview") / "data")


def test_a_page_of_all_samples(folder, tmp_path):
    preview(folder, tmp_path / "a.png", samples=9)
    both = synth.io.read_image(tmp_path / "a.png")
    assert np.isfinite(both).all()
    preview(folder, tmp_path / "b.png", samples=1)
    one = synth.io.read_image(tmp_path / "b.png")
    assert both.shape[0] == one.shape[0] == 3
    assert both.shape[2] == one.shape[2]
    assert both.shape[1] > 1.5 * one.shape[1]
    assert min(both.std(), one.std()) > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    preview(folder, tmp_path / "c.png", samples=1)
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_existing_pages_stay_unless_told(folder, tmp_path):
    (tmp_path / "a.png").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        preview(folder, tmp_path / "a.png", samples=1)
    assert (tmp_path / "a.png").read_text() == "precious"
    preview(folder, tmp_path / "a.png", samples=1, overwrite=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "options",
    [
        {"views": ("combined",)},
        {"views": ("left", "right")},
        {"model": "layered"},
        {"scenes": scene(1.0), "camera": CAMERA.draw(np.random.default_rng(0))},
        {"dtype": "float16"},
    ],
    ids=["combined", "left and right", "layered", "flat", "float16"],
)
def test_every_kind_of_dataset(options, tmp_path):
    make(tmp_path / "data.h5", samples=1, **options)
    preview(tmp_path / "data.h5", tmp_path / "a.PNG")
    assert synth.io.read_image(tmp_path / "a.PNG").shape[0] == 3


def test_everything_in_focus(tmp_path):
    """A map of zeros has a bar, too."""
    still = Camera(lens=CAMERA.lens, pupil=CAMERA.pupil, noise=ShotReadNoise(), max_radius=3.0, step=1.0)
    make(tmp_path / "data.h5", samples=1, scenes=scene(1.0), camera=still)
    preview(tmp_path / "data.h5", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        ("a.png", {"samples": 0}, ValueError, "samples .* 1, got 0"),
        ("a.png", {"samples": -2}, ValueError, "samples .* 1, got -2"),
        ("a.jpg", {}, ValueError, r"expected a name ending in \.png"),
        ("a", {}, ValueError, r"expected a name ending in \.png"),
        ("no/a.png", {}, FileNotFoundError, "there is no folder"),
    ],
)
def test_bad_arguments_leave_nothing_behind(target, options, error, message, folder, tmp_path):
    with pytest.raises(error, match=message):
        preview(folder, tmp_path / target, **{"samples": 1, **options})
    assert list(tmp_path.iterdir()) == []


def test_datasets_that_cannot_be_read(folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        preview(tmp_path / "none", tmp_path / "a.png")
    copy = Path(shutil.copytree(folder, tmp_path / "data"))
    (copy / "shard-00001.h5").unlink()
    with pytest.raises(ValueError, match=r"shard-00001\.h5 is not there"):
        preview(copy, tmp_path / "a.png")
    assert not list(tmp_path.glob("*.p*"))


@pytest.mark.parametrize(("low", "high"), [(-3, 3), (0, 0), (1, 3), (-2.6, -0.8)])
def test_the_mosaic_of_psfs(low, high):
    """Five tiles, each scaled to its own peak; left alone is red."""
    mosaic = _psfs(CAMERA, low, high)
    tile = mosaic.shape[0]
    assert mosaic.shape == (tile, 5 * tile, 3)
    assert mosaic.max() == pytest.approx(1)
    assert mosaic.min() >= 0
    for number in range(5):
        inner = mosaic[1:-1, number * tile + 1 : (number + 1) * tile - 1]
        assert inner.max() == pytest.approx(1)
        left, right = inner[..., 0], inner[..., 1]
        assert np.array_equal(right, inner[..., 2])
        assert left.sum() == pytest.approx(right.sum())
    sign = np.sign(high + low)
    if sign:
        lean = [(x.sum(axis=0) * np.arange(tile - 2)).sum() / x.sum() for x in (left, right)]
        assert np.sign(lean[1] - lean[0]) == np.sign(high)
