"""The hyper-Laplacian: scalars against brute force, images against laws and a minimiser of another kind."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.prox.hyper_laplacian import hyper_laplacian, hyper_laplacian_shrink
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

EXPONENTS = (1 / 2, 2 / 3)


def scalar_objective(w, v, beta, p):
    return np.abs(w) ** p + beta / 2 * (w - v) ** 2


def objective(z, x, strength, p):
    """The definition, with plain loops."""
    total = 0.5 * np.sum((z - x) ** 2)
    for channel in z.reshape(-1, *z.shape[-2:]):
        for m in range(channel.shape[0]):
            for n in range(channel.shape[1]):
                if m + 1 < channel.shape[0]:
                    total += strength * abs(channel[m + 1, n] - channel[m, n]) ** p
                if n + 1 < channel.shape[1]:
                    total += strength * abs(channel[m, n + 1] - channel[m, n]) ** p
    return total


# ---- the scalar problem ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", EXPONENTS)
@given(st.floats(-12, 12), st.floats(-4, 6))
def test_shrink_is_the_global_minimum(p, times, exponent):
    """Against a fine grid, refined around its best point by golden section."""
    beta = 10.0**exponent
    v = times * beta ** (-1 / (2 - p))
    w = float(hyper_laplacian_shrink(np.asarray([v]), beta, p)[0])
    grid = np.linspace(0.0, v, 2001)
    best = grid[np.argmin(scalar_objective(grid, v, beta, p))]
    step = abs(v) / 2000
    found = scipy.optimize.minimize_scalar(
        lambda u: scalar_objective(u, v, beta, p), bounds=(best - step, best + step), method="bounded"
    )
    lowest = min(found.fun, scalar_objective(best, v, beta, p))
    scale = beta ** (-p / (2 - p))
    assert scalar_objective(w, v, beta, p) <= lowest + 1e-12 * scale * (1 + times**2)
    if w != 0:
        slope = p * abs(w) ** (p - 1) * np.sign(w) + beta * (w - v)
        assert abs(slope) <= 1e-12 * beta * abs(v)


@pytest.mark.parametrize("p", EXPONENTS)
def test_the_jump_is_where_both_sides_cost_the_same(p):
    beta = 3.0
    low, high = 0.0, 5.0
    while high - low > 1e-14:
        middle = (low + high) / 2
        low, high = (low, middle) if hyper_laplacian_shrink(np.asarray([middle]), beta, p)[0] else (middle, high)
    w = hyper_laplacian_shrink(np.asarray([high]), beta, p)[0]
    assert w > 0.1
    assert scalar_objective(w, high, beta, p) == pytest.approx(scalar_objective(0.0, high, beta, p), rel=1e-12)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", EXPONENTS)
def test_shrink_in_every_namespace_up_to_the_largest_numbers(namespace, dtype, p):
    huge = 1e30 if dtype == "float32" else 1e200
    v = np.asarray([[-huge, -1e9, -1e7, -3.0, -1.4, 0.0], [1e-30, 0.3, 1.6, 2.5, 1e8, huge]], dtype=dtype)
    numbers = to_namespace(v, namespace)
    w = hyper_laplacian_shrink(numbers, 1.0, p)
    assert w.dtype == numbers.dtype
    w = to_numpy(w)
    exact = v.astype(np.float64)
    for _ in range(60):  # Newton from the right, for what is not zero
        a = np.maximum(np.abs(exact), 1e-3)
        exact = np.where(
            np.abs(v) > 1.5,
            np.sign(v) * (a - (p * a ** (p - 1) + a - np.abs(v.astype(np.float64))) / (1 - p * (1 - p) * a ** (p - 2))),
            0,
        )
    assert np.allclose(w, exact, rtol=3e-6 if dtype == "float32" else 1e-13, atol=0)


@given(st.floats(-4, 4), st.floats(1e-3, 1e3), st.sampled_from(EXPONENTS))
def test_shrink_is_odd_and_keeps_the_order(times, beta, p):
    v = times * beta ** (-1 / (2 - p)) * np.asarray([1.0, -1.0, 1.1])
    w = hyper_laplacian_shrink(v, beta, p)
    assert w[0] == -w[1]
    assert abs(w[2]) >= abs(w[0])
    assert np.all(np.abs(w) <= np.abs(v))


def test_shrink_takes_a_weight_per_number():
    v, beta = np.asarray([1.0, 2.0, 3.0]), np.asarray([0.5, 5.0, 50.0])
    for p in EXPONENTS:
        one_by_one = [hyper_laplacian_shrink(v[i : i + 1], float(beta[i]), p)[0] for i in range(3)]
        assert np.allclose(hyper_laplacian_shrink(v, beta, p), one_by_one, rtol=1e-13)


# ---- the prior of images --------------------------------------------------------------------------------------------


@given(
    st.sampled_from([(1, 2, 3), (2, 5, 4), (2, 3, 6, 7)]),
    st.floats(-4, 0),
    st.sampled_from(EXPONENTS),
    st.integers(0, 2**16),
)
@examples(8)
def test_it_beats_what_is_at_hand(shape, exponent, p, seed):
    """The result is better than the image itself, its mean, and small changes of the result on average."""
    rng = np.random.default_rng(seed)
    x, strength = rng.normal(size=shape), 10.0**exponent
    z = hyper_laplacian(x, strength, p=p, iterations=30)
    ours = objective(z, x, strength, p)
    flat = np.broadcast_to(x.mean(axis=(-2, -1), keepdims=True), shape)
    assert ours <= min(objective(x, x, strength, p), 1.2 * objective(flat, x, strength, p)) + 1e-9
    changed = [objective(z + 0.03 * rng.normal(size=shape), x, strength, p) for _ in range(4)]
    assert ours < np.mean(changed)


@pytest.mark.parametrize("p", EXPONENTS)
def test_two_pixels_have_an_exact_answer(p):
    """z = mean -+ d / 2, where d minimises 1/4 (d - D)^2 + strength |d|^p: the scalar problem with beta = 1 / (2 s)."""
    for gap in (0.05, 0.4, 2.0):
        x = np.asarray([[[0.5 - gap / 2, 0.5 + gap / 2]]])
        for strength in (1e-3, 1e-2, 0.5):
            z = hyper_laplacian(x, strength, p=p, iterations=120)
            d = hyper_laplacian_shrink(np.asarray([gap]), 1 / (2 * strength), p)[0]
            assert z.sum() == pytest.approx(1.0, abs=1e-12)
            assert z[0, 0, 1] - z[0, 0, 0] == pytest.approx(d, abs=5e-3 * gap)


@given(st.floats(-3, -1), st.sampled_from(EXPONENTS), st.floats(0.1, 10), st.integers(0, 2**16))
@examples(8)
def test_symmetries(exponent, p, scale, seed):
    x, strength = np.random.default_rng(seed).random((2, 5, 6)), 10.0**exponent
    z = hyper_laplacian(x, strength, p=p)
    assert np.allclose(z.mean(axis=(-2, -1)), x.mean(axis=(-2, -1)), atol=1e-12)  # the light is kept
    assert np.allclose(hyper_laplacian(x + 3, strength, p=p), z + 3, atol=1e-9)
    assert np.allclose(hyper_laplacian(scale * x, scale ** (2 - p) * strength, p=p), scale * z, atol=1e-9)
    assert np.allclose(hyper_laplacian(-x, strength, p=p), -z, atol=1e-12)
    flipped = hyper_laplacian(np.swapaxes(x, -1, -2).copy(), strength, p=p)
    assert np.allclose(np.swapaxes(flipped, -1, -2), z, atol=1e-9)


def test_an_edge_survives_where_noise_goes():
    rng = np.random.default_rng(0)
    clean = np.zeros((1, 24, 30))
    clean[..., 14:] = 1.0
    noisy = clean + 0.05 * rng.normal(size=clean.shape)
    z = hyper_laplacian(noisy, 0.05)
    assert np.linalg.norm(z - clean) < 0.25 * np.linalg.norm(noisy - clean)
    assert np.abs((z[..., 14] - z[..., 13]) - 1).max() < 0.05


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (1, 1, 4), (1, 5, 1), (1, 1, 1)])
def test_the_fft_and_scipys_cosine_transform_agree(namespace, dtype, shape):
    x = problems.random_image(shape).astype(dtype)
    image = to_namespace(x, namespace)
    strength = to_namespace(np.asarray(0.01, dtype=dtype), namespace)  # an array: the path of array operations
    stepped, whole = (hyper_laplacian(image, s, p=0.5, iterations=4) for s in (strength, 0.01))
    assert stepped.dtype == whole.dtype == image.dtype
    assert type(stepped) is type(whole) is type(image)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    assert np.abs(to_numpy(stepped) - to_numpy(whole)).max() < tolerance
    assert np.abs(to_numpy(whole) - hyper_laplacian(x, 0.01, p=0.5, iterations=4)).max() < tolerance
    assert np.array_equal(to_numpy(image), x)


def test_threads_and_batches_change_nothing():
    x = problems.random_image((3, 190, 200)).astype("float32")  # large enough for the pool
    planes = np.stack([hyper_laplacian(x[c : c + 1], 0.01, iterations=2)[0] for c in range(3)])
    assert np.array_equal(hyper_laplacian(x, 0.01, iterations=2), planes)


def test_zero_strength_returns_a_copy():
    x = problems.random_image((1, 3, 4))
    z = hyper_laplacian(x, 0.0)
    assert np.array_equal(z, x)
    assert z is not x


@pytest.mark.parametrize("p", EXPONENTS)
def test_gradients(p):
    torch.manual_seed(0)
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    strength = torch.tensor(0.02, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: hyper_laplacian(x, s, p=p, iterations=3), (x, strength), fast_mode=True
    )
    v = torch.tensor([-3.0, -0.2, 0.0, 2.0, 1e9], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, b: hyper_laplacian_shrink(v, b, p)[:4], (v, beta))
    hyper_laplacian_shrink(v, beta, p).sum().backward()
    assert torch.isfinite(v.grad).all()
    assert v.grad[1] == v.grad[2] == 0
    assert v.grad[4] == pytest.approx(1)


@examples(10)
@given(st.integers(0, 2**16))
def test_a_batch_is_its_images(seed):
    x = np.random.default_rng(seed).random((2, 1, 4, 5))
    both = hyper_laplacian(x, np.asarray([0.01, 0.1]).reshape(2, 1, 1, 1))
    for i, strength in enumerate((0.01, 0.1)):
        assert np.allclose(both[i], hyper_laplacian(x[i], strength), atol=1e-12)


@pytest.mark.parametrize("p", [0.3, 1.0, 0, "half", None, True])
def test_a_bad_exponent(p):
    with pytest.raises(ValueError, match="p must be 1/2 or 2/3"):
        hyper_laplacian(np.zeros((1, 2, 2)), 0.1, p=p)
    with pytest.raises(ValueError, match="p must be 1/2 or 2/3"):
        hyper_laplacian_shrink(np.zeros(2), 0.1, p)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "much", True])
def test_bad_weights(bad):
    with pytest.raises(ValueError, match="strength must be a finite number, zero or larger"):
        hyper_laplacian(np.zeros((1, 2, 2)), bad)
    with pytest.raises(ValueError, match="beta must be a positive finite number"):
        hyper_laplacian_shrink(np.zeros(2), bad)


def test_other_bad_input():
    with pytest.raises(ValueError, match="beta must be a positive finite number"):
        hyper_laplacian_shrink(np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="iterations must be an integer >= 1"):
        hyper_laplacian(np.zeros((1, 2, 2)), 0.1, iterations=0)
    with pytest.raises(ValueError, match="shape"):
        hyper_laplacian(np.zeros((2, 2)), 0.1)
    with pytest.raises(TypeError, match="floating"):
        hyper_laplacian(np.zeros((1, 2, 2), dtype=np.uint8), 0.1)
