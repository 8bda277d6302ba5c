"""What went wrong once: damage that hung or was not seen, and whole data that were taken for damaged."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import blurphys as bp
import synth
from synth.dataset.config import config_sum
from synth.dataset.manifest import MANIFEST, read_manifest
from synth.dataset.merging import merge
from synth.dataset.schema import CONFIG
from synth.generation.recipe import Recipe, make_recipe
from synth.generation.run import resume
from synth.generation.samples import sample_of
from synth.generation.sources import sources_of
from synth.generation.verify import verify
from synth.noise import ShotReadNoise
from synth.rendering.layering import layers_of

LENS = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=90.0)
CAMERA = synth.Camera(lens=LENS, pupil=bp.Pupil.disk(split=0.3), noise=ShotReadNoise.typical(1e-3), max_radius=4.0)


def scene(seed=1):
    rng = np.random.default_rng(seed)
    depth = np.broadcast_to(np.linspace(0.8, 1.8, 30), (24, 30)).copy()
    return synth.Scene(all_in_focus=rng.random((3, 24, 30)), depth_m=depth, name="made")


def make(folder, **changes):
    options = {
        "camera": CAMERA,
        "samples": 4,
        "seed": 1,
        "shard_size": 2,
        "model": "gather",
        "max_clamped": None,
    } | changes
    return synth.generate(scene(), folder, **options)


FLIPS = """
import sys, numpy as np, synth
folder, seed = sys.argv[1:]
shard = folder + "/shard-00000.h5"
blob, rng = open(shard, "rb").read(), np.random.default_rng(int(seed))

def contents():
    with synth.open(folder) as data:
        arrays = [array.tobytes() for i in range(len(data)) for array in data[i].values()]
        return arrays, [data.parameters(i) for i in range(len(data))], data.attrs, data.configuration

truth, silent, refused = contents(), [], 0
places = np.concatenate([rng.integers(len(blob), size=60), rng.integers(6000, size=120)])
for place in places:
    changed = bytearray(blob)
    changed[place] ^= 1 << int(rng.integers(8))
    open(shard, "wb").write(changed)
    try:
        if repr(contents()) != repr(truth):
            silent.append(int(place))
    except ValueError:
        refused += 1
print(refused, silent)
"""


def test_no_bit_of_a_file_is_wrong_silently_and_none_hangs(tmp_path):
    """Texts of variable length lie in a heap without checksums: some changed unseen, one made HDF5 read for ever."""
    make(tmp_path / "a", samples=2)
    run = subprocess.run(
        [sys.executable, "-c", FLIPS, str(tmp_path / "a"), "5"], capture_output=True, text=True, timeout=120, check=True
    )
    refused, silent = run.stdout.split(maxsplit=1)
    assert silent.strip() == "[]"
    assert int(refused) > 100


def test_a_measured_pupil_survives_json_to_the_last_bit():
    """It was divided by its sum again, and every shard looked like another camera's."""
    rows, columns = np.mgrid[-8:9, -8:9]
    pupil = bp.Pupil.measured((rows**2 + columns**2 < 60) * 1.0, split=0.3)
    camera = dataclasses.replace(CAMERA, pupil=pupil)
    back = synth.Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    assert np.array_equal(back.pupil.intensity, pupil.intensity)
    assert back.to_dict() == camera.to_dict()


def test_whole_shards_of_another_recipe_are_not_overwritten(tmp_path):
    make(tmp_path / "a")
    before = [p.read_bytes() for p in sorted((tmp_path / "a").glob("shard-*"))]
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    config.pop("sha256")
    config["recipe"]["seed"] = 7
    (tmp_path / "a" / CONFIG).write_text(json.dumps({**config, "sha256": "0" * 64}))
    with pytest.raises(ValueError, match="was it edited"):
        resume(tmp_path / "a")
    (tmp_path / "a" / CONFIG).write_text(json.dumps({**config, "sha256": config_sum(config)}))
    with pytest.raises(ValueError, match=r"made with another seed .* than the folder's"):
        resume(tmp_path / "a")
    assert [p.read_bytes() for p in sorted((tmp_path / "a").glob("shard-*"))] == before


def test_merging_leaves_alone_what_lies_beside_it(tmp_path):
    make(tmp_path / "a"), make(tmp_path / "b", seed=2)
    (tmp_path / "c.part").mkdir()
    (tmp_path / "c.part" / "precious").write_text("mine")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (tmp_path / "c.part" / "precious").read_text() == "mine"


def test_a_window_may_lack_a_layer():
    made = synth.scenes.thin_occluders(60, 80, seed=0)
    recipe = make_recipe(
        sources_of(dataclasses.replace(made, name="thin")), camera=CAMERA, samples=12, seed=0, size=(16, 16)
    )  # fmt: skip
    for index in range(12):
        sample, _ = sample_of(recipe, index)
        assert np.isfinite(sample.left).all()


@pytest.mark.parametrize("draw", [synth.scenes.slanted_planes, synth.scenes.dead_leaves])
def test_slabs_of_an_exact_scene_show_the_scene(draw):
    """Soft edges used to be counted once for each of two slabs."""
    made = draw(64, 80, seed=3)
    colours, alphas, _ = layers_of(made, CAMERA)
    picture, share = np.zeros_like(made.all_in_focus), np.ones_like(made.all_in_focus[0])
    for colour, alpha in zip(colours, alphas, strict=True):
        picture += share * alpha * colour
        share = share * (1 - alpha)
    assert np.abs(picture - made.all_in_focus).max() < 1e-5


@pytest.mark.parametrize("line", ["5", "null", "true", '"x"', "[]", "{}", "{" * 3000])
def test_lines_of_the_manifest_that_are_none(line, tmp_path):
    make(tmp_path / "a")
    with (tmp_path / "a" / MANIFEST).open("a") as file:
        file.write(line + "\n")
    assert len(read_manifest(tmp_path / "a")) == 2
    assert resume(tmp_path / "a").made == 0


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("storage",), None), (("storage",), []), (("storage", "shard_size"), "2"), (("storage", "more"), 1),
        (("storage", "compression"), "gzip"), (("recipe", "samples"), float("inf")), (("recipe", "samples"), 9),
        (("recipe", "seed"), -1), (("recipe", "scenes"), []), (("recipe", "split"), "x"), (("shards",), [2**70]),
    ],
)  # fmt: skip
def test_configurations_that_are_damaged(place, value, tmp_path):
    make(tmp_path / "a")
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    config.pop("sha256")
    target = config
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    (tmp_path / "a" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match="."):
        resume(tmp_path / "a")
    with pytest.raises(ValueError, match=".") if place[0] != "storage" and value != 9 else pytest.MonkeyPatch.context():
        verify(tmp_path / "a")


def test_a_rig_goes_into_the_recipe_and_back(tmp_path):
    folder = tmp_path / "pair"
    folder.mkdir()
    synth.io.write_array(folder / "im2.png", np.full((24, 30), 99, np.uint8))
    synth.io.write_array(folder / "disp2.png", np.full((24, 30), 120, np.uint8))
    rig = synth.scenes.Stereo(focal_px=100.0, baseline_m=0.2, scale=0.25)
    recipe = make_recipe(sources_of(folder, stereo=rig), camera=CAMERA, samples=1, seed=0)
    assert np.nanmax(sample_of(recipe, 0)[0].depth_m) == pytest.approx(0.2 * 100 / 30)
    back = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert back.to_dict() == recipe.to_dict()
    assert back.sources == recipe.sources


def _orphan(root):
    from multiprocessing import get_context

    from synth.generation.workers import begin_worker

    pool = ProcessPoolExecutor(1, get_context("spawn"), begin_worker, (1, os.getpid()))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    time.sleep(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are found by /proc-like signals")
def test_workers_do_not_outlive_who_sent_them(tmp_path):
    code = "from tests.synth.dataset.test_damage import _orphan\nif __name__ == '__main__':\n    _orphan('.')\n"
    script = tmp_path / "orphan.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(100):
        try:
            os.kill(worker, 0)
            with open(f"/proc/{worker}/stat") as file:  # a zombie waits for its new parent only
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    break
        except (ProcessLookupError, FileNotFoundError):
            break
        time.sleep(0.1)
    else:
        os.kill(worker, 9)
        pytest.fail("the worker is still there")
