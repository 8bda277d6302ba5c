"""The map of a dual-pixel pair: laws that hold for any scene, accuracy with occlusion, and bad input."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import blurphys as bp
import synth
from solvers.estimation import EstimateWarning, dual_pixel_map
from synth.rendering.layering import layers_of
from tests.strategies import NAMESPACES, to_namespace

PUPIL = bp.Pupil.disk(split=0.45)
INNER = (slice(8, -8), slice(8, -8))


def texture(shape=(3, 56, 72), seed=0):
    return np.random.default_rng(seed).random(shape)


def blurred(radius, x=None, pupil=PUPIL, noise=0.0):
    """Both views of a plane at one radius."""
    x = texture() if x is None else x
    views = [bp.Convolution(pupil.psf(radius, v), shape=x.shape)(x) for v in ("left", "right")]
    rng = np.random.default_rng(1)
    return [view + noise * rng.standard_normal(view.shape) for view in views]


def estimate(left, right, pupil=PUPIL, max_radius=3.0, **given):
    return dual_pixel_map(left, right, pupil=pupil, max_radius=max_radius, **given)


@cache
def leaves(seed=3, split=0.45, noise=0.005):
    """A scene in which surfaces occlude each other: left, right and the true map."""
    scene = synth.scenes.dead_leaves(160, 208, layers=3, seed=seed)
    camera = synth.Camera.for_scene(scene, max_radius=4.0)
    layers = layers_of(scene, camera)
    bank = bp.PSFBank(bp.Pupil.disk(split=split), max_radius=4.0, step=0.5)
    A = bp.LayeredDefocus(layers.alphas, radii=layers.radii, bank=bank, views=("left", "right"), per_layer=True)
    y = A(np.concatenate(list(layers.colours)))
    y += noise * np.random.default_rng(seed).standard_normal(y.shape)
    return y[:3], y[3:], camera.defocus_map(scene.depth_m)


@pytest.mark.parametrize("radius", [-2.6, -1.0, 0.0, 0.9, 2.2])
def test_a_plane_is_constant(radius):
    found = estimate(*blurred(radius, noise=0.002), noise=0.002)
    assert np.abs(found.defocus_map[INNER] - radius).max() < 0.15
    assert np.median(found.confidence) > 0.5


def test_mirrored_pictures_have_the_opposite_sign():
    """A mirror exchanges left and right of the pupil as well: without exchanging the views, the sign flips."""
    left, right, _ = leaves()
    mirror = (slice(None), slice(None), slice(None, None, -1))
    plain = estimate(left, right, max_radius=5.0)
    turned = estimate(left[mirror], right[mirror], max_radius=5.0)
    assert np.abs(turned.defocus_map[:, ::-1] + plain.defocus_map).mean() < 0.05
    swapped = estimate(right, left, max_radius=5.0)
    assert np.abs(swapped.defocus_map + plain.defocus_map).mean() < 0.05


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_the_exposure_does_not_matter(factor):
    left, right, _ = leaves()
    plain = estimate(left, right, max_radius=5.0, noise=0.005)
    scaled = estimate(factor * left, factor * right, max_radius=5.0, noise=0.005 * factor)
    assert np.abs(scaled.defocus_map - plain.defocus_map).mean() < 0.05


def test_a_small_difference_of_exposure_is_corrected():
    left, right, truth = leaves()
    found = estimate(1.2 * left, right, max_radius=5.0, noise=0.005)
    plain = estimate(left, right, max_radius=5.0, noise=0.005)
    assert np.allclose(found.gain, 1.2, rtol=0.02)
    assert np.abs(found.defocus_map - plain.defocus_map).mean() < 0.1


@pytest.mark.parametrize("split", [0.15, 0.45])
def test_occluding_surfaces(split):
    left, right, truth = leaves(split=split)
    found = estimate(left, right, pupil=bp.Pupil.disk(split=split), max_radius=5.0, noise=0.005)
    error = np.abs(found.defocus_map - truth)[INNER]
    constant = np.abs(truth - np.median(truth))[INNER]
    assert np.median(error) < 0.5 * np.median(constant)


def test_a_grid_of_equal_banks_is_one_bank():
    left, right, _ = leaves()
    bank = bp.PSFBank(PUPIL, max_radius=5.0, step=0.25)
    one = estimate(left, right, pupil=bank, max_radius=5.0, noise=0.005)
    grid = estimate(left, right, pupil=[[bank, bank], [bank, bank]], max_radius=5.0, noise=0.005, nodes="centres")
    assert np.abs(one.defocus_map - grid.defocus_map).mean() < 0.05


def test_psfs_that_vary_over_the_frame():
    """Two halves of a plane, the right one seen through a pupil of half the split."""
    x, pupils = texture((3, 64, 128)), (PUPIL, bp.Pupil.disk(split=0.2))
    whole = [blurred(2.0, x, pupil) for pupil in pupils]
    pair = [np.concatenate([a[..., :64], b[..., 64:]], axis=-1) for a, b in zip(*whole, strict=True)]
    banks = [[bp.PSFBank(pupil, max_radius=3.0, step=0.25) for pupil in pupils]]
    found = estimate(*pair, pupil=banks, nodes="centres", noise=0.002)
    assert np.abs(found.defocus_map[INNER] - 2.0).mean() < 0.1


def test_the_cost_volume_on_request():
    found = estimate(*blurred(1.5), keep_cost=True)
    assert found.cost_volume.shape == (56, 72, found.candidates.size)
    assert estimate(*blurred(1.5)).cost_volume is None
    best = found.candidates[found.cost_volume[INNER].mean(axis=(0, 1)).argmin()]
    assert abs(best - 1.5) <= 0.25


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_of_every_namespace(namespace):
    left, right = blurred(1.5)
    here = estimate(*(to_namespace(view, namespace) for view in (left, right)))
    assert type(here.defocus_map) is type(to_namespace(left, namespace))
    assert np.abs(np.asarray(here.defocus_map) - estimate(left, right).defocus_map).max() == 0


def test_clipped_pixels_do_not_count():
    left, right = blurred(2.0, noise=0.002)
    broken = [np.minimum(view, np.quantile(view, 0.96)) for view in (left, right)]
    found = estimate(*broken, noise=0.002)
    assert np.abs(found.defocus_map[INNER] - 2.0).mean() < 0.3


def refused(words, *views, **given):
    with pytest.raises(ValueError) as raised:
        estimate(*(views or blurred(1.5)), **given)
    for word in ("dual_pixel_map", *words):
        assert word in str(raised.value), raised.value


def test_bad_views():
    left, right = blurred(1.5)
    refused(["(3, 56, 72)", "(3, 56, 70)"], left, right[..., :70])
    refused(["1.8", "exposure"], 1.8 * left, right)
    refused(["texture"], *(0.5 + 0.01 * np.random.default_rng(i).standard_normal(left.shape) for i in range(2)))
    refused(["texture"], np.full_like(left, 0.5), np.full_like(left, 0.5))
    refused(["texture"], np.zeros_like(left), np.zeros_like(left))
    refused(["NaN"], np.full_like(left, np.nan), right)
    refused(["clipped"], *(np.minimum(view, np.quantile(view, 0.2)) for view in (left, right)))
    refused(["(C, H, W)"], left[None], right[None])
    with pytest.raises(TypeError, match="uint8"):
        estimate(left.astype(np.uint8), right)


@pytest.mark.parametrize("side", [1, -1])
def test_exchanged_views_show_in_a_one_sided_search(side):
    """Nothing in a pair reveals them otherwise, since a lens of symmetric pupil exchanges its views with the sign."""
    left, right = blurred(side * 2.0, noise=0.005)
    span = (0.0, 3.0) if side > 0 else (-3.0, 0.0)
    found = estimate(left, right, max_radius=span)
    assert np.abs(found.defocus_map[INNER] - side * 2.0).mean() < 0.2
    refused(["exchange"], right, left, max_radius=span)


def test_bad_settings():
    bank = bp.PSFBank(PUPIL, max_radius=2.0)
    refused(["split 0"], pupil=bp.Pupil.disk(split=0))
    refused(["str"], pupil="disk")
    refused(["[2, 1]"], pupil=[[bank, bank], [bank]])
    refused(["left", "combined"], pupil=bp.PSFBank(psfs=np.ones((2, 1, 1)), radii=[-9.0, 9.0]))
    refused(["-2 to 2", "-3 to 3"], pupil=bank)
    refused(["max_radius"], max_radius=0.5)
    refused(["lowest"], max_radius=(2.0, 1.0))
    refused(["noise"], noise=-1.0)
    refused(["step"], step=0.0)
    refused(["two candidates", "1 and 1.1"], max_radius=(1.0, 1.1))
    refused(["nodes"], nodes="middle")


def test_radii_beyond_the_search():
    with pytest.warns(EstimateWarning, match="max_radius"):
        estimate(*blurred(4.0, texture((3, 80, 96)), noise=0.001), max_radius=2.0, noise=0.001)
