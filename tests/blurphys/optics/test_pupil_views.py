"""Views beyond left and right: half-pixels split in any direction, and the four of a quad pixel."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp

QUARTERS = ("top_left", "top_right", "bottom_left", "bottom_right")
NAMED = {"right": 0.0, "bottom": 90.0, "left": 180.0, "top": 270.0}
GRID = np.random.default_rng(3).random((16, 16))
GRID[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.0


def symmetric(grid):
    """Equal to its mirror images, so that no view leans by the pupil alone."""
    return grid + grid[::-1] + grid[:, ::-1] + grid[::-1, ::-1]


PUPILS = {
    "measured": lambda **sensor: bp.Pupil.measured(GRID, **sensor),
    "symmetric": lambda **sensor: bp.Pupil.measured(symmetric(GRID), **sensor),
    "wide": lambda **sensor: bp.Pupil.measured(GRID, extent=1.3, **sensor),
    "pentagon": lambda **sensor: bp.Pupil.polygon(5, **sensor),
    "ring": lambda **sensor: bp.Pupil.butterworth(**sensor),
}
SMALL = ("measured", "symmetric")
splits, shares = st.floats(0.0, 0.5), st.floats(0.0, 0.5)
angles = st.floats(-720.0, 720.0)
radii = st.floats(-6.0, 6.0)
kinds = st.sampled_from(SMALL)


def close(first, second):
    return np.allclose(first, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", PUPILS)
@pytest.mark.parametrize(("name", "degrees"), NAMED.items())
def test_named_halves_are_directions(kind, name, degrees):
    pupil = PUPILS[kind](split=0.3, cross_talk=0.1, angle=25.0)
    assert close(pupil.seen(degrees), pupil.seen(name))
    assert close(pupil.seen(degrees + 360), pupil.seen(name))
    assert close(pupil.psf(-2.5, degrees), pupil.psf(-2.5, name))


@given(kind=kinds, split=splits, cross_talk=shares, turn=angles, angle=angles, radius=radii)
def test_opposite_halves_average_to_combined(kind, split, cross_talk, turn, angle, radius):
    pupil = PUPILS[kind](split=split, cross_talk=cross_talk, angle=turn)
    one, other = pupil.seen(angle), pupil.seen(angle + 180)
    assert min(one.min(), other.min()) >= 0
    assert close((one + other) / 2, pupil.intensity)
    assert close((pupil.psf(radius, angle) + pupil.psf(radius, angle + 180)) / 2, pupil.psf(radius))


@given(kind=kinds, split=splits, cross_talk=shares, turn=angles, radius=radii)
def test_the_four_quarters_average_to_combined(kind, split, cross_talk, turn, radius):
    pupil = PUPILS[kind](split=split, cross_talk=cross_talk, angle=turn)
    assert close(sum(pupil.seen(view) for view in QUARTERS) / 4, pupil.intensity)
    assert close(sum(pupil.psf(radius, view) for view in QUARTERS) / 4, pupil.psf(radius))


@pytest.mark.parametrize("kind", PUPILS)
def test_pairs_of_quarters_are_halves(kind):
    pupil = PUPILS[kind](split=0.4, cross_talk=0.05, angle=-10.0)
    for half, pair in {
        "left": ("top_left", "bottom_left"), "right": ("top_right", "bottom_right"),
        "top": ("top_left", "top_right"), "bottom": ("bottom_left", "bottom_right"),
    }.items():  # fmt: skip
        assert close(sum(pupil.seen(view) for view in pair) / 2, pupil.seen(half))


@given(kind=kinds, split=splits, turn=angles, angle=angles, radius=radii)
def test_a_view_sums_to_what_it_sees(kind, split, turn, angle, radius):
    """To the rounding: the mask is turned and nothing is resampled or renormalised."""
    pupil = PUPILS[kind](split=split, angle=turn)
    for view in ("combined", angle, *QUARTERS):
        assert pupil.psf(radius, view).sum() == pytest.approx(pupil.seen(view).sum(), rel=1e-12)
    assert pupil.psf(radius).sum() == pytest.approx(1.0, rel=1e-12)
    if kind == "symmetric":
        assert pupil.psf(radius, angle).sum() == pytest.approx(1.0, rel=1e-12)


@given(split=splits, cross_talk=shares, angle=angles, radius=st.floats(0.6, 6.0))
def test_the_sign_of_the_radius_exchanges_opposite_halves(split, cross_talk, angle, radius):
    """In front of focus the light of a half comes from the other side; the PSF of a symmetric pupil says no more."""
    pupil = PUPILS["symmetric"](split=split, cross_talk=cross_talk)
    assert close(pupil.psf(-radius, angle), pupil.psf(radius, angle + 180))
    for view, opposite in zip(QUARTERS, QUARTERS[::-1], strict=True):
        assert close(pupil.psf(-radius, view), pupil.psf(radius, opposite))


@given(kind=kinds, view=st.sampled_from(["combined", *NAMED, *QUARTERS, 33.0]), turn=angles, radius=radii)
def test_the_sign_of_the_radius_turns_any_view_by_180_degrees(kind, view, turn, radius):
    pupil = PUPILS[kind](split=0.4, angle=turn)
    assert close(pupil.psf(-radius, view), pupil.psf(radius, view)[::-1, ::-1])


def centroid(psf):
    line = np.arange(psf.shape[0]) - psf.shape[0] // 2
    return np.array([(psf * line).sum(), (psf * line[:, None]).sum()]) / psf.sum()


@pytest.mark.parametrize("radius", [-6.3, 2.2, 9.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 133.0, 180.0, 271.0])
def test_a_half_of_a_disk_leans_where_it_looks(angle, radius):
    """By half the split times the radius, in the direction of the view."""
    psf = bp.Pupil.disk(split=0.3).psf(radius, angle)
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    assert np.allclose(centroid(psf), 0.3 * radius / 2 * direction, rtol=0, atol=3e-3 * abs(radius))


@pytest.mark.parametrize(
    ("view", "signs"),
    [
        ("right", (1, 0)), ("left", (-1, 0)), ("bottom", (0, 1)), ("top", (0, -1)),
        ("bottom_right", (1, 1)), ("bottom_left", (-1, 1)), ("top_right", (1, -1)), ("top_left", (-1, -1)),
    ],
)  # fmt: skip
def test_named_views_lean_to_their_side(view, signs):
    lean = centroid(bp.Pupil.disk(split=0.5).psf(5.0, view))
    assert np.allclose(np.sign(np.round(lean, 6)), signs)


@given(kind=kinds, split=splits, turn=angles, view=angles, radius=radii)
def test_turning_the_sensor_is_turning_the_view(kind, split, turn, view, radius):
    turned, still = PUPILS[kind](split=split, angle=turn), PUPILS[kind](split=split)
    assert close(turned.psf(radius, view), still.psf(radius, turn + view))


@pytest.mark.parametrize("view", [*NAMED, *QUARTERS, 71.0])
def test_no_split_or_full_cross_talk_leave_equal_views(view):
    for pupil in (PUPILS["measured"](split=0.0), PUPILS["measured"](split=0.5, cross_talk=0.5)):
        assert close(pupil.seen(view), pupil.intensity)


def test_the_same_through_a_bank_and_the_operators():
    """Operators take angles and quarters as views, and keep their means."""
    bank = bp.PSFBank(PUPILS["symmetric"](split=0.4), max_radius=3.0, step=1.0)
    rng = np.random.default_rng(0)
    x, radius = rng.random((3, 12, 14)), rng.uniform(-3, 3, (12, 14))
    mean = bp.DualPixel(radius, bank=bank, views=("combined",))(x)
    for views in (("left", "right"), (30.0, 210.0), QUARTERS):
        y = bp.DualPixel(radius, bank=bank, views=views)(x).reshape(len(views), 3, 12, 14)
        assert np.allclose(y.mean(axis=0), mean, rtol=0, atol=1e-12)
    y = bp.DualPixel(radius, bank=bank, views=("right", 0.0))(x)
    assert np.allclose(y[:3], y[3:], rtol=0, atol=1e-12)
    A = bp.LayeredDefocus(np.ones((1, 12, 14)), radii=(2.0,), bank=bank, views=QUARTERS)
    B = bp.LayeredDefocus(np.ones((1, 12, 14)), radii=(2.0,), bank=bank)
    assert np.allclose(A(x).reshape(4, 3, 12, 14).mean(axis=0), B(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("view", ["middle", "", "Left", "45"])
def test_unknown_views_are_named(view):
    with pytest.raises(ValueError, match=r"expected a view among combined, .*, or an angle in degrees"):
        bp.Pupil.disk().seen(view)
    with pytest.raises(ValueError, match="expected a view among"):
        bp.Pupil.disk().psf(2.0, view)


@pytest.mark.parametrize("view", [np.nan, np.inf, -np.inf])
def test_angles_are_finite(view):
    with pytest.raises(ValueError, match="finite number of degrees"):
        bp.Pupil.disk().seen(view)


FORMULAS = {
    "disk": bp.Pupil.disk(split=0.2, cat_eye=(0.3, 0.0)),
    "ring": bp.Pupil.butterworth(order=2),
    "measured": bp.Pupil.measured(GRID),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_parameters_are_those_of_the_pupil_itself(kind):
    """Also after `replace`: what is stored must be what renders."""
    made = FORMULAS[kind]
    turned = replace(made, split=0.45, angle=90.0, cross_talk=0.1)
    assert turned.parameters == {**made.parameters, "split": 0.45, "angle": 90.0, "cross_talk": 0.1}
    assert made.parameters["angle"] == 0.0
    for change in ({"intensity": made.intensity[::-1] + 1e-9}, {"extent": 2.0}):
        other = replace(turned, **change)
        assert other.parameters == {
            "kind": "measured", "extent": other.extent, "split": 0.45, "cross_talk": 0.1, "angle": 90.0,
        }  # fmt: skip
    assert bp.Pupil(intensity=np.eye(4), parameters={"kind": "disk"}).parameters["kind"] == "measured"
    again = pickle.loads(pickle.dumps(turned))
    assert replace(again, angle=0.0).parameters == {**turned.parameters, "angle": 0.0}
