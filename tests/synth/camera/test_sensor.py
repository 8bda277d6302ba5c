"""Sensor: statistics of an exposure, the converter, mosaics against plain loops, and curves that undo themselves."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurphys.colour import linear_to_srgb
from synth.camera.mosaic import FILTERS, bayer_demosaic, bayer_mosaic
from synth.camera.sensor import Sensor
from synth.camera.tone import ToneCurve, dequantise, quantise
from synth.noise import ShotReadNoise

PATTERNS = ("rggb", "bggr", "grbg", "gbrg")
METHODS = ("bilinear", "malvar")
NOISE = ShotReadNoise(2e-3, 1e-5)
RAW = Sensor(noise=NOISE, bits=14, black_level=1024, white_level=16000, mosaic="grbg", demosaic="malvar")


def flat(level, shape=(3, 200, 200), dtype=np.float64):
    return np.full(shape, level, dtype)


# An exposure


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [ShotReadNoise(), NOISE, ShotReadNoise(0.3, 0)])
def test_with_everything_off_it_is_the_noise_alone(dtype, noise, rng):
    y = rng.random((3, 9, 7)).astype(dtype)
    before = y.copy()
    got = Sensor(noise=noise).expose(y, np.random.default_rng(5))
    assert got.dtype == dtype
    assert np.array_equal(got, noise.add(y, np.random.default_rng(5)))
    assert np.array_equal(y, before)


@pytest.mark.parametrize("mosaic", [None, "rggb"])
def test_variance_is_linear_in_the_signal(mosaic, rng):
    """Slope and intercept of variance over signal are a and b, at the pixels that measured the colour."""
    sensor = Sensor(noise=NOISE, bits=16, black_level=2000, white_level=40000, mosaic=mosaic)
    levels, variances = np.array([0.02, 0.1, 0.3, 0.6, 0.8]), []
    for level in levels:
        red = sensor.expose(flat(level, (3, 400, 400)), rng)[0, ::2, ::2]
        assert red.mean() == pytest.approx(level, abs=5 * np.sqrt(NOISE.variance(level) / red.size))
        variances.append(red.var())
    slope, intercept = np.polyfit(levels, variances, 1, w=1 / (levels * NOISE.shot))
    assert slope == pytest.approx(NOISE.shot, rel=0.03)
    assert intercept == pytest.approx(NOISE.read, rel=0.2)
    assert variances == pytest.approx(NOISE.variance(levels), rel=0.03)


def test_interpolated_colours_have_less_noise(rng):
    """Green at red is the mean of four: a quarter of the variance. Noise after the demosaic would not show this."""
    y = Sensor(noise=NOISE, mosaic="rggb").expose(flat(0.5, (3, 600, 600)), rng)
    assert y[1, ::2, ::2].var() == pytest.approx(NOISE.variance(0.5) / 4, rel=0.05)
    assert y[1, ::2, 1::2].var() == pytest.approx(NOISE.variance(0.5), rel=0.05)


@pytest.mark.parametrize("sensor", [Sensor(noise=NOISE), RAW], ids=["plain", "raw"])
@pytest.mark.parametrize("level", [0.4, 0.3])
def test_views_are_noisy_independently_and_combined_is_their_mean(sensor, level, rng):
    """Trap 13: one noise field for all views. At one level it would be the same field to the bit."""
    light = {"left": flat(0.4, dtype=np.float32), "right": flat(level, dtype=np.float32)}
    got = sensor.views(light, rng)
    assert list(got) == ["left", "right", "combined"]
    assert np.array_equal(got["combined"], (got["left"] + got["right"]) / np.float32(2))
    assert all(view.dtype == np.float32 for view in got.values())
    # One pixel of each 6 x 6 block, farther apart than the demosaic reaches, for independent samples.
    left, right = ((got[name] - light[name])[1, 1::6, 1::6].ravel() for name in light)
    bound = 5 / np.sqrt(left.size)
    assert abs(np.corrcoef(left, right)[0, 1]) < bound
    left, right = ((got[name] - light[name]).astype(np.float64) for name in light)
    joint = (left + right).var() / (left.var() + right.var())
    assert joint == pytest.approx(1, abs=0.03)


def test_the_draw_does_not_depend_on_the_order_of_the_mapping():
    light = {"left": flat(0.4, (3, 4, 6)), "right": flat(0.3, (3, 4, 6))}
    forward = RAW.views(light, np.random.default_rng(3))
    backward = RAW.views(dict(reversed(light.items())), np.random.default_rng(3))
    assert all(np.array_equal(forward[name], backward[name]) for name in forward)
    assert not np.array_equal(forward["left"], forward["right"])


# The converter


@given(
    bits=st.integers(1, 16),
    black=st.floats(0, 0.9),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_rounding_loses_at_most_half_a_level(bits, black, seed, dtype):
    sensor = Sensor(bits=bits, black_level=black * (2**bits - 1))
    y = np.random.default_rng(seed).random((3, 5, 4)).astype(dtype)
    got = sensor.expose(y, np.random.default_rng(0))
    level = 1 / (sensor.white - sensor.black_level)
    assert np.abs(got - y).max() <= level / 2 + 4 * np.finfo(dtype).eps
    codes = got.astype(np.float64) / level + sensor.black_level
    # Saturated pixels sit at the white code, which a black level between codes does not move.
    assert np.allclose(codes, np.rint(codes), rtol=0, atol=4 * np.finfo(dtype).eps / level + 1e-9)


def test_the_black_level_keeps_the_mean_of_the_dark(rng):
    noise = ShotReadNoise(0, (4 / 959) ** 2)  # 4 codes
    dark = flat(0.0)
    lifted = Sensor(noise=noise, bits=10, black_level=64).expose(dark, rng)
    error = np.sqrt(noise.read / dark.size)
    assert abs(lifted.mean()) < 5 * error
    assert lifted.min() < 0
    clipped = Sensor(noise=noise, bits=10).expose(dark, rng)
    assert clipped.min() == 0
    assert clipped.mean() == pytest.approx(np.sqrt(noise.read / (2 * np.pi)), rel=0.05)


@pytest.mark.parametrize("level", [0.0, 0.1234, 0.7])
def test_the_black_level_shifts_no_mean(level, rng):
    sensor = Sensor(noise=NOISE, bits=12, black_level=256.5, white_level=3800)
    y = sensor.expose(flat(level), rng)
    assert y.mean() == pytest.approx(level, abs=5 * np.sqrt(NOISE.variance(level) / y.size) + 1e-12)


def test_highlights_saturate_at_white(rng):
    y = Sensor(noise=NOISE, bits=8, black_level=10, white_level=200).expose(flat(7.0, (3, 8, 8)), rng)
    assert np.array_equal(y, np.ones((3, 8, 8)))
    assert Sensor(white_level=1).expose(flat(1.5, (3, 2, 2)), rng).max() == 1
    assert Sensor().expose(flat(1.5, (3, 2, 2)), rng).max() == 1.5


def test_rounding_adds_a_twelfth_of_a_level_squared(rng):
    sensor = Sensor(noise=ShotReadNoise(0, (1 / 255) ** 2), bits=8, black_level=0)
    assert sensor.expose(flat(0.5), rng).var() * 255**2 == pytest.approx(1 + 1 / 12, rel=0.03)


# Mosaics


def oracle(image, pattern, method):
    """Demosaic by plain loops: means of neighbours, plus a gain on the measured colour's second difference."""
    _, H, W = image.shape
    gain = {"bilinear": (0, 0, 0), "malvar": (1 / 2, 5 / 8, 3 / 4)}[method]

    def at(i, j):
        i, j = abs(i), abs(j)
        i, j = min(i, 2 * (H - 1) - i), min(j, 2 * (W - 1) - j)
        return image["rgb".index(colour(i, j)), i, j]

    def colour(i, j):
        return pattern[2 * (i % 2) + j % 2]

    def mean(i, j, offsets):
        return sum(at(i + di, j + dj) for di, dj in offsets) / len(offsets)

    sides, corners = [(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    far = [(0, 2), (0, -2), (2, 0), (-2, 0)]
    out = np.empty_like(image)
    for i in range(H):
        for j in range(W):
            here, own = colour(i, j), at(i, j)
            for channel, wanted in enumerate("rgb"):
                if wanted == here:
                    value = own
                elif wanted == "g":
                    value = mean(i, j, sides) + gain[0] * (own - mean(i, j, far))
                elif here != "g":
                    value = mean(i, j, corners) + gain[2] * (own - mean(i, j, far))
                else:
                    along = colour(i, j + 1) == wanted
                    near = sides[:2] if along else sides[2:]
                    ahead, beside = (far[:2], far[2:]) if along else (far[2:], far[:2])
                    total = 4 * mean(i, j, corners) + 2 * mean(i, j, ahead) - mean(i, j, beside)
                    value = mean(i, j, near) + gain[1] * (own - total / 5)
                out[channel, i, j] = value
    return out


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(8, 10), (7, 9), (5, 6), (3, 4)])
def test_demosaic_equals_plain_loops(pattern, method, shape, rng):
    image = rng.random((3, *shape))
    got = bayer_demosaic(bayer_mosaic(image, pattern), pattern, method)
    assert np.allclose(got, oracle(image, pattern, method), rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_filters_sum_to_one(method):
    assert set(FILTERS[method]) == {"cross", "row", "column", "diagonal"}
    for weights in FILTERS[method].values():
        kernel = np.array(weights)
        assert kernel.sum() == 16
        assert np.array_equal(kernel, kernel[::-1, ::-1])
    assert np.array_equal(np.array(FILTERS[method]["row"]).T, FILTERS[method]["column"])


def test_malvar_has_the_published_coefficients():
    """Centre, next, diagonal and outermost weights, in eighths."""
    cross, row, diagonal = (np.array(FILTERS["malvar"][name]) / 2 for name in ("cross", "row", "diagonal"))
    assert (cross[2, 2], cross[2, 1], cross[1, 1], cross[2, 0], cross[0, 2]) == (4, 2, 0, -1, -1)
    assert (row[2, 2], row[2, 1], row[1, 2], row[1, 1], row[2, 0], row[0, 2]) == (5, 4, 0, -1, -1, 0.5)
    assert (diagonal[2, 2], diagonal[2, 1], diagonal[1, 1], diagonal[2, 0], diagonal[0, 2]) == (6, 0, 2, -1.5, -1.5)


@given(
    level=st.floats(0, 4, width=32),
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    pattern=st.sampled_from(PATTERNS),
    method=st.sampled_from(METHODS),
)
def test_a_grey_constant_survives_the_mosaic(level, shape, pattern, method):
    grey = np.full((3, *shape), level, np.float32)
    assert np.array_equal(bayer_demosaic(bayer_mosaic(grey, pattern), pattern, method), grey)
    double = grey.astype(np.float64) / 3
    got = bayer_demosaic(bayer_mosaic(double, pattern), pattern, method)
    assert np.allclose(got, double, rtol=0 if method == "bilinear" else 1e-15, atol=0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bilinear_keeps_colours_and_ramps(pattern, rng):
    colour = np.broadcast_to(np.array([0.2, 0.7, 0.4])[:, None, None], (3, 8, 9)).copy()
    assert np.array_equal(bayer_demosaic(bayer_mosaic(colour, pattern), pattern), colour)
    row, column = np.mgrid[:10, :13]
    ramp = np.stack([0.1 + s * row + t * column for s, t in rng.normal(size=(3, 2))])
    got = bayer_demosaic(bayer_mosaic(ramp, pattern), pattern)
    assert np.allclose(got[:, 1:-1, 1:-1], ramp[:, 1:-1, 1:-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_malvar_is_exact_on_grey_ramps_and_sharper_on_grey_edges(pattern):
    row, column = np.mgrid[:12, :14]
    ramp = np.broadcast_to(0.1 + 0.03 * row + 0.02 * column, (3, 12, 14)).copy()
    got = bayer_demosaic(bayer_mosaic(ramp, pattern), pattern, "malvar")
    assert np.allclose(got[:, 2:-2, 2:-2], ramp[:, 2:-2, 2:-2], rtol=0, atol=1e-14)
    edge = np.broadcast_to(1 / (1 + np.exp(6.5 - column)), (3, 12, 14)).copy()
    error = {m: np.abs(bayer_demosaic(bayer_mosaic(edge, pattern), pattern, m) - edge).mean() for m in METHODS}
    assert error["malvar"] < 0.6 * error["bilinear"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("method", METHODS)
def test_measured_values_are_kept(pattern, method, rng):
    image = rng.random((3, 6, 7)).astype(np.float32)
    plane = bayer_mosaic(image, pattern)
    again = bayer_mosaic(bayer_demosaic(plane, pattern, method), pattern)
    assert plane.dtype == again.dtype == np.float32
    assert np.array_equal(again, plane)
    assert plane[0, 0] == image["rgb".index(pattern[0]), 0, 0]
    assert plane[1, 0] == image["rgb".index(pattern[2]), 1, 0]


# Curves and codes

CURVES = [
    ToneCurve("linear"),
    ToneCurve("srgb"),
    ToneCurve("gamma"),
    ToneCurve("gamma", gamma=3.0),
    ToneCurve("filmic"),
    ToneCurve("filmic", white=1.0),
    ToneCurve("filmic", white=16.0),
]


@pytest.mark.parametrize("curve", CURVES, ids=str)
@given(values=st.lists(st.floats(-2, 20), min_size=1, max_size=8), dtype=st.sampled_from([np.float32, np.float64]))
def test_a_curve_undoes_itself(curve, values, dtype):
    x = np.array(values, dtype)
    # The published sRGB constants leave a gap of 3e-8 where the two pieces meet.
    for first, second in ((curve.apply, curve.invert), (curve.invert, curve.apply)):
        there = first(x)
        assert there.shape == x.shape
        assert there.dtype == dtype
        assert np.allclose(second(there), x, rtol=200 * np.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_curves_increase_and_keep_their_ends(curve):
    x = np.linspace(-1, 20, 20_001)
    y = curve.apply(x)
    assert (np.diff(y) > 0).all()
    end = curve.white if curve.name == "filmic" else 1.0
    assert curve.apply(np.array([0.0, end])) == pytest.approx([0, 1], abs=1e-12)


def test_curves_are_what_they_say(rng):
    x = rng.random((3, 4, 5))
    assert np.array_equal(ToneCurve().apply(x), linear_to_srgb(x))
    assert np.array_equal(ToneCurve("linear").apply(x), x)
    assert np.allclose(ToneCurve("gamma", gamma=2).apply(x), np.sqrt(x))
    assert np.allclose(ToneCurve("filmic", white=1).apply(x), linear_to_srgb(x))
    # Half of white 4: 2 (1 + 2 / 16) / 3.
    assert ToneCurve("filmic").apply(np.array([2.0]))[0] == pytest.approx(linear_to_srgb(np.array([0.75]))[0])


@given(
    bits=st.integers(1, 24),
    values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=8),
)
def test_quantise_clips_and_rounds_to_nearest(bits, values):
    x = np.array(values)
    codes = quantise(x, bits)
    assert codes.dtype == (np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
    back = dequantise(codes, bits).astype(np.float64)
    half = 0.5 / (2**bits - 1)
    assert np.abs(back - np.clip(x, 0, 1)).max() <= half + (6e-8 if bits <= 16 else 1e-15)
    assert np.array_equal(quantise(dequantise(codes, bits), bits), codes)


@pytest.mark.parametrize("bits", [1, 8, 10, 16])
def test_every_code_comes_back(bits):
    codes = np.arange(2**bits).astype(np.uint16)
    assert np.array_equal(quantise(dequantise(codes, bits), bits), codes)


# Descriptions and bad input


@pytest.mark.parametrize("sensor", [Sensor(), RAW, Sensor(noise=NOISE, black_level=0.1, white_level=0.9)], ids=str)
def test_a_sensor_survives_json(sensor):
    assert Sensor.from_dict(json.loads(json.dumps(sensor.to_dict()))) == sensor


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_curve_survives_json(curve):
    assert ToneCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sensor(bits=0), "bits .* 1, got 0"),
        (lambda: Sensor(bits=True), "bits .*, got True"),
        (lambda: Sensor(bits=8.5), "bits .*, got 8.5"),
        (lambda: Sensor(bits="8"), "bits .*, got '8'"),
        (lambda: Sensor(bits=8, black_level=256), "black_level < white_level <= 255"),
        (lambda: Sensor(bits=8, black_level=-1), "0 <= black_level"),
        (lambda: Sensor(bits=8, white_level=300), "white_level <= 255"),
        (lambda: Sensor(bits=8, white_level=200.5), "a whole number, got 200.5"),
        (lambda: Sensor(black_level=64), "with bits unset the codes run from 0 to 1"),
        (lambda: Sensor(black_level=np.nan), "black_level .*, got nan"),
        (lambda: Sensor(black_level="64"), "black_level .*, got '64'"),
        (lambda: Sensor(mosaic="rgbg"), "mosaic .*'rggb'.*, got 'rgbg'"),
        (lambda: Sensor(demosaic="nearest"), "demosaic .*'bilinear' or 'malvar', got 'nearest'"),
        (lambda: Sensor(noise=1e-3), "noise to be a ShotReadNoise"),
        (lambda: Sensor.from_dict({"bit": 8, "noises": 1}), "unknown key 'bit', 'noises'"),
        (lambda: Sensor.from_dict({"noise": {"shots": 1}}), "noise: unknown key 'shots'"),
        (lambda: Sensor.from_dict({"noise": {"shot": "1"}}), "shot .*, got '1'"),
        (lambda: Sensor.from_dict({"noise": None}), "noise: expected a mapping"),
        (lambda: Sensor.from_dict([1]), "expected a mapping"),
        (lambda: ToneCurve("srbg"), "name .*'linear', 'srgb'.*, got 'srbg'"),
        (lambda: ToneCurve("gamma", gamma=0), "gamma .* 0.1 and .* 1000, got 0"),
        (lambda: ToneCurve("filmic", white=0.5), "white .* 1 and .* 1000, got 0.5"),
        (lambda: ToneCurve("filmic", white=np.inf), "white .*, got inf"),
        (lambda: ToneCurve.from_dict({"nam": "srgb"}), "unknown key 'nam'"),
        (lambda: ToneCurve().apply(np.arange(3)), "array of floats"),
        (lambda: ToneCurve().invert([0.1]), "array of floats"),
        (lambda: quantise(np.array([np.nan]), 8), "got NaN"),
        (lambda: quantise(np.array([1]), 8), "array of floats"),
        (lambda: quantise(np.array([0.5]), 33), "bits .* 24, got 33"),
        (lambda: dequantise(np.array([0.5]), 8), "unsigned integers"),
        (lambda: dequantise(np.array([300], np.uint16), 8), "codes up to 255 for 8 bits, got 300"),
        (lambda: bayer_mosaic(np.ones((4, 4)), "rggb"), "shape \\(3, H, W\\)"),
        (lambda: bayer_mosaic(np.ones((3, 4, 4)), "rgb"), "pattern .*, got 'rgb'"),
        (lambda: bayer_demosaic(np.ones((3, 4, 4)), "rggb"), "floats of shape \\(H, W\\)"),
        (lambda: bayer_demosaic(np.ones((1, 4)), "rggb"), "at least 2 rows"),
        (lambda: bayer_demosaic(np.ones((4, 4)), "rggb", "cubic"), "method .*, got 'cubic'"),
        (lambda: bayer_demosaic(np.ones((4, 4)), "gggg"), "pattern .*, got 'gggg'"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("sensor", [Sensor(noise=NOISE), RAW], ids=["plain", "raw"])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.ones((4, 5, 3)), "channels-last"),
        (np.ones((3, 4, 5), np.uint8), "integers of a file"),
        (np.ones((3, 0, 5)), "shape \\(3, H, W\\)"),
        ([[[1.0]]], "got list"),
        (np.full((3, 4, 5), -0.1), "finite values >= 0"),
        (np.full((3, 4, 5), np.nan), "finite values >= 0"),
    ],
)
def test_bad_images(sensor, image, message, rng):
    with pytest.raises(ValueError, match=message):
        sensor.expose(image, rng)


def test_bad_views(rng):
    y = np.ones((3, 4, 4))
    with pytest.raises(ValueError, match="combined is formed from them"):
        RAW.views({"left": y, "right": y, "combined": y}, rng)
    with pytest.raises(ValueError, match="such as 'left' and 'right', got \\['left'\\]"):
        RAW.views({"left": y}, rng)
    with pytest.raises(ValueError, match="one shape and dtype"):
        RAW.views({"left": y, "right": y.astype(np.float32)}, rng)
