"""Training on samples that are rendered on the fly."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nets.training import TrainConfig, train, with_settings
from nets.training.data import Batches, flip_and_rotate
from nets.training.streamed import open_samples
from synth.io import write_image
from tests.nets.training.cases import supervised

FIELDS = {"image": "the training", "sharp": "the training"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.uniform(0.1, 0.7, (3, 18, 22)).repeat(4, 1).repeat(4, 2)
        write_image(folder / f"{number}.png", image)
    return folder


def settings(photos, out, **changes):
    stream = {"sources": str(photos), "max_radius": 2.0, "samples": 6}
    held_out = {"stream": stream | {"samples": 3}, "crop": 16}
    base = {"data": {"stream": stream, "crop": 16}, "validation": {"data": held_out, "every": 1}}
    return supervised(photos, out) | base | changes


def test_a_resumed_training_is_the_same_with_any_number_of_workers(photos, tmp_path):
    whole = train(settings(photos, tmp_path / "whole"), quiet=True)
    assert (whole.steps, whole.epochs, len(whole.validation_psnr)) == (9, 3, 3)
    train(settings(photos, tmp_path / "parts", epochs=1), quiet=True)
    report = train(settings(photos, tmp_path / "parts", workers=1), resume=True, quiet=True)
    assert report.resumed_from == 3 and report.validation_psnr == whole.validation_psnr[1:]
    one, other = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_no_sample_comes_twice_and_the_seed_is_that_of_the_training(photos, tmp_path):
    config = TrainConfig.of(settings(photos, tmp_path))
    samples = open_samples(config.data, FIELDS, seed=3)
    batches = Batches(samples, seed=3, batch=4)
    assert (len(samples), batches.steps_per_epoch) == (6, 1)
    assert [draw.sample for step in range(3) for draw in batches.draws(step)] == list(range(12))
    shares = [Batches(samples, seed=3, batch=4, rank=rank, world=2)[1]["image"] for rank in range(2)]
    assert torch.equal(torch.cat(shares), batches[1]["image"])
    again, other = (open_samples(config.data, FIELDS, seed=seed).middle(5)["image"] for seed in (3, 4))
    assert np.array_equal(samples.middle(5)["image"], again) and not np.array_equal(again, other)


def test_validation_is_on_other_photographs_and_the_same_for_every_seed(photos, tmp_path):
    config = TrainConfig.of(settings(photos, tmp_path))
    held_out = [open_samples(config.validation.data, FIELDS, seed=seed, held_out=True) for seed in (0, 7)]
    train_scenes = open_samples(config.data, FIELDS, seed=0)._stream.scenes
    assert not set(held_out[0]._stream.scenes) & set(train_scenes)
    assert np.array_equal(*(samples.middle(1)["image"] for samples in held_out)) and len(held_out[0]) == 3


def test_fields_and_views(photos):
    data = TrainConfig.of(settings(photos, "out", data={"stream": [str(photos)], "crop": 16, "view": "left"})).data
    fields = dict.fromkeys(("image", "right", "centre", "sharp", "defocus_map", "valid", "noise"), "the test")
    sample = open_samples(data, fields, seed=0).middle(0)
    assert list(sample) == list(fields) and sample["image"].shape == (3, 16, 16) and sample["noise"].shape == (1,)
    assert not np.array_equal(sample["image"], sample["centre"])
    plain = open_samples(data, {"left": "the test"}, seed=0).middle(0)
    assert np.array_equal(plain["left"], sample["image"])
    with pytest.raises(ValueError, match="the test needs the field 'depth_m', which a stream does not have; it has d"):
        open_samples(data, {"depth_m": "the test"}, seed=0)


def test_settings_of_a_stream_and_back():
    def of(**data):
        return TrainConfig.of({"net": "kpac", "data": data, "steps": 2, "losses": ["l2"]})

    assert of(stream=True).data.stream.sources == () and of(stream="a").data.stream.sources == ("a",)
    config = of(stream={"sources": ["a", "dead-leaves"], "noise": [0.0, 0.1], "samples": 5})
    assert TrainConfig.of(json.loads(json.dumps(config.to_dict()))) == config
    for data, words in (
        ({"stream": False}, "got false; leave it out"),
        ({"stream": {"source": "a"}}, "unknown setting 'source' in \\[stream\\]; did you mean 'sources'"),
        ({"stream": True, "path": "a"}, "got path and stream"),
        ({"stream": True, "augment": "flips"}, "augment too, unless cache"),
        ({"stream": True, "split": "val"}, "belong to a reader"),
        ({"stream": {"split": "test"}}, "stream.split to be one of"),
        ({"stream": {"noise": 0.1}}, "stream.noise as \\[smallest, largest\\], got 0.1"),
        ({"stream": {"core": [0.5, 0.1]}}, "got 0.5 before 0.1"),
        ({"stream": {"samples": 0}}, "stream.samples to be a whole number"),
        ({"stream": {"max_radius": 0}}, "stream.max_radius to be a number above 0"),
        ({"stream": {"mosaic": 2}}, "stream.mosaic to be a number"),
        ({"stream": {"tone": 1}}, "stream.tone to be true or false"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            of(**data)
        assert "\n" not in str(error.value)


def test_a_stream_takes_the_place_of_other_data():
    values = {"data": {"reader": "DPDD", "root": "a", "split": "train", "crop": 64, "augment": "dihedral"}}
    assert with_settings(values, ["data.stream=photos"]) == {"data": {"crop": 64, "stream": "photos"}}
    assert with_settings({"data": {"stream": True}}, ["data.path=a"]) == {"data": {"path": "a"}}


def test_cached_samples_come_again_turned(photos, tmp_path):
    """An epoch has every sample once, each under one of eight symmetries; the next one the same samples again."""
    stream = {"sources": str(photos), "samples": 4, "max_radius": 2.0}
    keep = {"stream": stream, "crop": 16, "cache": True, "augment": "dihedral"}
    config, plain = (TrainConfig.of(settings(photos, tmp_path, data=d)) for d in (keep, {"stream": stream, "crop": 16}))
    samples, fresh = (open_samples(c.data, FIELDS | {"defocus_map": "the test"}, seed=3) for c in (config, plain))
    batches = Batches(samples, seed=3, batch=2)
    seen = []
    for step in range(4):
        for draw in batches.draws(step):
            expected = fresh.middle(draw.sample)
            for name, array in samples.read(draw).items():
                assert array.dtype == np.float32 and array.flags.c_contiguous
                np.testing.assert_allclose(array, flip_and_rotate(expected[name], draw), atol=1e-5)
            seen.append(draw.sample)
    assert sorted(seen[:4]) == sorted(seen[4:]) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="augment too, unless cache"):
        TrainConfig.of(settings(photos, tmp_path, data={"stream": stream, "crop": 16, "augment": "flips"}))
