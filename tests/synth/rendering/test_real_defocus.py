"""What the camera presets say of real dual-pixel photographs. Nothing is fitted but where a docstring says so."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, sobel, uniform_filter
from scipy.stats import spearmanr

import blurphys as bp
from blurphys.colour import linear_to_srgb
from synth import Camera, io

BORDER = 40


@pytest.fixture(scope="module")
def board(data):
    folder = data / "canon_r6m2_flat_0600mm"
    if not folder.is_dir():
        pytest.skip("canon_r6m2_flat_0600mm is missing from ../shared/data")
    return {name: io.read_image(folder / f"{name}.png") for name in ("f20_l", "f20_r", "f4_l", "f4_r")}


def score(psfs, board):
    """Mean PSNR of left and right in sRGB, the sharp frame blurred in linear light, a gain fitted for each colour."""
    sharp = (board["f20_l"] + board["f20_r"]) / 2
    inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    found = []
    for psf, name in zip(psfs, ("f4_l", "f4_r"), strict=True):
        blurred = bp.Convolution(psf.astype(np.float32), shape=sharp.shape)(sharp)[inside]
        wanted = board[name][inside]
        gain = (blurred * wanted).sum(axis=(1, 2), keepdims=True) / (blurred**2).sum(axis=(1, 2), keepdims=True)
        error = linear_to_srgb(np.clip(gain * blurred, 0, None)) - linear_to_srgb(wanted)
        found.append(-10 * np.log10(np.mean(error**2)))
    return float(np.mean(found))


def test_the_preset_splits_the_views_of_the_board_best(board):
    """Its split beats no split and every published kernel, with the best radius of each."""
    radii = -np.arange(3.0, 5.01, 0.25)
    pupil = Camera.preset("canon-r6ii").pupil
    ours = max(score((pupil.psf(r, "left"), pupil.psf(r, "right")), board) for r in radii)
    whole = max(score((pupil.psf(r), pupil.psf(r)), board) for r in radii)
    published = max(
        score([bp.psf.butterworth(-r, order, cutoff, floor, view=view) for view in ("left", "right")], board)
        for r in (2, 3, 4)
        for order in (3, 6, 9)
        for cutoff in (0.8, 1.0)
        for floor in (0.1, 0.2)
    )
    assert ours > 38.3
    assert ours > whole + 0.5
    assert ours > published + 2.5


def test_depth_predicts_the_disparity_of_the_views(data):
    """Scene 003: CoC radius from its depth against the shift between left and right, by gradients in 48 px windows.

    Seen: rank correlation -0.78 (left leans to -x behind focus), -0.23 px of shift for each px of radius.
    """
    folder = data / "canon_r6m2_scene_003"
    if not folder.is_dir():
        pytest.skip("canon_r6m2_scene_003 is missing from ../shared/data")
    left, right = (io.read_image(folder / f"{side}.png").mean(axis=0).astype(np.float64) for side in "lr")
    depth = io.read_depth(folder / "d.png", unit="mm")
    radius = Camera.preset("canon-r6ii").lens.defocus_map(depth, invalid="nearest")
    mean, difference = gaussian_filter((left + right) / 2, 1), gaussian_filter(left - right, 1)
    slope = sobel(mean, axis=1) / 8
    energy = uniform_filter(slope**2, 48)
    shift = -uniform_filter(difference * slope, 48) / energy  # of left against right
    average = uniform_filter(radius, 48)
    flat = uniform_filter(radius**2, 48) - average**2 < 0.3**2
    good = (energy > np.quantile(energy, 0.6)) & flat
    good[:30], good[-30:], good[:, :30], good[:, -30:] = False, False, False, False
    assert spearmanr(average[good], shift[good])[0] < -0.7
    near, far = np.abs(average[good]) < 0.3, average[good] > 2.5
    assert abs(np.median(shift[good][near])) < 0.1
    assert -0.4 < np.median(shift[good][far]) / np.median(average[good][far]) < -0.1
