"""Calibration files beside photographs and depth maps are found and read."""

import struct

import numpy as np
import pytest

from synth import io, scenes
from synth.io.calibration import calibration_beside
from tests.synth.io.test_depth_files import colmap
from tests.synth.scenes.test_scene_readers import CALIBRATION, colour8, middlebury

F, BASELINE, DOFFS = 3979.911, 0.193001, 124.343


def test_disparity_beside_calib_txt_needs_no_options(tmp_path):
    folder = middlebury(tmp_path / "chess")
    q = io.read_array(folder / "disp0.pfm").astype(float)
    expected = BASELINE * F / (q + DOFFS)
    pair = folder / "im0.png", folder / "disp0.pfm"
    for scene in (
        scenes.from_files(*pair), scenes.from_files(*pair, depth_unit="disparity"), scenes.read_folder(folder),
        scenes.middlebury(folder),
    ):  # fmt: skip
        np.testing.assert_allclose(scene.depth_m, expected, rtol=1e-12)
        assert scene.focal_px == F
        assert "3979.91 px" in scene.source and "124.343 px" in scene.source


def test_what_is_said_comes_before_what_is_found(tmp_path):
    folder = middlebury(tmp_path / "chess")
    pair = folder / "im0.png", folder / "disp0.pfm"
    q = io.read_array(folder / "disp0.pfm").astype(float)
    rig = io.Stereo(focal_px=100, baseline_m=1)
    np.testing.assert_allclose(scenes.from_files(*pair, depth_unit="disparity", stereo=rig).depth_m, 100 / q)
    np.testing.assert_allclose(scenes.from_files(*pair, depth_unit="mm").depth_m, q / 1000)
    io.write_array(folder / "d.png", np.full((5, 7), 1000, np.uint16))
    with pytest.raises(ValueError, match="does not say its unit"):  # integers are usually depth
        scenes.from_files(folder / "im0.png", folder / "d.png")


def test_disparity_of_another_size_than_the_calibration(tmp_path):
    folder = middlebury(tmp_path / "chess", CALIBRATION.replace("width=7", "width=14").replace("height=5", "height=10"))
    with pytest.raises(ValueError, match=r"calib.txt is for 10 x 14 px, but the disparity has 5 x 7; was it scaled"):
        scenes.from_files(folder / "im0.png", folder / "disp0.pfm")
    (folder / "calib.txt").write_text(CALIBRATION.replace("doffs=124.343\n", ""))
    with pytest.raises(ValueError, match=r"calib.txt: .*found no doffs"):
        scenes.from_files(folder / "im0.png", folder / "disp0.pfm")


def test_other_files_of_that_name_are_passed_over(tmp_path):
    folder = middlebury(tmp_path / "kitti", "P0: 7.2e+02 0 6.1e+02 0 0 7.2e+02 1.7e+02 0 0 0 1 0\n")
    assert calibration_beside(folder / "im0.png", folder / "disp0.pfm") is None
    with pytest.raises(ValueError, match="does not say its unit"):
        scenes.from_files(folder / "im0.png", folder / "disp0.pfm")


# ---- COLMAP -------------------------------------------------------------------------------------------------------

TEXT = "# Camera list\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n1 PINHOLE 7 5 8.5 9.5 3.5 2.5\n"
IMAGES = "1 1 0 0 0 0 0 0 1 a.png\n10 20 -1\n2 1 0 0 0 0 0 0 2 sub/b.png\n\n"


def binary(*cameras):
    body = struct.pack("<Q", len(cameras))
    for number, model, width, height, parameters in cameras:
        body += struct.pack("<iiQQ", number, model, width, height) + struct.pack(f"<{len(parameters)}d", *parameters)
    return body


def reconstruction(path, depth=None):
    """A dense workspace in miniature."""
    for name in ("images", "stereo/depth_maps", "sparse"):
        (path / name).mkdir(parents=True, exist_ok=True)
    io.write_array(path / "images/a.png", colour8())
    depth = np.linspace(1, 4, 35, dtype=np.float32).reshape(5, 7) if depth is None else depth
    (path / "stereo/depth_maps/a.png.geometric.bin").write_bytes(colmap(depth))
    (path / "stereo/depth_maps/a.png.photometric.bin").write_bytes(colmap(2 * depth))
    return path, depth


@pytest.mark.parametrize("where", ["images", ".", "sparse", "sparse/0"])
@pytest.mark.parametrize("kind", ["txt", "bin"])
@pytest.mark.filterwarnings("ignore:.*a scale of its own")
def test_a_dense_workspace(where, kind, tmp_path):
    folder, depth = reconstruction(tmp_path / "dense")
    (folder / where).mkdir(exist_ok=True)
    made = TEXT.encode() if kind == "txt" else binary((1, 1, 7, 5, [8.5, 9.5, 3.5, 2.5]))
    (folder / where / f"cameras.{kind}").write_bytes(made)
    scene = scenes.read_folder(folder)
    assert np.array_equal(scene.depth_m, depth.astype(float)), "geometric depth comes first"
    assert scene.focal_px == 9.0
    direct = scenes.from_files(folder / "images/a.png", folder / "stereo/depth_maps/a.png.photometric.bin")
    assert np.array_equal(direct.depth_m, 2.0 * depth) and direct.focal_px == 9.0


@pytest.mark.filterwarnings("ignore:.*a scale of its own")
def test_the_focal_length_belongs_to_a_size(tmp_path):
    folder, _ = reconstruction(tmp_path / "dense")
    pair = folder / "images/a.png", folder / "stereo/depth_maps/a.png.geometric.bin"
    for size, focal in (((14, 10), 4.5), ((7, 5), 9.0), ((5, 7), 9.0), ((14, 5), None)):
        (folder / "sparse/cameras.txt").write_text(TEXT.replace("7 5", f"{size[0]} {size[1]}"))
        assert scenes.from_files(*pair).focal_px == focal


@pytest.mark.filterwarnings("ignore:.*a scale of its own")
def test_several_cameras(tmp_path):
    folder, _ = reconstruction(tmp_path / "dense")
    pair = folder / "images/a.png", folder / "stereo/depth_maps/a.png.geometric.bin"
    file = folder / "sparse/cameras.txt"
    file.write_text(TEXT + "2 SIMPLE_RADIAL 7 5 20 3.5 2.5 0.01\n")
    assert calibration_beside(*pair) is None
    (folder / "sparse/images.txt").write_text(IMAGES)
    assert calibration_beside(*pair).focal_px == 9.0
    assert calibration_beside(folder / "images/b.png", pair[1]).focal_px == 20
    file.write_text(TEXT + TEXT.replace("1 PIN", "2 PIN"))
    (folder / "sparse/images.txt").unlink()
    assert calibration_beside(*pair).focal_px == 9.0, "cameras that are alike"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cameras.txt", b"1 PINHOLE 7 5\n", "expected COLMAP's cameras, lines of number, model, width"),
        ("cameras.txt", b"1 LENS 7 5 1 2 3\n", "lines of number, model"),
        ("cameras.txt", b"1 PINHOLE 7 5 8.5 9.5 3.5\n", r"expected 4 number"),
        ("cameras.txt", b"1 PINHOLE 7 5 -8 -9 3 2\n", "focal length of -8.5 px"),
        ("cameras.txt", b"1 PINHOLE 0 5 8 9 3 2\n", "for 0 x 5 px"),
        ("cameras.bin", binary((1, 1, 7, 5, [8.5, 9.5, 3.5, 2.5]))[:-5], "cut short"),
        ("cameras.bin", binary((1, 99, 7, 5, [8.5])), "camera model 99"),
        ("cameras.bin", b"", "cut short"),
    ],
)
def test_damaged_cameras_are_named(name, content, words, tmp_path):
    folder, _ = reconstruction(tmp_path / "dense")
    (folder / "sparse" / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        scenes.read_folder(folder)
    assert str(folder / "sparse" / name) in str(caught.value) and "\n" not in str(caught.value)
