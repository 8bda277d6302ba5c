"""A lens whose PSFs are known, calibrated from a photo that is rendered by plain supersampling."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import blurphys as bp
from solvers.estimation import EstimateWarning, GridNotFoundError, calibrate_grid
from tests.strategies import NAMESPACES, to_namespace

FRAME, FINE, RATIO = (240, 340), 6, 0.35
SIGMAS = ((1.5, 0.9), (0.9, 1.7))
"""Of the Gaussians at the left and right edge, along rows and columns, px."""
PAPER = 0.7 + 0.15 * np.linspace(-1, 1, FRAME[1]) - 0.1 * np.linspace(-1, 1, FRAME[0])[:, None] ** 2


def positions(u, v, spacing=28.0):
    """Turned by 4 degrees, in perspective, with a barrel distortion."""
    c, s = spacing * np.cos(0.07), spacing * np.sin(0.07)
    depth = 1 + 0.004 * u - 0.006 * v
    x, y = (c * u - s * v) / depth, (s * u + c * v) / depth
    squared = (x**2 + y**2) / (np.hypot(*FRAME) / 2) ** 2
    return 119.7 + y * (1 - 0.02 * squared), 169.2 + x * (1 - 0.02 * squared)


def photo(noise=0.001, seed=0, missing=frozenset()):
    """The photo of the grid; `missing` are the (u, v) of dots that are not printed."""
    return clean_photo(frozenset(missing)) + noise * np.random.default_rng(seed).standard_normal(FRAME)


@cache
def clean_photo(missing):
    """Dots are drawn as sets of fine pixels and blurred there; each is divided between the two PSFs by its column."""
    height, width = (n * FINE for n in FRAME)
    parts = np.zeros((2, height, width))
    y, x = np.mgrid[-9 * FINE : 9 * FINE, -9 * FINE : 9 * FINE]
    circle = np.linspace(0, 2 * np.pi, 100)
    for u in range(-8, 9):
        for v in range(-6, 7):
            row, col = positions(u, v)
            if (u, v) in missing or not (-8 < row < FRAME[0] + 8 and -8 < col < FRAME[1] + 8):
                continue
            # The outline of the dot, as a radius that depends on the angle, seen from its centre.
            rows, cols = positions(u + RATIO / 2 * np.cos(circle), v + RATIO / 2 * np.sin(circle))
            angles, radii = np.arctan2(rows - row, cols - col), np.hypot(rows - row, cols - col)
            order = np.argsort(angles)
            middle = np.rint([row * FINE, col * FINE]).astype(int)
            dy = (y + middle[0] + 0.5) / FINE - 0.5 - row
            dx = (x + middle[1] + 0.5) / FINE - 0.5 - col
            edge = np.interp(np.arctan2(dy, dx), angles[order], radii[order], period=2 * np.pi)
            share = np.clip(col / FRAME[1], 0, 1)
            i, j = y + middle[0], x + middle[1]
            seen = (np.hypot(dy, dx) < edge) & (i >= 0) & (j >= 0) & (i < height) & (j < width)
            parts[0][i[seen], j[seen]] += 1 - share
            parts[1][i[seen], j[seen]] += share
    blurred = sum(gaussian_filter(p, [s * FINE for s in sigma]) for p, sigma in zip(parts, SIGMAS, strict=True))
    covered = blurred.reshape(FRAME[0], FINE, FRAME[1], FINE).mean(axis=(1, 3))
    return PAPER * (1 - 0.8 * covered)


def true_psf(share, size):
    """The two Gaussians, averaged over pixels, in their proportion."""
    fine = np.zeros((size * FINE, size * FINE))
    middle = size * FINE // 2
    parts = []
    for sigma in SIGMAS:
        point = fine.copy()
        point[middle - FINE // 2 : middle + FINE // 2 + 1, middle - FINE // 2 : middle + FINE // 2 + 1] = 0
        point[middle, middle] = 1
        parts.append(gaussian_filter(point, [s * FINE for s in sigma], truncate=6))
    mixed = (1 - share) * parts[0] + share * parts[1]
    return mixed.reshape(size, FINE, size, FINE).sum(axis=(1, 3))


def error(found, true):
    """Relative L2 after the best shift of a raster of shifts."""
    f = np.fft.fftfreq(len(true))
    spectrum, best = np.fft.fft2(found), np.inf
    for a in np.arange(-0.4, 0.41, 0.02):
        for b in np.arange(-0.4, 0.41, 0.02):
            moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (f[:, None] * a + f * b))).real
            best = min(best, np.linalg.norm(moved - true) / np.linalg.norm(true))
    return best


@pytest.fixture(scope="module")
def found():
    return calibrate_grid(photo(missing={(1, 1), (-3, 2)}), ratio=RATIO, cells=(2, 4))


def test_psfs_are_those_of_the_lens(found):
    size = found.psfs.shape[-1]
    assert found.psfs.shape == (2, 4, size, size) and size % 2 == 1
    assert (found.psfs >= 0).all() and np.allclose(found.psfs.sum(axis=(2, 3)), 1)
    truth = [true_psf((j + 0.5) / 4, size) for j in range(4)]
    errors = np.array([[error(psf, true) for psf, true in zip(row, truth, strict=True)] for row in found.psfs])
    assert errors.max() < 0.08
    mean = np.mean(truth, axis=0)
    assert errors.max() < 0.5 * max(error(mean, true) for true in truth)


def test_geometry_noise_and_contrast(found):
    u, v = np.mgrid[-8:9, -6:7]
    true = np.stack(positions(u.ravel(), v.ravel()), axis=1)
    nearest = np.linalg.norm(found.dots[:, None] - true, axis=2).min(axis=1)
    assert nearest.max() < 0.2 and np.median(nearest) < 0.02
    assert found.used <= len(found.dots) <= len(true) - 2
    assert found.noise == pytest.approx(0.001, rel=0.1)
    assert found.contrast == pytest.approx(0.8, abs=0.01)
    assert 0.9 * found.noise < found.misfit < 2.5 * found.noise
    around = found.residual[found.residual != 0]
    assert np.sqrt((around**2).mean()) == pytest.approx(found.misfit, rel=0.01)


def test_the_operator_is_stored_and_obeys_the_laws(found, tmp_path):
    assert bp.check(found.operator).passed
    bp.save(found.operator, tmp_path / "lens.h5")
    image = np.random.default_rng(0).random((1, *FRAME))
    assert np.array_equal(bp.load(tmp_path / "lens.h5")(image), found.operator(image))


def test_light_dots_on_dark_paper_yield_the_same_psfs(found):
    negative = calibrate_grid(PAPER - photo(missing={(1, 1), (-3, 2)}) / 2, ratio=RATIO, cells=(2, 4))
    assert negative.contrast < 0
    assert np.abs(negative.psfs - found.psfs).max() < 0.1 * found.psfs.max()


def test_more_noise_needs_no_less_strength(found):
    noisy = calibrate_grid(photo(noise=0.02), ratio=RATIO, cells=(2, 4))
    assert noisy.strength >= found.strength
    assert noisy.noise == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_any_kind_of_array_and_colours(found, kind):
    colours = np.stack([photo(missing={(1, 1), (-3, 2)})] * 3)
    again = calibrate_grid(to_namespace(colours, kind), ratio=RATIO, cells=(2, 4))
    assert np.allclose(again.psfs, found.psfs, atol=1e-6)
    assert again.operator.in_shape == (3, *FRAME)


def test_a_wrong_diameter_is_noticed():
    with pytest.warns(EstimateWarning, match=r"calibrate_grid: the PSFs leave errors of .* times the noise"):
        calibrate_grid(photo(), ratio=0.5, cells=(1, 1), support=3)


CLEAN = photo()


@pytest.mark.parametrize(
    ("light", "options", "message"),
    [
        (np.full(FRAME, 0.5), {}, "blank"),
        (np.where(np.eye(*FRAME) > 0, np.nan, CLEAN), {}, "finite"),
        (np.minimum(1.6 * CLEAN, 1), {}, "expected paper below white"),
        (CLEAN[None, None], {}, "of shape"),
        (CLEAN, {"ratio": 0.9}, "ratio"),
        (CLEAN, {"cells": (0, 3)}, "cells"),
        (CLEAN, {"cells": (2, 3, 4)}, "cells"),
        (CLEAN, {"cells": (40, 60)}, "too few dots; expected fewer cells"),
        (CLEAN, {"support": 4}, "odd"),
        (CLEAN, {"support": 47}, "support <= 45"),
        (CLEAN, {"support": 21}, "blurred dots must not touch, which allows a support of 1"),
    ],
)
def test_bad_input_gets_one_sentence(light, options, message):
    with pytest.raises(ValueError, match=rf"^calibrate_grid: [^\n]*{message}[^\n]*$"):
        calibrate_grid(light, **{"ratio": RATIO, **options})


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"^calibrate_grid: "):
        calibrate_grid(np.zeros(FRAME, np.uint8), ratio=RATIO)


def test_without_a_grid_the_error_tells_what_was_found(rng):
    with pytest.raises(GridNotFoundError, match="expected a photo of a dot grid, .* 0 of them on a lattice") as raised:
        calibrate_grid(0.5 + 0.1 * rng.random(FRAME), ratio=RATIO)
    assert raised.value.candidates.ndim == 2 and raised.value.candidates.shape[1] == 2
