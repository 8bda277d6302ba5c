"""The total variation prox against independent oracles."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle

import solvers
from solvers.prox.total_variation import denoiser, nonnegative
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def total_variation(z, joint=False, smooth=0.0):
    """The definition, with plain loops."""
    channels, height, width = z.shape
    total = 0.0
    for m in range(height):
        for n in range(width):
            down = [z[c, m + 1, n] - z[c, m, n] if m + 1 < height else 0.0 for c in range(channels)]
            right = [z[c, m, n + 1] - z[c, m, n] if n + 1 < width else 0.0 for c in range(channels)]
            squares = [d * d + r * r for d, r in zip(down, right, strict=True)]
            total += np.sqrt(sum(squares) + smooth) if joint else sum(np.sqrt(s + smooth) for s in squares)
    return total


def objective(z, x, strength, joint):
    return 0.5 * np.sum((z - x) ** 2) + strength * total_variation(z, joint)


@pytest.mark.parametrize("strength", [0.02, 0.1, 0.5])
def test_it_is_the_converged_chambolle_of_scikit_image(strength):
    x = problems.random_image((3, 5, 6))
    expected = denoise_tv_chambolle(x, weight=strength, eps=1e-13, max_num_iter=20000, channel_axis=0)
    assert np.abs(solvers.tv(x, strength, iterations=3000) - expected).max() < 1e-6


@pytest.mark.parametrize("joint", [False, True])
def test_it_minimises_the_stated_objective(joint):
    x, strength = problems.random_image((2, 2, 3)), 0.15
    z = solvers.tv(x, strength, iterations=4000, joint=joint)

    def smoothed(flat):
        v = flat.reshape(x.shape)
        return 0.5 * np.sum((v - x) ** 2) + strength * total_variation(v, joint, smooth=1e-10)

    found = scipy.optimize.minimize(smoothed, x.ravel(), method="L-BFGS-B", options={"maxiter": 500, "maxfun": 50000})
    ours, theirs = objective(z, x, strength, joint), objective(found.x.reshape(x.shape), x, strength, joint)
    assert ours <= theirs + 1e-9
    assert abs(ours - theirs) < 1e-3
    rng = np.random.default_rng(0)
    for scale in (1e-1, 1e-3, 1e-5):
        assert ours <= objective(z + scale * rng.normal(size=z.shape), x, strength, joint)


@given(
    st.sampled_from([(1, 1, 1), (2, 1, 5), (1, 6, 1), (3, 4, 5), (2, 3, 4, 3)]),
    st.floats(0, 2),
    st.booleans(),
    st.integers(0, 2**16),
)
@examples(60)
def test_laws_of_a_proximal_map(shape, strength, joint, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=shape), rng.normal(size=shape)
    p, q = (solvers.tv(v, strength, joint=joint) for v in (x, y))
    assert np.allclose(p.mean(axis=(-2, -1)), x.mean(axis=(-2, -1)), atol=1e-12)  # every iterate keeps the light
    assert np.allclose(solvers.tv(x + 3, strength, joint=joint), p + 3, atol=1e-9)
    assert np.allclose(solvers.tv(2 * x, 2 * strength, joint=joint), 2 * p, atol=1e-9)
    p, q = (solvers.tv(v, strength, iterations=150, joint=joint) for v in (x, y))
    assert np.sum((p - q) ** 2) <= np.sum((p - q) * (x - y)) + 2e-2 * np.sum((x - y) ** 2)  # firmly non-expansive


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("joint", [False, True])
def test_steps_and_the_in_place_path_agree(namespace, dtype, joint):
    x = problems.random_image((2, 3, 6, 5)).astype(dtype)
    image = to_namespace(x, namespace)
    state = solvers.tv_init(image)
    for _ in range(12):
        state = solvers.tv_step(image, 0.2, state, joint=joint)
    stepped = solvers.tv_image(image, state)
    whole = solvers.tv(image, 0.2, iterations=12, joint=joint)
    assert stepped.dtype == whole.dtype == image.dtype
    assert type(whole) is type(image)
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert np.abs(to_numpy(stepped) - to_numpy(whole)).max() < tolerance
    assert np.abs(to_numpy(whole) - solvers.tv(x, 0.2, iterations=12, joint=joint)).max() < tolerance
    assert np.array_equal(to_numpy(image), x)


def test_threads_change_nothing():
    x = problems.random_image((3, 190, 200)).astype("float32")  # large enough for the pool
    planes = np.stack([solvers.tv(x[c : c + 1, :, :], 0.1, iterations=5)[0] for c in range(3)])
    assert np.array_equal(solvers.tv(x, 0.1, iterations=5), planes)


def test_a_warm_start_is_nearer():
    x = problems.random_image((1, 20, 20))
    exact = solvers.tv(x, 0.1, iterations=3000)
    warm = solvers.tv_init(x)
    for _ in range(100):
        warm = solvers.tv_step(x, 0.1, warm)
    moved = x + 0.01 * np.random.default_rng(1).normal(size=x.shape)
    exact = solvers.tv(moved, 0.1, iterations=3000)
    cold = solvers.tv_init(moved)
    warm = warm._replace(momentum=1.0)
    for _ in range(10):
        warm, cold = solvers.tv_step(moved, 0.1, warm), solvers.tv_step(moved, 0.1, cold)
    errors = [np.linalg.norm(solvers.tv_image(moved, state) - exact) for state in (warm, cold)]
    assert errors[0] < 0.3 * errors[1]


def test_zero_strength_and_the_accuracy_that_is_promised():
    from skimage.data import astronaut

    x = np.moveaxis(astronaut()[100:228:2, 150:278:2], -1, 0) / 255.0
    assert np.array_equal(solvers.tv(x, 0.0), x)
    exact = solvers.tv(x, 0.05, iterations=1500)
    assert np.linalg.norm(solvers.tv(x, 0.05) - exact) < 3e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "much", True])
def test_bad_strength(bad):
    with pytest.raises(ValueError, match="strength must be a finite number, zero or larger"):
        solvers.tv(np.zeros((1, 2, 2)), bad)


# ---- the anisotropic variation --------------------------------------------------------------------------------------


def anisotropic_objective(z, x, strength, joint=False):
    """The definition: absolute differences to the row below and to the column on the right, each by itself."""
    down, right = z[:, 1:] - z[:, :-1], z[..., 1:] - z[..., :-1]
    size = sum(np.sqrt((d * d).sum(axis=0)).sum() if joint else np.abs(d).sum() for d in (down, right))
    return 0.5 * np.sum((z - x) ** 2) + strength * size


@pytest.mark.parametrize("strength", [0.02, 0.15, 0.6])
def test_anisotropic_is_the_quadratic_program(strength):
    """min 1/2 ||x - D^T p||^2 over |p| <= strength, solved by SciPy with the matrix D."""
    x = problems.random_image((1, 4, 5))
    units = np.eye(20).reshape(20, 4, 5)
    rows = [(units[:, 1:] - units[:, :-1]).reshape(20, -1), (units[..., 1:] - units[..., :-1]).reshape(20, -1)]
    d = np.concatenate(rows, axis=1).T
    found = scipy.optimize.lsq_linear(d.T, x.ravel(), bounds=(-strength, strength), method="bvls", tol=1e-14)
    expected = (x.ravel() - d.T @ found.x).reshape(x.shape)
    assert np.abs(solvers.tv(x, strength, iterations=3000, isotropic=False) - expected).max() < 1e-7


def test_one_line_has_no_direction():
    x = problems.random_image((1, 1, 9))
    assert np.allclose(solvers.tv(x, 0.2, isotropic=False), solvers.tv(x, 0.2), atol=1e-12)
    assert (
        np.abs(solvers.tv(x.reshape(1, 3, 3), 0.2, isotropic=False) - solvers.tv(x.reshape(1, 3, 3), 0.2)).max() > 0.01
    )


@given(st.floats(0, 1), st.booleans(), st.integers(0, 2**16))
@examples(8)
def test_no_other_image_has_a_lower_objective(strength, joint, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, 4))
    z = solvers.tv(x, strength, iterations=800, joint=joint, isotropic=False)
    ours = anisotropic_objective(z, x, strength, joint)
    flat = np.broadcast_to(x.mean(axis=(-2, -1), keepdims=True), x.shape)
    for rival in (x, flat, *(z + scale * rng.normal(size=x.shape) for scale in (0.3, 1e-2, 1e-3))):
        lead = 0.5 * np.sum((rival - z) ** 2)  # strong convexity
        assert ours + lead <= anisotropic_objective(rival, x, strength, joint) + 1e-4


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("joint", [False, True])
def test_anisotropic_steps_and_the_in_place_path_agree(namespace, dtype, joint):
    x = problems.random_image((2, 3, 6, 5)).astype(dtype)
    image = to_namespace(x, namespace)
    state = solvers.tv_init(image)
    for _ in range(12):
        state = solvers.tv_step(image, 0.2, state, joint=joint, isotropic=False)
    stepped = solvers.tv_image(image, state)
    whole = solvers.tv(image, 0.2, iterations=12, joint=joint, isotropic=False)
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert stepped.dtype == whole.dtype == image.dtype
    assert np.abs(to_numpy(stepped) - to_numpy(whole)).max() < tolerance
    expected = solvers.tv(x, 0.2, iterations=12, joint=joint, isotropic=False)
    assert np.abs(to_numpy(whole) - expected).max() < tolerance
    assert np.abs(expected - solvers.tv(x, 0.2, iterations=12, joint=joint)).max() > 1e-3


@pytest.mark.parametrize("joint", [False, True])
def test_gradients_of_the_anisotropic_variation(joint):
    torch.manual_seed(0)
    x = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    strength = torch.tensor(0.11, dtype=torch.float64, requires_grad=True)

    def denoised(x, s):
        return solvers.tv(x, s, iterations=4, joint=joint, isotropic=False)

    assert torch.autograd.gradcheck(denoised, (x, strength), fast_mode=True)


# ---- what is made of other maps -------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.integers(0, 2**16))
@examples(8)
def test_nonnegative_is_exact_for_the_anisotropic_variation(strength, seed):
    """No other image without negative values has a lower objective."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, 3, 4))
    prox = nonnegative(lambda v, s: solvers.tv(v, s, iterations=800, isotropic=False))
    z = prox(x, strength)
    assert z.min() >= 0
    ours = anisotropic_objective(z, x, strength)
    flat = np.full(x.shape, max(x.mean(), 0))
    rivals = [np.maximum(x, 0), flat, *(z + scale * rng.normal(size=x.shape) for scale in (0.3, 1e-2, 1e-3))]
    for rival in rivals:
        rival = np.maximum(rival, 0)
        lead = 0.5 * np.sum((rival - z) ** 2)
        assert ours + lead <= anisotropic_objective(rival, x, strength) + 1e-4


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_nonnegative_in_every_namespace(namespace):
    x = to_namespace(np.asarray([[[-1.0, 3.0, 0.0]]], dtype="float32"), namespace)
    z = nonnegative(lambda v, s: v / (1 + s))(x, 0.5)
    assert z.dtype == x.dtype
    assert to_numpy(z).tolist() == [[[0.0, 2.0, 0.0]]]


def test_a_denoiser_sees_the_standard_deviation():
    seen = []

    def smooth(x, sigma):
        seen.append(sigma)
        return x

    p = problems.varying()
    solvers.hqs(p.A, p.y, prox=denoiser(smooth), rho=(0.5, 2.0), strength=0.08)
    assert np.allclose(seen, [0.4, 0.2])
    variance = torch.tensor(0.25, requires_grad=True)
    denoiser(lambda x, sigma: sigma * x)(torch.ones(1, 2, 2), variance).sum().backward()
    assert variance.grad == pytest.approx(4.0)  # 4 pixels, d sqrt(v) / dv = 1


@pytest.mark.parametrize(("make", "what"), [(nonnegative, "prox"), (denoiser, "f")])
def test_what_cannot_be_called(make, what):
    with pytest.raises(ValueError, match=f"{what} must be callable"):
        make("tv")


def test_bad_iterations():
    with pytest.raises(ValueError, match="iterations must be an integer >= 1"):
        solvers.tv(np.zeros((1, 2, 2)), 0.1, iterations=0)


def test_bad_images():
    with pytest.raises(ValueError, match="shape"):
        solvers.tv(np.zeros((2, 2)), 0.1)
    with pytest.raises(TypeError, match="floating"):
        solvers.tv(np.zeros((1, 2, 2), dtype=np.uint8), 0.1)
