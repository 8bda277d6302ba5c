"""Pairs of one's own pictures in `blurphys train`, `blurphys evaluate` and their settings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import synth
from nets.training.data import Draw, Samples
from nets.training.settings.records import DataConfig
from synth.io import read_image, write_image
from tests.nets.commands.test_train_command import RECIPE
from tests.nets.commands.test_train_command import run as train
from tests.nets.evaluation.test_evaluation import run as evaluate

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


ELSEWHERE = """
restarts = [2]
validation = { every = 2, data = { reader = "DPDD", root = "nowhere", split = "val", crop = 12 } }
"""


def validated(pairs, recipe, *arguments):
    """Train by a recipe on photos; return what its settings say of validation and restarts, and what was said."""
    Path("elsewhere.toml").write_text(recipe + RECIPE)
    outcome = train("elsewhere.toml", "--data", "photos", *arguments, "--out", "run", "--quiet")
    assert outcome.exit_code == 0, outcome.output
    settings = json.loads(Path("run/config.json").read_text())
    table = settings["validation"]
    if table is not None:
        table["data"] = {key: value for key, value in table["data"].items() if value}
    return table, settings["restarts"], outcome.output


def in_splits():
    for split in ("train", "val"):
        shutil.copytree("photos", f"set/{split}")
    shutil.rmtree("photos")
    Path("set").rename("photos")


def test_a_recipe_that_validates_elsewhere(pairs):
    """Its validation is of no use for other data, and restarts need one."""
    table, restarts, said = validated(pairs, ELSEWHERE)
    assert table is None and restarts == []
    (note,) = (line for line in said.splitlines() if line.startswith("note: "))
    assert all(word in note for word in ("elsewhere.toml", "photos", "validation", "restarts"))


def test_data_with_a_validation_split_of_their_own(pairs):
    in_splits()
    table, restarts, said = validated(pairs, ELSEWHERE, "--encoding", "linear")
    common = {"view": "combined", "transfer": "display", "augment": "none", "repeats": 1}
    assert table["data"] == {
        "reader": "pairs", "root": "photos", "split": "val", "encoding": "linear", "crop": [12, 12], **common
    }  # fmt: skip
    assert (table["every"], restarts) == (2, [2])
    assert said.count("note: ") == 1 and "note: validation is on photos/val" in said


def test_synthetic_data_with_a_validation_split_of_their_own(pairs):
    scene = synth.scenes.dead_leaves(20, 24, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    shutil.rmtree("photos")
    Path("photos").mkdir()
    for split in ("train", "val"):
        synth.generate(scene, f"photos/{split}", camera=camera, samples=2, seed=0, model="gather")
    table, restarts, said = validated(pairs, ELSEWHERE)
    assert table["data"]["path"] == ["photos/val"] and restarts == [2]
    assert json.loads(Path("run/config.json").read_text())["data"]["path"] == ["photos/train"]


@pytest.mark.parametrize(
    ("validation", "settings"),
    [
        ('{ data = { reader = "pairs", root = "photos", encoding = "linear" } }', ()),  # in the folder itself
        ('{ data = { reader = "DPDD", root = "nowhere" } }', ("validation.data.path=more",)),  # told
        ('{ data = { reader = "DPDD", root = "nowhere" } }', ("validation={data={path='more'}}",)),
    ],
)
def test_a_validation_that_is_meant_stays(pairs, validation, settings):
    scene = synth.scenes.dead_leaves(20, 24, seed=0)
    synth.generate(scene, "more", camera=synth.Camera.for_scene(scene, max_radius=2), samples=1, seed=0, model="gather")
    told = [word for setting in settings for word in ("--set", setting)]
    table, restarts, said = validated(pairs, f"restarts = [2]\nvalidation = {validation}\n", *told)
    assert table["data"].get("path") == (["more"] if settings else None) and restarts == [2]
    assert "encoding" not in table["data"]  # as for the data
    assert "left out" not in said


def test_data_that_are_those_of_the_recipe_keep_its_validation(pairs):
    scene = synth.scenes.dead_leaves(20, 24, seed=0)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    for name in ("more", "others"):
        synth.generate(scene, name, camera=camera, samples=2, seed=0, model="gather")
    own = RECIPE.replace('reader = "DPDD"\nroot = "nowhere"\nsplit = "train"', 'path = "more"')
    Path("own.toml").write_text('validation = { data = { path = "others" } }\n' + own)
    outcome = train("own.toml", "--data", "more/", "--out", "run", "--quiet")
    assert outcome.exit_code == 0 and "note: " not in outcome.output.replace("note: in validation", ""), outcome.output
    assert json.loads(Path("run/config.json").read_text())["validation"]["data"]["path"] == ["others"]


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
