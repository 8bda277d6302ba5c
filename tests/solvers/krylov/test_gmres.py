"""GMRES against dense solutions, SciPy and the minimum over the space it promises."""

import numpy as np
import pytest
import scipy.sparse.linalg as sl
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers import Status
from solvers.krylov.gmres import gmres, gmres_init, gmres_step
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_numpy

SHAPE = (1, 3, 4)
ROTATION = np.kron(np.eye(6), np.array([[0.0, 1.0], [-1.0, 0.0]]))


def matrix(seed, shift=2.0, size=12):
    rng = np.random.default_rng(seed)
    return shift * np.eye(size) + rng.normal(size=(size, size)) / np.sqrt(size)


def image(seed, batch=(), shape=SHAPE):
    return np.random.default_rng(seed).normal(size=(*batch, *shape))


@given(st.integers(0, 2**16), st.integers(1, 12), st.sampled_from([2.0, 0.0]), st.booleans())
@examples(40)
def test_the_smallest_residual_over_the_space(seed, steps, shift, preconditioned):
    """Also where the numerical range holds zero (shift 0), and with a preconditioner: span{M r, M A M r, ...}."""
    M, P = matrix(seed, shift), matrix(seed + 1) if preconditioned else np.eye(12)
    b, x0 = image(seed).ravel(), image(seed + 1).ravel()
    state = gmres_init(problems.Matrix(M, SHAPE), b.reshape(SHAPE), x0=x0.reshape(SHAPE))
    for _ in range(steps):
        state = gmres_step(problems.Matrix(M, SHAPE), state, preconditioner=problems.Matrix(P, SHAPE))
    r = b - M @ x0
    basis = [r / np.linalg.norm(r)]
    for _ in range(steps - 1):
        v = M @ P @ basis[-1]
        basis.append(v / np.linalg.norm(v))
    K = P @ np.linalg.qr(np.stack(basis, axis=1))[0]
    least = np.linalg.norm(r - M @ K @ np.linalg.lstsq(M @ K, r, rcond=None)[0])
    found = b - M @ state.x.ravel()
    slack = 1e-6 * np.linalg.norm(r)
    assert np.linalg.norm(found) <= least + slack
    assert abs(abs(state.size.item()) - np.linalg.norm(found)) <= slack
    assert np.linalg.norm(state.residual.ravel() - found) <= slack


@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 3))
def test_the_iterates_of_scipy_through_restarts(seed, restart, cycles):
    M, b, x0 = matrix(seed), image(seed), image(seed + 1)
    solution = gmres(problems.Matrix(M, SHAPE), b, x0=x0, restart=restart, max_iterations=restart * cycles, tol=1e-14)
    found, _ = sl.gmres(M, b.ravel(), x0=x0.ravel(), restart=restart, maxiter=cycles, rtol=1e-14)
    assert np.allclose(solution.x.ravel(), found, atol=1e-8)


@given(st.integers(0, 2**16))
@examples(20)
def test_the_residuals_are_those_of_the_iterates(seed):
    M, b, seen = matrix(seed), image(seed), []
    A = problems.Matrix(M, SHAPE)
    solution = gmres(A, b, tol=1e-9, on_step=lambda k, state: seen.append(np.linalg.norm(b - A(state.x))))
    assert solution.converged
    assert len(solution.residuals) == solution.iterations + 1
    assert np.allclose(np.array(solution.residuals[1:]) * np.linalg.norm(b), seen, atol=1e-10)
    assert np.all(np.diff(solution.residuals) <= 1e-10)


def test_a_rotation_takes_two_steps():
    """<r, A r> = 0 for every r: the first step gains nothing, and methods of descent stand still."""
    b = image(0)
    solution = gmres(problems.Matrix(ROTATION, SHAPE), b, x0=0 * b)
    assert solution.converged
    assert solution.iterations == 2
    assert solution.residuals[1] == pytest.approx(1)
    assert np.allclose(solution.x.ravel(), ROTATION.T @ b.ravel())


def test_a_preconditioner_may_change_from_step_to_step():
    M, b = matrix(3), image(3)
    inverse, calls = np.linalg.inv(M), []

    def preconditioner(r):
        calls.append(1)
        return r if len(calls) < 4 else (inverse @ r.ravel()).reshape(SHAPE)

    solution = gmres(problems.Matrix(M, SHAPE), b, preconditioner=preconditioner, tol=1e-10)
    assert solution.converged
    assert np.allclose(solution.x.ravel(), inverse @ b.ravel())


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_image_of_a_batch_is_its_own_problem(namespace, dtype):
    one = problems.varying(namespace, dtype)
    p = problems.varying(namespace, dtype, (3,))
    scaled = p.y * to_scale(p.y)
    solution = gmres(p.A, scaled, tol=1e-4, restart=5)
    assert solution.converged
    assert solution.x.dtype == p.y.dtype
    for i in range(3):
        alone = gmres(one.A, scaled[i, ...], tol=1e-4, restart=5)
        size = np.abs(to_numpy(alone.x)).max()
        assert np.abs(to_numpy(solution.x[i, ...]) - to_numpy(alone.x)).max() <= 1e-2 * size


def to_scale(y):
    from array_api_compat import array_namespace

    xp = array_namespace(y)
    return xp.reshape(xp.asarray([1.0, 1e3, 1e-3], dtype=y.dtype), (3, 1, 1, 1))


def test_each_image_has_its_status():
    """One image lies in the range of a singular operator, the other does not."""
    A = problems.Matrix(np.diag([1.0] * 11 + [0.0]), SHAPE)
    b = image(0, (2,))
    b[0, 0, 2, 3] = 0
    solution = gmres(A, b, x0=0 * b, max_iterations=30)
    assert solution.item_status == (Status.CONVERGED, Status.MAX_ITERATIONS)
    assert solution.status is Status.MAX_ITERATIONS
    assert np.allclose(solution.x[0], b[0])
    assert np.isfinite(solution.x).all()


@pytest.mark.parametrize("A", [lambda x: 0 * x, lambda x: x - x.mean()])
def test_singular_operators_end_with_a_status(A):
    solution = gmres(A, image(0) + 1, max_iterations=45)
    assert not solution.converged
    assert np.isfinite(solution.x).all()


def test_an_indefinite_system():
    d = np.concatenate([-np.linspace(1, 2, 6), np.linspace(1, 2, 6)])
    b = image(1)
    solution = gmres(problems.Matrix(np.diag(d), SHAPE), b, tol=1e-9)
    assert solution.converged
    assert solution.iterations <= 12
    assert np.allclose(solution.x.ravel(), b.ravel() / d)


def test_zero_and_solved_right_hand_sides():
    A = problems.Matrix(matrix(0), SHAPE)
    assert gmres(A, np.zeros(SHAPE)).iterations == 0
    x = image(2)
    state = gmres_init(A, A(x), x0=x)
    state = gmres_step(A, gmres_step(A, state))
    assert np.allclose(state.x, x)
    assert np.isfinite(state.residual).all()


@pytest.mark.parametrize("preconditioned", [False, True])
def test_gradients_go_through_the_steps(preconditioned):
    shape = (1, 1, 4)
    M = torch.tensor(matrix(1, size=4), requires_grad=True)
    P = problems.Matrix(torch.tensor(matrix(2, size=4)), shape) if preconditioned else None
    b = torch.tensor(image(1, shape=shape), requires_grad=True)

    def solved(M, b):
        A = problems.Matrix(M, shape)
        state = gmres_init(A, b)
        for _ in range(3):  # through a restart
            state = gmres_step(A, state, restart=2, preconditioner=P)
        return state.x, state.residual

    assert torch.autograd.gradcheck(solved, (M, b), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"restart": 0}, "restart must be an integer >= 1"),
        ({"restart": 2.5}, "restart"),
        ({"preconditioner": 3}, "preconditioner must be callable"),
        ({"tol": -1}, "tol must be a positive"),
        ({"noise_level": 0}, "noise_level"),
        ({"x0": np.zeros((1, 2, 2))}, "x0"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        gmres(problems.Matrix(matrix(0), SHAPE), image(0), **arguments)


def test_bad_problems():
    wide = problems.rectangular(rows=(2, 3, 4), columns=SHAPE)
    with pytest.raises(ValueError, match="needs a square operator"):
        gmres(wide.A, wide.y)
    with pytest.raises(ValueError, match="y"):
        gmres(problems.Matrix(matrix(0), SHAPE), np.full(SHAPE, np.nan))
    with pytest.raises(ValueError, match=r"A\(x\) has shape"):
        gmres(lambda x: x[..., :-1], image(0))
    with pytest.raises(TypeError):
        gmres(problems.Matrix(matrix(0), SHAPE), np.ones(SHAPE, dtype=int))
