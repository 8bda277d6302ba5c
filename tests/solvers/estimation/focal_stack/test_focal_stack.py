"""Depth and picture from photographs at several focus distances: what is known comes back, bad input is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blurphys as bp
import solvers
from solvers.estimation import focal_stack_depth
from solvers.restoration.focal_stack import sharpest

LENS = {"focal_length_mm": 50, "f_number": 4.0, "pixel_pitch_um": 60}
PUPIL = bp.Pupil.disk()
FOCUS = (1.0, 1.5, 3.0)
LENSES = [bp.ThinLens(focus_distance_m=u, **LENS) for u in FOCUS]
SHAPE = (32, 40)


def scene(seed):
    rng = np.random.default_rng(seed)
    return rng.random((3, SHAPE[0] // 4, SHAPE[1] // 4)).repeat(4, axis=1).repeat(4, axis=2)


def photographs(sharp, depth, noise=0.0, lenses=LENSES):
    rng = np.random.default_rng(1)
    bank = bp.PSFBank(PUPIL, max_radius=8.0)
    photos = [bp.DefocusBlur(lens.defocus_map(depth), bank=bank)(sharp) for lens in lenses]
    return [photo + noise * rng.standard_normal(photo.shape) for photo in photos]


@settings(max_examples=6)
@given(st.floats(1 / 5, 1 / 0.9), st.integers(0, 100), st.sampled_from([0.0, 0.005]))
def test_a_plane_has_its_depth(inverse, seed, noise):
    """At any depth, in front of, between and behind the planes of focus; the error is that of the radii, in px."""
    depth = np.full(SHAPE, 1 / inverse)
    photos = photographs(scene(seed), depth, noise)
    found = focal_stack_depth(photos, LENSES, pupil=PUPIL, near_m=0.8, far_m=6.0, noise=noise)
    true = np.stack([lens.defocus_map(depth) for lens in LENSES])
    assert np.median(np.abs(found.defocus_maps - true)) < 0.35  # candidates are .5 px apart
    assert np.allclose(found.defocus_maps, [lens.defocus_map(found.depth_m) for lens in LENSES])
    assert found.candidates_m[0] == pytest.approx(6.0)
    assert found.candidates_m[-1] == pytest.approx(0.8)


def test_two_apertures():
    """One focus distance, two f-numbers: known up to the side of the plane of focus, which the range tells."""
    lenses = [bp.ThinLens(focus_distance_m=1.0, **{**LENS, "f_number": n}) for n in (4.0, 16.0)]
    depth = np.full(SHAPE, 1.6)
    photos = photographs(scene(2), depth, lenses=lenses)
    found = focal_stack_depth(photos, lenses, pupil=PUPIL, near_m=1.0, far_m=4.0)
    assert np.median(np.abs(found.defocus_maps[0] - lenses[0].defocus_map(depth))) < 0.3


def test_the_merged_picture_is_better_than_the_sharpest_of_each_pixel():
    depth = 1 / (np.linspace(1 / 4, 1 / 0.9, SHAPE[1]) * np.ones((SHAPE[0], 1)))
    sharp = scene(5)
    photos = photographs(sharp, depth, noise=0.003)
    maps = np.stack([lens.defocus_map(depth) for lens in LENSES])
    merged = solvers.merge_focal_stack(photos, maps, pupil=PUPIL).x

    def error(image):
        return float(((image - sharp) ** 2).mean())

    assert error(merged) < 0.5 * error(sharpest(photos, maps)) < 0.5 * min(map(error, photos))


def test_exposures_do_not_matter():
    depth = np.full(SHAPE, 2.0)
    photos = photographs(scene(3), depth)
    plain = focal_stack_depth(photos, LENSES, pupil=PUPIL, near_m=0.8, far_m=6.0, noise=0.0)
    scaled = [factor * photo for factor, photo in zip((1.0, 0.5, 0.8), photos, strict=True)]
    other = focal_stack_depth(scaled, LENSES, pupil=PUPIL, near_m=0.8, far_m=6.0, noise=0.0)
    assert np.allclose(plain.depth_m, other.depth_m, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": [np.zeros((3, 8, 8))]}, "at least two photographs"),
        ({"images": [np.zeros((3, 8, 8)), np.zeros((3, 8, 9)), np.zeros((3, 8, 8))]}, "one shape"),
        ({"lenses": LENSES[:2]}, "3 lenses"),
        ({"lenses": [LENSES[0]] * 3}, "differ in focus distance"),
        ({"far_m": 0.5}, "far_m beyond near_m"),
        ({"near_m": 0.1, "step": 0.02}, "narrow the range"),
        ({"pupil": bp.PSFBank(PUPIL, max_radius=1.0)}, "within the bank"),
        ({"images": [np.full((3, 24, 24), 0.5)] * 3}, "with texture"),
        ({"images": [np.full((3, 24, 24), np.nan)] * 3}, "finite"),
        ({"images": [np.zeros((3, 24, 24))] * 3}, "with light"),
    ],
)
def test_bad_input(change, words):
    rng = np.random.default_rng(0)
    given_ = {"images": [rng.random((3, 24, 24)) for _ in LENSES], "lenses": LENSES, "pupil": PUPIL, "near_m": 0.8,
              "far_m": 6.0} | change  # fmt: skip
    with pytest.raises(ValueError, match=words):
        focal_stack_depth(given_.pop("images"), given_.pop("lenses"), **given_)


def test_bad_maps():
    with pytest.raises(ValueError, match="one map"):
        solvers.merge_focal_stack([np.zeros((1, 8, 8))], np.zeros((2, 8, 8)), pupil=PUPIL)
    with pytest.raises(ValueError, match="like the maps"):
        solvers.merge_focal_stack([np.zeros((1, 8, 8))], np.zeros((1, 8, 9)), pupil=PUPIL)
