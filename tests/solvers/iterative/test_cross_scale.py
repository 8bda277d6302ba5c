"""The cross-scale Neumann sum, against matrices, torch's resampling and the plain series."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import solvers
from solvers import Status
from solvers.iterative.cross_scale import cross_scale_init, cross_scale_step, neumann_cross_scale, pyramid, upsampled
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

SHAPE = (2, 4, 8)


def shape_at(scale, shape=SHAPE):
    return (shape[0], shape[1] // 2**scale, shape[2] // 2**scale)


def near_identity(seed, scales=3, strength=0.5, shape=SHAPE):
    """One matrix I + strength R, ||R|| = 1, for each scale."""
    rng, found = np.random.default_rng(seed), []
    for scale in range(scales):
        noise = rng.normal(size=(int(np.prod(shape_at(scale, shape))),) * 2)
        found.append(np.eye(len(noise)) + strength * noise / np.linalg.norm(noise, 2))
    return found


def operators(matrices, namespace="numpy"):
    return [problems.Matrix(to_namespace(m, namespace), shape_at(t)) for t, m in enumerate(matrices)]


def enlarged(x, factor):
    lead = x.shape[:-3]
    flat = torch.tensor(x).reshape(-1, *x.shape[-3:])
    return (
        functional.interpolate(flat, scale_factor=factor, mode="bilinear", align_corners=False)
        .numpy()
        .reshape(*lead, x.shape[-3], factor * x.shape[-2], factor * x.shape[-1])
    )


def reduced(x, rule):
    return x[..., ::2, ::2] if rule == "nearest" else functional.avg_pool2d(torch.tensor(x), 2).numpy()


@pytest.mark.parametrize("namespace", NAMESPACES)
@examples(15)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.sampled_from([(), (2,)]), st.sampled_from([32, 64]))
def test_upsampling_is_that_of_torch(namespace, height, width, factor, batch, bits):
    x = np.random.default_rng(height + 7 * width).normal(size=(*batch, 2, height, width)).astype(f"float{bits}")
    got = upsampled(to_namespace(x, namespace), factor)
    assert str(x.dtype) in str(got.dtype)
    assert np.abs(to_numpy(got) - enlarged(x, factor)).max() < (1e-12 if bits == 64 else 1e-5)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("rule", ["mean", "nearest"])
def test_the_pyramid_is_that_of_torch(namespace, rule):
    y = problems.random_image((2, 3, 8, 12))
    levels = pyramid(to_namespace(y, namespace), rule=rule)
    assert [tuple(level.shape) for level in levels] == [(2, 3, 8, 12), (2, 3, 4, 6), (2, 3, 2, 3)]
    for fine, coarse in zip(levels[:-1], levels[1:], strict=True):
        assert np.allclose(to_numpy(coarse), reduced(to_numpy(fine), rule), atol=1e-15)
    assert np.array_equal(to_numpy(levels[0]), y)


def test_nothing_moves_on_the_way_down_and_up():
    ramp = np.arange(32.0)[None, None, :] * np.ones((1, 8, 1))
    there = upsampled(pyramid(ramp, scales=3)[2], 4)
    assert np.allclose(there[..., 2:-2], ramp[..., 2:-2])
    shifted = upsampled(pyramid(ramp, scales=3, rule="nearest")[2], 4)
    assert np.allclose(shifted[..., 2:-2], ramp[..., 2:-2] - 1.5)  # the half pixel of each level: 0.5 + 1 px


@given(st.integers(0, 2**16), st.sampled_from(["mean", "nearest"]), st.sampled_from([(), (2,)]), st.integers(1, 3))
def test_it_is_the_sum_of_powers_across_scales(seed, rule, batch, scales):
    matrices = near_identity(seed, scales)
    y = np.random.default_rng(seed).normal(size=(*batch, *SHAPE))
    expected, level = y.copy(), y
    for t, matrix in enumerate(matrices):
        level = reduced(level, rule) if t else y
        power = np.linalg.matrix_power(np.eye(len(matrix)) - matrix, t + 1)
        expected = expected + enlarged((level.reshape(*batch, -1) @ power.T).reshape(level.shape), 2**t)
    solution = neumann_cross_scale(operators(matrices), y, rule=rule)
    assert np.abs(solution.x - expected).max() < 1e-12
    assert (solution.status, solution.iterations) == (Status.MAX_ITERATIONS, scales)
    for x, residual in ((y, solution.residuals[0]), (expected, solution.residuals[-1])):
        left = (y.reshape(*batch, -1) - x.reshape(*batch, -1) @ matrices[0].T).reshape(-1, matrices[0].shape[0])
        sizes = np.linalg.norm(left, axis=-1) / np.linalg.norm(y.reshape(left.shape), axis=-1)
        assert residual == pytest.approx(np.max(sizes))
    assert solution.operator_applications == sum(range(1, scales + 1)) + scales + 1


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_namespace_gives_the_same(namespace, dtype):
    matrices = near_identity(3)
    y = problems.random_image((2, *SHAPE))
    cast = [np.asarray(m, dtype=dtype) for m in matrices]
    got = neumann_cross_scale(operators(cast, namespace), to_namespace(y.astype(dtype), namespace))
    expected = neumann_cross_scale(operators(matrices), y)
    assert dtype in str(got.x.dtype)
    assert np.abs(to_numpy(got.x) - expected.x).max() < (1e-12 if dtype == "float64" else 1e-5)


def test_constants_see_the_plain_series():
    def half(x):
        return 0.5 * x

    y = np.full((1, 8, 12), 3.0)
    assert np.allclose(neumann_cross_scale((half,) * 3, y).x, solvers.neumann(half, y, terms=3).x)
    one = problems.varying()
    assert np.array_equal(neumann_cross_scale([one.A], one.y).x, solvers.neumann(one.A, one.y, terms=1).x)


def test_images_of_the_callers_own_scales():
    A, y = operators(near_identity(4)), problems.random_image(SHAPE)
    levels = pyramid(y)
    assert np.array_equal(neumann_cross_scale(A, levels).x, neumann_cross_scale(A, y).x)
    other = [levels[0], 0 * levels[1], 0 * levels[2]]
    assert np.allclose(neumann_cross_scale(A, other).x, neumann_cross_scale(A[:1], y).x)


def test_the_steps_are_those_of_the_solver():
    A, y = operators(near_identity(5)), problems.random_image(SHAPE)
    state, seen = cross_scale_init(y), []
    solution = neumann_cross_scale(A, y, on_step=lambda k, state: seen.append((k, state.x)))
    for operator, level in zip(A, pyramid(y), strict=True):
        before = getattr(operator, "calls", 0)
        state = cross_scale_step(operator, level, state)
        assert operator.calls - before == state.scales
        assert np.array_equal(state.x, seen[state.scales - 1][1])
    assert [k for k, _ in seen] == [1, 2, 3]
    assert np.array_equal(state.x, solution.x)


@pytest.mark.parametrize("rule", ["mean", "nearest"])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_the_mask_hides_does_not_count(rule, weighted):
    A, y = operators(near_identity(6)), problems.random_image(SHAPE)
    mask = np.ones(SHAPE, dtype=bool)
    mask[:, 1:3, 3:6] = False
    mask[0, 0, 0] = False
    mask[:, :, 4] = True
    weights = np.where(mask, np.random.default_rng(0).uniform(0.5, 1.0, SHAPE), 0.0) if weighted else mask
    clean = neumann_cross_scale(A, np.where(mask, y, 0.0), mask=weights, rule=rule)
    dirty = neumann_cross_scale(A, np.where(mask, y, np.nan), mask=weights, rule=rule)
    assert np.array_equal(clean.x, dirty.x)
    assert not clean.x[~mask].any()
    assert np.isfinite(clean.x).all()
    whole = neumann_cross_scale(A, y, mask=np.ones(SHAPE, dtype=bool), rule=rule)
    assert np.allclose(whole.x, neumann_cross_scale(A, y, rule=rule).x, atol=1e-15)


def test_a_coarse_pixel_is_the_mean_of_what_was_seen_of_it():
    y = np.full((1, 4, 4), 2.0)
    mask = np.asarray([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)[None]
    seen = []
    neumann_cross_scale([lambda x: x, lambda x: seen.append(x) or x], np.where(mask, y, 99.0), mask=mask)
    assert np.allclose(seen[0], [[[2.0, 0.5], [2.0, 0.0]]])  # 2, weighted by the share of the pixel that was seen


def test_it_ends_at_the_noise():
    wide = problems.CircularBlur(problems.gaussian_taps(0.6, 2), (2, 8, 12))
    A = [wide, problems.CircularBlur(problems.gaussian_taps(0.3, 1), (2, 4, 6))]
    x = problems.random_image((2, 8, 12))
    plain = neumann_cross_scale(A, wide(x))
    level = 1.01 * plain.residuals[1] * np.linalg.norm(wide(x)) / np.sqrt(x.size)
    stopped = neumann_cross_scale(A, wide(x), noise_level=level)
    assert (stopped.status, stopped.iterations) == (Status.NOISE_LEVEL, 1)


def test_a_sum_that_grows_returns_its_best_part():
    y = problems.random_image((2, 1, 4, 8))
    wild = np.asarray([-40.0, 1.0]).reshape(2, 1, 1, 1)
    A = [lambda x: 0.5 * x, lambda x: wild * x, lambda x: x]
    solution = neumann_cross_scale(A, y)
    assert solution.item_status == (Status.DIVERGED, Status.MAX_ITERATIONS)
    assert np.allclose(solution.x, 1.5 * y)


def test_gradcheck_through_the_steps():
    rng = np.random.default_rng(2)
    gains = torch.tensor(rng.uniform(0.3, 1.0, (1, 4, 4)), requires_grad=True)
    y = torch.tensor(rng.uniform(0.1, 1.0, (1, 4, 4)), requires_grad=True)

    def unrolled(y, gains):
        state = cross_scale_init(y)
        for level, gain in zip(pyramid(y, scales=3), pyramid(gains, scales=3), strict=True):
            state = cross_scale_step(lambda x, g=gain: g * x, level, state)
        return state.x

    assert torch.autograd.gradcheck(unrolled, (y, gains))


GOOD, IMAGE = operators(near_identity(7)), problems.random_image(SHAPE)


@pytest.mark.parametrize(
    ("A", "y", "more", "error", "words"),
    [
        (GOOD[0], IMAGE, {}, ValueError, "A must be a sequence of operators"),
        ([], IMAGE, {}, ValueError, "A must be a sequence of operators"),
        (None, IMAGE, {}, ValueError, "A must be a sequence of operators"),
        ([GOOD[0], 3], IMAGE, {}, ValueError, "A must be a linear operator or a callable"),
        ([GOOD[0], GOOD[0]], IMAGE, {}, ValueError, "trailing shape"),
        ([problems.rectangular().A], problems.rectangular().y, {}, ValueError, "square"),
        (GOOD, IMAGE[..., :-1], {}, ValueError, "trailing shape"),
        ([lambda x: x] * 3, IMAGE[..., :6], {}, ValueError, "divide by 4.*crop"),
        ([lambda x: x] * 2, IMAGE[:, :3], {}, ValueError, "divide by 2.*crop"),
        (GOOD, pyramid(IMAGE)[:2], {}, ValueError, "3 operators, but y at 2 scales"),
        (GOOD, [IMAGE, IMAGE, IMAGE], {}, ValueError, "y at scale 2 must have shape"),
        (GOOD, [*pyramid(IMAGE)[:2], np.ones((2, 1, 2), dtype=np.float32)], {}, TypeError, "y at scale 3"),
        (GOOD, [*pyramid(IMAGE)[:2], np.full((2, 1, 2), np.nan)], {}, ValueError, "NaN"),
        (GOOD, IMAGE * np.nan, {}, ValueError, "NaN"),
        (GOOD, (255 * IMAGE).astype(np.uint8), {}, TypeError, "floating"),
        (GOOD, IMAGE, {"rule": "bicubic"}, ValueError, 'rule must be "mean" or "nearest"'),
        (GOOD, IMAGE, {"noise_level": -1}, ValueError, "noise_level must be"),
        (GOOD, IMAGE, {"on_step": 1}, ValueError, "on_step must be"),
        (GOOD, IMAGE, {"mask": np.zeros(SHAPE, dtype=bool)}, ValueError, "nothing was observed"),
        ([lambda x: x[..., :1]], IMAGE, {}, ValueError, r"A\(x\) has shape"),
    ],
)
def test_a_bad_argument(A, y, more, error, words):
    with pytest.raises(error, match=f"neumann_cross_scale.*{words}"):
        neumann_cross_scale(A, y, **more)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pyramid(IMAGE, scales=0), ValueError, "pyramid: scales must be"),
        (lambda: pyramid(IMAGE, scales=4), ValueError, "pyramid: 4 scales need.*divide by 8"),
        (lambda: pyramid(IMAGE, rule="area"), ValueError, "pyramid: rule must be"),
        (lambda: pyramid(IMAGE[0]), ValueError, "pyramid: y must have shape"),
        (lambda: pyramid(IMAGE.astype(int)), TypeError, "pyramid: .*floating"),
        (lambda: upsampled(IMAGE, 0), ValueError, "upsampled: factor must be"),
        (lambda: upsampled(IMAGE, 1.5), ValueError, "upsampled: factor must be"),
    ],
)
def test_a_bad_pyramid(call, error, words):
    with pytest.raises(error, match=words):
        call()
