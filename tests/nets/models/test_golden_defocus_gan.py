"""DefocusGAN against stored outputs of the authors' code with weights made by a formula."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nets.models.defocus_gan import annealed_weight, blur_kernel, discriminator, generator, map_net

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
TOLERANCE = 2e-5
SUMS = {
    "generator": 154646.7784,
    "coc_estimator_f": 103335.7043,
    "patch_discriminator": 55342.8643,
    "reblur_g": 49.761764,
}
PARTS = {
    "generator": (generator, generator.DefocusGenerator),
    "coc_estimator_f": (map_net, map_net.DefocusMapNet),
    "patch_discriminator": (discriminator, discriminator.PatchDiscriminator),
    "reblur_g": (blur_kernel, blur_kernel.LearnableBlurKernel),
}


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
    with np.load(REFERENCE / "golden" / "defocusgan.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def entries(formula):
    return json.loads((REFERENCE / "defocusgan_official_keys.json").read_text())


@pytest.fixture(scope="module")
def images(formula):
    """Inputs in the order of the authors' colours: blue, green, red."""

    def image(name, channels=3):
        return formula.image(1, (1, channels, 64, 80), f"defocusgan_{name}")

    u = 20 * image("guide", 1) - 10
    found = {
        "x": image("x"),
        "right": image("right"),
        "coc": np.clip(54 * image("coc") - 27, -24, 24),
        "guide": np.concatenate([0.5 * u, -u, 0.75 * u], axis=1),
    }
    assert found["x"].mean() == pytest.approx(0.5132211, abs=1e-6)
    return {name: torch.from_numpy(array) for name, array in found.items()}


@pytest.fixture(scope="module")
def load(formula, entries):
    """Build one of the networks with the weights of the formula."""

    def build(part, change=None):
        module, network = PARTS[part]
        state = formula.state_dict(entries[part], 1)
        assert sum(np.abs(v, dtype=np.float64).sum() for v in state.values()) == pytest.approx(SUMS[part], abs=1e-3)
        official = {name: torch.from_numpy(value) for name, value in state.items()}
        if change is not None:
            change(official)
        net = network().eval()
        net.load_state_dict(module.from_official(official), strict=True)
        return net

    return build


def error(found, reference):
    assert found.shape == reference.shape and found.dtype == torch.float32
    return float((found - reference).abs().max() / reference.abs().max())


def run(net, *arguments):
    with torch.no_grad():
        return net(*arguments)


@pytest.mark.parametrize("part", PARTS)
def test_names_shapes_and_their_order_are_those_of_the_authors(part, entries):
    module, _ = PARTS[part]
    assert [[name, list(shape)] for name, shape in module.official_shapes().items()] == entries[part]


def test_generator(load, images, stored):
    net = load("generator")
    x = images["x"].flip(1)
    free = run(net, x)
    assert error(free, stored["G_free"].flip(1)) <= TOLERANCE
    guided = run(net, x, images["guide"].flip(1), annealed_weight(5000))
    assert error(guided, stored["G_guided_n5000"].flip(1)) <= TOLERANCE
    assert error(free, stored["G_guided_n5000"].flip(1)) > 0.1  # the guidance matters


def test_defocus_map_net(load, images, stored):
    net = load("coc_estimator_f")
    left, right = images["x"].flip(1), images["right"].flip(1)
    assert error(run(net, left, right), stored["f"].flip(1)) <= TOLERANCE
    assert error(run(net, right, left), stored["f"].flip(1)) > 0.01


def test_discriminator(load, images, stored):
    net = load("patch_discriminator")
    assert error(run(net, images["x"].flip(1)), stored["D"]) <= TOLERANCE
    assert error(run(net, images["x"]), stored["D"]) > 0.01  # the colours matter


def test_blur_kernel(load, images, stored):
    net = load("reblur_g")
    x, coc = images["x"].flip(1), images["coc"].flip(1)
    assert error(run(net, x, coc), stored["g"].flip(1)) <= TOLERANCE
    assert error(run(net, x, -coc), stored["g"].flip(1)) > 0.1  # the sign matters


def test_blur_kernel_mirrors_the_arrays_of_the_authors(load, images, stored):
    def mirror(state):
        for name, value in state.items():
            state[name] = value.flip(-2, -1)

    net = load("reblur_g", mirror)
    assert error(run(net, images["x"].flip(1), images["coc"].flip(1)), stored["g"].flip(1)) > 0.1


def test_blur_kernel_in_double_precision(load, images, stored):
    net = load("reblur_g").double()
    found = run(net, images["x"].flip(1).double(), images["coc"].flip(1).double())
    assert found.dtype == torch.float64
    assert error(found.float(), stored["g"].flip(1)) <= 5e-6
