"""Depth as programs store it: relative inverse depth, 8 bits, NPZ, COLMAP, grey saved in colours."""

import io as bytes_io
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synth import io
from synth.io.depth import Stereo, read_depth, read_depth_file, to_metres

# ---- relative inverse depth ---------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    near=st.floats(0.1, 5),
    ratio=st.floats(1.01, 100),
    scale=st.floats(0.01, 100),
    shift=st.floats(-9, 9),
)
def test_inverse_depth_of_any_scale_and_offset_is_found_again(seed, near, ratio, scale, shift):
    """A network predicts 1 / z up to scale and offset: near and far undo both."""
    z = np.random.default_rng(seed).uniform(near, near * ratio, (4, 5))
    z[0, 0], z[3, 4] = near, near * ratio
    found = to_metres(scale / z + shift, unit="relative", near_m=near, far_m=near * ratio)
    np.testing.assert_allclose(found, z, rtol=1e-6)


def test_large_is_near_and_the_ends_are_as_given():
    q = np.array([[0, 100, 200]], np.uint16)
    found = to_metres(q, unit="relative", near_m=0.5, far_m=8)
    assert found[0, 0] == pytest.approx(8) and found[0, 2] == pytest.approx(0.5), "0 is the farthest pixel, no hole"
    assert found[0, 1] == pytest.approx(1 / ((1 / 0.5 + 1 / 8) / 2))
    holes = to_metres(np.array([[np.nan, -3.0, np.inf, 7.0]]), unit="relative", near_m=1, far_m=2)
    np.testing.assert_allclose(holes, [[np.nan, 2.0, np.nan, 1.0]])


@pytest.mark.parametrize(
    ("values", "given", "words"),
    [
        ([[1.0, 2.0]], {}, "say how far the nearest and the farthest pixel are, near_m and far_m, in metres"),
        ([[1.0, 2.0]], {"near_m": 1}, "near_m and far_m"),
        ([[1.0, 2.0]], {"near_m": 3, "far_m": 2}, "near_m < far_m, got 3 and 2 m; were they exchanged"),
        ([[1.0, 2.0]], {"near_m": 0, "far_m": 2}, "near_m"),
        ([[1.0, 2.0]], {"near_m": 1, "far_m": np.inf}, "far_m"),
        ([[2.0, 2.0]], {"near_m": 1, "far_m": 2}, "that varies, got 2 in every pixel"),
        ([[np.nan, np.inf]], {"near_m": 1, "far_m": 2}, "none of the 2 pixels"),
        ([[1.0, 2.0]], {"unit": "m", "near_m": 1, "far_m": 2}, "for unit 'relative' alone"),
        ([[1.0, 2.0]], {"near_m": 1, "far_m": 2, "stereo": Stereo(focal_px=1, baseline_m=1)}, "unit='disparity'"),
    ],
)
def test_ranges_that_are_none(values, given, words):
    with pytest.raises(ValueError, match=words) as caught:
        to_metres(np.array(values), **{"unit": "relative", **given})
    assert "\n" not in str(caught.value)


# ---- eight bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "near", "far"),
    [
        ({"unit": "relative", "near_m": 1.0, "far_m": 10.0}, (1.0, 0.0036), (10.0, 0.345)),
        ({"unit": "0.04"}, (0.04, 0.04), (10.2, 0.04)),
        ({"unit": "disparity", "stereo": Stereo(focal_px=500, baseline_m=0.1)}, (0.196, 0.00077), (50, 25)),
    ],
)
def test_the_steps_of_eight_bits_are_named(given, near, far, tmp_path):
    """Relative inverse depth has steps of z^2 (1 / near - 1 / far) / 255."""
    file = tmp_path / "d.png"
    io.write_array(file, np.arange(256, dtype=np.uint8).reshape(16, 16))
    with pytest.warns(io.PictureWarning, match="the depth has 8 bits: it comes in steps of") as said:
        read = read_depth_file(file, **given)
    levels = np.array(read.levels)
    assert np.all(np.diff(levels) > 0)
    assert levels[0] == pytest.approx(near[0], rel=2e-2) and levels[-1] == pytest.approx(far[0], rel=2e-2)
    steps = np.diff(levels)
    assert steps[0] == pytest.approx(near[1], rel=2e-2) and steps[-1] == pytest.approx(far[1], rel=5e-2)
    text = str(said[0].message)
    assert f"{steps[0]:.2g} m at {levels[0]:.3g} m and {steps[-1]:.2g} m at {levels[-1]:.3g} m" in text
    assert np.isin(read.metres[~np.isnan(read.metres)], levels).all()


def test_sixteen_bits_and_floats_have_no_steps(tmp_path):
    io.write_array(tmp_path / "a.png", np.arange(1, 21, dtype=np.uint16).reshape(4, 5))
    io.write_array(tmp_path / "a.pfm", np.arange(1, 21, dtype=np.float32).reshape(4, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(read_depth_file(tmp_path / name, unit="m").levels == () for name in ("a.png", "a.pfm"))


def test_grey_saved_in_colours_is_grey(tmp_path):
    grey = np.arange(1, 61, dtype=np.uint8).reshape(6, 10)
    for name in ("a.png", "a.webp"):
        Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save(tmp_path / name, lossless=True)
        with pytest.warns(io.PictureWarning, match="8 bits"):
            assert np.array_equal(read_depth(tmp_path / name, unit="m"), grey.astype(float))
    opaque = np.concatenate([np.repeat(grey[..., None], 3, axis=-1), np.full((6, 10, 1), 255, np.uint8)], axis=-1)
    io.write_array(tmp_path / "b.png", opaque)
    with pytest.warns(io.PictureWarning, match="8 bits"):
        assert np.array_equal(read_depth(tmp_path / "b.png", unit="m"), grey.astype(float))
    Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save(tmp_path / "a.jpg", quality=95)
    with pytest.warns(io.PictureWarning, match="8 bits.*compression with loss smears the edges"):
        assert read_depth(tmp_path / "a.jpg", unit="m").shape == grey.shape
    drawn = np.stack([grey, 255 - grey, grey], axis=-1)
    io.write_array(tmp_path / "map.png", drawn)
    with pytest.raises(ValueError, match=r"is this the colour image, or a depth map drawn in colours\?"):
        read_depth(tmp_path / "map.png", unit="m")


# ---- arrays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "u2"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_one_array_or_one_called_depth(dtype, save, tmp_path, rng):
    depth = rng.uniform(1, 9, (4, 6)).astype(dtype)
    save(tmp_path / "a.npz", depth)
    assert np.array_equal(read_depth(tmp_path / "a.npz", unit="m"), depth.astype(float))
    save(tmp_path / "b.npz", image=rng.random((4, 6, 3)), depth=depth[None])
    assert np.array_equal(read_depth(tmp_path / "b.npz", unit="m"), depth.astype(float))
    assert io.read_image(tmp_path / "b.npz").shape == (3, 4, 6)
    save(tmp_path / "c.npz", near=depth, far=depth)
    with pytest.raises(ValueError, match="expected one array, or one called 'depth', got near, far"):
        read_depth(tmp_path / "c.npz", unit="m")


def test_npz_files_that_are_none(tmp_path, rng):
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match="got a ZIP archive without one"):
        read_depth(file, unit="m")
    np.savez(file, np.array([{}], object))
    with pytest.raises(ValueError, match="array of numbers"):
        read_depth(file, unit="m")
    header = bytes_io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("depth.npy", header.getvalue() + bytes(64))
    with pytest.raises(ValueError, match="cut short"):
        read_depth(file, unit="m")
    np.savez_compressed(file, rng.random((40, 60)))
    whole = file.read_bytes()
    for at in (30, 200, len(whole) - 10):
        file.write_bytes(whole[:at])
        with pytest.raises(ValueError, match="damaged or cut short"):
            read_depth(file, unit="m")
    damaged = bytearray(whole)
    damaged[300:340] = bytes(40)
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_depth(file, unit="m")


def colmap(depth):
    """As COLMAP's scripts write it: width&height&channels&, then columns fastest."""
    return f"{depth.shape[1]}&{depth.shape[0]}&1&".encode() + depth.astype("<f4").tobytes()


def test_depth_of_colmap(tmp_path, rng):
    depth = rng.uniform(1, 9, (4, 6)).astype(np.float32)
    depth[1, 2] = 0
    file = tmp_path / "a.jpg.geometric.bin"
    file.write_bytes(colmap(depth))
    with pytest.warns(io.PictureWarning, match="a scale of its own, which was taken as metres"):
        found = read_depth(file)
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]
    assert np.array_equal(np.nan_to_num(found), depth.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(np.nan_to_num(read_depth(file, unit="0.5")), depth / 2, rtol=1e-6)
    for data, words in (
        (colmap(depth)[:-3], "cut short or damaged"),
        (b"6&4&3&" + bytes(288), "a normal map"),
        (b"0&4&1&", "damaged"),
    ):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=words):
            read_depth(file)
