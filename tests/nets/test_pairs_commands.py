"""Pairs of one's own pictures in `blurphys train`, `blurphys evaluate` and their settings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nets.training.data import Draw, Samples
from nets.training.records import DataConfig
from synth.io import read_image, write_image
from tests.nets.test_evaluation import run as evaluate
from tests.nets.test_train_command import RECIPE
from tests.nets.test_train_command import run as train

SIZE = (20, 24)


@pytest.fixture
def pairs(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("blurred", "sharp"):
        Path("photos", kind).mkdir(parents=True)
    for name in ("a", "b", "c"):
        sharp = rng.random((3, *SIZE))
        write_image(f"photos/sharp/{name}.png", sharp, bits=16, linear=False)
        blurred = np.rint((0.2 + 0.6 * sharp.transpose(1, 2, 0)) * 255).astype(np.uint8)
        Image.fromarray(blurred).save(f"photos/blurred/{name}.tif")
    Path("mine.toml").write_text(RECIPE)
    return tmp_path


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(("transfer", "linear"), [("display", False), ("linear", True)])
def test_samples(pairs, cache, transfer, linear):
    config = DataConfig(reader="pairs", root="photos", transfer=transfer, cache=cache)
    samples = Samples(config, ("image", "sharp"))
    assert len(samples) == 3
    for _ in range(2):
        sample = samples.read(Draw(1, 0.0, 0.0, False, False, 0))
        assert np.array_equal(sample["image"], read_image("photos/blurred/b.tif", linear=linear))
        assert np.array_equal(sample["sharp"], read_image("photos/sharp/b.png", linear=linear))


def test_an_encoding_is_said_with_pairs_only(pairs):
    said = DataConfig(reader="pairs", root="photos", encoding="linear")
    sample = Samples(said, ("sharp",)).read(Draw(0, 0.0, 0.0, False, False, 0))
    stored = read_image("photos/sharp/a.png", encoding="linear")
    assert np.array_equal(sample["sharp"], read_image("photos/sharp/a.png", encoding="linear", linear=False))
    assert not np.array_equal(sample["sharp"], stored)
    with pytest.raises(ValueError, match="data.encoding belongs to the reader pairs"):
        DataConfig(path="data.h5", encoding="linear")
    with pytest.raises(ValueError, match="data.encoding"):
        DataConfig(reader="pairs", root="photos", encoding="gamma")


@pytest.mark.parametrize("how", ["option", "settings", "split"])
def test_training_on_pairs(pairs, how):
    if how == "split":
        Path("photos").rename("train")
        Path("photos").mkdir()
        Path("train").rename("photos/train")
    if how == "settings":
        Path("mine.toml").write_text(RECIPE.replace('"DPDD"', '"pairs"').replace('"nowhere"', '"photos"')
                                     .replace('split = "train"\n', ""))  # fmt: skip
        given = ()
    else:
        given = ("--data", "photos", "--encoding", "srgb")
    outcome = train("mine.toml", *given, "--out", "run")
    assert outcome.exit_code == 0, outcome.output
    settings = json.loads(Path("run/config.json").read_text())["data"]
    assert (settings["reader"], settings["root"]) == ("pairs", "photos")
    assert settings["split"] == ("train" if how == "split" else None)
    assert settings["encoding"] == (None if how == "settings" else "srgb")


def test_data_takes_the_place_of_a_split_too(pairs):
    """The recipe names DPDD and its split; neither is left."""
    outcome = train("mine.toml", "--data", "photos", "--out", "run")
    assert outcome.exit_code == 0, outcome.output
    settings = json.loads(Path("run/config.json").read_text())["data"]
    assert (settings["reader"], settings["split"]) == ("pairs", None)


def test_data_that_are_there_no_more(pairs):
    outcome = train("mine.toml", "--data", "nowhere", "--out", "run")
    assert outcome.exit_code == 2 and "there is no data set nowhere" in outcome.output
    Path("photos/sharp/c.png").unlink()
    outcome = train("mine.toml", "--data", "photos", "--out", "run")
    assert outcome.exit_code == 2 and "have no partner for all_in_focus" in outcome.output
    assert not Path("run").exists()


@pytest.mark.parametrize("options", [[], ["--protocol", "pairs"]])
def test_evaluating_on_pairs(pairs, options):
    code, said = evaluate("photos", *options, "--out", "scores.json")
    assert code == 0, said
    scores = json.loads(Path("scores.json").read_text())
    assert scores["protocol"]["name"] == "pairs"
    assert [score["image"] for score in scores["scores"]] == ["a", "b", "c"]
    for score in scores["scores"]:
        y, x = (
            read_image(f"photos/{f}", linear=False)
            for f in (f"blurred/{score['image']}.tif", f"sharp/{score['image']}.png")
        )
        assert score["psnr"] == pytest.approx(-10 * np.log10(np.mean((y.astype(float) - x) ** 2)), abs=1e-3)


def test_a_split_of_pairs(pairs):
    Path("set/test").mkdir(parents=True)
    for kind in ("blurred", "sharp"):
        Path("photos", kind).rename(f"set/test/{kind}")
    code, said = evaluate("set", "--limit", 1)
    assert code == 0, said
    assert evaluate("set", "--split", "val")[0] == 2


def test_evaluating_says_what_is_wrong(pairs):
    Path("nothing").mkdir()
    for arguments, words in (
        (["nothing"], "no folder of blurred/ and sharp/"),
        (["photos", "--encoding", "gamma"], "--encoding: expected srgb or linear"),
        (["photos", "--protocol", "dpdd-8bit", "--encoding", "srgb"], "--encoding is for pairs"),
        (["photos", "--protocol", "synthetic"], "config.json"),
    ):
        code, said = evaluate(*arguments)
        assert code == 2 and words in said, said
