"""Adversarial and reblurring training: who learns when, from what, and how the guide fades."""

from math import exp

import pytest
import torch

from nets.training import TrainConfig, train
from nets.training.adversarial import Adversarial
from nets.training.data import Batches
from nets.training.log import Log
from nets.training.optimisers import Moment
from nets.training.parallel import Parallel
from nets.training.reblurring import Reblurring
from nets.training.streamed import open_samples
from tests.nets.training.cases import adversarial, reblurring, write_dpdd

CPU = Parallel(0, 1, torch.device("cpu"))
SMALL, DISKS = {"channels": 4, "branches": [0, 1], "max_radius": 2}, {"max_radius": 2, "initial": "disk"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dpdd(tmp_path_factory.mktemp("dpdd"))


@pytest.fixture(scope="module")
def map_net(data, tmp_path_factory):
    return train(reblurring(data, tmp_path_factory.mktemp("map"), epochs=1), quiet=True).files[0]


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(module, before):
    return [not torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True)]


def batch():
    torch.manual_seed(1)
    return {name: 0.1 + 0.8 * torch.rand(2, 3, 16, 16) for name in ("image", "sharp", "left", "right")}


def at(step):
    return Moment(step=step, epoch=step // 3, now=step // 3, per_unit=3)


@pytest.mark.parametrize(("step", "role"), [(0, "map"), (3, "kernel"), (6, "map")])
def test_map_and_kernel_take_turns(step, role, data, tmp_path):
    task = Reblurring(TrainConfig.of(reblurring(data, tmp_path)), CPU)
    before = {name: weights(module) for name, module in task.modules.items()}
    measured = task.step(batch(), at(step))
    for name, module in task.modules.items():
        assert any(moved(module, before[name])) == (name == role)
    smooth = 1e-5 * measured["variation"] if role == "map" and step >= 2 else 0.0
    torch.testing.assert_close(measured["loss"], 1000 * measured["reblur"] + smooth)
    assert all(p.requires_grad for module in task.modules.values() for p in module.parameters())


def test_reblurring_explains_the_photo_better_and_better(data, tmp_path):
    config = reblurring(data, tmp_path, epochs=6, log_every=3, learning_rate=1e-2)
    report = train(config, quiet=True)
    losses = [row["reblur"] for row in Log.read(tmp_path)]
    assert losses[-1] < 0.9 * losses[0]
    assert [file.name for file in report.files] == ["map.safetensors", "kernel.safetensors"]


def from_estimates(out, **more):
    return {
        "kind": "reblurring",
        "net": {"name": "defocusgan_map", "arguments": SMALL | {"from_estimate": True, "block": 2}},
        "reblurring": {"kernel": {"name": "defocusgan_blur", "arguments": DISKS}, "phases": [[0, "map"]]} | more,
        "data": {"stream": {"sources": "dead-leaves", "max_radius": 2.0}, "crop": 32, "transfer": "linear"},
        "batch": 2,
        "steps": 2,
        "learning_rate": 2e-4,
        "out": str(out),
        "device": "cpu",
    }


def test_reblurring_a_stream_starts_at_the_estimate(tmp_path):
    config = from_estimates(tmp_path)
    config["data"] = config["data"] | {"cache": True, "augment": "flips"}
    config["data"]["stream"] = config["data"]["stream"] | {"samples": 2}
    task = Reblurring(TrainConfig.of(config), CPU)
    batch = Batches(open_samples(task.config.data, task.fields(), seed=0), seed=0, batch=2)[0]
    start = batch["estimate"][:, :1]
    expected = task.kernel(batch["sharp"], start).sub(batch["image"]).abs().mean()
    losses = [task.step(batch, at(step))["reblur"] for step in range(3)]
    torch.testing.assert_close(losses[0], expected.detach())
    assert losses[-1] < losses[0]
    report = train(config | {"out": str(tmp_path / "run")}, quiet=True)
    assert [file.name for file in report.files] == ["map.safetensors", "kernel.safetensors"]


def test_supervision_by_true_maps(tmp_path):
    task = Reblurring(TrainConfig.of(from_estimates(tmp_path, weight=0.0, supervision=2.0, smoothness=0.0)), CPU)
    batch = Batches(open_samples(task.config.data, task.fields(), seed=0), seed=0, batch=2)[0]
    start, true, valid = batch["estimate"][:, :1], batch["defocus_map"], batch["valid"]
    with task.measuring():
        scaled = [0.5 + each / 4 for each in (start, true)]
        for found, expected in zip(task.validation_pair(batch), scaled, strict=True):
            torch.testing.assert_close(found, expected)
        torch.testing.assert_close(task.unrestored(batch), scaled[0])
    losses = [task.step(batch, at(step)) for step in range(4)]
    off = (start - true).abs()
    expected = (torch.where(off < 1, off**2 / 2, off - 0.5) * valid).sum() / valid.sum()
    torch.testing.assert_close(losses[0]["map_error"], expected)
    torch.testing.assert_close(losses[0]["loss"], 2 * expected)
    assert losses[-1]["loss"] < losses[0]["loss"] and "reblur" not in losses[0]


def test_no_lesson_is_refused(tmp_path):
    with pytest.raises(ValueError, match="weight or reblurring.supervision above 0, got 0 for both"):
        TrainConfig.of(from_estimates(tmp_path, weight=0.0))
    with pytest.raises(ValueError, match=r'set phases = \[\[0, "map"\]\]'):
        TrainConfig.of(from_estimates(tmp_path, weight=0.0, supervision=1.0, phases=[[0, "map"], [1, "kernel"]]))


def test_phases_of_the_generator_and_the_discriminator(data, map_net, tmp_path):
    task = Adversarial(TrainConfig.of(adversarial(data, tmp_path, map_net)), CPU)
    for step, discriminates, hears in ((0, False, False), (2, True, False), (4, True, True)):
        before = {name: weights(module) for name, module in task.modules.items()}
        taken = len(task.optimisers["discriminator"].state)
        measured = task.step(batch(), Moment(step=step, epoch=0, now=step, per_unit=1))
        assert any(moved(task.discriminator, before["discriminator"])) == discriminates == ("penalty" in measured)
        assert any(moved(task.generator, before["generator"]))
        assert ("adversarial" in measured) == hears
        expected = 0.5 * measured["mae"] + 0.006 * measured["features"]
        expected = expected + 0.001 * measured["adversarial"] if hears else expected
        torch.testing.assert_close(measured["loss"], expected)
        assert bool(taken) == (step > 2)
    assert {float(state["step"]) for state in task.optimisers["discriminator"].state.values()} == {4.0}  # two a batch
    assert {float(state["step"]) for state in task.optimisers["generator"].state.values()} == {3.0}
    frozen = [p.requires_grad for p in task.generator.parameters()]
    assert frozen.count(False) == 4  # the two convolutions that nothing uses stay as they are


def test_the_guide_fades(data, map_net, tmp_path):
    config = adversarial(data, tmp_path, map_net, batch=2, steps=..., epochs=3)
    config = {key: value for key, value in config.items() if value is not ...}
    config["adversarial"] = config["adversarial"] | {
        "discriminator_from": 0,
        "adversarial_from": 1,
        "annealing_from": 1,
    }
    task = Adversarial(TrainConfig.of(config), CPU)
    found = [task.guidance(at(step)) for step in range(8)]
    assert found == pytest.approx([1, 1, 1, 1, exp(-4 / 9), exp(-16 / 9), 0, 0])


def test_random_mixtures_are_a_function_of_the_step(data, map_net, tmp_path):
    for norm, count in (("pixel", 1), ("sample", 2)):
        config = adversarial(data, tmp_path, map_net)
        config["adversarial"] = config["adversarial"] | {"penalty_norm": norm}
        task = Adversarial(TrainConfig.of(config), CPU)
        fake = torch.zeros(2, 3, 8, 8)
        shares = {(step, turn): task._share(fake, at(step), turn) for step in (1, 2) for turn in (0, 1)}
        assert all(share.shape == (count, 1, 1, 1) and 0 <= share.min() <= share.max() < 1 for share in shares.values())
        assert len({float(share[0]) for share in shares.values()}) == 4
        assert torch.equal(task._share(fake, at(1), 1), shares[1, 1])
        half = Adversarial(TrainConfig.of(config), CPU)
        half.parallel = Parallel(1, 2, torch.device("cpu"))
        assert torch.equal(half._share(fake[:1], at(1), 0), shares[1, 0][-1:])


def test_what_is_missing_is_named(data, map_net, tmp_path):
    config = adversarial(data, tmp_path, map_net)
    config["adversarial"] = config["adversarial"] | {"map_net": None}
    with pytest.raises(ValueError, match="the guide of the generator .* needs the field 'defocus_map', which DPDD"):
        train(config, quiet=True)
    with pytest.raises(ValueError, match="discriminator, such as 'defocusgan', got 'l2'"):
        train(adversarial(data, tmp_path, map_net, losses=["l2"]), quiet=True)
