"""The sRGB transfer curve: exact pieces, any namespace, values outside [0, 1] left alone."""

import numpy as np
import pytest

from blurphys.colour import linear_to_srgb, srgb_to_linear
from tests.strategies import DTYPES, NAMESPACES, to_namespace, to_numpy


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_and_kind(namespace, dtype):
    values = np.linspace(0.0, 1.0, 257).astype(dtype)
    x = to_namespace(values, namespace)
    for there, back in ((srgb_to_linear, linear_to_srgb), (linear_to_srgb, srgb_to_linear)):
        y = there(x)
        assert type(y) is type(x) and y.dtype == x.dtype
        assert np.abs(to_numpy(back(y)) - values).max() <= 1e-5
    assert np.array_equal(to_numpy(x), values)


def test_known_values():
    assert float(srgb_to_linear(np.array(0.5))) == pytest.approx(0.21404114048223255, rel=1e-14)
    assert float(linear_to_srgb(np.array(0.5))) == pytest.approx(0.7353569830524495, rel=1e-14)
    assert float(srgb_to_linear(np.array(0.04045))) == pytest.approx(0.04045 / 12.92, rel=1e-14)
    assert float(linear_to_srgb(np.array(0.0031308))) == pytest.approx(12.92 * 0.0031308, rel=1e-14)


def test_nothing_is_clipped_and_negatives_stay_finite():
    x = np.array([-0.5, -0.01, 1.5, 4.0])
    for curve in (srgb_to_linear, linear_to_srgb):
        y = curve(x)
        assert np.all(np.isfinite(y)) and y[2] > 1.0 and y[3] > y[2] and y[0] < y[1] < 0.0


def test_torch_gradient_is_finite_everywhere():
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.0, 1e-6, 0.0031308, 0.04045, 1.0], dtype=torch.float64, requires_grad=True)
    for curve in (srgb_to_linear, linear_to_srgb):
        (g,) = torch.autograd.grad(curve(x).sum(), x)
        assert bool(torch.isfinite(g).all()) and bool((g > 0).all())
