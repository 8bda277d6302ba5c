"""Anderson acceleration: what it computes, when it refuses, and what it is worth."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import blurphys as bp
import solvers
from solvers import Status
from solvers.iterative.anderson import MAX_GROWTH, AndersonState, anderson_init, anderson_step
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

SHAPE = (2, 3, 4)


def near_identity(rng, strength=0.4):
    """A matrix I + strength R, ||R|| = 1, not symmetric."""
    noise = rng.normal(size=(24, 24))
    return np.eye(24) + strength * noise / np.linalg.norm(noise, 2)


def walk(A, y, steps, **more):
    state = anderson_init(A, y)
    states = [state]
    for _ in range(steps):
        state = anderson_step(A, y, state, **more)
        states.append(state)
    return states


def minimal_residual(matrix, start, order):
    """The shortest r = start - A v with v in span(start, A start, ..., A^(order - 1) start)."""
    if order == 0:
        return start
    powers = [start]
    for _ in range(order - 1):
        powers.append(matrix @ powers[-1])
    basis = matrix @ np.linalg.qr(np.stack(powers, axis=1))[0]
    return start - basis @ np.linalg.lstsq(basis, start, rcond=None)[0]


@given(st.integers(0, 2**16), st.floats(0.5, 1.2), st.integers(1, 5))
def test_with_enough_memory_it_is_gmres_and_a_plain_step(seed, damping, steps):
    rng = np.random.default_rng(seed)
    matrix, y = near_identity(rng), rng.normal(size=SHAPE)
    last = walk(problems.Matrix(matrix, SHAPE), y, steps, damping=damping, memory=steps)[-1]
    start = y.ravel() - matrix @ y.ravel()
    shortest = minimal_residual(matrix, start, steps - 1)
    expected = shortest - damping * matrix @ shortest
    allowed = 1e-6 * np.linalg.norm(expected) + 1e-9 * np.linalg.norm(start)  # the regularisation
    assert np.linalg.norm(last.residual.ravel() - expected) <= allowed
    assert np.allclose(last.residual.ravel(), y.ravel() - matrix @ last.x.ravel(), atol=1e-14)


def test_few_eigenvalues_take_few_steps():
    values = np.repeat([0.02, 0.3, 0.9], 8)
    A, y = problems.Matrix(np.diag(values), SHAPE), problems.random_image(SHAPE)
    found = solvers.fixed_point(A, y, accelerate="anderson", memory=3, tol=1e-6)
    assert found.converged
    assert found.iterations <= 6
    assert np.allclose(found.x, y / values.reshape(SHAPE), atol=1e-4)
    assert solvers.fixed_point(A, y, tol=1e-6, max_iterations=200).status is Status.MAX_ITERATIONS


@given(st.integers(0, 2**16), st.floats(0.3, 1.5))
def test_no_memory_is_the_plain_iteration(seed, damping):
    p = problems.varying()
    y = np.random.default_rng(seed).normal(size=p.y.shape)
    state, plain = anderson_init(p.A, y), solvers.fixed_point_init(p.A, y)
    for _ in range(4):
        state = anderson_step(p.A, y, state, damping=damping, memory=0)
        plain = solvers.fixed_point_step(p.A, y, plain, damping=damping)
        assert np.allclose(state.x, plain.x, atol=1e-14)
    assert state.steps == state.changes == ()


@given(st.integers(1, 4), st.integers(0, 7))
def test_it_remembers_the_last_few_differences(memory, steps):
    p, damping = problems.varying(), 0.8
    states = walk(p.A, p.y, steps, damping=damping, memory=memory)
    last, pairs = states[-1], list(zip(states[:-1], states[1:], strict=True))[-memory:]
    changes = [after.residual - before.residual for before, after in pairs]
    moves = [after.x - before.x for before, after in pairs]
    assert len(last.steps) == len(last.changes) == min(memory, steps)
    for kept, change in zip(last.changes, changes, strict=True):
        assert np.array_equal(kept, change)
    for kept, move, change in zip(last.steps, moves, changes, strict=True):
        assert np.allclose(kept, move + damping * change, atol=1e-15)
    if steps:
        flat = np.stack([change.ravel() for change in changes])
        assert np.allclose(last.gram, flat @ flat.T, rtol=1e-12, atol=1e-300)


def misled(y, batch=()):
    """A state whose memory promises that a huge step costs no residual."""
    p = problems.varying("numpy", "float64", batch)
    start = anderson_init(p.A, y)
    liar = anderson_step(p.A, y, start)
    wild = tuple(1e3 * np.ones_like(step) for step in liar.steps)
    return p, liar._replace(steps=wild)


def test_a_step_that_grows_is_refused_and_the_next_is_plain():
    p, before = misled(problems.varying().y)
    refused = anderson_step(p.A, p.y, before)
    assert np.array_equal(refused.x, before.x)
    assert np.array_equal(refused.residual, before.residual)
    assert not refused.gram.any()
    after = anderson_step(p.A, p.y, refused)
    assert np.allclose(after.x, before.x + before.residual, atol=1e-15)
    again = anderson_step(p.A, p.y, after)  # and from there it accelerates anew, from one difference
    change = after.residual - before.residual
    weight = np.sum(change * after.residual) / np.sum(change * change)
    combined = after.x + after.residual - weight * (after.x - before.x + change)
    assert np.allclose(again.x, combined, atol=1e-7)


def test_only_the_image_that_grows_is_refused():
    p, before = misled(problems.varying("numpy", "float64", (2,)).y, (2,))
    honest = anderson_step(p.A, p.y, anderson_init(p.A, p.y))
    pairs = zip(before.steps, honest.steps, strict=True)
    before = before._replace(steps=tuple(np.stack([wild[0], true[1]]) for wild, true in pairs))
    after = anderson_step(p.A, p.y, before)
    assert np.array_equal(after.x[0], before.x[0])
    alone = walk(p.A, p.y[1], 2)[-1]
    assert np.allclose(after.x[1], alone.x, atol=1e-14)
    assert not after.gram[0].any()
    assert after.gram[1].all()


def test_growth_up_to_the_stated_factor_is_taken():
    """A memory that lies a little: the residual grows, but by less than the factor."""
    y = problems.random_image((1, 2, 2))

    def step(lie):
        begun = AndersonState(np.zeros_like(y), y, (lie * y,), (y,), np.sum(y * y).reshape(1, 1, 1))
        return anderson_step(lambda x: x, y, begun)  # x = y - lie y, its residual lie y

    assert np.allclose(step(0.95 * MAX_GROWTH).residual, 0.95 * MAX_GROWTH * y, rtol=1e-6)
    assert not step(1.05 * MAX_GROWTH).x.any()


def test_a_value_that_is_no_number_is_refused_once():
    p, calls = problems.varying(), 0

    def broken(x):
        nonlocal calls
        calls += 1
        return p.A(x) * (np.nan if calls == 4 else 1.0)

    solution = solvers.fixed_point(broken, p.y, accelerate="anderson", tol=1e-8)
    assert solution.converged
    assert solution.residuals[3] == solution.residuals[2]

    def dead(x):
        return p.A(x) * (np.nan if broken(x) is not None and calls >= 4 else 1.0)

    calls = 0
    solution = solvers.fixed_point(dead, p.y, accelerate="anderson", tol=1e-8)
    assert solution.status is Status.NONFINITE
    assert np.isfinite(solution.x).all()


@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(1, 4))
def test_images_of_a_batch_do_not_know_of_each_other(seed, steps, memory):
    rng = np.random.default_rng(seed)
    matrices = np.stack([near_identity(rng, s) for s in (0.1, 0.6, 0.9)])
    y = rng.normal(size=(3, *SHAPE)) * np.asarray([1.0, 1e-3, 1e3]).reshape(3, 1, 1, 1)
    together = walk(problems.Matrix(matrices, SHAPE), y, steps, memory=memory)[-1]
    for i in range(3):
        alone = walk(problems.Matrix(matrices[i], SHAPE), y[i], steps, memory=memory)[-1]
        assert np.linalg.norm(together.x[i] - alone.x) <= 1e-9 * np.linalg.norm(alone.x)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_images_that_are_solved_or_lost_stay_for_themselves(namespace):
    gains = np.asarray([1.0, 0.5, np.nan, 0.9]).reshape(4, 1, 1, 1) * np.linspace(0.5, 1.0, 12).reshape(1, 3, 4) ** 2
    gains[0] = 1.0
    y = problems.random_image((4, 1, 3, 4))
    y[3] = 0.0
    spread, image = to_namespace(gains, namespace), to_namespace(y, namespace)
    solution = solvers.fixed_point(lambda x: spread * x, image, accelerate="anderson", tol=1e-6, max_iterations=60)
    expected = (Status.CONVERGED, Status.CONVERGED, Status.NONFINITE, Status.CONVERGED)
    assert solution.item_status == expected
    x = to_numpy(solution.x)
    assert np.array_equal(x[0], y[0])
    assert np.allclose(x[1], y[1] / gains[1], rtol=1e-4)
    assert np.array_equal(x[2], y[2])
    assert not x[3].any()


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_namespace_takes_the_same_steps(namespace, dtype):
    p = problems.varying(namespace, dtype, (2,))
    reference = problems.varying("numpy", "float64", (2,))
    got = walk(p.A, p.y, 6, damping=0.9, memory=3)[-1]
    assert got.x.dtype == p.y.dtype
    assert got.gram.shape == (2, 1, 3, 3)
    assert "float64" in str(got.gram.dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    assert np.abs(to_numpy(got.x) - walk(reference.A, reference.y, 6, damping=0.9, memory=3)[-1].x).max() < tolerance


@st.composite
def blurs(draw):
    """Blurs for which the plain iteration converges, with an image: circular ones, and varying ones that are no
    symmetric matrices."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        A = problems.CircularBlur(problems.gaussian_taps(draw(st.floats(0.3, 0.8)), 2), (1, 9, 10))
        assume(A.response.real.min() > 0.02)
    else:
        shifts = ((0, 0), (0, 1), (1, 0), (2, -1), (-1, -1))
        maps = rng.uniform(0.01, 1.0, (5, 9, 10)) ** 2
        maps[0] += draw(st.floats(1.0, 3.0)) * maps[1:].sum(axis=0)
        A = problems.VaryingBlur(maps / maps.sum(axis=0), shifts)
    return A, A.forward(rng.uniform(0.1, 1.0, (1, 9, 10)))


@examples(15)
@given(blurs(), st.sampled_from([1e-2, 1e-3, 1e-4]), st.integers(1, 8))
def test_it_never_costs_more_than_a_step_above_the_plain_iteration(blur, tol, memory):
    A, y = blur
    plain = solvers.fixed_point(A, y, tol=tol, max_iterations=600)
    fast = solvers.fixed_point(A, y, tol=tol, max_iterations=600, accelerate="anderson", memory=memory)
    assert plain.converged
    assert fast.converged
    assert fast.operator_applications <= plain.operator_applications + 1
    if plain.operator_applications >= 40 and memory >= 4:
        assert fast.operator_applications <= plain.operator_applications / 2


def test_what_it_is_worth_on_a_blur():
    """An image with the spectrum of a photo, seen through Gaussians of 0.4 to 1.5 px."""
    rng = np.random.default_rng(1)
    row, col = np.fft.fftfreq(24)[:, None], np.fft.fftfreq(32)[None, :]
    x = np.fft.ifft2(np.fft.fft2(rng.normal(size=(1, 24, 32))) / (1 / 32 + np.hypot(row, col))).real
    x = 0.5 + 0.1 * x / x.std()
    sigmas = (0.4, 0.8, 1.2, 1.5)
    radius = 1.9 + 1.1 * np.sin(np.linspace(0, 6, 32)) * np.ones((24, 1))
    A = bp.GKM(bp.maps.defocus_to_beta(radius, sigmas), sigmas=sigmas, channels=1)
    plain = solvers.fixed_point(A, A(x), tol=1e-4, max_iterations=400)
    fast = solvers.fixed_point(A, A(x), tol=1e-4, max_iterations=400, accelerate="anderson")
    assert plain.converged
    assert fast.converged
    assert fast.operator_applications <= plain.operator_applications / 5
    to_a_thousandth = [int(np.argmax(np.asarray(s.residuals) <= 1e-3)) + 1 for s in (plain, fast)]
    assert to_a_thousandth[1] <= to_a_thousandth[0] / 2  # less, because the easy part is easy for both


def test_it_often_converges_where_the_plain_iteration_does_not():
    p = problems.divergent()
    plain = solvers.fixed_point(p.A, p.y, tol=1e-10)
    fast = solvers.fixed_point(p.A, p.y, tol=1e-10, accelerate="anderson")
    assert plain.status is Status.DIVERGED
    assert fast.converged
    assert np.allclose(fast.x, p.x, atol=1e-8)


def test_gradcheck_through_the_steps():
    rng = np.random.default_rng(2)
    maps = rng.uniform(0.1, 1.0, (2, 2, 3))
    maps[0] += 2.0
    maps = torch.tensor(maps, requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (2, 1, 2, 3)), requires_grad=True)
    learned = torch.tensor([0.7, 0.9, 0.8, 1.1], dtype=torch.float64, requires_grad=True)

    def unrolled(y, maps, damping):
        A = problems.VaryingBlur(maps / maps.sum(dim=0, keepdim=True), ((0, 0), (0, 1)), 1)
        state = anderson_init(A, y)
        for d in damping:
            state = anderson_step(A, y, state, damping=d, memory=2)
        return state.x

    assert torch.autograd.gradcheck(unrolled, (y, maps, learned))


def test_gradients_stay_finite_where_an_image_is_solved_or_refused():
    y = problems.random_image((2, 1, 3, 4))
    y[0] = 0.0
    p, before = misled(problems.varying().y)
    image = torch.tensor(y, requires_grad=True)
    state = anderson_init(lambda x: 0.5 * x, image)
    for _ in range(4):
        state = anderson_step(lambda x: 0.5 * x, image, state)
    state.x.sum().backward()
    assert torch.isfinite(image.grad).all()
    leaf = torch.tensor(before.x, requires_grad=True)
    q = problems.varying("torch")
    told = AndersonState(
        leaf,
        q.y - q.A(leaf),
        *(tuple(torch.tensor(v) for v in part) for part in (before.steps, before.changes)),
        torch.tensor(before.gram),
    )
    refused = anderson_step(q.A, q.y, told)
    refused.x.sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(leaf))
