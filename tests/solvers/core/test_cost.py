"""How often a solver applies A and its adjoint: before the first step, in a step, and to prove a claim."""

from functools import partial

import numpy as np
import pytest

import solvers
from solvers import Status
from tests import problems

SHAPE = (1, 4, 5)


class Counting:
    """An operator that counts what is asked of it."""

    in_shape = out_shape = SHAPE

    def __init__(self):
        self.blur = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, SHAPE)
        self.forwards = self.adjoints = 0

    def __call__(self, x):
        self.forwards += 1
        return self.blur.forward(x)

    def adjoint(self, y):
        self.adjoints += 1
        return self.blur.adjoint(y)

    @property
    def total(self):
        return self.forwards + self.adjoints


def shrink(x, strength):
    """Proximal operator of 1/2 ||x||^2."""
    return x / (1 + strength)


def prior(name, **fixed):
    return partial(getattr(solvers, name), prox=shrink, strength=0.2, **fixed)


inner = {"inner_iterations": 30, "inner_tol": 1e-300}
# solver, applications before the first step, in a step, after the last step without a claim, and for a claim
COSTS = {
    "cgls": (solvers.cgls, 3, 2, 2, 2),
    "lsqr": (solvers.lsqr, 3, 2, 2, 4),
    "lsqr, damped": (partial(solvers.lsqr, damp=0.5), 3, 2, 0, 4),
    "landweber": (partial(solvers.landweber, damping=0.9), 3, 2, 0, 2),
    "landweber, estimated": (solvers.landweber, 43, 2, 0, 2),
    "nesterov": (partial(solvers.landweber, damping=0.9, accelerate="nesterov"), 3, 2, 0, 2),
    "richardson_lucy": (solvers.richardson_lucy, 2, 2, 0, 3),
    "fista": (prior("fista", step=0.9), 1, 2, 0, 4),
    "fista, estimated": (prior("fista"), 41, 2, 0, 4),
    "hqs": (prior("hqs", rho=0.1, **inner), 2, 62, 0, 4),
    "admm": (prior("admm", rho=0.1, **inner), 2, 62, 0, 4),
}


def applications(solver, y, **more):
    A = Counting()
    solution = solver(A, y, **more)
    assert A.total == solution.operator_applications
    return A.total, solution


def observed():
    """Not in the range of an x >= 0, so that no residual is small and a gradient has to be."""
    y = problems.CircularBlur({(0, 0): 0.5, (0, 2): 0.5}, SHAPE).forward(problems.random_image(SHAPE))
    y[0, 1, 1:3] = 0
    return y


@pytest.mark.parametrize("name", COSTS)
def test_before_the_first_step_and_in_each(name):
    solver, before, each, last, _ = COSTS[name]
    assert applications(solver, observed(), max_iterations=0)[0] == before
    for steps in (1, 3):
        assert applications(solver, observed(), max_iterations=steps, tol=1e-300)[0] == before + steps * each + last


@pytest.mark.parametrize("name", ["lsqr, damped", "richardson_lucy", "fista", "fista, estimated", "hqs", "admm"])
def test_a_claim_of_convergence(name):
    solver, before, each, last, proof = COSTS[name]
    total, solution = applications(solver, observed(), tol=1e-3, max_iterations=2000)
    assert solution.status is Status.CONVERGED
    spent = total - before - solution.iterations * each - last
    assert spent >= proof
    assert spent % proof == 0


@pytest.mark.parametrize(
    ("solver", "before", "each"), [(prior("hqs", rho=1e3, inner_iterations=1), 2, 4), (prior("fista", step=1e-9), 1, 2)]
)
def test_a_refused_claim_is_proved_anew_in_every_step(solver, before, each):
    total, solution = applications(solver, observed(), tol=1e-3, max_iterations=7)
    assert solution.status is Status.STALLED
    assert total == before + 7 * (each + 4)


@pytest.mark.parametrize("name", ["cgls", "lsqr", "landweber, tall"])
def test_a_gradient_is_held_against_the_operator(name):
    """By two applications of A, where no residual is small: the data contradict each other."""
    p = problems.rectangular()
    y = p.y + 0.3 * np.random.default_rng(0).normal(size=p.y.shape)
    solver, before, each, last, proof = COSTS.get(name, (partial(solvers.landweber, damping=5e-3), 3, 2, 0, 2))
    solution = solver(p.A, y, tol=1e-3, max_iterations=3000)
    assert solution.status is Status.CONVERGED
    assert solution.operator_applications == before + solution.iterations * each + last + proof
