"""Least squares by conjugate gradients."""

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
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("build", [problems.circular_gaussian, problems.varying, problems.rectangular])
def test_it_recovers_the_image(build, namespace, dtype, batch):
    p = build(namespace, dtype, batch)
    solution = solvers.cgls(p.A, p.y, tol=1e-6, max_iterations=300)
    assert solution.converged
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 2e-4


@given(st.integers(0, 2**16), st.sampled_from([((2, 4, 5), (1, 4, 5)), ((1, 3, 4), (2, 3, 4)), ((1, 3, 4), (1, 3, 4))]))
def test_it_is_the_least_squares_solution(seed, shapes):
    rows, columns = shapes
    p = problems.rectangular(rows=rows, columns=columns, seed=seed)
    y = np.random.default_rng(seed).normal(size=rows)  # not in the range of A
    x0 = np.zeros(columns)
    solution = solvers.cgls(p.A, y, x0=x0, tol=1e-10, max_iterations=2000)
    expected = np.linalg.lstsq(p.A.matrix, y.ravel(), rcond=None)[0]  # of least norm, as CGLS from zero
    scale = np.linalg.cond(p.A.matrix) ** 2 * np.abs(expected).max()
    assert solution.converged
    assert np.abs(solution.x.ravel() - expected).max() <= 1e-9 * scale


def test_the_residual_never_grows():
    p = problems.rectangular(rows=(1, 4, 5))
    residuals = solvers.cgls(p.A, p.y, tol=1e-12, max_iterations=200).residuals
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in zip(residuals, residuals[1:], strict=False))


def test_an_inconsistent_system_converges_by_its_gradient():
    p = problems.rectangular()
    y = p.y + np.random.default_rng(1).normal(size=p.y.shape)
    solution = solvers.cgls(p.A, y, tol=1e-8, max_iterations=300)
    assert solution.converged
    assert solution.residuals[-1] > 0.1
    gradient = p.A.adjoint(y - p.A(solution.x))
    assert np.linalg.norm(gradient) <= 1.01e-8 * np.linalg.norm(p.A.adjoint(y))


def test_the_count_of_applications():
    p = problems.varying()
    p.A.calls = 0
    solution = solvers.cgls(p.A, p.y, tol=1e-300, max_iterations=5)
    assert p.A.calls == 1 + 5 + 1  # the start, the steps, and the last residual from scratch
    assert solution.operator_applications == 7 + 8  # and one adjoint for the scale


def test_a_wrong_adjoint_is_not_called_converged():
    p = problems.varying()

    class Wrong(problems.Small):
        in_shape, out_shape = p.A.in_shape, p.A.out_shape
        forward = staticmethod(p.A.forward)

        @staticmethod
        def adjoint(y):
            return -p.A.forward(np.flip(y, axis=-1))

    solution = solvers.cgls(Wrong(), p.y, max_iterations=200)
    assert solution.status in (Status.MAX_ITERATIONS, Status.DIVERGED, Status.STAGNATED, Status.NONFINITE)
    assert np.isfinite(solution.x).all()


def test_an_adjoint_under_the_name_H_is_enough():
    p = problems.varying()

    class Foreign:
        def __call__(self, x):
            return p.A.forward(x)

        def H(self, y):
            return p.A.adjoint(y)

    assert solvers.cgls(Foreign(), p.y, max_iterations=300).converged


def test_two_views_of_the_package():
    bp = pytest.importorskip("blurphys")
    rng = np.random.default_rng(0)
    bank = bp.PSFBank(bp.Pupil.disk(split=0.4), max_radius=3.0, step=0.5)
    A = bp.DualPixel(rng.uniform(-1.5, 1.5, (12, 14)), bank=bank, channels=1)
    x = problems.random_image((1, 12, 14))
    y = A(x)
    solution = solvers.cgls(A, y, tol=1e-5, max_iterations=500)
    assert solution.x.shape == x.shape
    assert solution.converged
    assert np.linalg.norm(solution.x - x) < 0.05 * np.linalg.norm(x)
