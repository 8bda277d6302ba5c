"""Settings of a training: every field is checked with one sentence, and the recipes are what the papers say."""

import json
from dataclasses import replace

import pytest
import torch

from nets.training import TrainConfig, recipes, train, with_settings
from nets.training.task import build_net
from nets.training.terms import Terms

LEAST = {"net": "kpac", "data": {"path": "train"}, "steps": 2, "losses": ["l2"]}


def changed(**changes):
    return {key: value for key, value in (LEAST | changes).items() if value is not ...}


def test_the_least_configuration_and_back():
    config = TrainConfig.of(LEAST)
    assert config.net.name == "kpac" and config.data.path == ("train",) and config.losses[0].name == "l2"
    assert (config.unit, config.learning_rate, config.optimiser.betas) == ("step", ((0, 1e-4),), (0.9, 0.999))
    assert TrainConfig.of(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.of(config) is config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crops": 3}, "unknown setting 'crops' in the configuration"),
        ({"data": {"path": "a", "crops": 3}}, "unknown setting 'crops' in \\[data\\]; did you mean 'crop'"),
        ({"net": {"nam": "kpac"}}, "unknown setting 'nam' in \\[net\\]; did you mean 'name'"),
        ({"net": {"arguments": {}}}, "\\[net\\] lacks the setting 'name'"),
        ({"net": 3}, "expected \\[net\\] to be a table"),
        ({"losses": [{"name": "l2", "wieght": 1}]}, "did you mean 'weight'"),
        ({"losses": []}, "at least one loss"),
        ({"losses": [{"name": "l2", "weight": 0}]}, "weight of the loss l2 to be a number above 0"),
        ({"losses": [{"name": "l2", "start": 5, "stop": 5}]}, "stop of the loss l2"),
        ({"net": ...}, "lacks the setting 'net'"),
        ({"steps": ...}, "either epochs or steps"),
        ({"epochs": 3}, "either epochs or steps"),
        ({"steps": 0}, "steps to be a whole number of at least 1, got 0"),
        ({"batch": 2.5}, "batch to be a whole number"),
        ({"batch": True}, "batch to be a whole number"),
        ({"seed": -1}, "seed"),
        ({"kind": "supervise"}, "did you mean 'supervised'"),
        ({"amp": "fp16"}, "amp to be one of 'off', 'bf16'"),
        ({"ema": 1.0}, "ema"),
        ({"learning_rate": [[1, 1e-4]]}, "learning_rate to begin at 0"),
        ({"learning_rate": [[0, 1e-4], [0, 1e-5]]}, "learning_rate to begin at 0 and to rise"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": [1e-4]}, "pairs such as"),
        ({"optimiser": {"betas": [0.9]}}, "two numbers"),
        ({"optimiser": {"betas": [0.9, 1.0]}}, "betas"),
        ({"optimiser": {"clip": 0}}, "clip"),
        ({"data": {}}, "expected \\[data\\] to have either a path .* or a reader, got neither"),
        ({"validation": {"data": {}}}, "expected \\[validation.data\\] to have either a path .* or a reader"),
        ({"validation": {"data": {"path": "a", "view": "middle"}}}, "expected validation.data.view"),
        ({"data": {"reader": "DPDD"}}, "needs data.root"),
        ({"data": {"reader": "DPD", "root": "a"}}, "did you mean 'DPDD'"),
        ({"data": {"path": "a", "split": "train"}}, "belong to a reader"),
        ({"data": {"path": "a", "view": "middle"}}, "data.view"),
        ({"data": {"path": "a", "transfer": "srgb"}}, "data.transfer"),
        ({"data": {"path": "a", "crop": [3]}}, "data.crop"),
        ({"data": {"path": "a", "crop": [16, 24], "augment": "dihedral"}}, "use a square"),
        ({"validation": {"data": {"path": "a", "augment": "flips"}}}, "neither augments"),
        ({"validation": {"every": 2}}, "lacks the setting 'data'"),
        ({"restarts": [3]}, "which only a validation can find"),
        ({"restarts": [3, 2], "validation": {"data": {"path": "a"}}}, "restarts to rise"),
        ({"adversarial": {}}, "belongs to kind = 'adversarial'"),
        ({"kind": "reblurring"}, "has its own loss"),
        ({"kind": "reblurring", "losses": ..., "reblurring": {"phases": [[1, "map"]]}}, "begin at 0"),
        ({"kind": "reblurring", "losses": ..., "reblurring": {"phases": [[0, "kernels"]]}}, "did you mean 'kernel'"),
        ({"kind": "adversarial", "adversarial": {"discriminator_from": 9, "adversarial_from": 3}}, "before"),
        ({"net": {"name": "kpac", "arguments": {"x": {1, 2}}}}, "what JSON can"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(changes, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        TrainConfig.of(changed(**changes))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("train: ")


def test_files_and_recipes_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recipe of that name; recipes: .*gkmnet"):
        TrainConfig.of("gkm")
    with pytest.raises(TypeError, match="path of a TOML file"):
        TrainConfig.of(3)
    (tmp_path / "a.toml").write_text("batch = = 2")
    with pytest.raises(ValueError, match=r"a\.toml: not a TOML file"):
        train(tmp_path / "a.toml")
    for text, words in (("{", r"a\.json: not a JSON file"), ("[]", "expected the settings of a training, got list")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=words):
            train(tmp_path / "a.json")


def test_single_settings_lead_through_tables_and_lists():
    values = with_settings(
        LEAST,
        ["data.path=b", "losses.0=mae", "optimiser.betas=[0.5, 0.9]", "amp=bf16"]
        + ["ema=0.9", "data.cache=true", "out='c'"],
    )
    config = TrainConfig.of(values)
    assert config.data.path == ("b",) and config.losses[0].name == "mae" and config.optimiser.betas == (0.5, 0.9)
    assert (config.amp, config.ema, config.data.cache, config.out) == ("bf16", 0.9, True, "c")
    assert LEAST["data"] == {"path": "train"}
    for wrong, words in (("batch", "form key=value"), ("steps.x=1", "leads nowhere"), ("losses.3=l2", "leads nowhere")):
        with pytest.raises(ValueError, match=words):
            with_settings(LEAST, [wrong])


def test_a_single_setting_takes_the_place_of_what_it_excludes():
    config = TrainConfig.of(with_settings("gkmnet", ["steps=3", "data.path=a", "validation.data.path=b"]))
    assert (config.steps, config.epochs, config.data.path, config.data.reader) == (3, None, ("a",), None)
    assert config.validation is not None and config.validation.data.path == ("b",)
    again = TrainConfig.of(with_settings(config.to_dict(), ["epochs=2", "data.reader=DPDD", "data.root=c"]))
    assert (again.steps, again.epochs, again.data.path, again.data.reader) == (None, 2, (), "DPDD")
    with pytest.raises(ValueError, match="either epochs or steps, got epochs=2, steps=3"):
        TrainConfig.of(with_settings("gkmnet", ["steps=3", "epochs=2"]))


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_builds_its_networks_and_losses(name):
    config = TrainConfig.of(name)
    assert TrainConfig.of(config.to_dict()) == config
    with torch.device("meta"):
        assert build_net(replace(config.net, start_from=None)).name == config.net.name
    assert config.kind == "reblurring" or len(Terms(config.losses, torch.device("cpu")).losses) >= 1


def test_recipes_have_the_published_numbers():
    gkm, code = TrainConfig.of("gkmnet"), TrainConfig.of("gkmnet-official")
    assert (gkm.epochs, gkm.batch, gkm.data.crop, gkm.data.augment) == (3000, 4, (256, 256), "none")
    assert gkm.learning_rate == ((0, 1e-4), (2000, 1e-5)) and code.learning_rate == ((0, 1e-4), (3000, 1e-5))
    assert (code.epochs, code.data.augment) == (4000, "half-dihedral")
    nrk = TrainConfig.of("nrknet-official")
    assert nrk.restarts == (2000, 3000, 4000) and nrk.epochs == 5000
    assert nrk.learning_rate == ((0, 1e-4), (2000, 5e-5), (3001, 2.5e-5), (4001, 1e-5))
    assert TrainConfig.of("nrknet").learning_rate == ((0, 1e-4), (2000, 5e-5), (3000, 2.5e-5))
    kpac = TrainConfig.of("kpac")
    assert (kpac.steps, kpac.unit, kpac.optimiser.betas) == (300_000, "step", (0.9, 0.99))
    assert (kpac.losses[0].stop, kpac.losses[1].start, kpac.data.crop) == (200_000, 200_000, (512, 512))
    gan = TrainConfig.of("defocusgan")
    assert gan.learning_rate == ((0, 2e-4), (30, 1e-4), (60, 5e-5), (90, 2.5e-5)) and gan.epochs == 91
    assert gan.adversarial is not None and gan.adversarial.annealing_forwards == 20_000
    reblur = TrainConfig.of("defocusgan-map")
    assert reblur.reblurring is not None and reblur.learning_rate == ((0, 2e-5),)
    assert reblur.reblurring.phases == ((0, "map"), (10, "kernel"), (15, "map"), (20, "kernel"), (25, "map"))


def test_losses_that_refuse():
    with pytest.raises(ValueError, match="'l2'"):
        Terms(TrainConfig.of(changed(losses=["l3"])).losses, torch.device("cpu"))
    with pytest.raises(ValueError, match="the loss 'gkmnet' refuses its arguments"):
        Terms(TrainConfig.of(changed(losses=[{"name": "gkmnet", "arguments": {"a": 1}}])).losses, torch.device("cpu"))
