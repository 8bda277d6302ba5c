"""From scenes to layers: what covers what, what lies behind an edge, and the models that need it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import blurphys as bp
from synth import Camera, Layer, Scene, render
from synth.noise import ShotReadNoise
from synth.rendering.layering import layers_of
from synth.scenes import with_background
from tests.profiles import examples

LENS = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875)
CAMERA = Camera(lens=LENS, pupil=bp.Pupil.disk(split=0.3), noise=ShotReadNoise(), max_radius=4.0)
BANK = CAMERA.bank()
H, W = 24, 30
SEVERAL = examples(60)


def photograph(depth, seed=0, name="made"):
    depth = np.array(np.broadcast_to(np.asarray(depth, float), (H, W)))
    return Scene(all_in_focus=np.random.default_rng(seed).random((3, H, W)), depth_m=depth, name=name)


def step(near=0.8, far=3.0, columns=slice(10, 18), rows=slice(6, 17)):
    """A board in front of a wall, each of one colour that tells it from the other."""
    depth = np.full((H, W), far)
    depth[rows, columns] = near
    image = np.where(depth == near, np.array([1.0, 0.1, 0.1])[:, None, None], np.array([0.1, 0.2, 0.9])[:, None, None])
    return Scene(all_in_focus=image, depth_m=depth, name="step")


def depth_of(radius):
    """Depth whose signed CoC radius is this."""
    return 1 / (1 / LENS.focus_distance_m - radius / LENS.radius_at_infinity / LENS.focus_distance_m)


def surface(radius, alpha, seed):
    depth = np.broadcast_to(depth_of(radius), (H, W)).copy()
    colour = 0.1 + 0.8 * np.random.default_rng(seed).random((3, H, W))
    return Layer(colour=colour, alpha=np.broadcast_to(alpha, (H, W)).astype(float).copy(), depth_m=depth)


def bars():
    alpha = np.zeros((H, W))
    alpha[:, 8:14] = 1
    alpha[10:13] = 1
    alpha[:, 14] = 0.4
    return alpha


def two_layers(front, back):
    return Scene.from_layers([surface(front, bars(), 1), surface(back, 1, 2)], name="two")


def composite(layers):
    """What layers show to a pinhole camera."""
    image, open_share = 0.0, 1.0
    for colour, alpha in zip(layers.colours, layers.alphas, strict=True):
        image = image + open_share * alpha * colour
        open_share = open_share * (1 - alpha)
    return image


def psnr(x, y):
    return float(-10 * np.log10(np.mean((np.asarray(x) - np.asarray(y)) ** 2)))


# ---- photographs ----------------------------------------------------------------------------------------------------

depths = arrays(np.float64, (H, W), elements=st.sampled_from([0.45, 0.7, 0.9, 1.0, 1.3, 2.0, 5.0, 60.0]))


@SEVERAL
@given(depth=depths, slabs=st.integers(1, 30), limit=st.sampled_from([None, 1.0, 2.7]), background=st.booleans())
def test_slabs_of_a_photograph(depth, slabs, limit, background):
    scene = photograph(depth)
    if background:
        scene = with_background(scene, reach=6)
    layers = layers_of(scene, CAMERA, slabs=slabs, limit=limit)
    bound = CAMERA.max_radius if limit is None else limit
    assert 1 <= len(layers.radii) <= slabs
    assert layers.colours.shape == (len(layers.radii), 3, H, W)
    assert layers.alphas.shape == (len(layers.radii), H, W)
    assert ((layers.alphas >= 0) & (layers.alphas <= 1)).all()
    assert (layers.alphas.max(axis=0) == 1).all()  # every pixel is covered
    assert (np.diff(layers.radii) > 0).all()  # near to far
    assert -bound <= min(layers.radii)
    assert max(layers.radii) <= bound
    assert np.array_equal(composite(layers), scene.all_in_focus)  # in focus nothing changes


@pytest.mark.parametrize("slabs", [1, 3, 8, 24])
def test_slabs_are_as_thin_as_they_are_many(slabs):
    scene = photograph(np.linspace(0.8, 3, W))
    layers = layers_of(scene, CAMERA, slabs=slabs)
    radii = np.clip(LENS.defocus_map(scene.depth_m), -4, 4)
    nearest = np.argmax(layers.alphas > 0, axis=0)
    found = np.take(layers.radii, nearest)
    assert np.abs(found - radii).max() <= (radii.max() - radii.min()) / slabs + 1e-12
    if slabs > 1:
        assert len(layers.radii) > slabs / 2


def test_a_flat_photograph_is_one_layer():
    layers = layers_of(photograph(2.0), CAMERA)
    assert layers.radii == pytest.approx((float(LENS.defocus_map(np.array([[2.0]]))[0, 0]),))
    assert (layers.alphas == 1).all()


def test_each_slab_goes_on_under_the_next_nearer():
    """At a seam between two slabs of one surface the farther one reaches under the nearer one, in its colours."""
    scene = photograph(np.linspace(1.2, 3, W))
    layers = layers_of(scene, CAMERA, slabs=4)
    for nearer, farther in zip(layers.alphas[:-1], layers.alphas[1:], strict=True):
        assert ((nearer > 0) & (farther > 0)).any()
    for colour, alpha in zip(layers.colours, layers.alphas, strict=True):
        assert np.array_equal(colour[:, alpha > 0], scene.all_in_focus[:, alpha > 0])


def test_a_scene_keeps_its_type():
    scene = photograph(np.linspace(0.8, 3, W))
    scene = replace(scene, all_in_focus=scene.all_in_focus.astype(np.float32))
    for made in (scene, with_background(scene, reach=6)):
        layers = layers_of(made, CAMERA, slabs=5)
        assert layers.colours.dtype == layers.alphas.dtype == np.float32


def test_unknown_depths_follow_their_policy():
    depth = np.full((H, W), 1.4)
    depth[5:9, 20:] = np.nan
    scene = photograph(depth)
    with pytest.raises(ValueError, match="16|40"):
        layers_of(scene, CAMERA, invalid="error")
    assert len(layers_of(scene, CAMERA, invalid="nearest").radii) == 1
    far = layers_of(scene, CAMERA, invalid="far")
    assert max(far.radii) == 4.0
    assert np.array_equal(far.alphas[-1] == 1, np.isnan(depth))


@pytest.mark.parametrize("slabs", [0, -3])
def test_at_least_one_slab(slabs):
    with pytest.raises(ValueError, match=f"slabs .* 1, got {slabs}"):
        layers_of(photograph(1.5), CAMERA, slabs=slabs)


# ---- exact layers ---------------------------------------------------------------------------------------------------


def test_exact_layers_are_taken_as_they_are():
    scene = two_layers(-3.0, 2.0)
    layers = layers_of(scene, CAMERA)
    assert layers.radii == pytest.approx((-3.0, 2.0))
    for layer, colour, alpha in zip(scene.layers, layers.colours, layers.alphas, strict=True):
        assert np.array_equal(alpha, layer.alpha)
        assert np.array_equal(colour[:, alpha > 0], layer.colour[:, alpha > 0])
    assert np.allclose(composite(layers), scene.all_in_focus, rtol=0, atol=1e-15)


def test_an_exact_layer_that_leans_is_cut_and_goes_before_the_next():
    front = surface(np.linspace(-3.5, -1.0, W), bars() > 0.5, 1)
    scene = Scene.from_layers([front, surface(np.linspace(3.0, 0.5, W), 1, 2)], name="leaning")
    layers = layers_of(scene, CAMERA, slabs=4)
    assert len(layers.radii) == 8
    assert max(layers.radii[:4]) < -0.9 < 0.5 < min(layers.radii[4:])
    assert np.allclose(composite(layers), scene.all_in_focus, rtol=0, atol=1e-12)
    clamped = layers_of(scene, CAMERA, slabs=4, limit=2.0)
    assert -2 <= min(clamped.radii) <= max(clamped.radii) <= 2


def test_a_scene_of_layers_shows_them_to_a_pinhole():
    front, back = surface(-3.0, bars(), 1), surface(2.0, 1, 2)
    scene = Scene.from_layers([front, back], name="two", source="a test")
    assert np.allclose(
        scene.all_in_focus, front.alpha * front.colour + (1 - front.alpha) * back.colour, rtol=0, atol=1e-15
    )
    assert np.array_equal(scene.depth_m, np.where(front.alpha >= 0.5, front.depth_m, back.depth_m))
    assert (scene.name, scene.source, scene.shape) == ("two", "a test", (H, W))
    assert scene.layers == (front, back)


def test_layers_that_make_no_scene():
    front, back = surface(-3.0, bars(), 1), surface(2.0, 1, 2)
    with pytest.raises(ValueError, match="the last one should cover all"):
        Scene.from_layers([front], name="open")
    with pytest.raises(ValueError, match="layers of one size"):
        Scene.from_layers([], name="none")
    with pytest.raises(ValueError, match="layers of one size"):
        Scene.from_layers([front.window(0, 0, 5, 6), back], name="sizes")
    with pytest.raises(ValueError, match="expected layers of"):
        replace(photograph(1.0), layers=(back.window(0, 0, 5, 6),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": np.full((H, W), 1.2)}, "alpha from 0 to 1"),
        ({"alpha": np.full((H, W), np.nan)}, "alpha from 0 to 1"),
        ({"alpha": np.ones((H, W), np.float32)}, "of one float type"),
        ({"alpha": np.ones((H, W + 1))}, r"colour \(3, H, W\)"),
        ({"colour": np.ones((H, W))}, r"colour \(3, H, W\)"),
        ({"colour": np.full((3, H, W), -0.1)}, "negative or not finite"),
        ({"colour": np.full((3, H, W), np.inf)}, "negative or not finite"),
        ({"depth_m": np.full((H, W), np.nan)}, "is one unknown"),
        ({"depth_m": np.zeros((H, W))}, "depth > 0 m"),
        ({"depth_m": np.ones((H, W), np.float32)}, "float64 depth"),
    ],
)
def test_layers_that_make_no_sense(change, message):
    fields = {"colour": np.ones((3, H, W)), "alpha": np.ones((H, W)), "depth_m": np.ones((H, W))}
    Layer(**fields)
    with pytest.raises(ValueError, match=message):
        Layer(**{**fields, **change})


def test_depth_may_be_unknown_where_a_layer_is_not():
    depth = np.where(bars() > 0, 0.8, np.nan)
    layer = Layer(colour=np.ones((3, H, W)), alpha=bars(), depth_m=depth)
    scene = Scene.from_layers([layer, surface(1.0, 1, 2)], name="holes")
    assert np.isfinite(scene.depth_m).all()
    layers = layers_of(scene, CAMERA)
    assert layers.radii == pytest.approx((float(LENS.defocus_map(np.array([[0.8]]))[0, 0]), 1.0))


def test_a_window_cuts_everything_alike():
    for scene in (two_layers(-2.0, 2.0), with_background(step(), reach=4)):
        part = scene.window(3, 5, 12, 16)
        assert part.shape == (12, 16)
        assert np.array_equal(part.all_in_focus, scene.all_in_focus[:, 3:15, 5:21])
        planes = [*scene.layers, *([scene.hidden] if scene.hidden else [])]
        cut = [*part.layers, *([part.hidden] if part.hidden else [])]
        assert len(planes) == len(cut) >= 1
        for one, other in zip(planes, cut, strict=True):
            assert np.array_equal(other.alpha, one.alpha[3:15, 5:21])
            assert np.array_equal(other.colour, one.colour[:, 3:15, 5:21])
            assert np.array_equal(other.depth_m, one.depth_m[3:15, 5:21], equal_nan=True)


# ---- behind the edges -----------------------------------------------------------------------------------------------


def distance_to_wall(scene, near):
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(scene.depth_m == near)


@pytest.mark.parametrize("reach", [1, 2, 3, 48])
def test_the_background_lies_behind_the_near_side_alone(reach):
    scene = step()
    hidden = with_background(scene, reach=reach).hidden
    board = scene.depth_m == 0.8
    covered = hidden.alpha > 0
    assert not (covered & ~board).any()
    assert set(np.unique(hidden.alpha)) <= {0.0, 1.0}
    inside = distance_to_wall(scene, 0.8)
    assert np.array_equal(covered, board & (inside <= reach + 1))  # the first of them touch the edge
    assert (hidden.depth_m[covered] == pytest.approx(3.0)) and np.isnan(hidden.depth_m[~covered]).all()
    assert np.allclose(hidden.colour[:, covered], np.array([0.1, 0.2, 0.9])[:, None], rtol=0, atol=1e-5)


def test_the_photograph_itself_stays():
    scene = step()
    made = with_background(scene, reach=5)
    assert made.all_in_focus is scene.all_in_focus
    assert made.depth_m is scene.depth_m
    assert made.layers == ()
    assert scene.hidden is None


@SEVERAL
@given(depth=depths, reach=st.integers(1, 12), jump=st.sampled_from([0.02, 0.05, 0.3]))
def test_a_background_is_farther_than_what_hides_it(depth, reach, jump):
    scene = photograph(depth)
    hidden = with_background(scene, reach=reach, jump=jump).hidden
    if hidden is None:
        return
    covered = hidden.alpha > 0
    assert (hidden.depth_m[covered] > scene.depth_m[covered]).all()
    assert set(np.unique(hidden.depth_m[covered].round(9))) <= set(np.unique(scene.depth_m.round(9)))
    assert hidden.colour[:, covered].min() >= 0
    assert hidden.colour[:, covered].max() <= scene.all_in_focus.max() * (1 + 1e-6)


def test_the_deepest_neighbour_is_what_lies_behind():
    """A pixel between a wall and a far window learns of the window."""
    depth = np.full((H, W), 2.0)
    depth[:, :10], depth[:, 11:] = 20.0, 2.0
    depth[:, 10] = 0.8
    hidden = with_background(photograph(depth), reach=1).hidden
    assert np.allclose(hidden.depth_m[:, 10], 20.0)
    assert not (hidden.alpha[:, :10] > 0).any()


def test_no_edge_no_background():
    assert with_background(photograph(2.0)).hidden is None
    assert with_background(photograph(np.linspace(2.0, 2.6, W))).hidden is None
    assert with_background(step(near=2.9), jump=0.05).hidden is None
    assert with_background(step(near=2.9), jump=0.02).hidden is not None


def test_exact_layers_need_none():
    scene = two_layers(-2.0, 1.0)
    assert with_background(scene) is scene


def test_unknown_depths_are_taken_from_beside():
    scene = step()
    depth = scene.depth_m.copy()
    depth[8:10, 13:15] = np.nan
    made = with_background(replace(scene, depth_m=depth), reach=48)
    assert np.array_equal(made.hidden.alpha, with_background(scene, reach=48).hidden.alpha)
    assert np.isnan(made.depth_m[8:10, 13:15]).all()


@pytest.mark.parametrize("options", [{"reach": 0}, {"jump": 0}, {"jump": 1}, {"jump": -0.1}])
def test_bad_options_of_the_background(options):
    with pytest.raises(ValueError, match="with_background: expected"):
        with_background(step(), **options)


# ---- rendering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0.75, 1.0, 1.37, 3.0])
def test_layered_is_gather_where_nothing_hides_anything(depth):
    scene = photograph(depth)
    pictures = [render(scene, CAMERA, rng=0, model=model, bank=BANK) for model in ("gather", "layered")]
    for name in ("left", "right", "combined"):
        assert np.allclose(getattr(pictures[0], name), getattr(pictures[1], name), rtol=0, atol=1e-5), name
    assert pictures[1].model == "layered"
    assert np.array_equal(pictures[0].defocus_map, pictures[1].defocus_map)


@pytest.mark.parametrize(("front", "back"), [(-3.0, 2.0), (0.0, 3.5), (-2.3, -0.7)])
def test_layered_is_the_operator_on_the_layers_of_the_scene(front, back):
    scene = two_layers(front, back)
    sample = render(scene, CAMERA, rng=0, model="layered", bank=BANK)
    A = bp.LayeredDefocus(
        np.stack([layer.alpha for layer in scene.layers]),
        radii=(front, back),
        bank=BANK,
        views=("left", "right"),
        per_layer=True,
    )
    y = A(np.concatenate([layer.colour for layer in scene.layers]))
    assert np.allclose(sample.left, y[:3], rtol=0, atol=1e-9)
    assert np.allclose(sample.right, y[3:], rtol=0, atol=1e-9)
    single = render(scene, CAMERA, rng=0, model="layered", views=("combined",), bank=BANK)
    if front == 0:  # then no share is a product of two blurs, and the picture is linear in the pupil
        assert np.allclose(single.combined, sample.combined, rtol=0, atol=1e-9)
    assert psnr(single.combined, sample.combined) > 40


@pytest.mark.parametrize(
    "scene", [photograph(np.linspace(0.8, 3, W)), step(), two_layers(-2.0, 3.0)], ids=["ramp", "step", "layers"]
)
def test_a_world_of_one_colour_stays_so(scene):
    layers = tuple(replace(layer, colour=np.full_like(layer.colour, 0.5)) for layer in scene.layers)
    grey = with_background(replace(scene, all_in_focus=np.full((3, H, W), 0.5), layers=layers), reach=8)
    sample = render(grey, CAMERA, rng=0, model="layered", bank=BANK)
    assert np.allclose(sample.combined, 0.5, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("front", "back"), [(0.0, 3.0), (-3.0, 0.0)])
def test_layered_is_the_aperture_where_one_layer_is_in_focus(front, back):
    """And gather is not: it knows of no occlusion."""
    scene = two_layers(front, back)
    exact = render(scene, CAMERA, rng=0, model="aperture", bank=BANK, views=("combined",)).combined
    layered = render(scene, CAMERA, rng=0, model="layered", bank=BANK, views=("combined",)).combined
    gather = render(scene, CAMERA, rng=0, model="gather", bank=BANK, views=("combined",)).combined
    assert psnr(layered, exact) > 40
    assert psnr(layered, exact) > psnr(gather, exact) + 6


def test_a_guessed_background_is_better_than_none():
    """A dark board in focus-free front of a bright wall: without what it hides, its rim is too dark."""
    near, wall = surface(-3.5, 0, 1), surface(0.0, 1, 2)
    alpha = (step().depth_m == 0.8).astype(float)
    near = replace(near, alpha=alpha, colour=np.full((3, H, W), 0.05))
    truth = Scene.from_layers([near, replace(wall, colour=np.full((3, H, W), 0.9))], name="truth")
    flat = Scene(all_in_focus=truth.all_in_focus, depth_m=truth.depth_m, name="flat")
    exact = render(truth, CAMERA, rng=0, model="layered", bank=BANK).combined
    guessed = render(with_background(flat, reach=8), CAMERA, rng=0, model="layered", bank=BANK).combined
    assert psnr(guessed, exact) > 60
    assert psnr(guessed, exact) > psnr(render(flat, CAMERA, rng=0, model="gather", bank=BANK).combined, exact) + 20


def test_the_noise_is_that_of_gather():
    noisy = replace(CAMERA, noise=ShotReadNoise(1e-3, 1e-5))
    scene = photograph(1.5)
    one, other = (render(scene, noisy, rng=7, model=model, bank=BANK) for model in ("gather", "layered"))
    assert np.allclose(one.left, other.left, rtol=0, atol=1e-4)


def test_models_and_cameras_that_do_not_go_together():
    scene = photograph(1.5)
    with pytest.raises(ValueError, match="model .*'gather', 'layered' or 'aperture', got 'magic'"):
        render(scene, CAMERA, rng=0, model="magic")
    published = replace(Camera.preset("iccv2021-0"), max_radius=4.0)
    for model in ("layered", "aperture"):
        with pytest.raises(ValueError, match="published kernels"):
            render(scene, published, rng=0, model=model)
