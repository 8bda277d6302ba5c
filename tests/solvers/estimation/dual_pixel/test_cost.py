"""The matching cost against discrete Fourier sums, and what it means."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
from scipy.fft import next_fast_len

import blurphys as bp
from solvers.estimation.dual_pixel.candidates import Region, candidate_radii, parts_of, psfs_at, radius_at, regions
from solvers.estimation.matching import cost as module
from solvers.estimation.matching.cost import Part, matching_cost

PUPIL = bp.Pupil.disk(split=0.4)


def everywhere(shape, bank=PUPIL):
    return [Region(slice(0, shape[0]), slice(0, shape[1]), bank)]


def dft(size):
    """The matrix of the discrete Fourier transform of a line."""
    return np.array([[cmath.exp(-2j * math.pi * a * i / size) for i in range(size)] for a in range(size)])


def placed(psf, size):
    """A kernel in a periodic plane, its centre at the origin."""
    plane = np.zeros((size, size))
    rows, cols = psf.shape
    for i in range(rows):
        for j in range(cols):
            plane[(i - rows // 2) % size, (j - cols // 2) % size] += psf[i, j]
    return plane


def test_against_plain_loops():
    """The residual of an impulse in the left view is the whitening kernel itself; its square, windowed, is the cost."""
    noise, radius, window = 0.05, 1.3, 0.8
    shape, at = (1, 49, 49), 24
    size = next_fast_len(49 + 2 * (2 + 3 + 4), real=True)  # reach of the PSF, three standard deviations, a margin
    F = dft(size)
    of_left, of_right = (F @ placed(PUPIL.psf(radius, view), size) @ F for view in ("left", "right"))
    response = np.zeros((size, size), dtype=complex)
    for a in range(size):
        for b in range(size):
            wave = 4 * (math.sin(math.pi * a / size) ** 2 + math.sin(math.pi * b / size) ** 2)
            ratio = noise**2 / module.SPECTRUM**2 * wave
            if ratio > 0:
                power = abs(of_left[a, b]) ** 2 + abs(of_right[a, b]) ** 2 + ratio
                response[a, b] = of_right[a, b] / math.sqrt(power * (1 + module.MISMATCH**2 / ratio))
    kernel = (F.conj() @ response @ F.conj()).real / size**2
    left = np.zeros(shape)
    left[0, at, at] = 1.0
    valid = np.ones(shape[1:], dtype=bool)
    found = matching_cost(
        np.stack([left, 0 * left]),
        valid,
        parts_of(everywhere(shape[1:]), np.array([radius])),
        noise=noise,
        floor=0.0,
        window=window,
    )
    reach = range(-2, 3)  # three standard deviations
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * window**2)) for i in reach for j in reach}
    for row, col in ((at, at), (at + 1, at), (at, at - 2), (at - 3, at + 2)):
        windowed = sum(w * kernel[(row + i - at) % size, (col + j - at) % size] ** 2 for (i, j), w in weights.items())
        expected = windowed / sum(weights.values()) / noise**2
        assert found[row, col, 0] == pytest.approx(expected, rel=2e-3)


def test_noise_alone_leaves_nothing():
    rng = np.random.default_rng(0)
    views = 0.01 * rng.standard_normal((2, 3, 160, 160))
    valid = np.ones((160, 160), dtype=bool)
    radii = np.array([-3.0, 0.0, 1.5])
    found = matching_cost(views, valid, parts_of(everywhere((160, 160)), radii), noise=0.01, floor=1.0, window=1.0)
    assert np.abs(found[10:-10, 10:-10].mean(axis=(0, 1))).max() < 0.02


def test_noise_in_several_views_leaves_nothing():
    rng = np.random.default_rng(0)
    views = 0.01 * rng.standard_normal((4, 2, 160, 160))
    psfs = [[bp.psf.disk(radius)[None]] for radius in (0.6, 1.5, 2.5, 4.0)]
    part = Part([(slice(0, 160), slice(0, 160))], psfs)
    found = matching_cost(views, np.ones((160, 160), dtype=bool), [part], noise=0.01, floor=1.0, window=1.0)
    assert np.abs(found[10:-10, 10:-10].mean()) < 0.06


def test_several_views_against_plain_sums():
    """Of three views the residual is what is left after the best image, frequency by frequency; periodic, no window."""
    rng = np.random.default_rng(3)
    size, noise = 25, 0.05
    F = dft(size)
    kernels = [bp.psf.disk(radius) for radius in (0.8, 1.6, 2.4)]
    spectra = [F @ rng.random((size, size)) @ F for _ in kernels]
    transfer = [F @ placed(kernel, size) @ F for kernel in kernels]
    (candidate,) = module._filters([[kernel[None]] for kernel in kernels], size, noise, 0.0)
    half = size // 2 + 1
    found = list(candidate.residuals(np.stack([s[None, :, :half] for s in spectra])))
    for a in range(size):
        for b in range(half):
            wave = 4 * (math.sin(math.pi * a / size) ** 2 + math.sin(math.pi * b / size) ** 2)
            ratio = noise**2 / module.SPECTRUM**2 * wave
            power = sum(abs(h[a, b]) ** 2 for h in transfer) + ratio
            best = sum(h[a, b].conjugate() * s[a, b] for h, s in zip(transfer, spectra, strict=True)) / power
            scale = 0.0 if ratio == 0 else 1 / math.sqrt(1 + module.MISMATCH**2 / ratio)
            for residual, h, s in zip(found, transfer, spectra, strict=True):
                assert residual[0, a, b] == pytest.approx(scale * (s[a, b] - h[a, b] * best), abs=2e-3)


def test_tiles_have_no_seams(monkeypatch):
    rng = np.random.default_rng(1)
    views = rng.random((2, 1, 70, 90))
    valid = rng.random((70, 90)) < 0.95
    given = {"noise": 0.01, "floor": 1.0, "window": 1.0}
    radii = np.array([-1.0, 2.0])
    whole = matching_cost(views, valid, parts_of(everywhere((70, 90)), radii), **given)
    monkeypatch.setattr(module, "TILE", 32)
    tiled = matching_cost(views, valid, parts_of(everywhere((70, 90)), radii), **given)
    assert np.abs(whole - tiled).mean() < 0.03 * np.abs(whole).mean()


def test_candidates():
    u, radii = candidate_radii(3.0, 0.5)
    assert radii.tolist() == [-3, -2.5, -2, -1.5, -1, 0, 1, 1.5, 2, 2.5, 3]
    assert np.allclose(radius_at(u, 0.5), radii)
    between = radius_at(np.linspace(-2.5, 2.5, 101), 0.5)
    assert (np.diff(between) > 0).all()


def test_psfs_of_a_bank_are_interpolated():
    bank = bp.PSFBank(PUPIL, max_radius=3.0, step=0.5)
    (found,) = psfs_at(bank, np.array([1.25]), "left")
    levels = dict(zip(bank.radii, bank.psfs("left"), strict=True))
    assert np.allclose(found[0], 0.5 * (levels[1.0] + levels[1.5]))


@pytest.mark.parametrize("nodes", ["corners", "centres"])
def test_regions_cover_the_frame_once(nodes):
    banks = [[bp.PSFBank(PUPIL, max_radius=1.0) for _ in range(3)] for _ in range(2)]
    count = np.zeros((31, 47), dtype=int)
    for region in regions(banks, (31, 47), nodes):
        count[region.rows, region.cols] += 1
    assert (count == 1).all()
