"""Inner products per image, accurate in float32, and the batch helpers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.core.arrays import choose, inner, norm, relative, safe_divide, to_host
from tests.strategies import NAMESPACES, to_namespace, to_numpy


@given(st.sampled_from(NAMESPACES), st.sampled_from(("float32", "float64")), st.integers(0, 2**16))
def test_inner_is_the_sum_of_products_per_image(namespace, dtype, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(2, 3, 4, 5)).astype(dtype) for _ in range(2))
    found = inner(to_namespace(x, namespace), to_namespace(y, namespace))
    assert tuple(found.shape) == (2, 1, 1, 1)
    assert "float64" in str(found.dtype)
    expected = np.einsum("bchw,bchw->b", x.astype(float), y.astype(float))
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    assert np.abs(to_numpy(found).ravel() - expected).max() <= np.finfo(dtype).eps * scale


def test_norm_of_a_large_float32_image_keeps_seven_digits():
    x = np.random.default_rng(0).uniform(size=(3, 300, 400)).astype("float32")
    exact = np.linalg.norm(x.astype(float))
    assert abs(float(norm(x)[0, 0, 0]) / exact - 1) < 1e-8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_single(dtype):
    import torch

    x = torch.full((1, 64, 64), 0.25, dtype=getattr(torch, dtype))
    assert float(norm(x)) == 16.0


def test_quotient_and_relative_survive_zeros():
    top, bottom = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, -1.0])
    assert safe_divide(top, bottom).tolist() == [0.5, 0.0, 0.0]
    assert relative(top, bottom).tolist() == [0.5, 2.0, 3.0]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_choose_and_to_host(namespace):
    new, old = (to_namespace(np.full((2, 2, 1, 1, 1), v), namespace) for v in (1.0, 0.0))
    assert choose(np.ones(4, bool), new, old) is new
    assert choose(np.zeros(4, bool), new, old) is old
    mask = np.array([True, False, False, True])
    assert to_host(choose(mask, new, old)).ravel().tolist() == [1, 0, 0, 1]
