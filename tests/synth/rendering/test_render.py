"""Rendering: the physics of the views, the counts, and what belongs to the record."""

from dataclasses import replace

import numpy as np
import pytest

import blurphys as bp
from synth import Camera, Scene, render
from synth.noise import ShotReadNoise

LENS = bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875)
QUIET = Camera(lens=LENS, pupil=bp.Pupil.disk(split=0.3), max_radius=6.0)


def scene(depth, image=None, H=33, W=41, name="made"):
    depth = np.broadcast_to(np.asarray(depth, float), (H, W)).copy()
    image = np.random.default_rng(5).random((3, H, W)) if image is None else image
    return Scene(all_in_focus=image, depth_m=depth, name=name)


def point(H=33, W=41):
    image = np.zeros((3, H, W))
    image[:, H // 2, W // 2] = 1.0
    return image


def centroid(image):
    return float((image * (np.arange(image.shape[-1]) - image.shape[-1] // 2)).sum() / image.sum())


@pytest.mark.parametrize("depth", [0.7, 2.5])
def test_a_point_leans_to_the_side_its_view_sees(depth):
    """Trap 1: behind focus the left view leans to -x, in front to +x; the centroid is a quarter of split x radius."""
    sample = render(scene(depth, point()), QUIET, rng=0)
    c = sample.defocus_map[0, 0]
    assert np.sign(c) == np.sign(depth - 1)
    assert centroid(sample.left[0]) == pytest.approx(-0.3 * c / 2, rel=0.02)
    assert centroid(sample.right[0]) == pytest.approx(0.3 * c / 2, rel=0.02)
    assert centroid(sample.combined[0]) == pytest.approx(0, abs=1e-6)


def test_the_radius_is_a_radius():
    """Trap 2: the blur of a point at 0.6 m covers a disk of radius 4.68 px, not of that diameter."""
    spot = render(scene(0.6, point()), QUIET, rng=0).combined[0]
    x = np.arange(41) - 20
    variance = (spot * x**2).sum() / spot.sum()
    assert variance == pytest.approx(4.68**2 / 4, rel=0.04)


def test_in_focus_nothing_is_blurred():
    """Trap 6: the plane of focus stays sharp, with no disparity."""
    sharp = scene(1.0)
    sample = render(sharp, QUIET, rng=0)
    for view in (sample.left, sample.right, sample.combined):
        assert np.allclose(view, sharp.all_in_focus, rtol=0, atol=1e-12)


def test_the_blur_changes_continuously_with_depth():
    """Traps 4 and 5: no whole-pixel radii, no bins of metres."""
    views = [render(scene(d), QUIET, rng=0).left for d in (1.5, 1.5001, 1.502)]
    small, large = (np.abs(v - views[0]).max() for v in views[1:])
    assert 0 < small < large / 10 < 1e-3


def test_light_is_blurred_and_not_its_encoding():
    """Trap 7: white and black mix to half the light, not to half the sRGB value."""
    image = np.zeros((3, 33, 41))
    image[..., ::2] = 1.0
    mixed = render(scene(0.62, image), QUIET, rng=0, views=("combined",)).combined[:, 10:-10, 10:-10]
    assert mixed.mean() == pytest.approx(0.5, abs=0.02)


def test_the_mean_of_the_views_is_the_combined_image():
    sample = render(scene(np.linspace(0.7, 4, 41)), QUIET, rng=0, model="gather")
    single = render(scene(np.linspace(0.7, 4, 41)), QUIET, rng=0, views=("combined",), model="gather")
    assert np.allclose(sample.combined, (sample.left + sample.right) / 2, rtol=0, atol=1e-15)
    assert np.allclose(sample.combined, single.combined, rtol=0, atol=1e-12)
    assert single.left is None
    assert single.right is None
    assert set(single.arrays) == {"all_in_focus", "combined", "defocus_map", "depth_m", "valid"}


def test_combined_is_formed_from_the_noisy_views():
    """Trap 13: independent noise in left and right, their mean in combined."""
    noise = ShotReadNoise(4e-3, 1e-5)
    flat = scene(2.0, np.full((3, 120, 120), 0.5), 120, 120)
    sample = render(flat, replace(QUIET, noise=noise), rng=1)
    clean = render(flat, QUIET, rng=1)
    left, right = sample.left - clean.left, sample.right - clean.right
    assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 4 / np.sqrt(left.size)
    assert left.var() == pytest.approx(noise.variance(0.5), rel=0.05)
    assert np.array_equal(sample.combined, (sample.left + sample.right) / 2)
    alone = render(flat, replace(QUIET, noise=noise), rng=1, views=("combined",)).combined - clean.combined
    assert alone.var() == pytest.approx((sample.combined - clean.combined).var(), rel=0.05)


def test_the_same_seed_gives_the_same_picture():
    camera = replace(QUIET, noise=ShotReadNoise(1e-3, 1e-6))
    first, second, other = (render(scene(2.0), camera, rng=seed) for seed in (3, np.random.default_rng(3), 4))
    assert np.array_equal(first.left, second.left)
    assert not np.array_equal(first.left, other.left)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("limit", [3.3, 0.1])
def test_radii_beyond_the_limit_are_clamped_and_counted(dtype, limit):
    """0.1 and 3.3 round up in float32; the map must not exceed the bank for that."""
    depth = np.ones((33, 41))
    depth[:2] = 0.3
    depth[2:5] = 9.0
    made = Scene(all_in_focus=np.ones((3, 33, 41), dtype), depth_m=depth, name="made")
    sample = render(made, replace(QUIET, max_radius=limit), rng=0)
    assert sample.parameters["clamped_pixels"] == 5 * 41
    assert np.array_equal(sample.valid, depth == 1)
    assert sample.defocus_map.dtype == sample.left.dtype == dtype
    assert sample.defocus_map.min() == -dtype(limit)
    assert sample.defocus_map.max() == dtype(limit)


def test_unknown_depth_is_filled_for_the_blur_and_stays_unknown():
    """Trap 9: a hole is not an object at zero distance."""
    depth = np.full((33, 41), 2.0)
    depth[10:14, 10:20] = np.nan
    sample = render(scene(depth), QUIET, rng=0)
    assert np.allclose(sample.defocus_map, sample.defocus_map[0, 0])
    assert np.array_equal(sample.valid, ~np.isnan(depth))
    assert sample.parameters["unknown_pixels"] == 40
    assert sample.parameters["clamped_pixels"] == 0
    assert np.isnan(sample.depth_m[12, 12])
    far = render(scene(depth), replace(QUIET, max_radius=9.0), rng=0, invalid="far")
    assert far.defocus_map[12, 12] == pytest.approx(LENS.radius_at_infinity)
    with pytest.raises(ValueError, match="got 40 pixels"):
        render(scene(depth), QUIET, rng=0, invalid="error")


def test_the_model_says_what_it_is():
    """Trap 10: gather is not called physical."""
    assert render(scene(1.0), QUIET, rng=0).model == "layered"
    assert render(scene(1.0), QUIET, rng=0, model="gather").model == "gather"


def test_inputs_are_not_written_to():
    made = scene(np.linspace(0.7, 4, 41))
    image, depth = made.all_in_focus.copy(), made.depth_m.copy()
    render(made, replace(QUIET, noise=ShotReadNoise(1e-3)), rng=0)
    assert np.array_equal(made.all_in_focus, image)
    assert np.array_equal(made.depth_m, depth)


def test_the_rim_that_the_mirror_image_reaches():
    """Outside the stated rim nothing depends on what lies beyond the photograph."""
    wide = scene(np.linspace(0.6, 1.6, 81), H=63, W=81)
    whole = render(wide, QUIET, rng=0, model="gather")
    part = render(wide.window(10, 12, 40, 50), QUIET, rng=0, model="gather")
    rim = {side: part.parameters[f"mirrored_{side}"] for side in ("top", "bottom", "left", "right")}
    assert 0 < rim["right"] < rim["left"] <= 6, rim
    inside = (..., slice(rim["top"], 40 - rim["bottom"]), slice(rim["left"], 50 - rim["right"]))
    truth = whole.window(10, 12, 40, 50)
    assert np.allclose(part.left[inside], truth.left[inside], rtol=0, atol=1e-12)
    assert not np.allclose(part.left, truth.left, rtol=0, atol=1e-6)
    assert truth.parameters["mirrored_left"] == 0
    assert truth.valid.shape == (40, 50)
    with pytest.raises(ValueError, match="expected a window"):
        whole.window(0, 0, 64, 10)


@pytest.mark.parametrize("views", [(), ("left",), ("left", "left", "right"), ("left", "middle"), "combined"])
def test_unknown_views(views):
    with pytest.raises(ValueError, match="render: expected views"):
        render(scene(1.0), QUIET, rng=0, views=views)


@pytest.mark.data
def test_the_canon_board(data):
    """The camera's constants alone predict a real f/4 photograph from the f/20 one, in linear light (traps 2, 3, 7)."""
    from synth import io

    def board(stop, linear):
        views = [io.read_image(data / f"canon_r6m2_flat_0600mm/{stop}_{side}.png", linear=linear) for side in "lr"]
        return ((views[0] + views[1]) / 2).astype(np.float64)

    def psnr(linear):
        sharp, real = board("f20", linear), board("f4", linear)
        made = Scene(all_in_focus=sharp, depth_m=np.full(sharp.shape[1:], 0.6), name="board")
        y = render(
            made, replace(Camera.preset("canon-r6ii"), noise=ShotReadNoise()), rng=0, views=("combined",)
        ).combined
        cut = (slice(None), slice(40, -40), slice(40, -40))
        y, real = y[cut], real[cut]
        y = y * ((y * real).sum((1, 2)) / (y * y).sum((1, 2)))[:, None, None]
        if linear:
            y, real = (bp.colour.linear_to_srgb(np.clip(v, 0, 1)) for v in (y, real))
        return -10 * np.log10(((y - real) ** 2).mean())

    assert psnr(True) > 37.5
    assert psnr(True) > psnr(False) + 2
