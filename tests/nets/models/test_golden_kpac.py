"""KPAC against outputs of the authors' code with weights made by a formula."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nets.models.kpac.blocks import DownConv
from nets.models.kpac.kpac import KPACNet, from_official, official_shapes

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
CONFIGS = {"2level": {"levels": 2}, "3level": {"levels": 3}, "dual": {"levels": 3, "dual": True}}

pytestmark = pytest.mark.skipif(
    not (REFERENCE / "golden" / "formula.py").is_file(),
    reason="the authors' outputs (../shared/reference/golden) are not beside this checkout",
)


@pytest.fixture(scope="module")
def formula():
    spec = importlib.util.spec_from_file_location("formula", REFERENCE / "golden" / "formula.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def keys():
    return json.loads((REFERENCE / "kpac_official_keys.json").read_text())


def network(formula, keys, kind):
    arrays = formula.state_dict(keys[kind], 1, numbered=True).values()
    names = official_shapes(**CONFIGS[kind])
    net = KPACNet(**CONFIGS[kind]).eval()
    net.load_state_dict(from_official(dict(zip(names, map(torch.from_numpy, arrays), strict=True))))
    return net


def images(formula, kind):
    letters = "clr" if kind == "dual" else "c"
    return [torch.from_numpy(formula.image(1, (1, 3, 64, 72), f"kpac_{letter}")) for letter in letters]


def error(kind, restored):
    """Largest difference in the authors' range [-1, 1], in units of the largest value."""
    with np.load(REFERENCE / "golden" / f"kpac_{kind}.npz") as stored:
        expected = stored["out"].transpose(0, 3, 1, 2)
    return np.abs(2 * restored.numpy() - 1 - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_and_shapes_are_those_of_the_authors(keys, kind):
    assert list(official_shapes(**CONFIGS[kind]).items()) == [(name, tuple(shape)) for name, shape in keys[kind]]


@torch.no_grad()
def test_reproduces_the_output_of_the_authors_in_double_precision(formula, keys):
    """In single precision: `test_official`."""
    x = [image.double() for image in images(formula, "dual")]
    assert error("dual", network(formula, keys, "dual").double()(*x)) <= 5e-6


@torch.no_grad()
def test_symmetric_padding_of_strided_convolutions_would_show(formula, keys):
    net = network(formula, keys, "2level")
    for stage in net.encoder[1:]:
        assert isinstance(stage[0], DownConv)
        stage[0].__class__ = nn.Conv2d
        stage[0].padding = (1, 1)
    assert error("2level", net(*images(formula, "2level"))) > 0.05


@torch.no_grad()
def test_swapped_views_would_show(formula, keys):
    centre, left, right = images(formula, "dual")
    assert error("dual", network(formula, keys, "dual")(centre, right, left)) > 0.01


@torch.no_grad()
def test_predicted_scales_differ_between_pixels_and_blocks(formula, keys):
    net = network(formula, keys, "2level")
    x = images(formula, "2level")
    first, second = net.scale_maps(*x)
    assert first.shape == second.shape == (1, 5, 16, 18)
    assert first.std((-2, -1)).min() > 0.01 and not torch.equal(first, second)
    assert error("2level", net(*x, scale_override=first)) > 1e-3  # the second block would take those of the first
