"""`certificate`: closed forms, dense eigenvalues, and the iteration that it predicts."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import blurphys as bp
import solvers
from blurphys.analysis.certificate import certificate
from tests.cases import CASES
from tests.profiles import examples
from tests.strategies import Setup, simplex, to_namespace

BOUNDARIES = ("reflect", "symmetric", "replicate", "circular", "zero")
FAMILIES = ("gkm", "gkm_supports", "rkr", "psf_stack", "scatter", "pixel_psf", "defocus_blur", "nested")


def circular_response(psf, height, width):
    """Eigenvalues of a circular convolution, (H, W)."""
    padded = np.zeros((height, width))
    for (r, c), value in np.ndenumerate(psf):
        padded[(r - psf.shape[0] // 2) % height, (c - psf.shape[1] // 2) % width] += value
    return np.fft.fft2(padded)


def chain(factors, height=3):
    """A = I - S, S x[m, n] = factors[n] x[m, n-1] around a circle: ||S^k|| is the largest product of k neighbours."""
    psfs = np.zeros((2, 1, 3))
    psfs[0, 0, 1] = psfs[1, 0, 2] = 1.0
    weights = np.ones((2, height, len(factors)))
    weights[1] = -np.asarray(factors)
    return bp.PSFStack(psfs, weights=weights, channels=1, boundary="circular")


# What the certificate has to catch.


def test_the_truncated_bank_of_the_paper_diverges():
    """Its largest Gaussian has a response down to -0.0168: zero frequency one way, the first ripple the other way."""
    size, (sigmas, supports) = 64, bp.gkm_bank(21)
    A = bp.GKM(np.ones((1, size, size)), sigmas=sigmas[-1:], supports=supports[-1:], channels=1, boundary="circular")
    taps = np.exp(-(np.arange(-10, 11.0) ** 2) / (2 * sigmas[-1] ** 2))
    response = circular_response(np.outer(taps, taps) / taps.sum() ** 2, size, size).real
    radius = np.abs(1 - response).max()
    assert radius == pytest.approx(1.0168, abs=2e-4)
    found = certificate(A)
    assert found.diverges and not found.converges
    assert found.spectral_radius == pytest.approx(radius, abs=1e-4)
    assert found.interval[0] <= radius + 1e-6 and radius - 1e-4 <= found.interval[1]
    assert found.safe_damping == 0.0 and found.transient_bound == math.inf
    assert found.leftmost == pytest.approx(response.min(), abs=1e-3)
    assert "diverges" in found.verdict and "solvers.cgls" in found.verdict and "no damping" in found.verdict
    assert found.predicted_iterations(1e-3) == math.inf


def test_the_whole_bank_on_a_varying_map_diverges():
    """The widest Gaussians anywhere in the image are enough."""
    depth = gaussian_filter(np.random.default_rng(0).standard_normal((72, 80)), 9, mode="wrap")
    level = (depth - depth.min()) / np.ptp(depth) * 24 - 2
    maps = np.maximum(0, 1 - np.abs(np.arange(21)[:, None, None] - np.clip(level, 0, 20)))
    sigmas, supports = bp.gkm_bank(21)
    found = certificate(bp.GKM(maps, sigmas=sigmas, supports=supports, channels=1))
    assert found.diverges and 1.002 < found.spectral_radius < 1.03 and found.safe_damping == 0.0


@pytest.mark.parametrize(("side", "diverges"), ((0.2, False), (0.24, False), (0.26, True), (0.3, True)))
def test_atoms_above_a_quarter_diverge(side, diverges):
    """(a, 1 - 2 a, a) has the response 1 - 2 a + 2 a cos w, down to 1 - 4 a."""
    gamma = np.zeros((2, 12, 16))
    gamma[1] = 1.0
    A = bp.RKR(gamma, atoms=np.array([[side, 1 - 2 * side, side]]), channels=2, boundary="circular")
    low = 1 - 4 * side
    response = np.array([1.0, low, low**2])
    found = certificate(A)
    assert (found.diverges, found.converges) == (diverges, not diverges)
    assert found.spectral_radius == pytest.approx(np.abs(1 - response).max(), abs=1e-4)


def test_a_disk_changes_sign_and_diverges_strongly():
    psf = np.asarray(bp.psf.disk(4.0))
    found = certificate(bp.Convolution(psf, shape=(1, 40, 48), boundary="circular"))
    radius = np.abs(1 - circular_response(psf, 40, 48)).max()
    assert radius > 1.1 and found.diverges
    assert found.spectral_radius == pytest.approx(radius, abs=1e-4)
    assert found.norm == pytest.approx(radius, abs=1e-3)


def test_growth_on_the_way_of_sharply_varying_maps():
    """Four factors of 1.5 in a row multiply an error by 5 before it vanishes."""
    factors = np.full(16, 0.5)
    factors[5:9] = 1.5
    found = certificate(chain(factors))
    assert found.converges and found.spectral_radius == pytest.approx(np.prod(factors) ** (1 / 16), abs=1e-6)
    assert found.norm == pytest.approx(1.5, abs=1e-6)
    assert found.transient_bound == pytest.approx(1.5**4, rel=1e-3)
    assert "grow 5.06-fold" in found.verdict


def test_growth_against_dense_powers_of_a_blur():
    """Gather form with a map that jumps from pixel to pixel: radius below 1, norm above."""
    rng = np.random.default_rng(2)
    gamma = np.zeros((3, 8, 9))
    np.put_along_axis(gamma, rng.integers(0, 3, (1, 8, 9)), 1.0, 0)
    A = bp.RKR(gamma, atoms=np.array([[0.2, 0.6, 0.2], [0.25, 0.5, 0.25]]), channels=1)
    M = np.eye(72) - bp.to_dense(A)
    power, exact = M, 1.0
    for _ in range(60):
        exact, power = max(exact, np.linalg.norm(power, 2)), power @ M
    found = certificate(A)
    assert exact > 1.05 and found.spectral_radius < 1 < found.norm < 1.04
    assert 0.98 * exact <= found.transient_bound <= exact * (1 + 1e-6)


def test_the_transient_bound_of_normal_operators_is_one():
    found = certificate(bp.Convolution(np.array([[0.1, 0.7, 0.2]]), shape=(1, 6, 9), boundary="circular"))
    assert found.converges and found.transient_bound == 1.0


def test_berger():
    """(I - A) = 2 N with N the shift of two pixels, nilpotent: norm 2 and numerical radius 1."""
    psfs = np.zeros((2, 1, 3))
    psfs[0, 0, 1] = psfs[1, 0, 2] = 1.0
    weights = np.ones((2, 3, 2))
    weights[1, :, 1] = -1.9
    weights[1, :, 0] = 0.0
    found = certificate(bp.PSFStack(psfs, weights=weights, channels=1, boundary="zero"))
    assert found.norm == pytest.approx(1.9, abs=1e-9) and found.spectral_radius < 1e-6
    assert found.transient_bound == 2.0


# Strongly non-normal operators: what is found is the pseudospectrum.


def one_sided(width, taps, height=4):
    """Mean of a pixel and its taps - 1 neighbours on one side, zero outside: triangular, 1 / taps on the diagonal."""
    psf = np.array([[0.0] * (taps - 1) + [1 / taps] * taps])
    return bp.Convolution(psf, shape=(1, height, width), boundary="zero")


def dense_growth(M, steps):
    power, exact = M, 1.0
    for _ in range(steps):
        exact, power = max(exact, np.linalg.norm(power, 2)), power @ M
    return exact


@pytest.mark.parametrize(("width", "taps"), ((6, 5), (12, 5), (24, 5), (40, 2), (40, 5)))
def test_a_one_sided_blur_is_triangular(width, taps):
    """Every eigenvalue of M is 1 - 1 / taps; what an iteration sees of it lies far outside."""
    A = one_sided(width, taps)
    M = np.eye(width) - bp.to_dense(A)[:width, :width]  # the rows of the image do not mix
    truth, exact = 1 - 1 / taps, dense_growth(M, 300)
    assert np.allclose(np.sort(np.diag(M)), truth) and (np.allclose(M, np.tril(M)) or np.allclose(M, np.triu(M)))
    found = certificate(A)
    low, high = found.interval
    assert low <= truth <= high and found.converges and found.condition > 10
    assert np.linalg.svd(M - found.eigenvalue * np.eye(width))[1][-1] <= found.residual + 1e-14
    assert (
        (found.transient_bound >= exact * 0.99) if found.transient_bounded else (found.transient_bound <= exact * 1.01)
    )
    assert found.transient_bound >= found.decay.growth
    assert "of an operator within" in str(found) and f"radius {found.spectral_radius:.6g}" not in found.verdict


def test_growth_that_is_known_from_below_only_is_printed_as_such():
    found = certificate(one_sided(40, 5))
    assert not found.transient_bounded and "errors grow at least" in str(found) and "or more" in found.verdict
    assert json.loads(found.to_json())["transient_bounded"] is False
    normal = certificate(bp.Convolution(np.array([[0.1, 0.7, 0.2]]), shape=(1, 6, 9), boundary="circular"))
    assert normal.transient_bounded and normal.condition == 1.0 and "errors grow at most 1-fold" in str(normal)


@pytest.mark.parametrize("width", (200, 1000))
def test_a_wide_one_sided_blur_does_not_diverge_but_may_seem_to(width):
    """The radius is 0.8, but operators nearby have one above 1.05: no budget sees the end of the growth."""
    found = certificate(one_sided(width, 5, height=1))
    assert found.spectral_radius > 1 and found.interval[0] <= 0.8 and not found.diverges
    assert found.transient_bound > 50 and "is unknown" in found.verdict
    assert "no damping" not in found.verdict


@examples(10)
@given(st.integers(0, 2**16), st.integers(3, 24), st.floats(0.0, 3.0))
def test_the_lower_end_holds_for_triangular_matrices(seed, size, strength):
    """Eigenvalues on the diagonal, anything above it."""
    from scipy.sparse.linalg import aslinearoperator

    rng = np.random.default_rng(seed)
    M = np.diag(rng.uniform(-1.5, 1.5, size)) + strength * np.triu(rng.standard_normal((size, size)), 1)
    found = certificate(aslinearoperator(np.eye(size) - M))
    radius = np.abs(np.diag(M)).max()
    assert found.interval[0] <= radius + 1e-6
    assert not (found.diverges and radius < 1 - 1e-6)


# Against dense matrices.


@st.composite
def operators(draw):
    setup = Setup(
        height=draw(st.integers(2, 7)),
        width=draw(st.integers(2, 8)),
        channels=draw(st.integers(1, 2)),
        boundary=draw(st.sampled_from(BOUNDARIES)),
        support=(draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        batch=draw(st.sampled_from(((), (), (2,)))),
        variant=draw(st.integers(0, 5)),
        seed=draw(st.integers(0, 2**16)),
    )
    name = draw(st.sampled_from(FAMILIES))
    return CASES[name](setup).A if not (setup.batch and name == "pixel_psf") else CASES["gkm"](setup).A


@examples(10)
@given(operators(), st.sampled_from((1.0, 0.6, 1.5)))
def test_against_dense_eigenvalues(A, damping):
    D = np.asarray(bp.to_dense(A))
    M = np.eye(len(D)) - damping * D
    eigenvalues = np.linalg.eigvals(D)
    radius = np.abs(1 - damping * eigenvalues).max()
    found = certificate(A, damping=damping)
    low, high = found.interval
    assert low - 2e-3 <= radius <= high + 2e-3
    assert not (found.converges and radius > 1 + 1e-6) and not (found.diverges and radius < 1 - 1e-6)
    assert found.norm <= np.linalg.norm(M, 2) * (1 + 1e-9) + 1e-12
    assert found.norm == pytest.approx(np.linalg.norm(M, 2), rel=0.03, abs=1e-9)
    leftmost = np.linalg.eigvalsh((D + D.T) / 2)[0]
    assert leftmost - 1e-9 <= found.leftmost <= leftmost + 0.05
    if found.interval[1] - found.interval[0] < 1e-2:
        inside = found.eigenvalue_interval
        assert inside.lowest <= eigenvalues.real.min() + 0.02
        assert inside.highest >= eigenvalues.real.max() - 0.02
        assert inside.imaginary >= np.abs(eigenvalues.imag).max() - 0.05


@examples(10)
@given(st.integers(0, 2**16))
def test_safe_damping_is_where_the_radius_reaches_one(seed):
    """Just below it the dense radius is below 1, just above it is not."""
    rng = np.random.default_rng(seed)
    maps = simplex(rng, (3, 4, 5))
    A = 0.3 * bp.Identity((1, 4, 5)) + 0.7 * bp.GKM(maps, sigmas=(0.0, 0.4, 0.8), channels=1, boundary="symmetric")
    D = np.asarray(bp.to_dense(A))
    safe = certificate(A).safe_damping

    def radius(damping):
        return np.abs(1 - damping * np.linalg.eigvals(D)).max()

    assert radius(0.999 * safe) < 1 < radius(1.001 * safe)


def test_an_iteration_that_passes_the_tolerance_before_it_diverges():
    """The growing frequency is absent from y: the number is finite although the radius is above 1."""
    A = bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 16), boundary="circular")
    y = np.cos(2 * np.pi * np.arange(16) / 16) * np.ones((1, 6, 1))
    found = certificate(A, y=y)
    assert found.diverges
    assert found.predicted_iterations(1e-3) == solvers.fixed_point(A, y, tol=1e-3).iterations


# The rest of the promise.


@pytest.mark.parametrize("namespace", ("array_api_strict", "torch"))
def test_every_namespace(namespace):
    psf = np.array([[0.1, 0.2, 0.7]])

    def found_in(namespace):
        return certificate(bp.Convolution(to_namespace(psf, namespace), shape=(1, 3, 8), boundary="circular"))

    a, b = found_in(namespace), found_in("numpy")
    assert a.spectral_radius == pytest.approx(b.spectral_radius, abs=1e-9)
    assert a.norm == pytest.approx(b.norm, abs=1e-9) and a.predicted_iterations() == b.predicted_iterations()
    assert all(type(v) is float for v in (*a.interval, a.norm, a.leftmost, a.safe_damping, a.transient_bound))
    assert all(type(v) is float for v in (*a.eigenvalue_interval, a.spectral_radius, a.predicted_iterations()))


def test_single_precision():
    psf = np.array([[0.3, 0.4, 0.3]])
    single, double = (certificate(bp.Convolution(psf.astype(t), shape=(1, 6, 40))) for t in ("float32", "float64"))
    assert single.diverges and single.spectral_radius == pytest.approx(double.spectral_radius, abs=1e-5)
    assert single.leftmost == pytest.approx(double.leftmost, abs=1e-4)


def test_torch_maps_that_need_gradients():
    torch = pytest.importorskip("torch")
    maps = torch.full((2, 5, 6), 0.5, dtype=torch.float64, requires_grad=True)
    A = bp.GKM(maps, sigmas=(0.0, 0.6), channels=1)
    y = A(to_namespace(np.ones((1, 5, 6)), "torch"))
    found = certificate(A, y=y)
    assert found.converges and maps.grad is None and not found.decay.projected.dtype == object


def test_foreign_operators():
    rng = np.random.default_rng(0)
    matrix = np.eye(30) + 0.1 * rng.standard_normal((30, 30))
    from scipy.sparse.linalg import aslinearoperator

    found = certificate(aslinearoperator(matrix))
    assert found.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(np.eye(30) - matrix)).max(), abs=2e-3)


def test_the_solvers_heed_it():
    A = bp.Convolution(np.array([[0.3, 0.4, 0.3]]), shape=(1, 6, 8), boundary="circular")
    y = np.random.default_rng(0).random((1, 6, 8))
    found = certificate(A)
    with pytest.warns(solvers.ConvergenceWarning, match="diverges"):
        solvers.fixed_point(A, y, certificate=found)
    with pytest.warns(solvers.ConvergenceWarning, match="diverges"):
        solvers.neumann(A, y, terms=2, certificate=found)
    with pytest.raises(ValueError, match="damping"):
        solvers.fixed_point(A, y, damping=0.5, certificate=found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mild = 0.5 * bp.Identity((1, 6, 8)) + 0.5 * A
        assert solvers.fixed_point(mild, y, certificate=certificate(mild)).converged


def test_cost_and_memory():
    """The limit holds, the same seed gives the same, and the memory is some 30 images whatever the cost."""
    sigmas, supports = bp.gkm_bank(21)
    A = bp.GKM(np.ones((1, 48, 56)), sigmas=sigmas[-1:], supports=supports[-1:], channels=1)
    A(np.zeros(A.in_shape))
    image = 48 * 56 * 8
    for limit in (160, 300):
        tracemalloc.start()
        found = certificate(A, max_applications=limit)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.applications <= limit and peak <= 40 * image
    again, other = certificate(A, max_applications=limit), certificate(A, max_applications=limit, seed=1)
    assert (again.interval, again.norm, again.leftmost) == (found.interval, found.norm, found.leftmost)
    assert other.interval != found.interval


def test_it_shows_how_far_it_has_come(monkeypatch):
    seen = []

    @contextmanager
    def watch(title, total):
        yield lambda: seen.append((title, total))

    monkeypatch.setattr(sys.modules["blurphys.analysis.certificate"], "watch", watch)
    found = certificate(one_sided(6, 2), damping=0.4)
    assert seen == [("certificate", 1000)] * found.applications


def test_marginal_is_neither():
    """Eigenvalue 0 of A, so 1 of I - A: nothing is decided there, and the sentence says so."""
    A = bp.Convolution(np.array([[0.25, 0.5, 0.25]]), shape=(1, 5, 8), boundary="circular")
    found = certificate(A)
    assert found.spectral_radius == pytest.approx(1.0, abs=1e-6)
    assert not found.converges and not found.diverges and "marginal" in found.verdict
    too_long = certificate(bp.Identity((1, 3, 4)), damping=2.5)
    assert too_long.diverges and too_long.safe_damping == pytest.approx(2.0)
    assert "a damping below 2 would converge" in too_long.verdict


def test_it_prints_and_converts():
    found = certificate(bp.Identity((1, 3, 4)))
    assert found.spectral_radius == 0 and found.predicted_iterations(1e-3) == 0 and found.converges
    assert "spectral radius of M" in str(found) and found.verdict in str(found) and found.verdict in repr(found)
    assert json.loads(found.to_json())["converges"] is True
    with pytest.raises(AttributeError):
        found.norm = 2.0


@pytest.mark.parametrize(
    ("options", "words"),
    (
        ({"damping": 0.0}, "damping"),
        ({"damping": math.nan}, "damping"),
        ({"damping": True}, "damping"),
        ({"tol": 0}, "tol"),
        ({"tol": "small"}, "tol"),
        ({"max_applications": 10}, "max_applications"),
        ({"max_applications": 1e4}, "max_applications"),
        ({"y": np.ones((1, 3, 5))}, "shape"),
        ({"y": np.full((1, 3, 4), np.nan)}, "y"),
    ),
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        certificate(bp.Identity((1, 3, 4)), **options)


def test_bad_operators():
    blur = bp.Convolution(np.array([[0.2, 0.6, 0.2]]), shape=(1, 5, 6))
    with pytest.raises(ValueError, match="square"):
        certificate(bp.stack([blur, blur]))
    with pytest.raises(ValueError, match="finite"):
        certificate(bp.GKM(np.full((1, 3, 4), np.nan), sigmas=(0.0,), channels=1))
    with pytest.raises(TypeError):
        certificate(3)
    with pytest.raises(TypeError):
        certificate(blur, y=np.ones((1, 5, 6), np.float32))
    for tol in (0, -1.0, math.nan, math.inf, True, "1e-3"):
        with pytest.raises(ValueError, match="tol"):
            certificate(blur).predicted_iterations(tol)
