"""Depth files: units, stereo disparity and unknown pixels."""

import dataclasses

import numpy as np
import pytest

from synth import io
from synth.io.depth import Stereo, read_depth, to_metres

RIG = Stereo(focal_px=1000.0, baseline_m=0.2, doffs=10.0)


@pytest.mark.parametrize(("unit", "value"), [("m", 2.5), ("mm", 2500), ("0.2mm", 12500)])
def test_units(unit, value):
    """Trap 3: millimetres and metres."""
    depth = to_metres(np.array([[value, 0]]), unit=unit)
    assert depth[0, 0] == pytest.approx(2.5, rel=1e-15)
    assert np.isnan(depth[0, 1])
    assert depth.dtype == np.float64


@pytest.mark.parametrize("unit", ["1/256", " 1 / 256 ", "0.00390625", "3.90625e-3", 1 / 256])
def test_any_factor_is_a_unit(unit):
    depth = to_metres(np.array([[640, 0]], np.uint16), unit=unit)
    assert depth[0, 0] == 2.5
    assert np.isnan(depth[0, 1])


def test_fractions_and_decimals_are_the_same_number():
    values = np.arange(1, 5000, 7, dtype=np.uint16)[None]
    assert np.array_equal(to_metres(values, unit="1/10000"), to_metres(values, unit="0.0001"))
    assert np.array_equal(to_metres(values, unit="1/5000"), to_metres(values, unit="0.2mm"))
    assert np.array_equal(to_metres(values, unit="1/10000"), values / 10000)
    assert to_metres(np.array([[3]], np.uint16), unit="2/3")[0, 0] == pytest.approx(2.0)


def test_units_in_a_metre_for_metres_in_a_unit():
    """Trap 3, the other way round: 256 for 1/256."""
    with pytest.raises(ValueError, match="with 256 m for each unit the median .* 163840 m away; is the unit 1/256"):
        to_metres(np.full((3, 4), 640, np.uint16), unit="256")


@pytest.mark.parametrize("unit", ["cm", "0", "-1", "1/0", "nan", "inf", "1/256/2", "", "1e999", "1e-999", "1/-3", None])
def test_units_that_are_none(unit):
    with pytest.raises(
        ValueError, match="expected a unit among m, mm, 0.2mm, disparity, relative, or the metres of one unit"
    ):
        to_metres(np.ones((2, 2)), unit=unit)


def test_relative_inverse_depth_knows_its_zero():
    """1 / z = A + B q of 16 bits: q = 0 is the farthest pixel and no hole."""
    A, B, z = 0.01, 3e-4, np.array([[1.0, 2.0, 5.0, 50.0, 100.0]])
    inverse = Stereo(focal_px=1, baseline_m=1, scale=B, doffs=A)
    np.testing.assert_allclose(to_metres((1 / z - A) / B, unit="disparity", stereo=inverse), z, rtol=1e-12)
    whole = np.rint((1 / z - A) / B).astype(np.uint16)
    assert whole[0, -1] == 0
    assert to_metres(whole, unit="disparity", stereo=inverse)[0, -1] == 100.0
    no_offset = Stereo(focal_px=1, baseline_m=1, scale=B)
    assert np.isnan(to_metres(whole, unit="disparity", stereo=no_offset)[0, -1]), "infinitely far is unknown"


@pytest.mark.parametrize("rig", [RIG, Stereo(focal_px=2.0, baseline_m=0.5, doffs=10.0)])
def test_what_a_zero_means_can_be_said(rig):
    values = np.array([[40, 0]], np.uint16)
    for known in (True, False):
        told = dataclasses.replace(rig, zero_known=known)
        assert np.isnan(to_metres(values, unit="disparity", stereo=told)[0, 1]) != known


def test_whole_metres_that_are_millimetres():
    """Trap 3: an integer file in mm, said to be in m."""
    with pytest.raises(ValueError, match="2500 m away; is the unit mm"):
        to_metres(np.full((3, 4), 2500, np.uint16), unit="m")
    assert to_metres(np.full((3, 4), 2500.0), unit="m").max() == 2500


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, -np.inf, np.nan])
def test_unknown_depths_become_nan(bad):
    """Trap 9: 0, infinity and NaN are marks, not distances."""
    for unit in ("m", "mm", "0.2mm"):
        depth = to_metres(np.array([[3.0, bad]]), unit=unit)
        assert np.isfinite(depth[0, 0])
        assert np.isnan(depth[0, 1])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, -10.0, -11.0])
def test_unknown_disparities_become_nan(bad):
    """Trap 9: infinite disparity would be a depth of zero."""
    depth = to_metres(np.array([[30.0, bad]]), unit="disparity", stereo=RIG)
    assert depth[0, 0] == 0.2 * 1000 / 40
    assert np.isnan(depth[0, 1])


def test_disparity_zero_is_unknown_in_integer_files_only():
    assert np.isnan(to_metres(np.array([[40, 0]]), unit="disparity", stereo=RIG)[0, 1])
    assert to_metres(np.array([[40.0, 0.0]]), unit="disparity", stereo=RIG)[0, 1] == 20.0


def test_the_scale_of_quarter_pixels():
    rig = Stereo(focal_px=900.0, baseline_m=0.1, scale=0.25)
    assert to_metres(np.array([[100]]), unit="disparity", stereo=rig)[0, 0] == pytest.approx(0.1 * 900 / 25)


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (np.ones((2, 2)), {"unit": "cm"}, "expected a unit among m, mm"),
        (np.ones((2, 2)), {"unit": "disparity"}, "stereo rig"),
        (np.ones((2, 2)), {"unit": "mm", "stereo": RIG}, "unit='disparity'"),
        (np.ones((2, 2, 3)), {"unit": "m"}, "colour image"),
        (np.ones(4), {"unit": "m"}, "one plane"),
        (np.ones((0, 4)), {"unit": "m"}, "one plane"),
        (np.ones((2, 2), bool), {"unit": "m"}, "integers or floats"),
        (np.zeros((2, 2)), {"unit": "m"}, "none of the 4 pixels"),
        (np.full((2, 2), np.inf), {"unit": "disparity", "stereo": RIG}, "none of the 4 pixels"),
    ],
)
def test_bad_arguments(values, arguments, message):
    with pytest.raises(ValueError, match=message):
        to_metres(values, **arguments)


@pytest.mark.parametrize(
    "field", [{"focal_px": 0}, {"baseline_m": -1}, {"scale": np.nan}, {"doffs": np.inf}, {"focal_px": np.inf}]
)
def test_bad_rigs(field):
    with pytest.raises(ValueError, match=f"Stereo: expected .*{next(iter(field))}"):
        Stereo(**{"focal_px": 1.0, "baseline_m": 1.0, **field})


def test_only_dpt_files_know_their_unit(tmp_path):
    file = tmp_path / "d.png"
    io.write_array(file, np.full((3, 4), 1500, np.uint16))
    with pytest.raises(ValueError, match="does not say its unit"):
        read_depth(file)
    assert np.all(read_depth(file, unit="mm") == 1.5)
    dpt = tmp_path / "d.dpt"
    values = np.array([[1.5, 2.5, 1e10]], "<f4")
    dpt.write_bytes(b"PIEH" + np.array([3, 1], "<i4").tobytes() + values.tobytes())
    assert np.array_equal(read_depth(dpt), values.astype(float))
    with pytest.raises(ValueError, match=r"d\.png.*none of the"):
        io.write_array(file, np.zeros((3, 4), np.uint16), overwrite=True)
        read_depth(file, unit="mm")


@pytest.mark.data
def test_real_files(data):
    """Trap 3 on real files: each unit gives the distances of a room, not of a mountain or a matchbox."""
    for file, unit, low, high in (
        ("nyuv2_348/depth_mm.png", "mm", 1.8, 10.0),
        ("icl_nuim_1/depth.png", "0.2mm", 1.6, 3.5),
        ("tum_rgbd_fr2/depth.png", "0.2mm", 0.9, 8.6),
        ("sintel_market2/frame_0001.dpt", None, 6.6, 1.1e11),
    ):
        depth = read_depth(data / file, unit=unit)
        assert low < np.nanmin(depth) < np.nanmax(depth) < high, file
    assert np.isnan(read_depth(data / "tum_rgbd_fr2/depth.png", unit="0.2mm")).mean() == pytest.approx(0.333, abs=1e-3)
