"""Half-quadratic splitting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from solvers.splitting.hqs import RHO
from tests import problems
from tests.strategies import NAMESPACES, to_numpy


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


def keep(x, strength):
    return x


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_quadratic_prior_gives_tikhonov(namespace, batch):
    p = problems.circular_gaussian(namespace, "float64", batch)
    rho, strength = 0.1, 0.1
    solution = solvers.hqs(
        p.A, p.y, prox=shrink, rho=rho, strength=strength, tol=1e-11, inner_tol=1e-11, inner_iterations=20,
        max_iterations=80,
    )  # fmt: skip
    assert solution.converged
    expected = p.A.inverse(to_numpy(p.y), mu=strength * rho / (strength + rho))
    assert np.abs(to_numpy(solution.x) - expected).max() < 1e-9
    residual = np.linalg.norm(to_numpy(p.y) - to_numpy(p.A(solution.x)), axis=(-2, -1)) if not batch else None
    if residual is not None:
        assert solution.residuals[-1] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(to_numpy(p.y)))


@given(st.floats(1e-3, 10), st.floats(0, 10), st.integers(0, 2**16))
def test_every_step_lowers_the_split_objective(rho, strength, seed):
    p = problems.varying()
    y = np.random.default_rng(seed).normal(size=p.y.shape)

    def objective(state):
        data, split = y - p.A(state.x), state.x - state.z
        return 0.5 * (np.sum(data**2) + strength * np.sum(state.z**2) + rho * np.sum(split**2))

    state = solvers.hqs_init(p.A, y)
    values = [objective(state)]
    for _ in range(5):
        state = solvers.hqs_step(p.A, y, state, prox=shrink, rho=rho, strength=strength, inner_iterations=4)
        values.append(objective(state))
        assert np.allclose(state.residual, y - p.A(state.x))
    assert all(b <= a * (1 + 1e-12) for a, b in zip(values, values[1:], strict=False))


def test_the_solver_takes_the_same_steps():
    p = problems.varying()
    rhos = (0.1, 0.3, 0.9)
    state = solvers.hqs_init(p.A, p.y)
    for rho in rhos:
        state = solvers.hqs_step(p.A, p.y, state, prox=solvers.tv, rho=rho, strength=0.01, inner_iterations=3)
    solution = solvers.hqs(p.A, p.y, prox=solvers.tv, rho=rhos, strength=0.01, inner_iterations=3, inner_tol=1e-300)
    assert solution.iterations == 3
    assert np.array_equal(solution.x, state.x)
    assert solution.operator_applications == 2 + 3 * (2 + 2 * 3)


def test_prox_sees_strength_over_rho():
    p = problems.varying()
    seen = []

    def record(x, strength):
        seen.append(strength)
        return x

    solvers.hqs(p.A, p.y, prox=record, rho=[0.5, 2.0], strength=0.1, max_iterations=4, tol=1e-12)
    assert seen == [0.2, 0.05, 0.05, 0.05]


def test_inner_tolerance_saves_applications():
    p = problems.circular_gaussian()
    counts = [
        solvers.hqs(p.A, p.y, prox=keep, rho=0.5, inner_tol=t, tol=1e-9, max_iterations=10).operator_applications
        for t in (1e-2, 1e-8)
    ]
    assert counts[0] < counts[1]


def test_a_schedule_is_not_left_before_its_end():
    p = problems.identity()
    solution = solvers.hqs(p.A, p.y, prox=keep, rho=(0.1, 0.2, 0.4), tol=0.5, max_iterations=9)
    assert (solution.status, solution.iterations) == (Status.CONVERGED, 3)


def test_a_schedule_ends_at_the_limit():
    """The default takes one step with its last value; more of them converge."""
    p = problems.varying()
    solution = solvers.hqs(p.A, p.y, prox=solvers.tv, strength=3e-4)
    assert (solution.status, solution.iterations) == (Status.MAX_ITERATIONS, len(RHO))
    assert solvers.hqs(p.A, p.y, prox=solvers.tv, strength=3e-4, rho=(0.01, 0.1)).status is Status.MAX_ITERATIONS
    longer = solvers.hqs(p.A, p.y, prox=solvers.tv, strength=3e-4, inner_iterations=30, max_iterations=300)
    assert longer.status is Status.CONVERGED
    assert longer.iterations > len(RHO)


def test_an_exploding_prior_is_divergence_or_nonfinite():
    p = problems.varying(dtype="float32")
    best = np.linalg.norm(p.y - p.A(p.y))
    for prox, status in ((lambda x, s: -30 * x, Status.DIVERGED), (lambda x, s: x * np.inf, Status.NONFINITE)):
        solution = solvers.hqs(p.A, p.y, prox=prox, rho=1.0, max_iterations=60)
        assert solution.status is status
        assert np.isfinite(solution.x).all()
        assert np.linalg.norm(p.y - p.A(solution.x)) <= best


def test_tv_beats_least_squares_on_a_noisy_image():
    rng = np.random.default_rng(0)
    x = np.zeros((3, 24, 30))
    x[:, 6:18, 8:22] = np.array([0.9, 0.5, 0.2]).reshape(3, 1, 1)
    A = problems.CircularBlur(problems.gaussian_taps(1.2, 4), x.shape)
    y = A(x) + 0.01 * rng.normal(size=x.shape)
    error = {
        "blurred": y,
        "cgls": solvers.cgls(A, y, max_iterations=100).x,
        "hqs": solvers.hqs(A, y, prox=solvers.tv, rho=(0.01, 0.03, 0.1, 0.3), strength=1e-3, max_iterations=12).x,
    }
    error = {name: np.linalg.norm(image - x) for name, image in error.items()}
    assert error["hqs"] < 0.5 * error["blurred"]
    assert error["hqs"] < 0.5 * error["cgls"]


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_rows_than_columns(namespace, dtype):
    p = problems.rectangular(namespace, dtype)
    solution = solvers.hqs(p.A, p.y, prox=keep, rho=1.0, tol=1e-6, max_iterations=50, inner_iterations=30)
    assert solution.x.dtype == p.x.dtype
    assert tuple(solution.x.shape) == tuple(p.x.shape)
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 1e-3


def test_no_state_is_written_after_it_was_seen():
    """The data step works in its own images."""
    p = problems.spd()
    y, seen = p.y.copy(), []
    solvers.hqs(
        p.A, p.y, prox=lambda x, s: x / (1 + s), rho=0.1, max_iterations=4, tol=1e-30,
        on_step=lambda k, state: seen.append([(image, image.copy()) for image in state]),
    )  # fmt: skip
    assert np.array_equal(p.y, y)
    assert len(seen) == 4
    for images in seen:
        for image, before in images:
            assert np.array_equal(image, before)


def test_the_default_coupling_never_makes_a_noisy_image_worse():
    """A single small rho does, and says CONVERGED of it: that is the minimiser which was asked for."""
    x = np.kron(np.random.default_rng(5).random((1, 6, 6)), np.ones((1, 6, 6)))
    A = problems.CircularBlur({(0, k): 0.2 for k in range(-2, 3)}, x.shape)
    for sigma in (0.002, 0.01, 0.03):
        y = A(x) + sigma * np.random.default_rng(6).normal(size=x.shape)
        strength = 15 * sigma**2
        restored = solvers.hqs(A, y, prox=solvers.tv, strength=strength).x
        assert np.linalg.norm(restored - x) < 0.7 * np.linalg.norm(y - x)
    small = solvers.hqs(A, y, prox=solvers.tv, rho=0.01, strength=3e-4)
    assert small.status is Status.CONVERGED
    assert np.linalg.norm(small.x - x) > np.linalg.norm(y - x) > np.linalg.norm(restored - x)
