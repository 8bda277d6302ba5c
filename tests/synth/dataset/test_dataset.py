"""The HDF5 file: schema, atomic writing, plain reading, and training from several processes."""

import errno
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

import synth
from synth.dataset import writer as _writing
from synth.dataset.schema import FORMAT, VERSION
from synth.dataset.writer import writing

N, H, W = 5, 20, 28
CONFIGURATION = {"camera": {"pupil": {"angle": 0.0}}, "seed": 0}
NAMES = ("all_in_focus", "combined", "left", "right", "defocus_map", "depth_m", "valid")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def arrays(index, shape=(H, W)):
    rng = np.random.default_rng(index)
    images = {name: rng.random((3, *shape)).astype(np.float32) for name in NAMES[:4]}
    maps = {name: rng.normal(size=shape).astype(np.float32) for name in NAMES[4:6]}
    maps["depth_m"][0, :3] = np.nan
    return {**images, **maps, "valid": rng.random(shape) < 0.9}


def write(path, *, samples=N, shape=(H, W), names=NAMES, configuration=CONFIGURATION, **options):
    with writing(path, samples=samples, shape=shape, names=names, configuration=configuration, seed=3, **options) as w:
        for i in range(samples):
            w.write(i, arrays(i, shape), {"scene": i % 2, "f_number": 2.0 + i})
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("dataset") / "data.h5")


@pytest.mark.parametrize("compression", [None, 1, 4])
@pytest.mark.parametrize("shape", [(H, W), (300, 520)])
def test_round_trip(tmp_path, compression, shape):
    path = write(tmp_path / "a.h5", samples=2, shape=shape, compression=compression)
    with synth.open(path) as data:
        assert len(data) == 2
        assert data.shape == shape
        for i, sample in enumerate(data):
            expected = arrays(i, shape)
            assert list(sample) == list(NAMES)
            for name, array in sample.items():
                assert np.array_equal(array, expected[name], equal_nan=True), name
                assert array.dtype == (bool if name == "valid" else np.float32)
        assert np.array_equal(data[-1]["left"], data[1]["left"])
        assert data.parameters(1) == {"scene": 1, "f_number": 3.0}
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_file_explains_itself(file):
    with h5py.File(file) as raw:
        assert raw.attrs["format"].decode() == FORMAT
        assert raw.attrs["version"] == VERSION == 1
        assert raw.attrs["transfer_function"].decode() == "linear"
        assert raw.attrs["model"].decode() == "gather"
        assert "positive behind" in raw.attrs["defocus_convention"].decode()
        assert "combined = (left + right) / 2" in raw.attrs["view_normalisation"].decode()  # trap 12
        assert raw.attrs["seed"] == 3
        assert json.loads(raw.attrs["configuration"]) == CONFIGURATION
        assert "blurphys" in raw.attrs["generator"].decode()
        for name in NAMES:
            assert raw[name].fletcher32
            assert {"axes", "units", "description"} <= set(raw[name].attrs)
            assert raw[name].shape == ((N, 3, H, W) if name in NAMES[:4] else (N, H, W))
        assert raw["defocus_map"].attrs["units"].decode() == "px"
        assert raw["depth_m"].attrs["units"].decode() == "m"


def test_equal_content_gives_equal_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_float16(tmp_path):
    path = write(tmp_path / "a.h5", dtype="float16")
    with synth.open(path) as data:
        assert data[0]["left"].dtype == np.float32
        assert np.array_equal(data[0]["left"], arrays(0)["left"].astype(np.float16))
        assert np.array_equal(data[0]["depth_m"], arrays(0)["depth_m"], equal_nan=True)
    with (
        pytest.raises(ValueError, match="more than float16 holds"),
        writing(
            tmp_path / "b.h5", samples=1, shape=(2, 2), names=("left",), configuration={}, seed=0, dtype="float16"
        ) as w,
    ):
        w.write(0, {"left": np.full((3, 2, 2), 1e5)}, {})
    assert not (tmp_path / "b.h5").exists()


def test_a_configuration_larger_than_old_attributes_allow(tmp_path):
    long = {**CONFIGURATION, "note": "x" * 200_000}
    with synth.open(write(tmp_path / "a.h5", configuration=long)) as data:
        assert data.configuration == long


def test_crops_equal_slices_and_read_only_their_chunks(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", samples=1, shape=(600, 700))
    with synth.open(path) as data:
        whole = data[0]
        part = data.read(0, window=(270, 300, 100, 90), names=("left", "valid"))
        assert list(part) == ["left", "valid"]
        assert np.array_equal(part["left"], whole["left"][:, 270:370, 300:390])
    with h5py.File(path, "r+") as raw:  # damage a chunk far away from the crop
        info = raw["left"].id.get_chunk_info_by_coord((0, 0, 512, 512))
        place = info.byte_offset + info.size // 2
    blob = bytearray(path.read_bytes())
    blob[place] ^= 0xFF
    path.write_bytes(bytes(blob))
    with synth.open(path) as data:
        assert np.array_equal(data.read(0, window=(270, 300, 100, 90))["left"], part["left"])
        with pytest.raises(ValueError, match="sample 0 is damaged: left"):
            data[0]


def test_bad_reads(file):
    with synth.open(file) as data:
        for index in (N, -N - 1):
            with pytest.raises(IndexError, match=f"sample {index} of {N}"):
                data[index]
        with pytest.raises(ValueError, match="expected names among all_in_focus"):
            data.read(0, names=("middle",))
        for window in ((0, 0, H + 1, 2), (-1, 0, 2, 2), (0, 0, 0, 2)):
            with pytest.raises(ValueError, match="expected a window"):
                data.read(0, window=window)


def test_files_that_are_no_dataset(tmp_path, file):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        synth.open(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="expected an HDF5 file"):
        synth.open(tmp_path / "text.h5")
    (tmp_path / "short.h5").write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match="whole and closed"):
        synth.open(tmp_path / "short.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="expected a file of format"):
        synth.open(tmp_path / "other.h5")
    for change, message in (
        (lambda raw: raw.attrs.__setitem__("version", 2), "expected version 1"),
        (lambda raw: raw.attrs.__delitem__("version"), "not a readable dataset"),
        (lambda raw: raw.__delitem__("defocus_map"), "not a readable dataset"),
        (lambda raw: raw.__delitem__("parameters"), "not a readable dataset"),
        (lambda raw: raw.__delitem__("valid"), None),
        (lambda raw: (raw.__delitem__("left"), raw.create_dataset("left", data=np.zeros(2))), "dataset left has shape"),
        (lambda raw: raw.attrs.__setitem__("configuration", "{"), "not a readable dataset"),
    ):
        (tmp_path / "changed.h5").write_bytes(file.read_bytes())
        with h5py.File(tmp_path / "changed.h5", "r+") as raw:
            change(raw)
        if message is None:
            with synth.open(tmp_path / "changed.h5") as data:
                assert "valid" not in data[0]
            continue
        with pytest.raises(ValueError, match=message):
            synth.open(tmp_path / "changed.h5")


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = write(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(path)
    assert path.read_bytes() == before
    write(path, overwrite=True, samples=2)
    with synth.open(path) as data:
        assert len(data) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "at least one sample"),
        ({"shape": (0, 4)}, "at least one sample"),
        ({"names": ("left", "middle")}, "middle"),
        ({"dtype": "float64"}, "float32"),
    ],
)
def test_bad_files_are_not_begun(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sample", "parameters", "message"),
    [
        ({"left": np.zeros((3, 2, 2))}, {}, r"array left of shape \(3, 20, 28\), got one of shape"),
        ({"left": None}, {}, "got none"),
        ({}, {"other": 1}, "expected parameters"),
    ],
)
def test_bad_samples_leave_nothing_behind(tmp_path, sample, parameters, message):
    given = {k: v for k, v in {**arrays(1), **sample}.items() if v is not None}
    with (
        pytest.raises(ValueError, match=message),
        writing(tmp_path / "a.h5", samples=2, shape=(H, W), names=NAMES, configuration={}, seed=0) as w,
    ):
        w.write(0, arrays(0), {"scene": 0})
        w.write(1, given, parameters or {"scene": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_sample_is_an_error(tmp_path):
    with (
        pytest.raises(ValueError, match="1 of 2 samples were never written, first 1"),
        writing(tmp_path / "a.h5", samples=2, shape=(H, W), names=NAMES, configuration={}, seed=0) as w,
    ):
        w.write(0, arrays(0), {"scene": 0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("compression", "limit"), [(None, 500), (1, 30_000), (None, 200_000)])
def test_a_full_disk_leaves_nothing_behind(tmp_path, compression, limit):
    """A limit on the size of files stands for the full disk: the first write fails, or a later one."""
    script = f"""
        import resource
        import numpy as np
        from synth.dataset.writer import writing
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            with writing(
                {str(tmp_path / "a.h5")!r}, samples=30, shape=(40, 50), names=("left",), configuration={{}}, seed=0,
                compression={compression},
            ) as w:
                for i in range(30):
                    w.write(i, {{"left": np.random.default_rng(i).random((3, 40, 50))}}, {{"scene": i}})
        except OSError as error:
            print("OSError", error)
    """
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("OSError could not write")
    assert "nothing was left behind" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5")
    before = path.read_bytes()

    def refuse(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_writing._Stream, "_put", refuse)
    with pytest.raises(OSError, match="the disk is full; nothing was left behind"):
        write(path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_in_any_write_of_hdf5_leaves_nothing_behind(tmp_path, monkeypatch):
    """HDF5 calls back into Python for every write; whatever is raised there is raised again, and nothing appears."""
    put, count, stop = _writing._Stream._put, 0, 0

    def interrupted(self, data):
        nonlocal count
        count += 1
        if count == stop:
            raise KeyboardInterrupt
        return put(self, data)

    monkeypatch.setattr(_writing._Stream, "_put", interrupted)
    write(tmp_path / "whole.h5", samples=2)
    (tmp_path / "whole.h5").unlink()
    total = count
    assert total > 10
    for stop in range(1, total + 1):
        count = 0
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.h5", samples=2)
        assert list(tmp_path.iterdir()) == [], f"write {stop} of {total}"


@pytest.mark.parametrize("method", ["seek", "readinto", "truncate", "tell"])
def test_callbacks_keep_their_errors_for_later(tmp_path, method):
    stream = _writing._Stream(tmp_path / "a")
    stream._file.close()  # every call fails from here on
    arguments = {"seek": (0,), "readinto": (bytearray(4),), "truncate": (0,), "tell": ()}
    assert getattr(stream, method)(*arguments[method]) == 0
    with pytest.raises(ValueError, match="closed file"):
        stream.check()


@pytest.mark.parametrize("signal_at", [1, 5, 20, "last"])
def test_ctrl_c_while_hdf5_writes_is_exit_code_130_without_a_trace(tmp_path, signal_at):
    """A real signal in the middle of a call of HDF5, in a program of its own: a crash at its end would show here."""
    script = f"""
        import os, signal, sys
        from synth.dataset import writer as _writing
        from blurphys.cli import main
        signal.signal(signal.SIGINT, signal.default_int_handler)
        put, close, count = _writing._Stream._put, _writing._Stream.close, 0

        def interrupted(self, data):
            global count
            count += 1
            if count == {signal_at!r}:
                os.kill(os.getpid(), signal.SIGINT)
            return put(self, data)

        def interrupted_close(self):
            if {signal_at!r} == "last":
                os.kill(os.getpid(), signal.SIGINT)
            close(self)

        _writing._Stream._put, _writing._Stream.close = interrupted, interrupted_close
        sys.argv = ["blurphys", "blur", "--image", "rgb.png", "--depth", "depth.png", "--depth-unit", "mm",
                    "--max-radius", "2", "--out", "a.h5"]
        main()
    """
    synth.io.write_image(tmp_path / "rgb.png", np.random.default_rng(0).random((3, 40, 56)))
    synth.io.write_array(tmp_path / "depth.png", np.full((40, 56), 1500, np.uint16) + np.arange(56, dtype=np.uint16))
    before = set(tmp_path.iterdir())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=environment)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "blurphys blur: interrupted\n"
    assert "wrote" not in done.stdout
    assert set(tmp_path.iterdir()) == before


def test_items_are_whole_samples(file):
    dataset = synth.Dataset(file)
    assert len(dataset) == N
    for i in (0, -1):
        for name, array in dataset[i].items():
            assert np.array_equal(array, arrays(range(N)[i])[name], equal_nan=True)
    for index in (N, -N - 1):
        with pytest.raises(IndexError):
            dataset[index]


def test_the_plain_crop_is_the_middle(file):
    item = synth.Dataset(file, crop=(6, 8), seed=9)[2]
    assert np.array_equal(item["left"], arrays(2)["left"][:, 7:13, 10:18])
    assert synth.Dataset(file, crop=7)[0]["valid"].shape == (7, 7)


def test_augmentation_depends_on_seed_epoch_and_index_alone(file):
    def items(seed, epoch, order):
        dataset = synth.Dataset(file, crop=9, augment=True, seed=seed)
        dataset.set_epoch(epoch)
        found = {i: dataset[i]["left"] for i in order}
        return np.stack([found[i] for i in range(N)])

    first = items(1, 0, range(N))
    assert np.array_equal(first, items(1, 0, [3, 1, 4, 0, 2]))
    assert not np.array_equal(first, items(2, 0, range(N)))
    assert not np.array_equal(first, items(1, 1, range(N)))


def test_mirroring_moves_all_arrays_alike_and_exchanges_the_views(file):
    """Each item must be one of the four mirror images of one place, the same for all arrays."""
    dataset = synth.Dataset(file, crop=(6, 8), augment=True)
    seen = set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        for i in range(N):
            item, truth = dataset[i], arrays(i)
            found = [
                (top, left, up, across)
                for top in range(H - 5)
                for left in range(W - 7)
                for up in (1, -1)
                for across in (1, -1)
                if np.array_equal(
                    truth["defocus_map"][top : top + 6, left : left + 8][::up, ::across], item["defocus_map"]
                )
            ]
            assert len(found) == 1
            ((top, left, up, across),) = found
            seen.add((up, across))
            for name in NAMES:
                source = {"left": "right", "right": "left"}.get(name, name) if across == -1 else name
                cut = truth[source][..., top : top + 6, left : left + 8][..., ::up, ::across]
                assert np.array_equal(cut, item[name], equal_nan=True), name
    assert len(seen) == 4


QUAD_PIXEL = ("top_left", "top_right", "bottom_left", "bottom_right")


@pytest.mark.parametrize(
    ("views", "angle", "across", "down"),
    [
        (("left", "right"), 45.0, None, None),  # the mirror image of left would look down
        (("left", "right"), 90.0, "same", "opposite"),
        (("left", "right"), 180.0, "opposite", "same"),
        (("top", "bottom"), 0.0, "same", "opposite"),
        (("top", "bottom"), -90.0, "opposite", "same"),
        (QUAD_PIXEL, 0.0, "right", "bottom"),
        (QUAD_PIXEL, 45.0, ("top_right", "bottom_left"), ("top_left", "bottom_right")),
        (QUAD_PIXEL, 30.0, None, None),
    ],
)
def test_mirroring_exchanges_views_of_any_direction(tmp_path, views, angle, across, down):
    names = ("all_in_focus", *views, "defocus_map", "depth_m", "valid")
    stored = {**arrays(0), **{name: arrays(n + 1)["left"] for n, name in enumerate(views)}}
    configuration = {"camera": {"pupil": {"angle": angle}}}
    with writing(
        tmp_path / "a.h5", samples=1, shape=(H, W), names=names, configuration=configuration, seed=0
    ) as writer:
        writer.write(0, stored, {"scene": 0})
    dataset = synth.Dataset(tmp_path / "a.h5", augment=True)
    seen = set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        item = dataset[0]
        rows, columns = (
            next(step for step in (1, -1) if np.array_equal(item["valid"].sum(axis), stored["valid"].sum(axis)[::step]))
            for axis in (1, 0)
        )
        seen.add((rows, columns))
        for name in views:
            source = name
            for step, rule in ((columns, across), (rows, down)):
                source = _mirror_image(source, views, rule) if step == -1 else source
            assert np.array_equal(item[name], stored[source][:, ::rows, ::columns]), (name, rows, columns)
    steps = [(1,) if rule is None else (1, -1) for rule in (down, across)]
    assert seen == {(rows, columns) for rows in steps[0] for columns in steps[1]}


def _mirror_image(name, views, rule):
    if rule == "same":
        return name
    if rule == "opposite":
        return views[1 - views.index(name)]
    exchange = {"right": ("left", "right"), "bottom": ("top", "bottom")}
    if isinstance(rule, tuple):  # turned by 45 degrees two quarters look along each axis
        return rule[1 - rule.index(name)] if name in rule else name
    one, other = exchange[rule]
    return name.replace(one, "#").replace(other, one).replace("#", other)


def test_alpha_masks_are_shares_in_steps_of_a_255th(tmp_path):
    alpha = np.random.default_rng(0).random((2, H, W)).astype(np.float32)
    names = (*NAMES, "alpha")
    with writing(
        tmp_path / "a.h5", samples=1, shape=(H, W), names=names, configuration=CONFIGURATION, seed=0, layers=2
    ) as writer:
        writer.write(0, {**arrays(0), "alpha": alpha}, {"scene": 0})
    with h5py.File(tmp_path / "a.h5") as raw:
        assert (raw["alpha"].shape, raw["alpha"].dtype) == ((1, 2, H, W), np.uint8)
    with synth.open(tmp_path / "a.h5") as data:
        assert data[0]["alpha"].dtype == np.float32
        assert np.abs(data[0]["alpha"] - alpha).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(data.read(0, window=(2, 3, 5, 6))["alpha"], data[0]["alpha"][:, 2:7, 3:9])


@pytest.mark.parametrize("crop", [True, 5.5, (5.7, 5), (3, 3, 3), "9", (True, 2), ()])
def test_crops_that_are_no_size(file, crop):
    with pytest.raises(TypeError, match="Dataset: expected crop as a whole number, or height and width, got "):
        synth.Dataset(file, crop=crop)


def test_crops_in_numbers_of_numpy(file):
    for crop in (np.int64(7), np.array([7, 7]), [np.uint8(7), 7]):
        assert synth.Dataset(file, crop=crop).crop == (7, 7)


@pytest.mark.parametrize("crop", [0, 21, (20, 29), (-1, 4)])
def test_bad_crops(file, crop):
    with pytest.raises(ValueError, match="crop of at most 20 x 28"):
        synth.Dataset(file, crop=crop)


def test_missing_files_are_named_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        synth.Dataset(tmp_path / "none.h5")


def test_pickling_drops_the_handle(file):
    dataset = synth.Dataset(file, crop=9, augment=True, seed=4)
    dataset.set_epoch(2)
    before = dataset[1]
    copy = pickle.loads(pickle.dumps(dataset))
    for name, array in copy[1].items():
        assert np.array_equal(array, before[name], equal_nan=True)


@pytest.mark.parametrize(("start", "used"), [("fork", False), ("fork", True), ("spawn", True)])
def test_workers_give_what_one_process_gives(file, start, used):
    """`used` opens the file before the workers start, so that a fork inherits an open handle."""
    dataset = synth.Dataset(file, crop=9, augment=True, seed=4)
    dataset.set_epoch(3)
    expected = synth.Dataset(file, crop=9, augment=True, seed=4)
    expected.set_epoch(3)
    truth = [expected[i] for i in range(N)]
    if used:
        dataset[0]
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    for name in NAMES:
        stacked = np.concatenate([batch[name].numpy() for batch in batches])
        assert np.array_equal(stacked, np.stack([item[name] for item in truth]), equal_nan=True), name
    assert np.array_equal(dataset[0]["left"], truth[0]["left"])
