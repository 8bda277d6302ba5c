"""Photon and read noise of photographs whose noise is known."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import synth
from solvers.estimation import NoiseCurve, noise_curve, noise_level
from synth.noise import ShotReadNoise
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


@cache
def photo(kind, blur, rows=240, cols=320):
    """Linear light without noise, out of focus by a disk or rendered with a lens whose focus lies in the scene."""
    if kind == "planes":
        scene = synth.scenes.slanted_planes(rows, cols, planes=4, seed=21)
    else:
        scene = synth.scenes.with_background(synth.scenes.stereo_motorcycle().window(120, 290, rows, cols))
    sharp = scene.all_in_focus.astype(np.float32)
    if blur == "disk":
        return np.maximum(bp.Convolution(bp.psf.disk(3.0).astype(sharp.dtype), shape=sharp.shape)(sharp), 0)
    camera = synth.Camera.for_scene(scene, max_radius=6.0)
    radii = np.clip(camera.defocus_map(scene.depth_m, invalid="nearest"), -6, 6).astype(sharp.dtype)
    return np.maximum(bp.DefocusBlur(radii, bank=camera.bank(("combined",)))(sharp), 0)


def recorded(image, noise, seed):
    return noise.add(image, np.random.default_rng(seed))


@pytest.mark.parametrize("noise", [ShotReadNoise(1e-3, 1e-6), ShotReadNoise(2e-4, 1e-5), ShotReadNoise(4e-3, 2e-5)])
def test_of_a_photograph_out_of_focus(noise):
    """Mean and spread over noise that was not used to set anything; beside it the level that knows no signal."""
    image = photo("motorcycle", "disk")
    curves = [noise_curve(recorded(image, noise, seed)) for seed in range(40, 45)]
    assert np.mean([c.shot for c in curves]) == pytest.approx(noise.shot, rel=0.08)
    errors = [np.sqrt(c.variance(image).mean() / noise.variance(image).mean()) - 1 for c in curves]
    assert np.abs(errors).max() < 0.05
    level = noise_level(recorded(image, noise, 40)) / np.sqrt(noise.variance(image).mean()) - 1
    assert abs(level) > 5 * np.abs(errors).max()


@pytest.mark.parametrize("kind", ["motorcycle", "planes"])
@pytest.mark.parametrize("noise", [ShotReadNoise(1e-3, 1e-6), ShotReadNoise(2e-4, 1e-5)])
def test_of_a_scene_partly_in_focus(kind, noise):
    image = photo(kind, "lens")
    curve = noise_curve(recorded(image, noise, 50))
    truth = noise.variance(image)
    assert np.sqrt(curve.variance(image) / truth).mean() == pytest.approx(1, abs=0.2)


def test_constant_noise_has_no_slope():
    image = photo("motorcycle", "disk")
    curve = noise_curve(recorded(image, ShotReadNoise(0, 2.5e-5), 60))
    assert curve.sigma(0.0) == pytest.approx(0.005, rel=0.06)
    assert curve.sigma(0.5) == pytest.approx(0.005, rel=0.12)


def test_clipped_pixels_do_not_count():
    """White sky and black shadows have no noise at all: counted, they would bend the line."""
    ramp = np.linspace(-0.1, 1.15, 480) * np.ones((1, 240, 1))
    noise = ShotReadNoise(1e-3, 2e-5)
    noisy = ramp + np.sqrt(noise.variance(np.maximum(ramp, 0))) * np.random.default_rng(0).standard_normal(ramp.shape)
    curve = noise_curve(np.clip(noisy, 0, 1))
    assert curve.shot == pytest.approx(noise.shot, rel=0.12)
    assert curve.sigma(0.5) == pytest.approx(np.sqrt(noise.variance(0.5)), rel=0.06)


def test_without_noise_there_is_none():
    assert noise_curve(np.full((1, 40, 40), 0.3)) == NoiseCurve(shot=0.0, read=0.0)


@examples(15)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**16))
def test_it_scales_with_the_image(scale, seed):
    """s y has the variance s^2 (shot y + read): shot scales with s and read with s^2."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.1, 0.9, 96) * np.ones((3, 64, 1))
    noisy = ramp + np.sqrt(1e-3 * ramp + 1e-4) * rng.standard_normal(ramp.shape)
    one, other = noise_curve(noisy), noise_curve(scale * noisy)
    for level in (0.1, 0.5, 0.9):
        assert other.sigma(scale * level) == pytest.approx(scale * one.sigma(level), rel=1e-6)


def test_colours_and_their_order_do_not_matter():
    noisy = recorded(photo("motorcycle", "disk"), ShotReadNoise(1e-3, 1e-6), 1)
    assert noise_curve(noisy[::-1]) == noise_curve(noisy) == noise_curve(noisy[:, None])


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_of_every_namespace(namespace):
    image = np.random.default_rng(2).random((3, 40, 50))
    assert noise_curve(to_namespace(image, namespace)) == noise_curve(image)


@examples(20)
@given(shot=st.floats(0, 1), read=st.floats(0, 1), level=st.floats(-1, 10))
def test_the_curve(shot, read, level):
    curve, law = NoiseCurve(shot=shot, read=read), shot * max(level, 0.0) + read
    assert curve.variance(level) == pytest.approx(law) and curve.sigma(level) == pytest.approx(law**0.5)
    for namespace in NAMESPACES:
        image = to_namespace(np.full((1, 2, 2), level), namespace)
        assert type(curve.variance(image)) is type(image)
        assert np.allclose(to_numpy(curve.sigma(image)), law**0.5, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.zeros((1, 17, 40)), ValueError, ("18 x 18", "17 x 40")),
        (np.zeros((40, 40)), ValueError, ("(40, 40)",)),
        (np.zeros((1, 40, 40), dtype=np.uint8), TypeError, ("uint8",)),
        (np.full((1, 40, 40), np.nan), ValueError, ("finite",)),
    ],
)
def test_bad_input(image, error, words):
    with pytest.raises(error) as raised:
        noise_curve(image)
    assert all(word in str(raised.value) for word in ("noise_curve", *words))


def test_a_curve_is_not_negative():
    with pytest.raises(ValueError, match=r"NoiseCurve.*shot.*-1"):
        NoiseCurve(shot=-1.0, read=0.0)
