"""The noise of a photograph, where it is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import synth
from solvers.estimation import noise_level
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace


def blurred_photo(rows=160, cols=240):
    photo = synth.scenes.stereo_motorcycle().window(120, 290, rows, cols).all_in_focus
    return bp.Convolution(bp.psf.disk(3.0).astype(photo.dtype), shape=photo.shape)(photo)


@examples(20)
@given(sigma=st.floats(1e-4, 0.1), seed=st.integers(0, 2**16), slope=st.floats(-0.02, 0.02))
def test_on_a_plane(sigma, seed, slope):
    """What varies linearly is no noise."""
    plane = 0.5 + slope * np.arange(160)[:, None] + slope * np.arange(192)
    noisy = plane + sigma * np.random.default_rng(seed).standard_normal((3, 160, 192))
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.12)


@pytest.mark.parametrize("sigma", [0.002, 0.005, 0.02])
def test_of_a_photograph_out_of_focus(sigma):
    image = blurred_photo()
    found = [noise_level(image + sigma * np.random.default_rng(i).standard_normal(image.shape)) for i in range(5)]
    assert np.mean(found) == pytest.approx(sigma, rel=0.1)


def test_without_noise_there_is_none():
    assert noise_level(np.full((1, 40, 40), 0.3)) == 0


def test_clipped_blocks_do_not_count():
    noisy = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((1, 160, 160))
    noisy[:, :, :120] = 1.0  # three quarters are white
    assert noise_level(noisy) == pytest.approx(0.01, rel=0.15)


def test_a_mask_names_the_smooth_pixels():
    """All but a stripe is texture in focus; the stripe is smaller than a tenth of the image."""
    rng = np.random.default_rng(0)
    image = rng.random((3, 128, 160))
    image[:, :, 40:50] = 0.5
    image += 0.01 * rng.standard_normal(image.shape)
    smooth = np.zeros((128, 160), dtype=bool)
    smooth[:, 40:50] = True
    assert noise_level(image) > 0.1
    assert noise_level(image, mask=smooth) == pytest.approx(0.01, rel=0.1)


@given(scale=st.floats(1e-3, 1e3))
def test_it_scales_with_the_image(scale):
    image = np.random.default_rng(1).random((2, 48, 64))
    assert noise_level(scale * image) == pytest.approx(scale * noise_level(image), rel=1e-9)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_of_every_namespace(namespace):
    image = np.random.default_rng(2).random((3, 40, 50))
    assert noise_level(to_namespace(image, namespace)) == noise_level(image)


@pytest.mark.parametrize(
    ("image", "mask", "error", "words"),
    [
        (np.zeros((1, 17, 40)), None, ValueError, ("18 x 18", "17 x 40")),
        (np.zeros((40, 40)), None, ValueError, ("(40, 40)",)),
        (np.zeros((1, 40, 40), dtype=np.uint8), None, TypeError, ("uint8",)),
        (np.full((1, 40, 40), np.nan), None, ValueError, ("finite",)),
        (np.zeros((1, 40, 40)), np.ones((40, 41), dtype=bool), ValueError, ("(40, 40)", "(40, 41)")),
        (np.zeros((1, 40, 40)), np.zeros((40, 40), dtype=bool), ValueError, ("3 x 3",)),
    ],
)
def test_bad_input(image, mask, error, words):
    with pytest.raises(error) as raised:
        noise_level(image, mask=mask)
    assert all(word in str(raised.value) for word in ("noise_level", *words))
