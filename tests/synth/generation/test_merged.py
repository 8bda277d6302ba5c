"""Folders that are put together, and shards that are not where they belong."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

import blurphys as bp
import synth
from synth.dataset.manifest import rebuild
from synth.dataset.merging import merge
from synth.generation.run import resume
from synth.generation.verify import verify
from synth.noise import ShotReadNoise

LENS = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=90.0)
CAMERA = synth.Camera(
    lens=LENS, pupil=bp.Pupil.disk(split=0.3), noise=ShotReadNoise.typical(1e-3), max_radius=4.0, f_number_range=(4, 8)
)


def scene(name, seed):
    rng = np.random.default_rng(seed)
    depth = np.broadcast_to(np.linspace(0.8, 1.8, 30), (24, 30)).copy()
    return synth.Scene(all_in_focus=rng.random((3, 24, 30)), depth_m=depth, name=name)


ONE, OTHER = scene("made", 1), scene("made", 2)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    for folder, shown, seed in (("a", ONE, 1), ("b", OTHER, 2)):
        synth.generate(
            shown, root / folder, camera=CAMERA, samples=3, seed=seed, shard_size=2, model="gather", max_clamped=None
        )
    merge([root / "a", root / "b"], root / "both")
    return root


def test_a_sample_of_the_second_part_is_replayed_by_its_own_recipe(parts):
    """The first part's seed used to be taken for all of them."""
    with synth.open(parts / "both") as data:
        assert len(data) == 6
        for index, shown in ((1, ONE), (4, OTHER), (5, OTHER)):
            again = synth.replay(parts / "both", index, shown)
            assert np.allclose(data[index]["left"], again.left, atol=1e-6)
            assert data.configuration_of(index)["seed"] == 1 + (index > 2)


def test_a_merged_folder_is_verified_and_not_resumed(parts):
    assert all(verdict.whole for verdict in verify(parts / "both"))
    assert rebuild(parts / "both") == 4
    with pytest.raises(ValueError, match="merged from other datasets"):
        resume(parts / "both")


def test_a_shard_in_the_place_of_another_is_noticed_and_made_again(parts, tmp_path):
    """It is whole, of the right size and of the same recipe; only its samples are others."""
    synth.generate(
        ONE, tmp_path / "c", camera=CAMERA, samples=4, seed=1, shard_size=2, model="gather", max_clamped=None
    )
    before = (tmp_path / "c" / "shard-00001.h5").read_bytes()
    shutil.copyfile(tmp_path / "c" / "shard-00000.h5", tmp_path / "c" / "shard-00001.h5")
    assert "in the place of 2" in verify(tmp_path / "c")[1].problem
    report = synth.generate(
        ONE, tmp_path / "c", camera=CAMERA, samples=4, seed=1, shard_size=2, model="gather", max_clamped=None
    )
    assert report.made == 2
    assert (tmp_path / "c" / "shard-00001.h5").read_bytes() == before


def test_what_a_kill_leaves_beside_the_shards_goes(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "config.json.12ab.part").write_text("{")
    synth.generate(ONE, folder, camera=CAMERA, samples=2, seed=1, shard_size=1, model="gather", max_clamped=None)
    (folder / "shard-00001.h5.part").write_text("half")
    (folder / "dataset.h5.12ab.part").write_text("half")
    synth.generate(ONE, folder, camera=CAMERA, samples=2, seed=1, shard_size=1, model="gather", max_clamped=None)
    assert not list(folder.glob("*.part"))


# ---- what does not go together --------------------------------------------------------------------------------------


def test_a_folder_counts_once_under_whatever_path(parts, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(parts / "a")
    monkeypatch.chdir(parts)
    for one, other, told in (
        ("a", "a", "a is given twice"),
        (parts / "a", "a", "a and .*a are one folder"),
        ("a", tmp_path / "link", "link and a are one folder"),
        ("b/../a", "a", "a and b/../a are one folder"),
    ):
        with pytest.raises(ValueError, match=f"{told}, so that each of its samples would count twice"):
            merge([one, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_samples_count_once_whoever_holds_them(parts, tmp_path):
    """A copy, a longer run of the same seed in other shards, and a folder that holds the other one."""
    shutil.copytree(parts / "a", tmp_path / "copy")
    synth.generate(
        ONE, tmp_path / "longer", camera=CAMERA, samples=5, seed=1, shard_size=3, model="gather", max_clamped=None
    )
    for other, told in (
        (tmp_path / "copy", "3 of the 3 samples of .*copy are in .*a too .sample 0 is sample 0 there."),
        (tmp_path / "longer", "3 of the 5 samples of .*longer are in .*a too"),
        (parts / "both", "3 of the 6 samples of .*both are in .*a too"),
    ):
        with pytest.raises(ValueError, match=told):
            merge([parts / "a", other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def drawn(folder, samples=1, **options):
    layers = synth.scenes.slanted_planes(24, 30, seed=options.pop("scene", 0))
    camera = synth.Camera.for_scene(layers, base=CAMERA, max_radius=2)
    synth.generate(layers, folder, camera=camera, samples=samples, seed=0, max_clamped=None, slabs=4, **options)
    return folder


def test_a_refusal_says_what_differs_and_which_option_changes_it(tmp_path):
    with_masks, without = drawn(tmp_path / "masks"), drawn(tmp_path / "plain", alpha=False)
    told = (
        f"{without} does not fit {with_masks}: it has no alpha masks, the other alpha masks of 4 layers; .*--no-alpha"
    )
    with pytest.raises(ValueError, match=told) as refused:
        merge([with_masks, without], tmp_path / "out")
    assert not set("()[]'") & set(str(refused.value).replace("(--no-alpha, alpha=False)", ""))
    dead_leaves = synth.scenes.dead_leaves(24, 30, seed=0)
    camera = synth.Camera.for_scene(dead_leaves, base=CAMERA, max_radius=2)
    synth.generate(dead_leaves, tmp_path / "six", camera=camera, samples=1, seed=0, slabs=4, max_clamped=None)
    with pytest.raises(ValueError, match="it has alpha masks of 6 layers, the other alpha masks of 4 layers"):
        merge([with_masks, tmp_path / "six"], tmp_path / "out")


def test_what_holds_the_parts_may_be_anything(parts, tmp_path):
    names = sorted(path for path in parts.iterdir() if (path / "config.json").exists() and path.name != "both")[:2]
    assert synth.merge((name for name in names), tmp_path / "both") == sum(len(synth.open(name)) for name in names)


def test_a_single_file_is_no_part(parts, tmp_path):
    part = next(iter(parts.glob("*/shard-00000.h5")))
    with pytest.raises(ValueError, match=r"expected a folder of shards, got the file .*shard-00000\.h5"):
        synth.merge([part, part.parent], tmp_path / "out")


def test_one_path_is_no_list_of_them(parts):
    with pytest.raises(ValueError, match="expected a list of two or more datasets, got the one path"):
        merge(str(parts / "a"), parts / "out")


# ---- facts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Parts that differ in tone curve, model, camera and seed."""
    root = tmp_path_factory.mktemp("mixed")
    for number, (folder, model, curve) in enumerate((("a", "gather", "linear"), ("b", "layered", "srgb"))):
        camera = replace(CAMERA, tone=synth.ToneCurve(curve), name=folder)
        synth.generate(
            ONE, root / folder, camera=camera, samples=2, seed=number, shard_size=1, model=model, max_clamped=None
        )
    merge([root / "b", root / "a"], root / "both")
    return root


def test_what_the_parts_do_not_share_is_a_fact_of_the_sample(mixed):
    with synth.open(mixed / "both") as data:
        assert data.parts == (0, 2)
        for key in ("transfer_function", "model", "seed", "configuration"):
            with pytest.raises(ValueError, match=f"differ in '{key}'.*ask for that of a sample, attrs_of"):
                data.attrs[key]
            with pytest.raises(ValueError, match="differ in"):
                data.attrs.get(key)
        with pytest.raises(ValueError, match="differ in 'camera'.*configuration_of"):
            data.configuration["camera"]
        with pytest.raises(ValueError, match="differ in"):
            dict(data.attrs)
        assert data.attrs["format"] == "blurphys-dataset"
        assert data.attrs.get("nothing") is None
        assert data.configuration["split"] == "train"
        curves = [data.attrs_of(index)["transfer_function"] for index in range(4)]
        assert curves == ["srgb", "srgb", "linear", "linear"]
        assert [data.attrs_of(index - 4)["model"] for index in range(4)] == ["layered"] * 2 + ["gather"] * 2
        assert [data.configuration_of(index)["camera"]["name"] for index in (1, 2)] == ["b", "a"]
    dataset = synth.Dataset(mixed / "both")
    assert [dataset.attrs_of(index)["transfer_function"] for index in range(4)] == curves
    assert dataset.configuration_of(3)["camera"]["name"] == "a"


def test_a_fact_that_differs_is_still_in_the_mapping(mixed):
    with synth.open(mixed / "both") as data:
        for facts in (data.attrs, data.configuration):
            assert all(key in facts for key in facts)
            assert "nothing" not in facts and len(facts) == len(list(facts)) == len(facts.keys())
        assert "seed" in data.attrs and "camera" in data.configuration


def test_parts_pass_over_shards_that_are_gone(mixed, tmp_path):
    shutil.copytree(mixed / "both", tmp_path / "both")
    (tmp_path / "both" / "shard-00002.h5").unlink()
    with synth.open(tmp_path / "both") as data:
        assert data.parts == (0, 3)
        with pytest.raises(ValueError, match="shard-00002.h5 is not there"):
            data.attrs_of(2)


def test_one_recipe_has_one_set_of_facts(mixed):
    with synth.open(mixed / "a") as data, synth.open(mixed / "a" / "shard-00000.h5") as one:
        assert data.parts == one.parts == (0,)
        assert data.attrs == one.attrs_of(0) == data.attrs_of(1)
        with pytest.raises(IndexError):
            one.attrs_of(1)


def test_the_virtual_file_keeps_what_is_true_of_all(mixed):
    with h5py.File(mixed / "both" / "dataset.h5") as raw:
        assert raw.attrs["format"] == b"blurphys-dataset"
        assert not {"transfer_function", "model", "seed", "configuration"} & set(raw.attrs)


def test_a_shard_of_other_arrays_is_named(mixed, tmp_path):
    shutil.copytree(mixed / "a", tmp_path / "a")
    synth.generate(
        scene("other", 3), tmp_path / "other.h5", camera=CAMERA, samples=1, seed=0, size=(20, 20), max_clamped=None
    )
    shutil.copyfile(tmp_path / "other.h5", tmp_path / "a" / "shard-00001.h5")
    with synth.open(tmp_path / "a") as data, pytest.raises(ValueError, match=r"shard-00001\.h5: it has other arrays"):
        data[1]
