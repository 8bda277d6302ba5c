"""Scenes: the record, its checks, and readers for RGB-D folders as they lie."""

import math
import shutil

import numpy as np
import pytest

from synth import Scene, io, scenes
from synth.io.depth import Stereo


def make(H=6, W=9, name="made"):
    rng = np.random.default_rng(3)
    return Scene(all_in_focus=rng.random((3, H, W)), depth_m=rng.uniform(1, 3, (H, W)), name=name)


def folder(path, image, depth, unit_value, *, second=None, shape=(24, 26)):
    """A miniature RGB-D folder: a grey ramp and one depth everywhere but in one unknown pixel."""
    path.mkdir()
    ramp = np.tile(np.linspace(0, 255, shape[1]).astype(np.uint8), (shape[0], 1))
    if image.endswith("png"):
        io.write_array(path / image, ramp)
    else:
        from PIL import Image

        Image.fromarray(ramp).save(path / image)
    if second:
        io.write_array(path / second, ramp)
    values = np.full(shape, unit_value)
    values[12, 12] = 0
    if depth.endswith("dpt"):
        head = b"PIEH" + np.array(shape[::-1], "<i4").tobytes()
        (path / depth).write_bytes(head + values.astype("<f4").tobytes())
    else:
        io.write_array(path / depth, values.astype(np.uint8 if depth.startswith("disp") else np.uint16))
    return path


@pytest.mark.parametrize(
    ("image", "depth", "value", "metres", "second"),
    [
        ("rgb.jpg", "depth_mm.png", 1750, 1.75, None),
        ("frame_0003.png", "frame_0003.dpt", 1.75, 1.75, None),
        ("color.png", "depth.png", 8750, 1.75, None),
        ("im2.png", "disp2.png", 100, 0.16 * 935 / 25, None),
        ("l.png", "d.png", 1750, 1.75, "r.png"),
    ],
)
def test_each_layout(image, depth, value, metres, second, tmp_path):
    scene = scenes.read_folder(folder(tmp_path / "pair", image, depth, value, second=second))
    assert scene.name == "pair"
    assert scene.source
    assert scene.all_in_focus.dtype == np.float32
    assert scene.shape == ((4, 6) if image == "rgb.jpg" else (24, 26))  # NYU's white rim is cut off
    assert np.nanmax(scene.depth_m) == np.nanmin(scene.depth_m) == pytest.approx(metres)
    assert (~scene.valid).sum() == 1


def test_the_unit_and_the_rig_can_be_overridden(tmp_path):
    path = folder(tmp_path / "pair", "color.png", "depth.png", 1750)
    assert np.nanmax(scenes.read_folder(path).depth_m) == pytest.approx(0.35)
    assert np.nanmax(scenes.read_folder(path, depth_unit="mm").depth_m) == pytest.approx(1.75)
    cones = folder(tmp_path / "cones", "im2.png", "disp2.png", 100)
    rig = Stereo(focal_px=100, baseline_m=1, scale=1)
    assert np.nanmax(scenes.read_folder(cones, stereo=rig).depth_m) == pytest.approx(1)
    with pytest.raises(ValueError, match="stereo rig"):
        scenes.read_folder(path, depth_unit="disparity")


@pytest.mark.parametrize("unit", [0, 0.0, -1, math.nan, ""])
def test_a_unit_of_nothing_is_no_missing_unit(unit, tmp_path):
    path = folder(tmp_path / "pair", "color.png", "depth.png", 1750)
    with pytest.raises(ValueError, match="expected a unit among"):
        scenes.read_folder(path, depth_unit=unit)


def test_folders_that_are_no_scene(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        scenes.read_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none of them"):
        scenes.read_folder(tmp_path / "empty")
    path = folder(tmp_path / "both", "color.png", "depth.png", 1750)
    folder(tmp_path / "other", "im2.png", "disp2.png", 100)
    for file in (tmp_path / "other").iterdir():
        shutil.copy(file, path)
    with pytest.raises(ValueError, match=r"found 2 of them: color\.png, im2\.png"):
        scenes.read_folder(path)
    with pytest.raises(ValueError, match="got the file"):
        scenes.read_folder(path / "color.png")
    lonely = folder(tmp_path / "lonely", "l.png", "d.png", 1750)
    with pytest.raises(ValueError, match="none of them"):
        scenes.read_folder(lonely)


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    path = folder(tmp_path / "pair", "color.png", "depth.png", 1750)
    monkeypatch.setattr("os.listdir", refused)
    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(PermissionError, match="pair"):
        scenes.read_folder(path)


def test_two_files_of_different_size(tmp_path):
    io.write_array(tmp_path / "a.png", np.zeros((8, 9), np.uint8))
    io.write_array(tmp_path / "d.png", np.full((9, 8), 1000, np.uint16))
    with pytest.raises(
        ValueError, match=r"d\.png: expected depth of the proportions .*, 8 x 9 px, got 9 x 8 px; was it"
    ):
        scenes.from_files(tmp_path / "a.png", tmp_path / "d.png", depth_unit="mm")
    with pytest.raises(ValueError, match="does not say its unit"):
        scenes.from_files(tmp_path / "a.png", tmp_path / "d.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        scenes.from_files(tmp_path / "a.png", tmp_path / "e.png", depth_unit="mm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"all_in_focus": np.zeros((6, 9, 3))}, "channels-last"),
        ({"all_in_focus": np.zeros((1, 6, 9))}, r"expected an image of shape \(3, H, W\)"),
        ({"depth_m": np.ones((9, 6))}, "one depth per pixel"),
        ({"all_in_focus": np.full((3, 6, 9), np.nan)}, "not finite"),
        ({"all_in_focus": np.full((3, 6, 9), -0.1)}, "negative"),
        ({"all_in_focus": np.zeros((3, 6, 9), np.uint8)}, "float image"),
        ({"depth_m": np.ones((6, 9), np.float32)}, "float64 depth"),
        ({"depth_m": np.full((6, 9), np.nan)}, "no pixel has a known depth"),
        ({"depth_m": np.zeros((6, 9))}, "depths > 0"),
        ({"depth_m": np.full((6, 9), np.inf)}, "depths > 0"),
    ],
)
def test_records_that_are_no_scene(change, message):
    good = make()
    fields = {"all_in_focus": good.all_in_focus, "depth_m": good.depth_m, "name": "bad", **change}
    with pytest.raises(ValueError, match=message):
        Scene(**fields)


def test_windows():
    scene = make()
    part = scene.window(1, 2, 3, 4)
    assert np.array_equal(part.all_in_focus, scene.all_in_focus[:, 1:4, 2:6])
    assert np.array_equal(part.depth_m, scene.depth_m[1:4, 2:6])
    for bad in ((-1, 0, 2, 2), (0, 0, 7, 2), (0, 0, 0, 2), (0, 8, 2, 2)):
        with pytest.raises(ValueError, match="expected a window"):
            scene.window(*bad)


def test_the_motorcycle():
    """Trap 9: its disparity is infinite where unknown, which is not a depth of zero."""
    scene = scenes.stereo_motorcycle()
    assert scene.shape == (500, 741)
    assert (~scene.valid).mean() == pytest.approx(0.0735, abs=1e-4)
    assert 2.0 < np.nanmin(scene.depth_m) < np.nanmax(scene.depth_m) < 5.1


def test_the_calibration_of_the_motorcycle_scales_with_its_size():
    """The full-size numbers give the same depth: q, doffs and focal length shrink together, the baseline stays."""
    full = Stereo(focal_px=3979.911, baseline_m=0.193001, doffs=124.343)
    q = 30.0
    depth = [
        rig.baseline_m * rig.focal_px / (s * q + rig.doffs) for rig, s in ((full, 4), (scenes.motorcycle.MOTORCYCLE, 1))
    ]
    assert depth[0] == pytest.approx(depth[1], rel=1e-12)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*the depth has 8 bits")
@pytest.mark.parametrize(
    ("name", "shape", "unknown"),
    [
        ("nyuv2_348", (460, 620), 0),
        ("sintel_market2", (436, 1024), 0),
        ("icl_nuim_1", (480, 640), 0),
        ("tum_rgbd_fr2", (480, 640), 0.333),
        ("middlebury_cones", (375, 450), 0.032),
        ("canon_r6m2_scene_003", (512, 768), 0.0054),
    ],
)
def test_real_folders(data, name, shape, unknown):
    scene = scenes.read_folder(data / name)
    assert scene.shape == shape
    assert (~scene.valid).mean() == pytest.approx(unknown, abs=2e-3)
    assert 0.3 < np.nanmedian(scene.depth_m) < 25
    assert scene.all_in_focus[:, 0, :].min() < 0.9, "the white rim is still there"
