"""Readers of public RGB-D sets, on miniature files of the same layout."""

import math

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blurphys.colour import srgb_to_linear
from synth import io, scenes
from tests.profiles import examples

CALIBRATION = """cam0=[3979.911 0 1244.772; 0 3979.911 1019.507; 0 0 1]
cam1=[3979.911 0 1369.115; 0 3979.911 1019.507; 0 0 1]
doffs=124.343
baseline=193.001
width=7
height=5
ndisp=270
isint=0
"""


def colour8(shape=(5, 7), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


# Middlebury


def middlebury(path, calibration=CALIBRATION, disparity=None):
    path.mkdir(exist_ok=True)
    q = np.linspace(20, 230, 35, dtype=np.float32).reshape(5, 7) if disparity is None else disparity
    io.write_array(path / "im0.png", colour8(), overwrite=True)
    io.write_array(path / "disp0.pfm", q, overwrite=True)
    (path / "calib.txt").write_text(calibration)
    return path


def test_middlebury_depth_is_baseline_times_focal_length_over_disparity(tmp_path):
    q = np.linspace(20, 230, 35, dtype=np.float32).reshape(5, 7)
    q[0, 0], q[1, 2], q[4, 6] = np.inf, np.nan, -124.343
    scene = scenes.middlebury(middlebury(tmp_path / "chess", disparity=q))
    assert scene.name == "chess"
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [1, 2], [4, 6]]
    for row, column in ((0, 6), (3, 1), (4, 0)):
        assert scene.depth_m[row, column] == pytest.approx(0.193001 * 3979.911 / (float(q[row, column]) + 124.343))
    assert np.allclose(scene.all_in_focus, srgb_to_linear(colour8().transpose(2, 0, 1) / 255.0), atol=1e-6)


def test_middlebury_agrees_with_the_motorcycle_of_scikit_image(tmp_path):
    """Its rig, divided by 4, written as a calibration."""
    rig = scenes.motorcycle.MOTORCYCLE
    text = (
        f"cam0=[{rig.focal_px!r} 0 3; 0 {rig.focal_px!r} 2; 0 0 1]\ndoffs={rig.doffs!r}\n"
        f"baseline={rig.baseline_m * 1000!r}\nwidth=7\nheight=5\n"
    )
    disparity = np.full((5, 7), 30, np.float32)
    scene = scenes.middlebury(middlebury(tmp_path / "m", text, disparity))
    assert scene.depth_m[0, 0] == pytest.approx(rig.baseline_m * rig.focal_px / (30 + rig.doffs), rel=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("doffs=124.343\n", "", "found no doffs"),
        ("baseline=193.001", "baseline=", "number"),
        ("baseline=193.001", "baseline=-1", "baseline_m .*> 0, got -0.001"),
        ("baseline=193.001", "baseline=1e999", "expected 1 number"),
        ("baseline=193.001", "baseline=nan", "expected numbers after baseline"),
        ("0 3979.911 1019.507; 0 0 1]\ncam1", "0 3000 1019.507; 0 0 1]\ncam1", "square pixels"),
        ("; 0 0 1]\ncam1", "]\ncam1", "expected cam0 as a matrix"),
        ("width=7", "width=14", "5 x 14 px, but im0.png has shape .5, 7.; was it scaled down"),
        ("width=7", "width=7.5", "whole height and width"),
        ("isint=0", "isint=" + "0" * 70000, "more than 65536 bytes"),
        ("isint=0", "isint=\N{DEGREE SIGN}", "plain text"),
    ],
)
def test_calibrations_that_do_not_fit(old, new, message, tmp_path):
    assert CALIBRATION.count(old) == 1
    with pytest.raises(ValueError, match=message):
        scenes.middlebury(middlebury(tmp_path / "bad", CALIBRATION.replace(old, new)))


def test_middlebury_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        scenes.middlebury(tmp_path / "none")
    path = middlebury(tmp_path / "half")
    with pytest.raises(ValueError, match="got the file"):
        scenes.middlebury(path / "calib.txt")
    for name in ("disp0.pfm", "im0.png", "calib.txt"):
        (path / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            scenes.middlebury(path)


# NYU


def nyu(path, frames=3, H=30, W=34, **change):
    """Arrays with the axes of MATLAB reversed, after the 512 bytes that MATLAB puts before the HDF5 part."""
    rng = np.random.default_rng(5)
    arrays = {
        "images": rng.integers(0, 256, (frames, 3, W, H), np.uint8),
        "depths": rng.uniform(1, 9, (frames, W, H)).astype(np.float32),
        "rawDepths": rng.uniform(1, 9, (frames, W, H)).astype(np.float32),
        **change,
    }
    arrays["rawDepths"][:, 15, 12] = 0
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            if values is not None:
                file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), compression="gzip")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return arrays


def test_nyu_is_turned_upright_and_loses_its_rim(tmp_path):
    arrays = nyu(tmp_path / "nyu.mat")
    scene = scenes.nyu_labelled(tmp_path / "nyu.mat", 1)
    assert scene.shape == (10, 14)
    for row, column in ((0, 0), (3, 9), (9, 13)):
        assert scene.depth_m[row, column] == arrays["depths"][1, column + 10, row + 10]
        expected = srgb_to_linear(arrays["images"][1, :, column + 10, row + 10] / 255.0)
        assert np.allclose(scene.all_in_focus[:, row, column], expected, atol=1e-6)
    assert scene.valid.all()
    assert scenes.nyu_labelled(tmp_path / "nyu.mat", 1, rim=0).shape == (30, 34)


def test_nyu_raw_depth_keeps_its_holes(tmp_path):
    arrays = nyu(tmp_path / "nyu.mat")
    scene = scenes.nyu_labelled(tmp_path / "nyu.mat", 2, raw=True, rim=8)
    assert np.argwhere(~scene.valid).tolist() == [[4, 7]]
    assert scene.depth_m[0, 0] == arrays["rawDepths"][2, 8, 8]


def test_nyu_files_that_do_not_fit(tmp_path):
    path = tmp_path / "nyu.mat"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        scenes.nyu_labelled(path, 0)
    nyu(path)
    for index in (-1, 3):
        with pytest.raises(ValueError, match=rf"nyu\.mat: expected a frame from 0 to 2, got {index}"):
            scenes.nyu_labelled(path, index)
    with pytest.raises(ValueError, match=r"whole number, got 1\.5"):
        scenes.nyu_labelled(path, 1.5)
    for rim in (15, -1):
        with pytest.raises(ValueError, match="expected a window"):
            scenes.nyu_labelled(path, 0, rim=rim)
    nyu(path, depths=None)
    with pytest.raises(ValueError, match="expected an array 'depths', found none"):
        scenes.nyu_labelled(path, 0)
    nyu(path, depths=np.ones((3, 30, 34), np.float32))
    with pytest.raises(ValueError, match=r"expected images \(N, 3, W, H\)"):
        scenes.nyu_labelled(path, 0)
    nyu(path, depths=np.zeros((3, 34, 30), np.float32))
    with pytest.raises(ValueError, match=r"nyu\.mat: depth: none of the"):
        scenes.nyu_labelled(path, 0)


# SYNTHIA


def code(metres):
    value = np.round(np.asarray(metres) * (2**24 - 1) / 1000).astype(np.int64)
    return np.stack([value & 255, value >> 8 & 255, value >> 16], axis=-1).astype(np.uint8)


def test_synthia_depth_is_least_significant_in_red(tmp_path):
    metres = np.random.default_rng(1).uniform(2, 240, (5, 7))
    metres[0, 0], metres[1, 1], metres[2, 2] = 1000, 0, 400
    io.write_array(tmp_path / "rgb.png", colour8())
    io.write_array(tmp_path / "depth.png", code(metres))
    scene = scenes.synthia(tmp_path / "rgb.png", tmp_path / "depth.png")
    expected = np.minimum(metres, 250)
    expected[1, 1] = np.nan
    assert np.allclose(scene.depth_m, expected, atol=1000 / 2**24, equal_nan=True)
    assert scene.depth_m[0, 0] == 250
    wide = scenes.synthia(tmp_path / "rgb.png", tmp_path / "depth.png", farthest_m=1000)
    assert wide.depth_m[0, 0] == 1000
    assert "code 0 is unknown" in scene.source


def test_synthia_files_that_do_not_fit(tmp_path):
    io.write_array(tmp_path / "rgb.png", colour8())
    io.write_array(tmp_path / "grey.png", np.full((5, 7), 1750, np.uint16))
    io.write_array(tmp_path / "deep.png", np.full((5, 7, 3), 1750, np.uint16))
    io.write_array(tmp_path / "small.png", code(np.full((4, 7), 3)))
    io.write_array(tmp_path / "zero.png", np.zeros((5, 7, 3), np.uint8))
    for name, message in (
        ("grey", "8-bit RGB image, got uint16 of shape .5, 7."),
        ("deep", "8-bit RGB image, got uint16"),
        ("small", "do the two files belong together"),
        ("zero", "none of the 35 pixels"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.png.*{message}"):
            scenes.synthia(tmp_path / "rgb.png", tmp_path / f"{name}.png")
    for limit in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"farthest_m .*> 0, got {limit}"):
            scenes.synthia(tmp_path / "rgb.png", tmp_path / "rgb.png", farthest_m=limit)


# Hypersim


def hypersim(path, colour, distance, **options):
    files = path / "frame.0001.color.hdf5", path / "frame.0001.depth_meters.hdf5"
    for file, values in zip(files, (colour, distance), strict=True):
        with h5py.File(file, "w") as stream:
            stream.create_dataset("dataset", data=values, **options)
    return files


def wall(H, W, f, z):
    """Distances along the rays to a wall that faces the camera, pixel by pixel from the geometry."""
    return np.array([[z * math.dist((0, 0, 0), ((c - (W - 1) / 2) / f, (r - (H - 1) / 2) / f, 1)) for c in range(W)]
                     for r in range(H)])  # fmt: skip


@given(H=st.integers(1, 9), W=st.integers(1, 9), f=st.floats(2, 2000), z=st.floats(0.1, 100))
@settings(examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hypersim_sees_a_wall_as_flat(H, W, f, z, tmp_path):
    colour, depth = hypersim(tmp_path, np.ones((H, W, 3), np.float16), wall(H, W, f, z))
    assert np.allclose(scenes.hypersim(colour, depth, focal_px=f).depth_m, z, rtol=1e-12)


def test_the_corner_ray_of_hypersim_is_23_percent_longer(tmp_path):
    colour, depth = hypersim(tmp_path, np.ones((768, 1024, 3), np.float16), np.ones((768, 1024), np.float16))
    scene = scenes.hypersim(colour, depth)
    assert 1 / scene.depth_m[0, 0] == pytest.approx(1.23, abs=0.005)
    assert scene.depth_m.max() == pytest.approx(1, abs=1e-6)


def test_hypersim_keeps_highlights_and_holes(tmp_path):
    light = np.random.default_rng(0).uniform(0, 50, (5, 7, 3)).astype(np.float16)
    distance = np.full((5, 7), 3, np.float32)
    distance[1, 1], distance[2, 2], distance[3, 3] = np.nan, np.inf, 0
    files = hypersim(tmp_path, light, distance, compression="gzip")
    scene = scenes.hypersim(*files, exposure=0.5)
    assert np.array_equal(scene.all_in_focus, light.transpose(2, 0, 1).astype(np.float32) / 2)
    assert scene.all_in_focus.max() > 20
    assert np.argwhere(~scene.valid).tolist() == [[1, 1], [2, 2], [3, 3]]
    assert scene.name == "frame.0001.color"


def test_hypersim_files_that_do_not_fit(tmp_path):
    good = np.ones((5, 7, 3), np.float32), np.ones((5, 7), np.float32)
    for colour, distance, message in (
        (good[0][..., :2], good[1], r"shape \(H, W, 3\)"),
        (good[0], good[0], "with 2 axes"),
        (good[0].astype(np.uint8), good[1], "as floats"),
        (good[0], good[1][:4], "do the two files belong together"),
        (-good[0], good[1], "negative"),
        (good[0] * np.nan, good[1], "not finite"),
        (good[0], good[1] * np.nan, "depth_meters.hdf5: depth: none of the 35 pixels"),
    ):
        files = hypersim(tmp_path, colour, distance)
        with pytest.raises(ValueError, match=message):
            scenes.hypersim(*files)
    files = hypersim(tmp_path, *good)
    for change in ({"focal_px": 0}, {"exposure": math.nan}, {"exposure": -1}):
        with pytest.raises(ValueError, match=f"expected {next(iter(change))} .*> 0"):
            scenes.hypersim(*files, **change)
    with pytest.raises(ValueError, match="not finite"):
        scenes.hypersim(*files, exposure=1e300)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        scenes.hypersim(tmp_path / "none.hdf5", files[1])
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text\.hdf5: expected a whole HDF5 file"):
        scenes.hypersim(files[0], tmp_path / "text.hdf5")


# Damage


def test_arrays_that_are_not_in_the_file_are_refused(tmp_path):
    """Links to other files, and shapes that need terabytes for a file of a few kilobytes."""
    colour, depth = hypersim(tmp_path, np.ones((5, 7, 3), np.float32), np.ones((5, 7), np.float32))
    bad = tmp_path / "bad.hdf5"

    def refused(message, make):
        with h5py.File(bad, "w") as file:
            make(file)
        with pytest.raises(ValueError, match=rf"bad\.hdf5: .*{message}"):
            scenes.hypersim(colour, bad)

    refused(
        "found none in this file", lambda file: file.__setitem__("dataset", h5py.ExternalLink(str(depth), "dataset"))
    )
    refused("found none in this file", lambda file: file.create_dataset("other", data=np.ones((5, 7))))
    refused("an array stored in this file", lambda file: file.create_group("dataset"))
    refused("bytes are stored", lambda file: file.create_dataset("dataset", (1 << 20, 1 << 20), "f4"))
    refused(
        "bytes are stored",
        lambda file: file.create_dataset("dataset", (1 << 20, 1 << 20), "f4", chunks=(512, 512), compression="gzip"),
    )
    layout = h5py.VirtualLayout((5, 7), "f4")
    layout[:] = h5py.VirtualSource(str(depth), "dataset", (5, 7))
    refused("an array stored in this file", lambda file: file.create_virtual_dataset("dataset", layout))


MUTATION = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8)


def damaged(data, mutations, cut):
    result = bytearray(data)
    for position, value in mutations:
        result[position % len(result)] = value
    return bytes(result[: len(result) - cut % len(result)])


@pytest.mark.parametrize("kind", ["middlebury", "nyu", "synthia", "hypersim"])
def test_damaged_files_give_a_scene_or_a_value_error(kind, tmp_path):
    if kind == "middlebury":
        middlebury(tmp_path / "m")
        victim, read = tmp_path / "m" / "calib.txt", lambda: scenes.middlebury(tmp_path / "m")
    elif kind == "nyu":
        nyu(tmp_path / "nyu.mat", frames=1)
        victim, read = tmp_path / "nyu.mat", lambda: scenes.nyu_labelled(tmp_path / "nyu.mat", 0)
    elif kind == "synthia":
        io.write_array(tmp_path / "rgb.png", colour8())
        io.write_array(tmp_path / "depth.png", code(np.full((5, 7), 9)))
        victim, read = tmp_path / "depth.png", lambda: scenes.synthia(tmp_path / "rgb.png", tmp_path / "depth.png")
    else:
        files = hypersim(tmp_path, np.ones((5, 7, 3), np.float32), np.ones((5, 7), np.float32), compression="gzip")
        victim, read = files[1], lambda: scenes.hypersim(*files)
    whole = victim.read_bytes()

    @given(mutations=MUTATION, cut=st.sampled_from([0, 0, 0, 1, 40, 1000]))
    def law(mutations, cut):
        victim.write_bytes(damaged(whole, mutations, cut))
        try:
            scene = read()
        except ValueError as error:
            assert len(str(error)) > 20
        else:
            assert isinstance(scene, scenes.Scene)

    law()
