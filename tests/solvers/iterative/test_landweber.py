"""Landweber: against closed forms, least squares and SciPy's non-negative least squares; with and without momentum."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers import Status
from solvers.iterative.landweber import (
    landweber,
    landweber_init,
    landweber_step,
    nesterov_init,
    nesterov_step,
)
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

BOTH = (None, "nesterov")


class Diagonal(problems.Small):
    """y = values . x."""

    def __init__(self, values):
        self.values = values
        self.in_shape = self.out_shape = tuple(values.shape[-3:])

    def forward(self, x):
        return self.values * x

    adjoint = forward


@given(st.integers(0, 2**16), st.floats(0.05, 1.9), st.integers(0, 12))
def test_the_residual_of_a_diagonal_shrinks_as_it_should(seed, damping, steps):
    rng = np.random.default_rng(seed)
    values, y = rng.uniform(-1, 1, (2, 3, 4)), rng.normal(size=(2, 3, 4))
    solution = landweber(Diagonal(values), y, damping=damping, tol=1e-300, max_iterations=steps)
    residual = (1 - damping * values**2) ** steps * (y - values * y)
    assert np.allclose(y - values * solution.x, residual, atol=1e-12)
    assert solution.residuals[-1] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(y), rel=1e-9, abs=1e-14)
    assert solution.operator_applications == 2 * (steps + 1) + 1


@pytest.mark.parametrize("accelerate", BOTH)
@examples(8)
@given(st.integers(0, 2**16))
def test_it_finds_the_least_squares_solution(accelerate, seed):
    p = problems.rectangular(seed=seed % 5)
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    solution = landweber(p.A, y, x0=np.zeros(p.x.shape), tol=1e-5, max_iterations=1000, accelerate=accelerate)
    expected = np.linalg.lstsq(p.A.matrix, y.ravel(), rcond=None)[0]
    assert solution.converged
    assert np.allclose(solution.x.ravel(), expected, atol=1e-3)
    assert solution.residuals[-1] > 1e-3  # the gradient has ended it


@pytest.mark.parametrize("accelerate", BOTH)
@examples(8)
@given(st.integers(0, 2**16))
def test_it_finds_the_non_negative_solution(accelerate, seed):
    p = problems.rectangular(seed=seed % 5)
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    start = np.random.default_rng(seed + 1).normal(size=p.x.shape)
    lowest = []
    solution = landweber(
        p.A, y, x0=start, nonnegative=True, tol=1e-6, max_iterations=1000, accelerate=accelerate,
        on_step=lambda k, state: lowest.append(state.x.min()),
    )  # fmt: skip
    expected = scipy.optimize.nnls(p.A.matrix, y.ravel())[0]
    assert solution.converged
    assert min(lowest) >= 0
    assert (expected == 0).any()
    assert np.allclose(solution.x.ravel(), expected, atol=1e-4)


def test_negative_values_of_the_start_are_set_to_zero():
    p = problems.varying()
    solution = landweber(p.A, p.y, x0=p.y - 0.5, nonnegative=True, max_iterations=0)
    assert np.array_equal(solution.x, np.maximum(p.y - 0.5, 0))
    assert landweber(p.A, p.y, x0=p.y - 0.5, max_iterations=0).x.min() < 0


@given(st.integers(0, 6))
def test_the_default_step_length_is_that_of_the_norm(seed):
    p = problems.rectangular(seed=seed)
    x0 = np.zeros(p.x.shape)
    solution = landweber(p.A, p.y, x0=x0, max_iterations=1, tol=1e-12)
    gradient = p.A.adjoint(p.y)
    length = np.vdot(solution.x, gradient) / np.vdot(gradient, gradient)
    assert 0.9 < length * np.linalg.norm(p.A.matrix, 2) ** 2 < 1.2
    assert solution.operator_applications == 40 + 1 + 4


@given(st.integers(0, 2**16), st.integers(1, 40), st.booleans())
def test_momentum_with_restarts_written_out(seed, steps, nonnegative):
    rng = np.random.default_rng(seed)
    p = problems.rectangular(seed=seed % 5)
    matrix, y, x = p.A.matrix, rng.normal(size=p.y.shape), rng.uniform(0, 1, 20)
    length, t, before = 1 / np.linalg.norm(matrix, 2) ** 2, 1.0, x
    state = nesterov_init(p.A, y, x0=x.reshape(p.x.shape))
    for _ in range(steps):
        t, b = (1 + np.sqrt(1 + 4 * t * t)) / 2, (t - 1) / ((1 + np.sqrt(1 + 4 * t * t)) / 2)
        z = x + b * (x - before)
        new = z + length * matrix.T @ (y.ravel() - matrix @ z)
        new = np.maximum(new, 0) if nonnegative else new
        turn = np.dot(new - z, new - x)
        t = 1.0 if turn < 0 else t
        before, x = x, new
        state = nesterov_step(p.A, y, state, damping=length, nonnegative=nonnegative)
        if abs(turn) < 1e-12:  # solved: whether it restarts is a matter of rounding
            break
        assert float(state.momentum[0, 0, 0]) == pytest.approx(t)
    assert np.allclose(state.x.ravel(), x, atol=1e-8)
    assert np.allclose(state.gradient, p.A.adjoint(y - p.A(state.x)), atol=1e-10)


def test_momentum_takes_a_fraction_of_the_steps():
    values = np.geomspace(0.05, 1.0, 24).reshape(2, 3, 4)
    y = values * problems.random_image((2, 3, 4))
    plain, fast = (
        landweber(Diagonal(values), y, x0=0 * y, damping=1.0, tol=1e-3, max_iterations=2000, accelerate=how)
        for how in BOTH
    )
    assert plain.converged
    assert fast.converged
    assert fast.iterations <= plain.iterations / 4


@pytest.mark.parametrize("accelerate", BOTH)
def test_too_long_a_step_diverges(accelerate):
    p = problems.circular_gaussian()
    solution = landweber(p.A, p.y, damping=2.5, tol=1e-12, max_iterations=2000, accelerate=accelerate)
    assert solution.status is Status.DIVERGED
    assert np.linalg.norm(p.y - p.A(solution.x)) <= 1.001 * min(solution.residuals) * np.linalg.norm(p.y)


@pytest.mark.parametrize("accelerate", BOTH)
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_images_of_a_batch_end_one_by_one(accelerate, namespace):
    values = np.asarray([1.0, 0.6, 2.0, np.nan]).reshape(4, 1, 1, 1) * np.linspace(0.85, 1.0, 6).reshape(1, 2, 3)
    values[0] = 1.0
    y = problems.random_image((4, 1, 2, 3))
    A, image = Diagonal(to_namespace(values, namespace)), to_namespace(y, namespace)
    solution = landweber(A, image, damping=1.0, tol=1e-6, max_iterations=200, accelerate=accelerate)
    expected = (Status.CONVERGED, Status.CONVERGED, Status.DIVERGED, Status.NONFINITE)
    assert solution.item_status == expected
    x = to_numpy(solution.x)
    assert np.array_equal(x[0], y[0])
    assert np.allclose(x[1], y[1] / values[1], rtol=1e-4)
    alone = landweber(
        Diagonal(A.values[1:2, ...]), image[1:2, ...], damping=1.0, tol=1e-6, max_iterations=200, accelerate=accelerate
    )
    assert np.allclose(to_numpy(alone.x), x[1:2], rtol=1e-12)


@pytest.mark.parametrize("accelerate", BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace_takes_the_same_steps(namespace, dtype, accelerate):
    p = problems.varying(namespace, dtype, (2,))
    reference = problems.varying("numpy", "float64", (2,))
    more = {"accelerate": accelerate, "nonnegative": True, "max_iterations": 8, "tol": 1e-12}
    got, expected = landweber(p.A, p.y, **more), landweber(reference.A, reference.y, **more)
    assert got.x.dtype == p.y.dtype
    assert np.abs(to_numpy(got.x) - expected.x).max() < (1e-12 if dtype == "float64" else 1e-5)


def test_masks_and_noise():
    p = problems.varying()
    rng = np.random.default_rng(3)
    mask = rng.random(p.y.shape) < 0.7
    for accelerate in BOTH:
        more = {"mask": mask, "max_iterations": 5, "accelerate": accelerate}
        clean = landweber(p.A, np.where(mask, p.y, 0.0), **more)
        assert np.array_equal(landweber(p.A, np.where(mask, p.y, np.nan), **more).x, clean.x)
        noisy = p.y + 0.01 * rng.normal(size=p.y.shape)
        stopped = landweber(p.A, noisy, x0=0 * noisy, noise_level=0.01, tol=1e-12, accelerate=accelerate)
        assert stopped.status is Status.NOISE_LEVEL
        assert np.sqrt(np.mean((noisy - p.A(stopped.x)) ** 2)) <= 0.01


def test_nan_midway_returns_the_last_good_iterate():
    p, calls = problems.circular_gaussian(), 0

    class Broken(problems.Small):
        in_shape = out_shape = p.A.in_shape

        def forward(self, x):
            nonlocal calls
            calls += 1
            return p.A.forward(x) * (np.nan if calls >= 4 else 1.0)

        adjoint = staticmethod(p.A.adjoint)

    for accelerate in BOTH:
        calls = 0
        solution = landweber(Broken(), p.y, damping=1.0, tol=1e-12, accelerate=accelerate)
        assert (solution.status, solution.iterations) == (Status.NONFINITE, 3)
        assert np.linalg.norm(p.y - p.A(solution.x)) == pytest.approx(solution.residuals[2] * np.linalg.norm(p.y))


def test_gradcheck_through_the_steps():
    rng = np.random.default_rng(2)
    values = torch.tensor(rng.uniform(0.3, 1.0, (1, 2, 3)), requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (2, 1, 2, 3)), requires_grad=True)
    lengths = torch.tensor([0.7, 0.9, 0.4], dtype=torch.float64, requires_grad=True)
    for begin, step in ((landweber_init, landweber_step), (nesterov_init, nesterov_step)):

        def unrolled(y, values, lengths, begin=begin, step=step):
            A = Diagonal(values)
            state = begin(A, y, x0=y)
            for length in lengths:
                state = step(A, y, state, damping=length, nonnegative=True)
            return state.x

        assert torch.autograd.gradcheck(unrolled, (y, values, lengths))


SQUARE = problems.varying()


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        *(({"damping": value}, ValueError, "damping must be") for value in (0.0, -1.0, np.nan, "long")),
        *(({"tol": value}, ValueError, "tol must be") for value in (0.0, np.nan, None)),
        *(({"max_iterations": value}, ValueError, "max_iterations must be") for value in (-1, 2.5)),
        *(({"accelerate": value}, ValueError, "accelerate must be None or") for value in ("anderson", True, 1)),
        ({"noise_level": 0.0}, ValueError, "noise_level must be"),
        ({"on_step": 3}, ValueError, "on_step must be"),
        ({"x0": SQUARE.y[..., :-1]}, ValueError, "x0"),
        ({"x0": SQUARE.y * np.nan}, ValueError, "x0 has NaN"),
        ({"x0": SQUARE.y.astype(np.float32)}, TypeError, "x0"),
        ({"mask": np.zeros(SQUARE.y.shape, dtype=bool)}, ValueError, "nothing was observed"),
    ],
)
def test_a_bad_argument(more, error, words):
    with pytest.raises(error, match=f"landweber: .*{words}"):
        landweber(SQUARE.A, SQUARE.y, **more)


def test_a_bad_operator_or_image():
    with pytest.raises(ValueError, match="landweber needs an operator with an adjoint"):
        landweber(lambda x: x, SQUARE.y)
    with pytest.raises(ValueError, match="landweber: y has NaN"):
        landweber(SQUARE.A, SQUARE.y * np.nan)
    with pytest.raises(ValueError, match="channels-last"):
        landweber(SQUARE.A, np.moveaxis(SQUARE.y, 0, -1))
    for gain in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="the norm of A must be positive"):
            landweber(Diagonal(np.full((1, 2, 3), gain)), np.ones((1, 2, 3)))
