"""Scenes to a file: reproducible, replayable, and nothing left behind when something is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import blurphys as bp
import synth
from synth import Camera, Scene
from synth.generation.generate import Stage, stream
from synth.noise import ShotReadNoise

CAMERA = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875),
    pupil=bp.Pupil.disk(split=0.3),
    noise=ShotReadNoise(1e-3, 1e-6),
    max_radius=4.0,
    focus_range_m=(0.8, 1.5),
    f_number_range=(4, 8),
    gain_range=(0.5, 2),
)


def scene(name="made", H=34, W=42, seed=0):
    rng = np.random.default_rng(seed)
    depth = np.broadcast_to(np.linspace(0.75, 3, W), (H, W)).copy()
    depth[3:6, 4:8] = np.nan
    return Scene(all_in_focus=rng.random((3, H, W)).astype(np.float32), depth_m=depth, name=name, source="a test")


def make(path, *, scenes=None, samples=3, seed=11, camera=CAMERA, **options):
    return synth.generate(
        scene() if scenes is None else scenes,
        path,
        camera=camera,
        samples=samples,
        seed=seed,
        **{"max_clamped": None, **options},
    )


def samples_of(path):
    with synth.open(path) as data:
        return list(data)


def equal(first, second):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first.values(), second.values(), strict=True))


def test_the_file_holds_what_was_rendered(tmp_path):
    shown = []
    report = make(tmp_path / "a.h5", on_sample=lambda index, sample: shown.append(sample))
    stored = samples_of(tmp_path / "a.h5")
    assert len(stored) == len(shown) == report.samples == 3
    for item, sample in zip(stored, shown, strict=True):
        assert set(item) == {"all_in_focus", "combined", "left", "right", "defocus_map", "depth_m", "valid"}
        for name, array in sample.arrays.items():
            assert np.array_equal(item[name], array.astype(item[name].dtype), equal_nan=True), name
        assert np.allclose(item["combined"], (item["left"] + item["right"]) / 2, rtol=0, atol=1e-6)
        assert np.array_equal(item["all_in_focus"], scene().all_in_focus)
    radii = np.stack([item["defocus_map"] for item in stored])
    assert report.radius_range == (radii.min(), radii.max())
    assert report.unknown_share == 12 / (34 * 42)
    assert report.clamped_share == np.mean([~s.valid & ~np.isnan(s.depth_m) for s in shown])
    assert report.clamped_share > 0
    assert "3 samples" in str(report)
    assert f"{report.clamped_share:.2%} of the pixels clamped" in str(report)


def test_the_same_seed_gives_the_same_arrays_and_bytes(tmp_path):
    make(tmp_path / "a.h5")
    make(tmp_path / "b.h5")
    make(tmp_path / "c.h5", seed=12)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert not equal(samples_of(tmp_path / "a.h5")[0], samples_of(tmp_path / "c.h5")[0])


def test_a_sample_does_not_depend_on_how_many_there_are(tmp_path):
    make(tmp_path / "a.h5", samples=2)
    make(tmp_path / "b.h5", samples=5)
    for first, second in zip(samples_of(tmp_path / "a.h5"), samples_of(tmp_path / "b.h5")[:2], strict=True):
        assert equal(first, second)


def test_samples_differ_in_what_they_drew(tmp_path):
    make(tmp_path / "a.h5", samples=4)
    make(tmp_path / "val.h5", samples=4, split="val")
    with synth.open(tmp_path / "a.h5") as data, synth.open(tmp_path / "val.h5") as val:
        for name, low, high in (("focus_distance_m", 0.8, 1.5), ("f_number", 4, 8), ("shot_noise", 5e-4, 2e-3)):
            values = [d.parameters(i)[name] for d in (data, val) for i in range(4)]
            assert len(set(values)) == 8
            assert low <= min(values) < max(values) <= high
        assert data.configuration["camera"] == CAMERA.to_dict()
        told = data.configuration["scenes"][0]
        assert (told["name"], told["source"], told["height"], told["width"]) == ("made", "a test", 34, 42)


def test_streams_are_keyed_by_all_five():
    keys = [(1, "train", 0, 0, Stage.CAMERA)]
    keys += [(2, "train", 0, 0, Stage.CAMERA), (1, "val", 0, 0, Stage.CAMERA), (1, "train", 1, 0, Stage.CAMERA)]
    keys += [(1, "train", 0, 1, Stage.CAMERA), (1, "train", 0, 0, Stage.NOISE)]
    assert len({stream(*key).integers(2**63) for key in keys}) == len(keys)
    assert stream(*keys[0]).bit_generator.state["bit_generator"] == "Philox"
    assert stream(*keys[0]).integers(2**63) == stream(*keys[0]).integers(2**63)


@pytest.mark.parametrize("options", [{}, {"size": (20, 16)}, {"views": ("combined",)}, {"views": ("left", "right")}])
def test_a_sample_can_be_replayed(tmp_path, options):
    scenes = [scene("one", seed=1), scene("two", seed=2)]
    make(tmp_path / "a.h5", scenes=scenes, **options)
    stored = samples_of(tmp_path / "a.h5")
    for index in (0, 1, -1):
        again = synth.replay(tmp_path / "a.h5", index, scenes[index % 3 % 2])
        for name, array in again.arrays.items():
            assert np.array_equal(stored[index][name], array.astype(stored[index][name].dtype), equal_nan=True), name
    with synth.open(tmp_path / "a.h5") as data:
        assert again.parameters.items() <= data.parameters(-1).items()
    with pytest.raises(ValueError, match="expected the scene one of 34 x 42 px, got two"):
        synth.replay(tmp_path / "a.h5", 0, scenes[1])
    with pytest.raises(IndexError):
        synth.replay(tmp_path / "a.h5", 3, scenes[1])


def test_cut_samples_show_true_content_at_their_border(tmp_path):
    """Rendered on a larger canvas: a cut equals the same window of the whole scene's rendering."""
    quiet = replace(CAMERA, noise=ShotReadNoise(), gain_range=None, focus_range_m=None, f_number_range=None)
    make(tmp_path / "a.h5", size=(12, 14), samples=6, camera=quiet, model="gather")
    whole = synth.render(scene(), quiet, rng=0, model="gather")
    with synth.open(tmp_path / "a.h5") as data:
        assert data.shape == (12, 14)
        places = set()
        for index in range(6):
            stored = data.parameters(index)
            place = (int(stored["top"]), int(stored["left"]))
            places.add(place)
            truth = whole.window(*place, 12, 14)
            assert np.allclose(data[index]["left"], truth.left, rtol=0, atol=2e-6)
            assert np.array_equal(data[index]["valid"], truth.valid)
            assert stored["clamped_pixels"] == truth.parameters["clamped_pixels"]
            assert stored["unknown_pixels"] == truth.parameters["unknown_pixels"]
    assert len(places) == 6


def test_cuts_avoid_places_of_unknown_depth(tmp_path):
    depth = np.full((20, 60), np.nan)
    depth[9, 30] = 1.3
    lonely = Scene(all_in_focus=np.ones((3, 20, 60), np.float32), depth_m=depth, name="lonely")
    make(tmp_path / "a.h5", scenes=lonely, size=(12, 12), samples=8)
    for sample in samples_of(tmp_path / "a.h5"):
        assert sample["valid"].sum() == 1


def test_a_mirrored_world_exchanges_the_views(tmp_path):
    """Dataset mirrors samples as if the scene had been mirrored before it was photographed."""
    quiet = replace(CAMERA, noise=ShotReadNoise(), gain_range=None)
    whole = replace(scene(), depth_m=np.broadcast_to(np.linspace(0.75, 3, 42), (34, 42)).copy())
    make(tmp_path / "a.h5", scenes=whole, camera=quiet, samples=1, model="gather")
    with synth.open(tmp_path / "a.h5") as data:
        camera = data.camera(0)
    dataset = synth.Dataset(tmp_path / "a.h5", augment=True)
    seen = 0
    for epoch in range(16):
        dataset.set_epoch(epoch)
        item = dataset[0]
        for up in (1, -1):
            for across in (1, -1):
                image = np.ascontiguousarray(whole.all_in_focus[:, ::up, ::across])
                if not np.array_equal(image, item["all_in_focus"]):
                    continue
                depth = np.ascontiguousarray(whole.depth_m[::up, ::across])
                turned = replace(whole, all_in_focus=image, depth_m=depth)
                truth = synth.render(turned, camera, rng=0, model="gather")
                assert np.allclose(item["left"], truth.left, rtol=0, atol=2e-6)
                assert np.allclose(item["right"], truth.right, rtol=0, atol=2e-6)
                seen |= 1 << (2 * (up < 0) + (across < 0))
    assert seen == 0b1111


def test_float16_and_plain_storage(tmp_path):
    make(tmp_path / "a.h5", dtype="float16", compression=None)
    make(tmp_path / "b.h5")
    for half, full in zip(samples_of(tmp_path / "a.h5"), samples_of(tmp_path / "b.h5"), strict=True):
        assert np.allclose(half["left"], full["left"], rtol=1e-3, atol=1e-4)
        assert np.array_equal(half["defocus_map"], full["defocus_map"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": 0}, ValueError, "samples .* 1, got 0"),
        ({"seed": -1}, ValueError, "seed from 0"),
        ({"seed": 1 << 64}, ValueError, "seed from 0"),
        ({"split": "dev"}, ValueError, "split .*'train'"),
        ({"views": ("left",)}, ValueError, "expected views"),
        ({"scenes": []}, ValueError, "at least one scene"),
        ({"scenes": [scene(), scene()]}, ValueError, "made more than once"),
        ({"scenes": [scene(), scene("b", H=40)]}, ValueError, r"differ in size \(34 x 42, 40 x 42\); give a size"),
        ({"size": (35, 10)}, ValueError, "at most 34 x 42 px, got 35 x 10"),
        ({"size": (0, 10)}, ValueError, "at least 1 x 1 px, got 0 x 10"),
        ({"invalid": "error"}, ValueError, "got 12 pixels"),
        ({"invalid": "ignore"}, ValueError, "expected invalid"),
        ({"dtype": "uint8"}, ValueError, "float32"),
        ({"scenes": "no/such/folder"}, FileNotFoundError, "no folder"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, options, error, message):
    with pytest.raises(error, match=message) as caught:
        make(tmp_path / "a.h5", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_existing_and_impossible_targets_are_refused_before_any_work(tmp_path):
    def never(*_):
        raise AssertionError("a sample was rendered")

    (tmp_path / "a.h5").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make(tmp_path / "a.h5", on_sample=never)
    assert (tmp_path / "a.h5").read_text() == "precious"
    with pytest.raises(FileNotFoundError, match="no folder"):
        make(tmp_path / "no" / "a.h5", on_sample=never)
    (tmp_path / "b.h5").mkdir()
    with pytest.raises(ValueError, match="it is a folder"):
        make(tmp_path / "b.h5", on_sample=never)
    with pytest.raises(FileExistsError, match="not a dataset"):
        make(tmp_path, on_sample=never)
    make(tmp_path / "a.h5", overwrite=True)
    assert len(samples_of(tmp_path / "a.h5")) == 3


def test_an_empty_name_is_not_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="generate: expected a name for the data set, got an empty text"):
        make("")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupt(index, sample):
        if index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a.h5", on_sample=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_importing_synth_loads_nothing_heavy():
    script = "import sys, json, synth; print(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    heavy = {"torch", "h5py", "matplotlib", "numba", "cupy", "PIL", "skimage", "scipy", "multiprocessing"}
    assert not heavy & set(json.loads(done.stdout))


def test_public_names_are_what_they_say():
    assert callable(synth.generate)
    assert callable(synth.open)
    assert callable(synth.render)
    assert all(hasattr(synth, name) for name in synth.__all__)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*the depth has 8 bits")
@pytest.mark.parametrize(
    "name", ["nyuv2_348", "sintel_market2", "icl_nuim_1", "tum_rgbd_fr2", "middlebury_cones", "canon_r6m2_scene_003"]
)
def test_each_real_folder(data, name, tmp_path):
    made = synth.scenes.read_folder(data / name)
    camera = replace(Camera.for_scene(made, max_radius=5), noise=ShotReadNoise())
    said, radii = [], camera.lens.defocus_map(made.depth_m[made.valid][None])
    assert (np.abs(radii) > 5).mean() <= 0.0101
    report = synth.generate(
        made,
        tmp_path / "a.h5",
        camera=camera,
        samples=1,
        seed=0,
        size=(96, 128),
        on_note=lambda *note: said.append(note),
    )
    assert report.clamped_share < 0.1
    with synth.open(tmp_path / "a.h5") as stored:
        told = stored.configuration["scenes"][0]
    if name == "canon_r6m2_scene_003":
        assert "not all in focus" in told["source"] and told["sharp"] is False
        ((sentence, warning),) = said
        assert warning and sentence.startswith(f"{name}: parts of the photograph are out of focus already")
    else:
        assert not said and "sharp" not in told
    (sample,) = samples_of(tmp_path / "a.h5")
    assert all(np.isfinite(sample[view]).all() for view in ("left", "right", "combined", "defocus_map"))
    assert np.abs(sample["combined"] - sample["all_in_focus"]).max() > 0.01


QUAD_PIXEL = ("top_left", "top_right", "bottom_left", "bottom_right")
SMALL = replace(CAMERA, pupil=bp.Pupil.measured(np.ones((16, 16)), split=0.4), step=1.0)


@pytest.mark.parametrize("views", [("top", "bottom"), (*QUAD_PIXEL, "combined"), ("combined", "bottom", "top")])
@pytest.mark.parametrize("model", ["gather", "layered"])
def test_views_of_other_directions(tmp_path, views, model):
    made = synth.scenes.highlights(34, 42, seed=1)
    near = replace(SMALL, max_radius=6.0, pupil=replace(SMALL.pupil, angle=30.0))
    make(tmp_path / "a.h5", scenes=made, views=views, model=model, camera=near, samples=2)
    with synth.open(tmp_path / "a.h5") as data:
        assert set(data.names) == {"all_in_focus", *views, "defocus_map", "depth_m", "valid", "alpha"}
        parts = [name for name in views if name != "combined"]
        again = synth.replay(tmp_path / "a.h5", 1, made)
        for name in views:
            assert np.array_equal(data[1][name], again.arrays[name].astype(np.float32)), name
        assert not np.allclose(data[1][parts[0]], data[1][parts[1]], atol=0.01)
        if "combined" in views:
            mean = np.mean([data[1][name].astype(float) for name in parts], axis=0)
            assert np.allclose(data[1]["combined"], mean, rtol=1e-5, atol=1e-6)
        assert data.camera(0).pupil.angle == 30.0


def test_a_pair_of_quarters_is_a_half_and_noisier(rng=0):
    flat = Scene(all_in_focus=np.full((3, 60, 60), 0.5), depth_m=np.full((60, 60), 1.3), name="flat")
    light = {
        views: synth.render(flat, replace(SMALL, noise=ShotReadNoise()), rng=rng, views=views)
        for views in (QUAD_PIXEL, ("left", "right"), ("top", "bottom"))
    }
    quarters, across, down = (sample.arrays for sample in light.values())
    assert np.allclose((quarters["top_left"] + quarters["bottom_left"]) / 2, across["left"], atol=1e-9)
    assert np.allclose((quarters["top_left"] + quarters["top_right"]) / 2, down["top"], atol=1e-9)
    noisy = replace(SMALL, noise=ShotReadNoise(1e-3, 1e-5))
    spread = {
        name: (synth.render(flat, noisy, rng=rng, views=views).arrays[name] - light[views].arrays[name]).var()
        for views, name in ((QUAD_PIXEL, "top_right"), (("top", "bottom"), "top"))
    }
    assert spread["top"] == pytest.approx(0.5e-3 + 1e-5, rel=0.05)
    assert spread["top_right"] == pytest.approx(2 * 0.5e-3 + 4e-5, rel=0.05)


def test_alpha_masks_of_exact_layers_alone(tmp_path):
    layered = synth.scenes.highlights(34, 42, seed=1)
    make(tmp_path / "a.h5", scenes=[scene(), layered], size=(20, 24), samples=4, camera=SMALL)
    with synth.open(tmp_path / "a.h5") as data:
        for index in range(4):
            alpha, stored = data[index]["alpha"], data.parameters(index)
            assert alpha.shape == (len(layered.layers), 20, 24)
            if index % 2 == 0:
                assert not alpha.any()
                continue
            rows, columns = (slice(int(stored[n]), int(stored[n]) + size) for n, size in (("top", 20), ("left", 24)))
            truth = np.stack([layer.alpha[rows, columns] for layer in layered.layers])
            assert np.abs(alpha - truth).max() <= 0.51 / 255
            assert np.all(alpha[-1] == 1)
            again = synth.replay(tmp_path / "a.h5", index, layered)
            assert np.array_equal(again.alpha, truth)
    make(tmp_path / "b.h5", scenes=[scene(), layered], size=(20, 24), samples=1, camera=SMALL, alpha=False)
    make(tmp_path / "c.h5", samples=1, camera=SMALL)
    for name in "bc":
        assert "alpha" not in samples_of(tmp_path / f"{name}.h5")[0]


def test_clamping_is_limited_by_default_and_nothing_is_left(tmp_path):
    for place in ("a", "a.h5"):
        with pytest.raises(ValueError, match=r"of known depth will be clamped .*, more than the 25\.0% allowed"):
            synth.generate(scene(), tmp_path / place, camera=replace(SMALL, max_radius=1.0), samples=3, seed=1)
    assert list(tmp_path.iterdir()) == []
    report = make(tmp_path / "a", camera=replace(SMALL, max_radius=1.0), samples=1)
    assert report.clamped_share > 0.25


def test_samples_are_cut_where_enough_depth_is_known(tmp_path):
    depth = np.full((30, 60), np.nan)
    depth[4, 4], depth[20:23, 40:43] = 1.3, 1.3
    holes = Scene(all_in_focus=np.ones((3, 30, 60), np.float32), depth_m=depth, name="holes")
    make(tmp_path / "a.h5", scenes=holes, size=(10, 10), samples=8, min_valid=0.09, camera=SMALL)
    assert [sample["valid"].sum() for sample in samples_of(tmp_path / "a.h5")] == [9] * 8
    for place in ("b", "b.h5"):
        with pytest.raises(ValueError, match=r"scene holes: at no place of 10 x 10 px .* 20\.00% .*at best 9\.00%"):
            make(tmp_path / place, scenes=holes, size=(10, 10), min_valid=0.2, camera=SMALL)
    with pytest.raises(ValueError, match="min_valid .* 0 and .* 1, got 1.5"):
        make(tmp_path / "b", min_valid=1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    "options",
    [
        {"size": (35, 10)}, {"camera": replace(SMALL, max_radius=500.0)}, {"camera": replace(SMALL, max_radius=1e9)},
        {"camera": replace(SMALL, max_radius=10.0, step=1e-6)},
        {"invalid": "error"}, {"model": "layered", "camera": Camera.preset("iccv2021-0")},
        {"views": ("top", "bottom"), "camera": replace(Camera.preset("iccv2021-0"), max_radius=2.0)},
        {"scenes": Scene(all_in_focus=np.full((3, 20, 20), 1e6), depth_m=np.ones((20, 20)), name="hdr"),
         "dtype": "float16"},
    ],
)  # fmt: skip
def test_a_start_that_fails_leaves_no_folder(tmp_path, options):
    with pytest.raises(ValueError, match=r"."):
        make(tmp_path / "a", **{"camera": SMALL, "model": "gather", **options})
    assert list(tmp_path.iterdir()) == []
