"""GMRES, BiCGSTAB and LSQR against dense solutions and SciPy."""

import numpy as np
import pytest
import scipy.sparse.linalg as sl
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import solvers
from solvers import Status
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_numpy

SQUARE = ("gmres", "bicgstab")
SHAPE = (1, 3, 4)


def matrix(seed, spread=0.6):
    """Well-conditioned, not symmetric, eigenvalues around 2."""
    rng = np.random.default_rng(seed)
    return 2 * np.eye(12) + spread * rng.normal(size=(12, 12)) / np.sqrt(12)


def acting(M):
    return lambda x: (M @ x.reshape(-1)).reshape(x.shape)


@pytest.mark.parametrize("name", SQUARE)
@given(st.integers(0, 2**16))
def test_square_systems(name, seed):
    M = matrix(seed)
    b = np.random.default_rng(seed).normal(size=SHAPE)
    solution = getattr(solvers, name)(acting(M), b, tol=1e-11)
    assert solution.converged
    assert np.allclose(solution.x.ravel(), np.linalg.solve(M, b.ravel()), atol=1e-8)
    residual = np.linalg.norm(b.ravel() - M @ solution.x.ravel())
    assert solution.residuals[-1] == pytest.approx(residual / np.linalg.norm(b))


@given(st.integers(0, 2**16), st.integers(1, 8))
@examples(40)
def test_gmres_has_the_residuals_of_scipy(seed, steps):
    M = matrix(seed)
    b, x0 = np.random.default_rng(seed).normal(size=(2, *SHAPE))
    solution = solvers.gmres(acting(M), b, x0=x0, max_iterations=steps, tol=1e-15)
    found, _ = sl.gmres(M, b.ravel(), x0=x0.ravel(), restart=steps, maxiter=1, rtol=1e-15)
    assert np.allclose(solution.x.ravel(), found, atol=1e-8)


def test_gmres_ends_after_as_many_steps_as_there_are_unknowns():
    M, b = matrix(3, spread=1.5), np.random.default_rng(3).normal(size=SHAPE)
    solution = solvers.gmres(acting(M), b, tol=1e-9, max_iterations=40)
    assert solution.converged
    assert solution.iterations <= 12
    assert np.all(np.diff(solution.residuals) <= 1e-9)


def test_gmres_restarts():
    M, b = matrix(4), np.random.default_rng(4).normal(size=SHAPE)
    sizes = []
    solution = solvers.gmres(
        acting(M), b, restart=3, tol=1e-10, max_iterations=100, on_step=lambda k, s: sizes.append(len(s.images))
    )
    assert solution.converged
    assert max(sizes) == 3
    assert sizes[:5] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blurs_in_every_namespace(name, namespace, dtype):
    p = problems.varying(namespace, dtype, (2,))
    solution = getattr(solvers, name)(p.A, p.y, tol=1e-5, max_iterations=300)
    assert solution.converged
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 1e-3


@pytest.mark.parametrize("name", SQUARE)
def test_the_exact_inverse_as_a_preconditioner(name):
    M, b = matrix(5, spread=1.5), np.random.default_rng(5).normal(size=SHAPE)
    solution = getattr(solvers, name)(acting(M), b, preconditioner=acting(np.linalg.inv(M)), tol=1e-9)
    assert solution.converged
    assert solution.iterations == 1


@pytest.mark.parametrize("name", (*SQUARE, "lsqr"))
def test_every_image_of_a_batch_is_its_own_problem(name):
    M = matrix(6)
    A = problems.rectangular(rows=SHAPE, columns=SHAPE, seed=1).A
    A = A if name == "lsqr" else lambda x: np.einsum("ij,...j->...i", M, x.reshape(*x.shape[:-3], 12)).reshape(x.shape)
    b = np.random.default_rng(6).normal(size=(2, *SHAPE)) * np.array([1.0, 1e3]).reshape(2, 1, 1, 1)
    both = getattr(solvers, name)(A, b, tol=1e-13, max_iterations=4)
    for i in range(2):
        alone = getattr(solvers, name)(A, b[i], tol=1e-13, max_iterations=4)
        assert np.allclose(both.x[i], alone.x, rtol=1e-9)


@pytest.mark.parametrize("name", SQUARE)
def test_the_count_of_applications(name):
    p = problems.varying()
    p.A.calls = 0
    solution = getattr(solvers, name)(p.A, p.y, tol=1e-300, max_iterations=5)
    each = {"gmres": 1, "bicgstab": 2}[name]
    assert p.A.calls == solution.operator_applications == 1 + 5 * each + 1


def test_bicgstab_survives_a_breakdown():
    """A rotation by a right angle: the first shadow product <s, A p> is zero."""
    M = np.kron(np.eye(6), np.array([[0.0, 1.0], [-1.0, 0.0]])) + 1e-3 * np.eye(12)
    b = np.random.default_rng(0).normal(size=SHAPE)
    solution = solvers.bicgstab(acting(M), b, max_iterations=200)
    assert np.isfinite(solution.x).all()
    assert solution.status in (Status.CONVERGED, Status.MAX_ITERATIONS, Status.DIVERGED, Status.STAGNATED)


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("A", [lambda x: 0 * x, lambda x: x - x.mean()])
def test_singular_operators_end_with_a_status(name, A):
    b = np.random.default_rng(0).normal(size=SHAPE) + 1
    solution = getattr(solvers, name)(A, b, max_iterations=20)
    assert not solution.converged
    assert np.isfinite(solution.x).all()


@pytest.mark.parametrize("name", SQUARE)
def test_nan_on_the_way(name):
    calls = []

    def A(x):
        calls.append(1)
        return x * (np.nan if len(calls) > 3 else 0.5 + x * x)

    solution = getattr(solvers, name)(A, np.random.default_rng(0).normal(size=SHAPE), max_iterations=9)
    assert solution.status is Status.NONFINITE
    assert np.isfinite(solution.x).all()


@given(
    st.integers(0, 2**16),
    st.sampled_from([((2, 4, 5), (1, 4, 5)), ((1, 3, 4), (2, 3, 4))]),
    st.sampled_from([0.0, 0.3]),
)
@examples(40)
def test_lsqr_is_the_least_squares_solution(seed, shapes, damp):
    rows, columns = shapes
    p = problems.rectangular(rows=rows, columns=columns, seed=seed)
    rng = np.random.default_rng(seed)
    y, x0 = rng.normal(size=rows), rng.normal(size=columns) * (damp > 0)
    solution = solvers.lsqr(p.A, y, x0=x0, damp=damp, tol=1e-11, max_iterations=2000)
    M = p.A.matrix
    assert solution.converged
    if damp:
        normal = M.T @ M + damp**2 * np.eye(M.shape[1])
        expected = np.linalg.solve(normal, M.T @ y.ravel() + damp**2 * x0.ravel())
        objective = np.hypot(np.linalg.norm(y.ravel() - M @ expected), damp * np.linalg.norm(expected - x0.ravel()))
        assert solution.residuals[-1] * np.linalg.norm(y) == pytest.approx(objective, rel=1e-6)
    else:
        expected = np.linalg.lstsq(M, y.ravel(), rcond=None)[0]
    scale = np.linalg.cond(M) ** 2 * np.abs(expected).max()
    assert np.abs(solution.x.ravel() - expected).max() <= 1e-8 * scale


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_lsqr_has_the_iterates_of_scipy(damp, steps):
    p = problems.rectangular(rows=(2, 3, 4), columns=(1, 3, 4), seed=2)
    y = np.random.default_rng(2).normal(size=(2, 3, 4))
    solution = solvers.lsqr(p.A, y, x0=np.zeros((1, 3, 4)), damp=damp, max_iterations=steps, tol=1e-15)
    found = sl.lsqr(p.A.matrix, y.ravel(), damp=damp, atol=0, btol=0, conlim=0, iter_lim=steps)[0]
    assert np.allclose(solution.x.ravel(), found, atol=1e-10)


def test_lsqr_agrees_with_cgls_step_by_step():
    p = problems.rectangular()
    for steps in (1, 2, 5):
        a = solvers.lsqr(p.A, p.y, max_iterations=steps, tol=1e-15).x
        b = solvers.cgls(p.A, p.y, max_iterations=steps, tol=1e-15).x
        assert np.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("name", (*SQUARE, "lsqr"))
def test_gradients_go_through_the_steps(name):
    beta = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 4, 5, dtype=torch.float64, requires_grad=True)

    def solved(beta, y):
        A = bp.GKM(beta, sigmas=(0.0, 1.0), channels=1)
        if name == "lsqr":
            state = solvers.lsqr_init(A, y, x0=torch.zeros_like(y))
            return solvers.lsqr_step(A, solvers.lsqr_step(A, state)).x
        init, step = getattr(solvers, f"{name}_init"), getattr(solvers, f"{name}_step")
        return step(A, step(A, init(A, y))).x

    assert torch.autograd.gradcheck(solved, (beta, y), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("gmres", {"restart": 0}, "restart must be an integer >= 1"),
        ("gmres", {"preconditioner": 3}, "preconditioner must be callable"),
        ("bicgstab", {"preconditioner": 3}, "preconditioner must be callable"),
        ("gmres", {"tol": 0}, "tol must be a positive"),
        ("bicgstab", {"max_iterations": -1}, "max_iterations"),
        ("lsqr", {"damp": -1}, "damp must be a finite number, zero or larger"),
        ("lsqr", {"damp": np.nan}, "damp"),
        ("lsqr", {"on_step": 3}, "on_step must be callable"),
    ],
)
def test_bad_arguments(name, arguments, words):
    p = problems.varying()
    with pytest.raises(ValueError, match=words):
        getattr(solvers, name)(p.A, p.y, **arguments)
