"""Batches are a function of seed and step; crops, flips and turns act on all fields alike; what is missing is named."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import synth
from blurphys.colour import linear_to_srgb
from nets.training.data import Batches, Draw, Samples, draws, steps_per_epoch
from nets.training.settings.records import DataConfig
from synth.camera.tone import ToneCurve
from tests.nets.training.cases import SIZE, write_dpdd

WHOLE = Draw(1, 0.0, 0.0, False, False, 0)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A dataset of synth in linear light with both views and without a combined image, and one with all three."""
    folder = tmp_path_factory.mktemp("synth")
    scene = synth.scenes.dead_leaves(24, 32, seed=1)
    camera = synth.Camera.for_scene(scene, max_radius=2)
    for name, views in (("two", ("left", "right")), ("three", ("left", "right", "combined"))):
        synth.generate(scene, folder / f"{name}.h5", camera=camera, samples=3, seed=0, model="gather", views=views)
    return folder


@pytest.fixture(scope="module")
def dpdd(tmp_path_factory):
    return write_dpdd(tmp_path_factory.mktemp("dpdd"))


def from_dpdd(root, *fields, **changes):
    config = DataConfig(**{"reader": "DPDD", "root": str(root), "split": "train", **changes})
    return Samples(config, fields or ("image", "sharp"))


def test_draws_are_a_function_of_seed_and_step():
    options = {"samples": 7, "batch": 3, "repeats": 2, "augment": "dihedral"}
    once = [draws(5, step, **options) for step in range(12)]
    again = [draws(5, step, **options) for step in reversed(range(12))][::-1]
    assert once == again
    assert once != [draws(6, step, **options) for step in range(12)]
    assert len({draw.down for batch in once for draw in batch}) == 36
    assert steps_per_epoch(7, repeats=2, batch=3) == 4
    for epoch in range(3):
        counts = Counter(draw.sample for batch in once[4 * epoch : 4 * epoch + 4] for draw in batch)
        assert max(counts.values()) <= 2 and sum(counts.values()) == 12 and len(counts) >= 6
    assert [d.sample for b in once[:4] for d in b] != [d.sample for b in once[4:8] for d in b]
    with pytest.raises(ValueError, match="at least one batch of 4 in an epoch, got 3 samples x 1 crops"):
        steps_per_epoch(3, repeats=1, batch=4)


def test_augmentations_have_their_probabilities():
    def shares(augment):
        found = [d for step in range(300) for d in draws(0, step, samples=4, batch=4, augment=augment)]
        return Counter((d.flip_rows, d.flip_columns, d.quarter_turns) for d in found), len(found)

    for augment, cases in (("none", 1), ("flips", 4), ("dihedral", 16)):
        counts, total = shares(augment)
        assert len(counts) == cases
        assert all(abs(count / total - 1 / cases) < 0.04 for count in counts.values())
    counts, total = shares("half-dihedral")
    assert (True, True, 0) not in counts
    assert counts[False, False, 0] / total == pytest.approx(1 / 4, abs=0.04)
    assert counts[True, False, 0] / total == pytest.approx(1 / 8, abs=0.04)
    assert counts[False, False, 2] / total == pytest.approx(1 / 12, abs=0.04)


def test_linear_light_is_encoded_once_and_views_are_averaged_before(linear):
    with synth.open(linear / "three.h5") as data:
        raw = data[1]
    sample = Samples(DataConfig(path=str(linear / "three.h5")), ("image", "sharp", "defocus_map", "valid")).read(WHOLE)
    np.testing.assert_array_equal(sample["image"], linear_to_srgb(np.clip(raw["combined"], 0, 1)))
    np.testing.assert_array_equal(sample["sharp"], linear_to_srgb(np.clip(raw["all_in_focus"], 0, 1)))
    np.testing.assert_array_equal(sample["defocus_map"], raw["defocus_map"][None])
    assert sample["valid"].dtype == np.float32 and sample["valid"].shape == (1, 24, 32)
    plain = Samples(DataConfig(path=str(linear / "three.h5"), transfer="linear", view="left"), ("image",)).read(WHOLE)
    np.testing.assert_array_equal(plain["image"], raw["left"])
    with synth.open(linear / "two.h5") as data:
        raw = data[1]
    mean = Samples(DataConfig(path=str(linear / "two.h5")), ("image", "left")).read(WHOLE)
    np.testing.assert_array_equal(mean["image"], linear_to_srgb(np.clip((raw["left"] + raw["right"]) / 2, 0, 1)))
    np.testing.assert_array_equal(mean["left"], linear_to_srgb(np.clip(raw["left"], 0, 1)))


def test_datasets_stand_one_behind_the_other(linear):
    both = Samples(DataConfig(path=(str(linear / "two.h5"), str(linear / "three.h5")), transfer="linear"), ("left",))
    assert len(both) == 6
    for index in range(6):
        with synth.open(linear / ("two.h5" if index < 3 else "three.h5")) as data:
            np.testing.assert_array_equal(both.middle(index)["left"], data[index % 3]["left"])


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_crop_is_cut_flipped_and_turned(rows, columns, turns, dpdd):
    whole = synth.datasets.DPDD(dpdd)[2]
    samples = from_dpdd(dpdd, "image", "sharp", crop=12, augment="dihedral")
    top, left = int(0.4 * (SIZE[0] - 11)), int(0.9 * (SIZE[1] - 11))
    got = samples.read(Draw(2, 0.4, 0.9, rows, columns, turns))
    for name, stored in (("image", "combined"), ("sharp", "all_in_focus")):
        expected = whole[stored][:, top : top + 12, left : left + 12]
        expected = expected[:, ::-1] if rows else expected
        expected = expected[:, :, ::-1] if columns else expected
        np.testing.assert_array_equal(got[name], np.rot90(expected, turns, (1, 2)))


def test_a_mirrored_world_exchanges_the_views(dpdd):
    whole = synth.datasets.DPDD(dpdd)[0]
    samples = from_dpdd(dpdd, "left", augment="flips")
    got = samples.read(Draw(0, 0.0, 0.0, False, True, 0))
    assert list(got) == ["left"]
    np.testing.assert_array_equal(got["left"], whole["right"][..., ::-1])
    np.testing.assert_array_equal(samples.read(Draw(0, 0.0, 0.0, True, False, 0))["left"], whole["left"][:, ::-1])
    with pytest.raises(ValueError, match="would turn the left view, whose blur leans left or right"):
        from_dpdd(dpdd, "left", augment="dihedral", crop=8)


def test_the_cache_keeps_every_bit(dpdd):
    plain, cached = (from_dpdd(dpdd, cache=cache, crop=16) for cache in (False, True))
    for draw in (Draw(1, 0.3, 0.2, False, False, 0), Draw(1, 0.7, 0.9, False, False, 0)):
        for name, array in plain.read(draw).items():
            np.testing.assert_array_equal(cached.read(draw)[name], array)


def test_every_crop_lies_inside_and_reaches_the_ends(dpdd):
    samples = from_dpdd(dpdd, "image", crop=27)
    whole = synth.datasets.DPDD(dpdd)[0]["combined"]
    np.testing.assert_array_equal(samples.read(Draw(0, 0.0, 0.0, False, False, 0))["image"], whole[:, :27, :27])
    last = samples.read(Draw(0, 1 - 1e-12, 1 - 1e-12, False, False, 0))["image"]
    np.testing.assert_array_equal(last, whole[:, -27:, -27:])
    np.testing.assert_array_equal(samples.middle(0)["image"], whole[:, 1:28, 5:32])


def test_processes_share_a_batch(dpdd):
    samples = from_dpdd(dpdd, crop=8, augment="dihedral")
    whole = Batches(samples, seed=3, batch=4)
    parts = [Batches(samples, seed=3, batch=4, rank=rank, world=2) for rank in range(2)]
    for step in (0, 5):
        for name, tensor in whole[step].items():
            assert torch.equal(torch.cat([part[step][name] for part in parts]), tensor)
    with pytest.raises(ValueError, match="3 processes can share evenly, got 4"):
        Batches(samples, seed=3, batch=4, world=3)
    ahead = list(whole.loader(5, 8))
    assert len(ahead) == 3 and all(torch.equal(ahead[0][name], whole[5][name]) for name in ahead[0])


def test_worker_processes_read_the_same(dpdd):
    batches = Batches(from_dpdd(dpdd, crop=8, augment="flips"), seed=3, batch=2)
    for step, batch in enumerate(batches.loader(1, 3, workers=1), start=1):
        assert all(torch.equal(batch[name], batches[step][name]) for name in batch)


def test_missing_fields_are_named_with_who_wants_them(linear, dpdd):
    owners = {"defocus_map": "the loss 'x'"}
    with pytest.raises(
        ValueError, match=r"the loss 'x' needs the field 'defocus_map', which DPDD in .* it has all_in_focus"
    ):
        Samples(DataConfig(reader="DPDD", root=str(dpdd), split="train"), ("sharp", "defocus_map"), owners)
    with pytest.raises(ValueError, match=r"the training needs the field 'guide', which .*two\.h5"):
        Samples(DataConfig(path=str(linear / "two.h5")), ("guide",))


def test_other_refusals(linear, dpdd, tmp_path):
    with pytest.raises(ValueError, match="at least the crop, 28 x 28 px, got 24 x 32"):
        Samples(DataConfig(path=str(linear / "two.h5"), crop=28), ("image",))
    with pytest.raises(ValueError, match="at least the crop, 30 x 30 px, got 28 x 36"):
        from_dpdd(dpdd, crop=30).middle(0)
    with pytest.raises(FileNotFoundError):
        Samples(DataConfig(path=str(tmp_path / "none.h5")), ("image",))
    with pytest.raises(ValueError, match="RealDOF has no splits"):
        Samples(DataConfig(reader="RealDOF", root=str(dpdd), split="test"), ("image",))


def test_encoded_data_stay_as_they_are_and_are_no_linear_light(linear):
    scene = synth.scenes.dead_leaves(24, 32, seed=1)
    camera = replace(synth.Camera.for_scene(scene, max_radius=2), tone=ToneCurve("srgb"))
    path = linear / "encoded.h5"
    synth.generate(scene, path, camera=camera, samples=2, seed=0, model="gather")
    with synth.open(path) as data:
        raw = data[1]["combined"]
    np.testing.assert_array_equal(Samples(DataConfig(path=str(path)), ("image",)).read(WHOLE)["image"], raw)
    with pytest.raises(ValueError, match="'linear', but .* is encoded with the curve 'srgb'"):
        Samples(DataConfig(path=str(path), transfer="linear"), ("image",))
