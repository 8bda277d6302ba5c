"""The truncated Neumann series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from solvers import Status
from tests import problems
from tests.strategies import NAMESPACES, to_numpy


def test_zero_terms_return_y():
    p = problems.varying(dtype="float32")
    solution = solvers.neumann(p.A, p.y, terms=0)
    assert np.array_equal(solution.x, p.y)
    assert not np.shares_memory(solution.x, p.y)
    assert solution.iterations == 0
    assert solution.operator_applications == len(solution.residuals) == 1


@pytest.mark.parametrize("namespace", NAMESPACES)
@given(terms=st.integers(0, 8), batch=st.sampled_from(((), (2,))), build=st.sampled_from(("circular", "varying")))
def test_it_equals_fixed_point_steps_from_y(namespace, terms, batch, build):
    p = (problems.circular_gaussian if build == "circular" else problems.varying)(namespace, "float64", batch)
    series = solvers.neumann(p.A, p.y, terms=terms)
    steps = solvers.fixed_point(p.A, p.y, tol=1e-300, max_iterations=terms)
    assert np.abs(to_numpy(series.x) - to_numpy(steps.x)).max() < 1e-13
    assert np.allclose(series.residuals, steps.residuals, atol=1e-14)
    assert series.iterations == steps.iterations == terms
    assert series.operator_applications == terms + 1
    assert series.status is Status.MAX_ITERATIONS


def test_it_is_the_sum_of_the_powers():
    p = problems.varying()
    term = total = p.y
    for _ in range(7):
        term = term - p.A(term)
        total = total + term
    assert np.array_equal(solvers.neumann(p.A, p.y, terms=7).x, total)


def test_the_steps_cost_one_application_each():
    p = problems.varying()
    before = p.A.calls if hasattr(p.A, "calls") else 0
    state = solvers.neumann_init(p.y)
    for _ in range(3):
        state = solvers.neumann_step(p.A, state)
    assert p.A.calls - before == 3
    assert np.array_equal(state.x, solvers.neumann(p.A, p.y, terms=3).x)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_diverging_series_returns_its_best_partial_sum(namespace):
    p = problems.divergent(namespace)
    sums = [to_numpy(p.y)]
    solution = solvers.neumann(p.A, p.y, terms=2000, on_step=lambda k, state: sums.append(to_numpy(state.x)))
    assert solution.status is Status.DIVERGED
    best = int(np.argmin(solution.residuals))
    assert 0 < best < solution.iterations < 30
    assert np.array_equal(to_numpy(solution.x), sums[best])
