"""The fixed-point iteration, and through it the rules of the one loop."""

import warnings
from types import SimpleNamespace

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
@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
@pytest.mark.parametrize("build", [problems.circular_gaussian, problems.varying])
def test_it_recovers_the_image(build, namespace, dtype, batch):
    p = build(namespace, dtype, batch)
    solution = solvers.fixed_point(p.A, p.y, tol=1e-5)
    assert solution.converged
    assert type(solution.x) is type(p.y)
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - to_numpy(p.x)).max() < 2e-4
    assert len(solution.residuals) == solution.iterations + 1
    assert solution.residuals[-1] <= 1e-5 < solution.residuals[-2]
    assert len(solution.item_status) == int(np.prod(batch))
    assert solution.operator_applications == p.A.calls == solution.iterations + 1


def test_it_agrees_with_the_fft_inverse():
    p = problems.circular_gaussian()
    solution = solvers.fixed_point(p.A, p.y, tol=1e-12, max_iterations=300)
    assert np.abs(solution.x - p.A.inverse(p.y)).max() < 1e-10


@given(st.floats(0.1, 1.5), st.integers(0, 12), st.integers(0, 2**16))
def test_residuals_are_those_of_the_iterates(damping, steps, seed):
    p = problems.circular_gaussian()
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    seen = [y]
    solution = solvers.fixed_point(
        p.A, y, damping=damping, tol=1e-300, max_iterations=steps, on_step=lambda k, state: seen.append(state.x)
    )
    expected = [np.linalg.norm(y - p.A(x)) / np.linalg.norm(y) for x in seen]
    assert np.allclose(solution.residuals, expected, rtol=1e-12)
    assert solution.status is Status.MAX_ITERATIONS
    assert np.array_equal(solution.x, seen[-1])


def test_the_start_is_checked_before_the_first_step():
    p = problems.identity(batch=(2,))
    solution = solvers.fixed_point(p.A, p.y)
    assert (solution.status, solution.iterations, solution.residuals) == (Status.CONVERGED, 0, (0.0,))
    assert solution.x is not p.y
    assert not np.shares_memory(solution.x, p.y)


def test_a_zero_image_is_solved_by_zero():
    p = problems.circular_gaussian()
    assert solvers.fixed_point(p.A, 0 * p.y).residuals == (0.0,)
    again = solvers.fixed_point(p.A, 0 * p.y, x0=p.x, tol=1e-6)
    assert again.converged  # with nothing to compare with, the residual itself is held against tol
    assert np.linalg.norm(again.x) < 1e-4


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_divergence_is_reported_with_the_best_iterate(namespace):
    p = problems.divergent(namespace)
    iterates = [to_numpy(p.y)]
    solution = solvers.fixed_point(
        p.A, p.y, tol=1e-12, max_iterations=200, on_step=lambda k, state: iterates.append(to_numpy(state.x))
    )
    assert solution.status is Status.DIVERGED
    assert solution.iterations < 30
    best = int(np.argmin(solution.residuals))
    assert 0 < best < solution.iterations
    assert np.array_equal(to_numpy(solution.x), iterates[best])
    assert solution.residuals[-1] > 10 * solution.residuals[best]
    assert max(solution.residuals[best:-1]) <= 10 * solution.residuals[best]


def test_growth_that_a_certificate_foretells_is_no_divergence():
    """Triangular, every eigenvalue of I - A is 0.8, and ||(I - A)^k|| is 785 on the way."""
    bp = pytest.importorskip("blurphys")
    A = bp.Convolution(np.array([[0.0] * 4 + [0.2] * 5]), shape=(1, 4, 64), boundary="zero")
    y = np.random.default_rng(0).standard_normal(A.in_shape)
    stopped = solvers.fixed_point(A, y, tol=1e-3, max_iterations=300)
    assert stopped.status is Status.DIVERGED
    assert "non-normal" in str(stopped.status) and "divergence_factor" in str(stopped.status)
    found = bp.certificate(A)
    assert found.converges and not found.transient_bounded
    assert solvers.fixed_point(A, y, tol=1e-3, max_iterations=300, certificate=found).converged
    assert solvers.fixed_point(A, y, tol=1e-3, max_iterations=300, divergence_factor=1e5).converged
    summed = solvers.neumann(A, y, terms=300, certificate=found)
    assert summed.status is Status.MAX_ITERATIONS and summed.residuals[-1] < 1e-3


def test_the_factor_of_the_divergence_rule_is_the_callers():
    p = problems.divergent()
    early = solvers.fixed_point(p.A, p.y, tol=1e-12, divergence_factor=2.0)
    late = solvers.fixed_point(p.A, p.y, tol=1e-12, divergence_factor=1e6)
    assert early.iterations < late.iterations
    assert np.array_equal(early.x, late.x)


def test_overflow_is_a_status_and_no_warning():
    p = problems.circular_gaussian(dtype="float32")
    wild = solvers.fixed_point(
        lambda x: x * np.float32(-1e30), p.y, max_iterations=50, divergence_factor=1e300
    )  # 1e30^2 leaves float32
    assert wild.status is Status.NONFINITE
    assert np.isfinite(wild.x).all()
    assert wild.item_status == (Status.NONFINITE,)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_nan_midway_returns_the_last_good_iterate(namespace):
    p = problems.circular_gaussian(namespace)
    calls, iterates = 0, []

    def broken(x):
        nonlocal calls
        calls += 1
        return p.A(x) * (float("nan") if calls == 5 else 1.0)

    solution = solvers.fixed_point(broken, p.y, tol=1e-9, on_step=lambda k, state: iterates.append(to_numpy(state.x)))
    assert solution.status is Status.NONFINITE
    assert solution.iterations == 4
    assert np.isnan(solution.residuals[-1])
    assert np.array_equal(to_numpy(solution.x), iterates[2])


def test_nan_from_the_start_returns_the_start():
    p = problems.circular_gaussian()
    solution = solvers.fixed_point(lambda x: x * np.nan, p.y)
    assert (solution.status, solution.iterations) == (Status.NONFINITE, 0)
    assert np.array_equal(solution.x, p.y)


def test_a_blind_operator_cannot_hide_a_nan_in_x():
    """A that never looks at one pixel leaves the residual finite; the result is still checked."""
    hole = np.ones((1, 2, 3))
    hole[0, 0, 0] = np.nan
    p = problems.circular_gaussian()

    class State(tuple):
        x = hole

    from solvers.core.checks import Counted
    from solvers.core.iterate import Measure, iterate

    half = np.full((1, 1, 1), 0.5)
    clean = solvers.fixed_point_init(lambda x: x, np.ones((1, 2, 3)))
    solution = iterate(
        lambda: clean,
        lambda k, state: State(),
        lambda state: Measure(half, half),
        A=Counted(p.A, None, name="test", x=hole, y=hole),
        max_iterations=1,
    )
    assert solution.status is Status.NONFINITE
    assert np.array_equal(solution.x, np.ones((1, 2, 3)))


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_images_of_a_batch_end_one_by_one(namespace):
    """Gains 1, 0.5, 3 and 0.01: solved at once, soon, never (diverges), and not within the limit."""
    from tests.strategies import to_namespace

    gains = to_namespace(np.array([1.0, 0.5, 3.0, 0.01]).reshape(4, 1, 1, 1), namespace)
    y = to_namespace(problems.random_image((4, 1, 2, 3)), namespace)
    solution = solvers.fixed_point(lambda x: gains * x, y, tol=1e-4, max_iterations=40)
    expected = (Status.CONVERGED, Status.CONVERGED, Status.DIVERGED, Status.MAX_ITERATIONS)
    assert solution.item_status == expected
    assert solution.status is Status.DIVERGED
    assert solution.iterations == 40
    x, image = to_numpy(solution.x), to_numpy(y)
    assert np.array_equal(x[0], image[0])
    assert np.allclose(x[1], image[1] / 0.5, rtol=2e-4)
    assert np.array_equal(x[2], image[2])  # the start was its best iterate
    alone = solvers.fixed_point(lambda v: gains[1:2, ...] * v, y[1:2, ...], tol=1e-4)
    assert np.array_equal(to_numpy(alone.x), x[1:2])
    assert solution.residuals[-1] == pytest.approx(2.0, rel=1e-12)  # |1 - 3|, of the iterate that is returned


def test_it_stays_differentiable_as_a_whole():
    import torch

    p = problems.circular_gaussian("torch")
    y = p.y.clone().requires_grad_()
    solvers.fixed_point(p.A, y, max_iterations=3).x.sum().backward()
    assert torch.isfinite(y.grad).all()


def test_inputs_are_not_written_to():
    p = problems.varying(dtype="float32")
    y, x0 = p.y.copy(), np.zeros_like(p.y)
    solvers.fixed_point(p.A, y, x0=x0, damping=0.9)
    assert np.array_equal(y, p.y)
    assert not x0.any()


def test_on_the_package_operators():
    bp = pytest.importorskip("blurphys")
    rng = np.random.default_rng(0)
    beta = rng.uniform(0.1, 1.0, (3, 9, 11))
    beta[0] += 3.0
    A = bp.GKM(beta / beta.sum(axis=0), sigmas=(0.0, 0.6, 1.2), channels=3)
    x = problems.random_image((2, 3, 9, 11))
    solution = solvers.fixed_point(A, A(x), tol=1e-8)
    assert solution.converged
    assert np.abs(solution.x - x).max() < 1e-6


WAYS = {
    "anderson": {"accelerate": "anderson"},
    "chebyshev": {"accelerate": "chebyshev", "interval": (0.1, 1.2)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("batch", [(), (2, 1)])
@pytest.mark.parametrize("build", [problems.circular_gaussian, problems.varying])
def test_accelerated_it_recovers_the_image(build, namespace, way, batch):
    p = build(namespace, "float64", batch)
    plain = solvers.fixed_point(p.A, p.y, tol=1e-8, max_iterations=300)
    fast = solvers.fixed_point(p.A, p.y, tol=1e-8, max_iterations=300, **WAYS[way])
    assert plain.converged
    assert fast.converged
    assert type(fast.x) is type(p.y)
    assert np.abs(to_numpy(fast.x) - to_numpy(p.x)).max() < 1e-6
    assert fast.operator_applications == fast.iterations + 1
    assert len(fast.item_status) == int(np.prod(batch))
    if build is problems.circular_gaussian:
        assert fast.iterations <= plain.iterations / 2


@pytest.mark.parametrize("way", WAYS)
@given(st.integers(0, 9), st.integers(0, 2**16))
def test_accelerated_residuals_are_those_of_the_iterates(way, steps, seed):
    p = problems.varying()
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    seen = [y]
    solution = solvers.fixed_point(
        p.A, y, tol=1e-300, max_iterations=steps, on_step=lambda k, state: seen.append(state.x), **WAYS[way]
    )
    expected = [np.linalg.norm(y - p.A(x)) / np.linalg.norm(y) for x in seen]
    assert np.allclose(solution.residuals, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("way", WAYS)
def test_accelerated_it_respects_start_mask_and_noise(way):
    p = problems.varying()
    mask = np.random.default_rng(0).random(p.y.shape) < 0.8
    x0 = np.full_like(p.y, 0.3)
    hidden = solvers.fixed_point(
        p.A, np.where(mask, p.y, np.nan), x0=x0, mask=mask, max_iterations=3, tol=1e-12, **WAYS[way]
    )
    assert np.array_equal(hidden.x[~mask], x0[~mask])
    noisy = p.y + 0.01 * np.random.default_rng(1).normal(size=p.y.shape)
    stopped = solvers.fixed_point(p.A, noisy, x0=0 * noisy, noise_level=0.01, tol=1e-12, **WAYS[way])
    assert stopped.status is Status.NOISE_LEVEL
    assert np.sqrt(np.mean((noisy - p.A(stopped.x)) ** 2)) <= 0.01


def test_accelerated_divergence_returns_the_best_iterate():
    """A quarter turn: no combination of two steps helps, and its eigenvalues lie outside every interval."""
    turn = np.asarray([[0.0, -1.0], [1.0, 0.0]])
    A = problems.Matrix(np.kron(np.eye(6), 4 * turn), (1, 3, 4))
    y = problems.random_image((1, 3, 4))
    iterates = [y]
    solution = solvers.fixed_point(
        A, y, accelerate="chebyshev", interval=(0.1, 1.0), on_step=lambda k, state: iterates.append(state.x)
    )
    assert solution.status is Status.DIVERGED
    assert np.array_equal(solution.x, iterates[int(np.argmin(solution.residuals))])


def warned(**more):
    return SimpleNamespace(
        **{"diverges": True, "damping": 1.0, "verdict": "no.", "eigenvalue_interval": (0.1, 1.2, 0.1), **more}
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_warning_about_the_plain_iteration_is_none_for_an_accelerated_one(way):
    p = problems.varying()
    more = {"accelerate": way, "max_iterations": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solvers.fixed_point(p.A, p.y, certificate=warned(), **more)
    with pytest.warns(solvers.ConvergenceWarning, match="no."):
        solvers.fixed_point(p.A, p.y, certificate=warned(), max_iterations=2)


def test_certificates_of_another_damping():
    p = problems.varying()
    for way in (None, "anderson"):
        with pytest.raises(ValueError, match="made for damping 0.5, but the damping here is 1"):
            solvers.fixed_point(p.A, p.y, accelerate=way, certificate=warned(diverges=False, damping=0.5))
    with pytest.raises(ValueError, match="certificate must come from"):
        solvers.fixed_point(p.A, p.y, accelerate="anderson", certificate=0.9)
    other = warned(damping=0.5)  # the eigenvalues of A are what they are
    assert solvers.fixed_point(p.A, p.y, accelerate="chebyshev", certificate=other).converged


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"accelerate": "aitken"}, 'accelerate must be None, "anderson" or "chebyshev", got .aitken'),
        ({"accelerate": True}, "accelerate must be"),
        ({"accelerate": "anderson", "memory": 0}, "memory must be an integer >= 1"),
        ({"accelerate": "anderson", "memory": 2.5}, "memory must be an integer >= 1"),
        ({"interval": (0.1, 1.0)}, 'interval must come with accelerate="chebyshev"'),
        ({"accelerate": "anderson", "interval": (0.1, 1.0)}, 'interval must come with accelerate="chebyshev"'),
        ({"accelerate": "chebyshev"}, r"certificate=bp.certificate\(A\)"),
    ],
)
def test_a_bad_acceleration(more, words):
    p = problems.varying()
    with pytest.raises(ValueError, match=f"fixed_point: .*{words}"):
        solvers.fixed_point(p.A, p.y, **more)
