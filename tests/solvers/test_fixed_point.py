"""The fixed-point iteration, and through it the rules of the one loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from tests import problems
from tests.strategies import NAMESPACES, to_numpy


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
@pytest.mark.parametrize("build", [problems.circular_gaussian, problems.varying])
def test_it_recovers_the_image(build, namespace, dtype, batch):
    p = build(namespace, dtype, batch)
    solution = solvers.fixed_point(p.A, p.y, tol=1e-5)
    assert solution.converged
    assert type(solution.x) is type(p.y)
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 2e-4
    assert len(solution.residuals) == solution.iterations + 1
    assert solution.residuals[-1] <= 1e-5 < solution.residuals[-2]
    assert len(solution.item_status) == int(np.prod(batch))
    assert solution.operator_applications == p.A.calls == solution.iterations + 1


def test_it_agrees_with_the_fft_inverse():
    p = problems.circular_gaussian()
    solution = solvers.fixed_point(p.A, p.y, tol=1e-12, max_iterations=300)
    assert np.abs(solution.x - p.A.inverse(p.y)).max() < 1e-10


@given(st.floats(0.1, 1.5), st.integers(0, 12), st.integers(0, 2**16))
def test_residuals_are_those_of_the_iterates(damping, steps, seed):
    p = problems.circular_gaussian()
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    seen = [y]
    solution = solvers.fixed_point(
        p.A, y, damping=damping, tol=1e-300, max_iterations=steps, on_step=lambda k, state: seen.append(state.x)
    )
    expected = [np.linalg.norm(y - p.A(x)) / np.linalg.norm(y) for x in seen]
    assert np.allclose(solution.residuals, expected, rtol=1e-12)
    assert solution.status is Status.MAX_ITERATIONS
    assert np.array_equal(solution.x, seen[-1])


def test_the_start_is_checked_before_the_first_step():
    p = problems.identity(batch=(2,))
    solution = solvers.fixed_point(p.A, p.y)
    assert (solution.status, solution.iterations, solution.residuals) == (Status.CONVERGED, 0, (0.0,))
    assert solution.x is not p.y
    assert not np.shares_memory(solution.x, p.y)


def test_a_zero_image_is_solved_by_zero():
    p = problems.circular_gaussian()
    assert solvers.fixed_point(p.A, 0 * p.y).residuals == (0.0,)
    again = solvers.fixed_point(p.A, 0 * p.y, x0=p.x, tol=1e-6)
    assert again.converged  # with nothing to compare with, the residual itself is held against tol
    assert np.linalg.norm(again.x) < 1e-4


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_divergence_is_reported_with_the_best_iterate(namespace):
    p = problems.divergent(namespace)
    iterates = [to_numpy(p.y)]
    solution = solvers.fixed_point(
        p.A, p.y, tol=1e-12, max_iterations=200, on_step=lambda k, state: iterates.append(to_numpy(state.x))
    )
    assert solution.status is Status.DIVERGED
    assert solution.iterations < 30
    best = int(np.argmin(solution.residuals))
    assert 0 < best < solution.iterations
    assert np.array_equal(to_numpy(solution.x), iterates[best])
    assert solution.residuals[-1] > 10 * solution.residuals[best]
    assert max(solution.residuals[best:-1]) <= 10 * solution.residuals[best]


def test_the_factor_of_the_divergence_rule_is_the_callers():
    p = problems.divergent()
    early = solvers.fixed_point(p.A, p.y, tol=1e-12, divergence_factor=2.0)
    late = solvers.fixed_point(p.A, p.y, tol=1e-12, divergence_factor=1e6)
    assert early.iterations < late.iterations
    assert np.array_equal(early.x, late.x)


def test_overflow_is_a_status_and_no_warning():
    p = problems.circular_gaussian(dtype="float32")
    wild = solvers.fixed_point(
        lambda x: x * np.float32(-1e30), p.y, max_iterations=50, divergence_factor=1e300
    )  # 1e30^2 leaves float32
    assert wild.status is Status.NONFINITE
    assert np.isfinite(wild.x).all()
    assert wild.item_status == (Status.NONFINITE,)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_nan_midway_returns_the_last_good_iterate(namespace):
    p = problems.circular_gaussian(namespace)
    calls, iterates = 0, []

    def broken(x):
        nonlocal calls
        calls += 1
        return p.A(x) * (float("nan") if calls == 5 else 1.0)

    solution = solvers.fixed_point(broken, p.y, tol=1e-9, on_step=lambda k, state: iterates.append(to_numpy(state.x)))
    assert solution.status is Status.NONFINITE
    assert solution.iterations == 4
    assert np.isnan(solution.residuals[-1])
    assert np.array_equal(to_numpy(solution.x), iterates[2])


def test_nan_from_the_start_returns_the_start():
    p = problems.circular_gaussian()
    solution = solvers.fixed_point(lambda x: x * np.nan, p.y)
    assert (solution.status, solution.iterations) == (Status.NONFINITE, 0)
    assert np.array_equal(solution.x, p.y)


def test_a_blind_operator_cannot_hide_a_nan_in_x():
    """A that never looks at one pixel leaves the residual finite; the result is still checked."""
    hole = np.ones((1, 2, 3))
    hole[0, 0, 0] = np.nan
    p = problems.circular_gaussian()

    class State(tuple):
        x = hole

    from solvers.checks import Counted
    from solvers.iterate import Measure, iterate

    half = np.full((1, 1, 1), 0.5)
    clean = solvers.fixed_point_init(lambda x: x, np.ones((1, 2, 3)))
    solution = iterate(
        lambda: clean,
        lambda k, state: State(),
        lambda state: Measure(half, half),
        A=Counted(p.A, None, name="test", x=hole, y=hole),
        max_iterations=1,
    )
    assert solution.status is Status.NONFINITE
    assert np.array_equal(solution.x, np.ones((1, 2, 3)))


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_images_of_a_batch_end_one_by_one(namespace):
    """Gains 1, 0.5, 3 and 0.01: solved at once, soon, never (diverges), and not within the limit."""
    from tests.strategies import to_namespace

    gains = to_namespace(np.array([1.0, 0.5, 3.0, 0.01]).reshape(4, 1, 1, 1), namespace)
    y = to_namespace(problems.random_image((4, 1, 2, 3)), namespace)
    solution = solvers.fixed_point(lambda x: gains * x, y, tol=1e-4, max_iterations=40)
    expected = (Status.CONVERGED, Status.CONVERGED, Status.DIVERGED, Status.MAX_ITERATIONS)
    assert solution.item_status == expected
    assert solution.status is Status.DIVERGED
    assert solution.iterations == 40
    x, image = to_numpy(solution.x), to_numpy(y)
    assert np.array_equal(x[0], image[0])
    assert np.allclose(x[1], image[1] / 0.5, rtol=2e-4)
    assert np.array_equal(x[2], image[2])  # the start was its best iterate
    alone = solvers.fixed_point(lambda v: gains[1:2, ...] * v, y[1:2, ...], tol=1e-4)
    assert np.array_equal(to_numpy(alone.x), x[1:2])
    assert solution.residuals[-1] == pytest.approx(2.0, rel=1e-12)  # |1 - 3|, of the iterate that is returned


def test_it_stays_differentiable_as_a_whole():
    import torch

    p = problems.circular_gaussian("torch")
    y = p.y.clone().requires_grad_()
    solvers.fixed_point(p.A, y, max_iterations=3).x.sum().backward()
    assert torch.isfinite(y.grad).all()


def test_inputs_are_not_written_to():
    p = problems.varying(dtype="float32")
    y, x0 = p.y.copy(), np.zeros_like(p.y)
    solvers.fixed_point(p.A, y, x0=x0, damping=0.9)
    assert np.array_equal(y, p.y)
    assert not x0.any()


def test_on_the_package_operators():
    bp = pytest.importorskip("blurphys")
    rng = np.random.default_rng(0)
    beta = rng.uniform(0.1, 1.0, (3, 9, 11))
    beta[0] += 3.0
    A = bp.GKM(beta / beta.sum(axis=0), sigmas=(0.0, 0.6, 1.2), channels=3)
    x = problems.random_image((2, 3, 9, 11))
    solution = solvers.fixed_point(A, A(x), tol=1e-8)
    assert solution.converged
    assert np.abs(solution.x - x).max() < 1e-6
