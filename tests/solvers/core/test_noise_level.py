"""The discrepancy principle: an iteration ends where the residual is as large as the noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from tests import problems

SOLVERS = ("fixed_point", "cgls", "lsqr", "gmres")


def noisy(seed, sigma, batch=()):
    p = problems.circular_gaussian("numpy", "float64", batch)
    return p, p.y + sigma * np.random.default_rng(seed).normal(size=p.y.shape)


@pytest.mark.parametrize("name", SOLVERS)
@given(st.integers(0, 2**16), st.floats(1e-4, 2e-2))
def test_the_first_iterate_below_the_noise(name, seed, sigma):
    p, y = noisy(seed, sigma)
    x0 = np.zeros_like(y)
    solution = getattr(solvers, name)(p.A, y, x0=x0, noise_level=sigma, tol=1e-12, max_iterations=500)
    assert solution.status is Status.NOISE_LEVEL
    assert solution.converged
    level = sigma * np.sqrt(y.size) / np.linalg.norm(y)
    assert np.linalg.norm(y - p.A(solution.x)) <= sigma * np.sqrt(y.size) * (1 + 1e-9)
    assert all(r > level for r in solution.residuals[:-1])


def test_stopping_there_gives_the_better_image():
    x = np.kron(np.random.default_rng(5).random((1, 5, 4)), np.ones((1, 5, 7)))
    A = problems.CircularBlur({(0, k): 0.2 for k in range(-2, 3)}, x.shape)  # with a zero in its response
    y = A(x) + 0.03 * np.random.default_rng(6).normal(size=x.shape)
    stopped = solvers.cgls(A, y, noise_level=0.03, tol=1e-12, max_iterations=100)
    exhausted = solvers.cgls(A, y, tol=1e-12, max_iterations=100)
    assert stopped.iterations < exhausted.iterations
    assert np.linalg.norm(stopped.x - x) < 0.7 * np.linalg.norm(exhausted.x - x)


def test_only_observed_pixels_count():
    p, y = noisy(3, 1e-2)
    mask = np.random.default_rng(4).random(y.shape) < 0.5
    solution = solvers.cgls(p.A, y, x0=np.zeros_like(y), mask=mask, noise_level=1e-2, tol=1e-12)
    rms = np.sqrt(np.mean((y - p.A(solution.x))[mask] ** 2))
    assert solution.status is Status.NOISE_LEVEL
    assert rms <= 1e-2
    before = solvers.cgls(p.A, y, x0=np.zeros_like(y), mask=mask, tol=1e-12, max_iterations=solution.iterations - 1)
    assert np.sqrt(np.mean((y - p.A(before.x))[mask] ** 2)) > 1e-2


def test_every_image_of_a_batch_has_its_own_end():
    p, _ = noisy(0, 0.0, (2,))
    scale = np.asarray([1.0, 100.0]).reshape(2, 1, 1, 1)  # the second has a hundredth of the noise, relatively
    y = scale * p.y + 1e-2 * np.random.default_rng(0).normal(size=p.y.shape)
    both = solvers.cgls(p.A, y, x0=np.zeros_like(y), noise_level=1e-2, tol=1e-12, max_iterations=500)
    assert both.item_status == (Status.NOISE_LEVEL, Status.NOISE_LEVEL)
    for i in range(2):
        alone = solvers.cgls(p.A, y[i], x0=np.zeros_like(y[i]), noise_level=1e-2, tol=1e-12, max_iterations=500)
        assert np.allclose(both.x[i], alone.x, atol=1e-12)


def test_neumann_ends_at_the_noise():
    p, y = noisy(1, 1e-2)
    solution = solvers.neumann(p.A, y, terms=200, noise_level=1e-2)
    assert solution.status is Status.NOISE_LEVEL
    assert solution.iterations < 200


def test_the_tolerance_comes_first():
    p, y = noisy(1, 1e-3)
    assert solvers.cgls(p.A, y, tol=0.5, noise_level=1e-3).status is Status.CONVERGED


@pytest.mark.parametrize("name", (*SOLVERS, "cg"))
@pytest.mark.parametrize("level", [0, -1.0, np.nan, np.inf, "low", True])
def test_a_bad_level(name, level):
    p, y = noisy(0, 1e-3)
    with pytest.raises(ValueError, match="noise_level must be a positive finite number"):
        getattr(solvers, name)(p.A, y, noise_level=level)
