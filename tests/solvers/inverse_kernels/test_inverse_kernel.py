"""Wiener inverse kernels, their stretched copies, and blends of them, against FFTs, SciPy and closed forms."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.signal import convolve2d

import blurphys as bp
import solvers
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy, unit_psfs

RNG = np.random.default_rng(3)
sizes = st.integers(0, 3).map(lambda n: 2 * n + 1)


def response(kernel, u, v):
    """Frequency response of a kernel centred at h // 2, w // 2, by the sum that defines it."""
    h, w = kernel.shape
    rows, cols = np.arange(h) - h // 2, np.arange(w) - w // 2
    return np.exp(-2j * np.pi * u * rows) @ kernel @ np.exp(-2j * np.pi * v * cols)


@examples(20)
@given(
    st.integers(1, 6),
    st.integers(1, 7),
    st.floats(0.5, 50),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.integers(0, 99),
)
def test_the_response_is_wieners_within_one_percent(h, w, snr, u, v, seed):
    psf = unit_psfs(np.random.default_rng(seed), (h, w))
    inverse = solvers.inverse_kernel(psf, snr=snr)
    k = response(psf, u, v)
    assert abs(response(inverse, u, v) - np.conj(k) / (abs(k) ** 2 + 1 / snr)) < 0.02
    assert inverse.shape[0] == inverse.shape[1]
    assert inverse.shape[0] % 2 == 1


@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (2, 2)])
def test_it_inverts_a_circular_blur_as_the_fft_does(shape):
    psf = unit_psfs(RNG, shape)
    x = RNG.random((1, 65, 65))
    y = bp.Convolution(psf, shape=x.shape, boundary="circular")(x)
    # on an image of the size of the kernel, the kernel is the whole periodic inverse if it has died out there
    found = solvers.scaled_inverse(y, solvers.inverse_kernel(psf, snr=30.0, size=65), scales=[1], boundary="circular")
    plane = np.zeros((65, 65))
    plane[: shape[0], : shape[1]] = psf
    k = np.fft.fft2(np.roll(plane, (-(shape[0] // 2), -(shape[1] // 2)), (0, 1)))
    expected = np.fft.ifft2(np.fft.fft2(y) * np.conj(k) / (abs(k) ** 2 + 1 / 30)).real
    assert np.abs(found - expected).max() < 1e-3


def test_a_higher_snr_restores_more_and_amplifies_more():
    psf = bp.psf.gaussian(0.8)
    kernels = [solvers.inverse_kernel(psf, snr=snr) for snr in (3.0, 30.0, 300.0)]
    gains = [np.sqrt((k**2).sum()) for k in kernels]
    assert gains == sorted(gains)
    assert [k.shape[0] for k in kernels] == sorted(k.shape[0] for k in kernels)


def test_the_inverse_of_a_dirac_is_a_dirac():
    assert solvers.inverse_kernel(np.ones((1, 1)), snr=4.0) == pytest.approx(np.array([[0.8]]))
    assert solvers.inverse_kernel(np.ones((1, 1)), snr=4.0, size=5)[2, 2] == pytest.approx(0.8)


def test_colours_share_one_support():
    psfs = np.stack([bp.psf.gaussian(s, size=9) for s in (0.5, 1.0, 1.5)])
    inverse = solvers.inverse_kernel(psfs, snr=50.0)
    assert inverse.ndim == 3
    for psf, one in zip(psfs, inverse, strict=True):
        assert np.allclose(one, solvers.inverse_kernel(psf, snr=50.0, size=inverse.shape[-1]))


@given(sizes, st.integers(1, 4), st.integers(0, 99))
def test_dilated_taps_are_a_comb(n, scale, seed):
    kernel = np.random.default_rng(seed).normal(size=(n, n))
    found = solvers.dilated_inverse(kernel, scale)
    assert np.array_equal(found[::scale, ::scale], kernel)
    assert np.count_nonzero(found) == np.count_nonzero(kernel)
    assert found.shape == (scale * (n - 1) + 1,) * 2


@given(sizes, st.integers(1, 4), st.integers(0, 99))
def test_linear_upsampling_is_dilation_and_a_tent(n, scale, seed):
    kernel = np.random.default_rng(seed).normal(size=(n, n))
    tent = np.convolve(np.ones(scale), np.ones(scale)) / scale**2
    expected = convolve2d(solvers.dilated_inverse(kernel, scale), np.outer(tent, tent))
    assert np.allclose(solvers.upsampled_inverse(kernel, scale, interpolation="linear"), expected)


@given(sizes, st.floats(1.0, 5.0), st.integers(0, 99))
def test_linear_upsampling_is_scipys_interpolation(n, scale, seed):
    kernel = np.random.default_rng(seed).normal(size=(n, n))
    found = solvers.upsampled_inverse(kernel, scale, interpolation="linear")
    half = found.shape[0] // 2
    t = (np.arange(-half, half + 1) / scale) + n // 2
    grid = np.meshgrid(t, t, indexing="ij")
    expected = scipy.ndimage.map_coordinates(np.pad(kernel, 2), np.array(grid) + 2, order=1) / scale**2
    assert np.allclose(found, expected)


@given(st.integers(2, 4), st.floats(1.0, 4.0))
def test_cubic_upsampling_reproduces_a_parabola(half, scale):
    n = 2 * half + 1
    values = (np.arange(n) - half) ** 2 + 0.5 * (np.arange(n) - half)
    kernel = np.outer(values, np.ones(n))
    found = scale**2 * solvers.upsampled_inverse(kernel, scale)
    middle = found.shape[0] // 2
    t = (np.arange(found.shape[0]) - middle) / scale
    inside = np.abs(t) <= half - 1
    assert np.allclose(found[inside, middle], t[inside] ** 2 + 0.5 * t[inside])


@given(sizes, st.integers(1, 5), st.sampled_from(["cubic", "linear"]), st.integers(0, 99))
def test_whole_scales_keep_the_sum(n, scale, interpolation, seed):
    kernel = np.random.default_rng(seed).normal(size=(n, n))
    found = solvers.upsampled_inverse(kernel, scale, interpolation=interpolation)
    assert found.sum() == pytest.approx(kernel.sum(), abs=1e-10)
    assert found[-1].any() or scale == 1
    if scale == 1:
        pad = (found.shape[0] - n) // 2
        assert np.allclose(found, np.pad(kernel, pad))


@examples(15)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3), st.booleans(), st.integers(0, 99))
@example([1], False, 51)  # a filter of a large sum, which no PSF would have
def test_scaled_inverse_is_a_weighted_sum_of_filters(scales, dilated, seed):
    rng = np.random.default_rng(seed)
    y, kernel, weights = rng.random((2, 2, 7, 9)), rng.normal(size=(3, 3)), rng.normal(size=len(scales))
    method = "dilated" if dilated else "linear"
    found = solvers.scaled_inverse(y, kernel, scales=scales, weights=weights, method=method, boundary="zero")
    expected = np.zeros_like(y)
    for w, s in zip(weights, scales, strict=True):
        k = np.kron(kernel, np.eye(s)[:1, :1] if s == 1 else np.pad([[1.0]], (0, s - 1)))[: 2 * s + 1, : 2 * s + 1]
        if not dilated:
            tent = np.convolve(np.ones(s), np.ones(s)) / s**2
            k = convolve2d(k, np.outer(tent, tent))
        for i in np.ndindex(2, 2):
            expected[i] += w * convolve2d(y[i], k, mode="full")[
                k.shape[0] // 2 : k.shape[0] // 2 + 7, k.shape[1] // 2 : k.shape[1] // 2 + 9
            ]  # fmt: skip
    assert np.allclose(found, expected)


@examples(15)
@given(st.integers(0, 99))
@example(62)
def test_maps_pick_the_scale_of_each_pixel(seed):
    rng = np.random.default_rng(seed)
    y, kernel = rng.random((2, 8, 9)), rng.normal(size=(3, 3))
    maps = rng.random((2, 8, 9))
    found = solvers.scaled_inverse(y, kernel, scales=[1, 2.5], weights=maps, boundary="replicate")
    one, two = (solvers.scaled_inverse(y, kernel, scales=[s], boundary="replicate") for s in (1, 2.5))
    assert np.allclose(found, maps[0] * one + maps[1] * two)


def test_equal_weights_are_the_default():
    y, kernel = RNG.random((3, 12, 13)), RNG.normal(size=(3, 3))
    found = solvers.scaled_inverse(y, kernel, scales=[1, 2])
    assert np.allclose(found, solvers.scaled_inverse(y, kernel, scales=[1, 2], weights=[0.5, 0.5]))


def test_maps_that_know_the_blur_restore_more_than_any_one_scale():
    """The right half is blurred twice as much."""
    x = np.zeros((1, 80, 120))
    x[:, 20:60, 10:110:10], x[:, 20:60, 11:110:10], x[:, 20:60, 12:110:10] = 1.0, 1.0, 1.0
    psf, large = (solvers.upsampled_inverse(bp.psf.gaussian(0.8), s) for s in (1, 2))
    weights = np.zeros((2, 80, 120))
    weights[0, :, :60], weights[1, :, 60:] = 1.0, 1.0
    stack = np.stack([np.pad(psf, (large.shape[0] - psf.shape[0]) // 2), large])
    y = bp.PSFStack(stack, weights=weights, channels=1)(x)
    inverse = solvers.inverse_kernel(psf, snr=100.0)

    def error(scales, maps=None):
        restored = solvers.scaled_inverse(y, inverse, scales=scales, weights=maps, boundary="replicate")
        return [np.std((restored - x)[..., half]) for half in (slice(50), slice(70, None))]

    best, one, two = error([1, 2], weights), error([1]), error([2])
    assert best[0] < 0.7 * two[0]
    assert best[1] < 0.85 * one[1]


@examples(20)
@given(st.integers(1, 4), st.integers(0, 999))
def test_nnls_weights_satisfy_the_optimality_conditions(count, seed):
    rng = np.random.default_rng(seed)
    parts, target = rng.normal(size=(count, 2, 4, 5)), rng.normal(size=(2, 4, 5))
    w = solvers.nnls_weights(list(parts), target)
    gradient = np.array([(p * (np.tensordot(w, parts, 1) - target)).sum() for p in parts])
    assert w.shape == (count,)
    assert (w >= 0).all()
    assert (gradient > -1e-9).all()
    assert np.abs(gradient[w > 0]).max(initial=0) < 1e-9


def test_nnls_recovers_a_blend_of_kernels_of_different_sizes():
    inverse = solvers.inverse_kernel(bp.psf.gaussian(0.7), snr=50.0)
    parts = [solvers.upsampled_inverse(inverse, s) for s in (2.0, 2.5, 3.0)]
    half = [k.shape[0] // 2 for k in parts]
    target = sum(w * np.pad(k, half[-1] - h) for w, k, h in zip((0.2, 0.0, 0.7), parts, half, strict=True))
    assert np.allclose(solvers.nnls_weights(parts, target), (0.2, 0.0, 0.7), atol=1e-9)


def test_parallel_parts_are_no_obstacle():
    part = RNG.random((3, 4))
    w = solvers.nnls_weights([part, 2 * part], 3 * part)
    assert w[0] + 2 * w[1] == pytest.approx(3)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_namespace(namespace, dtype):
    y = RNG.random((3, 40, 42)).astype(dtype)
    psf = bp.psf.gaussian(0.6)
    maps = np.full((2, 40, 42), 0.5, dtype=dtype)
    there = [to_namespace(np.asarray(v, dtype=dtype), namespace) for v in (y, psf, maps)]
    inverse = solvers.inverse_kernel(there[1], snr=20.0)
    found = solvers.scaled_inverse(there[0], inverse, scales=[1.0, 1.5], weights=there[2])
    expected = solvers.scaled_inverse(
        y.astype(float), solvers.inverse_kernel(psf, snr=20.0), scales=[1, 1.5], weights=maps.astype(float)
    )
    assert type(found) is type(there[0])
    assert found.dtype == there[0].dtype
    assert np.abs(to_numpy(found) - expected).max() < (1e-12 if dtype == "float64" else 1e-4)
    uniform = solvers.scaled_inverse(there[0], inverse, scales=[1, 1.5], weights=np.array([0.5, 0.5]))
    assert uniform.dtype == there[0].dtype
    assert np.abs(to_numpy(uniform - found)).max() < (1e-12 if dtype == "float64" else 1e-4)
    w = solvers.nnls_weights([inverse], inverse)
    assert w == pytest.approx([1.0], rel=1e-5)


def test_gradients_in_everything():
    torch.manual_seed(0)
    y = torch.rand(1, 5, 6, dtype=torch.float64, requires_grad=True)
    psf = torch.tensor(unit_psfs(RNG, (2, 3)), requires_grad=True)
    weights = torch.rand(2, dtype=torch.float64, requires_grad=True)
    maps = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)

    def restore(y, inverse, weights):
        return solvers.scaled_inverse(y, inverse, scales=[1, 1.5], weights=weights, boundary="replicate")

    inverse = torch.tensor(RNG.normal(size=(3, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(restore, (y, inverse, weights))
    assert torch.autograd.gradcheck(restore, (y, inverse, maps), fast_mode=True)
    assert torch.autograd.gradcheck(lambda k: solvers.inverse_kernel(k, snr=10.0, size=3), psf, fast_mode=True)


KERNEL, IMAGE = np.ones((3, 3)) / 9, np.ones((2, 9, 9))
BAD = [
    (lambda: solvers.inverse_kernel(KERNEL, snr=0.0), ValueError, "snr"),
    (lambda: solvers.inverse_kernel(KERNEL, snr=float("nan")), ValueError, "snr"),
    (lambda: solvers.inverse_kernel(KERNEL, snr=1.0, size=4), ValueError, "odd"),
    (lambda: solvers.inverse_kernel(KERNEL, snr=1.0, size=0), ValueError, "size"),
    (lambda: solvers.inverse_kernel(np.ones(3), snr=1.0), ValueError, "shape"),
    (lambda: solvers.inverse_kernel(np.full((3, 3), np.nan), snr=1.0), ValueError, "NaN"),
    (lambda: solvers.inverse_kernel(np.ones((3, 3), dtype=int), snr=1.0), TypeError, "floating"),
    (lambda: solvers.inverse_kernel([[1.0]], snr=1.0), TypeError, "array"),
    (lambda: solvers.upsampled_inverse(np.ones((2, 2)), 2), ValueError, "odd"),
    (lambda: solvers.upsampled_inverse(np.ones((3, 5)), 2), ValueError, "square"),
    (lambda: solvers.upsampled_inverse(KERNEL, 0.5), ValueError, "1 or larger"),
    (lambda: solvers.upsampled_inverse(KERNEL, 2, interpolation="nearest"), ValueError, "interpolation"),
    (lambda: solvers.dilated_inverse(KERNEL, 2.5), ValueError, "integer"),
    (lambda: solvers.dilated_inverse(KERNEL, 0), ValueError, "integer"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[]), ValueError, "at least one"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[2.5], method="dilated"), ValueError, "whole"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[2], method="a trous"), ValueError, "method"),
    (lambda: solvers.scaled_inverse(IMAGE, np.ones((3, 3, 3)), scales=[1]), ValueError, r"\(2, n, n\)"),
    (lambda: solvers.scaled_inverse(IMAGE, np.ones((1, 2, 3, 3)), scales=[1]), ValueError, r"\(2, n, n\)"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL.astype("float32"), scales=[1]), TypeError, "dtype"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[1, 2], weights=[1.0]), ValueError, "2 finite"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[1], weights=[np.inf]), ValueError, "finite"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[1], weights=0.5), ValueError, "weights"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[1], weights=np.ones((2, 9, 9))), ValueError, "maps"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[1], weights=np.full((1, 9, 9), np.nan)), ValueError, "NaN"),
    (lambda: solvers.scaled_inverse(IMAGE, KERNEL, scales=[9]), ValueError, "reaches at most 8 px"),
    (lambda: solvers.scaled_inverse(IMAGE[0], KERNEL, scales=[1]), ValueError, "y must have shape"),
    (lambda: solvers.nnls_weights([], KERNEL), ValueError, "at least one"),
    (lambda: solvers.nnls_weights([np.ones((4, 4))], KERNEL), ValueError, "one shape"),
    (lambda: solvers.nnls_weights([IMAGE], KERNEL), ValueError, "target"),
    (lambda: solvers.nnls_weights([np.full((3, 3), np.nan)], KERNEL), ValueError, "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def example():
    path = Path(__file__).resolve().parents[3] / "examples" / "inverse_kernels.py"
    spec = importlib.util.spec_from_file_location("inverse_kernels_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_papers_checks(capsys):
    module = example()
    module.BLURS = {"gaussian": module.BLURS["gaussian"]}
    results = module.run(quick=True, snr=30.0, interpolation="cubic", scale=3.6)
    for blur, photos in results.items():
        for row in photos.values():
            assert row["a"] > 45, blur  # the two routes agree ...
            assert row["b"] > 45, blur
            assert min(row["truth 1"], row["truth 2"]) > row["blurred"] + 0.5  # ... and both restore
            assert abs(row["truth 1"] - row["truth 2"]) < 0.2
            assert row["image nnls"] > row["image equal"]
            assert row["kernel nnls"] > row["kernel equal"]
    assert "51.09" in capsys.readouterr().out


def test_the_script_says_what_is_wrong(capsys):
    assert example().main(["--quick", "--snr", "-1"]) == 2
    assert "snr" in capsys.readouterr().err
