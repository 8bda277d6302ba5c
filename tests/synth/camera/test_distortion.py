"""Radial distortion: the formula at known points, its inverse, and one map for every plane of a sample."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from synth.camera.distortion import RadialDistortion

BARREL = RadialDistortion.iccv2021(0)
IDENTITY = RadialDistortion(0, 0, 0)
SETS = range(5)
LENSES = [*map(RadialDistortion.iccv2021, SETS), RadialDistortion(0.05, 0.02, 0.02, 1.0)]  # the last empties corners


def sample(shape, rng, dtype=np.float32):
    depth = rng.uniform(1, 5, shape)
    depth[rng.random(shape) < 0.1] = np.nan
    return {
        "all_in_focus": rng.random((3, *shape)).astype(dtype),
        "combined": rng.random((3, *shape)).astype(dtype),
        "left": rng.random((3, *shape)).astype(dtype),
        "right": rng.random((3, *shape)).astype(dtype),
        "defocus_map": rng.normal(0, 5, shape).astype(dtype),
        "depth_m": depth,
        "valid": rng.random(shape) < 0.9,
    }


# The map


def test_the_first_published_set_moves_a_known_point_by_the_formula():
    """On 201 x 401 px the unit is 100.5 px and the centre (100, 200); a point 60 px out along 3-4-5."""
    assert BARREL.coefficients == (0.01, 0.0028, 0.0028, 0.9)
    r = 60 / 100.5
    source = 100.5 * (0.01 * r**4 + 0.0028 * r**3 + 0.0028 * r**2 + 0.9 * r)
    assert source == pytest.approx(54.29, abs=0.005)
    expected = np.array([100 + 0.6 * source, 200 - 0.8 * source])
    assert np.allclose(BARREL.to_source([136.0, 152.0], (201, 401)), expected, rtol=0, atol=1e-12)
    assert np.allclose(BARREL.to_output(expected, (201, 401)), [136.0, 152.0], rtol=0, atol=1e-12)
    # Of an image of column numbers, the pixel there shows the column it came from.
    columns = np.broadcast_to(np.arange(401.0), (201, 401)).copy()
    assert BARREL.apply(columns)[136, 152] == pytest.approx(expected[1], abs=1e-11)


@pytest.mark.parametrize("shape", [(40, 64), (65, 41), (30, 31)])
@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_images_of_coordinates_show_the_map(lens, shape):
    """Bilinear interpolation is exact on ramps, so this tests every pixel, and that rows are not columns."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float64)
    source = np.moveaxis(lens.to_source(np.moveaxis(grid, 0, -1), shape), -1, 0)
    last = np.array(shape)[:, None, None] - 1.0
    inside = ((source >= 0) & (source <= last)).all(axis=0)
    near = ((source >= -0.5) & (source <= last + 0.5)).all(axis=0)
    warped, nearest = lens.apply(grid), lens.apply(grid, order=0)
    assert np.array_equal(lens.exposed(shape), ~near)
    assert np.allclose(warped[:, inside], source[:, inside], rtol=0, atol=1e-11)
    assert np.abs(nearest[:, inside] - source[:, inside]).max() <= 0.5 + 1e-11
    assert not warped[:, ~near].any()
    assert not nearest[:, ~near].any()
    assert (~near).any() == (lens is LENSES[-1])


def test_the_first_published_set_empties_the_corners_of_a_wide_image():
    """At the corner of 16 : 9 the source lies 1.6 px beyond the last pixel; in the middle of an edge, inside."""
    empty = BARREL.exposed((720, 1280))
    assert empty[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert 4 <= empty.sum() < 200
    assert not empty[360].any()
    assert not empty[:, 640].any()


@given(
    a=st.floats(-0.004, 0.05),  # below, the corners of the longest images fold
    b=st.floats(-0.004, 0.05),
    c=st.floats(-0.004, 0.05),
    d=st.none() | st.floats(0.8, 1.2),
    shape=st.tuples(st.integers(3, 60), st.integers(3, 60)),
    seed=st.integers(0, 2**32 - 1),
)
@example(a=0.0, b=2.2e-311, c=0.03125, d=None, shape=(3, 3), seed=0)  # a root of the slope's derivative overflows
@example(a=5e-324, b=-5e-324, c=5e-324, d=1.0, shape=(3, 4), seed=0)
def test_the_inverse_is_consistent(a, b, c, d, shape, seed):
    assume(max(shape) < 2.5 * min(shape))
    lens = RadialDistortion(a, b, c, d)
    points = np.random.default_rng(seed).random((7, 2)) * (np.array(shape) - 1)
    assert np.allclose(lens.to_output(lens.to_source(points, shape), shape), points, rtol=0, atol=1e-11)
    back = lens.to_source(lens.to_output(points, shape), shape)
    seen = np.isfinite(back).all(axis=-1)
    assert np.allclose(back[seen], points[seen], rtol=0, atol=1e-11)
    # Only what lies beyond the corners of the new image has no place in it.
    corner = np.hypot(*(np.array(shape) - 1)) / min(shape)
    out = np.hypot(*(points - (np.array(shape) - 1) / 2).T) / (min(shape) / 2)
    assert (out[~seen] > lens.source_radius(corner) * (1 - 1e-9)).all()


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.05, 1.5))
def test_a_map_that_folds_is_told_by_its_slope_at_many_radii(a, b, c, d):
    shape = (40, 64)
    corner = np.hypot(39, 63) / 40
    r = np.linspace(0, corner, 4001)
    slope = 4 * a * r**3 + 3 * b * r**2 + 2 * c * r + d
    assume(abs(slope.min()) > 1e-5)
    lens = RadialDistortion(a, b, c, d)
    if slope.min() > 0:
        lens.to_source([0, 0], shape)
    else:
        with pytest.raises(ValueError, match="fold"):
            lens.to_source([0, 0], shape)


def test_the_default_keeps_the_inscribed_circle():
    lens = RadialDistortion(0.03, -0.01, 0.02)
    assert lens.coefficients[3] == pytest.approx(0.96)
    assert lens.source_radius(1.0) == pytest.approx(1.0, abs=1e-15)
    assert lens.source_radius(0.5) != pytest.approx(0.5, abs=1e-3)
    assert np.allclose(lens.to_source([[14.5, -0.5], [-0.5, 19.5]], (30, 40))[1], [-0.5, 19.5], atol=1e-12)


@given(shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 2**32 - 1))
def test_no_distortion_is_the_identity_to_the_bit(shape, seed):
    planes = sample(shape, np.random.default_rng(seed))
    planes["all_in_focus"][0, 0, 0] = np.nan
    before = {name: plane.copy() for name, plane in planes.items()}
    got = IDENTITY.apply_all(planes)
    assert list(got) == list(planes)
    for name, plane in planes.items():
        assert got[name].dtype == plane.dtype
        assert np.array_equal(got[name], plane, equal_nan=plane.dtype != bool)
        assert np.array_equal(plane, before[name], equal_nan=plane.dtype != bool)
        assert got[name] is not plane
    assert not IDENTITY.exposed(shape).any()


@pytest.mark.parametrize("index", SETS)
def test_a_spot_lands_where_the_inverse_says_with_the_area_of_the_magnification(index):
    lens, shape = RadialDistortion.iccv2021(index), (161, 221)
    row, column = np.mgrid[: shape[0], : shape[1]]
    place, sigma = np.array([50.0, 160.0]), 3.0
    spot = np.exp(-((row - place[0]) ** 2 + (column - place[1]) ** 2) / (2 * sigma**2))
    warped = lens.apply(spot)
    centroid = np.array([(warped * row).sum(), (warped * column).sum()]) / warped.sum()
    landed = lens.to_output(place, shape)
    assert np.linalg.norm(landed - place) > 0.3
    assert np.allclose(centroid, landed, atol=0.05)
    magnification = lens.magnification(shape)[tuple(np.rint(landed).astype(int))]
    assert math.sqrt(warped.sum() / spot.sum()) == pytest.approx(magnification, rel=4e-3)


@pytest.mark.parametrize("index", SETS)
def test_magnification_is_the_root_of_the_area_ratio(index):
    """Against the determinant of differences of the map itself."""
    lens, shape, step = RadialDistortion.iccv2021(index), (33, 47), 1e-4
    grid = np.stack(np.mgrid[:33, :47], axis=-1).astype(np.float64)
    ahead, behind = (
        [lens.to_source(grid + sign * step * axis, shape) for axis in np.eye(2)] for sign in (1, -1)
    )  # fmt: skip
    jacobian = np.stack([(p - m) / (2 * step) for p, m in zip(ahead, behind, strict=True)], axis=-1)
    assert np.allclose(lens.magnification(shape), np.linalg.det(jacobian) ** -0.5, rtol=1e-7)
    assert lens.magnification(shape)[16, 23] == pytest.approx(1 / lens.coefficients[3])


# The planes of a sample


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_every_plane_goes_through_one_map(lens, rng):
    """Trap 21. Nearest for depth, masks and radii, bilinear for images, the radii scaled."""
    shape = (36, 50)
    planes = sample(shape, rng)
    got = lens.apply_all(planes)
    empty = lens.exposed(shape)
    for name in ("all_in_focus", "combined", "left", "right"):
        assert np.array_equal(got[name], lens.apply(planes[name]))
        assert not got[name][:, empty].any()
    depth = lens.apply(planes["depth_m"], order=0)
    depth[empty] = np.nan
    assert np.array_equal(got["depth_m"], depth, equal_nan=True)
    known = got["depth_m"][~np.isnan(got["depth_m"])]
    assert np.isin(known, planes["depth_m"]).all()  # trap 17: no depth that was not there
    assert got["valid"].dtype == bool
    assert not got["valid"][empty].any()
    assert np.array_equal(got["valid"], lens.apply(planes["valid"], order=0))
    radii = lens.apply(planes["defocus_map"], order=0) * lens.magnification(shape)
    assert np.allclose(got["defocus_map"], radii, rtol=1e-6)
    assert not got["defocus_map"][empty].any()
    assert got["defocus_map"].dtype == np.float32


def test_depth_and_radius_stay_together(rng):
    """Radii from the warped depth by the lens formula, times the magnification, are the warped radii."""
    planes = sample((30, 40), rng, np.float64)
    planes["depth_m"] = rng.uniform(1, 5, (30, 40))
    planes["defocus_map"] = 7 * (1 - 2 / planes["depth_m"])
    got = BARREL.apply_all(planes)
    assert np.allclose(got["defocus_map"], 7 * (1 - 2 / got["depth_m"]) * BARREL.magnification((30, 40)))


def test_other_planes_by_type_or_by_name_of_their_kind(rng):
    lens, shape = LENSES[-1], (24, 32)
    planes = {
        "up": rng.random((3, *shape)),
        "occluded": rng.random(shape) < 0.5,
        "labels": rng.integers(0, 9, shape),
        "depth_mm": rng.integers(500, 5000, shape).astype(np.uint16),
        "disparity": rng.normal(size=shape),
        "alpha": rng.random((4, *shape)),
    }
    kinds = {"labels": "mask", "depth_mm": "depth", "disparity": "radius", "alpha": "image"}
    got = lens.apply_all(planes, kinds)
    empty = lens.exposed(shape)
    assert empty.any()
    for name, order in (("up", 1), ("alpha", 1), ("occluded", 0), ("labels", 0), ("depth_mm", 0)):
        assert np.array_equal(got[name], lens.apply(planes[name], order=order))
        assert got[name].dtype == planes[name].dtype
        assert not got[name][..., empty].any()
    expected = lens.apply(planes["disparity"], order=0) * lens.magnification(shape)
    assert np.array_equal(got["disparity"], expected)
    assert lens.apply_all({}) == {}


@given(lens=st.sampled_from(LENSES), level=st.floats(0, 8, width=32))
def test_constants_stay_where_the_image_is_seen(lens, level):
    shape = (17, 29)
    image = np.full((2, *shape), level, np.float32)
    for order in (0, 1):
        assert np.array_equal(lens.apply(image, order=order), np.where(lens.exposed(shape), np.float32(0), image))


def test_the_map_is_symmetric_about_the_centre(rng):
    """Mirroring commutes with distorting: the centre is the middle of the image, not a pixel beside it."""
    image = rng.random((21, 34))
    for flip in (np.flipud, np.fliplr):
        assert np.allclose(BARREL.apply(flip(image)), flip(BARREL.apply(image)), rtol=0, atol=1e-12)
    square = image[:, :21]
    assert np.allclose(BARREL.apply(square.T), BARREL.apply(square).T, rtol=0, atol=1e-12)


# Descriptions and bad input


@pytest.mark.parametrize("lens", [BARREL, IDENTITY, RadialDistortion(0.1, 0.2, 0.3, 0.7)], ids=str)
def test_it_survives_json(lens):
    assert RadialDistortion.from_dict(json.loads(json.dumps(lens.to_dict()))) == lens


PLANE = np.ones((4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RadialDistortion(np.nan, 0, 0), "a to be .*, got nan"),
        (lambda: RadialDistortion(0, "1", 0), "b to be .*, got '1'"),
        (lambda: RadialDistortion(0, 0, True), "c to be .*, got True"),
        (lambda: RadialDistortion(0, 0, 0, np.inf), "d to be .*, got inf"),
        (lambda: RadialDistortion(0, 0, 0, 0), "d > 0, got 0;"),
        (lambda: RadialDistortion(1, 0, 0.5), "d > 0, got -0.5 = 1 - a - b - c"),
        (lambda: RadialDistortion.iccv2021(5), "camera set from 0 to 4, got 5"),
        (lambda: RadialDistortion.iccv2021(-1), "camera set from 0 to 4"),
        (lambda: RadialDistortion(-0.5, 0, 0, 1).apply(PLANE), "fold an image of 4 x 6 px"),
        (lambda: RadialDistortion(-0.5, 0, 0, 1).to_source([1, 1], (4, 6)), "fold"),
        (lambda: RadialDistortion(0.9, -2.2, 1.0, 0.5).apply(np.ones((99, 99))), "fold"),
        (lambda: BARREL.apply(PLANE, order=3), "order 0 \\(nearest\\) or 1"),
        (lambda: BARREL.apply(PLANE > 0), "in floats, got bool"),
        (lambda: BARREL.apply(PLANE.astype(int)), "in floats, got int64"),
        (lambda: BARREL.apply(np.ones(4)), "shape \\(..., H, W\\), got shape \\(4,\\)"),
        (lambda: BARREL.apply([[1.0]]), "got list"),
        (lambda: BARREL.apply(np.ones((3, 0, 4))), "got shape \\(3, 0, 4\\)"),
        (lambda: BARREL.to_source([1.0, 2.0, 3.0], (4, 6)), "row and column, got \\(3,\\)"),
        (lambda: BARREL.exposed((0, 6)), "at least one pixel"),
        (lambda: BARREL.apply_all({"valid": PLANE > 0, "depth_m": np.ones((6, 4))}), "one height and width"),
        (lambda: BARREL.apply_all({"mystery": PLANE}), "say what 'mystery' is"),
        (lambda: BARREL.apply_all({"mystery": None}), "say what 'mystery' is"),
        (lambda: BARREL.apply_all({"valid": PLANE > 0}, {"valid": "masks"}), "got 'masks' for 'valid'"),
        (lambda: BARREL.apply_all({"valid": PLANE > 0}, {"vaild": "mask"}), "got 'mask' for 'vaild'"),
        (lambda: BARREL.apply_all({"left": np.ones((3, 4, 6), np.uint8)}), "left in floats, got uint8"),
        (lambda: RadialDistortion.from_dict({"a": 0, "b": 0, "c": 0, "e": 1}), "unknown key 'e'"),
        (lambda: RadialDistortion.from_dict({"a": 0}), "got no b, c"),
        (lambda: RadialDistortion.from_dict([0, 0, 0]), "mapping of a, b, c, d, got list"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
