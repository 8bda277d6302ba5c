"""The matching cost against discrete Fourier sums, and what it means."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

import blurphys as bp
from solvers.estimation.dual_pixel import cost as module
from solvers.estimation.dual_pixel.candidates import Region, candidate_radii, psfs_at, radius_at, regions
from solvers.estimation.dual_pixel.cost import matching_cost

PUPIL = bp.Pupil.disk(split=0.4)


def everywhere(shape, bank=PUPIL):
    return [Region(slice(0, shape[0]), slice(0, shape[1]), bank)]


def kernel_of(response, size):
    """The kernel (size, size), centre at size // 2, whose transfer function is given as a function of (wy, wx)."""
    half, found = size // 2, np.zeros((size, size))
    samples = [[response(2 * math.pi * a / size, 2 * math.pi * b / size) for b in range(size)] for a in range(size)]
    for i in range(size):
        for j in range(size):
            total = 0j
            for a in range(size):
                for b in range(size):
                    phase = 2 * math.pi * (a * (i - half) + b * (j - half)) / size
                    total += samples[a][b] * cmath.exp(1j * phase)
            found[i, j] = total.real / size**2
    return found


def transfer(psf, wy, wx):
    rows, cols = psf.shape
    return sum(
        psf[i, j] * cmath.exp(-1j * (wy * (i - rows // 2) + wx * (j - cols // 2)))
        for i in range(rows)
        for j in range(cols)
    )


def test_against_plain_loops():
    """The residual of an impulse in the left view is the whitening kernel itself; its square, windowed, is the cost."""
    noise, size, radius, window = 0.05, 23, 1.3, 0.8
    left_psf, right_psf = (PUPIL.psf(radius, view) for view in ("left", "right"))

    def response(wy, wx):
        of_left, of_right = transfer(left_psf, wy, wx), transfer(right_psf, wy, wx)
        ratio = noise**2 / module.SPECTRUM**2 * 4 * (math.sin(wy / 2) ** 2 + math.sin(wx / 2) ** 2)
        if ratio < 1e-12:
            return 0.0
        return of_right / math.sqrt((abs(of_left) ** 2 + abs(of_right) ** 2 + ratio) * (1 + module.MISMATCH**2 / ratio))

    kernel = kernel_of(response, size)
    shape, at = (1, 49, 49), 24
    left = np.zeros(shape)
    left[0, at, at] = 1.0
    radii = np.array([radius])
    valid = np.ones(shape[1:], dtype=bool)
    found = matching_cost(
        left, np.zeros(shape), valid, everywhere(shape[1:]), radii, noise=noise, floor=0.0, window=window
    )
    reach = range(-2, 3)  # three standard deviations
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * window**2)) for i in reach for j in reach}
    total = sum(weights.values())
    for row, col in ((at, at), (at + 1, at), (at, at - 2)):
        expected = 0.0
        for (i, j), weight in weights.items():
            a, b = row + i - at + size // 2, col + j - at + size // 2
            if 0 <= a < size and 0 <= b < size:
                expected += weight / total * kernel[a, b] ** 2
        assert found[row, col, 0] == pytest.approx(expected / noise**2, rel=0.03)


def test_noise_alone_leaves_nothing():
    rng = np.random.default_rng(0)
    views = 0.01 * rng.standard_normal((2, 3, 160, 160))
    valid = np.ones((160, 160), dtype=bool)
    radii = np.array([-3.0, 0.0, 1.5])
    found = matching_cost(*views, valid, everywhere((160, 160)), radii, noise=0.01, floor=1.0, window=1.0)
    assert np.abs(found[10:-10, 10:-10].mean(axis=(0, 1))).max() < 0.02


def test_tiles_have_no_seams(monkeypatch):
    rng = np.random.default_rng(1)
    views = rng.random((2, 1, 70, 90))
    valid = rng.random((70, 90)) < 0.95
    given = {"noise": 0.01, "floor": 1.0, "window": 1.0}
    radii = np.array([-1.0, 2.0])
    whole = matching_cost(*views, valid, everywhere((70, 90)), radii, **given)
    monkeypatch.setattr(module, "TILE", 32)
    tiled = matching_cost(*views, valid, everywhere((70, 90)), radii, **given)
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
