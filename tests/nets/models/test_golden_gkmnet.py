"""GKMNet against stored outputs of the authors' code with weights made by a formula."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nets.models.gkmnet.gaussian_bank import GaussianBank
from nets.models.gkmnet.gkmnet import GKMNet, from_official, official_shapes

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def formula():
    path = REFERENCE / "golden" / "formula.py"
    if not path.is_file():
        pytest.skip("the stored outputs (../shared/reference/golden) are not beside this checkout")
    spec = importlib.util.spec_from_file_location("golden_formula", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored(formula):
    with np.load(REFERENCE / "golden" / "gkmnet.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def entries(formula):
    return json.loads((REFERENCE / "gkmnet_official_keys.json").read_text())


@pytest.fixture(scope="module")
def pyramid(formula):
    full = formula.image(1, (1, 3, 64, 80), "gkmnet_y")
    half = formula.half(full)
    return tuple(torch.from_numpy(v) for v in (full, half, formula.half(half)))


@pytest.fixture(scope="module")
def official(formula, entries):
    state = formula.state_dict(entries, 1)
    total = sum(np.abs(v, dtype=np.float64).sum() for v in state.values())
    assert total == pytest.approx(52699.3957, abs=1e-3)
    return {name: torch.from_numpy(value) for name, value in state.items()}


def build(official, **options):
    net = GKMNet(**options).eval()
    net.load_state_dict(from_official(official), strict=True)
    return net


def error(out, reference):
    assert tuple(out.shape) == reference.shape
    return float(np.abs(out.numpy() - reference).max() / np.abs(reference).max())


def test_names_and_shapes_in_the_stored_order(entries):
    assert list(official_shapes().items()) == [(name, tuple(shape)) for name, shape in entries]


@torch.no_grad()
def test_coefficients_of_the_coarsest_scale(official, stored, pyramid):
    net = build(official, scales=1)
    (maps,) = net.coefficients(pyramid[2])
    assert error(maps, stored["coef_quarter"]) <= TOLERANCE


@torch.no_grad()
def test_bank_filter_by_filter(stored, pyramid):
    image, bank = pyramid[1], GaussianBank()
    filtered = torch.empty(3, 22, *image.shape[-2:])
    mix = torch.eye(3)[:, :, None].repeat(1, 1, 22)
    for j in range(22):
        maps = torch.zeros(1, 22, *image.shape[-2:])
        maps[:, j] = 1
        filtered[:, j] = bank(image, maps, mix)[0]
    assert error(filtered.flatten(0, 1)[None], stored["gcm_half"]) <= TOLERANCE


@torch.no_grad()
def test_the_layout_matters(official, stored, pyramid):
    images = build(official, gcm_layout="paper").scales(pyramid)
    assert error(images[0], stored["running_out_full"]) > 0.1
