"""Drawn scenes: the same ones every time, exact layers, alphas that are shares of pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from synth import scenes
from synth.scenes import dead_leaves, highlights, resized, slanted_planes, text_chart, thin_occluders
from synth.scenes._drawing import Canvas, cloth, disc, strand
from tests.profiles import examples

KINDS = [dead_leaves, slanted_planes, thin_occluders, highlights, text_chart]
every = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)


@every
@given(height=st.integers(16, 60), width=st.integers(16, 60), seed=st.integers(0, 2**64))
@examples(12)
def test_the_image_is_what_the_layers_show(make, height, width, seed):
    scene = make(height, width, seed=seed)
    assert scene.shape == (height, width)
    assert scene.all_in_focus.dtype == np.float32
    image, depth = np.zeros((3, height, width)), np.full((height, width), np.nan)
    for layer in reversed(scene.layers):
        assert layer.colour.dtype == layer.alpha.dtype == np.float32
        alpha = layer.alpha.astype(np.float64)
        image = alpha * layer.colour + (1 - alpha) * image
        # a pixel that is half covered belongs to the layer in front, as far as no other hides both
        depth = np.where(alpha >= 0.5, layer.depth_m, depth)
    assert np.allclose(scene.all_in_focus, image, rtol=1e-5, atol=1e-6)
    assert (scene.layers[-1].alpha == 1).all(), "the last surface covers all"
    assert scene.valid.all()
    plain = np.all([(layer.alpha == 0) | (layer.alpha == 1) for layer in scene.layers], axis=0)
    assert np.array_equal(scene.depth_m[plain], depth[plain])


@every
def test_the_nearest_layer_comes_first_in_every_pixel(make):
    scene = make(48, 64, seed=5)
    for front, back in zip(scene.layers[:-1], scene.layers[1:], strict=True):
        assert (front.depth_m < back.depth_m).all()


@every
def test_the_seed_decides(make):
    one, again, other = make(40, 56, seed=3), make(40, 56, seed=3), make(40, 56, seed=4)
    assert np.array_equal(one.all_in_focus, again.all_in_focus)
    assert np.array_equal(one.depth_m, again.depth_m)
    for a, b in zip(one.layers, again.layers, strict=True):
        assert np.array_equal(a.alpha, b.alpha) and np.array_equal(a.colour, b.colour)
    assert not np.array_equal(one.all_in_focus, other.all_in_focus)
    assert one.name != other.name


@every
def test_depth_stays_in_its_range(make):
    near, far = 0.7, 2.5
    more = {"background_m": 3.0} if make is text_chart else {}
    scene = make(48, 64, seed=1, depth_range_m=(near, far), **more)
    inner = scene.layers[:1] if make is text_chart else scene.layers
    assert all(layer.depth_m.min() >= near and layer.depth_m.max() <= far for layer in inner)
    if make in (dead_leaves, thin_occluders, highlights):
        assert (scene.layers[0].depth_m == near).all() and (scene.layers[-1].depth_m == far).all()
        inverse = [1 / layer.depth_m[0, 0] for layer in scene.layers]
        assert np.allclose(np.diff(inverse), np.diff(inverse)[0])


@every
def test_outlines_are_antialiased_and_the_scene_has_something_to_blur(make):
    scene = make(96, 128, seed=2)
    for layer in scene.layers[:-1]:
        share = layer.alpha
        assert share.max() > 0.9 and share.min() == 0
        assert ((share > 0) & (share < 1)).sum() > 4
    assert scene.all_in_focus.std() > 0.005
    assert scene.layers[-1].colour.std() > 0.003, "the background is textured"


@every
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 15}, "height .* 16, got 15"),
        ({"width": 0}, "width .* 16, got 0"),
        ({"width": 64.0}, "width .*, got 64.0"),
        ({"seed": -1}, "seed .* 0, got -1"),
        ({"seed": None}, "seed .*, got None"),
        ({"depth_range_m": (0.0, 2.0)}, "two depths in metres"),
        ({"depth_range_m": (1.0, math.nan)}, "two depths in metres"),
        ({"depth_range_m": (1.0, math.inf)}, "two depths in metres"),
        ({"depth_range_m": (1.0, 2.0, 3.0)}, "two depths in metres"),
    ],
)
def test_arguments_that_make_no_scene(make, change, message):
    with pytest.raises(ValueError, match=f"{make.__name__}: expected .*{message}"):
        make(**{"height": 48, "width": 64, **change})


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (dead_leaves, {"layers": 1}, "layers .* 2, got 1"),
        (dead_leaves, {"radius_px": (5, 2)}, "radius_px"),
        (dead_leaves, {"radius_px": (math.nan, 2)}, "radius_px"),
        (dead_leaves, {"coverage": 1.0}, "coverage between 0 and 1"),
        (dead_leaves, {"exponent": math.nan}, "exponent .* 0 and .* 10, got nan"),
        (dead_leaves, {"depth_range_m": (2.0, 1.0)}, "the nearer first"),
        (slanted_planes, {"planes": 0}, "planes .* 1, got 0"),
        (thin_occluders, {"kinds": ()}, "kinds among hair, leaves, fence"),
        (thin_occluders, {"kinds": "hair"}, "kinds among hair, leaves, fence"),
        (thin_occluders, {"kinds": ("hair", "rope")}, "kinds among hair, leaves, fence"),
        (highlights, {"lights": 0}, "lights .* 1, got 0"),
        (highlights, {"depths": 0}, "depths .* 1, got 0"),
        (highlights, {"peak": 1.0}, "peak .* 4 and .*, got 1.0"),
        (text_chart, {"background_m": 1.0}, "background_m .* 1.6 m, behind the board, got 1.0"),
        (text_chart, {"background_m": math.nan}, "background_m .* behind the board, got nan"),
    ],
)
def test_arguments_of_one_kind(make, change, message):
    with pytest.raises(ValueError, match=message):
        make(48, 64, **change)


# Shapes


@given(
    y=st.floats(8, 12),
    x=st.floats(8, 12),
    radius=st.floats(2, 6),
    angle=st.floats(0, math.pi),
    width=st.floats(0.05, 4),
)
def test_alphas_are_shares_of_pixels(y, x, radius, angle, width):
    """Their sum is the area: that of a disc, and of a strand across the frame."""
    rows, columns = np.arange(20)[:, None] + 0.5, np.arange(20) + 0.5
    assert disc(y, x, radius)(rows, columns).sum() == pytest.approx(math.pi * radius**2, rel=0.06)
    rows, columns = np.arange(200)[:, None] + 0.5, np.arange(40) + 0.5
    lean = 0.3 * math.cos(angle)  # the axis is x = 20 + lean (y - 100)
    distance = np.abs(columns - 20 - lean * (rows - 100)) / math.hypot(1, lean)
    inside = strand(distance, width)[20:180, :]
    if abs(lean) * 80 + width < 18:
        assert inside.sum() / 160 == pytest.approx(width * math.hypot(1, lean), rel=0.02)


def test_an_upright_strand_is_exact():
    """Share of pixels by counting a thousand points in each."""
    points = (np.arange(20 * 1000) + 0.5) / 1000
    for width, axis in ((0.3, 7.5), (1.0, 7.2), (2.6, 7.77)):
        counted = (np.abs(points - axis) <= width / 2).reshape(20, 1000).mean(1)
        computed = strand(np.abs(np.arange(20) + 0.5 - axis), width)
        assert np.allclose(counted, computed, atol=2e-3)


def test_what_is_drawn_first_lies_over():
    canvas = Canvas(20, 20)
    for colour, x in ((1.0, 8.0), (0.25, 12.0)):
        canvas.under(disc(10, x, 5), (10, x), 6, cloth(np.full(3, colour), None, None))
    layer = canvas.layer(1.0)
    assert layer.colour[0, 10, 10] == 1.0
    assert layer.colour[0, 10, 15] == 0.25
    assert layer.alpha[10, 10] == 1
    assert layer.alpha[0, 0] == layer.colour[0, 0, 0] == 0
    canvas.under(disc(500, 500, 5), (500, 500), 6, cloth(np.ones(3), None, None))  # outside: nothing happens
    assert np.array_equal(canvas.layer(1.0).alpha, layer.alpha)


# Kinds


@given(coverage=st.floats(0.2, 0.7), exponent=st.floats(1, 4))
@examples(10)
def test_dead_leaves_cover_what_was_asked_for(coverage, exponent):
    scene = dead_leaves(128, 128, layers=4, coverage=coverage, exponent=exponent, radius_px=(2, 8), textured=False)
    shares = [layer.alpha.mean() for layer in scene.layers[:-1]]
    assert np.mean(shares) == pytest.approx(coverage, abs=0.06)


def test_plain_dead_leaves_have_plain_colours():
    scene = dead_leaves(64, 64, layers=2, radius_px=(8, 12), textured=False, seed=2)
    front = scene.layers[0]
    colours = np.unique(np.round(front.colour[:, front.alpha == 1], 5), axis=1).shape[1]
    textured = dead_leaves(64, 64, layers=2, radius_px=(8, 12), seed=2).layers[0]
    assert colours < 0.2 * (front.alpha == 1).sum()
    assert np.unique(np.round(textured.colour[:, textured.alpha == 1], 5), axis=1).shape[1] > 4 * colours


@given(seed=st.integers(0, 99), planes=st.integers(1, 5))
@examples(20)
def test_planes_are_planes_and_their_defocus_is_linear(seed, planes):
    scene = slanted_planes(24, 40, planes=planes, seed=seed)
    assert len(scene.layers) == planes
    lens = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1.0, pixel_pitch_um=20)
    for layer in scene.layers:
        assert np.ptp(layer.depth_m) > 0
        radius = lens.defocus_map(layer.depth_m)
        for axis in (0, 1):
            assert np.abs(np.diff(radius, 2, axis=axis)).max() < 1e-9 * np.abs(radius).max()


def test_thin_things_are_thin():
    scene = thin_occluders(96, 128, kinds=("hair", "fence"), seed=1)
    hair, fence, _ = scene.layers
    assert 0.005 < hair.alpha.mean() < 0.25
    assert 0.05 < fence.alpha.mean() < 0.6
    for layer in (hair, fence):  # nothing is left of them five pixels away from their outlines
        from scipy.ndimage import grey_erosion

        assert grey_erosion(layer.alpha, (11, 11)).max() < 0.5
    assert len(thin_occluders(32, 48, kinds=("leaves",) * 3).layers) == 4


def test_highlights_are_far_above_white_before_a_dark_wall():
    scene = highlights(96, 128, lights=40, depths=3, peak=500, seed=4)
    assert len(scene.layers) == 4
    assert 100 < scene.all_in_focus.max() <= 500
    wall = scene.layers[-1].colour
    assert 0.005 < wall.mean() < 0.06
    bright = scene.all_in_focus.max(0) > 4
    assert 40 < bright.sum() < 40 * 12
    assert len(np.unique(scene.depth_m[bright])) >= 3
    half = resized(scene, 48, 64)
    assert half.all_in_focus.sum() * 4 == pytest.approx(scene.all_in_focus.sum(), rel=0.02)


def test_the_chart_is_printed_and_leans():
    scene = text_chart(180, 240, seed=1, depth_range_m=(1.0, 2.0))
    board, wall = scene.layers
    assert board.depth_m[:, 0] == pytest.approx(np.full(180, 1.0), rel=0.01)
    assert board.depth_m[:, -1] == pytest.approx(np.full(180, 2.0), rel=0.01)
    heights = board.alpha.sum(0)
    at = np.flatnonzero(heights > 10)
    z = board.depth_m[0]
    assert heights[at[3]] * z[at[3]] == pytest.approx(heights[at[-4]] * z[at[-4]], rel=0.02), "height goes with 1 / z"
    ink, paper = (np.mean(board.colour[1][board.alpha == 1] < 0.2), np.mean(board.colour[1][board.alpha == 1] > 0.5))
    assert 0.015 < ink < 0.4 < paper
    assert (board.alpha[[0, -1]] == 0).all() and (board.alpha[:, [0, -1]] == 0).all(), "the board is in the frame"
    turned = text_chart(180, 240, seed=1, depth_range_m=(2.0, 1.0)).layers[0]
    assert np.allclose(turned.depth_m, board.depth_m[:, ::-1])
    assert np.allclose(turned.alpha, board.alpha[:, ::-1])
    flat = text_chart(180, 240, depth_range_m=(1.5, 1.5)).layers[0]
    assert (flat.depth_m == 1.5).all()


def test_scenes_cut_into_windows():
    scene = scenes.dead_leaves(48, 64).window(8, 8, 20, 30)
    assert all(layer.shape == (20, 30) for layer in scene.layers)
