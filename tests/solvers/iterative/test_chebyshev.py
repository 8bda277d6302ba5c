"""Chebyshev semi-iteration: its polynomial in closed form, its interval, and its limits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev as series

import blurphys as bp
import solvers
from blurphys.analysis.certificate import certificate
from solvers import Status
from solvers.iterative.chebyshev import chebyshev_init, chebyshev_interval, chebyshev_step
from tests import problems
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def walk(A, y, steps, interval):
    state = chebyshev_init(A, y)
    for _ in range(steps):
        state = chebyshev_step(A, y, state, interval=interval)
    return state


@given(st.floats(0.01, 1.0), st.floats(1.001, 30.0), st.integers(0, 25))
def test_its_residual_is_the_scaled_chebyshev_polynomial(low, ratio, steps):
    high = low * ratio
    values = np.linspace(0.2 * low, 1.1 * high, 24).reshape(2, 3, 4)  # inside the interval and out of it
    y = problems.random_image((2, 3, 4))
    state = walk(lambda x: values * x, y, steps, (low, high))
    centre, half = (high + low) / 2, (high - low) / 2
    one = [0.0] * steps + [1.0]
    factor = series.chebval((centre - values) / half, one) / series.chebval(centre / half, one)
    start = y - values * y
    assert np.allclose(state.residual, factor * start, rtol=1e-6, atol=1e-11 * np.abs(start).max())
    assert state.steps == steps


def test_a_single_eigenvalue_takes_a_single_step():
    y = problems.random_image((1, 2, 3))
    solution = solvers.fixed_point(lambda x: 0.2 * x, y, accelerate="chebyshev", interval=(0.2, 0.2), tol=1e-12)
    assert (solution.iterations, solution.status) == (1, Status.CONVERGED)


@given(st.floats(0.02, 0.9), st.floats(0.0, 4.0), st.integers(1, 30), st.integers(0, 2**16))
def test_complex_eigenvalues_in_an_ellipse(low, imaginary, steps, seed):
    """Blocks [[a, b], [-b, a]] multiply u + i v by a - i b: the residual is the polynomial of complex numbers."""
    half, centre = (1 - low) / 2, (1 + low) / 2
    assume(abs(half - imaginary) > 1e-3)
    rng = np.random.default_rng(seed)
    angles, depth = rng.uniform(0, np.pi, 12), rng.uniform(0, 1, 12) ** 0.25
    values = centre + depth * (half * np.cos(angles) - 1j * imaginary * np.sin(angles))
    matrix = np.zeros((24, 24))
    for k, value in enumerate(values):
        matrix[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[value.real, -value.imag], [value.imag, value.real]]
    y = rng.normal(size=(2, 3, 4))
    state = walk(problems.Matrix(matrix, y.shape), y, steps, (low, 1.0, imaginary))
    focus = np.sqrt(complex(half**2 - imaginary**2))

    def polynomial(t):
        return np.cos(steps * np.arccos((centre - t) / focus))

    start = (y.ravel() - matrix @ y.ravel()).reshape(12, 2) @ np.asarray([1, 1j])
    expected = polynomial(values) / polynomial(0) * start
    found = state.residual.reshape(12, 2) @ np.asarray([1, 1j])
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(start).max())
    # the ends of the longer axis of the ellipse are its largest factor
    rim, middle = (half + imaginary) / focus, (centre + np.sqrt(centre**2 - focus**2)) / focus
    largest = (abs(rim) ** steps + abs(rim) ** -steps) / abs(middle**steps + middle**-steps)
    assert np.linalg.norm(found) <= ((1 + 1e-6) * largest + 1e-12) * np.linalg.norm(start)
    assert abs(rim) < abs(middle)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_it_agrees_with_the_fft_inverse(namespace, dtype, batch):
    p = problems.circular_gaussian(namespace, dtype, batch)
    response = p.A.response.real
    tol = 1e-10 if dtype == "float64" else 1e-5
    solution = solvers.fixed_point(
        p.A, p.y, accelerate="chebyshev", interval=(response.min(), response.max()), tol=tol, max_iterations=200
    )
    assert solution.converged
    assert solution.x.dtype == p.y.dtype
    expected = p.A.inverse(to_numpy(p.y))
    assert np.abs(to_numpy(solution.x) - expected).max() < 20 * tol
    assert solution.operator_applications == solution.iterations + 1


@given(st.integers(0, 2**16), st.floats(0.005, 0.2))
def test_as_many_steps_as_the_bound_says(seed, low):
    rng = np.random.default_rng(seed)
    values = rng.uniform(low, 1.0, (1, 4, 6))
    y = rng.normal(size=values.shape)
    tol, root = 1e-4, np.sqrt(1 / low)
    solution = solvers.fixed_point(
        lambda x: values * x, y, accelerate="chebyshev", interval=(low, 1.0), tol=tol, max_iterations=1000
    )
    rate = (root - 1) / (root + 1)
    assert solution.converged
    assert solution.iterations <= np.ceil(np.log(2 / tol) / -np.log(rate))


def test_eigenvalues_below_the_interval_converge_more_slowly_and_negative_ones_do_not():
    y = problems.random_image((1, 4, 6))
    for lowest, expected in ((0.01, Status.CONVERGED), (-0.1, Status.DIVERGED)):
        values = np.linspace(lowest, 1.0, 24).reshape(1, 4, 6)
        solution = solvers.fixed_point(
            lambda x, v=values: v * x, y, accelerate="chebyshev", interval=(0.1, 1.0), tol=1e-4, max_iterations=400
        )
        assert solution.status is expected
        assert np.isfinite(solution.x).all()
    best = min(solution.residuals)
    assert np.isclose(np.linalg.norm(y - values * solution.x) / np.linalg.norm(y), best)
    assert solution.residuals[-1] > 10 * best


def test_every_image_of_a_batch_may_have_its_own_interval():
    gains = np.asarray([0.1, 5.0]).reshape(2, 1, 1, 1) * np.linspace(0.3, 1.0, 12).reshape(1, 3, 4)
    y = problems.random_image((2, 1, 3, 4))
    ends = np.asarray([0.1, 5.0]).reshape(2, 1, 1, 1)
    both = walk(lambda x: gains * x, y, 5, (0.3 * ends, ends))
    for i, top in enumerate((0.1, 5.0)):
        alone = walk(lambda x, i=i: gains[i] * x, y[i], 5, (0.3 * top, top))
        assert np.allclose(both.x[i], alone.x, rtol=1e-12)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_images_of_a_batch_end_one_by_one(namespace):
    gains = to_namespace(np.asarray([0.5, -3.0, 1.0, np.nan]).reshape(4, 1, 1, 1), namespace)
    y = to_namespace(problems.random_image((4, 1, 2, 3)), namespace)
    solution = solvers.fixed_point(
        lambda x: gains * x, y, accelerate="chebyshev", interval=(0.4, 1.0), tol=1e-5, max_iterations=60
    )
    assert solution.item_status == (Status.CONVERGED, Status.DIVERGED, Status.CONVERGED, Status.NONFINITE)
    assert np.allclose(to_numpy(solution.x)[0], 2 * to_numpy(y)[0], rtol=1e-4)


def test_the_interval_of_a_certificate():
    blur = bp.Convolution(np.asarray([[0.2, 0.6, 0.2]]), shape=(1, 6, 8), boundary="circular")  # 0.2 to 1
    x = problems.random_image((1, 6, 8))
    found = certificate(blur)
    assert found.eigenvalue_interval[:2] == pytest.approx((0.2, 1.0), abs=1e-3)
    from_it = solvers.fixed_point(blur, blur(x), accelerate="chebyshev", certificate=found, tol=1e-8, damping=0.3)
    by_hand = solvers.fixed_point(
        blur, blur(x), accelerate="chebyshev", interval=tuple(found.eigenvalue_interval), tol=1e-8
    )
    assert from_it.converged
    assert np.array_equal(from_it.x, by_hand.x)
    assert np.allclose(from_it.x, x, atol=1e-6)
    plain = solvers.fixed_point(blur, blur(x), tol=1e-8)
    assert from_it.operator_applications < plain.operator_applications / 2


def test_a_blur_with_a_negative_response_has_no_interval():
    blur = bp.Convolution(np.asarray([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")
    y = problems.random_image((1, 6, 8))
    with pytest.raises(ValueError, match="to the right of zero.*lie from -0.2 to 1.*anderson"):
        solvers.fixed_point(blur, y, accelerate="chebyshev", certificate=certificate(blur))


@pytest.mark.parametrize(
    ("interval", "given", "words"),
    [
        (None, None, r"certificate=bp.certificate\(A\), or interval="),
        (None, 0.9, "certificate must come from"),
        (None, SimpleNamespace(eigenvalue_interval=(-0.1, 1.0, 0.0)), "to the right of zero"),
        ((0.0, 1.0), None, "to the right of zero"),
        ((-0.2, 1.0), None, "anderson"),
        ((1.0, 0.5), None, "0 < low <= high"),
        ((0.5, np.inf), None, "0 < low <= high"),
        ((np.nan, 1.0), None, "0 < low <= high"),
        ((0.5, 1.0, -0.1), None, "imaginary -0.1"),
        ((0.5, 1.0, np.nan), None, "imaginary nan"),
        (0.5, None, "interval must be"),
        ((0.5,), None, "interval must be"),
        ((0.1, 0.2, 0.3, 0.4), None, "interval must be"),
        (("low", 1.0), None, "interval must be"),
        ((0.1j, 1.0), None, "interval must be"),
    ],
)
def test_a_bad_interval(interval, given, words):
    with pytest.raises(ValueError, match=f"fixed_point: .*{words}"):
        solvers.fixed_point(
            lambda x: x, np.ones((1, 2, 3)), accelerate="chebyshev", interval=interval, certificate=given
        )


def test_an_explicit_interval_counts_more_than_a_certificate():
    said = SimpleNamespace(eigenvalue_interval=(-1.0, 1.0, 0.0))
    assert chebyshev_interval("test", (0.5, 1), said) == (0.5, 1.0, 0.0)
    assert chebyshev_interval("test", np.asarray([0.5, 1.0, 0.25]), None) == (0.5, 1.0, 0.25)


def test_gradcheck_through_the_steps():
    rng = np.random.default_rng(2)
    gains = torch.tensor(rng.uniform(0.3, 1.0, (1, 2, 3)), requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (2, 1, 2, 3)), requires_grad=True)
    ends = torch.tensor([0.25, 1.1, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y, v, e: walk(lambda x: v * x, y, 3, tuple(e)).x, (y, gains, ends))
