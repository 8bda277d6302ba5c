"""Kernels: area sampling, unit sums, continuity, second moments, and the published dual-pixel arrays."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests import oracles
from tests.profiles import examples

GOLDEN = {  # radius: kernel size, |centroid| of the left view for the two published settings
    1: (3, 0.486, 0.462),
    2: (7, 0.779, 0.748),
    3: (9, 0.987, 0.933),
    5: (13, 1.579, 1.456),
    10: (25, 2.935, 2.635),
    20: (47, 5.951, 5.297),
    40: (93, 11.844, 10.532),
}
SETTINGS = ((3, 0.8, 0.1), (6, 1.0, 0.2))


def widen(psf, size):
    """Zeros around an odd kernel so that its centre stays."""
    pad = (size - psf.shape[0]) // 2
    assert psf.shape[0] % 2 == 1 and psf.shape[0] == psf.shape[1]
    return np.pad(psf, pad)


def distance(a, b):
    """L1 distance of two kernels of any odd size."""
    size = max(a.shape[0], b.shape[0])
    return float(np.abs(widen(a, size) - widen(b, size)).sum())


# ---- gaussian -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", (0.2, 0.5, 1.0, 2.3))
@pytest.mark.parametrize("size", (7, 11))
def test_gaussian_is_the_integral_over_each_pixel(sigma, size):
    edges = [math.erf((i - size / 2) / (sigma * math.sqrt(2.0))) for i in range(size + 1)]
    line = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    expected = oracles.outer(line, line)
    found = bp.psf.gaussian(sigma, size)
    assert np.abs(found - expected / expected.sum()).max() <= 1e-14


def test_gaussian_area_sampling_is_not_point_sampling():
    """At small sigma the two differ: an operator's taps are the papers' point samples, `bp.psf.gaussian` is not."""
    area = bp.psf.gaussian(0.4, 5)
    line = oracles.gaussian_taps(0.4, 5)
    assert np.abs(area - oracles.outer(line, line)).max() > 0.05


def test_gaussian_default_size_reaches_three_sigma():
    for sigma in (0.8, 1.0, 2.7, 5.0):
        psf = bp.psf.gaussian(sigma)
        assert psf.shape[0] % 2 == 1 and psf.shape[0] // 2 >= 3 * sigma - 0.5
        _, centroid, variance = oracles.moments(psf)
        assert np.allclose(centroid, 0.0, atol=1e-12)
        assert np.allclose(variance, sigma**2 + 1.0 / 12.0, rtol=0.05)


def test_gaussian_zero_is_the_dirac():
    psf = bp.psf.gaussian(0.0)
    assert psf.sum() == 1.0 and psf[psf.shape[0] // 2, psf.shape[1] // 2] == 1.0


# ---- disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", (0.3, 0.5, 0.8, 1.0, 2.5, 3.7, 6.2))
def test_disk_is_the_covered_area(radius):
    found = bp.psf.disk(radius)
    expected = oracles.disk_coverage(radius, found.shape[0])
    assert np.abs(found - expected / expected.sum()).max() <= 2e-3 * found.max()


@pytest.mark.parametrize("radius", (2.5, 3.0, 4.68, 7.3, 12.0))
def test_disk_second_moment(radius):
    _, centroid, variance = oracles.moments(bp.psf.disk(radius))
    assert np.allclose(centroid, 0.0, atol=1e-12)
    for v in variance:
        assert radius**2 / 4 <= v <= radius**2 / 4 + 0.11


def test_disk_below_half_a_pixel_is_the_dirac():
    for radius in (0.0, 0.1, 0.49):
        psf = bp.psf.disk(radius)
        assert psf[psf.shape[0] // 2, psf.shape[1] // 2] == pytest.approx(1.0, abs=1e-12)


# ---- generalised gaussian -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", (3.0, 5.5))
@pytest.mark.parametrize("exponent", (2.0, 3.0, 4.5, 6.0))
def test_generalized_gaussian_variance(scale, exponent):
    """Per axis a^2 Gamma(4/b) / (2 Gamma(2/b)), plus the pixel's own 1/12."""
    psf = bp.psf.generalized_gaussian(scale, exponent, 12 * math.ceil(scale) + 1)
    expected = scale**2 * math.gamma(4.0 / exponent) / (2.0 * math.gamma(2.0 / exponent)) + 1.0 / 12.0
    for v in oracles.moments(psf)[2]:
        assert v == pytest.approx(expected, rel=3e-3)


def test_generalized_gaussian_joins_gaussian_and_disk():
    sigma = 2.0
    assert distance(bp.psf.generalized_gaussian(sigma * math.sqrt(2.0), 2.0, 21), bp.psf.gaussian(sigma, 21)) < 2e-3
    assert distance(bp.psf.generalized_gaussian(4.3, 200.0, 13), bp.psf.disk(4.3, 13)) < 0.03


# ---- every family -------------------------------------------------------------------------------------------------

LEFT = bp.Pupil.disk(split=0.4)
FAMILIES = {
    "gaussian": bp.psf.gaussian,
    "disk": bp.psf.disk,
    "generalized_gaussian": lambda r: bp.psf.generalized_gaussian(r, 4.0),
    "pupil disk": bp.Pupil.disk().psf,
    "pupil left": lambda r: LEFT.psf(r, view="left"),
    "pupil butterworth": bp.Pupil.butterworth(smoothing=0.1).psf,
    "pupil polygon": bp.Pupil.polygon(6).psf,
}
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
@examples(10)
@given(radius=st.floats(0.05, 9.0))
def test_kernels_have_unit_sum_and_are_not_negative(family, radius):
    psf = FAMILIES[family](radius)
    assert isinstance(psf, np.ndarray) and psf.dtype == np.float64 and psf.ndim == 2
    assert psf.shape[0] == psf.shape[1] and psf.shape[0] % 2 == 1
    assert abs(psf.sum() - 1.0) <= 1e-12 and psf.min() >= 0.0


@every_family
@pytest.mark.parametrize("radius", (0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 2.4999999, 3.3, 5.0, 7.5))
def test_kernels_are_continuous_in_the_radius(family, radius):
    """||k(r + e) - k(r)|| -> 0, at integers, half integers and where the array grows."""
    make = FAMILIES[family]
    steps = (1e-2, 1e-4, 1e-6)
    jumps = [max(distance(make(radius + e), make(radius)), distance(make(radius - e), make(radius))) for e in steps]
    if family == "gaussian" or family == "generalized_gaussian":  # the cut at a few sigma may move by a pixel
        assert jumps[-1] <= 0.02
    else:
        assert jumps[0] <= 0.2 and jumps[1] <= 5e-3 and jumps[2] <= 1e-3, jumps


def test_kernels_grow_monotonically():
    """Second moments follow the radius without steps: no rounding to integers anywhere."""
    for family, make in FAMILIES.items():
        radii = np.arange(1.0, 5.0, 0.2)
        spread = [sum(oracles.moments(make(r))[2]) for r in radii]
        assert np.all(np.diff(spread) > 0), family


# ---- published dual-pixel arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", GOLDEN)
@pytest.mark.parametrize("which", (0, 1))
def test_golden_butterworth_centroids(radius, which):
    order, cutoff, floor = SETTINGS[which]
    size, golden = GOLDEN[radius][0], GOLDEN[radius][1 + which]
    options = {"order": order, "cutoff": cutoff, "floor": floor}
    left = bp.psf.butterworth(radius, view="left", **options)
    right = bp.psf.butterworth(radius, view="right", **options)
    centre = bp.psf.butterworth(radius, **options)
    assert left.shape == right.shape == centre.shape == (size, size)
    # impulse responses: the mirror of the authors' filter arrays, which they correlate
    assert oracles.moments(left)[1][0] == pytest.approx(-golden, abs=6e-4)
    assert oracles.moments(right)[1][0] == pytest.approx(golden, abs=6e-4)
    assert oracles.moments(left)[1][1] == pytest.approx(0.0, abs=1e-12)
    assert np.abs((left + right) / 2 - centre).max() <= 1e-16 * 10
    for psf in (left, right, centre):
        assert abs(psf.sum() - 1.0) <= 1e-12 and psf.min() >= 0.0
    if radius >= 5:
        rim = centre[size // 2, size // 2] / centre.max()
        low, high = ((0.145, 0.175), (0.515, 0.595))[which]
        assert low <= rim <= high


@pytest.mark.parametrize("radius", (1, 2, 3, 5, 10))
@pytest.mark.parametrize("order", (3, 6, 9))
@pytest.mark.parametrize(("cutoff", "floor"), ((0.8, 0.1), (0.8, 0.2), (1.0, 0.1), (1.0, 0.2)))
def test_published_butterworth_arrays_entry_by_entry(radius, order, cutoff, floor):
    for view in ("combined", "left", "right"):
        filter_array = oracles.butterworth_filter(radius, order, cutoff, floor, view)
        found = bp.psf.butterworth(radius, order=order, cutoff=cutoff, floor=floor, view=view)
        assert found.shape == filter_array.shape
        assert np.abs(found - filter_array[::-1, ::-1]).max() <= 1e-14


def test_butterworth_defaults_are_the_first_published_setting():
    found = bp.psf.butterworth(5)
    assert np.array_equal(found, bp.psf.butterworth(5, order=3, cutoff=0.8, floor=0.1, smoothing=None))


def test_stated_left_centroid_at_radius_three():
    assert oracles.moments(bp.psf.butterworth(3, view="left"))[1][0] == pytest.approx(-0.987, abs=6e-4)


# ---- the paper's Gaussian bank ------------------------------------------------------------------------------------


def test_gkm_bank_of_21():
    """Widths 1, 3, ..., 21; the Dirac, then (m-2)/4 and (m-1)/4 for every width: exactly 21 kernels."""
    sigmas, supports = bp.gkm_bank(21)
    expected = [(0.0, 1)] + [((m - k) / 4.0, m) for m in range(3, 22, 2) for k in (2, 1)]
    assert len(sigmas) == len(supports) == len(expected) == 21
    for found, wanted in zip(zip(sigmas, supports, strict=True), expected, strict=True):
        assert float(found[0]) == wanted[0] and int(found[1]) == wanted[1]
    assert float(sigmas[-1]) == 5.0 and max(supports) == 21


def bank_taps(k):
    """1-D taps of one kernel of the bank as the operator applies them."""
    sigmas, supports = bp.gkm_bank(21)
    A = bp.GKM(np.ones((1, 1, 1)), sigmas=[sigmas[k]], supports=[supports[k]], channels=1, boundary="replicate")
    psf = A.psf_at(0, 0)
    assert np.abs(psf - oracles.outer(psf.sum(axis=1), psf.sum(axis=0))).max() <= 1e-15
    return psf.sum(axis=0)


def test_truncated_widest_gaussian_has_a_negative_response():
    """Down to -0.0168: I - B has an eigenvalue 1.0168 and the plain iteration grows."""
    taps = bank_taps(20)
    assert np.abs(taps - oracles.gaussian_taps(5.0, 21)).max() <= 1e-15
    response = [
        sum(float(t) * math.cos(math.pi * f / 2000.0 * (i - 10)) for i, t in enumerate(taps)) for f in range(2001)
    ]
    assert min(response) == pytest.approx(-0.0168, abs=5e-5)


def test_truncation_narrows_the_widest_gaussian():
    taps = bank_taps(20)
    std = math.sqrt(sum(float(t) * (i - 10) ** 2 for i, t in enumerate(taps)))
    assert 0.88 <= std / 5.0 <= 0.90  # 0.88 for the continuous Gaussian cut at two sigma


def test_bank_as_an_operator():
    sigmas, supports = bp.gkm_bank(21)
    rng = np.random.default_rng(0)
    beta = rng.uniform(size=(21, 5, 6))
    beta /= beta.sum(axis=0)
    A = bp.GKM(beta, sigmas=sigmas, supports=supports, channels=1, boundary="replicate")
    assert A.halo == 10
    D = oracles.gkm(beta, [float(s) for s in sigmas], [int(s) for s in supports], 1, "replicate")
    x = rng.normal(size=(1, 5, 6))
    assert np.abs(A(x).reshape(-1) - D @ x.reshape(-1)).max() <= 1e-13


def test_smaller_banks():
    sigmas, supports = bp.gkm_bank(5)
    assert [float(s) for s in sigmas] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [int(s) for s in supports] == [1, 3, 3, 5, 5]
