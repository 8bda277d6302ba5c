"""The wavelet transform against its definition as a matrix, and the prior against the law of proximal operators."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.prox.wavelet import l1_wavelet, wavelet_analysis, wavelet_synthesis
from tests import problems
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

NAMES = ("haar", "db2", "db3", "db8")
ROOT = np.sqrt(3.0)
PUBLISHED = {  # Daubechies 1988: closed forms
    "haar": np.asarray([1.0, 1.0]) / np.sqrt(2),
    "db2": np.asarray([1 + ROOT, 3 + ROOT, 3 - ROOT, 1 - ROOT]) / (4 * np.sqrt(2)),
}


def flat(coefficients):
    coarse, details = coefficients
    return np.concatenate([to_numpy(c).ravel() for c in (coarse, *(d for triple in details for d in triple))])


def matrix(wavelet, levels, height, width):
    """The transform of every unit image, one in each column."""
    units = np.eye(height * width).reshape(-1, 1, height, width)
    return np.stack([flat(wavelet_analysis(unit, wavelet=wavelet, levels=levels)) for unit in units], axis=1)


@pytest.mark.parametrize("wavelet", NAMES)
@pytest.mark.parametrize(("levels", "height", "width"), [(1, 2, 2), (1, 5, 4), (2, 4, 7), (3, 7, 9), (2, 6, 3)])
def test_it_is_orthonormal_for_every_size(wavelet, levels, height, width):
    w = matrix(wavelet, levels, height, width)
    assert w.shape == (height * width, height * width)
    assert np.abs(w.T @ w - np.eye(height * width)).max() < 1e-10


@pytest.mark.parametrize("wavelet", PUBLISHED)
def test_the_published_filters(wavelet):
    """A unit impulse on a long line: the low band reads the taps of one parity, up to the mirror image."""
    length = 16
    taps = []
    for position in (6, 7):
        x = np.zeros((1, 2, length))
        x[..., position] = 1.0  # both rows alike: the low band of the rows multiplies by sqrt(2)
        taps.append(wavelet_analysis(x, wavelet=wavelet, levels=1)[0][0, 0] / np.sqrt(2))
    found = np.sort(np.concatenate(taps)[np.abs(np.concatenate(taps)) > 1e-12])
    assert np.allclose(found, np.sort(PUBLISHED[wavelet]), atol=1e-12)


@pytest.mark.parametrize("moments", range(1, 9))
def test_details_of_a_polynomial_vanish(moments):
    x = np.linspace(-1, 1, 64)
    image = np.stack([x ** (moments - 1)] * 64)[None]
    _, right, _ = wavelet_analysis(image, wavelet=f"db{moments}", levels=1)[1][0]
    inside = right[..., : 32 - moments]  # without the lines that see the other end
    assert np.abs(inside).max() < 1e-9
    assert np.abs(image).max() == pytest.approx(1.0)
    bent = np.stack([x**moments] * 64)[None]
    assert np.abs(wavelet_analysis(bent, wavelet=f"db{moments}", levels=1)[1][0][1][..., 1:8]).max() > 1e-12


@given(
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.sampled_from([(2, 8, 9), (1, 5, 16), (2, 3, 7, 6)]),
    st.integers(0, 2**16),
)
def test_synthesis_is_the_inverse_and_the_transpose(wavelet, levels, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    coarse, details = wavelet_analysis(x, wavelet=wavelet, levels=levels)
    assert np.allclose(wavelet_synthesis((coarse, details), wavelet=wavelet), x, atol=1e-10)
    assert np.sum(flat((coarse, details)) ** 2) == pytest.approx(np.sum(x**2))
    other = (rng.normal(size=coarse.shape), tuple(tuple(rng.normal(size=d.shape) for d in t) for t in details))
    left = np.dot(flat((coarse, details)), flat(other))
    assert np.sum(x * wavelet_synthesis(other, wavelet=wavelet)) == pytest.approx(left, abs=1e-9)


def test_the_last_number_of_an_odd_line_is_set_aside():
    x = problems.random_image((1, 4, 5))
    coarse, _ = wavelet_analysis(x, levels=1)
    assert coarse.shape == (1, 2, 3)
    assert np.allclose(coarse[0, :, 2], (x[0, 0::2, 4] + x[0, 1::2, 4]) / np.sqrt(2))


@given(
    st.sampled_from(NAMES),
    st.floats(0, 2),
    st.sampled_from([(1, 4, 5), (2, 6, 3)]),
    st.integers(0, 2**16),
)
def test_no_other_image_has_a_lower_objective(wavelet, strength, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)

    def objective(z):
        details = wavelet_analysis(z, wavelet=wavelet, levels=2)[1]
        size = sum(np.abs(d).sum() for triple in details for d in triple)
        return 0.5 * np.sum((z - x) ** 2) + strength * size

    z = l1_wavelet(x, strength, wavelet=wavelet, levels=2)
    rivals = [x, np.zeros(shape), *(z + scale * rng.normal(size=shape) for scale in (1.0, 1e-2, 1e-4))]
    for rival in rivals:
        # strongly convex: the lead is at least half the squared distance
        assert objective(z) + 0.5 * np.sum((rival - z) ** 2) <= objective(rival) + 1e-9


@given(st.floats(0, 1), st.integers(1, 3), st.sampled_from(NAMES), st.integers(0, 2**16))
@examples(20)
def test_it_is_firmly_non_expansive(strength, translations, wavelet, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(1, 6, 7)), rng.normal(size=(1, 6, 7))
    p, q = (l1_wavelet(v, strength, wavelet=wavelet, levels=2, translations=translations) for v in (x, y))
    assert np.sum((p - q) ** 2) <= np.sum((p - q) * (x - y)) + 1e-9


@pytest.mark.parametrize("wavelet", NAMES)
@pytest.mark.parametrize("levels", [1, 2])
def test_shrinkage_over_all_shifts_is_that_of_pywavelets(wavelet, levels):
    """Over all shifts, because PyWavelets splits the longer filters at another phase of the grid."""
    x, strength, shifts = problems.random_image((1, 64, 68)), 0.3, 2**levels

    def shrunk(image):
        coarse, *details = pywt.wavedec2(image, wavelet, mode="periodization", level=levels)
        small = [tuple(pywt.threshold(d, strength, "soft") for d in triple) for triple in details]
        return pywt.waverec2([coarse, *small], wavelet, mode="periodization")

    grid = [(i, j) for i in range(shifts) for j in range(shifts)]
    want = np.mean([np.roll(shrunk(np.roll(x[0], (-i, -j), (0, 1))), (i, j), (0, 1)) for i, j in grid], axis=0)
    found = l1_wavelet(x, strength, wavelet=wavelet, levels=levels, translations=shifts)
    assert np.abs(found[0] - want).max() < 1e-11
    assert np.abs(found - x).max() > 0.1
    if wavelet == "haar":  # where the phase is the same
        assert np.abs(l1_wavelet(x, strength, levels=levels)[0] - shrunk(x[0])).max() < 1e-12


def test_all_shifts_make_it_blind_to_the_grid():
    x = problems.random_image((1, 8, 12))
    moved = np.roll(x, (1, 3), axis=(-2, -1))
    for wavelet in ("haar", "db2"):
        z, shifted = (l1_wavelet(v, 0.2, wavelet=wavelet, levels=2, translations=4) for v in (x, moved))
        assert np.allclose(shifted, np.roll(z, (1, 3), axis=(-2, -1)), atol=1e-12)
        alone = l1_wavelet(moved, 0.2, wavelet=wavelet, levels=2)
        assert np.abs(alone - np.roll(l1_wavelet(x, 0.2, wavelet=wavelet, levels=2), (1, 3), (-2, -1))).max() > 1e-3


def test_it_removes_noise_and_shifts_help():
    from skimage.data import camera

    clean = camera()[None, 100:228, 150:278] / 255.0
    noisy = clean + 0.08 * np.random.default_rng(0).normal(size=clean.shape)
    error = [np.linalg.norm(v - clean) for v in (noisy, *(l1_wavelet(noisy, 0.15, translations=t) for t in (1, 4)))]
    assert error[1] < 0.75 * error[0]
    assert error[2] < 0.9 * error[1]


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_namespace(namespace, dtype):
    x = problems.random_image((2, 3, 7, 6)).astype(dtype)
    image = to_namespace(x, namespace)
    strength = to_namespace(np.asarray([0.1, 0.3], dtype=dtype).reshape(2, 1, 1, 1), namespace)
    z = l1_wavelet(image, strength, wavelet="db2", levels=2, translations=2)
    assert z.dtype == image.dtype
    assert type(z) is type(image)
    for i, s in enumerate((0.1, 0.3)):
        alone = l1_wavelet(x[i].astype("float64"), s, wavelet="db2", levels=2, translations=2)
        assert np.abs(to_numpy(z)[i] - alone).max() < (1e-12 if dtype == "float64" else 1e-5)
    assert np.array_equal(to_numpy(image), x)


def test_gradients():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    strength = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: l1_wavelet(x, s, wavelet="db2", levels=2, translations=2), (x, strength), fast_mode=True
    )


def test_zero_strength_keeps_the_image():
    x = problems.random_image((1, 5, 6))
    assert np.allclose(l1_wavelet(x, 0.0, wavelet="db3", levels=2), x, atol=1e-12)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "much", True])
def test_a_bad_strength(bad):
    with pytest.raises(ValueError, match="strength must be a finite number, zero or larger"):
        l1_wavelet(np.zeros((1, 8, 8)), bad)


@pytest.mark.parametrize(("shape", "levels", "most"), [((1, 8, 8), 4, 3), ((1, 64, 5), 4, 3), ((1, 9, 1), 1, 0)])
def test_too_many_levels(shape, levels, most):
    with pytest.raises(ValueError, match=f"levels must be at most {most} for an image of"):
        l1_wavelet(np.zeros(shape), 0.1, levels=levels)
    if most:
        l1_wavelet(np.zeros(shape), 0.1, levels=most)


def test_other_bad_input():
    x = np.zeros((1, 8, 8))
    for wavelet in ("db0", "db9", "sym4", None, 2):
        for call in (lambda w: l1_wavelet(x, 0.1, wavelet=w), lambda w: wavelet_synthesis((x, ()), wavelet=w)):
            with pytest.raises(ValueError, match="wavelet must be one of haar, db1"):
                call(wavelet)
    for count in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="levels must be an integer >= 1"):
            l1_wavelet(x, 0.1, levels=count)
        with pytest.raises(ValueError, match="translations must be an integer >= 1"):
            l1_wavelet(x, 0.1, translations=count)
    with pytest.raises(ValueError, match="one value per image or channel"):
        l1_wavelet(x, np.full((8, 8), 0.1))
    with pytest.raises(ValueError, match="shape"):
        l1_wavelet(np.zeros((8, 8)), 0.1)
    with pytest.raises(TypeError, match="floating"):
        l1_wavelet(np.zeros((1, 8, 8), dtype=np.uint8), 0.1)
