"""Edge-aware completion against the dense normal equations, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.estimation import complete
from tests.profiles import examples


def dense(values, weight, guide, smoothness, edge):
    """Assemble and solve the normal equations by loops."""
    rows, cols = values.shape
    A, b = np.zeros((rows * cols, rows * cols)), np.zeros(rows * cols)
    for i in range(rows):
        for j in range(cols):
            p = i * cols + j
            A[p, p] += weight[i, j]
            b[p] += weight[i, j] * values[i, j]
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < rows and m < cols:
                    q = k * cols + m
                    difference = math.sqrt(sum((g[i, j] - g[k, m]) ** 2 for g in guide) / len(guide))
                    coupling = smoothness * (1e-3 + math.exp(-difference / edge))
                    A[p, p] += coupling
                    A[q, q] += coupling
                    A[p, q] -= coupling
                    A[q, p] -= coupling
    return np.linalg.solve(A, b).reshape(rows, cols)


@examples(20)
@given(seed=st.integers(0, 2**16), rows=st.integers(3, 14), cols=st.integers(3, 14))
def test_it_solves_the_normal_equations(seed, rows, cols):
    rng = np.random.default_rng(seed)
    values, guide = rng.standard_normal((rows, cols)), rng.random((2, rows, cols))
    weight = rng.random((rows, cols)) * (rng.random((rows, cols)) < 0.5)
    weight[1, 1] = 1
    found = complete(values, weight, guide, smoothness=0.3, edge=0.4, iterations=300)
    assert np.allclose(found, dense(values, weight, guide, 0.3, 0.4), atol=1e-3)


@examples(20)
@given(seed=st.integers(0, 2**16), value=st.floats(-5, 5))
def test_a_constant_stays(seed, value):
    rng = np.random.default_rng(seed)
    weight = rng.random((20, 33)) * (rng.random((20, 33)) < 0.2)
    weight[3, 4] = 1
    assert np.allclose(complete(np.full((20, 33), value), weight, rng.random((20, 33))), value, atol=1e-4)


def test_unknown_values_do_not_matter():
    rng = np.random.default_rng(0)
    values, weight, guide = rng.random((24, 30)), (rng.random((24, 30)) < 0.3).astype(float), rng.random((24, 30))
    spoiled = np.where(weight > 0, values, np.nan)
    assert np.array_equal(complete(spoiled, weight, guide), complete(values, weight, guide))


def test_wide_holes_are_filled_up_to_an_edge():
    guide = (np.arange(200) < 90) * np.ones((150, 1))
    values = np.where(guide > 0, 3.0, -2.0)
    weight = np.zeros_like(values)
    weight[::149, ::199] = 1
    assert np.abs(complete(values, weight, guide) - values)[:, np.r_[0:85, 95:200]].max() < 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence": np.zeros((5, 6))}, ("0 to 0", "nothing")),
        ({"confidence": -np.ones((5, 6))}, ("-1",)),
        ({"values": np.full((5, 6), np.nan)}, ("NaN",)),
        ({"guide": np.ones((6, 5))}, ("(5, 6)", "(6, 5)")),
        ({"smoothness": 0.0}, ("smoothness",)),
        ({"edge": -1.0}, ("edge",)),
        ({"iterations": 0}, ("iterations",)),
    ],
)
def test_bad_input(change, words):
    given = {"values": np.ones((5, 6)), "confidence": np.ones((5, 6)), "guide": np.ones((5, 6)), **change}
    with pytest.raises(ValueError) as raised:
        complete(given.pop("values"), given.pop("confidence"), given.pop("guide"), **given)
    assert all(word in str(raised.value) for word in ("complete", *words))
