"""Networks that start at the identity return the photo, learn from the first step on, and the recipes that use it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nets
from nets.training import TrainConfig, recipes, train, with_settings
from nets.training.identity import start_at_identity
from synth.io import write_image

POCKET = [name for name in recipes() if name.startswith("pocket-")]
FORMS = {
    "gkmnet": ("gkmnet", {"preset": "paper", "width": 4, "iterations": 2, "shared": False}),
    "gkmnet, conv": ("gkmnet", {"preset": "paper", "width": 4, "scales": 2, "recurrent": "conv"}),
    "nrknet": ("nrknet", {"width": 4, "atoms": 3, "scales": 2}),
    "nrknet, conv": ("nrknet", {"width": 4, "atoms": 3, "recurrent": "conv", "expansion": "full"}),
    "kpac": ("kpac", {"channels": 4}),
    "kpac, plain": ("kpac", {"channels": 4, "plain": True, "levels": 3}),
    "hqsnet": ("hqsnet", {
        "width": 4, "scales": 1, "iterations": 2, "gradient": "implicit", "channels": 4, "blocks": 1,
    }),
    "hqsnet, residual": ("hqsnet", {
        "width": 4, "scales": 1, "iterations": 2, "gradient": "implicit", "denoiser": None, "recurrent": "conv",
        "coefficients": "residual",
    }),
}  # fmt: skip


def begun(form):
    name, arguments = FORMS[form]
    torch.manual_seed(0)
    net = nets.create(name, **arguments)
    start_at_identity(net)
    return net


@pytest.mark.parametrize("form", FORMS)
def test_the_output_is_the_input(form):
    net, photo = begun(form), torch.rand(2, 3, 27, 41)
    for mode in (True, False):
        with torch.no_grad():
            assert float((net.train(mode)(photo) - photo).abs().max()) < 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_one_step_of_descent_goes_down(form):
    """With the sharp image a little sharper than the photo, which a random direction would not find."""
    net, photo = begun(form).train(), torch.rand(2, 3, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(photo, [1] * 4, mode="replicate"), 3, 1)
    sharp = photo + 0.5 * (photo - smooth)

    def error():
        return (net(photo) - sharp).square().mean()

    before = error()
    before.backward()
    rate = (
        1e-3
        * float(before.detach())
        / sum(float(p.grad.square().sum()) for p in net.parameters() if p.grad is not None)
    )
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
        assert float(error()) < float(before)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gkmnet", {"width": 4}),
        ("gkmnet", {"preset": "paper", "attention_only": True, "width": 4}),
        ("nrknet", {"preset": "paper", "width": 4}),
        ("nrknet", {"normalised": True, "width": 4}),
        ("hqsnet", {"scales": 2, "denoiser": None, "width": 4}),
        ("defocusgan_blur", {}),
    ],
)
def test_other_forms_are_refused(name, arguments):
    with pytest.raises(ValueError, match=f"{name} cannot start from the identity in this form; gkmnet with preset="):
        start_at_identity(nets.create(name, **arguments))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(4):
        write_image(folder / f"{number}.png", rng.uniform(0.1, 0.7, (3, 20, 22)).repeat(4, 1).repeat(4, 2))
    return folder


NARROW = {
    "gkmnet": '{preset="paper",width=4,scales=1}',
    "hqsnet": '{scales=1,iterations=2,gradient="implicit",width=4,channels=4,blocks=1}',
    "nrknet": '{width=4,atoms=2,scales=2,recurrent="conv"}',
    "kpac": "{channels=4}",
}


def tiny(recipe, photos, out, **changes):
    """The recipe with a narrow network, two small crops a step and the photographs of the test."""
    arguments = NARROW[recipe.removeprefix("pocket-")]
    settings = [
        f"out={out}", "steps=3", "batch=2", "data.crop=20", "validation.data.crop=20", "validation.every=2",
        f"net.arguments={arguments}", "net.start_from=identity", "validation.data.stream.samples=2",
        "data.stream.max_radius=2.0", "validation.data.stream.max_radius=2.0",
        *(f'{where}.sources=["{photos}"]' for where in ("data.stream", "validation.data.stream")),
        *(f"{key}={value}" for key, value in changes.items()),
    ]  # fmt: skip
    return TrainConfig.of(with_settings(recipe, settings))


@pytest.mark.parametrize("recipe", POCKET)
def test_a_recipe_trains_on_the_stream_and_resumes_identically(recipe, photos, tmp_path):
    whole = train(tiny(recipe, photos, tmp_path / "whole"), quiet=True)
    assert whole.input_psnr is not None and [step for step, _ in whole.validation_psnr] == [2, 3]
    train(tiny(recipe, photos, tmp_path / "parts", steps=1), quiet=True)
    train(tiny(recipe, photos, tmp_path / "parts"), quiet=True, resume=True)
    one, other = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("recipe", POCKET)
def test_the_networks_of_the_recipes_are_small(recipe):
    config = TrainConfig.of(recipe)
    net = nets.create(config.net.name, **config.net.arguments)
    assert sum(p.numel() for p in net.parameters()) < 520_000
    assert config.data.stream.split is None and config.ema is not None


def test_rates_may_change_where_a_training_goes_on(photos, tmp_path):
    train(tiny("pocket-kpac", photos, tmp_path, steps=2, learning_rate="[[0,1e-3],[1,1e-4]]"), quiet=True)
    with pytest.raises(ValueError, match="learning_rate.1.1 was 0.0001 and is now 0.01; use another out folder"):
        train(tiny("pocket-kpac", photos, tmp_path, learning_rate="[[0,1e-3],[1,1e-2]]"), quiet=True, resume=True)
    rates = "[[0,1e-3],[1,1e-4],[2,1e-2]]"
    assert train(tiny("pocket-kpac", photos, tmp_path, learning_rate=rates), quiet=True, resume=True).steps == 3
