"""Conjugate gradients."""

import numpy as np
import pytest
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from tests import problems
from tests.strategies import NAMESPACES, to_namespace, to_numpy


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("build", [problems.circular_gaussian, problems.spd])
def test_it_recovers_the_image(build, namespace, dtype, batch):
    p = build(namespace, dtype, batch)
    solution = solvers.cg(p.A, p.y, tol=1e-6)
    assert solution.converged
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 1e-4
    true = to_numpy(p.y) - to_numpy(p.A.forward(solution.x))
    assert np.linalg.norm(true) <= 1.001e-6 * np.linalg.norm(to_numpy(p.y))


@given(st.integers(0, 2**16), st.floats(1.5, 1e3), st.integers(1, 12))
def test_its_iterates_are_those_of_scipy(seed, condition, steps):
    p = problems.spd(condition=condition, seed=seed)
    x0 = np.zeros_like(p.y)
    ours = solvers.cg(p.A, p.y, x0=x0, tol=1e-300, max_iterations=steps)
    theirs, _ = scipy.sparse.linalg.cg(p.A.matrix, p.y.ravel(), rtol=0.0, atol=0.0, maxiter=steps)
    assert np.abs(ours.x.ravel() - theirs).max() < 1e-8


def test_each_image_of_a_batch_is_its_own_problem():
    p = problems.spd(batch=(3,))
    together = solvers.cg(p.A, p.y, tol=1e-10)
    for i in range(3):
        A = problems.Matrix(p.A.matrix[i], p.A.in_shape)
        alone = solvers.cg(A, p.y[i], tol=1e-10)
        assert np.abs(together.x[i] - alone.x).max() < 1e-9


def test_a_preconditioner_saves_iterations():
    diagonal = np.geomspace(1.0, 1e4, 60).reshape(1, 6, 10)
    kernel = problems.CircularBlur({(0, 0): 0.5, (0, 1): 0.1, (0, -1): 0.1}, (1, 6, 10))

    def A(x):
        return np.sqrt(diagonal) * kernel.forward(np.sqrt(diagonal) * x)

    b = A(problems.random_image((1, 6, 10)))
    plain = solvers.cg(A, b, tol=1e-8, max_iterations=500)
    helped = solvers.cg(A, b, tol=1e-8, max_iterations=500, preconditioner=lambda r: r / diagonal)
    assert plain.converged
    assert helped.converged
    assert helped.iterations < plain.iterations / 2
    assert np.allclose(plain.x, helped.x, rtol=1e-3)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_an_indefinite_operator_gets_its_sentence(namespace):
    eigenvalues = to_namespace(np.array([1.0, 2.0, -3.0, 4.0, 5.0, 6.0]).reshape(1, 2, 3), namespace)
    b = to_namespace(np.ones((1, 2, 3)), namespace)
    solution = solvers.cg(lambda x: eigenvalues * x, b, x0=0 * b)
    assert solution.status is Status.INDEFINITE
    assert "solvers.cgls" in solution.status.value
    assert np.isfinite(to_numpy(solution.x)).all()


def test_an_indefinite_preconditioner_gets_it_too():
    p = problems.spd()
    assert solvers.cg(p.A, p.y, x0=0 * p.y, preconditioner=lambda r: -r).status is Status.INDEFINITE


def test_the_last_step_still_reports_it():
    d = np.array([1.0, -1.0, 3.0, 4.0]).reshape(1, 2, 2)
    solution = solvers.cg(lambda x: d * x, np.ones((1, 2, 2)), x0=np.zeros((1, 2, 2)), max_iterations=30)
    again = solvers.cg(lambda x: d * x, np.ones((1, 2, 2)), x0=np.zeros((1, 2, 2)), max_iterations=solution.iterations)
    assert solution.status is again.status is Status.INDEFINITE


def test_one_indefinite_image_does_not_stop_the_others():
    signs = np.array([1.0, -1.0]).reshape(2, 1, 1, 1)
    d = np.linspace(1, 2, 6).reshape(1, 2, 3) * signs
    solution = solvers.cg(lambda x: d * x, np.ones((2, 1, 2, 3)), x0=np.zeros((2, 1, 2, 3)))
    assert solution.item_status == (Status.CONVERGED, Status.INDEFINITE)
    assert solution.status is Status.INDEFINITE
    assert np.allclose(solution.x[0], 1 / d[0])
    assert not solution.x[1].any()


def test_an_asymmetric_operator_is_never_called_converged():
    p = problems.rectangular(rows=(1, 4, 5))
    solution = solvers.cg(p.A, p.y, max_iterations=400)
    assert solution.status in (Status.DIVERGED, Status.INDEFINITE, Status.MAX_ITERATIONS)
    assert np.isfinite(solution.x).all()
    assert np.linalg.norm(p.y - p.A(solution.x)) <= 1.01 * np.linalg.norm(p.y - p.A(p.y))


@pytest.mark.parametrize("limit", [10, 20])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_an_image_far_worse_than_its_start_is_divergence(batch, limit):
    """x^T A x is positive, but half of A is antisymmetric: the residual grows slowly, and no rule of growth sees it."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(24, 24))
    A = problems.Matrix(np.eye(24) + half - half.T, (2, 3, 4))
    x = rng.normal(size=(*batch, 2, 3, 4))
    y = A(x)
    solution = solvers.cg(A, y, x0=0.8 * x, max_iterations=limit)
    assert solution.residuals[-1] > 10 * solution.residuals[0]
    assert set(solution.item_status) == {Status.DIVERGED}
    assert np.allclose(solution.x, 0.8 * x)  # no iterate was better
    assert solution.residual == pytest.approx(0.2)
    assert "symmetric positive definite" in solution.status.value
    assert f"relative residual {solution.residual:.3g})" in repr(solution)


def test_a_tolerance_beyond_the_precision_is_stagnation():
    p = problems.spd(dtype="float32", condition=1e3)
    solution = solvers.cg(p.A, p.y, tol=1e-12, max_iterations=1000)
    assert solution.status is Status.STAGNATED
    assert solution.iterations < 300
    true = np.linalg.norm((p.y - p.A(solution.x)).astype(float)) / np.linalg.norm(p.y)
    assert true < 1e-4
    assert solution.residuals[-1] == pytest.approx(true, rel=0.1)


def test_the_last_residual_is_the_true_one():
    p = problems.spd(dtype="float32", condition=1e4)
    solution = solvers.cg(p.A, p.y, tol=1e-30, max_iterations=90)
    true = np.linalg.norm((p.y - p.A(solution.x)).astype(float)) / np.linalg.norm(p.y)
    assert solution.status is Status.MAX_ITERATIONS
    assert min(solution.residuals) < 0.1 * true  # the recurrence had lost touch
    assert solution.residuals[-1] == pytest.approx(true, rel=0.1)


def test_an_exact_start_and_a_zero_right_hand_side():
    p = problems.spd()
    assert solvers.cg(p.A, p.y, x0=p.x, tol=1e-12).iterations == 0
    zero = solvers.cg(p.A, 0 * p.y)
    assert zero.converged
    assert not zero.x.any()


def test_nan_midway():
    p = problems.spd()
    calls = 0

    def broken(x):
        nonlocal calls
        calls += 1
        return p.A(x) * (np.nan if calls > 4 else 1.0)

    solution = solvers.cg(broken, p.y)
    assert solution.status is Status.NONFINITE
    assert solution.iterations == 4
    assert np.isfinite(solution.x).all()


@given(st.integers(0, 2**16), st.booleans())
def test_steps_that_overwrite_are_the_same_steps(seed, preconditioned):
    p = problems.spd(seed=seed)
    M = (lambda r: 0.5 * r) if preconditioned else None
    state = solvers.cg_init(p.A, p.y, preconditioner=M)
    own = state._replace(x=state.x.copy(), residual=state.residual.copy(), direction=state.direction.copy())
    for _ in range(4):
        state = solvers.cg_step(p.A, state, preconditioner=M)
        own = solvers.cg_step(p.A, own, preconditioner=M, overwrite=True)
        for fresh, kept in zip(state, own, strict=True):
            assert np.allclose(fresh, kept, rtol=1e-10, atol=1e-12)
