"""Boundaries: what lies outside the frame, the limits, and the names other libraries use."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from tests.oracles import BOUNDARIES, extension_limit, source_index
from tests.strategies import unit_psfs

NUMPY_NAMES = {
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
    "zero": "constant",
}
SCIPY_NAMES = {
    "reflect": "mirror",
    "symmetric": "reflect",
    "replicate": "nearest",
    "circular": "wrap",
    "zero": "constant",
}
every_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)


def shift(dy, dx, size=(9, 9)):
    """PSF that moves the image down by dy and to the right by dx."""
    psf = np.zeros(size)
    psf[size[0] // 2 + dy, size[1] // 2 + dx] = 1.0
    return psf


@every_boundary
@pytest.mark.parametrize("n", (1, 2, 5, 7))
def test_oracle_indices_agree_with_numpy_pad(boundary, n):
    """The oracle itself is checked against another library before anything rests on it."""
    limit = extension_limit(n, boundary)
    pad = 17 if limit is None else limit
    padded = np.pad(np.arange(1, n + 1), pad, mode=NUMPY_NAMES[boundary])
    found = [source_index(i, n, boundary) for i in range(-pad, n + pad)]
    assert [0 if i is None else i + 1 for i in found] == list(padded)


@every_boundary
def test_shifted_image_shows_what_lies_outside(boundary):
    x = np.arange(1.0, 13.0).reshape(1, 3, 4)
    for dy, dx in ((2, 0), (-2, 0), (0, 2), (0, -2), (1, -2), (-2, 1)):
        y = bp.Convolution(shift(dy, dx, (5, 5)), shape=(1, 3, 4), boundary=boundary)(x)
        canvas = np.pad(x[0], 2, mode=NUMPY_NAMES[boundary])
        assert np.array_equal(y[0], canvas[2 - dy : 5 - dy, 2 - dx : 6 - dx]), (dy, dx)


@pytest.mark.parametrize("boundary", ("replicate", "circular", "zero"))
def test_extension_far_beyond_the_image(boundary):
    x = np.arange(1.0, 7.0).reshape(1, 2, 3)
    size = (1, 41)
    for dx in (-20, -7, 6, 19):
        y = bp.Convolution(shift(0, dx, size), shape=(1, 2, 3), boundary=boundary)(x)
        canvas = np.pad(x[0], ((0, 0), (20, 20)), mode=NUMPY_NAMES[boundary])
        assert np.array_equal(y[0], canvas[:, 20 - dx : 23 - dx])


@every_boundary
def test_same_as_scipy_ndimage(boundary):
    """True convolution with the boundary of that name in scipy.ndimage."""
    rng = np.random.default_rng(0)
    x, psf = rng.normal(size=(2, 8, 9)), unit_psfs(rng, (5, 7))
    y = bp.Convolution(psf, shape=(2, 8, 9), boundary=boundary)(x)
    for c in range(2):
        expected = scipy.ndimage.convolve(x[c], psf, mode=SCIPY_NAMES[boundary], cval=0.0)
        assert np.abs(y[c] - expected).max() <= 1e-14


@pytest.mark.parametrize(("boundary", "limit"), (("reflect", 5), ("symmetric", 6)))
def test_extension_limit_is_stated(boundary, limit):
    """At most n-1 pixels for reflect, n for symmetric; the error carries the number."""
    fits = np.full((2 * limit + 1, 1), 1.0 / (2 * limit + 1))
    bp.Convolution(fits, shape=(1, 6, 7), boundary=boundary)(np.ones((1, 6, 7)))
    for size in (2 * limit + 2, 2 * limit + 3):
        psf = np.full((size, 1), 1.0 / size)
        with pytest.raises(ValueError, match=rf"\b{limit}\b"):
            bp.Convolution(psf, shape=(1, 6, 7), boundary=boundary)(np.ones((1, 6, 7)))


@pytest.mark.parametrize("boundary", ("reflect", "symmetric"))
def test_every_operator_obeys_the_limit(boundary):
    maps = np.ones((1, 3, 8))
    two, five = np.full((2, 3, 8), 0.5), np.full((5, 3, 8), 0.2)
    tall = np.full((9, 1), 1.0 / 9.0)
    bank = bp.PSFBank(psfs=np.stack([tall, tall]), radii=(-1.0, 1.0))
    builders = (
        lambda: bp.GKM(maps, sigmas=[1.2], channels=1, boundary=boundary),
        lambda: bp.RKR(five, atoms=np.full((4, 3), 1.0 / 3.0), channels=1, boundary=boundary),
        lambda: bp.RKR(two, atoms=np.full((1, 9), 1.0 / 9.0), channels=1, boundary=boundary, stagewise=True),
        lambda: bp.PSFStack(tall[None], weights=maps, channels=1, boundary=boundary),
        lambda: bp.PSFStack(tall[None], weights=maps, channels=1, boundary=boundary, form="scatter"),
        lambda: bp.PixelPSF(np.broadcast_to(tall, (3, 8, 9, 1)).copy(), channels=1, boundary=boundary),
        lambda: bp.DefocusBlur(maps[0], bank=bank, channels=1, boundary=boundary),
    )
    for build in builders:
        with pytest.raises(ValueError, match=r"boundary|extension|extend|limit"):
            build()(np.ones((1, 3, 8)))
    # the same cascade is legal when the image is extended anew before every atom
    bp.RKR(five, atoms=np.full((4, 3), 1.0 / 3.0), channels=1, boundary=boundary, stagewise=True)(np.ones((1, 3, 8)))


def test_recursion_on_the_extended_plane_equals_the_composed_kernel():
    """Zero boundary: an intermediate result that leaves the frame must come back."""
    gamma = np.concatenate([np.zeros((2, 1, 5)), np.ones((1, 1, 5))])
    atoms = np.array([[0.2, 0.3, 0.5], [0.1, 0.3, 0.6]])
    x = np.zeros((1, 1, 5))
    x[0, 0, 4] = 1.0
    once = bp.RKR(gamma, atoms=atoms, channels=1, boundary="zero")(x)
    line = np.convolve(atoms[0], atoms[1])
    centre = line[2]  # the vertical passes leave the centre tap only
    assert np.allclose(once[0, 0], centre * np.array([0, 0, *line[:3]]), rtol=0, atol=1e-15)
    anew = bp.RKR(gamma, atoms=atoms, channels=1, boundary="zero", stagewise=True)(x)
    assert not np.allclose(anew, once)


@given(
    boundary=st.sampled_from(BOUNDARIES),
    n=st.integers(1, 6),
    before=st.integers(0, 9),
    after=st.integers(0, 9),
    seed=st.integers(0, 999),
)
def test_extend_and_fold_are_adjoint(boundary, n, before, after, seed):
    from blurphys.boundary import extend, fold

    limit = extension_limit(n, boundary)
    if limit is not None:
        before, after = min(before, limit), min(after, limit)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n, n + 1))
    wide = extend(x, (before, 0), (after, 0), boundary)
    source = [source_index(i, n, boundary) for i in range(-before, n + after)]
    assert np.array_equal(wide, np.stack([0 * x[:, 0] if i is None else x[:, i] for i in source], axis=1))
    v = rng.normal(size=wide.shape)
    folded = np.zeros_like(x)
    for i, s in enumerate(source):
        if s is not None:
            folded[:, s] += v[:, i]
    assert np.abs(fold(v, (before, 0), (after, 0), boundary) - folded).max() <= 1e-13
