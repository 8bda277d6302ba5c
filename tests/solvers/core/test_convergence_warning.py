"""A certificate is heeded with a warning, never with a refusal."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import solvers
from solvers.core.convergence_warning import allowed_growth
from tests import problems


def certificate(*, diverges, damping=1.0):
    return SimpleNamespace(diverges=diverges, damping=damping, verdict="it will not do; use solvers.cgls.")


RUNS = {"fixed_point": {"max_iterations": 2}, "neumann": {"terms": 2}}


@pytest.mark.parametrize("name", RUNS)
def test_it_warns_and_runs(name):
    p = problems.varying()
    solve = getattr(solvers, name)
    with pytest.warns(solvers.ConvergenceWarning, match=f"^{name}: it will not do; use solvers.cgls.$") as seen:
        warned = solve(p.A, p.y, certificate=certificate(diverges=True), **RUNS[name])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert np.array_equal(warned.x, solve(p.A, p.y, **RUNS[name]).x)


@pytest.mark.parametrize("name", RUNS)
def test_it_is_silent_when_all_is_well(name):
    p = problems.varying()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(solvers, name)(p.A, p.y, certificate=certificate(diverges=False), **RUNS[name])


@pytest.mark.parametrize("name", RUNS)
def test_a_certificate_of_another_damping(name):
    p = problems.varying()
    with pytest.raises(ValueError, match="made for damping 0.5, but the damping here is 1"):
        getattr(solvers, name)(p.A, p.y, certificate=certificate(diverges=False, damping=0.5), **RUNS[name])


@pytest.mark.parametrize("name", RUNS)
def test_something_else(name):
    p = problems.varying()
    with pytest.raises(ValueError, match="must come from blurphys.certificate"):
        getattr(solvers, name)(p.A, p.y, certificate=0.9, **RUNS[name])


@pytest.mark.parametrize(
    ("converges", "bounded", "growth", "factor", "expected"),
    [
        (True, False, 5.0, 10.0, 500.0),
        (True, False, 5.0, 1e4, 1e4),
        (True, True, 2.0, 10.0, 10.0),
        (False, False, 5.0, 10.0, 10.0),
    ],
)
def test_room_for_the_growth_of_a_certificate(converges, bounded, growth, factor, expected):
    found = SimpleNamespace(converges=converges, transient_bounded=bounded, transient_bound=growth)
    assert allowed_growth(found, factor) == expected
    assert allowed_growth(None, factor) == factor
