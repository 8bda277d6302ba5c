"""Outputs are what they were: every network, operators of the camera, and their kernels, against stored numbers."""

import numpy as np
import pytest

from nets.registry import NETS
from nets.weights.official import OFFICIAL_NETS
from tests.tools import goldens

TOLERANCE = 1e-6  # in units of the largest stored number; they are rounded to single precision
NETWORKS = (*OFFICIAL_NETS, *goldens.OWN)


@pytest.fixture(scope="module")
def stored():
    with np.load(goldens.FILE, allow_pickle=False) as arrays:
        return dict(arrays)


def error(found, expected):
    assert found.dtype == np.float64 and expected.dtype == np.float32
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_operators_and_kernels(stored):
    found = goldens.operators()
    assert {*stored} == {*found, *NETWORKS}
    for name, array in found.items():
        assert error(array, stored[name]) <= TOLERANCE, name


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, stored):
    assert error(goldens.network(name), stored[name]) <= TOLERANCE
    assert stored[name].std() > 0.05 * np.abs(stored[name]).max()  # neither saturated nor empty


def test_every_network_has_one():
    kinds = {home.partition("_")[0] for home in NETWORKS}
    assert {name.partition("_")[0] for name, home in NETS.items() if home.startswith("nets.")} <= kinds


def test_a_thousandth_more_in_one_tensor_would_show(stored, monkeypatch):
    plain = goldens.weight

    def changed(name, *arguments, **options):
        return plain(name, *arguments, **options) * (1.001 if name.endswith("/c2/W_conv2d") else 1.0)

    monkeypatch.setattr(goldens, "weight", changed)
    assert error(goldens.network("kpac_2level"), stored["kpac_2level"]) > 10 * TOLERANCE
