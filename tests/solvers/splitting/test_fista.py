"""Accelerated proximal gradients: closed forms, SciPy's non-negative least squares, and the laws of the iteration."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from solvers.prox.total_variation import nonnegative
from solvers.prox.wavelet import l1_wavelet
from solvers.splitting.fista import FISTAState, fista, fista_init, fista_step
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


def soft(x, strength):
    """Proximal operator of the l1 norm."""
    return np.sign(x) * np.maximum(np.abs(x) - strength, 0)


def keep(x, strength):
    return x


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("restart", [True, False])
def test_a_quadratic_prior_gives_tikhonov(namespace, batch, restart):
    A = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, (2, 6, 7))
    p = problems.problem(A, problems.random_image((*batch, 2, 6, 7)), namespace, "float64")
    solution = fista(p.A, p.y, prox=shrink, strength=0.1, restart=restart, tol=1e-9, max_iterations=400)
    assert solution.status is Status.CONVERGED
    assert np.abs(to_numpy(solution.x) - p.A.inverse(to_numpy(p.y), mu=0.1)).max() < 1e-6


@given(st.integers(0, 2**16), st.floats(0.01, 3))
@examples(8)
def test_the_lasso_satisfies_its_optimality_conditions(seed, strength):
    p = problems.rectangular(seed=seed % 11)
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    solution = fista(p.A, y, prox=soft, strength=strength, x0=np.zeros_like(p.x), tol=1e-11, max_iterations=3000)
    gradient = p.A.adjoint(p.A(solution.x) - y)
    on = np.abs(solution.x) > 1e-8
    assert np.allclose(gradient[on], -strength * np.sign(solution.x[on]), atol=1e-6)
    assert np.all(np.abs(gradient[~on]) <= strength + 1e-6)


@given(st.integers(0, 2**16))
@examples(8)
def test_non_negative_least_squares_of_scipy(seed):
    p = problems.rectangular(seed=seed % 11)
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    expected = scipy.optimize.nnls(p.A.matrix, y.ravel())[0]
    solution = fista(
        p.A, y, prox=nonnegative(keep), strength=0.0, x0=np.zeros_like(p.x), tol=1e-12, max_iterations=5000
    )
    assert solution.x.min() >= 0
    assert np.allclose(solution.x.ravel(), expected, atol=1e-7)
    assert (expected == 0).any()


def test_the_objective_is_within_the_promised_distance():
    """F(x_k) - F* <= 2 ||x0 - x*||^2 / (step (k + 1)^2) without restarts."""
    p = problems.circular_gaussian(sigma=0.6)
    strength, step = 0.01, 1.0

    def objective(x):
        return 0.5 * np.sum((p.A(x) - p.y) ** 2) + strength * np.abs(x).sum()

    x0 = np.zeros_like(p.y)
    best = fista(p.A, p.y, prox=soft, strength=strength, step=step, x0=x0, tol=1e-12, max_iterations=800).x
    state = fista_init(p.A, p.y, x0=x0)
    for k in range(1, 60):
        state = fista_step(p.A, p.y, state, prox=soft, step=step, strength=strength, restart=False)
        assert objective(state.x) - objective(best) <= 2 * np.sum(best**2) / (step * (k + 1) ** 2) + 1e-12


@given(st.integers(0, 2**16), st.booleans())
@examples(8)
def test_residuals_by_linearity_are_the_true_ones(seed, restart):
    p = problems.varying()
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    state = fista_init(p.A, y, x0=y)
    for _ in range(6):
        state = fista_step(p.A, y, state, prox=solvers.tv, step=0.5, strength=0.05, restart=restart)
        assert np.allclose(state.residual, y - p.A(state.x), atol=1e-12)
        assert np.allclose(state.residual_ahead, y - p.A(state.ahead), atol=1e-11)


def test_restarts_save_steps_on_a_curved_objective():
    p = problems.spd(condition=10.0)
    counts = [
        fista(p.A, p.y, prox=keep, strength=0.0, x0=0 * p.y, restart=restart, tol=1e-9, max_iterations=20000).iterations
        for restart in (True, False)
    ]
    assert counts[0] < 0.7 * counts[1]


def test_the_step_length_is_estimated():
    matrix = np.diag([3.0, 1.0, 0.5, 0.1])
    A = problems.Matrix(matrix, (1, 2, 2))
    y = A.forward(problems.random_image((1, 2, 2)))
    seen = []

    def record(x, strength):
        seen.append(strength)
        return x

    fista(A, y, prox=record, strength=1.0, max_iterations=2)
    assert len(set(seen)) == 1
    assert 0.9 / 9 < seen[0] <= 1 / 9
    fista(A, y, prox=record, strength=2.0, step=0.05, max_iterations=1)
    assert seen[-1] == pytest.approx(0.1)


def test_too_long_a_step_is_divergence():
    p = problems.circular_gaussian()
    solution = fista(p.A, p.y, prox=keep, strength=0.0, x0=0 * p.y, step=50.0, max_iterations=400)
    assert solution.status in (Status.DIVERGED, Status.NONFINITE)
    assert np.isfinite(solution.x).all()


def test_the_solver_takes_the_same_steps():
    p = problems.varying()
    state, seen = fista_init(p.A, p.y, x0=p.y), []
    for _ in range(4):
        state = fista_step(p.A, p.y, state, prox=solvers.tv, step=0.7, strength=0.01)
    solution = fista(
        p.A, p.y, prox=solvers.tv, step=0.7, strength=0.01, tol=1e-300, max_iterations=4,
        on_step=lambda k, s: seen.append((k, s)),
    )  # fmt: skip
    assert (solution.iterations, solution.status) == (4, Status.MAX_ITERATIONS)
    assert np.array_equal(solution.x, state.x)
    assert solution.operator_applications == 1 + 2 * 4
    assert [k for k, _ in seen] == [1, 2, 3, 4]
    assert isinstance(seen[-1][1], FISTAState)


def test_images_of_a_batch_have_their_own_momentum():
    p = problems.spd("numpy", "float64", (2,), condition=30.0)
    A = problems.Matrix(p.A.matrix[0], p.A.in_shape)
    y = A.forward(p.x)
    given_ = {"prox": keep, "strength": 0.0, "step": 1 / 900, "tol": 1e-6, "max_iterations": 1000}
    both = fista(A, y, x0=0 * y, **given_)
    for i in range(2):
        alone = fista(A, y[i], x0=0 * y[i], **given_)
        assert both.item_status[i] is alone.status
        assert np.allclose(both.x[i], alone.x, atol=1e-10)


def test_it_ends_at_the_noise():
    p = problems.circular_gaussian()
    y = p.y + 0.01 * np.random.default_rng(0).normal(size=p.y.shape)
    given_ = {"prox": solvers.tv, "strength": 1e-6, "x0": 0 * y, "tol": 1e-12, "max_iterations": 60}
    stopped = fista(p.A, y, noise_level=0.01, **given_)
    level = 0.01 * np.sqrt(y.size) / np.linalg.norm(y)
    assert stopped.status is Status.NOISE_LEVEL
    assert stopped.residuals[-1] <= level < stopped.residuals[-2]
    assert fista(p.A, y, **given_).residuals[-1] < level


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_mask_hides_what_it_hides(namespace, dtype):
    p = problems.varying(namespace, dtype)
    hidden = np.random.default_rng(0).random(tuple(p.y.shape)) < 0.3
    mask = to_namespace(~hidden, namespace)
    runs = []
    for junk in (0.0, np.nan):
        y = to_namespace(np.where(hidden, junk, to_numpy(p.y)).astype(dtype), namespace)
        runs.append(fista(p.A, y, prox=lambda x, s: l1_wavelet(x, s, levels=2), mask=mask, max_iterations=4))
    assert runs[0].x.dtype == p.y.dtype
    assert np.array_equal(to_numpy(runs[0].x), to_numpy(runs[1].x))
    assert np.isfinite(to_numpy(runs[0].x)).all()


def test_gradcheck_through_unrolled_steps():
    rng = np.random.default_rng(2)
    maps = rng.uniform(0.1, 1.0, (3, 3, 4))
    maps[0] += 2.0
    maps = torch.tensor(maps / maps.sum(axis=0), requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (2, 1, 3, 4)), requires_grad=True)
    learned = torch.tensor([0.7, 0.9, 0.4], dtype=torch.float64, requires_grad=True)

    def unrolled(y, maps, learned):
        A = problems.VaryingBlur(maps, ((0, 0), (0, 1), (1, 0)), 1)
        state = fista_init(A, y, x0=y)
        for k in range(3):
            state = fista_step(A, y, state, prox=shrink, step=learned[k], strength=learned[2])
        return state.ahead

    assert torch.autograd.gradcheck(unrolled, (y, maps, learned), fast_mode=True)


def test_an_image_of_zeros():
    p = problems.varying()
    solution = fista(p.A, 0 * p.y, prox=solvers.tv)
    assert solution.converged
    assert not solution.x.any()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("step", bad) for bad in (0.0, -1.0, np.nan, "long")),
        *(("strength", bad) for bad in (-1e-3, np.nan, "much")),
        *(("noise_level", bad) for bad in (0.0, -1.0, np.inf)),
        *(("tol", bad) for bad in (0.0, -1.0, None)),
        *(("max_iterations", bad) for bad in (-1, 2.5, True)),
        *(("prox", bad) for bad in (None, "tv")),
        ("on_step", 3),
    ],
)
def test_an_argument_out_of_range(argument, value):
    p = problems.varying()
    with pytest.raises(ValueError, match=f"fista: {argument} must be .*got"):
        fista(p.A, p.y, **{"prox": keep, argument: value})


def test_other_bad_input():
    p = problems.varying()
    with pytest.raises(ValueError, match="fista needs an operator with an adjoint"):
        fista(lambda x: x, p.y, prox=keep)
    with pytest.raises(ValueError, match="NaN"):
        fista(p.A, np.nan * p.y, prox=keep)
    with pytest.raises(ValueError, match=r"prox\(x, strength\) has shape"):
        fista(p.A, p.y, prox=lambda x, s: x[..., :1])
    with pytest.raises(TypeError, match=r"prox\(x, strength\) has dtype float32"):
        fista(p.A, p.y, prox=lambda x, s: x.astype(np.float32))
