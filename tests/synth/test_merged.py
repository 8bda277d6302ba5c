"""Folders that are put together, and shards that are not where they belong."""

import shutil

import numpy as np
import pytest

import blurphys as bp
import synth
from synth.noise import ShotReadNoise
from synth.shards import merge, rebuild, resume, verify

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
