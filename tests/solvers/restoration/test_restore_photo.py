"""One photograph restored by a map of its blur: what it gains, what it leaves alone, tiles, and what is refused."""

import numpy as np
import pytest

import blurphys as bp
import solvers

PUPIL = bp.Pupil.disk(core=0.4)
INNER = (..., slice(8, -8), slice(8, -8))
RADIUS = 3.0


def mse(a, b):
    return float(np.mean((a - b)[INNER] ** 2))


def picture(seed, shape=(64, 88), channels=3, white=0.9):
    rng = np.random.default_rng(seed)
    cells = rng.random((channels, shape[0] // 4, shape[1] // 4))
    return (0.05 + (white - 0.05) * cells).repeat(4, axis=1).repeat(4, axis=2).astype(np.float32)


def blurred(sharp, radius=RADIUS, noise=0.002, seed=0):
    c = np.full(sharp.shape[-2:], radius, np.float32)
    y = bp.DefocusBlur(c, bank=bp.PSFBank(PUPIL, max_radius=8.0, step=0.25), channels=len(sharp))(sharp)
    y += noise * np.random.default_rng([seed, 1]).standard_normal(y.shape, dtype=np.float32)
    return y, c


@pytest.fixture(scope="module")
def case():
    sharp = picture(0)
    y, c = blurred(sharp)
    return sharp, y, c, solvers.restore_photo(y, c, pupil=PUPIL)


def test_the_true_radius_gains(case):
    sharp, y, _, found = case
    assert mse(found.image, sharp) < mse(y, sharp) / 1.6
    assert found.restored_share > 0.9 and 0.0005 < found.noise < 0.01


def test_one_channel_and_other_kinds_of_arrays(case):
    torch = pytest.importorskip("torch")
    sharp = picture(1, channels=1)
    y, c = blurred(sharp)
    found = solvers.restore_photo(y, c, pupil=PUPIL)
    assert mse(found.image, sharp) < mse(y, sharp) / 1.5
    tensors = solvers.restore_photo(torch.from_numpy(y), torch.from_numpy(c), pupil=PUPIL)
    assert np.array_equal(tensors.image.numpy(), found.image) and isinstance(tensors.trust, torch.Tensor)


def test_without_confidence_the_photograph_comes_back_exactly(case):
    _, y, c, _ = case
    before = y.copy()
    found = solvers.restore_photo(y, c, pupil=PUPIL, confidence=np.zeros_like(c))
    assert np.array_equal(found.image, y) and found.restored_share == 0
    assert found.kept["uncertain"] == 1 and np.array_equal(y, before)


def test_a_sharp_map_returns_the_photograph(case):
    sharp, _, c, _ = case
    found = solvers.restore_photo(sharp, 0.2 * c, pupil=PUPIL)
    assert np.array_equal(found.image, sharp) and found.kept["sharp"] == 1


@pytest.mark.parametrize("radius", [2.0, 4.0])
def test_a_sharp_photograph_survives_a_map_that_says_blurred(radius):
    sharp = picture(2, (96, 128))
    found = solvers.restore_photo(sharp, np.full((96, 128), radius, np.float32), pupil=PUPIL, noise=0.002)
    assert np.mean((np.sqrt(found.image.clip(0)) - np.sqrt(sharp)) ** 2) < 10**-4.5
    assert found.kept["misfit"] > 0.7


def test_too_large_a_radius_costs_little(case):
    sharp, y, c, _ = case
    found = solvers.restore_photo(y, c + 1, pupil=PUPIL)
    assert mse(found.image, sharp) < 1.02 * mse(y, sharp)


def test_only_the_certain_half_changes_and_there_is_no_step(case):
    _, y, c, _ = case
    confidence = np.zeros_like(c)
    confidence[:, 44:] = 1
    found = solvers.restore_photo(y, c, pupil=PUPIL, confidence=confidence)
    assert np.array_equal(found.image[..., :44], y[..., :44])
    assert found.trust[:, 60:].mean() > 0.9
    assert np.abs(np.diff(found.trust, axis=1)).max() < 0.35


def test_what_clipped_light_reaches_is_kept():
    sharp = picture(3)
    sharp[:, 28:36, 40:48] = 6.0
    y, c = blurred(sharp)
    y = y.clip(0, 1)
    found = solvers.restore_photo(y, c, pupil=PUPIL)
    lamp = (slice(None), slice(25, 39), slice(37, 51))
    assert np.array_equal(found.image[lamp], y[lamp]) and found.kept["clipped"] > 0.03
    assert mse(found.image, sharp.clip(0, 1)) < mse(y, sharp.clip(0, 1))
    assert found.image.max() < 1.2


def test_an_edge_of_the_map_is_kept(case):
    _, y, c, _ = case
    stepped = c.copy()
    stepped[:, 44:] = 1.5 * RADIUS
    found = solvers.restore_photo(y, stepped, pupil=PUPIL)
    assert (found.trust[:, 43:45] < 0.5).all() and found.kept["edge"] > 0.05


def test_motion_is_not_explained_by_defocus():
    sharp = picture(4, (96, 128))
    y = sum(np.roll(sharp, k, axis=2) for k in range(-7, 8)) / 15
    found = solvers.restore_photo(y, np.full((96, 128), 4.0, np.float32), pupil=PUPIL, noise=0.002)
    assert found.kept["misfit"] > 0.4


def test_tiles_do_not_show(case):
    _, y, c, whole = case
    seen = []
    tiled = solvers.restore_photo(y, c, pupil=PUPIL, tile=32, on_progress=lambda *state: seen.append(state))
    assert seen[-1] == (6, 6)
    assert np.abs(np.sqrt(tiled.image.clip(0)) - np.sqrt(whole.image.clip(0))).max() < 2 / 255


def test_parts_without_anything_to_do_are_skipped(case):
    _, y, c, _ = case
    seen, half = [], c.copy()
    half[:, :40] = 0
    solvers.restore_photo(y, half, pupil=PUPIL, tile=32, on_progress=lambda *state: seen.append(state))
    assert seen[-1] == (4, 4)


def test_half_a_dual_pixel_has_a_sign():
    pupil = bp.Pupil.disk(split=0.45)
    sharp = picture(5)
    c = np.full(sharp.shape[-2:], RADIUS, np.float32)
    bank = bp.PSFBank(pupil, max_radius=4.0, step=0.25)
    y = bp.DualPixel(c, bank=bank, views=("left",))(sharp)
    right, wrong = (solvers.restore_photo(y, s * c, pupil=pupil, view="left", noise=0.002) for s in (1, -1))
    assert mse(right.image, sharp) < mse(y, sharp) / 1.4 < mse(wrong.image, sharp)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": np.zeros((2, 3, 64, 88), np.float32)}, "one photograph"),
        ({"y": np.full((3, 64, 88), np.nan, np.float32)}, "finite"),
        ({"defocus_map": np.zeros((64, 80), np.float32)}, "64 x 88"),
        ({"confidence": np.zeros((60, 88), np.float32)}, "confidence of 64 x 88"),
        ({"view": "up"}, "view"),
        ({"strength": "strong"}, "strong"),
        ({"strength": -1.0}, "strength"),
        ({"noise": -0.1}, "noise"),
        ({"tile": 8}, "tile"),
        ({"pupil": bp.PSFBank(PUPIL, max_radius=1.0)}, "within the bank"),
    ],
)
def test_bad_input_is_refused(change, said, case):
    _, y, c, _ = case
    given = {"y": y, "defocus_map": c, "pupil": PUPIL, **change}
    with pytest.raises(ValueError, match=said):
        solvers.restore_photo(given.pop("y"), given.pop("defocus_map"), **given)
