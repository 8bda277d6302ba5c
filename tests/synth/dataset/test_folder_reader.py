"""A folder of shards read as one dataset: its length never changes, and damage is named, not skipped."""

import json
import multiprocessing
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import synth
from synth.dataset import folder as module
from synth.dataset.config import read_config
from synth.dataset.folder import FolderReader
from synth.dataset.reader import Reader
from synth.dataset.schema import CONFIG, FOLDER_FORMAT, FOLDER_VERSION, VIRTUAL, shard_name
from synth.dataset.writer import writing

COUNTS, H, W = [2, 1, 3, 2], 24, 30
N = sum(COUNTS)
NAMES = ("all_in_focus", "combined", "left", "right", "defocus_map", "depth_m", "valid")
SHARD_OF = [number for number, count in enumerate(COUNTS) for _ in range(count)]
CONFIGURATION = {"camera": {"pupil": {"angle": 0.0}}, "seed": 0}
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def arrays(index, shape=(H, W)):
    rng = np.random.default_rng(index)
    images = {name: rng.random((3, *shape)).astype(np.float32) for name in NAMES[:4]}
    maps = {name: rng.normal(size=shape).astype(np.float32) for name in NAMES[4:6]}
    maps["depth_m"][0, :3] = np.nan
    return {**images, **maps, "valid": rng.random(shape) < 0.9}


def write(folder, *, counts=COUNTS, shape=(H, W), configuration=CONFIGURATION):
    """Make a folder as `synth.generate` leaves it, of known arrays."""
    folder.mkdir()
    config = {
        "format": FOLDER_FORMAT, "version": FOLDER_VERSION, "generator": "a test", "recipe": {}, "storage": {},
        "shards": list(counts),
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config))
    index = 0
    for number, count in enumerate(counts):
        with writing(
            folder / shard_name(number), samples=count, shape=shape, names=NAMES, configuration=configuration, seed=3,
            compression=None,
        ) as writer:  # fmt: skip
            for row in range(count):
                writer.write(row, arrays(index, shape), {"sample": index, "f_number": 2.0 + index})
                index += 1
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("folder") / "data")


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "data"))


def equal(item, index):
    truth = arrays(index)
    return set(item) == set(truth) and all(np.array_equal(item[n], truth[n], equal_nan=True) for n in truth)


def edit(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps(config))


# ---- reading --------------------------------------------------------------------------------------------------------


def test_all_shards_appear_as_one(folder):
    with synth.open(folder) as data:
        assert isinstance(data, FolderReader)
        assert len(data) == N
        assert data.shape == (H, W)
        assert data.names == NAMES
        assert data.configuration == CONFIGURATION
        assert data.attrs["transfer_function"] == "linear"
        assert data.stored_dtype("left") == np.float32
        for index in range(N):
            assert equal(data[index], index)
            assert equal(data[index - N], index)
            assert data.parameters(index) == {"sample": index, "f_number": 2.0 + index}
        assert all(equal(item, index) for index, item in enumerate(data))
        part = data.read(4, names=("valid", "left"), window=(2, 3, 5, 7))
        assert list(part) == ["valid", "left"]
        assert np.array_equal(part["left"], arrays(4)["left"][:, 2:7, 3:10])
        for index in (N, -N - 1):
            with pytest.raises(IndexError, match=f"sample {index} of {N}"):
                data[index]
            with pytest.raises(IndexError):
                data.parameters(index)


def test_a_closed_reader_opens_again(folder):
    data = synth.open(folder)
    data.close()
    assert equal(data[6], 6)
    data.close()


def test_few_shards_are_open_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 2)
    with synth.open(folder) as data:
        for index in (0, 7, 2, 3, 0, 5, 7, 1):
            assert equal(data[index], index)
            assert len(data._readers) <= 2


def test_the_virtual_file_of_a_folder_is_the_folder(copy):
    (copy / VIRTUAL).write_bytes(b"")
    with synth.open(copy / VIRTUAL) as data:
        assert len(data) == N
        assert equal(data[7], 7)
    with synth.open(copy / shard_name(1)) as data:
        assert isinstance(data, Reader)
        assert len(data) == COUNTS[1]


@pytest.mark.parametrize("kind", ["folder", "file", "training", "published"])
def test_what_is_no_number_of_a_sample_is_said(folder, kind, tmp_path):
    for name in ("image_7.png", "sharp_7.png", "image_8.png", "sharp_8.png"):
        synth.io.write_image(tmp_path / name, np.zeros((3, 4, 5)))
    makers = {
        "folder": lambda: synth.open(folder), "file": lambda: synth.open(folder / shard_name(0)),
        "training": lambda: synth.Dataset(folder), "published": lambda: synth.datasets.RTF(tmp_path),
    }  # fmt: skip
    data = makers[kind]()
    name = "all_in_focus"
    for index in (np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), 1 - len(data), np.int8(1 - len(data))):
        assert np.array_equal(data[index][name], data[1][name])
    for index, hint in (
        ("left", r"data\[0\]\['left'\]"), (slice(0, 2), "Subset"), (slice(None), "for i in range"), (1.0, "got 1.0"),
        (True, "got True"), (np.bool_(True), "True"), (None, "got None"), ([0, 1], r"got \[0, 1\]"),
        ((0, "left"), "a part of a sample"), (np.float64(1), "1.0"), (..., "got Ellipsis"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"expected the number of a sample, 0 to {len(data) - 1}, got.*") as said:
            data[index]
        assert re.search(hint, str(said.value)), str(said.value)
    for index in (len(data), -len(data) - 1, np.int64(99)):
        with pytest.raises(IndexError, match=f"sample {index} of {len(data)}"):
            data[index]


# ---- damage ---------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """Change one byte of the first pixels."""
    import h5py

    with h5py.File(path) as raw:
        info = raw["all_in_focus"].id.get_chunk_info(0)
    blob = bytearray(path.read_bytes())
    blob[info.byte_offset + 100] ^= 1
    path.write_bytes(bytes(blob))


HURTS = {
    "removed": lambda path: path.unlink(),
    "cut short": cut,
    "empty": lambda path: path.write_bytes(b""),
    "no HDF5": lambda path: path.write_text("lost"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "one bit": flip,
}


@pytest.mark.parametrize("number", range(len(COUNTS)))
@pytest.mark.parametrize("name", HURTS)
def test_the_length_never_changes_and_a_damaged_shard_is_named(name, number, copy):
    HURTS[name](copy / shard_name(number))
    with synth.open(copy) as data:
        assert len(data) == N
        for index in range(N):
            if SHARD_OF[index] != number:
                assert equal(data[index], index)
                assert data.parameters(index)["sample"] == index
            elif name != "one bit" or index == SHARD_OF.index(number):
                with pytest.raises(ValueError, match=shard_name(number)) as caught:
                    data[index]
                assert "\n" not in str(caught.value)
    assert len(synth.Dataset(copy)) == N


def test_a_missing_shard_says_how_to_make_it(copy):
    (copy / shard_name(2)).unlink()
    with (
        synth.open(copy) as data,
        pytest.raises(ValueError, match=r"is not there; `blurphys synth resume .*` makes it"),
    ):
        data[4]


def test_a_shard_with_another_number_of_samples(copy):
    shutil.copy(copy / shard_name(0), copy / shard_name(2))
    with synth.open(copy) as data:
        assert len(data) == N
        with pytest.raises(ValueError, match=r"shard-00002\.h5: expected 3 samples, got 2"):
            data[3]
        assert equal(data[7], 7)


def test_a_shard_that_goes_away_and_comes_back(copy):
    data = synth.open(copy)
    kept = (copy / shard_name(1)).rename(copy / "aside")
    with pytest.raises(ValueError, match=shard_name(1)):
        data[2]
    kept.rename(copy / shard_name(1))
    assert equal(data[2], 2)
    data.close()


def test_a_folder_without_a_readable_shard(copy):
    for number in range(1, len(COUNTS)):
        (copy / shard_name(number)).unlink()
    (copy / shard_name(0)).write_text("lost")
    with pytest.raises(ValueError, match=r"shard-00000\.h5: expected an HDF5 file"):
        synth.open(copy)
    (copy / shard_name(0)).unlink()
    with pytest.raises(ValueError, match="shard"):
        synth.open(copy)


# ---- the configuration ----------------------------------------------------------------------------------------------


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no f"):
        synth.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_config(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected a dataset, but there is no config\.json in .*empty"):
        synth.open(tmp_path / "empty")


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.5, [1]])
def test_another_version_of_the_folder_is_refused(version, copy):
    edit(copy, version=version)
    with pytest.raises(ValueError, match="expected version 1 of the format"):
        synth.open(copy)


def test_another_version_of_a_shard_is_refused_and_the_others_read_on(copy):
    import h5py

    with h5py.File(copy / shard_name(1), "r+") as raw:
        raw.attrs["version"] = 2
    with synth.open(copy) as data:
        with pytest.raises(ValueError, match=r"shard-00001\.h5: .*expected version 1 of the format, got 2"):
            data[2]
        assert equal(data[3], 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"}, {"format": None}, {"shards": []}, {"shards": [2, 0]}, {"shards": [2, -1]},
        {"shards": [2.0]}, {"shards": "22"}, {"shards": 5}, {"shards": None}, {"shards": [True]}, {"shards": {"a": 1}},
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense(changes, copy):
    edit(copy, **changes)
    with pytest.raises(ValueError, match=r"config\.json: not a readable configuration") as caught:
        synth.open(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["format", "version", "shards", "recipe", "storage"])
def test_configurations_that_lack_a_field(missing, copy):
    config = json.loads((copy / CONFIG).read_text())
    del config[missing]
    (copy / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match="not a readable configuration"):
        read_config(copy)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"5", b'"text"', b"[]", b"\xff\xfe\x00", b"[" * 100_000, b"{}", b"\0" * 64]
)
def test_configurations_that_are_no_json(content, copy):
    (copy / CONFIG).write_bytes(content)
    with pytest.raises(ValueError, match="not a readable configuration"):
        read_config(copy)


def test_each_byte_of_a_configuration_may_be_lost(copy):
    """Only typed errors, whatever is cut off or changed."""
    blob = (copy / CONFIG).read_bytes()
    rng = np.random.default_rng(0)
    for place in range(0, len(blob), 2):
        for changed in (
            blob[:place],
            blob[:place] + blob[place + 1 :],
            blob[:place] + bytes(rng.integers(256, size=1, dtype=np.uint8)) + blob[place + 1 :],
        ):
            (copy / CONFIG).write_bytes(changed)
            try:
                config = read_config(copy)
            except ValueError:
                continue
            assert config["format"] == FOLDER_FORMAT
            assert all(count > 0 for count in config["shards"])


# ---- training -------------------------------------------------------------------------------------------------------


def test_items_and_crops_of_a_folder(folder):
    dataset = synth.Dataset(folder)
    assert len(dataset) == N
    assert all(equal(dataset[index], index % N) for index in (0, 2, 5, -1))
    item = synth.Dataset(folder, crop=(6, 8))[3]
    for name, array in arrays(3).items():
        assert np.array_equal(item[name], array[..., 9:15, 11:19], equal_nan=True), name
    with pytest.raises(IndexError):
        dataset[N]
    with pytest.raises(ValueError, match="crop of at most 24 x 30"):
        synth.Dataset(folder, crop=25)


def test_crops_read_only_their_chunks(tmp_path):
    """A crop is right although another chunk of the same sample is damaged."""
    import h5py

    folder = write(tmp_path / "large", counts=[1, 1], shape=(560, 600))
    path = folder / shard_name(1)
    with h5py.File(path) as raw:
        info = raw["left"].id.get_chunk_info_by_coord((0, 0, 512, 512))
    blob = bytearray(path.read_bytes())
    blob[info.byte_offset + info.size // 2] ^= 0xFF
    path.write_bytes(bytes(blob))
    with synth.open(folder) as data:
        assert np.array_equal(
            data.read(1, window=(100, 90, 300, 200))["left"], arrays(1, (560, 600))["left"][:, 100:400, 90:290]
        )
        with pytest.raises(ValueError, match=r"shard-00001\.h5: sample 0 is damaged: left"):
            data[1]
    assert np.array_equal(synth.Dataset(folder, crop=16)[1]["left"], arrays(1, (560, 600))["left"][:, 272:288, 292:308])


def test_the_augmentation_is_that_of_one_file(folder, tmp_path):
    """What is drawn depends on the index in the whole, not on the shard."""
    one = tmp_path / "one.h5"
    with writing(one, samples=N, shape=(H, W), names=NAMES, configuration=CONFIGURATION, seed=3) as writer:
        for index in range(N):
            writer.write(index, arrays(index), {"sample": index})
    first, second = (synth.Dataset(path, crop=9, augment=True, seed=4) for path in (folder, one))
    for epoch in range(3):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        for index in (7, 0, 3, 2):
            for name, array in first[index].items():
                assert np.array_equal(array, second[index][name], equal_nan=True)


def test_a_dataset_travels_by_pickle(folder):
    dataset = synth.Dataset(folder, crop=9, augment=True, seed=2)
    dataset.set_epoch(3)
    before = dataset[5]["left"]
    again = pickle.loads(pickle.dumps(dataset))
    assert (again.path, again.epoch, len(again)) == (dataset.path, 3, N)
    assert np.array_equal(again[5]["left"], before)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_dataset_crosses_a_fork(folder):
    dataset = synth.Dataset(folder)
    assert equal(dataset[0], 0)
    opened = dataset._reader()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child():
        queue.put((dataset._reader() is not opened, [equal(dataset[index], index) for index in range(N)]))

    process = context.Process(target=child)
    process.start()
    assert queue.get() == (True, [True] * N)
    process.join(30)
    assert process.exitcode == 0
    assert dataset._reader() is opened
    assert equal(dataset[7], 7)


def test_a_loader_with_two_workers(folder):
    dataset = synth.Dataset(folder, crop=(8, 10))
    assert len(dataset[0]) == len(NAMES)  # opened before the workers begin
    batches = list(DataLoader(dataset, batch_size=3, num_workers=2))
    assert [len(batch["left"]) for batch in batches] == [3, 3, 2]
    seen = np.concatenate([batch["right"].numpy() for batch in batches])
    assert np.array_equal(seen, np.stack([dataset[index]["right"] for index in range(N)]))


def test_a_damaged_shard_stops_a_loader_with_its_name(copy):
    (copy / shard_name(2)).unlink()
    with pytest.raises(ValueError, match=shard_name(2)):
        list(DataLoader(synth.Dataset(copy), batch_size=2, num_workers=1))
