"""PSNR and SSIM after a gain and an offset for each colour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from nets.evaluation.matching import affine_match, matched_scores


def pictures(seed, shape=(3, 17, 23)):
    rng = np.random.default_rng(seed)
    target = rng.random(shape)
    return 0.7 * target + 0.3 * rng.random(shape), target


@given(st.integers(0, 1000))
def test_the_match_is_the_least_squares_solution_of_each_colour(seed):
    image, target = pictures(seed)
    for plane, wanted, found in zip(image, target, affine_match(image, target), strict=True):
        design = np.stack([plane.ravel(), np.ones(plane.size)], axis=1)
        solution = np.linalg.lstsq(design, wanted.ravel(), rcond=None)[0]
        np.testing.assert_allclose(found.ravel(), design @ solution, rtol=0, atol=1e-12)


@given(st.integers(0, 1000), st.floats(0.1, 4), st.floats(-1, 1))
def test_exposure_and_black_level_of_the_image_do_not_count(seed, gain, offset):
    image, target = pictures(seed)
    there, here = (matched_scores(v, target, border=2) for v in (image, gain * image + offset))
    assert there["psnr"] == pytest.approx(here["psnr"], abs=1e-6)
    assert there["ssim"] == pytest.approx(here["ssim"], abs=1e-6)


def test_the_scores_are_those_of_the_part_inside_the_border():
    image, target = pictures(3)
    spoiled = image.copy()
    spoiled[:, 0], spoiled[:, :, -1] = 9.0, -9.0
    assert matched_scores(spoiled, target, border=1) == matched_scores(image, target, border=1)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    matched, wanted = affine_match(image[inner], target[inner]), target[inner]
    scores = matched_scores(image, target, border=1)
    assert scores["psnr"] == pytest.approx(-10 * np.log10(np.mean((matched - wanted) ** 2)))
    ssim = structural_similarity(
        matched, wanted, channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert scores["ssim"] == pytest.approx(ssim, abs=1e-9)


def test_a_constant_colour_becomes_the_mean():
    image, target = pictures(0)
    image[1] = 0.25
    found = affine_match(image, target)
    np.testing.assert_allclose(found[1], target[1].mean())


@pytest.mark.parametrize(
    ("image", "border", "said"),
    [
        (np.zeros((3, 17, 22)), 0, r"\(3, 17, 22\)"),
        (np.full((3, 17, 23), np.nan), 0, "NaN"),
        (np.zeros((3, 17, 23)), 4, "11 px"),
        (np.zeros((3, 17, 23)), -1, "border"),
    ],
)
def test_bad_input(image, border, said):
    with pytest.raises(ValueError, match=said):
        matched_scores(image, np.zeros((3, 17, 23)), border=border)
