"""The authors' NRKNet on formula-made weights: the reference outputs beside the checkout."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nets.layers.blocks import set_bn_stats
from nets.models.nrknet.nrknet import NRKNet, from_official, official_shapes

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def formula():
    path = REFERENCE / "golden" / "formula.py"
    if not path.is_file():
        pytest.skip("the reference outputs (../shared/reference) are not beside this checkout")
    spec = importlib.util.spec_from_file_location("golden_formula", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def keys(formula):
    return json.loads((REFERENCE / "nrknet_official_keys.json").read_text())


@pytest.fixture(scope="module")
def golden(formula):
    with np.load(REFERENCE / "golden" / "nrknet.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def net(formula, keys):
    state = {name: torch.from_numpy(array) for name, array in formula.state_dict(keys, 1).items()}
    net = NRKNet().eval()
    net.load_state_dict(from_official(state), strict=True)
    return net


def rgb(formula, name):
    return torch.from_numpy(formula.image(1, (1, 3, 64, 80), name)).flip(1)


def assert_close(got, reference):
    assert got.shape == reference.shape
    assert (got - reference).abs().max() <= TOLERANCE * reference.abs().max()


def test_names_and_shapes_are_the_authors_in_their_order(keys):
    assert list(official_shapes().items()) == [(name, tuple(shape)) for name, shape in keys]


@pytest.mark.parametrize("bn_stats", ["running", "batch"])
def test_all_outputs(bn_stats, formula, net, golden):
    set_bn_stats(net, bn_stats)
    with torch.no_grad():
        found = net.outputs(rgb(formula, "nrknet_x"), rgb(formula, "nrknet_gt"))
    assert_close(found.image, golden[f"{bn_stats}_test_out"].flip(1))
    for t, scale in enumerate(("full", "half", "quarter")):
        assert_close(found.scales[t], golden[f"{bn_stats}_train_{scale}"].flip(1))
        assert_close(found.reblurred[t], golden[f"{bn_stats}_reblur_{scale}"].flip(1))


def test_coefficients_of_the_coarsest_scale(formula, net, golden):
    set_bn_stats(net, "running")
    with torch.no_grad():
        assert_close(net.coefficients(rgb(formula, "nrknet_x"))[2], golden["coef_quarter"])


def test_each_recursive_kernel_by_itself(formula, net, golden):
    quarter = rgb(formula, "nrknet_x")[..., ::4, ::4]
    maps = 22
    alone = torch.eye(maps)[:, :, None, None].expand(-1, -1, *quarter.shape[-2:]).contiguous()
    with torch.no_grad():
        filtered = net.blur.kernels.operator(alone, None)(quarter.expand(maps, -1, -1, -1))
    assert_close(filtered, golden["rkr_quarter"].unflatten(1, (maps, 3))[0].flip(1))
