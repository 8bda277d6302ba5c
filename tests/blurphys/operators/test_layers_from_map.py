"""Layers of a picture and its defocus map: what they show, how far they go on, and what light they leave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.operators.layers_from_map import slab_edges
from tests.profiles import examples
from tests.strategies import NAMESPACES, to_namespace, to_numpy

BANK = bp.PSFBank(bp.Pupil.disk(), max_radius=4.0, step=0.5)


def drawn(seed, height=14, width=17):
    """Pieces of constant radius and a slope, and a picture."""
    rng = np.random.default_rng(seed)
    c = rng.choice([-3.0, -1.0, 0.2, 2.5], (height // 4 + 1, width // 4 + 1)).repeat(4, 0).repeat(4, 1)[:height, :width]
    c[-3:] = np.linspace(-1, 1, width)
    return rng.random((3, height, width)), c


@examples(40)
@given(seed=st.integers(0, 2**16), slabs=st.integers(1, 30))
def test_hard_layers_show_the_picture_and_leave_no_gap(seed, slabs):
    image, c = drawn(seed)
    alphas, radii, colours = bp.layers_from_map(image, c, slabs=slabs, softness=0)
    assert len(radii) == len(alphas) <= slabs and list(radii) == sorted(radii)
    A = bp.LayeredDefocus(alphas, radii=radii, bank=BANK, per_layer=True)
    assert np.array_equal(A.composite(np.concatenate(colours)), image)
    assert np.allclose(A(np.ones(A.in_shape)), 1, rtol=0, atol=1e-12)
    shown = np.argmax(alphas > 0, axis=0)
    width = (c.max() - c.min()) / min(slabs, max(1, np.ceil((c.max() - c.min()) / 0.25)))
    off = np.abs(np.asarray(radii)[shown] - c)
    assert off.max() <= max(width, 1.0) + 1e-9


@examples(25)
@given(seed=st.integers(0, 2**16))
def test_a_layer_goes_on_behind_nearer_ones_as_far_as_blur_uncovers_it(seed):
    """By a loop over pairs of pixels."""
    image, c = drawn(seed, 9, 11)
    alphas, radii, colours = bp.layers_from_map(image, c, softness=0)
    number = np.argmax(alphas > 0, axis=0)
    pixels = list(np.ndindex(c.shape))
    for k, r in enumerate(radii):
        shown = [p for p in pixels if number[p] == k]
        for p in pixels:
            distances = [np.hypot(p[0] - q[0], p[1] - q[1]) for q in shown]
            hidden = number[p] < k and min(distances) <= abs(c[p]) + abs(r) + 1
            assert alphas[k][p] == (number[p] == k or hidden)
            if hidden:
                nearest = [q for q, d in zip(shown, distances, strict=True) if d == min(distances)]
                assert any(np.array_equal(colours[k][:, *p], image[:, *q]) for q in nearest)


def test_an_edge_before_something_far_is_soft_and_others_are_hard():
    c = np.where(np.arange(40) < 20, -3.0, 2.0) * np.ones((30, 1))
    c[:, :10] = -3.4  # the same surface, nearly
    alphas, radii, _ = bp.layers_from_map(np.full((1, 30, 40), 0.5), c, slabs=24)
    near = alphas[1]
    assert radii == pytest.approx((-3.4, -3.0, 2.0))
    assert 0.5 < near[5, 19] < 1 and 0 < near[5, 20] < 0.5 and near[5, 15] == 1
    assert near[5, 19] + near[5, 20] == pytest.approx(1, abs=0.02)
    assert set(np.unique(alphas[0])) == {0, 1}


def test_what_is_in_focus_is_one_layer():
    c = np.linspace(-0.45, 0.45, 60) * np.ones((8, 1))
    assert len(bp.layers_from_map(np.zeros((1, 8, 60)), c).radii) == 1


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace_gives_its_own_arrays(namespace):
    image, c = (a.astype(np.float32) for a in drawn(1))
    expected = bp.layers_from_map(image, c)
    found = bp.layers_from_map(to_namespace(image, namespace), to_namespace(c, namespace))
    assert found.radii == expected.radii
    for a, b in ((found.alphas, expected.alphas), (found.colours, expected.colours)):
        assert "float32" in str(a.dtype) and np.array_equal(to_numpy(a), b)


def test_slabs_share_the_range_evenly_and_are_not_too_thin():
    assert np.allclose(slab_edges(-1.0, 3.0, 4), [0, 1, 2])
    assert len(slab_edges(0.0, 1.0, 100)) == 3
    assert len(slab_edges(1.0, 1.0, 5)) == 0


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"defocus_map": np.zeros((8, 9))}, ValueError, ("(3, 9, 8)", "(8, 9)")),
        ({"image": np.zeros((9, 8))}, ValueError, ("(9, 8)",)),
        ({"image": np.zeros((3, 9, 8), np.uint8)}, TypeError, ("uint8",)),
        ({"defocus_map": np.zeros((9, 8), np.float32)}, TypeError, ("float32", "float64")),
        ({"defocus_map": np.full((9, 8), np.nan)}, ValueError, ("finite",)),
        ({"slabs": 0}, ValueError, ("slabs", "0")),
        ({"slabs": 2.5}, (ValueError, TypeError), ("slabs", "2.5")),
        ({"softness": -1}, ValueError, ("softness", "-1")),
    ],
)
def test_bad_input(changes, error, words):
    arguments = {"image": np.zeros((3, 9, 8)), "defocus_map": np.zeros((9, 8))} | changes
    with pytest.raises(error) as raised:
        bp.layers_from_map(arguments.pop("image"), arguments.pop("defocus_map"), **arguments)
    assert all(word in str(raised.value) for word in words), raised.value
