"""The blur of one photo: the same in any tiles, complete, and honest where nothing can be seen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nets
from nets.inference.blur_map import _completed, _noise, blur_distribution, confidence_of, median_of

RADII = 0.5 * np.arange(17, dtype=np.float32)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nets.BlurMapNet(widths=(4, 5, 6, 7), depths=(0, 1, 2, 1))


@pytest.mark.parametrize("tile", [16, 40, 100])
def test_tiles_equal_the_whole(net, tile):
    photo = torch.rand(3, 203, 310, generator=torch.Generator().manual_seed(1))
    whole = blur_distribution(net, photo, tile=1024)
    with torch.no_grad():
        np.testing.assert_allclose(whole, net(photo[None])[0], atol=1e-6)
    assert np.ptp(whole, axis=(1, 2)).max() > 0.01
    np.testing.assert_allclose(blur_distribution(net, photo, tile=tile), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["numpy32", "numpy64", "torch"])
def test_the_estimate_is_of_the_size_of_the_photo(net, kind):
    photo = np.random.default_rng(0).random((3, 50, 67))
    given_ = {"numpy32": photo.astype(np.float32), "numpy64": photo, "torch": torch.from_numpy(photo)}[kind]
    found = nets.estimate_blur(given_, net=net)
    for plane in (found.radius, found.confidence):
        assert plane.shape == (50, 67) and plane.dtype == np.float32 and np.isfinite(plane).all()
    assert 0 <= found.radius.min() and found.radius.max() <= 8
    assert 0 <= found.confidence.min() and found.confidence.max() <= 1
    assert found.distribution.shape == (17, 7, 9) and found.radii.tolist() == RADII.tolist()
    np.testing.assert_allclose(found.distribution.sum(axis=0), 1, atol=1e-5)
    assert isinstance(found.noise, float) and found.noise > 0.1


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_map_is_completed_along_the_edges_at_any_size(scale, monkeypatch):
    """Two surfaces, of which a tenth of the cells is known; the edge lies inside a cell."""
    monkeypatch.setattr("nets.inference.blur_map.MAP_PIXELS", 202 * 310 // scale**2)
    weight = np.where(np.random.default_rng(0).random((26, 39)) < 0.1, 1, 1e-4).astype(np.float32)
    left = np.arange(310) < 157
    middle = np.where(np.arange(39) < 19, 1.0, 4.0).astype(np.float32) * np.ones((26, 1), np.float32)
    photo = torch.from_numpy(np.where(left, 0.2, 0.8) * np.ones((3, 202, 1)))
    found = _completed(middle, weight, photo)
    assert found.shape == (202, 310) and found.dtype == np.float32
    assert np.abs(found[:, 10:140] - 1).mean() < 0.1 and np.abs(found[:, 10:140] - 1).max() < 1.0
    assert np.abs(found[:, 175:] - 4).mean() < 0.1 and np.abs(found[:, 175:] - 4).max() < 1.0


def test_the_noise_of_large_photos_comes_from_strips(monkeypatch):
    photo = torch.from_numpy(0.5 + 0.03 * np.random.default_rng(0).standard_normal((3, 500, 100)))
    monkeypatch.setattr("nets.inference.blur_map.NOISE_PIXELS", 100 * 140)
    assert _noise(photo) == pytest.approx(0.03, rel=0.1)
    assert _noise(photo[:, :16, :17]) == pytest.approx(0.03, rel=0.3)


@given(seed=st.integers(0, 10**6), size=st.integers(2, 17))
def test_median_and_confidence_equal_sums_over_fine_steps(seed, size):
    rng = np.random.default_rng(seed)
    radii = 0.5 * np.arange(size, dtype=np.float32)
    shares = rng.dirichlet(np.full(size, 0.3)).astype(np.float32)
    fine, each = 4000, []
    for k, share in enumerate(shares):
        low, high = max(0.0, 0.5 * k - 0.25), 0.5 * k + 0.25
        at = low + (np.arange(fine) + 0.5) / fine * (high - low)
        each += [(a, share / fine) for a in at]
    at, mass = (np.array(x) for x in zip(*each, strict=True))
    middle = at[np.searchsorted(np.cumsum(mass), 0.5 * mass.sum())].clip(0, radii[-1])
    cells = shares[:, None, None]
    found = median_of(cells, radii)
    assert found[0, 0] == pytest.approx(middle, abs=2e-3)
    sure = mass[np.abs(at - found[0, 0]) <= 0.5].sum()
    assert confidence_of(cells, radii, found)[0, 0] == pytest.approx(sure, abs=2e-3)


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        (np.zeros((3, 10, 40)), ValueError, "at least 16 x 16 px, got 10 x 40"),
        (np.zeros((40, 50)), ValueError, r"got \(40, 50\); a grey photo"),
        (np.zeros((1, 40, 50)), ValueError, "a grey photo"),
        (np.zeros((40, 50, 3)), ValueError, "channels-last"),
        (np.zeros((2, 3, 40, 50)), ValueError, "one photo"),
        (np.zeros((3, 40, 50), np.uint8), TypeError, "uint8; divide 8 bits by 255"),
        (np.full((3, 40, 50), np.nan), ValueError, "finite"),
        ("photo.jpg", TypeError, "got str"),
    ],
)
def test_bad_photos_are_answered_in_one_sentence(photo, error, message):
    with pytest.raises(error, match=message) as caught:
        nets.estimate_blur(photo)
    assert "\n" not in str(caught.value)


def test_another_network_is_refused():
    with pytest.raises(TypeError, match="BlurMapNet, got Linear"):
        nets.estimate_blur(np.zeros((3, 40, 50)), net=torch.nn.Linear(1, 1))
