"""The all-in-focus image: what it gains, when it keeps the photograph, tiles, and what is refused."""

import re

import numpy as np
import pytest

import blurphys as bp
import solvers

SIZE = (64, 88)
PUPIL = bp.Pupil.disk(split=0.45)
BANK = bp.PSFBank(PUPIL, max_radius=4.0, step=0.25)


def mse(a, b):
    return float(np.mean((a - b)[..., 8:-8, 8:-8] ** 2))


@pytest.fixture(scope="module")
def scene():
    """A board before a wall, both with texture: sharp picture, map, and both views with noise."""
    rng = np.random.default_rng(0)
    front, behind = (rng.random((3, 16, 22)).repeat(4, axis=1).repeat(4, axis=2).astype(np.float32) for _ in range(2))
    board = np.zeros(SIZE, np.float32)
    board[16:48, 24:56] = 1
    alphas = np.stack([board, np.ones_like(board)])
    A = bp.LayeredDefocus(alphas, radii=(-3.0, 1.5), bank=BANK, views=("left", "right"), per_layer=True)
    colours = np.concatenate([front, behind])
    y = A(colours) + 0.003 * rng.standard_normal((6, *SIZE), dtype=np.float32)
    return A.composite(colours), np.where(board > 0, -3.0, 1.5).astype(np.float32), y


def test_the_true_map_restores_two_surfaces(scene):
    sharp, radii, y = scene
    found = solvers.all_in_focus(y, radii, pupil=PUPIL, noise=0.003)
    assert mse(found.image, sharp) < mse(found.recorded, sharp) / 4
    assert found.explained > 0.7 and found.layers == 2
    assert np.allclose(found.recorded, y.reshape(2, 3, *SIZE).mean(axis=0), rtol=0.05)


def test_a_wrong_map_keeps_the_photograph(scene):
    """Exchanged signs put each view's blur into the other; nothing explains that."""
    sharp, radii, y = scene
    found = solvers.all_in_focus(y, -radii, pupil=PUPIL, noise=0.003)
    assert found.explained < 0.25
    assert mse(found.image, sharp) < 1.1 * mse(found.recorded, sharp)
    assert mse(found.restored, sharp) > mse(found.image, sharp)


def test_the_image_is_the_mixture_that_trust_says(scene):
    _, radii, y = scene
    found = solvers.all_in_focus(y, np.abs(radii), pupil=PUPIL, noise=0.003)
    mixture = found.trust * found.restored + (1 - found.trust) * found.recorded
    assert np.allclose(found.image, mixture, atol=1e-6)
    assert found.trust.min() >= 0 and found.trust.max() <= 1
    assert found.explained == pytest.approx(found.trust.mean())


def test_where_the_map_is_not_certain_the_photograph_is_kept(scene):
    _, radii, y = scene
    certain = np.zeros(SIZE, np.float32)
    certain[:, :44] = 1
    found = solvers.all_in_focus(y, radii, pupil=PUPIL, noise=0.003, confidence=certain)
    assert np.array_equal(found.image[..., 64:], found.recorded[..., 64:])
    assert not np.allclose(found.image[..., :32], found.recorded[..., :32], atol=1e-3)


def test_tiles_agree_with_the_whole_frame(scene):
    _, radii, y = scene
    whole = solvers.all_in_focus(y, radii, pupil=PUPIL, noise=0.003, strength=1e-4)
    seen = []
    tiled = solvers.all_in_focus(
        y, radii, pupil=PUPIL, noise=0.003, strength=1e-4, tile=44, on_progress=lambda *done: seen.append(done)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    difference = np.sqrt(np.mean((tiled.restored - whole.restored) ** 2))
    # Not equal: the iteration ends before it converges, and hidden parts depend on what lies around the tile.
    assert 0 < difference < 0.15 * np.sqrt(np.mean((whole.restored - whole.recorded) ** 2))


def test_rows_of_banks_hold_in_their_part_of_the_frame(scene):
    _, radii, y = scene
    one = solvers.all_in_focus(y, radii, pupil=BANK, noise=0.003, strength=1e-4)
    grid = [[BANK, bp.PSFBank(bp.Pupil.disk(split=0.1), max_radius=4.0, step=0.25)]]
    two = solvers.all_in_focus(y, radii, pupil=grid, nodes="centres", noise=0.003, strength=1e-4)
    assert two.trust[:, :36].mean() > 0.7 * one.trust[:, :36].mean()
    assert two.trust[:, 52:].mean() < 0.7 * one.trust[:, 52:].mean()


def test_one_photograph_and_one_channel():
    c = np.full(SIZE, 2.0)
    sharp = np.random.default_rng(1).random((1, 16, 22)).repeat(4, axis=1).repeat(4, axis=2)
    y = bp.DefocusBlur(c, bank=BANK, channels=1)(sharp)
    found = solvers.all_in_focus(y, c, pupil=PUPIL, views=("combined",), noise=1e-3)
    assert found.image.dtype == np.float64 and mse(found.image, sharp) < mse(y, sharp) / 4


def test_torch_tensors_stay_tensors(scene):
    torch = pytest.importorskip("torch")
    _, radii, y = scene
    cut = (..., slice(0, 40), slice(0, 48))
    wanted = solvers.all_in_focus(y[cut], radii[cut], pupil=PUPIL, noise=0.003)
    found = solvers.all_in_focus(torch.asarray(y[cut]), torch.asarray(radii[cut]), pupil=PUPIL, noise=0.003)
    assert isinstance(found.image, torch.Tensor) and found.image.dtype == torch.float32
    assert np.allclose(found.image.numpy(), wanted.image, atol=1e-5)


C = np.zeros(SIZE)
Y = np.random.default_rng(5).random((6, *SIZE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": Y[0]}, "C, H, W"),
        ({"y": Y[:5]}, "channels of 2 views"),
        ({"defocus_map": C[1:]}, r"map of 64 x 88 px.*63, 88"),
        ({"defocus_map": C + np.nan}, "finite"),
        ({"y": Y * np.inf}, "finite"),
        ({"strength": "best"}, "best"),
        ({"strength": -1.0}, "strength"),
        ({"noise": -1.0}, "noise"),
        ({"slabs": 0}, "slabs"),
        ({"tile": 8}, "tile"),
        ({"nodes": "edges"}, "corners"),
        ({"confidence": C[1:]}, r"confidence.*64 x 88"),
        ({"defocus_map": C + 9.0, "pupil": BANK}, "9"),
    ],
)
def test_bad_input(change, words):
    arguments = {"y": Y, "defocus_map": C, "pupil": PUPIL, "noise": 0.01} | change
    with pytest.raises(ValueError, match=re.compile(words, re.DOTALL)):
        solvers.all_in_focus(**arguments)
