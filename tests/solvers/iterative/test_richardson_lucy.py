"""Richardson-Lucy: scikit-image, the light that is kept, the likelihood that never falls, and a smooth minimiser."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.restoration import richardson_lucy as skimage_richardson_lucy

import blurphys as bp
from solvers import Status
from solvers.iterative.richardson_lucy import (
    RichardsonLucyState,
    richardson_lucy,
    richardson_lucy_init,
    richardson_lucy_step,
)
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy


def photons(seed, shape=(2, 5, 6), mean=30.0):
    """Counts with some zeros among them."""
    rng = np.random.default_rng(seed)
    return rng.poisson(mean * rng.random(shape)).astype(float)


def skewed():
    """Three taps: cheap, not symmetric, every eigenvalue at least 0.2 from zero, A^T 1 = 1."""
    A = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, (1, 4, 5))
    return problems.problem(A, problems.random_image((1, 4, 5)), "numpy", "float64")


def likelihood(A, x, y, background=0.0):
    seen = A(x) + background
    return float(np.sum(np.where(y > 0, y * np.log(np.maximum(seen, 1e-300)), 0.0) - seen))


def test_it_is_that_of_scikit_image_inside_the_frame():
    """There A^T 1 is one; the border, where only ours divides by it, comes closer by two radii in every step."""
    psf = np.asarray([[0.05, 0.1, 0.0], [0.2, 0.3, 0.15], [0.0, 0.1, 0.1]])
    sharp = problems.random_image((34, 40))
    A = bp.Convolution(psf, shape=(1, 34, 40), boundary="zero")
    y = A(sharp[None])
    steps, reach = 5, 2 * 5
    expected = skimage_richardson_lucy(y[0], psf, num_iter=steps, clip=False)
    found = richardson_lucy(A, y, x0=np.full_like(y, 0.5), max_iterations=steps, tol=1e-300)
    inside = (slice(reach, -reach), slice(reach, -reach))
    assert found.iterations == steps
    assert np.abs(found.x[0][inside] - expected[inside]).max() < 1e-9
    assert np.abs(expected[inside] - y[0][inside]).max() > 0.05


@given(st.integers(0, 2**16))
def test_the_light_is_kept_and_nothing_is_negative(seed):
    p = problems.varying()
    y = photons(seed, p.y.shape)
    sensitivity = p.A.adjoint(np.ones_like(y))
    state = richardson_lucy_init(p.A, y, x0=np.full_like(y, y.mean()))
    for _ in range(5):
        state = richardson_lucy_step(p.A, y, state)
        assert np.sum(sensitivity * state.x) == pytest.approx(y.sum(), rel=1e-12)
        assert state.x.min() >= 0
    # where every input pixel gives all its light: the sum itself
    uniform = skewed()
    y = photons(seed, uniform.y.shape)
    assert richardson_lucy(uniform.A, y, max_iterations=7).x.sum() == pytest.approx(y.sum(), rel=1e-12)


@given(st.integers(0, 2**16), st.floats(0, 5))
def test_the_likelihood_never_falls(seed, background):
    p = problems.varying()
    y = photons(seed, p.y.shape)
    values, states = [], []
    richardson_lucy(
        p.A, y, background=background, tol=1e-300, max_iterations=12, on_step=lambda _, s: states.append(s.x)
    )
    values = [likelihood(p.A, x, y, background) for x in states]
    assert all(b >= a - 1e-9 * abs(a) for a, b in zip(values, values[1:], strict=False))


def test_the_limit_maximises_the_likelihood():
    """Kuhn-Tucker: the gradient is zero where x > 0 and not positive elsewhere."""
    p = skewed()
    y = photons(1, p.y.shape)
    x = richardson_lucy(p.A, y, background=2.0, tol=1e-300, max_iterations=1000).x
    gradient = p.A.adjoint(y / (p.A(x) + 2.0)) - p.A.adjoint(np.ones_like(y))
    assert np.abs(x / x.max() * gradient).max() < 1e-4
    assert gradient.max() < 1e-2
    assert (x < 1e-3 * x.max()).any()


def test_a_noiseless_image_is_recovered():
    p = skewed()
    solution = richardson_lucy(p.A, p.y, tol=1e-8, max_iterations=3000)
    assert solution.status is Status.CONVERGED
    assert np.abs(solution.x - p.x).max() < 1e-4
    assert solution.residuals[-1] < 1e-5
    hazy = richardson_lucy(p.A, p.y + 0.5, background=0.5, tol=1e-8, max_iterations=3000)
    assert np.abs(hazy.x - p.x).max() < 1e-3


@given(st.integers(0, 2**16), st.floats(1e-3, 1e3))
def test_the_unit_of_the_image_does_not_matter(seed, unit):
    p = problems.varying()
    y = photons(seed, p.y.shape)
    x = richardson_lucy(p.A, y, max_iterations=5, tol=1e-300).x
    assert np.allclose(richardson_lucy(p.A, unit * y, max_iterations=5, tol=1e-300).x, unit * x, rtol=1e-9)


def test_a_mild_total_variation_minimises_its_functional():
    """A = I: sum x - y log x + strength TV(x), smoothed a little, against L-BFGS."""
    A = problems.CircularBlur({(0, 0): 1.0}, (1, 5, 6))
    y, strength = problems.random_image((1, 5, 6)), 0.003

    def functional(log_x):
        x = np.exp(log_x.reshape(y.shape))
        down, right = np.zeros_like(x), np.zeros_like(x)
        down[..., :-1, :], right[..., :-1] = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
        return np.sum(x - y * np.log(x)) + strength * np.sum(np.sqrt(down**2 + right**2 + 1e-10))

    found = scipy.optimize.minimize(functional, np.log(y).ravel(), method="L-BFGS-B", options={"maxfun": 100000}).fun
    x = richardson_lucy(A, y, tv_strength=strength, max_iterations=60, tol=1e-300).x
    possible = functional(np.log(y)) - found  # without the prior the image is y
    assert possible > 1e-5
    assert functional(np.log(x)) - found < 0.02 * possible


def test_total_variation_helps_against_noise():
    rng = np.random.default_rng(0)
    sharp = np.full((1, 30, 32), 0.1)
    sharp[:, 8:22, 9:24] = 0.9
    A = problems.CircularBlur(problems.gaussian_taps(1.2, 4), sharp.shape)
    y = rng.poisson(200 * A(sharp)) / 200
    error = {
        s: np.linalg.norm(richardson_lucy(A, y, tv_strength=s, max_iterations=60, tol=1e-300).x - sharp)
        for s in (0.0, 0.02)
    }
    assert error[0.02] < 0.7 * error[0.0]
    assert error[0.02] < np.linalg.norm(y - sharp)


def test_the_solver_takes_the_same_steps():
    p = problems.varying()
    y, seen = photons(3, p.y.shape), []
    state = richardson_lucy_init(p.A, y, x0=p.y)
    for _ in range(4):
        state = richardson_lucy_step(p.A, y, state, background=1.0, tv_strength=0.01)
    solution = richardson_lucy(
        p.A, y, x0=p.y, background=1.0, tv_strength=0.01, tol=1e-300, max_iterations=4,
        on_step=lambda k, s: seen.append((k, s)),
    )  # fmt: skip
    assert (solution.iterations, solution.status) == (4, Status.MAX_ITERATIONS)
    assert np.allclose(solution.x, state.x, rtol=1e-13)
    assert solution.operator_applications == 2 + 2 * 4
    assert [k for k, _ in seen] == [1, 2, 3, 4]
    assert isinstance(seen[-1][1], RichardsonLucyState)
    misfit = np.linalg.norm(y - p.A(solution.x) - 1.0) / np.linalg.norm(y)
    assert solution.residuals[-1] == pytest.approx(misfit)


def test_images_of_a_batch_are_solved_alone():
    p = problems.varying()
    y = np.stack([photons(4, p.y.shape), 1e-3 * photons(5, p.y.shape)])
    both = richardson_lucy(p.A, y, tol=1e-3, max_iterations=300)
    assert both.converged
    for i in range(2):
        alone = richardson_lucy(p.A, y[i], tol=1e-3, max_iterations=300)
        assert np.allclose(both.x[i], alone.x, rtol=1e-9)


@given(st.integers(0, 2**16))
@examples(15)
def test_only_observed_pixels_count(seed):
    p = problems.varying()
    y = photons(seed, p.y.shape)
    mask = np.random.default_rng(seed).random(y.shape) < 0.7
    mask[..., 0, 0] = True
    runs = [
        richardson_lucy(p.A, np.where(mask, y, junk), mask=mask, tol=1e-300, max_iterations=6).x
        for junk in (0.0, -5.0, np.nan)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])
    weight = p.A.adjoint(mask.astype(float))
    assert np.sum(weight * runs[0]) == pytest.approx(y[mask].sum(), rel=1e-10)
    hazy = [
        richardson_lucy(p.A, y, mask=m, background=2.0, tol=1e-300, max_iterations=6).x
        for m in (np.ones(y.shape, dtype=bool), None)
    ]
    assert np.allclose(hazy[0], hazy[1], rtol=1e-12)


def test_pixels_that_nothing_sees_keep_their_start():
    A = problems.Matrix(np.asarray([[1.0, 0.0, 0.5], [0.5, 0.0, 1.0]]), (1, 1, 3), (1, 1, 2))
    x0 = np.asarray([[[1.0, 0.25, 2.0]]])
    x = richardson_lucy(A, np.asarray([[[2.0, 2.0]]]), x0=x0, tol=1e-8, max_iterations=500).x
    assert x[0, 0, 1] == 0.25
    assert np.allclose(x[0, 0, ::2], 4 / 3, atol=1e-3)


def test_it_ends_at_the_noise():
    p = skewed()
    y = p.y + 0.02 * np.random.default_rng(0).normal(size=p.y.shape)
    solution = richardson_lucy(p.A, y, noise_level=0.02, tol=1e-12, max_iterations=500)
    level = 0.02 * np.sqrt(y.size) / np.linalg.norm(y)
    assert solution.status is Status.NOISE_LEVEL
    assert solution.residuals[-1] <= level < solution.residuals[-2]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_noise_is_that_of_the_image_without_its_negative_values(k):
    """They are no part of the residual either: the first iterate is taken whose residual is down to the level."""
    A = problems.CircularBlur({(0, 0): 0.6, (0, 1): 0.25, (1, 0): 0.15}, (1, 24, 24))
    rng, sharp = np.random.default_rng(0), np.zeros(A.in_shape)
    sharp[0, 3:21, 3:21] = 0.4 * (rng.random((18, 18)) < 0.5)
    y = A(sharp) + 0.02 * rng.normal(size=sharp.shape)
    light, seen = np.maximum(y, 0), []
    richardson_lucy(A, y, tol=1e-300, max_iterations=k, on_step=lambda _, s: seen.append(light - A(s.x)))
    ratio = np.linalg.norm(y) / np.linalg.norm(light)
    level = np.sqrt(ratio * np.mean(seen[-1] ** 2))
    solution = richardson_lucy(A, y, noise_level=level, tol=1e-300, max_iterations=50)
    assert ratio > 1.001
    assert (solution.status, solution.iterations) == (Status.NOISE_LEVEL, k)


@pytest.mark.parametrize("noise_level", [None, 1e-3])
def test_a_start_is_light_too(noise_level):
    A = bp.GKM(np.full((1, 24, 32), 1.0), sigmas=(1.0,))
    start = half_black()
    start[0, 1, 2] = -0.25
    with pytest.raises(ValueError, match=r"richardson_lucy: x0 must not be negative .*got -0.25"):
        richardson_lucy(A, A(half_black()), x0=start, noise_level=noise_level)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace(namespace, dtype):
    p = problems.varying(namespace, dtype, (2,))
    before = to_numpy(p.y).copy()
    solution = richardson_lucy(p.A, p.y, tv_strength=0.01, background=0.05, max_iterations=5)
    reference = problems.varying("numpy", "float64", (2,))
    expected = richardson_lucy(reference.A, reference.y, tv_strength=0.01, background=0.05, max_iterations=5)
    assert solution.x.dtype == p.y.dtype
    assert np.abs(to_numpy(solution.x) - expected.x).max() < (1e-10 if dtype == "float64" else 1e-4)
    assert np.array_equal(to_numpy(p.y), before)


def test_gradcheck_through_unrolled_steps():
    rng = np.random.default_rng(2)
    maps = rng.uniform(0.1, 1.0, (3, 3, 4))
    maps[0] += 2.0
    maps = torch.tensor(maps / maps.sum(axis=0), requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (2, 1, 3, 4)), requires_grad=True)
    learned = torch.tensor([0.2, 0.05], dtype=torch.float64, requires_grad=True)

    def unrolled(y, maps, learned):
        A = problems.VaryingBlur(maps, ((0, 0), (0, 1), (1, 0)), 1)
        state = richardson_lucy_init(A, y, x0=y)
        for _ in range(2):
            state = richardson_lucy_step(A, y, state, background=learned[0], tv_strength=learned[1])
        return state.x

    assert torch.autograd.gradcheck(unrolled, (y, maps, learned), fast_mode=True)


def test_images_of_zeros():
    p = problems.varying()
    solution = richardson_lucy(p.A, 0 * p.y)
    assert solution.converged
    assert not solution.x.any()
    both = richardson_lucy(p.A, np.stack([0 * p.y, p.y]), max_iterations=3)
    assert not both.x[0].any()
    assert np.isfinite(both.x).all()


def half_black(shape=(3, 24, 32)):
    """A smooth scene of which a half is black."""
    scene = np.zeros(shape)
    scene[:, 4:-4, 14:-4] = np.linspace(0.2, 0.9, shape[-1] - 18)
    return scene


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("kind", ["rounding", "fft", "read noise", "one value"])
def test_noise_and_rounding_around_black_count_as_zero(kind, namespace, dtype):
    A = bp.GKM(np.full((1, 24, 32), 1.0), sigmas=(1.0,))
    blurred = A(half_black())
    y = np.asarray(blurred, dtype=dtype)
    if kind == "rounding":
        y = np.where(y == 0, np.asarray(-1e-18, dtype), y)
    elif kind == "one value":
        y[0, 0, 0] = -1e-18
    elif kind == "fft":
        y = np.fft.irfft2(np.fft.rfft2(y), s=y.shape[-2:]).astype(dtype)
    else:
        y = (blurred + 0.02 * np.random.default_rng(0).normal(size=y.shape)).astype(dtype)
    assert (y < 0).any()
    before = y.copy()
    B = bp.GKM(to_namespace(np.full((1, 24, 32), 1.0, dtype), namespace), sigmas=(1.0,))
    found = richardson_lucy(B, to_namespace(y, namespace), max_iterations=5, tol=1e-12)
    expected = richardson_lucy(B, to_namespace(np.maximum(y, 0), namespace), max_iterations=5, tol=1e-12)
    assert np.array_equal(to_numpy(found.x), to_numpy(expected.x))
    assert found.residuals == expected.residuals
    assert found.status in (Status.MAX_ITERATIONS, Status.CONVERGED)
    assert np.array_equal(y, before)
    # a start below zero is lifted, for what is zero stays zero
    lifted = richardson_lucy(B, to_namespace(y, namespace), x0=to_namespace(y, namespace), max_iterations=0)
    assert (to_numpy(lifted.x)[y < 0] > 0).all()
    assert np.array_equal(to_numpy(lifted.x)[y >= 0], y[y >= 0])


def test_read_noise_that_is_known():
    p = skewed()
    y = p.y.copy()
    y[0, 0, :3] = [-0.01, 0.01, -0.012]
    x = richardson_lucy(p.A, y, noise_level=0.01, max_iterations=3, tol=1e-12).x
    assert np.array_equal(x, richardson_lucy(p.A, np.maximum(y, 0), max_iterations=3, tol=1e-12).x)
    with pytest.raises(ValueError, match="must not be negative"):
        richardson_lucy(p.A, y, noise_level=1e-4)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: -y,
        lambda y: y - 0.5,
        lambda y: y - y.mean(),
        lambda y: np.random.default_rng(0).random(y.shape) - 0.5,
        lambda y: np.where(np.indices(y.shape).sum(axis=0) == 20, -1.0, y),
        lambda y: np.where(np.indices(y.shape).sum(axis=0) == 20, -0.1, y),
        lambda y: np.stack([y, -y]),
    ],
)
def test_what_is_no_light_is_refused(spoil):
    A = bp.GKM(np.full((1, 24, 32), 1.0), sigmas=(1.0,))
    y = spoil(A(half_black()))
    with pytest.raises(
        ValueError, match="richardson_lucy: y must not be negative beyond the noise around black, got -"
    ):
        richardson_lucy(A, y)


def test_negative_values_are_refused():
    p = problems.varying()
    y = p.y.copy()
    y[0, 1, 2] = -0.25
    with pytest.raises(ValueError, match=r"richardson_lucy: y must .*got -0.25"):
        richardson_lucy(p.A, y)
    with pytest.raises(ValueError, match=r"richardson_lucy: x0 must .*got -0.25"):
        richardson_lucy(p.A, p.y, x0=y)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("background", bad) for bad in (-1e-3, np.nan, "haze")),
        *(("tv_strength", bad) for bad in (-1e-3, np.nan, "much")),
        *(("noise_level", bad) for bad in (0.0, -1.0, np.inf)),
        *(("tol", bad) for bad in (0.0, -1.0, None)),
        *(("max_iterations", bad) for bad in (-1, 2.5, True)),
        ("on_step", 3),
    ],
)
def test_an_argument_out_of_range(argument, value):
    p = problems.varying()
    with pytest.raises(ValueError, match=f"richardson_lucy: {argument} must be .*got"):
        richardson_lucy(p.A, p.y, **{argument: value})


def test_other_bad_input():
    p = problems.varying()
    with pytest.raises(ValueError, match="richardson_lucy needs an operator with an adjoint"):
        richardson_lucy(lambda x: x, p.y)
    with pytest.raises(ValueError, match="NaN"):
        richardson_lucy(p.A, np.nan * p.y)
    with pytest.raises(ValueError, match="trailing shape"):
        richardson_lucy(p.A, p.y[..., 1:])
    with pytest.raises(TypeError, match="floating"):
        richardson_lucy(p.A, (255 * p.y).astype(np.uint8))
