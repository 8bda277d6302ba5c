"""Smaller scenes: light is averaged, depth is chosen, blur keeps its size in the picture."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from synth import Scene, scenes
from synth.scenes import Layer, resized, scaled_pitch
from tests.profiles import examples


def make(H, W, seed=0, unknown=0.0):
    rng = np.random.default_rng(seed)
    depth = np.where(rng.random((H, W)) < unknown, np.nan, rng.uniform(1, 3, (H, W)))
    depth[0, 0] = 2
    return Scene(all_in_focus=rng.random((3, H, W)), depth_m=depth, name="made", source="here")


def overlap(k, old, i, new):
    """Share of new pixel i that old pixel k fills."""
    return max(0.0, min(k + 1, (i + 1) * old / new) - max(k, i * old / new)) * new / old


@st.composite
def sizes(draw):
    H, W = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    height = draw(st.integers(1, H))
    return H, W, height, min(W, max(1, round(height * W / H)))


@given(size=sizes(), seed=st.integers(0, 99))
@examples(50)
def test_light_is_the_average_over_the_area(size, seed):
    H, W, height, width = size
    scene = make(H, W, seed)
    small = resized(scene, height, width)
    assert small.shape == (height, width)
    expected = np.zeros((3, height, width))
    for i in range(height):
        for j in range(width):
            for k in range(H):
                for m in range(W):
                    share = overlap(k, H, i, height) * overlap(m, W, j, width)
                    expected[:, i, j] += share * scene.all_in_focus[:, k, m]
    assert np.allclose(small.all_in_focus, expected, rtol=1e-12)
    assert small.all_in_focus.mean() == pytest.approx(scene.all_in_focus.mean(), rel=1e-12)


@given(size=sizes(), seed=st.integers(0, 99), unknown=st.floats(0, 0.6))
def test_depth_is_the_median_of_what_is_there_and_never_new(size, seed, unknown):
    H, W, height, width = size
    scene = make(H, W, seed, unknown)
    try:
        small = resized(scene, height, width)
    except ValueError as error:
        assert "no pixel has a known depth" in str(error)
        return
    for i in range(height):
        for j in range(width):
            share = np.array([[overlap(k, H, i, height) * overlap(m, W, j, width) for m in range(W)] for k in range(H)])
            known = scene.valid & (share > 0)
            part = share[known].sum()
            if abs(part - 0.5) > 1e-6:
                assert np.isnan(small.depth_m[i, j]) == (part < 0.5)
            if not np.isnan(small.depth_m[i, j]):
                chosen = small.depth_m[i, j]
                assert chosen in scene.depth_m[known]
                below, above = (share[known & side].sum() for side in (scene.depth_m < chosen, scene.depth_m > chosen))
                assert max(below, above) <= part / 2 + 1e-9


def test_the_same_size_is_the_same_scene():
    scene = make(5, 7)
    assert resized(scene, 5, 7) is scene


def test_light_is_averaged_and_not_its_code():
    """Trap 17: black and white lines show as half the light, which is 188 of 255 and not 128."""
    image = np.zeros((3, 4, 4), np.float32)
    image[:, ::2] = 1
    small = resized(Scene(all_in_focus=image, depth_m=np.ones((4, 4)), name="lines"), 2, 2)
    assert small.all_in_focus.dtype == np.float32
    assert (small.all_in_focus == 0.5).all()


def layered(H=12, W=16, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    alpha = np.where(rng.random((H, W)) < 0.4, 0.0, rng.random((H, W)))
    front = Layer(
        colour=(5 * rng.random((3, H, W))).astype(dtype),
        alpha=alpha.astype(dtype),
        depth_m=np.where(alpha > 0, rng.uniform(1, 2, (H, W)), np.nan),
    )
    back = Layer(
        colour=rng.random((3, H, W)).astype(dtype), alpha=np.ones((H, W), dtype), depth_m=rng.uniform(3, 4, (H, W))
    )
    return Scene.from_layers([front, back], name="two", source="here")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(6, 8), (3, 4), (9, 12), (7, 9), (1, 1)])
def test_layers_keep_their_light_and_their_share(size, dtype):
    scene = layered(dtype=dtype)
    small = resized(scene, *size)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    for old, new in zip(scene.layers, small.layers, strict=True):
        assert new.shape == size
        assert new.colour.dtype == new.alpha.dtype == dtype
        assert new.alpha.mean() == pytest.approx(old.alpha.mean(), rel=rtol)
        assert np.allclose((new.alpha * new.colour).mean((1, 2)), (old.alpha * old.colour).mean((1, 2)), rtol=rtol)
        assert set(new.depth_m[new.alpha > 0]) <= set(old.depth_m[old.alpha > 0])
    assert (small.layers[-1].alpha == 1).all()
    composite = Scene.from_layers(small.layers, name="again")
    assert np.array_equal(composite.all_in_focus, small.all_in_focus)
    assert np.array_equal(composite.depth_m, small.depth_m)


def test_transparent_colour_does_not_bleed():
    """A black colour under alpha 0 is no light: the edge of a white thing stays white, with half the alpha."""
    alpha = np.zeros((4, 4))
    alpha[:, :1] = 1
    white = Layer(colour=np.ones((3, 4, 4)) * alpha, alpha=alpha, depth_m=np.where(alpha > 0, 1.5, 0.1))
    back = Layer(colour=np.zeros((3, 4, 4)), alpha=np.ones((4, 4)), depth_m=np.full((4, 4), 4.0))
    front = resized(Scene.from_layers([white, back], name="edge"), 2, 2).layers[0]
    assert front.alpha.tolist() == [[0.5, 0], [0.5, 0]]
    assert front.colour[:, :, 0].tolist() == [[1, 1]] * 3
    assert front.depth_m[:, 0].tolist() == [1.5, 1.5]


def test_an_opaque_photograph_and_its_single_layer_agree():
    scene = make(12, 16)
    layer = Layer(colour=scene.all_in_focus, alpha=np.ones((12, 16)), depth_m=scene.depth_m)
    one, other = resized(scene, 6, 8), resized(Scene.from_layers([layer], name="one"), 6, 8)
    assert np.allclose(one.all_in_focus, other.all_in_focus, rtol=1e-12)
    assert np.array_equal(one.depth_m, other.depth_m)


def test_layers_that_meet_edge_to_edge_are_refused():
    left = np.zeros((4, 6))
    left[:, :3] = 1
    halves = [
        Layer(colour=np.ones((3, 4, 6)), alpha=alpha, depth_m=np.full((4, 6), depth))
        for alpha, depth in ((left, 1.0), (1 - left, 2.0))
    ]
    with pytest.raises(ValueError, match="of a pixel open; the last one should cover all"):
        resized(Scene.from_layers(halves, name="halves"), 2, 3)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("radius", [0.5, 7.0, 30.0])
def test_the_circle_of_confusion_shrinks_with_the_picture(radius, factor):
    scene = scenes.slanted_planes(32, 48, planes=1, seed=2)
    small = resized(scene, 32 // factor, 48 // factor)
    lens = bp.ThinLens(focal_length_mm=50, f_number=2, focus_distance_m=1.0, pixel_pitch_um=10.0)
    lens = replace(lens, pixel_pitch_um=10.0 * lens.radius_at_infinity / radius)
    smaller = scaled_pitch(lens, scene, small)
    assert smaller.pixel_pitch_um == pytest.approx(lens.pixel_pitch_um * factor)
    assert smaller.defocus_map(small.depth_m) == pytest.approx(lens.defocus_map(small.depth_m) / factor)
    sensor = lens.pixel_pitch_um * scene.shape[1]
    assert smaller.pixel_pitch_um * small.shape[1] == pytest.approx(sensor), "the sensor is as wide as before"


def test_sizes_that_do_not_fit():
    scene = make(6, 9)
    for size in ((7, 9), (6, 10), (0, 3), (-2, 3)):
        with pytest.raises(ValueError, match="expected a size from 1 x 1 to 6 x 9 px, got"):
            resized(scene, *size)
    with pytest.raises(ValueError, match="such as 4 x 6, got 4 x 9; pixels would not stay square"):
        resized(scene, 4, 9)
    assert resized(scene, 4, 6).source == "here; reduced from 6 x 9 to 4 x 6"


def test_a_real_photograph_at_half_size():
    scene = scenes.stereo_motorcycle()
    small = resized(scene, 250, 371)
    assert small.all_in_focus.mean() == pytest.approx(scene.all_in_focus.mean(), rel=1e-5)
    assert 0.05 < (~small.valid).mean() < (~scene.valid).mean(), "holes of single pixels close, larger ones stay"
    assert set(small.depth_m[small.valid]) <= set(scene.depth_m[scene.valid])
