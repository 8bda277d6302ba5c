"""The alternating direction method of multipliers: closed forms, the other splittings, and its own laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from solvers.splitting.admm import ADMMState, admm, admm_init, admm_step
from solvers.splitting.fista import fista
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


def keep(x, strength):
    return x


def skewed(namespace="numpy", batch=()):
    """Three taps: cheap, not symmetric, every eigenvalue at least 0.2 from zero."""
    A = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, (2, 6, 7))
    return problems.problem(A, problems.random_image((*batch, 2, 6, 7)), namespace, "float64")


def tv(x, strength):
    return solvers.tv(x, strength, iterations=120)


def tv_objective(A, x, y, strength):
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[..., :-1, :], right[..., :-1] = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return 0.5 * np.sum((A(x) - y) ** 2) + strength * np.sqrt(down**2 + right**2).sum()


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_quadratic_prior_gives_tikhonov_itself(namespace, batch):
    """Unlike half-quadratic splitting, whatever rho is."""
    p = skewed(namespace, batch)
    for rho in (0.1, 0.4) if namespace == "numpy" else (0.4,):
        solution = admm(
            p.A, p.y, prox=shrink, rho=rho, strength=0.2, tol=1e-6, inner_tol=1e-7, inner_iterations=30,
            max_iterations=100,
        )  # fmt: skip
        assert solution.status is Status.CONVERGED
        assert np.abs(to_numpy(solution.x) - p.A.inverse(to_numpy(p.y), mu=0.2)).max() < 1e-5


def test_a_rectangular_operator_against_the_dense_solution():
    p = problems.rectangular()
    solution = admm(p.A, p.y, prox=shrink, rho=2.0, strength=0.7, tol=1e-11, inner_tol=1e-13, inner_iterations=40)
    matrix = p.A.matrix
    expected = np.linalg.solve(matrix.T @ matrix + 0.7 * np.eye(matrix.shape[1]), matrix.T @ p.y.ravel())
    assert np.allclose(solution.x.ravel(), expected, atol=1e-8)


def test_total_variation_is_what_the_others_find():
    p = skewed()
    y = p.y + 0.02 * np.random.default_rng(0).normal(size=p.y.shape)
    strength = 0.02
    ours = admm(p.A, y, prox=tv, rho=0.3, strength=strength, tol=1e-6, inner_tol=1e-10, max_iterations=100).x
    theirs = fista(p.A, y, prox=tv, strength=strength, tol=1e-7, max_iterations=150).x
    split = solvers.hqs(
        p.A, y, prox=tv, rho=np.geomspace(0.1, 300, 25).tolist(), strength=strength, inner_iterations=40,
        inner_tol=1e-10,
    ).x  # fmt: skip
    objectives = [tv_objective(p.A, x, y, strength) for x in (ours, theirs, split)]
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-6)
    assert objectives[2] == pytest.approx(objectives[0], rel=3e-2)  # rho ends at 300, not at infinity
    assert np.abs(ours - theirs).max() < 1e-4
    rng = np.random.default_rng(1)
    for scale in (1e-1, 1e-3):
        assert objectives[0] <= tv_objective(p.A, ours + scale * rng.normal(size=y.shape), y, strength)


def test_a_fixed_point_satisfies_the_optimality_conditions():
    p = problems.varying()
    state = admm_init(p.A, p.y)
    for _ in range(60):
        state = admm_step(p.A, p.y, state, prox=shrink, rho=0.5, strength=0.2, inner_iterations=20)
    gradient = p.A.adjoint(p.A(state.x) - p.y)
    assert np.allclose(state.x, state.z, atol=1e-10)
    assert np.allclose(gradient + 0.2 * state.x, 0, atol=1e-9)
    assert np.allclose(state.residual, p.y - p.A(state.x))


@given(st.floats(0.05, 5), st.floats(0, 2), st.integers(0, 2**16))
@examples(10)
def test_the_distance_to_the_solution_never_grows(rho, strength, seed):
    """||z - z*||^2 + ||u - u*||^2 falls in every step for exact data steps; u is the scaled multiplier."""
    p = problems.rectangular(columns=(1, 2, 4))
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    matrix = p.A.matrix
    limit = np.linalg.solve(matrix.T @ matrix + strength * np.eye(8), matrix.T @ y.ravel()).reshape(p.x.shape)
    state, size = admm_init(p.A, y, x0=np.zeros_like(p.x)), []
    for _ in range(8):
        state = admm_step(p.A, y, state, prox=shrink, rho=rho, strength=strength, inner_iterations=16)
        size.append(np.sum((state.z - limit) ** 2) + np.sum((state.multiplier - strength / rho * limit) ** 2))
    assert all(b <= a * (1 + 1e-6) + 1e-9 for a, b in zip(size, size[1:], strict=False))


def test_the_solver_takes_the_same_steps():
    p = problems.varying()
    state = admm_init(p.A, p.y)
    for _ in range(3):
        state = admm_step(p.A, p.y, state, prox=solvers.tv, rho=0.3, strength=0.01, inner_iterations=3)
    seen = []
    solution = admm(
        p.A, p.y, prox=solvers.tv, rho=0.3, strength=0.01, inner_iterations=3, inner_tol=1e-300, tol=1e-300,
        max_iterations=3, on_step=lambda k, s: seen.append((k, s)),
    )  # fmt: skip
    assert (solution.iterations, solution.status) == (3, Status.MAX_ITERATIONS)
    assert np.array_equal(solution.x, state.x)
    assert solution.operator_applications == 2 + 3 * (2 + 2 * 3)
    assert [k for k, _ in seen] == [1, 2, 3]
    assert isinstance(seen[-1][1], ADMMState)


def test_prox_sees_strength_over_rho_and_the_preconditioner_sees_rho():
    p = problems.varying()
    seen, asked = [], []

    def record(x, strength):
        seen.append(strength)
        return x

    def preconditioner(rho):
        asked.append(rho)
        return lambda r: 2.0 * r

    admm(p.A, p.y, prox=record, rho=0.5, strength=0.1, max_iterations=3, tol=1e-300, preconditioner=preconditioner)
    assert seen == [0.2, 0.2, 0.2]
    assert asked == [0.5]


def test_a_preconditioner_changes_the_way_and_not_the_end():
    p = problems.varying()
    given_ = {"prox": shrink, "rho": 0.4, "strength": 0.2, "tol": 1e-8, "inner_tol": 1e-9, "inner_iterations": 40}
    plain = admm(p.A, p.y, **given_, max_iterations=200)
    scaled = admm(p.A, p.y, **given_, max_iterations=200, preconditioner=lambda rho: lambda r: r / (0.5 + rho))
    assert plain.converged and scaled.converged
    assert np.allclose(plain.x, scaled.x, atol=1e-6)


def test_images_of_a_batch_are_solved_alone():
    p = problems.varying("numpy", "float64", (2,))
    y = np.asarray([1.0, 30.0]).reshape(2, 1, 1, 1) * p.y
    given_ = {"prox": shrink, "rho": 0.3, "strength": 0.1, "inner_tol": 1e-9, "inner_iterations": 40, "tol": 1e-7}
    both = admm(p.A, y, **given_, max_iterations=100)
    for i in range(2):
        alone = admm(p.A, y[i], **given_, max_iterations=100)
        assert both.item_status[i] is alone.status
        assert np.allclose(both.x[i], alone.x, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_mask_hides_what_it_hides(namespace, dtype):
    p = problems.varying(namespace, dtype)
    hidden = np.random.default_rng(0).random(tuple(p.y.shape)) < 0.3
    mask = to_namespace(~hidden, namespace)
    runs = []
    for junk in (0.0, np.nan):
        y = to_namespace(np.where(hidden, junk, to_numpy(p.y)).astype(dtype), namespace)
        runs.append(admm(p.A, y, prox=keep, rho=0.2, strength=0.01, mask=mask, max_iterations=2))
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
        state = admm_init(A, y)
        for k in range(2):
            state = admm_step(A, y, state, prox=shrink, rho=learned[k], strength=learned[2], inner_iterations=2)
        return state.z + state.multiplier

    assert torch.autograd.gradcheck(unrolled, (y, maps, learned), fast_mode=True)


def test_an_exploding_prior_is_divergence_or_nonfinite():
    p = problems.varying(dtype="float32")
    for prox, status in ((lambda x, s: -30 * x, Status.DIVERGED), (lambda x, s: x * np.inf, Status.NONFINITE)):
        solution = admm(p.A, p.y, prox=prox, rho=1.0, max_iterations=60)
        assert solution.status is status
        assert np.isfinite(solution.x).all()


def test_an_image_of_zeros():
    p = problems.varying()
    solution = admm(p.A, 0 * p.y, prox=solvers.tv, rho=0.3)
    assert solution.converged
    assert not solution.x.any()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("rho", bad) for bad in (0.0, -1.0, np.nan, np.inf, None)),
        *(("strength", bad) for bad in (-1e-3, np.nan, "much")),
        *(("tol", bad) for bad in (0.0, -1.0, None)),
        *(("inner_tol", bad) for bad in (0.0, -1.0)),
        *(("inner_iterations", bad) for bad in (0, 1.5)),
        *(("max_iterations", bad) for bad in (-1, 2.5, True)),
        *(("prox", bad) for bad in (None, "tv")),
        ("preconditioner", "jacobi"),
        ("on_step", 3),
    ],
)
def test_an_argument_out_of_range(argument, value):
    p = problems.varying()
    with pytest.raises(ValueError, match=f"admm: {argument} must be .*got"):
        admm(p.A, p.y, **{"prox": keep, "rho": 0.1, argument: value})


def test_other_bad_input():
    p = problems.varying()
    with pytest.raises(ValueError, match="admm needs an operator with an adjoint"):
        admm(lambda x: x, p.y, prox=keep, rho=0.1)
    with pytest.raises(ValueError, match="NaN"):
        admm(p.A, np.nan * p.y, prox=keep, rho=0.1)
    with pytest.raises(ValueError, match="trailing shape"):
        admm(p.A, p.y[..., 1:], prox=keep, rho=0.1)
    with pytest.raises(ValueError, match=r"prox\(x, strength\) has shape"):
        admm(p.A, p.y, prox=lambda x, s: x[..., :1], rho=0.1)
    with pytest.raises(TypeError, match=r"prox\(x, strength\) has dtype float32"):
        admm(p.A, p.y, prox=lambda x, s: x.astype(np.float32), rho=0.1)
