"""Layers on their covered pixels: the columns of the matrix of all layers that are not zero."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
from blurphys.operators.layer_areas import to_host
from blurphys.operators.packed_layers import PackedLayers
from tests.cases import CASES
from tests.profiles import examples
from tests.strategies import Setup, setups, to_namespace, to_numpy

LAYERED = ("layered", "layered_views", "layered_per_colour")


def covered_columns(s, alphas):
    """Columns of the matrix of all layers that belong to covered pixels, one colour after the other."""
    layers, pixels = np.nonzero(alphas.reshape(s.count, -1) > 0)
    return np.concatenate([(layers * s.channels + c) * s.height * s.width + pixels for c in range(s.channels)])


@pytest.mark.parametrize("name", LAYERED)
@examples(15)
@given(s=setups())
def test_its_matrix_has_the_columns_of_covered_pixels(name, s):
    """Columns by the twin made of loops, where the layers have colours of their own; adjoint and all."""
    built = CASES[name](s)
    P = PackedLayers(built.A)
    alphas = to_host(built.arrays[0])
    matrix = np.asarray(to_host(bp.to_dense(P)))
    other = built.twin() if built.A.per_layer else to_host(bp.to_dense(built.A.replace(per_layer=True)))
    tolerance = 1e-11 if s.dtype == "float64" else 1e-4
    assert np.abs(matrix - other[:, covered_columns(s, alphas)]).max(initial=0) <= tolerance
    assert bp.check(P).passed


@given(seed=st.integers(0, 2**16), lead=st.sampled_from([(), (2,), (2, 3)]))
def test_packing_is_exact(seed, lead):
    s = Setup(seed=seed, height=6, width=7)
    built = CASES["layered_views"](s)
    A, P = built.A, PackedLayers(built.A)
    rng = np.random.default_rng(seed)
    x, u = rng.random((*lead, *A.in_shape)), rng.random((*lead, *P.in_shape))
    covered = np.repeat(A.alphas > 0, s.channels, axis=0)
    assert np.array_equal(P.unpack(P.pack(x)), x * covered)
    assert np.array_equal(P.pack(P.unpack(u)), u)
    assert np.array_equal(P.composite(u), A.composite(P.unpack(u)))
    assert np.allclose(P(P.pack(x)), A(x), rtol=0, atol=1e-13)


def test_neighbours_are_those_of_the_same_layer():
    """By a loop over the pixels of layers with holes."""
    A = CASES["layered_views"](Setup(seed=3, height=6, width=7)).A
    P = PackedLayers(A)
    below, right = P.neighbours()
    number = {pixel: n for n, pixel in enumerate(zip(*np.nonzero(A.alphas), strict=True))}
    for (k, row, col), n in number.items():
        assert below[n] == number.get((k, row + 1, col), len(number))
        assert right[n] == ((k, row, col + 1) in number)


def test_each_layer_goes_on_beyond_its_edge_as_its_nearest_pixel():
    alphas = np.zeros((2, 9, 11))
    alphas[0, 4, 5] = 1
    alphas[1] = 1
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=2.0, step=0.5)
    P = PackedLayers(bp.LayeredDefocus(alphas, radii=(-2.0, 0.0), bank=bank, channels=1, per_layer=True))
    x = np.random.default_rng(0).random(P.in_shape)
    seen = []
    doubled = P.map_layers(lambda image: seen.append(image) or 2 * image, x)
    assert np.array_equal(doubled, 2 * x)
    assert (seen[0] == x[0, 0, 0]).all() and seen[0].size > 9
    assert np.array_equal(seen[1], x[:, :, 1:].reshape(1, 9, 11))


def test_where_only_some_layers_are_seen():
    alphas = np.zeros((2, 9, 30))
    alphas[0, :, :10] = 1
    alphas[1] = 1
    bank = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0, step=0.5)
    P = PackedLayers(bp.LayeredDefocus(alphas, radii=(-2.0, 3.0), bank=bank, per_layer=True))
    far = P.shows_only(lambda radius: radius > 0)
    assert not far[:, :12].any() and far[:, 13:].all()


@pytest.mark.parametrize("namespace", ["numpy", "torch", "array_api_strict"])
def test_every_namespace(namespace):
    s = Setup(seed=4, height=6, width=7)
    A, there = (CASES["layered_views"](s.replace(namespace=n)).A for n in ("numpy", namespace))
    P, Q = PackedLayers(A), PackedLayers(there)
    x, y = (np.random.default_rng(1).random(shape) for shape in (P.in_shape, P.out_shape))
    assert np.allclose(to_numpy(Q(to_namespace(x, namespace))), P(x), rtol=0, atol=1e-13)
    assert np.allclose(to_numpy(Q.adjoint(to_namespace(y, namespace))), P.adjoint(y), rtol=0, atol=1e-13)


def test_torch_differentiates_in_the_image_alone():
    built = CASES["layered_views"](Setup(seed=5, namespace="torch", height=6, width=7))
    for array in built.arrays:
        array.requires_grad_()
    P = PackedLayers(built.A)
    x = torch.rand(P.in_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(P.forward, (x,))
    y = P(x)
    y.sum().backward()
    assert torch.allclose(x.grad, P.adjoint(torch.ones_like(y)).detach())
    assert all(array.grad is None for array in built.arrays)


def test_bad_input():
    with pytest.raises(TypeError, match="LayeredDefocus.*Identity"):
        PackedLayers(bp.Identity((1, 3, 3)))
