"""The predicted number of iterations, against the iteration itself and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import blurphys as bp
import solvers
from blurphys.analysis.decay import Decay, measure_decay
from tests.profiles import NIGHTLY
from tests.strategies import simplex

BOUNDARIES = ("reflect", "symmetric", "replicate", "circular", "zero")


def circular_response(psf, height, width):
    """Eigenvalues of a circular convolution, (H, W)."""
    padded = np.zeros((height, width))
    for (r, c), value in np.ndenumerate(psf):
        padded[(r - psf.shape[0] // 2) % height, (c - psf.shape[1] // 2) % width] += value
    return np.fft.fft2(padded)


def drawn_blur(rng, height, width):
    """An operator of a family that hypothesis would draw, with maps that vary smoothly, sharply or at random."""
    boundary, kind = str(rng.choice(BOUNDARIES)), int(rng.integers(0, 7))

    def maps(count):
        style = int(rng.integers(0, 3))
        if style == 0:
            return simplex(rng, (count, height, width))
        level = gaussian_filter(rng.standard_normal((height, width)), 4) if style == 1 else rng.random((height, width))
        level = (level - level.min()) / np.ptp(level) * (count - 1)
        level = level if style == 1 else np.round(level)
        return np.maximum(0, 1 - np.abs(np.arange(count)[:, None, None] - level))

    if kind in (0, 1):
        sigmas = np.sort(rng.uniform(0, 1.0 if kind == 0 else 2.0, 4))
        return bp.GKM(maps(4), sigmas=sigmas, channels=1, boundary=boundary)
    if kind == 2:
        side = rng.uniform(0.1, 0.25, (4, 1))
        return bp.RKR(maps(5), atoms=np.hstack([side, 1 - 2 * side, side]), channels=1, boundary=boundary)
    if kind == 3:
        psfs = rng.uniform(0, 1, (3, 3, 3)) ** 2
        psfs[:, 1, 1] += psfs.sum((1, 2))
        psfs /= psfs.sum((1, 2), keepdims=True)
        return bp.PSFStack(psfs, weights=maps(3), channels=1, boundary=boundary)
    if kind == 4:
        return bp.Convolution(
            np.asarray(bp.psf.gaussian(rng.uniform(0.3, 1.1))), shape=(1, height, width), boundary=boundary
        )
    if kind == 5:
        blur = bp.GKM(maps(3), sigmas=(0.0, 1.0, 2.0), channels=1, boundary=boundary)
        share = float(rng.uniform(0.1, 0.4))
        return share * bp.Identity((1, height, width)) + (1 - share) * blur
    sigmas, supports = bp.gkm_bank(21)
    return bp.GKM(maps(21), sigmas=sigmas, supports=supports, channels=1, boundary=boundary)


def prediction_hits(draws, *, height=36, width=40, limit=200):
    """Share of draws whose prediction is within 20 % of the observed number of iterations, or within 1."""
    from skimage import data

    photo = data.camera()[60 : 60 + height, 200 : 200 + width] / 255.0
    hits, late, early = 0, 0, 0
    for number in range(draws):
        rng = np.random.default_rng([20240229, number])
        A = drawn_blur(rng, height, width)
        noise = rng.standard_normal((1, height, width))
        y = (noise, A(noise), photo[None])[number % 3]
        damping, tol = float(rng.choice((0.7, 1.0, 1.3))), float(10 ** rng.uniform(-3.5, -1.5))
        predicted = measure_decay(A.forward, y, damping=damping).iterations(tol)  # as the certificate does
        observed = solvers.fixed_point(A, y, damping=damping, tol=tol, max_iterations=limit, divergence_factor=1e6)
        steps = observed.iterations
        if observed.converged:
            hits += abs(predicted - steps) <= max(1, 0.2 * steps)
            early, late = early + (steps <= 80), late + (steps > 88)
        else:
            hits += predicted > 0.8 * limit
    return hits / draws, early, late


def test_predicted_iterations_agree_with_the_iteration():
    draws = 400 if NIGHTLY else 32
    share, early, late = prediction_hits(draws)
    assert share >= 0.9
    assert early >= draws // 4 and late >= draws // 20  # measured ones and extrapolated ones both occur


def test_slow_convergence_is_extrapolated_far_beyond_the_measured_steps():
    """r_k = sum over the frequencies of (1 - h)^(k+1) y: known for every k on a circle."""
    psf = np.asarray(bp.psf.gaussian(0.75, 7))
    A = bp.Convolution(psf, shape=(1, 40, 44), boundary="circular")
    response = circular_response(psf, 40, 44).real
    assert 0 < response.min() < 0.05
    y = np.random.default_rng(1).standard_normal((1, 40, 44))
    spectrum = np.abs(np.fft.fft2(y[0])) ** 2
    decay = measure_decay(A.forward, y, damping=1.0)

    def exact(k):
        return math.sqrt(((1 - response) ** (2 * k + 2) * spectrum).sum() / spectrum.sum())

    for k in (0, 1, 20, 64, 70, 87):
        assert decay.relative(k)[0] == pytest.approx(exact(k), rel=1e-9)
    for k in (150, 400, 1000):
        assert decay.relative(k)[0] == pytest.approx(exact(k), rel=0.02)
    tol = exact(600)
    assert decay.iterations(tol * (1 + 1e-9)) == pytest.approx(600, rel=0.01)


def test_growth_between_two_measured_steps():
    """Image by image, from its lowest residual on; a residual of 0 is no measure."""
    history = np.array([[1.0, 4.0, 2.0], [0.5, 3.0, 0.0], [2.0, 6.0, 0.0], [1.0, 1.0, 0.0]])
    assert Decay(history, np.zeros((0, 0)), np.zeros((3, 0, 0))).growth == 4.0
    assert measure_decay(lambda x: 0.5 * x, np.ones((1, 4, 5)), damping=1.0).growth == 1.0


def test_every_image_of_a_batch_counts():
    """The slowest image decides; an image of zeros is solved at once."""
    damp = np.array([0.9, 0.5, 0.2]).reshape(3, 1, 1, 1)
    decay = measure_decay(lambda x: damp * x, np.ones((3, 1, 4, 5)), damping=1.0)
    expected = [math.ceil(math.log(1e-3) / math.log(1 - d)) - 1 for d in (0.9, 0.5, 0.2)]
    assert decay.iterations(1e-3) == max(expected)
    y = np.ones((3, 1, 4, 5))
    y[2] = 0
    assert measure_decay(lambda x: damp * x, y, damping=1.0).iterations(1e-3) == expected[1]
    assert measure_decay(lambda x: x, np.ones((1, 4, 5)), damping=1.0).iterations(1e-3) == 0
