"""What a dataset is made from: scenes by name, the record of them, and the random numbers of each stage."""

import itertools
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blurphys as bp
import synth
from synth import Camera, Scene
from synth.generation.recipe import SPLITS, Recipe, make_recipe
from synth.generation.samples import Stage, prepare_scene, sample_of, stream
from synth.generation.sources import DRAWN, Source, sources_of
from synth.noise import ShotReadNoise

H, W = 24, 30
CAMERA = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875),
    pupil=bp.Pupil.measured(np.ones((16, 16)), split=0.3),
    noise=ShotReadNoise(1e-3, 1e-6),
    max_radius=3.0,
    step=1.0,
    focus_range_m=(0.8, 1.5),
    f_number_range=(4, 8),
    gain_range=(0.5, 2),
)


def scene(name="made", seed=0, height=H, width=W):
    rng = np.random.default_rng(seed)
    depth = np.broadcast_to(np.linspace(0.75, 3, width), (height, width)).copy()
    depth[:, width // 2 :] *= 1.5
    return Scene(all_in_focus=rng.random((3, height, width)).astype(np.float32), depth_m=depth, name=name)


def write(folder, seed=0, shift=0):
    folder.mkdir(parents=True)
    synth.io.write_image(folder / "color.png", np.random.default_rng(seed).random((3, H, W)))
    depth = np.broadcast_to(np.linspace(4000, 12000, W), (H, W)) + shift
    synth.io.write_array(folder / "depth.png", depth.astype(np.uint16))
    return folder


def recipe(scenes=None, **options):
    options = {"camera": CAMERA, "samples": 4, "seed": 3, **options}
    return make_recipe(sources_of(scene() if scenes is None else scenes), **options)


def same(first, second):
    return first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(first.arrays.values(), second.arrays.values(), strict=True)
    )


# ---- what a name stands for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_scenes(name):
    sources = sources_of(f"{name}:2", size=(H, W))
    assert [source.name for source in sources] == [f"{name}-0", f"{name}-1"]
    assert {source.kind for source in sources} == {"drawn"}
    assert {source.shape for source in sources} == {(H, W)}
    assert len({source.digest for source in sources}) == 2
    first, second = (source.load() for source in sources)
    assert (first.name, first.shape) == (f"{name}-0", (H, W))
    assert not np.array_equal(first.all_in_focus, second.all_in_focus)
    assert np.array_equal(first.all_in_focus, sources[0].load().all_in_focus)
    assert sources_of(name, size=(H, W)) == sources[:1]


def test_drawn_scenes_have_a_size_of_their_own():
    assert sources_of("dead-leaves")[0].shape == (720, 1280)
    assert sources_of("dead-leaves")[0].digest != sources_of("dead-leaves", size=(H, W))[0].digest


def test_the_motorcycle_is_known_by_name():
    (source,) = sources_of("motorcycle")
    assert source.kind == "motorcycle"
    assert source.shape == source.load().shape


def test_a_folder_and_a_folder_of_folders(tmp_path, monkeypatch):
    for number, name in enumerate(("b", "a", "c")):
        write(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "readme.txt").write_text("three photographs")
    (one,) = sources_of(tmp_path / "photos" / "a")
    several = sources_of(tmp_path / "photos")
    assert [source.name for source in several] == ["a", "b", "c"]
    assert several[0] == one
    assert (one.kind, one.location, one.shape) == ("folder", str(tmp_path / "photos" / "a"), (H, W))
    monkeypatch.chdir(tmp_path)
    assert sources_of("photos") == sources_of(["photos/a", tmp_path / "photos" / "b", "photos/c"]) == several
    assert one.load().name == "a"
    assert np.nanmax(one.load().depth_m) == pytest.approx(2.4)


def test_folders_inside_a_folder_are_named_and_others_skipped(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "one" / name)
    (tmp_path / "one" / "notes").mkdir()
    said = []
    found = sources_of(tmp_path / "one", on_note=lambda *note: said.append(note))
    assert [source.name for source in found] == ["a", "b"]
    sentence = f"{tmp_path / 'one'}: took a, b; skipped notes, in which no colour and depth pair was found"
    assert said == [(sentence, True)]
    assert len(sources_of(tmp_path / "one")) == 2
    with pytest.raises(ValueError, match="notes: expected one colour and depth pair"):
        sources_of(tmp_path / "one" / "notes")


def test_folders_of_one_name_are_numbered(tmp_path):
    places = [write(tmp_path / parent / "scene", number) for number, parent in enumerate("abc")]
    found = sources_of([*places[:2], write(tmp_path / "scene-2"), places[2]])
    assert [source.name for source in found] == ["scene", "scene-3", "scene-2", "scene-4"]
    assert [source.load().name for source in found] == ["scene", "scene-3", "scene-2", "scene-4"]
    with pytest.raises(ValueError, match="got scene more than once"):
        sources_of([places[0], places[0]])


@pytest.mark.parametrize("name", DRAWN)
def test_the_number_of_layers_of_drawn_scenes_is_known(name):
    (source,) = sources_of(name, size=(H, W))
    assert source.layers == len(source.load().layers) > 1


def test_what_was_begun_before_goes_on_as_it_was():
    """Descriptions without what was added later mean what they meant, and come back as they were."""
    made = replace(recipe(["slanted-planes"], size=(H, W)), min_valid=0.0, layers=0)
    old = made.to_dict()
    assert not {"min_valid", "layers"} & set(old)
    assert Recipe.from_dict(old).to_dict() == old


def test_the_depth_unit_is_part_of_a_source(tmp_path):
    write(tmp_path / "a")
    (plain,), (mm,) = sources_of(tmp_path / "a"), sources_of(tmp_path / "a", depth_unit="mm")
    assert np.nanmax(mm.load().depth_m) == pytest.approx(12)
    assert mm.digest != plain.digest
    assert dict(mm.arguments) == {"depth_unit": "mm"}


@pytest.mark.parametrize("unit", [0, 0.0, -1, math.nan, math.inf, "", "0"])
def test_a_depth_unit_that_is_none_is_refused(unit, tmp_path):
    write(tmp_path / "a")
    for scenes in (tmp_path / "a", "dead-leaves"):
        with pytest.raises(ValueError, match=f"depth: expected a unit among .*, got {re.escape(repr(unit))}$"):
            sources_of(scenes, depth_unit=unit)


def test_a_folder_named_like_a_drawn_scene_is_the_folder(tmp_path, monkeypatch):
    write(tmp_path / "highlights")
    monkeypatch.chdir(tmp_path)
    assert sources_of("highlights", size=(H, W))[0].kind == "folder"


def test_scenes_in_memory_and_others_go_together(tmp_path):
    write(tmp_path / "a")
    sources = sources_of([scene("one"), tmp_path / "a", "text-chart"], size=(H, W))
    assert [source.kind for source in sources] == ["memory", "folder", "drawn"]
    assert sources[0].load() is sources[0].scene


@pytest.mark.parametrize(
    ("scenes", "error", "message"),
    [
        ([], ValueError, "at least one scene"),
        ("nowhere", FileNotFoundError, "there is no folder nowhere; a scene is an RGB-D folder, motorcycle, or one of"),
        ("dead-leaves:0", ValueError, "dead-leaves:N with N >= 1"),
        ("dead-leaves:", FileNotFoundError, None),
        ("dead-leaves:-1", ValueError, "dead-leaves:N with N >= 1"),
        ("dead-leaves:1.5", ValueError, "dead-leaves:N with N >= 1"),
        ("dead-leaves:²", ValueError, "dead-leaves:N with N >= 1"),
        (["dead-leaves", "dead-leaves:3"], ValueError, "dead-leaves-0 more than once"),
        ([scene("x"), scene("x", 1)], ValueError, "different names, got x more than once"),
        (__file__, ValueError, "expected a folder"),
        ("", ValueError, "generate: expected a folder or the name of a scene, got an empty text"),
        (None, TypeError, "generate: expected scenes, or paths or names of some, got None"),
        (3, TypeError, "generate: expected scenes, or paths or names of some, got 3"),
        ([3], TypeError, "generate: expected scenes, or paths or names of some, got 3"),
    ],
)
def test_scenes_that_are_none(scenes, error, message):
    if message is None:  # nothing after the colon counts as one
        assert len(sources_of(scenes, size=(H, W))) == 1
        return
    with pytest.raises(error, match=message) as caught:
        sources_of(scenes, size=(H, W))
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_no_scene(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        sources_of(tmp_path / "empty")


def test_the_digest_follows_all_that_a_scene_shows():
    layered = synth.scenes.highlights(H, W, seed=0)
    others = [scene(seed=1), scene(), replace(scene(), depth_m=scene().depth_m * 1.001), layered]
    moved = replace(layered, layers=layered.layers[1:])
    digests = [sources_of(made)[0].digest for made in (*others, moved)]
    assert len(set(digests)) == 5
    assert digests[1] == sources_of(scene("another name"))[0].digest


# ---- the record -----------------------------------------------------------------------------------------------------


def test_a_source_survives_json(tmp_path):
    write(tmp_path / "a")
    for source in sources_of([tmp_path / "a", "slanted-planes:2", "motorcycle"], size=(H, W), depth_unit="mm"):
        again = Source.from_dict(json.loads(json.dumps(source.to_dict())))
        assert again == source
        assert hash(again) == hash(source)
        assert np.array_equal(again.load().all_in_focus, source.load().all_in_focus)


def test_a_scene_in_memory_is_named_but_not_kept():
    (source,) = sources_of(scene())
    again = Source.from_dict(json.loads(json.dumps(source.to_dict())))
    assert again.digest == source.digest
    with pytest.raises(ValueError, match="scene made was given in memory and is in no file; pass the same scenes"):
        again.load()


def test_a_recipe_survives_json_and_gives_the_same_samples():
    made = recipe(["slanted-planes:2"], size=None, views=("left", "right"), model="layered", slabs=5, samples=3)
    made = replace(made, size=(H, W), sources=sources_of("slanted-planes:2", size=(H, W)))
    again = Recipe.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.to_dict() == made.to_dict()
    assert again.names == made.names == ("all_in_focus", "left", "right", "defocus_map", "depth_m", "valid", "alpha")
    for index in (0, 1):
        (one, first), (other, second) = sample_of(made, index), sample_of(again, index)
        assert first == second
        assert same(one, other)


@pytest.mark.parametrize("field", sorted(set(recipe().to_dict()) - {"min_valid"}))
def test_a_record_that_lacks_a_field(field):
    fields = recipe().to_dict()
    del fields[field]
    with pytest.raises(ValueError, match="expected the description of a dataset"):
        Recipe.from_dict(fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"camera": None}, {"camera": {}}, {"scenes": None}, {"scenes": [{}]}, {"scenes": [5]}, {"size": 5},
        {"size": []}, {"size": ["a", 1]}, {"seed": "x"}, {"samples": None}, {"views": ["middle"]}, {"views": 3},
        {"model": "magic"},
        {"slabs": "many"},
    ],
)  # fmt: skip
def test_records_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=r".") as caught:
        Recipe.from_dict({**recipe().to_dict(), **changes})
    assert "\n" not in str(caught.value)
    for nothing in (None, 5, "text", []):
        with pytest.raises(ValueError, match="expected the description"):
            Recipe.from_dict(nothing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split .*'train', 'val' or 'test', got 'dev'"),
        ({"samples": 0}, "samples .* 1, got 0"),
        ({"seed": -1}, "seed from 0"),
        ({"seed": 1 << 64}, "seed from 0"),
        ({"invalid": "guess"}, "expected invalid"),
        ({"slabs": 0}, "slabs .* 1, got 0"),
        ({"views": ("left",)}, "expected views"),
        ({"views": ("left", "left")}, "expected views"),
        ({"model": "magic"}, "expected model .*, got 'magic'"),
        ({"size": (H + 1, W)}, f"at most {H} x {W} px, got {H + 1} x {W}"),
        ({"size": (H, 0)}, "at least 1 x 1"),
        ({"size": (-1, W)}, "at least 1 x 1 px"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        recipe(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1.5}, "generate: expected samples as a whole number, got 1.5"),
        ({"samples": True}, "generate: expected samples as a whole number, got True"),
        ({"samples": "2"}, "generate: expected samples as a whole number, got '2'"),
        ({"seed": None}, "generate: expected seed as a whole number, got None"),
        ({"slabs": "a"}, "generate: expected slabs as a whole number, got 'a'"),
        ({"size": 5}, r"generate: expected size as \(height, width\), two whole numbers, got 5"),
        ({"size": (5, 5, 5)}, r"generate: expected size as \(height, width\), two whole numbers, got \(5, 5, 5\)"),
        ({"size": (5.0, 5)}, r"generate: expected size as \(height, width\), two whole numbers, got \(5.0, 5\)"),
        ({"camera": None}, "generate: expected a synth.Camera, got None"),
        ({"camera": "pixel4"}, "expected a synth.Camera, got 'pixel4'; synth.Camera.preset makes one by its name"),
    ],
)
def test_arguments_of_another_kind(options, message):
    with pytest.raises(TypeError, match=message):
        recipe(**options)


def test_scenes_of_several_sizes_need_one():
    scenes = [scene("one"), scene("two", height=30, width=26)]
    with pytest.raises(ValueError, match=r"differ in size \(24 x 30, 30 x 26\); give a size"):
        recipe(scenes)
    assert recipe(scenes, size=(20, 20)).size == (20, 20)
    with pytest.raises(ValueError, match="at most 24 x 26 px, got 24 x 30"):
        recipe(scenes, size=(24, 30))


# ---- random numbers -------------------------------------------------------------------------------------------------

keys = st.tuples(
    st.integers(0, 2**64 - 1), st.sampled_from(SPLITS), st.integers(0, 1000), st.integers(0, 10**6),
    st.sampled_from(list(Stage)),
)  # fmt: skip


@given(one=keys, other=keys)
def test_streams_differ_unless_their_keys_agree(one, other):
    first, second = stream(*one).integers(2**63, size=2), stream(*other).integers(2**63, size=2)
    assert np.array_equal(first, second) == (one == other)
    assert np.array_equal(first, stream(*one).integers(2**63, size=2))


def test_the_numbers_of_a_stream_never_change():
    """They are part of the identity of published data."""
    drawn = {
        (split, int(stage)): int(stream(7, split, 2, 5, stage).integers(2**32)) for split in SPLITS for stage in Stage
    }
    assert len(set(drawn.values())) == 9
    assert [int(stage) for stage in Stage] == [0, 1, 2]
    key = np.random.SeedSequence(7, spawn_key=(0, 2, 5, 1))
    assert drawn["train", 1] == int(np.random.Generator(np.random.Philox(key)).integers(2**32))


def test_a_sample_depends_on_its_key_alone():
    scenes = [scene("one", 1), scene("two", 2)]
    made = recipe(scenes, size=(18, 20))
    sample, parameters = sample_of(made, 3)
    again, equal = sample_of(replace(made, samples=99), 3)
    assert parameters == equal
    assert same(sample, again)
    assert (parameters["sample"], parameters["scene"]) == (3, 1)
    for change in ({"seed": 4}, {"split": "val"}):
        other, _ = sample_of(replace(made, **change), 3)
        assert not np.array_equal(other.left, sample.left)


def test_samples_take_the_scenes_in_turn_and_every_place():
    scenes = [scene(f"scene-{number}", number) for number in range(3)]
    made = recipe(scenes, size=(20, 26))
    parameters = [sample_of(made, index)[1] for index in range(24)]
    assert [found["scene"] for found in parameters] == [index % 3 for index in range(24)]
    assert {found["top"] for found in parameters} == set(range(5))
    assert {found["left"] for found in parameters} == set(range(5))


def test_a_larger_scene_gives_true_content_at_the_border():
    """A sample is the window of the rendering of all, noise and background apart."""
    quiet = replace(CAMERA, noise=ShotReadNoise(), gain_range=None, focus_range_m=None, f_number_range=None)
    made = recipe(camera=quiet, size=(12, 14), model="gather")
    whole = synth.render(scene(), quiet, rng=0, model="gather")
    for index in range(4):
        sample, parameters = sample_of(made, index)
        truth = whole.window(int(parameters["top"]), int(parameters["left"]), 12, 14)
        assert np.allclose(sample.left, truth.left, rtol=0, atol=2e-6)


def test_models_with_occlusion_get_a_background():
    made = scene()
    assert prepare_scene(made, "gather", CAMERA) is made
    for model in ("layered", "aperture"):
        assert prepare_scene(made, model, CAMERA).hidden is not None


def test_a_scene_whose_files_changed_is_noticed(tmp_path):
    write(tmp_path / "a")
    made = recipe(tmp_path / "a")
    import shutil

    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        sample_of(made, 0)
    write(tmp_path / "a", shift=5)
    with pytest.raises(ValueError, match=r"scene a: its files \(.*\) changed since the dataset was begun"):
        sample_of(made, 0)
    shutil.rmtree(tmp_path / "a")
    write(tmp_path / "a")
    sample_of(made, 0)


def test_all_cameras_of_a_dataset_are_drawn_from_its_ranges():
    made = recipe()
    drawn = [sample_of(made, index)[1] for index in range(4)]
    for (name, low, high), index in itertools.product(
        [("focus_distance_m", 0.8, 1.5), ("f_number", 4, 8), ("shot_noise", 5e-4, 2e-3)], range(4)
    ):
        assert low <= drawn[index][name] <= high
        assert len({found[name] for found in drawn}) == 4
