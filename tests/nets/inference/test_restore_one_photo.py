"""One photo of unknown blur, with a stand-in for the network's estimate: the map that is used, and what comes out."""

import numpy as np
import pytest

import blurphys as bp
import nets
from nets.inference import blur_map, one_photo
from nets.inference.one_photo import probability, quantile

RADII = np.arange(0, 8.5, 0.5, dtype=np.float32)
INNER = (..., slice(8, -8), slice(8, -8))


def bump(centre, width):
    p = np.exp(-(((RADII - centre) / width) ** 2))
    return (p / p.sum()).astype(np.float32)


def estimate(photo, centre, width=0.4):
    height, width_px = photo.shape[-2:]
    p = np.broadcast_to(bump(centre, width)[:, None, None], (17, -(-height // 8), -(-width_px // 8)))
    plane = np.full((height, width_px), centre, np.float32)
    return blur_map.BlurEstimate(
        radius=plane, confidence=0 * plane + 0.6, noise=0.002, distribution=np.array(p), radii=RADII
    )


@pytest.fixture
def says(monkeypatch):
    """Let the network say one radius everywhere, and note what it was shown."""
    seen = []

    def install(centre, width=0.4):
        def stand_in(photo, *, net=None):
            seen.append(photo)
            return estimate(photo, centre, width)

        monkeypatch.setattr(blur_map, "estimate_blur", stand_in)
        return seen

    return install


def pair(radius=3.0, channels=3, shape=(64, 88)):
    rng = np.random.default_rng(0)
    sharp = (0.05 + 0.85 * rng.random((channels, shape[0] // 4, shape[1] // 4))).astype(np.float32)
    sharp = sharp.repeat(4, axis=1).repeat(4, axis=2)
    bank = bp.PSFBank(one_photo.DEFAULT_PUPIL, max_radius=8.0, step=0.25)
    y = bp.DefocusBlur(np.full(shape, radius, np.float32), bank=bank, channels=channels)(sharp)
    return sharp, y + 0.002 * rng.standard_normal(y.shape, dtype=np.float32)


def mse(a, b):
    return float(np.mean((a - b)[INNER] ** 2))


def test_what_the_network_finds_is_undone(says):
    seen = says(3.0)
    sharp, y = pair()
    steps = []
    found = nets.restore(y, on_progress=lambda *state: steps.append(state))
    assert mse(found.image, sharp) < mse(y, sharp) / 1.4
    assert 2.3 < np.median(found.defocus_map) <= 3.0 and found.confidence.min() > 0.6
    assert steps[0] == ("estimate", 0, 1) and steps[-1] == ("restore", 1, 1)
    assert "Restored" in found.verdict and np.allclose(seen[0], bp.colour.linear_to_srgb(y.clip(0, 1)), atol=1e-6)


def test_a_grey_photo_keeps_its_shape(says):
    seen = says(3.0)
    sharp, y = pair(channels=1)
    found = nets.restore(y[0])
    assert found.image.shape == y[0].shape and seen[0].shape == (3, 64, 88)
    assert mse(found.image, sharp[0]) < mse(y[0], sharp[0])


@pytest.mark.parametrize(
    ("centre", "width", "said"), [(0.2, 0.2, "Nothing to restore"), (4.0, 20.0, "left as it is: on")]
)
def test_nothing_to_restore_is_said_and_nothing_changes(centre, width, said, says):
    says(centre, width)
    _, y = pair(0.3)
    found = nets.restore(y)
    assert np.array_equal(found.image, y) and found.restored_share == 0 and not found.trust.any()
    assert said in found.verdict


def test_a_large_radius_is_searched_for_in_a_reduced_photo(says):
    seen = says(5.0)
    _, y = pair()
    found = nets.restore(y, max_radius=16.0)
    assert seen[0].shape == (3, 32, 44) and 8.0 < np.median(found.defocus_map) <= 10.0
    assert nets.restore(y, max_radius=2.0).defocus_map.max() == 2.0


def test_a_given_map_needs_no_network(monkeypatch):
    monkeypatch.delattr(blur_map, "estimate_blur")
    sharp, y = pair()
    c = np.full((64, 88), 3.0, np.float32)
    assert mse(nets.restore(y, defocus_map=c).image, sharp) < mse(y, sharp) / 1.6
    kept = nets.restore(y, defocus_map=c, confidence=0 * c)
    assert np.array_equal(kept.image, y)


def test_quantile_and_probability_of_a_distribution():
    p = np.zeros((17, 1, 1), np.float32)
    p[4], p[6] = 0.5, 0.5  # 1.75 to 2.25 px and 2.75 to 3.25 px
    assert quantile(p, RADII, 0.25)[0, 0] == pytest.approx(2.0)
    assert quantile(p, RADII, 0.75)[0, 0] == pytest.approx(3.0)
    assert quantile(p[::-1], RADII, 0.0)[0, 0] == pytest.approx(0.0)
    least, most = (np.full((1, 1), value) for value in (2.0, 3.0))
    assert probability(p, RADII, least, most)[0, 0] == pytest.approx(0.5)
    assert probability(p, RADII, 0 * least, 3 * most)[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("photo", "options", "said"),
    [
        (np.zeros((3, 8, 40), np.float32), {}, "16 x 16"),
        (np.zeros((40, 40, 3), np.float32), {}, "channels-last"),
        (np.zeros((2, 3, 40, 40), np.float32), {}, "one photo"),
        (np.full((3, 40, 40), np.inf, np.float32), {}, "finite"),
        (np.zeros((3, 40, 40), np.float32), {"max_radius": 0.0}, "max_radius"),
        (np.zeros((3, 40, 40), np.float32), {"confidence": np.ones((40, 40), np.float32)}, "together with defocus_map"),
    ],
)
def test_bad_input_is_one_sentence(photo, options, said):
    with pytest.raises(ValueError, match=said):
        nets.restore(photo, **options)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="float"):
        nets.restore(np.zeros((3, 40, 40), np.uint8))
