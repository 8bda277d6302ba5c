"""Shot and read noise: the variance law, independence, and the Poisson law itself."""

import numpy as np
import pytest

from synth.noise import ShotReadNoise


@pytest.mark.parametrize(("shot", "read"), [(1e-2, 0.0), (0.0, 1e-3), (1e-3, 1e-5), (0.2, 1e-2)])
def test_variance_is_linear_in_the_signal(shot, read, rng):
    noise = ShotReadNoise(shot, read)
    for level in (0.0, 0.05, 0.4, 1.0):
        noisy = noise.add(np.full(200_000, level), rng)
        expected = shot * level + read
        assert noise.variance(np.float64(level)) == pytest.approx(expected)
        assert noisy.var() == pytest.approx(expected, rel=0.02, abs=1e-15)
        assert noisy.mean() == pytest.approx(level, abs=5 * np.sqrt(expected / noisy.size) + 1e-15)


def test_few_photons_keep_the_skew_of_poisson(rng):
    """A clipped Gaussian would not have the third moment of a count with mean 2."""
    shot = 0.5
    counts = ShotReadNoise(shot).add(np.ones(100_000), rng) / shot
    assert np.array_equal(counts, np.rint(counts))
    assert ((counts - 2) ** 3).mean() == pytest.approx(2, abs=0.15)
    assert (counts == 0).mean() == pytest.approx(np.exp(-2), abs=0.005)


def test_two_views_have_independent_noise(rng):
    """Trap 13: one noise field for all views."""
    noise, y = ShotReadNoise(1e-2, 1e-4), np.full(100_000, 0.5)
    left, right = noise.add(y, rng) - y, noise.add(y, rng) - y
    assert abs(np.corrcoef(left, right)[0, 1]) < 4 / np.sqrt(y.size)
    assert ((left + right) / 2).var() == pytest.approx(noise.combined.variance(0.5), rel=0.02)


def test_no_noise_is_the_identity(rng):
    y = rng.random((3, 4, 5)).astype(np.float32)
    assert np.array_equal(ShotReadNoise().add(y, rng), y)


def test_dtype_stays_and_the_input_too(rng):
    for dtype in (np.float32, np.float64):
        y = rng.random((3, 4, 5)).astype(dtype)
        before = y.copy()
        assert ShotReadNoise(1e-2, 1e-4).add(y, rng).dtype == dtype
        assert np.array_equal(y, before)


def test_electrons_gain_and_the_typical_pair():
    noise = ShotReadNoise.from_electrons(5000, read_noise=2)
    assert (noise.shot, noise.read) == (1 / 5000, (2 / 5000) ** 2)
    assert noise.scaled(4) == ShotReadNoise(4 / 5000, (8 / 5000) ** 2)
    assert np.log(ShotReadNoise.typical(1e-3).read) == pytest.approx(2.18 * np.log(1e-3) + 1.2)
    assert ShotReadNoise.typical(0.0) == ShotReadNoise()


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (np.nan, 0), (0, np.inf), (1e-15, 0)])
def test_bad_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match="ShotReadNoise: expected"):
        ShotReadNoise(*arguments)


def test_bad_images_are_refused(rng):
    with pytest.raises(ValueError, match="full_well"):
        ShotReadNoise.from_electrons(0)
    for bad in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected finite values"):
            ShotReadNoise(1e-3).add(np.array([0.5, bad]), rng)


@pytest.mark.parametrize("shot", [1.5, 1e300, -0.1, np.nan])
def test_typical_noise_has_at_least_one_electron(shot):
    with pytest.raises(ValueError, match="shot"):
        ShotReadNoise.typical(shot)
