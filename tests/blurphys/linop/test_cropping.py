"""The operator of a part of the picture equals the whole one where its own edges are out of sight."""

from __future__ import annotations

import numpy as np
import pytest

import blurphys as bp
from blurphys.adapters import wrap
from tests.cases import CASES, DAILY
from tests.strategies import Setup, to_numpy

WHOLE = slice(None)
INSIDE = (slice(5, -6), slice(4, 38))
CORNER = (slice(None, 26), slice(-29, None))


def inner(size: int, part: slice, margin: int, *, wraps: bool = False) -> slice:
    """Where a part of an axis is at least `margin` from its edges that are not the frame's."""
    start, stop, _ = part.indices(size)
    whole = (start, stop) == (0, size)
    before = 0 if whole or (start == 0 and not wraps) else margin
    after = 0 if whole or (stop == size and not wraps) else margin
    return slice(before, stop - start - after)


def check_crop(A, rows, cols, s, *, scene=(0, 0)):
    """A.crop against the crop of A, forward and adjoint, further than the halo from the outermost pixels."""
    part = A.crop(rows, cols)
    height, width = A.out_shape[-2:]
    wraps = s.boundary == "circular"
    margin = A.halo + 1 if A.halo else 0
    r, c = inner(height, rows, margin, wraps=wraps), inner(width, cols, margin, wraps=wraps)
    top, bottom, _ = rows.indices(height)
    left, right, _ = cols.indices(width)
    assert part.out_shape == (A.out_shape[0], bottom - top, right - left)
    assert (part.batch_shape, part.halo) == (A.batch_shape, A.halo)
    x = s.image(A.in_shape, A.batch_shape)
    seen = x[..., top : bottom + scene[0], left : right + scene[1]]
    got, wanted = to_numpy(part(s.array(seen))), to_numpy(A(s.array(x)))[..., top:bottom, left:right]
    assert got[..., r, c].size
    np.testing.assert_allclose(got[..., r, c], wanted[..., r, c], rtol=0, atol=1e-12)
    if scene == (0, 0):
        u = s.image(A.out_shape, A.batch_shape, salt=2)
        back = to_numpy(A.adjoint(s.array(u)))[..., top:bottom, left:right]
        for adjoint in (part.adjoint, A.H.crop(rows, cols)):
            got = to_numpy(adjoint(s.array(u[..., top:bottom, left:right])))
            np.testing.assert_allclose(got[..., r, c], back[..., r, c], rtol=0, atol=1e-12)
    return part


@pytest.mark.parametrize("boundary", ("reflect", "zero", "circular"))
@pytest.mark.parametrize("name", DAILY)
def test_a_crop_is_the_operator_of_a_part_of_the_picture(name, boundary):
    s = Setup(boundary=boundary, height=40, width=44, support=(3, 4), batch=(2,), seed=3)
    A = CASES[name](s).A
    scene = tuple(n - m for n, m in zip(A.in_shape[-2:], A.out_shape[-2:], strict=True))
    for rows, cols in (INSIDE, CORNER):
        check_crop(A, rows, cols, s, scene=scene)


@pytest.mark.parametrize("name", ["gkm", "defocus_blur", "layered_views", "nested", "tiled_psf_stack"])
def test_crops_of_tensors(name):
    s = Setup(namespace="torch", height=40, width=44, seed=4)
    check_crop(CASES[name](s).A, WHOLE, CORNER[1], s)


@pytest.mark.parametrize("name", ["gkm", "psf_stack", "layered_views", "observed", "nested"])
def test_a_crop_of_a_crop_is_a_crop(name):
    s = Setup(height=40, width=44, seed=5)
    A = CASES[name](s).A
    once, twice = (
        A.crop(slice(7, 32), slice(9, 35)),
        A.crop(slice(2, 34), slice(5, 40)).crop(slice(5, 30), slice(4, 30)),
    )
    x = s.image(once.in_shape)
    assert twice.in_shape == once.in_shape
    np.testing.assert_array_equal(to_numpy(twice(x)), to_numpy(once(x)))


def field(boundary="reflect", nodes="corners", shape=(40, 44)):
    def bank(q):
        return bp.PSFBank(bp.Pupil.disk(cat_eye=(q, 0.2)), max_radius=2.5)

    defocus = np.random.default_rng(3).uniform(-2.5, 2.5, shape)
    banks = [[bank(-0.9), bank(0.0), bank(0.9)], [bank(-0.3), bank(0.3), bank(0.6)]]
    return bp.FieldDefocus(defocus, banks=banks, boundary=boundary, nodes=nodes, channels=2)


@pytest.mark.parametrize("nodes", ("corners", "centres"))
@pytest.mark.parametrize("boundary", ("reflect", "circular"))
def test_psfs_stay_at_their_place_in_the_frame(nodes, boundary, tmp_path):
    s = Setup(boundary=boundary)
    A = field(boundary, nodes)
    part = check_crop(A, *INSIDE, s)
    check_crop(A, *CORNER, s)
    np.testing.assert_array_equal(part.psf_at(3, 4), A.psf_at(8, 8))
    x = s.image(part.in_shape)
    once = part(x)
    bp.save(part, tmp_path / "part.h5")
    others = {
        "replaced": part.replace(boundary=boundary),
        "read again": bp.load(tmp_path / "part.h5"),
        "made so": bp.FieldDefocus(
            A.defocus_map[INSIDE],
            banks=A.banks,
            boundary=boundary,
            nodes=nodes,
            channels=2,
            frame=(40, 44),
            origin=(5, 4),
        ),
    }
    for name, other in others.items():
        np.testing.assert_allclose(other(x), once, rtol=0, atol=1e-14, err_msg=name)
    assert (
        np.abs(bp.FieldDefocus(part.defocus_map, banks=A.banks, boundary=boundary, channels=2)(x) - once).max() > 0.01
    )
    twice = A.crop(slice(2, None), slice(3, None)).crop(slice(3, 32), slice(1, 35))
    np.testing.assert_array_equal(twice(x), once)


def test_a_field_keeps_its_place_in_a_larger_scene(tmp_path):
    U = bp.unknown_boundary(field())
    bp.save(U, tmp_path / "scene.h5")
    x = Setup().image(U.in_shape)
    np.testing.assert_allclose(bp.load(tmp_path / "scene.h5")(x), U(x), rtol=0, atol=1e-14)


def test_a_window_of_a_scene_is_cropped_in_what_is_observed():
    s = Setup(height=40, width=44)
    A = CASES["gkm"](s).A
    U = bp.unknown_boundary(A, margin=(A.halo, A.halo + 2))
    scene = (2 * A.halo, 2 * A.halo + 4)
    for B in (U, -2.0 * U, U + U, bp.stack([U, 3 * U])):
        part = B.crop(*INSIDE)
        x, (top, bottom, _), (left, right, _) = s.image(U.in_shape), slice(5, -6).indices(40), INSIDE[1].indices(44)
        got = part(x[..., top : bottom + scene[0], left : right + scene[1]])
        np.testing.assert_allclose(got, B(x)[..., top:bottom, left:right], rtol=0, atol=1e-12)  # to the very edge
    with pytest.raises(TypeError, match=r"A\.crop\(rows, cols\)\.H"):
        U.H.crop(*INSIDE)


def test_a_tiled_operator_stays_tiled_and_maps_are_views():
    s = Setup(height=40, width=44)
    A = CASES["gkm"](s).A
    part = bp.tiled(A, tile=9).crop(*INSIDE)
    assert part.tile == (9, 9)
    assert np.shares_memory(part.operator.beta, A.beta)


class Own(bp.LinearOperator):
    """Knows its maps, hence its windows."""

    _maps = "gain"
    halo = 0

    def __init__(self, gain):
        self.gain = gain

    @property
    def in_shape(self):
        return (1, *self.gain.shape)

    out_shape = in_shape

    def _forward(self, x):
        return self.gain * x

    _adjoint = _forward


class Mute(Own):
    _maps = None


class Vague(Own):
    halo = None


def test_own_operators():
    gain = np.random.default_rng(0).random((12, 14))
    check_crop(Own(gain) + bp.Identity((1, 12, 14)), slice(2, 9), slice(3, 14), Setup())
    with pytest.raises(TypeError, match=r"Sum\.crop.*Mute"):
        (Own(gain) + Mute(gain)).crop(WHOLE, WHOLE)
    for refuse in (lambda A: A.crop(WHOLE, WHOLE), bp.tiled, bp.unknown_boundary):
        with pytest.raises(TypeError, match=r"Vague is None; define `halo`"):
            refuse(Own(gain) @ Vague(gain))


@pytest.mark.parametrize(
    ("rows", "cols", "error", "words"),
    [
        (3, WHOLE, TypeError, "rows as a slice, got int 3"),
        ((0, 5), WHOLE, TypeError, "rows as a slice, got tuple"),
        (WHOLE, None, TypeError, "columns as a slice"),
        (slice(0.5, 4), WHOLE, TypeError, "got slice"),
        (slice(0, 10, 2), WHOLE, ValueError, "rows without a step"),
        (slice(None, None, -1), WHOLE, ValueError, "rows without a step"),
        (slice(4, 4), WHOLE, ValueError, "at least one of the 40 rows"),
        (WHOLE, slice(50, 60), ValueError, "at least one of the 44 columns"),
        (slice(0, 3), WHOLE, ValueError, "more than 3 rows, the halo of GKM, got 3: boundary 'reflect'"),
    ],
)
def test_what_is_no_part_of_the_picture(rows, cols, error, words):
    A = bp.GKM(np.ones((1, 40, 44)), sigmas=(1.0,))
    for B in (A, A @ A.H):
        with pytest.raises(error, match="crop") as caught:
            B.crop(rows, cols)
        assert words in str(caught.value)
    assert A.crop(slice(-1000, 1000), slice(None, -40)).in_shape == (3, 40, 4)
    assert A.replace(boundary="zero").crop(slice(0, 1), WHOLE).in_shape == (3, 1, 44)


@pytest.mark.parametrize(
    "place",
    [
        {"origin": (3, 3)},
        {"frame": (40, 50), "origin": (40, 0)},
        {"frame": (40, 50), "origin": (0, -31)},
        {"frame": (0, 4)},
        {"frame": (40,)},
        {"frame": (40.5, 40)},
    ],
)
def test_a_map_that_lies_in_no_frame(place):
    with pytest.raises(ValueError, match="FieldDefocus: expected.*(frame|origin)"):
        field(shape=(20, 31)).replace(**place)


def test_what_cannot_be_cropped_is_named_under_a_window_too():
    class Own(bp.LinearOperator):
        in_shape = out_shape = property(lambda self: (1, 20, 20))

        def _forward(self, x):
            return 2 * x

        _adjoint = _forward

    class Silent(Own):  # says which maps it has, not how far it looks
        _maps = "weights"

    part = slice(0, 5)
    for own in (Own(), Silent(), wrap((lambda x: x, lambda x: x), in_shape=(1, 20, 20))):
        for A in (own, bp.Window((1, 20, 20), 0) @ own):
            with pytest.raises(TypeError, match="crop: expected"):
                A.crop(part, part)
