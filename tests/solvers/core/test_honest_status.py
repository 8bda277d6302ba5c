"""CONVERGED is never said of an image at which the condition of the problem does not hold.

Every solver meets operators and adjoints that are none, and settings at which nothing moves. The conditions are checked
here with matrices, which the solvers do not see.
"""

import inspect
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from solvers.core.checks import Counted
from solvers.core.iterate import Measure, iterate
from tests import problems
from tests.strategies import to_namespace, to_numpy

SHAPE = (1, 4, 5)
STRENGTH = 0.2


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


class Faulty:
    """A blur with an adjoint of its own choice, and the matrix of what it really does."""

    in_shape = out_shape = SHAPE

    def __init__(self, forward, adjoint):
        self.forward, self.adjoint = forward, adjoint
        units = np.eye(20).reshape(20, *SHAPE)
        self.matrix = np.stack([forward(u).ravel() for u in units], axis=1)

    def __call__(self, x):
        return self.forward(x)


BLUR = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, SHAPE)
OTHER = problems.CircularBlur({(0, 0): 0.4, (0, -1): 0.3, (2, 0): 0.3}, SHAPE)
SIMILAR = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.2, (1, 0): 0.2}, SHAPE)
OPERATORS = {
    "zeros": Faulty(lambda x: 0 * x, lambda y: 0 * y),
    "adjoint of zeros": Faulty(BLUR.forward, lambda y: 0 * y),
    "operator of zeros": Faulty(lambda x: 0 * x, BLUR.adjoint),
    "wrong sign": Faulty(BLUR.forward, lambda y: -BLUR.adjoint(y)),
    "small adjoint": Faulty(BLUR.forward, lambda y: 1e-6 * BLUR.adjoint(y)),
    "large adjoint": Faulty(BLUR.forward, lambda y: 1e6 * BLUR.adjoint(y)),
    "shifted adjoint": Faulty(BLUR.forward, lambda y: np.roll(BLUR.adjoint(y), 1, axis=-1)),
    "another adjoint": Faulty(BLUR.forward, OTHER.adjoint),
    "a similar adjoint": Faulty(BLUR.forward, SIMILAR.adjoint),
    "no adjoint": Faulty(BLUR.forward, BLUR.forward),
    "negative": Faulty(lambda x: -BLUR.forward(x), lambda y: -BLUR.adjoint(y)),
    "half of the pixels": Faulty(
        lambda x: x * (np.arange(5) > 1), lambda y: np.where(np.arange(5) > 1, y, 0) + 0.3 * np.roll(y, 1, axis=-2)
    ),
    "right": Faulty(BLUR.forward, BLUR.adjoint),
}


def prior(name, **fixed):
    return partial(getattr(solvers, name), prox=shrink, strength=STRENGTH, **fixed)


def across(A, y, *, x0=None, tol=0.0, max_iterations=0):
    return solvers.neumann_cross_scale((A,), y)


SOLVERS = {
    "fixed_point": solvers.fixed_point,
    "anderson": partial(solvers.fixed_point, accelerate="anderson"),
    "chebyshev": partial(solvers.fixed_point, accelerate="chebyshev", interval=(0.1, 1.0, 0.4)),
    "neumann": lambda A, y, *, x0=None, tol=0.0, max_iterations=0: solvers.neumann(A, y, terms=5),
    "neumann_cross_scale": across,
    "cg": solvers.cg,
    "gmres": solvers.gmres,
    "bicgstab": solvers.bicgstab,
    "cgls": solvers.cgls,
    "lsqr": solvers.lsqr,
    "lsqr, damped": partial(solvers.lsqr, damp=0.5),
    "landweber": partial(solvers.landweber, damping=0.9),
    "landweber, estimated": solvers.landweber,
    "nesterov": partial(solvers.landweber, damping=0.9, accelerate="nesterov"),
    "landweber, short": partial(solvers.landweber, damping=1e-9),
    "projected": partial(solvers.landweber, damping=0.9, nonnegative=True),
    "richardson_lucy": solvers.richardson_lucy,
    "hqs": prior("hqs", rho=0.1),
    "hqs, schedule": prior("hqs", rho=(0.01, 0.1)),
    "hqs, large rho": prior("hqs", rho=1e3),
    "hqs, huge rho": prior("hqs", rho=1e15),
    "hqs, tiny rho": prior("hqs", rho=1e-9),
    "hqs, loose": prior("hqs", rho=0.1, inner_tol=10.0),
    "hqs, loose and large": prior("hqs", rho=100.0, inner_tol=0.5),
    "admm": prior("admm", rho=0.1),
    "admm, large rho": prior("admm", rho=1e3),
    "admm, huge rho": prior("admm", rho=1e15),
    "admm, tiny rho": prior("admm", rho=1e-9),
    "admm, loose": prior("admm", rho=0.1, inner_tol=10.0),
    "fista": prior("fista"),
    "fista, short": prior("fista", step=1e-9),
    "fista, given": prior("fista", step=0.9),
}
# no tolerance; not symmetric; steps of no length; slow
HOPELESS = {"neumann", "neumann_cross_scale", "cg", "landweber, short", "fista, short", "admm, tiny rho"}
SOLVING = [name for name in SOLVERS if name not in HOPELESS and "huge" not in name and "large" not in name]
# an image is not all of their state, and they move away from it first
RESTLESS = {name for name in SOLVERS if "huge" in name or "large" in name} | {"admm, tiny rho"}
STAYING = [name for name in SOLVERS if name not in RESTLESS and not name.startswith("neumann")]
RHO = {name: part.keywords["rho"] for name, part in SOLVERS.items() if "rho" in getattr(part, "keywords", {})}


def violation(name, M, x, y, x0):
    """How far the condition for a solution of `name` is from being met, in the unit of the tolerance."""
    r = y - M @ x
    residual = np.linalg.norm(r) / (np.linalg.norm(y) or 1.0)
    slope = np.linalg.norm(M.T @ y) or 1.0
    family = name.split(",")[0]
    if family in ("cgls", "lsqr", "landweber", "nesterov", "projected"):
        gradient = M.T @ r - (0.25 * (x - x0) if "damped" in name else 0)
        if family == "projected":
            assert x.min() >= 0
            gradient = np.where((x > 0) | (gradient > 0), gradient, 0)
        if not M.any():  # nothing was seen: no image is better than another, and none is a solution
            return residual
        found = np.linalg.norm(gradient) / slope
        return found if "damped" in name else min(residual, found)
    if family == "hqs":
        rho = np.atleast_1d(RHO[name])[-1]
        pull = rho * (shrink(x, STRENGTH / rho) - x)
        return np.linalg.norm(M.T @ r + pull) / slope
    if family in ("admm", "fista"):
        return np.linalg.norm(M.T @ r - STRENGTH * x) / max(slope, STRENGTH * np.linalg.norm(x))
    if family == "richardson_lucy":
        seen = M @ x
        if (y[seen <= 0] > 0).any():
            return np.inf
        g = M.T @ (y / np.where(seen > 0, seen, 1.0) - 1) / np.where(M.sum(axis=0) > 0, M.sum(axis=0), 1.0)
        scale = np.linalg.norm(x) or 1.0
        return np.linalg.norm(np.where(g > 0, np.maximum(x, y.mean()), x) * g) / scale
    return residual


def observed(A, seed=0):
    y = A(problems.random_image(SHAPE, seed))
    return y if y.any() and y.min() >= 0 else problems.random_image(SHAPE, seed)


def solve(name, A, y, **more):
    """The solution, or None where the solver refused with a sentence."""
    try:
        return SOLVERS[name](A, y, **more)
    except ValueError as error:
        assert "norm of A must be positive" in str(error) or "interval" in str(error)
        return None


def test_every_solver_is_here():
    known = {name for name in solvers.__all__ if inspect.isfunction(getattr(solvers, name))}
    solving = {name for name in known if inspect.signature(getattr(solvers, name)).return_annotation == "Solution"}
    used = {getattr(s, "func", s).__name__ for s in SOLVERS.values()} | {"neumann", "neumann_cross_scale"}
    used |= {"layered", "merge_focal_stack"}  # which are admm and hqs, for operators of their own
    assert solving <= used


@pytest.mark.parametrize("fault", OPERATORS)
@pytest.mark.parametrize("name", SOLVERS)
def test_converged_means_that_the_condition_holds(name, fault):
    A = OPERATORS[fault]
    y = observed(A)
    for tol, limit in ((1e-3, 25), (1e-6, 60)):
        solution = solve(name, A, y, tol=tol, max_iterations=limit)
        if solution is None or not solution.converged:
            continue
        found = violation(name, A.matrix, solution.x.ravel(), y.ravel(), y.ravel())
        assert found <= 5 * tol, f"{solution!r}: the condition misses by {found:.3g}"


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("fault", ["zeros", "operator of zeros"])
def test_an_operator_of_zeros_is_never_solved(name, fault):
    solution = solve(name, OPERATORS[fault], problems.random_image(SHAPE), max_iterations=50)
    assert solution is None or not solution.converged
    exact = {"gmres", "bicgstab", "anderson", "fixed_point", "chebyshev", "cgls", "lsqr", "landweber", "nesterov"}
    if fault == "zeros" and name in exact | {"projected", "richardson_lucy"}:
        assert solution.status in (Status.STALLED, Status.DIVERGED)


@pytest.mark.parametrize("name", SOLVING)
def test_a_right_operator_is_solved(name):
    """None of the proofs is so hard that nothing passes it."""
    A = OPERATORS["right"]
    y = A(problems.random_image(SHAPE))
    more = {"inner_iterations": 60} if "rho" in name else {}
    solution = SOLVERS[name](A, y, tol=1e-4, max_iterations=1000, **more)
    assert solution.status is Status.CONVERGED
    assert violation(name, A.matrix, solution.x.ravel(), y.ravel(), y.ravel()) <= 2e-4


@pytest.mark.parametrize("name", STAYING)
def test_an_exact_start_is_converged(name):
    A = OPERATORS["right"]
    x = problems.random_image(SHAPE)
    y = A(x)
    loose = {"x0": x, "max_iterations": 50}
    if name.split(",")[0] in ("hqs", "admm", "fista"):  # the exact minimiser of each
        M, eye = A.matrix, np.eye(20)
        rho = np.atleast_1d(RHO.get(name, 1.0))[-1]
        mu = STRENGTH * rho / (STRENGTH + rho) if name.startswith("hqs") else STRENGTH
        loose["x0"] = np.linalg.solve(M.T @ M + mu * eye, M.T @ y.ravel()).reshape(SHAPE)
        if name.startswith("admm"):  # which starts with a multiplier of zero, and has to find it
            loose["max_iterations"] = 3000
    solution = SOLVERS[name](A, y, tol=1e-4, **loose)
    assert solution.status is Status.CONVERGED
    assert np.linalg.norm(solution.x - loose["x0"]) <= 1e-3 * np.linalg.norm(loose["x0"])


@pytest.mark.parametrize("name", SOLVERS)
def test_a_black_image(name):
    solution = solve(name, OPERATORS["right"], np.zeros(SHAPE))
    assert solution.status in (Status.CONVERGED, Status.MAX_ITERATIONS)
    assert not solution.x.any()
    assert solution.converged or name.startswith("neumann")


@pytest.mark.parametrize("name", SOLVERS)
def test_a_constant_image(name):
    A = OPERATORS["right"]
    y = np.full(SHAPE, 0.5)
    solution = solve(name, A, y, max_iterations=300)
    if solution.converged:
        tol = 5e-3 if name.startswith("admm") else 5e-4
        assert violation(name, A.matrix, solution.x.ravel(), y.ravel(), y.ravel()) <= tol
        if name.split(",")[0] not in ("hqs", "admm", "fista"):
            assert np.allclose(solution.x, 0.5, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_nan_in_the_image_is_refused(name):
    y = np.full(SHAPE, 0.5)
    y[0, 1, 1] = np.nan
    with pytest.raises(ValueError, match="y has NaN"):
        SOLVERS[name](OPERATORS["right"], y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("name", [n for n in SOLVERS if not n.startswith("neumann") and n != "cg"])
def test_a_batch_of_a_solved_image_and_others(name, namespace, dtype):
    """The first one starts at its solution, which does not speak for the others."""
    taps = {(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}
    A = problems.CircularBlur(taps, SHAPE)
    x = np.stack([np.full(SHAPE, 0.5), problems.random_image(SHAPE, 1), problems.random_image(SHAPE, 2)])
    y = to_namespace(np.asarray(A.forward(x), dtype=dtype), namespace)
    solution = SOLVERS[name](A, y, tol=1e-3, max_iterations=60)
    assert solution.x.dtype == y.dtype
    assert len(solution.item_status) == 3
    for i, status in enumerate(solution.item_status):
        if status is Status.CONVERGED:
            mine, data = (to_numpy(part)[i].astype(float).ravel() for part in (solution.x, y))
            assert violation(name, OPERATORS["right"].matrix, mine, data, data) <= 1e-2
    easy = ("hqs", "admm", "fista", "landweber", "projected", "richardson_lucy")
    if not name.split(",")[0].startswith(easy) and "damped" not in name:
        assert solution.item_status == (Status.CONVERGED,) * 3


@pytest.mark.parametrize("solver", [solvers.hqs, solvers.admm])
@pytest.mark.parametrize(("rho", "inner_tol"), [(1e3, 1e-4), (1e3, 1e-9), (1e8, 1e-4), (1e15, 1e-4), (1e3, 10.0)])
def test_a_large_rho_says_that_nothing_happened(solver, rho, inner_tol):
    """With a right adjoint: a data step moves the image by a thousandth of what is missing, its prior not at all."""
    A = OPERATORS["right"]
    y = A(0.5 + 0.2 * problems.random_image(SHAPE))
    solution = solver(A, y, prox=shrink, strength=1e-4, rho=rho, inner_tol=inner_tol, max_iterations=20)
    assert solution.status is Status.STALLED
    assert np.allclose(solution.x, y, atol=1e-2)


@pytest.mark.parametrize("solver", [solvers.hqs, solvers.admm])
@pytest.mark.parametrize(("rho", "limit"), [(4.0, 10), (10.0, 20)])
def test_a_mild_blur_is_not_stalled_at_the_limit(solver, rho, limit):
    """The solution is less than a hundredth from y, so that what is far from it is not where the image has to go."""
    A = problems.CircularBlur({(0, 0): 0.98, (0, 1): 0.01, (1, 0): 0.01}, (1, 16, 16))
    y = A(problems.random_image(A.in_shape))
    solution = solver(A, y, prox=solvers.tv, strength=1e-5, rho=rho, tol=1e-3, max_iterations=limit)
    assert np.linalg.norm(solution.x - y) < 0.01 * np.linalg.norm(y)
    assert solution.residuals[-1] < 0.5 * solution.residuals[0] < 0.01
    assert solution.status is Status.MAX_ITERATIONS


@pytest.mark.parametrize("name", ["hqs", "admm"])
def test_the_inner_step_notices_a_wrong_sign(name):
    A = OPERATORS["wrong sign"]
    y = A(problems.random_image(SHAPE))
    solution = SOLVERS[name](A, y)
    assert solution.status is Status.INDEFINITE
    assert "blurphys.check" in str(solution.status)


@pytest.mark.parametrize("name", ["hqs", "hqs, loose", "admm", "fista", "richardson_lucy"])
def test_a_wrong_adjoint_has_a_status_of_its_own(name):
    A = OPERATORS["a similar adjoint"]
    x = problems.random_image(SHAPE)
    x[0, 1:3] = 0
    y = np.maximum(A(x) + 0.1 * np.random.default_rng(2).normal(size=SHAPE), 0)  # which no x >= 0 explains
    solution = SOLVERS[name](A, y, tol=1e-4, max_iterations=3000)
    assert solution.status is Status.WRONG_ADJOINT
    assert "blurphys.check" in str(solution.status)


def test_a_wrong_adjoint_of_a_tall_operator():
    """Least squares that forget a part of what was observed."""
    p = problems.rectangular()
    M = p.A.matrix.copy()
    M[30:] = 0

    class Half:
        in_shape, out_shape = p.A.in_shape, p.A.out_shape
        __call__ = p.A.__call__

        def adjoint(self, y):
            return (M.T @ y.ravel()).reshape(self.in_shape)

    y = p.y + 0.3 * np.random.default_rng(0).normal(size=p.y.shape)
    for solver in (solvers.cgls, solvers.lsqr, partial(solvers.landweber, damping=5e-3)):
        assert not solver(Half(), y, tol=1e-5, max_iterations=1000).converged
        assert solver(p.A, y, tol=1e-5, max_iterations=1000).converged
    assert solvers.landweber(Half(), y, damping=5e-3, tol=1e-5, max_iterations=1000).status is Status.WRONG_ADJOINT


def test_zeros_in_the_start_of_richardson_lucy():
    """They stay: where light is missing that is no maximum, and where the scene is black it is."""
    A = OPERATORS["right"]
    x = problems.random_image(SHAPE)
    start = np.full(SHAPE, 0.5)
    start[0, 1, 1] = 0
    assert not solvers.richardson_lucy(A, A(x), x0=start, max_iterations=500).converged
    x[0, 1, 1] = 0
    assert solvers.richardson_lucy(A, A(x), x0=start, max_iterations=2000, tol=5e-3).converged
    for x0 in (0 * start, np.full(SHAPE, 1e-320)):
        assert solvers.richardson_lucy(A, A(x), x0=x0).status in (Status.STALLED, Status.NONFINITE)


class _Image(NamedTuple):
    x: np.ndarray


@pytest.mark.parametrize("least", [0.0, 1.0])
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), st.sampled_from([None, 1e-9]))
def test_ten_times_the_residual_of_the_start_is_the_most_at_the_limit(least, residuals, tol):
    """Whatever the solver allows on the way; one with a prior may end as far from y as a black image."""
    one = np.ones((1, 1, 1))
    solution = iterate(
        lambda: _Image(0 * one),
        lambda k, _: _Image((k + 1.0) * one),
        lambda state: Measure(residuals[int(state.x.item())] * one, one),
        A=Counted(lambda x: x, None, name="law", x=one, y=one),
        max_iterations=len(residuals) - 1,
        tol=tol,
        divergence_factor=1e9,
        divergence_floor=1e-9 * least,
    )
    astray = residuals[-1] > max(10 * residuals[0], least)
    assert (solution.status is Status.DIVERGED) == astray
    assert residuals[int(solution.x.item())] == solution.residual
    assert solution.residual == (min(residuals) if solution.status is not Status.MAX_ITERATIONS else residuals[-1])


def test_a_strong_prior_is_no_divergence():
    """Its minimum is far from y, which A x0 = y almost fitted."""
    A = problems.CircularBlur({(0, 0): 0.96, (0, 1): 0.02, (1, 0): 0.02}, (1, 16, 16))
    y = A(problems.random_image(A.in_shape))
    solution = solvers.admm(A, y, prox=solvers.tv, strength=1.0, rho=1.0, max_iterations=3)
    assert solution.residuals[-1] > 10 * solution.residuals[0]
    assert solution.status is Status.MAX_ITERATIONS
