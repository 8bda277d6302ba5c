"""Pupil, PSF bank and thin lens: signs, units, limits, and views that always average to the combined kernel."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests import oracles
from tests.profiles import examples

ROUNDING = 4e-13  # "exact" for sums over some 10^5 cells of the pupil
fewer = examples(10)  # pupils take tens of milliseconds


def centroid_x(psf):
    return oracles.moments(psf)[1][0]


def views(pupil, radius):
    return [pupil.psf(radius, view=v) for v in ("combined", "left", "right")]


def half_plane(side="right", n=65):
    """Measured pupil with all its light in one half: array rows are Y (down), columns are X (right)."""
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    disk = (x**2 + y**2 <= 1.0).astype(float)
    return disk * {"right": x > 0, "left": x < 0, "bottom": y > 0, "top": y < 0}[side]


PUPILS = {
    "disk": lambda **o: bp.Pupil.disk(**o),
    "butterworth": lambda **o: bp.Pupil.butterworth(order=6, cutoff=1.0, floor=0.2, smoothing=0.1, **o),
    "polygon": lambda **o: bp.Pupil.polygon(5, **o),
    "measured": lambda **o: bp.Pupil.measured(half_plane("top") + 0.3 * half_plane("right"), **o),
}
every_pupil = pytest.mark.parametrize("kind", PUPILS)


# ---- views --------------------------------------------------------------------------------------------------------


@every_pupil
@fewer
@given(
    radius=st.floats(-8.0, 8.0),
    split=st.floats(0.0, 0.5),
    angle=st.floats(-180.0, 180.0),
    cross_talk=st.sampled_from((0.0, 0.1)),
    cat_eye=st.sampled_from(((0.0, 0.0), (0.3, 0.0), (0.2, -0.4))),
)
def test_left_and_right_average_to_combined(kind, radius, split, angle, cross_talk, cat_eye):
    pupil = PUPILS[kind](split=split, angle=angle, cross_talk=cross_talk, cat_eye=cat_eye)
    c, left, right = views(pupil, radius)
    assert c.shape == left.shape == right.shape
    assert np.abs((left + right) / 2 - c).max() <= ROUNDING
    assert abs(c.sum() - 1.0) <= 1e-12
    assert min(c.min(), left.min(), right.min()) >= 0.0


@pytest.mark.parametrize("kind", ("disk", "butterworth", "polygon"))
@fewer
@given(radius=st.floats(-8.0, 8.0), split=st.floats(0.0, 0.5), angle=st.sampled_from((0.0, 90.0)))
def test_views_of_a_centred_pupil_sum_to_one(kind, radius, split, angle):
    if kind == "polygon":
        pupil = bp.Pupil.polygon(6, split=split, angle=angle)
    else:
        pupil = PUPILS[kind](split=split, angle=angle)
    for psf in views(pupil, radius):
        assert abs(psf.sum() - 1.0) <= 1e-12


def test_views_share_one_scale_where_the_pupil_leans():
    """<X> != 0: the views keep their true shares of light instead of being forced to one each."""
    c, left, right = views(bp.Pupil.measured(half_plane("right"), split=0.4), 5.0)
    assert right.sum() > 1.1 > 0.9 > left.sum() and abs(left.sum() + right.sum() - 2.0) <= 1e-12
    assert np.abs((left + right) / 2 - c).max() <= ROUNDING


@fewer
@given(
    c=st.floats(2.0, 12.0) | st.floats(-12.0, -2.0),
    g=st.floats(0.0, 0.5),
)
def test_left_centroid_of_a_disk_is_minus_half_g_c(c, g):
    pupil = bp.Pupil.disk(split=g)
    _, left, right = views(pupil, c)
    assert abs(centroid_x(left) + g * c / 2) <= 0.01 * abs(c)
    assert abs(centroid_x(right) - g * c / 2) <= 0.01 * abs(c)
    assert abs(oracles.moments(left)[1][1]) <= 1e-10


@fewer
@given(c=st.floats(0.0, 10.0), g=st.floats(0.0, 0.5))
def test_sign_of_the_radius_mirrors_the_views_exactly(c, g):
    pupil = bp.Pupil.disk(split=g)
    left, right = pupil.psf(c, view="left"), pupil.psf(c, view="right")
    assert np.abs(pupil.psf(-c, view="left") - left[:, ::-1]).max() <= ROUNDING
    assert np.abs(pupil.psf(-c, view="left") - right).max() <= ROUNDING
    assert np.abs(pupil.psf(-c, view="right") - right[:, ::-1]).max() <= ROUNDING
    assert np.abs(pupil.psf(-c) - pupil.psf(c)).max() <= ROUNDING


@every_pupil
@pytest.mark.parametrize("view", ("combined", "left", "right"))
def test_sign_of_the_radius_turns_any_pupil_by_180_degrees(kind, view):
    pupil = PUPILS[kind](split=0.3, angle=20.0, cat_eye=(0.2, 0.1))
    for c in (0.7, 2.3, 6.0):
        assert np.abs(pupil.psf(-c, view=view) - pupil.psf(c, view=view)[::-1, ::-1]).max() <= ROUNDING


def test_behind_focus_the_left_view_leans_to_minus_x():
    """The convention measured on two cameras."""
    pupil = bp.Pupil.disk(split=0.5)
    assert centroid_x(pupil.psf(4.0, view="left")) < -0.9 < 0.9 < centroid_x(pupil.psf(4.0, view="right"))
    assert centroid_x(pupil.psf(-4.0, view="left")) > 0.9


def test_separation_of_any_symmetric_pupil():
    """R minus L is 4 g <X^2> c; for the published smoothed rings 1.48, 1.41, 1.37 times the disk's."""
    g = 0.4
    for c, smoothing, factor in ((5.0, 0.16, 1.48), (10.0, 0.11, 1.41), (20.0, 0.07, 1.37)):
        pupil = bp.Pupil.butterworth(order=3, cutoff=0.8, floor=0.1, smoothing=smoothing, split=g)
        combined, left, right = views(pupil, c)
        separation = centroid_x(right) - centroid_x(left)
        spread = oracles.moments(combined)[2][0] - 1.0 / 12.0  # <X^2> c^2 without the pixel's own variance
        assert separation == pytest.approx(4.0 * g * spread / c, rel=0.02)
        assert separation == pytest.approx(factor * g * c, rel=0.05)


@fewer
@given(radius=st.floats(-7.0, 7.0), angle=st.floats(0.0, 360.0), g=st.floats(0.0, 0.5))
def test_views_at_opposite_angles_average_to_combined(radius, angle, g):
    one, other = (bp.Pupil.disk(split=g, angle=a).psf(radius, view="left") for a in (angle, angle + 180.0))
    assert np.abs((one + other) / 2 - bp.Pupil.disk().psf(radius)).max() <= ROUNDING
    assert np.abs(other - bp.Pupil.disk(split=g, angle=angle).psf(radius, view="right")).max() <= ROUNDING


def test_angle_turns_the_split_and_nothing_else():
    """t_R = 1/2 + g (X cos + Y sin): at 90 degrees the right view leans to +y (down the rows)."""
    for angle in (0.0, 30.0, 90.0, 135.0, 270.0):
        pupil = bp.Pupil.disk(split=0.5, angle=angle)
        _, (x, y), _ = oracles.moments(pupil.psf(8.0, view="right"))
        assert x == pytest.approx(2.0 * math.cos(math.radians(angle)), abs=0.05)
        assert y == pytest.approx(2.0 * math.sin(math.radians(angle)), abs=0.05)
        assert np.abs(pupil.psf(8.0) - bp.Pupil.disk().psf(8.0)).max() <= ROUNDING


def test_cross_talk_weakens_the_split():
    separation = []
    for cross_talk in (0.0, 0.1, 0.3):
        _, left, right = views(bp.Pupil.disk(split=0.5, cross_talk=cross_talk), 6.0)
        separation.append(centroid_x(right) - centroid_x(left))
    assert separation[0] > separation[1] > separation[2] > 0.0


def test_no_split_means_equal_views():
    c, left, right = views(bp.Pupil.disk(split=0.0), 5.0)
    assert np.abs(left - c).max() <= ROUNDING and np.abs(right - c).max() <= ROUNDING


# ---- shapes of the pupil ------------------------------------------------------------------------------------------


def test_disk_pupil_is_the_disk_kernel():
    for c in (0.4, 1.0, 3.3, 7.0):
        psf, disk = bp.Pupil.disk().psf(c), bp.psf.disk(c)
        size = max(psf.shape[0], disk.shape[0])
        a, b = (np.pad(k, (size - k.shape[0]) // 2) for k in (psf, disk))
        assert np.abs(a - b).max() <= 2e-3 * b.max()


def test_cat_eye_clips_and_leans():
    """Intersection of two shifted disks: the kernel narrows along the shift, and turns over with the sign."""
    round_, clipped = (oracles.moments(bp.Pupil.disk(cat_eye=e).psf(8.0)) for e in ((0.0, 0.0), (0.6, 0.0)))
    assert clipped[2][0] < round_[2][0] - 1.0
    assert abs(clipped[1][0]) > 0.5 and abs(clipped[1][1]) <= 1e-9
    opposite = oracles.moments(bp.Pupil.disk(cat_eye=(-0.6, 0.0)).psf(8.0))
    assert opposite[1][0] == pytest.approx(-clipped[1][0], abs=1e-9)
    turned = oracles.moments(bp.Pupil.disk(cat_eye=(0.0, 0.6)).psf(8.0))
    assert abs(turned[1][1]) > 0.5 and abs(turned[1][0]) <= 1e-9


def test_polygon_lies_inside_the_disk_and_tends_to_it():
    for n in (3, 4, 5, 6, 8):
        psf = bp.Pupil.polygon(n).psf(9.0)
        rows, columns = np.nonzero(psf)
        middle = psf.shape[0] // 2
        assert np.hypot(rows - middle, columns - middle).max() <= 9.0 + math.sqrt(0.5) + 0.3
    many, disk = bp.Pupil.polygon(96).psf(6.0), bp.psf.disk(6.0)
    size = max(many.shape[0], disk.shape[0])
    a, b = (np.pad(k, (size - k.shape[0]) // 2) for k in (many, disk))
    assert np.abs(a - b).sum() <= 0.02


def test_odd_polygon_turns_over_through_focus():
    pupil = bp.Pupil.polygon(3)
    near, far = pupil.psf(-6.0), pupil.psf(6.0)
    assert np.abs(near - far).max() > 0.3 * far.max()
    assert np.abs(near - far[::-1, ::-1]).max() <= ROUNDING


def test_measured_disk_is_a_disk():
    y, x = np.mgrid[-1:1:201j, -1:1:201j]
    psf = bp.Pupil.measured((x**2 + y**2 <= 1.0).astype(float)).psf(6.0)
    assert oracles.moments(psf)[2][0] == pytest.approx(9.0, rel=0.04)
    assert np.allclose(oracles.moments(psf)[1], 0.0, atol=1e-2)


@pytest.mark.parametrize(("side", "x", "y"), (("right", 1, 0), ("left", -1, 0), ("bottom", 0, 1), ("top", 0, -1)))
def test_measured_pupil_keeps_its_orientation(side, x, y):
    """k(x, y) = P(x/c, y/c): light on the right of the pupil falls on the right for c > 0."""
    pupil = bp.Pupil.measured(half_plane(side))
    for c in (6.0, -6.0):
        found = oracles.moments(pupil.psf(c))[1]
        assert found[0] == pytest.approx(math.copysign(1.0, c) * x * 4.0 * 6.0 / (3.0 * math.pi), abs=0.25)
        assert found[1] == pytest.approx(math.copysign(1.0, c) * y * 4.0 * 6.0 / (3.0 * math.pi), abs=0.25)


# ---- bank ---------------------------------------------------------------------------------------------------------


def test_bank_levels():
    bank = bp.PSFBank(bp.Pupil.disk(split=0.3), max_radius=3.0, step=0.5)
    radii = [float(r) for r in bank.radii]
    assert radii[0] == -3.0 and radii[-1] == 3.0 and 0.0 in radii
    assert np.allclose(np.diff(radii), 0.5)
    assert float(bank.max_radius) == 3.0
    assert {"left", "right", "combined"} <= set(bank.views)
    for view in ("left", "right", "combined"):
        psfs = bank.psfs(view)
        assert len(psfs) == len(radii) and psfs.ndim == 3
        assert np.abs(np.asarray(psfs).sum(axis=(-2, -1)) - 1.0).max() <= 1e-12
    middle = radii.index(0.0)
    left, right = bank.psfs("left"), bank.psfs("right")
    assert np.abs(left[middle] - right[middle]).max() <= ROUNDING  # in focus: one Dirac, no disparity
    assert float(left[middle].max()) == pytest.approx(1.0, abs=1e-12)
    assert np.abs(left[0] - right[-1]).max() <= ROUNDING
    assert np.abs((left + right) / 2 - bank.psfs("combined")).max() <= ROUNDING
    size = left.shape[-1]
    for level, radius in zip(left, radii, strict=True):
        own = bp.Pupil.disk(split=0.3).psf(radius, view="left")
        assert np.abs(level - np.pad(own, (size - own.shape[0]) // 2)).max() <= ROUNDING


def test_bank_covers_a_radius_that_is_no_multiple_of_the_step():
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=1.7, step=0.5)
    assert float(bank.max_radius) >= 1.7 - 1e-12 and float(bank.radii[-1]) >= 1.7 - 1e-12
    A = bp.DefocusBlur(np.full((5, 6), 1.7), bank=bank, channels=1)
    assert np.abs(np.asarray(A.psf_at(2, 2)).sum() - 1.0) <= 1e-12


def test_bank_of_given_kernels_keeps_them():
    rng = np.random.default_rng(0)
    psfs = rng.uniform(size=(3, 4, 5)) / 10
    bank = bp.PSFBank(psfs=psfs, radii=(-1.0, 0.5, 2.0))
    assert np.array_equal(bank.psfs("combined"), psfs)
    assert [float(r) for r in bank.radii] == [-1.0, 0.5, 2.0]


def test_interpolation_between_levels_is_linear():
    bank = bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=4.0, step=0.5)
    i = [float(r) for r in bank.radii].index(1.5)
    for f in (0.0, 0.3, 1.0):
        c = np.full((9, 10), 1.5 + 0.5 * f)
        A = bp.DualPixel(c, bank=bank, channels=3, boundary="replicate")
        for v, view in enumerate(("left", "right")):
            levels = bank.psfs(view)
            assert np.abs(A.psf_at(4, 5)[v] - ((1 - f) * levels[i] + f * levels[i + 1])).max() <= ROUNDING


def test_dual_pixel_moves_the_views_apart_by_g_c():
    """An impulse behind focus: left response at -x, right at +x, separation split x radius."""
    bank = bp.PSFBank(bp.Pupil.disk(split=0.5), max_radius=6.0, step=0.5)
    x = np.zeros((1, 25, 27))
    x[0, 12, 13] = 1.0
    for c in (5.0, -5.0):
        y = bp.DualPixel(np.full((25, 27), c), bank=bank, channels=1, boundary="zero", views=("left", "right"))(x)
        columns = np.arange(27) - 13
        left, right = (float((y[v] * columns).sum() / y[v].sum()) for v in range(2))
        assert right - left == pytest.approx(0.5 * c, rel=0.02)


def test_three_views_in_one_pass():
    bank = bp.PSFBank(bp.Pupil.disk(split=0.5), max_radius=3.0, step=0.5)
    rng = np.random.default_rng(1)
    c, x = rng.uniform(-3, 3, (8, 9)), rng.uniform(size=(3, 8, 9))
    y = bp.DualPixel(c, bank=bank, channels=3, views=("left", "right", "combined"))(x)
    assert y.shape == (9, 8, 9)
    assert np.abs((y[:3] + y[3:6]) / 2 - y[6:]).max() <= ROUNDING
    assert np.abs(bp.DefocusBlur(c, bank=bank, channels=3)(x) - y[6:]).max() <= ROUNDING


# ---- thin lens ----------------------------------------------------------------------------------------------------


def canon(**changes):
    options = {"focal_length_mm": 50.0, "f_number": 4.0, "focus_distance_m": 1.0, "pixel_pitch_um": 36000.0 / 768}
    return bp.ThinLens(**(options | changes))


def radius_at(lens, depth_m):
    c = lens.defocus_map(np.full((2, 3), float(depth_m)))
    assert c.shape == (2, 3) and np.all(c == c[0, 0])
    return float(c[0, 0])


def test_canon_board():
    """The numbers measured on a real board 0.6 m away."""
    assert radius_at(canon(), 0.6) == pytest.approx(-4.68, abs=0.005)
    assert radius_at(canon(f_number=20.0), 0.6) == pytest.approx(-0.94, abs=0.005)


@given(
    f=st.floats(4.0, 135.0),
    n=st.floats(1.2, 22.0),
    u=st.floats(0.3, 30.0),
    p=st.floats(0.8, 50.0),
    d=st.floats(0.2, 1000.0),
)
def test_thin_lens_formula(f, n, u, p, d):
    """c = f^2 / (2 N (u - f) p) (1 - u/d), everything in millimetres."""
    u_mm, d_mm, p_mm = 1000.0 * u, 1000.0 * d, p / 1000.0
    expected = f * f / (2.0 * n * (u_mm - f) * p_mm) * (1.0 - u_mm / d_mm)
    lens = bp.ThinLens(focal_length_mm=f, f_number=n, focus_distance_m=u, pixel_pitch_um=p)
    assert radius_at(lens, d) == pytest.approx(expected, rel=1e-9, abs=1e-9 * float(lens.radius_at_infinity))


def test_signs_and_limits():
    lens = canon()
    assert radius_at(lens, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert radius_at(lens, 0.9) < 0.0 < radius_at(lens, 1.1)  # + behind the plane of focus
    limit = float(lens.radius_at_infinity)
    assert limit == pytest.approx(50.0**2 / (2 * 4 * 950.0 * 36.0 / 768), rel=1e-12)
    assert 0.99 * limit < radius_at(lens, 1000.0) < limit


def test_linear_in_inverse_depth():
    lens = canon()
    inverse = np.linspace(0.1, 2.0, 9)
    c = lens.defocus_map((1.0 / inverse)[None])
    assert np.allclose(np.diff(c[0]), np.diff(c[0])[0], rtol=1e-9)


def test_doubling_pitch_or_f_number_halves_the_radius():
    c = radius_at(canon(), 2.0)
    assert radius_at(canon(f_number=8.0), 2.0) == pytest.approx(c / 2, rel=1e-12)
    assert radius_at(canon(pixel_pitch_um=2 * 36000.0 / 768), 2.0) == pytest.approx(c / 2, rel=1e-12)


@pytest.mark.parametrize("kind", ("numpy", "array_api_strict", "torch"))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_defocus_map_keeps_the_kind_of_array(kind, dtype):
    from tests.strategies import to_namespace, to_numpy

    depth = np.linspace(0.5, 4.0, 12).reshape(3, 4).astype(dtype)
    given_depth = to_namespace(depth, kind)
    c = canon().defocus_map(given_depth)
    assert type(c) is type(given_depth) and c.dtype == given_depth.dtype and tuple(c.shape) == (3, 4)
    assert np.allclose(to_numpy(c), canon().defocus_map(depth.astype("float64")), rtol=1e-5)
    assert np.array_equal(to_numpy(given_depth), depth)


@pytest.mark.parametrize("hole", (0.0, -1.0, float("nan"), float("inf")))
def test_invalid_depth_needs_a_policy(hole):
    depth = np.full((4, 5), 2.0)
    depth[1, 2] = hole
    lens = canon()
    with pytest.raises(ValueError, match=r"depth|invalid"):
        lens.defocus_map(depth)
    with pytest.raises(ValueError, match=r"depth|invalid"):
        lens.defocus_map(depth, invalid="error")
    expected = radius_at(lens, 2.0)
    near, far = lens.defocus_map(depth, invalid="nearest"), lens.defocus_map(depth, invalid="far")
    valid = np.ones((4, 5), dtype=bool)
    valid[1, 2] = False
    assert np.allclose(near, expected) and np.allclose(far[valid], expected)
    assert far[1, 2] == pytest.approx(float(lens.radius_at_infinity), rel=1e-12)
    assert np.isnan(depth[1, 2]) if math.isnan(hole) else depth[1, 2] == hole  # the input is not written


def test_nothing_valid_is_an_error_for_nearest():
    with pytest.raises(ValueError, match=r"valid|depth"):
        canon().defocus_map(np.full((2, 3), np.nan), invalid="nearest")


def test_unknown_policy():
    with pytest.raises(ValueError, match="invalid"):
        canon().defocus_map(np.ones((2, 3)), invalid="ignore")
