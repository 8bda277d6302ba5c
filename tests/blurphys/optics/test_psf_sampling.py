"""From a recorded point to a kernel: sums, centroids and widths against plain loops."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import blurphys as bp


def shared_by_loops(psf, scale, half):
    """Light of each sample, even over its square, on the pixels: overlap by overlap, axis by axis."""
    out = np.zeros((2 * half + 1,) * 2)
    shares = []
    for n in psf.shape:
        share = np.zeros((2 * half + 1, n))
        for at in range(n):
            for pixel in range(-half, half + 1):
                low, high = (at - n // 2 - 0.5) * scale, (at - n // 2 + 0.5) * scale
                share[pixel + half, at] = max(0.0, min(high, pixel + 0.5) - max(low, pixel - 0.5)) / scale
        shares.append(share)
    for i, j in np.ndindex(psf.shape):
        out += psf[i, j] * np.multiply.outer(shares[0][:, i], shares[1][:, j])
    return out


def mean_and_variance(psf):
    y, x = np.mgrid[: psf.shape[0], : psf.shape[1]]
    total = psf.sum()
    found = []
    for place, n in ((y, psf.shape[0]), (x, psf.shape[1])):
        mean = ((place - n // 2) * psf).sum() / total
        found += [(mean, ((place - n // 2 - mean) ** 2 * psf).sum() / total)]
    return found


@given(seed=st.integers(0, 2**20), h=st.integers(1, 12), w=st.integers(1, 12), scale=st.floats(0.02, 3.0))
@example(seed=0, h=21, w=21, scale=0.7109375)
def test_resampling_keeps_light_centroid_and_never_narrows(seed, h, w, scale):
    psf = np.random.default_rng(seed).random((h, w))
    made = bp.psf.resample(psf, scale)
    assert made.shape[0] == made.shape[1] and made.shape[0] % 2 == 1 and made.min() > -1e-15
    assert made.sum() == pytest.approx(psf.sum(), rel=1e-12)
    for (mean, variance), (m, v) in zip(mean_and_variance(psf), mean_and_variance(made), strict=True):
        assert m == pytest.approx(scale * mean, abs=1e-9)
        assert -1e-9 < v - scale**2 * variance < (scale**2 + 3) / 12 + 0.5


@given(seed=st.integers(0, 2**20), scale=st.floats(0.3, 2.5))
def test_what_a_smooth_psf_becomes_is_the_overlap_of_areas(seed, scale):
    """A PSF that is wide for its pixels needs next to no correction."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-14:15, -14:15] - rng.uniform(-1, 1, (2, 1, 1))
    psf = np.exp(-(y**2 + x**2) / (2 * max(3.0, 1.5 / scale) ** 2))
    made = bp.psf.resample(psf, scale)
    expected = shared_by_loops(psf, scale, made.shape[0] // 2)
    assert np.allclose(made, expected, atol=0.01 * expected.max())


@pytest.mark.parametrize("shape", [(5, 5), (9, 9)])
def test_at_scale_one_it_is_the_identity(rng, shape):
    psf = rng.random(shape)
    assert np.array_equal(bp.psf.resample(psf, 1.0), psf)


def test_a_disk_sampled_finer_becomes_the_disk():
    fine = bp.psf.disk(20.0)
    assert np.abs(bp.psf.resample(fine, oversampling=8) - bp.psf.disk(2.5, 7)).max() < 2e-3
    assert np.array_equal(bp.psf.resample(fine, 0.125), bp.psf.resample(fine, oversampling=8))


@given(seed=st.integers(0, 2**20), h=st.integers(1, 9), w=st.integers(1, 9))
def test_centering_puts_the_centroid_on_the_centre_pixel(seed, h, w):
    psf = np.random.default_rng(seed).random((2, h, w)) ** 4 + 1e-3
    for one, made in zip(psf, bp.psf.center(psf), strict=True):
        assert made.sum() == pytest.approx(one.sum())
        for (_, variance), (m, v) in zip(mean_and_variance(one), mean_and_variance(made), strict=True):
            assert abs(m) < 1e-9 and -1e-9 < v - variance < 0.25 + 1e-9


def test_centering_while_resampling(rng):
    psf = rng.random((8, 6)) ** 6
    made = bp.psf.resample(psf, 0.4, centered=True)
    assert all(abs(mean) < 1e-9 for mean, _ in mean_and_variance(made))


@pytest.mark.parametrize("seed", range(20))
def test_psfs_of_both_signs_are_shared_out_too(seed):
    """A derivative, or noise: their sums are next to nothing, and so are their means and variances."""
    place = np.arange(-7, 8)
    smooth = np.exp(-(place**2) / 8)
    for psf in (np.outer(smooth, -place * smooth), np.random.default_rng(seed).standard_normal((9, 9))):
        psf = psf - (seed % 2) * psf.mean()
        made = bp.psf.resample(psf, 0.5)
        assert np.abs(made).sum() <= np.abs(psf).sum() * (1 + 1e-12)
        assert made.sum() == pytest.approx(psf.sum(), abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_a_size_may_cut_zeros_off(seed):
    psf = np.zeros((31, 31))
    psf[8:23, 8:23] = np.random.default_rng(seed).random((15, 15))
    assert np.array_equal(bp.psf.resample(psf, 1.0, size=17), psf[7:24, 7:24])
    with pytest.raises(ValueError, match="holds the PSF, 31 px, got 13"):
        bp.psf.resample(psf, 1.0, size=13)


def test_cleaning_removes_background_and_hot_pixels():
    recorded = 10 + 200 * np.pad(bp.psf.disk(3.0), 4)
    recorded[1, 1] += 90
    cleaned = bp.psf.normalize(bp.psf.clean(recorded, cut=5e-4))
    assert np.allclose(cleaned, np.pad(bp.psf.disk(3.0), 4), atol=1e-12)
    given = bp.psf.clean(recorded, background=10.0)
    assert given[1, 1] == 90 and given[0, 0] == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: bp.psf.resample(p), "either scale or oversampling"),
        (lambda p: bp.psf.resample(p, 0.0), "> 0, got 0.0"),
        (lambda p: bp.psf.resample(p, oversampling=-1), "oversampling to be a finite number > 0, got -1"),
        (lambda p: bp.psf.resample(p, 1.0, size=4), "size to be an odd integer >= 1 px, got 4"),
        (lambda p: bp.psf.resample(p, 1.0, size=3), "holds the PSF"),
        (lambda p: bp.psf.resample(p * np.nan, 1.0), "25 NaN"),
        (lambda p: bp.psf.resample(p + 1j, 1.0), "complex"),
        (lambda p: bp.psf.resample(p[0], 1.0), "(..., h, w)"),
        (lambda p: bp.psf.center(0 * p), "no centroid"),
        (lambda p: bp.psf.center(np.diff(p, prepend=0.0) - 0.19), "no centroid"),
        (lambda p: bp.psf.normalize(p - 1), "dark level"),
        (lambda p: bp.psf.clean(p, background=2), "light above the background"),
        (lambda p: bp.psf.clean(p, cut=1), "cut from 0"),
        (lambda p: bp.psf.normalize(p * 1e308), "finite sum"),
        (lambda p: bp.psf.resample(p, "2"), "> 0, got '2'"),
        (lambda p: bp.psf.resample(p, 1.0, size=float("nan")), "got nan"),
        (lambda p: bp.psf.center([[1, 2], [3]]), "no numbers"),
    ],
)
def test_slips_are_named(call, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")):
        call(np.ones((5, 5)))


# ---- constructors ---------------------------------------------------------------------------------------------------

COUNTS = 1e6 * np.ones((1, 3, 3))
MAPS = np.ones((1, 8, 9))
BUILD = {
    "bank": lambda p: bp.PSFBank(psfs=p),
    "stack": lambda p: bp.PSFStack(p, weights=MAPS),
    "pixel": lambda p: bp.PixelPSF(np.broadcast_to(p, (8, 9, 3, 3)).copy()),
    "convolution": lambda p: bp.Convolution(p[0], shape=(3, 8, 9)),
}


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_constructors_refuse_what_is_no_psf(build):
    with pytest.raises(ValueError, match=r"white image would become 9e\+06.*normalize"):
        build(COUNTS)
    with pytest.raises(ValueError, match="expected finite PSFs"):
        build(COUNTS * np.nan)
    with pytest.warns(bp.PSFWarning, match="white image would become 9;"):
        build(1e-6 * COUNTS)
    build(COUNTS / COUNTS.sum())
    noisy = COUNTS.copy()
    noisy[0, 0, 0] = -1e4  # of a recording less its background
    with pytest.raises(ValueError, match="white image would become"):
        build(noisy)
    build(np.array([[[0, -1.0, 0], [-1, 4, -1], [0, -1, 0]]]))  # a derivative has any sum


def test_learned_psfs_may_have_any_sum():
    torch = pytest.importorskip("torch")
    psf = torch.ones(5, 5, requires_grad=True)
    assert bp.Convolution(psf, shape=(1, 8, 8))(torch.ones(1, 8, 8)).shape == (1, 8, 8)


# ---- one focus ------------------------------------------------------------------------------------------------------


def test_one_level_stands_for_every_radius(rng):
    psf = bp.psf.normalize(rng.random((5, 5)))
    x = rng.random((3, 12, 14))
    expected = bp.Convolution(psf, shape=x.shape)(x)
    bank = bp.PSFBank(psfs=psf[None])
    assert bank.radii.tolist() == [0.0] and bank.psfs().shape == (1, 5, 5)
    radius = rng.uniform(-9, 9, x.shape[1:])
    assert np.allclose(bp.DefocusBlur(radius, bank=bank)(x), expected, atol=1e-13)
    assert np.allclose(bp.FieldDefocus(radius, banks=[[bank]])(x), expected, atol=1e-13)
    layered = bp.LayeredDefocus(np.ones((1, 12, 14)), radii=[7.0], bank=bank)
    assert np.allclose(layered(x), expected, atol=1e-12)
    assert np.allclose(bp.DefocusBlur(radius, bank=bank).psf_at(3, 4), psf, atol=1e-15)


def test_a_measured_grid_at_one_focus(rng):
    psfs = bp.psf.normalize(rng.random((2, 3, 5, 5)))
    A = bp.FieldDefocus.from_psfs(psfs, shape=(3, 20, 31))
    assert A.in_shape == (3, 20, 31) and bp.check(A).passed
    for row, r in ((0, 0), (19, 1)):
        for col, c in ((0, 0), (15, 1), (30, 2)):
            assert np.allclose(A.psf_at(row, col), psfs[r, c], atol=1e-15)
    middle = bp.FieldDefocus.from_psfs(psfs, shape=(3, 20, 31), nodes="centres").psf_at(0, 0)
    assert np.allclose(middle, psfs[0, 0], atol=1e-15)
    with pytest.raises(ValueError, match=r"\(rows, cols, h, w\)"):
        bp.FieldDefocus.from_psfs(psfs[0], shape=(3, 20, 31))
    with pytest.raises(ValueError, match="shape"):
        bp.FieldDefocus.from_psfs(psfs, shape=(20, 31))


def test_a_measured_grid_at_one_focus_survives_a_file(tmp_path, rng):
    psfs = bp.psf.normalize(rng.random((1, 2, 3, 3)))
    A = bp.FieldDefocus.from_psfs(psfs, shape=(1, 8, 9))
    bp.save(A, tmp_path / "grid.h5")
    x = rng.random((1, 8, 9))
    assert np.array_equal(bp.load(tmp_path / "grid.h5")(x), A(x))
