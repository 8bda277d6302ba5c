"""Folders of shards: whatever stops or damages them, resuming ends at the arrays of an uninterrupted run."""

import concurrent.futures
import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import blurphys as bp
import synth
from blurphys.files.locking import BusyError, locked
from synth import Camera, Scene
from synth.dataset import shards
from synth.dataset import writer as _writing
from synth.dataset.beginning import LOCK
from synth.dataset.config import Storage
from synth.dataset.manifest import MANIFEST, read_manifest, rebuild
from synth.dataset.merging import difference, merge
from synth.dataset.schema import CONFIG, FIELDS, VIRTUAL
from synth.dataset.verify import check_shard
from synth.generation.run import resume
from synth.generation.verify import verify
from synth.noise import ShotReadNoise

SAMPLES, SHARD, H, W = 5, 2, 24, 30
SHARDS = ["shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]
SQUARE = np.ones((16, 16))  # a coarse pupil, so that its PSFs cost little
CAMERA = Camera(
    lens=bp.ThinLens(focal_length_mm=50, f_number=4, focus_distance_m=1, pixel_pitch_um=46.875),
    pupil=bp.Pupil.measured(SQUARE, split=0.3),
    noise=ShotReadNoise(1e-3, 1e-6),
    max_radius=3.0,
    step=1.0,
    focus_range_m=(0.8, 1.5),
    f_number_range=(4, 8),
    gain_range=(0.5, 2),
)
not_the_superuser = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may write everywhere"
)


def scene(name="made", seed=0, height=H, width=W):
    rng = np.random.default_rng(seed)
    depth = np.broadcast_to(np.linspace(0.75, 3, width), (height, width)).copy()
    depth[3:6, 4:8] = np.nan
    return Scene(all_in_focus=rng.random((3, height, width)).astype(np.float32), depth_m=depth, name=name)


SCENES = [scene("one", 1), scene("two", 2)]


def make(path, **options):
    chosen = {
        "scenes": SCENES, "samples": SAMPLES, "seed": 11, "camera": CAMERA, "shard_size": SHARD, "compression": None,
        "model": "gather", "max_clamped": None, **options,
    }  # fmt: skip
    return synth.generate(chosen.pop("scenes"), path, **chosen)


def samples_of(path):
    """Arrays and parameters of each sample; the latter under names of their own, as there are two of `left`."""
    with synth.open(path) as data:
        return [
            {**data[i], **{f"parameters/{name}": value for name, value in data.parameters(i).items()}}
            for i in range(len(data))
        ]


def equal(first, second):
    return len(first) == len(second) and all(
        set(a) == set(b) and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
        for a, b in zip(first, second, strict=True)
    )


def shard_bytes(folder):
    return [(folder / name).read_bytes() for name in SHARDS]


def never(*_):
    raise AssertionError("a sample was rendered")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted dataset; tests copy it before they hurt it."""
    folder = tmp_path_factory.mktemp("shards") / "data"
    make(folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "data"))


# ---- layout ---------------------------------------------------------------------------------------------------------


def test_the_folder_and_its_configuration(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {CONFIG, MANIFEST, VIRTUAL, ".lock", *SHARDS}
    config = json.loads((whole / CONFIG).read_text())
    assert config["shards"] == [2, 2, 1]
    assert config["recipe"]["seed"] == 11
    assert config["storage"] == {"compression": None, "dtype": "float32", "shard_size": SHARD, "max_clamped": None}
    lines = read_manifest(whole)
    assert [line["name"] for line in lines] == SHARDS
    assert [line["samples"] for line in lines] == [2, 2, 1]
    assert [line["bytes"] for line in lines] == [len(blob) for blob in shard_bytes(whole)]
    assert [line["digest"] for line in lines] == [check_shard(whole / name) for name in SHARDS]


def test_each_shard_is_a_dataset_of_its_own(whole):
    stored = samples_of(whole)
    assert len(stored) == SAMPLES
    assert [sample["parameters/sample"] for sample in stored] == list(range(SAMPLES))
    assert [sample["parameters/scene"] for sample in stored] == [0, 1, 0, 1, 0]
    assert equal(stored, [sample for name in SHARDS for sample in samples_of(whole / name)])


def test_the_configuration_comes_first_and_shards_only_when_they_are_whole(tmp_path):
    seen = []

    def look(index, sample):
        seen.append(sorted(re.sub(r"\.[0-9a-f]{8}\.", ".", p.name) for p in (tmp_path / "a").iterdir()))

    make(tmp_path / "a", on_sample=look)
    assert seen[0] == [".lock", CONFIG, "shard-00000.h5.part"]
    assert seen[1] == seen[0]
    assert seen[2] == seen[3] == [".lock", CONFIG, MANIFEST, "shard-00000.h5", "shard-00001.h5.part"]


@pytest.mark.parametrize(
    ("samples", "size", "counts"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 1, [1, 1, 1]), (3, 256, [3])]
)
def test_counts(samples, size, counts):
    assert Storage(shard_size=size).counts(samples) == counts


def test_a_sample_depends_neither_on_their_number_nor_on_the_shards(whole, tmp_path):
    make(tmp_path / "more", samples=7, shard_size=3)
    make(tmp_path / "one.h5")
    stored = samples_of(whole)
    assert equal(stored, samples_of(tmp_path / "more")[:SAMPLES])
    assert equal(stored, samples_of(tmp_path / "one.h5"))


# ---- resuming -------------------------------------------------------------------------------------------------------


def flipped(path, place=0.6):
    blob = bytearray(path.read_bytes())
    blob[int(place * len(blob))] ^= 0x10
    path.write_bytes(bytes(blob))


def truncated(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def shortened_manifest(folder):
    """Cut in the middle of the last line, as a power cut leaves it."""
    truncated(folder / MANIFEST, 0.9)


def noisy_manifest(folder):
    lines = (folder / MANIFEST).read_bytes().splitlines()
    lines[1] = lines[1].replace(b'"samples": 2', b'"samples": 9')
    (folder / MANIFEST).write_bytes(b"\n".join([b"\xff\xfe not JSON", *lines, b"{}", b"[1]"]))


HURTS = {
    "middle removed": (lambda d: (d / SHARDS[1]).unlink(), [1], 0),
    "one cut short": (lambda d: truncated(d / SHARDS[1]), [1], 1),
    "one empty": (lambda d: truncated(d / SHARDS[2], 0), [2], 1),
    "one bit": (lambda d: flipped(d / SHARDS[0]), [0], 1),
    "no HDF5": (lambda d: (d / SHARDS[1]).write_text("lost"), [1], 1),
    "wrong number of samples": (lambda d: shutil.copy(d / SHARDS[0], d / SHARDS[2]), [2], 1),
    "another in its place": (lambda d: shutil.copy(d / SHARDS[0], d / SHARDS[1]), [1], 1),
    "manifest removed": (lambda d: (d / MANIFEST).unlink(), [], 0),
    "manifest cut short": (shortened_manifest, [], 0),
    "manifest with other lines": (noisy_manifest, [], 0),
    "virtual file cut short": (lambda d: truncated(d / VIRTUAL), [], 0),
    "everything but the configuration": (lambda d: [p.unlink() for p in d.iterdir() if p.name != CONFIG], [0, 1, 2], 0),
    "leftovers": (lambda d: [(d / f"{name}.part").write_text("half") for name in (*SHARDS, "shard-00009.h5")], [], 0),
}


@pytest.mark.parametrize("name", HURTS)
def test_resuming_ends_where_an_uninterrupted_run_does(name, whole, copy):
    hurt, remade, _ = HURTS[name]
    hurt(copy)
    made = []
    report = make(copy, on_sample=lambda index, sample: made.append(index))
    assert made == [index for index in range(SAMPLES) if index // SHARD in remade]
    assert report.made == len(made)
    assert report.samples == SAMPLES
    assert equal(samples_of(copy), samples_of(whole))
    assert shard_bytes(copy) == shard_bytes(whole)
    assert (copy / VIRTUAL).read_bytes() == (whole / VIRTUAL).read_bytes()
    assert read_manifest(copy) == read_manifest(whole)
    assert not list(copy.glob("*.part"))


@pytest.mark.parametrize("name", ["middle removed", "one bit", "another in its place", "manifest removed", "leftovers"])
def test_resuming_without_the_scenes_tells_what_it_lacks(name, copy):
    """Scenes in memory are in no file, so only what is whole goes on; what is not is named first."""
    hurt, remade, complaints = HURTS[name]
    hurt(copy)
    told = []
    if remade:
        with pytest.raises(ValueError, match="was given in memory and is in no file"):
            synth.resume(copy, on_damage=told.append)
    else:
        assert synth.resume(copy, on_damage=told.append).made == 0
    assert len(told) == complaints
    if told:
        assert SHARDS[remade[0]] in told[0]
        assert told[0].endswith("it is made again")


def test_a_finished_dataset_is_left_as_it_is(whole, copy):
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name.startswith("shard")}
    manifest = (copy / MANIFEST).read_bytes()
    first = make(copy, on_sample=never)
    again = synth.resume(copy)
    for report in (first, again):
        assert (report.samples, report.made) == (SAMPLES, 0)
        assert f"({SAMPLES} of them existed already)" in str(report)
    assert before == {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name.startswith("shard")}
    assert (copy / MANIFEST).read_bytes() == manifest
    assert first.clamped_share == again.clamped_share > 0
    assert first.radius_range == again.radius_range


def test_the_report_of_a_resumed_dataset_is_that_of_the_whole(whole, copy, tmp_path):
    fresh = make(tmp_path / "fresh")
    (copy / SHARDS[1]).unlink()
    resumed = make(copy)
    assert resumed.made == SHARD
    for field in ("samples", "clamped_share", "unknown_share", "radius_range"):
        assert getattr(resumed, field) == getattr(fresh, field), field


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_an_interruption_keeps_what_was_published(stop, whole, tmp_path):
    def interrupt(index, sample):
        if index == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a", on_sample=interrupt)
    there = sorted(path.name for path in (tmp_path / "a").glob("shard*"))
    assert there == SHARDS[: stop // SHARD]
    assert [line["name"] for line in read_manifest(tmp_path / "a")] == there
    made = []
    make(tmp_path / "a", on_sample=lambda index, sample: made.append(index))
    assert made == list(range(stop // SHARD * SHARD, SAMPLES))
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)


def test_a_full_disk_keeps_the_published_shards(whole, tmp_path, monkeypatch):
    put, written = _writing._Stream._put, 0

    def limited(self, view):
        nonlocal written
        written += len(view)
        if written > 1.5 * (whole / SHARDS[0]).stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(self, view)

    with monkeypatch.context() as patch:
        patch.setattr(_writing._Stream, "_put", limited)
        with pytest.raises(OSError, match=r"shard-00001\.h5: the disk is full; the shards published before are intact"):
            make(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").glob("shard*")] == SHARDS[:1]
    make(tmp_path / "a")
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)


WRITES = {
    "mkdir": (Path, "mkdir"),
    "create": (os, "open"),
    "text": (Path, "write_text"),
    "file": (Path, "open"),
    "hdf5": (_writing._Stream, "_put"),
    "fsync": (os, "fsync"),
    "rename": (os, "replace"),
}


@contextlib.contextmanager
def full_disk(monkeypatch, kind, stop):
    """Let the `stop`-th write of a kind and all after it meet a full disk; yields how many there were."""
    owner, name = WRITES[kind]
    real, count = getattr(owner, name), [0]

    def limited(*arguments, **options):
        reads = kind in ("file", "create") and not any(
            (isinstance(a, str) and set(a) & set("wa+")) or (type(a) is int and a & os.O_CREAT) for a in arguments
        )
        if not reads:
            count[0] += 1
            if count[0] >= stop:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, limited)
        yield count


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("above", ["", "first; second"])
def test_what_a_full_disk_leaves_is_what_is_said(above, kind, tmp_path, monkeypatch):
    tmp_path /= above
    tmp_path.mkdir(exist_ok=True)

    def run():
        make(tmp_path / "a", samples=2, shard_size=1)

    with full_disk(monkeypatch, kind, 10**9) as count:
        run()
    whole = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    shutil.rmtree(tmp_path / "a")
    assert count[0] > 0
    for stop in sorted({*range(1, min(count[0], 6) + 1), count[0] // 2 + 1, count[0]}):
        with (
            full_disk(monkeypatch, kind, stop),
            pytest.raises(OSError, match="^could not .*: the disk is full; ") as said,
        ):
            run()
        left = [path.name for path in tmp_path.rglob("*")]
        if "nothing was left behind" in str(said.value):
            assert left == [], (stop, str(said.value))
        else:
            shards = len([name for name in left if name.startswith("shard-")])
            assert shards > 0 and f"resume {tmp_path / 'a'}" in str(said.value)
            assert re.search(rf"are intact \({shards} of them\)|all {shards} shards are intact", str(said.value))
            assert not [name for name in left if name.endswith(".part")]
            run()
            assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == whole
            shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_complete_read_only_folder_is_resumed_by_looking_at_it(copy, monkeypatch, code):
    """The superuser may write everywhere, so that the system's refusal is played."""
    opened, before = Path.open, {path.name: path.read_bytes() for path in copy.iterdir()}

    def refusing(self, mode="r", *arguments, **options):
        if set(mode) & set("wa+"):
            raise OSError(code, os.strerror(code), str(self))
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    report = resume(copy)
    assert (report.samples, report.made) == (SAMPLES, 0)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    (copy / SHARDS[1]).unlink()
    told = rf"cannot write to {copy}: the folder is read-only, and 1 of its 3 shards .*{SHARDS[1]}"
    with pytest.raises(OSError, match=told):
        resume(copy)


def test_a_finished_folder_has_no_remains_of_killed_workers(tmp_path):
    """A worker of an executor is killed, another one makes its shard: half a file stays until the end, no longer."""

    class Killed:
        def submit(self, function, folder, number, *arguments):
            (Path(folder) / f"shard-{number:05d}.0123abcd.h5.part").write_text("half")
            value = function(folder, number, *arguments)
            return type("Future", (), {"done": lambda self: True, "result": lambda self: value})()

    make(tmp_path / "a", executor=Killed())
    assert {path.name for path in (tmp_path / "a").iterdir()} == {CONFIG, MANIFEST, VIRTUAL, ".lock", *SHARDS}


def test_a_killed_worker_process_is_named_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    class Pool(ThreadPoolExecutor):
        def __init__(self, workers, **options):
            super().__init__(workers)

        def submit(self, function, folder, number, *arguments):
            if number == 0:
                return super().submit(function, folder, number, *arguments)
            (Path(folder) / f"shard-{number:05d}.0123abcd.h5.part").write_text("half")
            raise BrokenProcessPool("a process was terminated abruptly")

    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Pool)
    told = rf"a worker process was killed .*`blurphys synth resume {tmp_path / 'a'}` continues it"
    with pytest.raises(ChildProcessError, match=told):
        make(tmp_path / "a", workers=2)
    assert (tmp_path / "a" / CONFIG).is_file()
    assert not list((tmp_path / "a").glob("*.part"))


class Cluster:
    """Stands for a dask client: its class is of that package, and its futures raise what dask's do."""

    __module__ = "distributed.client"

    def __init__(self, error):
        self.error, self.scheduler = error, type("Scheduler", (), {"address": "tcp://host:8786"})

    def submit(self, function, folder, number, *arguments, pure):
        def result(future):
            if number == 1:
                raise self.error
            return function(folder, number, *arguments)

        return type("Future", (), {"done": lambda self: True, "result": result})()


class KilledWorker(Exception):  # noqa: N818, the name is dask's
    __module__ = "distributed.scheduler"
    last_worker = type("Worker", (), {"address": "tcp://node:1234"})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (concurrent.futures.CancelledError("lost"), "the dask scheduler at tcp://host:8786 does not answer any more"),
        (ConnectionResetError(), "the dask scheduler at tcp://host:8786 does not answer any more"),
        (TimeoutError(), "does not answer any more"),
        (KilledWorker("shard"), "a dask worker at tcp://node:1234 was killed"),
    ],
)
def test_what_died_of_a_cluster_is_named_with_the_command_that_goes_on(error, told, tmp_path, whole):
    resuming = rf"`blurphys synth resume {tmp_path / 'a'} --scheduler tcp://host:8786` continues it"
    with pytest.raises(ConnectionError, match=rf"{told}.*{resuming}"):
        make(tmp_path / "a", executor=Cluster(error))
    make(tmp_path / "a")
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)


def test_an_error_of_the_work_on_a_cluster_stays_what_it_is(tmp_path):
    with pytest.raises(ValueError, match="^the scene is bad$"):
        make(tmp_path / "a", executor=Cluster(ValueError("the scene is bad")))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seed": 12}, "recipe.seed"),
        ({"samples": 6}, "recipe.samples"),
        ({"shard_size": 3}, "shards"),
        ({"split": "val"}, "recipe.split"),
        ({"views": ("left", "right")}, "recipe.views"),
        ({"invalid": "far"}, "recipe.invalid"),
        ({"model": "layered"}, "recipe.model"),
        ({"slabs": 12}, "recipe.slabs"),
        ({"size": (20, 20)}, r"recipe.size\[0\]"),
        ({"dtype": "float16"}, "storage.dtype"),
        ({"camera": replace(CAMERA, max_radius=2.5)}, "recipe.camera.max_radius"),
        ({"camera": replace(CAMERA, pupil=bp.Pupil.measured(SQUARE, split=0.2))}, "recipe.camera.pupil.split"),
        ({"camera": replace(CAMERA, gain_range=(0.5, 3))}, r"recipe.camera.gain_range\[1\]"),
        ({"camera": replace(CAMERA, gain_range=None)}, "recipe.camera.gain_range"),
        ({"scenes": [scene("one", 1), scene("two", 3)]}, r"recipe.scenes\[1\].digest"),
        ({"scenes": [scene("one", 1), scene("Two", 2)]}, r"recipe.scenes\[1\].name"),
        ({"scenes": [*SCENES, scene("three", 3)]}, "recipe.scenes"),
    ],
)
def test_other_arguments_are_refused_and_named(options, field, copy, whole):
    with pytest.raises(ValueError, match=rf"was begun with another {field} \(.* there, .* now\); resume it") as caught:
        make(copy, on_sample=never, **options)
    assert "\n" not in str(caught.value)
    assert shard_bytes(copy) == shard_bytes(whole)


def test_targets_that_are_refused(copy, whole, tmp_path):
    with pytest.raises(FileExistsError, match="is a dataset already"):
        make(copy, resume=False, on_sample=never)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="exists and is not a dataset"):
        make(tmp_path / "used", on_sample=never)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["precious"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="exists"):
        make(tmp_path / "file", on_sample=never)
    assert (tmp_path / "file").read_text() == "x"
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        make(tmp_path / "no" / "such", on_sample=never)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        synth.resume(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=r"there is no config\.json in"):
        synth.resume(tmp_path / "used")
    (tmp_path / "empty").mkdir()
    assert make(tmp_path / "empty", samples=1).made == 1


@not_the_superuser
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="cannot write to .*permission denied"):
            make(tmp_path / "a", on_sample=never)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": 0}, "shard_size >= 1"),
        ({"dtype": "float64"}, "expected dtype"),
        ({"workers": 0}, "workers .* 1, got 0"),
        ({"max_clamped": 1.5}, "max_clamped .* 0 and .* 1, got 1.5"),
        ({"samples": 0}, "samples .* 1, got 0"),
    ],
)
def test_bad_arguments_leave_nothing_behind(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_a_newer_version_is_never_touched(copy):
    """It may hold what this version cannot read; resuming says so instead of making it again."""
    with h5py.File(copy / SHARDS[1], "r+") as raw:
        raw.attrs["version"] = 2
    (copy / SHARDS[0]).unlink()
    before = (copy / SHARDS[1]).read_bytes()
    for run in (lambda: make(copy, on_sample=never), lambda: make(copy, workers=2)):
        with pytest.raises(ValueError, match=r"shard-00001\.h5: expected version 1 of the format, got 2; it is left"):
            run()
    assert (copy / SHARDS[1]).read_bytes() == before
    assert not (copy / SHARDS[0]).exists()
    assert [verdict.whole for verdict in verify(copy)] == [False, False, True]


def test_too_much_clamping_stops_and_less_goes_on(tmp_path):
    share = make(tmp_path / "free").clamped_share
    assert 0.01 < share < 0.9
    with pytest.raises(ValueError, match=r"% of the pixels of known depth will be clamped .*, more than the 1\.0% a"):
        make(tmp_path / "a", max_clamped=0.01)
    assert not (tmp_path / "a").exists()
    with pytest.MonkeyPatch.context() as patch:  # where it shows only while rendering
        patch.setattr("synth.generation.run.check_foreseen", lambda recipe, limit: None)
        with pytest.raises(ValueError, match=r"% of the pixels of known depth were clamped"):
            make(tmp_path / "a", max_clamped=0.01)
    assert len(list((tmp_path / "a").glob("shard*"))) < len(SHARDS)
    with pytest.raises(ValueError, match="were clamped"):  # the limit is stored: without the scenes in memory, too
        make(tmp_path / "a", max_clamped=json.loads((tmp_path / "a" / CONFIG).read_text())["storage"]["max_clamped"])
    report = make(tmp_path / "a", max_clamped=1.0)  # the limit is no part of the data
    assert json.loads((tmp_path / "a" / CONFIG).read_text())["storage"]["max_clamped"] == 1.0
    assert report.clamped_share == share
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "free")


# ---- who makes them -------------------------------------------------------------------------------------------------


def test_any_executor_gives_the_same_bytes_and_counts(whole, tmp_path):
    counted = []
    with ThreadPoolExecutor(3) as pool:
        report = make(
            tmp_path / "a", executor=pool, on_progress=lambda done, total, clamped: counted.append((done, total))
        )
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)
    assert (tmp_path / "a" / VIRTUAL).read_bytes() == (whole / VIRTUAL).read_bytes()
    assert read_manifest(tmp_path / "a") == read_manifest(whole)
    assert report.made == SAMPLES
    assert counted[0] == (0, SAMPLES)
    assert counted[-1] == (SAMPLES, SAMPLES)
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)


def test_two_spawned_workers_give_the_same_bytes(whole, tmp_path):
    report = make(tmp_path / "a", workers=2)
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)
    assert read_manifest(tmp_path / "a") == read_manifest(whole)
    assert report.made == SAMPLES


def test_an_executor_makes_only_what_is_missing(whole, copy):
    asked = []

    class Now:
        """Works at once, in this thread."""

        def submit(self, function, folder, number, *arguments):
            asked.append(number)
            value = function(folder, number, *arguments)
            return type("Future", (), {"done": lambda self: True, "result": lambda self: value})()

    (copy / SHARDS[1]).unlink()
    assert make(copy, executor=Now()).made == SHARD
    assert asked == [1]
    assert shard_bytes(copy) == shard_bytes(whole)


def test_an_error_in_a_worker_is_raised_and_keeps_the_rest(whole, tmp_path):
    class Failing:
        def submit(self, function, folder, number, *arguments):
            error = OSError(errno.ENOSPC, "full") if number == 1 else None
            if error is None:
                value = function(folder, number, *arguments)

            def result(self):
                if error is not None:
                    raise error
                return value

            return type("Future", (), {"done": lambda self: True, "result": result})()

    with pytest.raises(OSError, match="full"):
        make(tmp_path / "a", executor=Failing())
    make(tmp_path / "a")
    assert shard_bytes(tmp_path / "a") == shard_bytes(whole)


def test_progress_counts_each_sample_and_what_was_there(copy):
    (copy / SHARDS[1]).unlink()
    told = []
    make(copy, on_progress=lambda *counts: told.append(counts))
    assert [done for done, _, _ in told] == [3, 4, 5]
    assert {total for _, total, _ in told} == {SAMPLES}
    parameters = [sample["parameters/clamped_pixels"] for sample in samples_of(copy)]
    assert told[-1][2] == sum(parameters)
    assert told[0][2] == sum(parameters[:2] + parameters[4:])


def test_a_second_process_is_refused(copy):
    fcntl = pytest.importorskip("fcntl")
    script = f"""
        import fcntl, sys
        with open({str(copy / ".lock")!r}, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            print("locked", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    (copy / "shard-00001.h5.part").write_text("of the other process")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        for run in (lambda: make(copy, on_sample=never), lambda: synth.resume(copy)):
            with pytest.raises(ValueError, match="another process is making this dataset"):
                run()
        assert (copy / "shard-00001.h5.part").exists()
        other.kill()
    assert other.returncode
    assert make(copy).made == 0  # the lock went with the process
    with (copy / ".lock").open("a") as file:  # and ours with the call
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_loser_of_a_race_leaves_the_winners_folder(tmp_path, monkeypatch):
    """One process writes the configuration, another takes the lock before it does."""
    pytest.importorskip("fcntl")
    begin, winner = shards.begin, contextlib.ExitStack()

    def overtaken(root, *arguments):
        new = begin(root, *arguments)
        winner.enter_context(locked(root / LOCK, "the winner's"))
        return new

    monkeypatch.setattr(shards, "begin", overtaken)
    with winner, pytest.raises(BusyError, match="another process is making this dataset"):
        make(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {CONFIG, LOCK}
    monkeypatch.undo()
    assert make(tmp_path / "a").made == SAMPLES


# ---- looking after --------------------------------------------------------------------------------------------------


def test_verify_names_what_is_not_whole(copy):
    assert all(verdict.whole for verdict in verify(copy))
    truncated(copy / SHARDS[0])
    (copy / SHARDS[2]).unlink()
    told = []
    verdicts = verify(copy, on_progress=lambda *counts: told.append(counts))
    assert [verdict.whole for verdict in verdicts] == [False, True, False]
    assert [verdict.name for verdict in verdicts] == SHARDS
    assert SHARDS[0] in verdicts[0].problem
    assert verdicts[2].problem == "missing"
    assert told == [(1, 3), (2, 3), (3, 3)]
    make(copy)
    assert all(verdict.whole for verdict in verify(copy))


def test_no_flipped_bit_of_an_array_is_read_silently(copy, whole):
    """A shard with one bit of its arrays changed is refused."""
    truth, blob = samples_of(whole)[:SHARD], (whole / SHARDS[0]).read_bytes()
    rng = np.random.default_rng(5)
    places = []
    with h5py.File(whole / SHARDS[0]) as raw:
        for name in (x for x in FIELDS if x in raw):
            info = raw[name].id.get_chunk_info(1)
            places += list(info.byte_offset + rng.integers(info.size, size=6))
    refused = 0
    for place in places:
        changed = bytearray(blob)
        changed[place] ^= 1 << int(rng.integers(8))
        (copy / SHARDS[0]).write_bytes(bytes(changed))
        try:
            read = samples_of(copy / SHARDS[0])
        except ValueError as error:
            assert SHARDS[0] in str(error)
            refused += 1
        else:
            assert equal(read, truth), place
    assert refused == len(places)


def test_the_manifest_is_rebuilt_from_the_shards(copy, whole):
    (copy / MANIFEST).write_text("nothing\n")
    assert read_manifest(copy) == []
    assert rebuild(copy) == len(SHARDS)
    assert read_manifest(copy) == read_manifest(whole)
    (copy / SHARDS[1]).unlink()
    assert rebuild(copy) == 2
    assert [line["shard"] for line in read_manifest(copy)] == [0, 2]


def test_a_damaged_line_is_left_out_and_a_later_one_counts(copy):
    lines = (copy / MANIFEST).read_text().splitlines()
    first = json.loads(lines[0])
    assert first["crc32"] != first["samples"]
    (copy / MANIFEST).write_text("\n".join([lines[0].replace('"samples": 2', '"samples": 3'), *lines[1:]]))
    assert [line["shard"] for line in read_manifest(copy)] == [1, 2]
    (copy / MANIFEST).write_text("\n".join([*lines, lines[1]]))
    assert [line["shard"] for line in read_manifest(copy)] == [0, 1, 2]
    (copy / MANIFEST).unlink()
    assert read_manifest(copy) == []


def test_the_virtual_file_shows_the_same_to_plain_hdf5(whole):
    stored = samples_of(whole)
    with h5py.File(whole / VIRTUAL) as raw, h5py.File(whole / SHARDS[0]) as first:
        assert set(raw) == set(first)
        assert set(first.attrs) <= set(raw.attrs)
        for key, value in first.attrs.items():
            assert raw.attrs[key] == value, key
        for name in (x for x in FIELDS if x in raw):
            assert raw[name].is_virtual
            assert raw[name].shape == (SAMPLES, *first[name].shape[1:])
            assert raw[name].dtype == first[name].dtype
            assert dict(raw[name].attrs) == dict(first[name].attrs)
            for index, sample in enumerate(stored):
                assert np.array_equal(raw[name][index], sample[name], equal_nan=True), (name, index)
        for name in first["parameters"]:
            assert [sample[f"parameters/{name}"] for sample in stored] == list(raw["parameters"][name])
        for name in first["crc32"]:
            assert raw["crc32"][name].shape == (SAMPLES,)


def test_the_virtual_file_moves_with_its_folder(copy, whole, tmp_path):
    moved = copy.rename(tmp_path / "run_elsewhere")
    with h5py.File(moved / VIRTUAL) as raw:
        assert np.array_equal(raw["left"][4], samples_of(whole)[4]["left"])


def test_merging_puts_datasets_behind_each_other(whole, tmp_path):
    make(tmp_path / "b", scenes=[scene("three", 3)], samples=3, seed=4)
    assert merge([whole, tmp_path / "b"], tmp_path / "both") == SAMPLES + 3
    both = samples_of(tmp_path / "both")
    assert equal(both, samples_of(whole) + samples_of(tmp_path / "b"))
    assert all(verdict.whole for verdict in verify(tmp_path / "both"))
    assert len(read_manifest(tmp_path / "both")) == 5
    assert not list(tmp_path.glob("*.part"))
    with h5py.File(tmp_path / "both" / VIRTUAL) as raw:
        assert np.array_equal(raw["left"][6], both[6]["left"])
    with synth.open(tmp_path / "both") as data, synth.open(tmp_path / "b") as b:
        assert data.camera(6).to_dict() == b.camera(1).to_dict()
    make(tmp_path / "c", scenes=[scene("four", 4)], samples=2, seed=5)
    merge([tmp_path / "both", tmp_path / "c"], tmp_path / "three")
    assert equal(samples_of(tmp_path / "three")[8:], samples_of(tmp_path / "c"))


def test_merging_refuses_what_does_not_fit(whole, copy, tmp_path):
    make(tmp_path / "views", samples=1, views=("combined",))
    make(tmp_path / "small", samples=1, size=(20, 20))
    make(tmp_path / "half", samples=1, dtype="float16")
    for other, told in (
        ("views", "it lacks left, right; make both with the same --views"),
        ("small", "its samples have 20 x 20 px, those of the other 24 x 30; make both with one --size"),
        ("half", "it stores all_in_focus in float16, the other in float32; make both with one --dtype"),
    ):
        with pytest.raises(ValueError, match=f"{other} does not fit .*: {told}"):
            merge([whole, tmp_path / other], tmp_path / "out")
    with pytest.raises(ValueError, match="at least two"):
        merge([whole], tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        merge([whole, tmp_path / "no"], tmp_path / "out")
    with pytest.raises(FileExistsError, match="name a new folder"):
        merge([whole, copy], tmp_path / "half")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        merge([whole, copy], tmp_path / "no" / "out")
    flipped(copy / SHARDS[1])
    with pytest.raises(ValueError, match=rf"{SHARDS[1]}.*; repair it first"):
        merge([whole, copy], tmp_path / "out")
    (copy / SHARDS[1]).unlink()
    with pytest.raises(ValueError, match=f"{SHARDS[1]} is missing; resume it first"):
        merge([whole, copy], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.part"))


def test_differences_are_told_array_by_array(whole, copy, tmp_path):
    assert difference(whole, copy) == []
    make(tmp_path / "seed", seed=12)
    found = difference(whole, tmp_path / "seed")
    assert any(line.startswith("configuration: seed (12 there, 11 now)") for line in found)
    assert any("sample 0: left differs by up to" in line for line in found)
    assert any("sample 0: f_number is" in line for line in found)
    make(tmp_path / "few", samples=2)
    found = difference(whole, tmp_path / "few")
    assert found[0].startswith(f"5 samples in {whole}, 2 in")
    assert not any("sample 0" in line for line in found)
    make(tmp_path / "views", views=("combined",), samples=1)
    assert "arrays" in difference(whole, tmp_path / "views")[1]
    assert len(difference(whole, tmp_path / "seed", limit=3)) == 4


@pytest.mark.parametrize("model", ["gather", "layered"])
def test_a_sample_of_a_folder_is_replayed(model, tmp_path):
    scenes = [scene("one", 1, 30, 40), scene("two", 2, 30, 40)]
    make(tmp_path / "a", scenes=scenes, size=(20, 22), model=model, samples=3)
    stored = samples_of(tmp_path / "a")
    for index in (0, 1, 2, -1):
        again = synth.replay(tmp_path / "a", index, scenes[stored[index]["parameters/scene"]])
        assert again.model == model
        for name, array in again.arrays.items():
            kept = stored[index][name]
            assert np.array_equal(kept, array.astype(kept.dtype), equal_nan=True), (index, name)
    with pytest.raises(ValueError, match="expected the scene two"):
        synth.replay(tmp_path / "a", 1, scenes[0])
