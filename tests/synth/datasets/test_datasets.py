"""The field's datasets, on miniature trees of the published layouts."""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurphys.colour import srgb_to_linear
from synth import datasets, io
from synth.datasets import CUHK, DPDD, LFDOF, RTF, SYNDOF, PixelDP, RealDOF
from synth.datasets._folders import natural
from tests.profiles import examples

H, W = 4, 6
SHARP = ["1P0A0918", "1P0A0919", "1P0A0924"]  # the first and third a shot after, the second a shot before the source
BLURRED = ["1P0A0917", "1P0A0920", "1P0A0922"]


def picture(seed, bits=8, channels=3, shape=(H, W)):
    white = 2**bits - 1
    values = np.random.default_rng(seed).integers(0, white, (*shape, channels), np.uint16 if bits == 16 else np.uint8)
    if channels in (2, 4):
        values[..., -1] = white
    return values


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_array(path, values, overwrite=True)
    return values


def encoded(values):
    return (values[..., :3] / np.float64(np.iinfo(values.dtype).max)).astype(np.float32).transpose(2, 0, 1)


def dpdd(root, splits=("test",)):
    for split in splits:
        for letter, view in enumerate("clr"):
            for i, name in enumerate(BLURRED):
                put(root / f"{split}_{view}" / "source" / f"{name}.png", picture(10 * letter + i, 16))
        for i, name in enumerate(SHARP):
            put(root / f"{split}_c" / "target" / f"{name}.png", picture(90 + i, 16))
    return root


def pixel_dp(root):
    for letter, view in enumerate("clr"):
        for name in ("1", "2", "10"):
            put(root / f"test_{view}" / "source" / f"{name}.png", picture(int(name) + 20 * letter, 16))
    return root


def real_dof(root):
    for i in range(3):
        put(root / "source" / f"{i:02}.png", picture(i, 16))
        put(root / "target" / f"{i:02}.png", picture(i + 50, 8))
    return root


LFDOF_INPUTS = ["IMG_0001_ap1_01", "IMG_0001_ap1_02", "IMG_0001_ap3_10", "IMG_0007_ap2_04"]


def lfdof(root, split="test"):
    for i, name in enumerate(LFDOF_INPUTS):
        put(root / f"{split}_data" / "input" / name[:8] / f"{name}.png", picture(i, channels=4 if i % 2 else 3))
    for i, name in enumerate(("IMG_0001", "IMG_0007", "IMG_0009")):
        put(root / f"{split}_data" / "ground_truth" / f"{name}.png", picture(i + 50))
    return root


def rtf(root):
    for name in ("01", "02"):
        put(root / f"image_{name}.png", picture(int(name)))
        put(root / f"sharp_{name}.png", picture(int(name) + 50))
        put(root / f"map_{name}.png", picture(int(name) + 60))
    return root


def jpeg(path, seed, shape=(H, W)):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, shape=shape)).save(path)


def cuhk(root):
    for i in (3, 12):
        jpeg(root / "image" / f"out_of_focus{i:04}.jpg", i)
        put(root / "gt" / f"out_of_focus{i:04}.png", np.where(picture(i, channels=1)[..., 0] > 99, 255, 0).astype("u1"))
        jpeg(root / "image" / f"motion{i:04}.jpg", i)
    return root


def syndof(root):
    for i, name in enumerate(("MPI_alley_f_50", "SYNTHIA_01_f_85")):
        put(root / "image" / f"{name}.png", picture(i))
        put(root / "blur_map" / f"{name}.png", np.repeat(picture(i + 50, channels=1), 3, axis=-1))
    put(root / "blur_map_norm" / "MPI_alley_f_50_norm.png", picture(0))
    return root


SETS = {  # how a tree is written, how it is read, the arrays, the names
    "DPDD": (
        dpdd,
        lambda root, **o: DPDD(root, "test", **o),
        ("all_in_focus", "combined", "left", "right"),
        tuple(BLURRED),
    ),
    "PixelDP": (pixel_dp, PixelDP, ("combined", "left", "right"), ("1", "2", "10")),
    "RealDOF": (real_dof, RealDOF, ("all_in_focus", "combined"), ("00", "01", "02")),
    "LFDOF": (lfdof, lambda root, **o: LFDOF(root, "test", **o), ("all_in_focus", "combined"), tuple(LFDOF_INPUTS)),
    "RTF": (rtf, RTF, ("all_in_focus", "combined"), ("01", "02")),
    "CUHK": (cuhk, CUHK, ("combined", "blurred_mask"), ("out_of_focus0003", "out_of_focus0012")),
    "SYNDOF": (syndof, SYNDOF, ("combined", "defocus_map"), ("MPI_alley_f_50", "SYNTHIA_01_f_85")),
}
each_set = pytest.mark.parametrize("name", SETS)
NESTED = [
    ("DPDD", "dd_dp_dataset_canon"),
    ("DPDD", "DPDD"),
    ("DPDD", "dd_dp_dataset_png"),
    ("RTF", "Ground_Truth_Data"),
    ("RTF", "RTF/Ground_Truth_Data"),
    ("CUHK", "CUHK-BD"),
    *((name, name) for name in SETS if name != "DPDD"),
]


# Laws that every set obeys


@each_set
def test_a_map_dataset(name, tmp_path):
    write, read, arrays, names = SETS[name]
    data = read(write(tmp_path))
    assert data.names == names
    assert len(data) == len(names)
    assert data.root == tmp_path
    for i, sample in enumerate(data):
        assert tuple(sample) == tuple(data.files(i)) == arrays
        for key, array in sample.items():
            assert array.shape == ((H, W) if key in ("blurred_mask", "defocus_map") else (3, H, W))
            assert array.dtype == (bool if key == "blurred_mask" else np.float32)
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert np.array_equal(array, data[i - len(data)][key])
            assert np.array_equal(array, data[np.int64(i)][key])
    for bad in (len(data), -len(data) - 1):
        with pytest.raises(IndexError, match=f"{name}: sample {bad} of {len(data)}"):
            data[bad]
        with pytest.raises(IndexError):
            data.files(bad)
    with pytest.raises(TypeError):
        data[0.5]


@each_set
def test_files_are_what_the_arrays_come_from(name, tmp_path):
    write, read, _, _ = SETS[name]
    data = read(write(tmp_path))
    for i in range(len(data)):
        files = data.files(i)
        for key, array in data[i].items():
            assert files[key].is_absolute()
            if array.ndim == 3:
                assert np.array_equal(array, io.read_image(files[key], linear=False))
        files.clear()
        assert data.files(i)


@each_set
def test_linear_light_on_demand(name, tmp_path):
    write, read, _, _ = SETS[name]
    write(tmp_path)
    stored, light = read(tmp_path)[0], read(tmp_path, linear=True)[0]
    for key, array in stored.items():
        expected = srgb_to_linear(array.astype(np.float64)) if array.ndim == 3 else array
        assert np.allclose(light[key], expected, atol=1e-6)


@each_set
def test_pickles(name, tmp_path):
    write, read, _, _ = SETS[name]
    data = read(write(tmp_path))
    twin = pickle.loads(pickle.dumps(data))
    assert twin.names == data.names
    assert repr(twin) == repr(data)
    assert all(np.array_equal(array, twin[1][key]) for key, array in data[1].items())


@each_set
def test_repr(name, tmp_path):
    write, read, arrays, names = SETS[name]
    text = repr(read(write(tmp_path)))
    assert text.startswith(f"{name}({str(tmp_path)!r}, ")
    assert text.endswith(f"linear=False): {len(names)} of {', '.join(arrays)}")


@each_set
def test_opening_reads_no_file(name, tmp_path):
    write, read, _, _ = SETS[name]
    write(tmp_path)
    for file in tmp_path.rglob("*.*"):
        file.write_bytes(b"no image")
    data = read(tmp_path)
    with pytest.raises(ValueError, match="expected a PNG, JPEG"):
        data[0]


@pytest.mark.parametrize(("name", "spelling"), NESTED)
def test_each_spelling_of_the_root(name, spelling, tmp_path, monkeypatch):
    write, read, _, names = SETS[name]
    write(tmp_path / spelling)
    for root in (tmp_path, tmp_path / spelling, str(tmp_path)):
        assert read(root).names == names
        assert read(root).root == tmp_path / spelling
    monkeypatch.chdir(tmp_path)
    assert read(".").root == tmp_path / spelling
    assert read(".").files(0)["combined"].is_absolute()


@each_set
def test_hidden_and_foreign_files_are_passed_over(name, tmp_path):
    write, read, _, names = SETS[name]
    write(tmp_path)
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        (folder / "._image_out_of_focus0003.png").write_bytes(b"from a Mac")
        (folder / "Thumbs.db").write_bytes(b"from Windows")
        (folder / ".cache").mkdir()
        put(folder / ".cache" / "IMG_0001_ap1_01.png", picture(0))
    assert read(tmp_path).names == names


@each_set
def test_roots_that_are_none(name, tmp_path):
    write, read, _, _ = SETS[name]
    with pytest.raises(FileNotFoundError, match=f"{name}: there is no folder {re.escape(str(tmp_path / 'none'))}"):
        read(tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=rf"{name}: expected .* inside it, found nothing; .* too deep or too high"
    ):
        read(tmp_path)
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="still packed"):
        read(tmp_path / "data.zip")


@pytest.mark.parametrize("name", ["DPDD", "RTF", "CUHK"])
def test_two_copies_under_one_root(name, tmp_path):
    write, read, _, _ = SETS[name]
    for spelling in [spelling for owner, spelling in NESTED if owner == name][:2]:
        write(tmp_path / spelling)
    with pytest.raises(ValueError, match=f"{name}: found 2 copies, .* and .*; give one as the root"):
        read(tmp_path)


@pytest.mark.parametrize("name", [name for name in SETS if name != "RTF"])  # whose files all lie in the root
def test_a_missing_folder_and_an_empty_one(name, tmp_path):
    write, read, arrays, _ = SETS[name]
    folder = read(write(tmp_path)).files(0)["all_in_focus" if name == "LFDOF" else arrays[-1]].parent
    for file in list(folder.iterdir()):
        file.rename(file.with_suffix(".cr2"))
    with pytest.raises(FileNotFoundError, match=rf"{name}: expected files .*png in .*{folder.name}, found .*\.cr2"):
        read(tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=f"{name}: there is no folder .*{folder.name}; .* holds "):
        read(tmp_path)


@each_set
def test_sizes_that_differ_within_a_sample(name, tmp_path):
    write, read, arrays, _ = SETS[name]
    data = read(write(tmp_path))
    first, last = (data.files(1)[array] for array in (arrays[0], arrays[-1]))
    put(last, picture(0, channels=1, shape=(W, H))[..., 0])
    assert data[0]
    pattern = rf"{name}: expected files of one size, got 4 x 6 px in {first} and 6 x 4 px in {last}; .*\?$"
    with pytest.raises(ValueError, match=pattern):
        data[1]


# Each set for itself


def test_dpdd_pairs_by_sorted_order(tmp_path):
    data = DPDD(dpdd(tmp_path), split="test")
    for i in range(3):
        files = data.files(i)
        assert files["all_in_focus"] == tmp_path / "test_c" / "target" / f"{SHARP[i]}.png"
        assert files["right"] == tmp_path / "test_r" / "source" / f"{BLURRED[i]}.png"
        sample = data[i]
        for name, seed in {"all_in_focus": 90, "combined": 0, "left": 10, "right": 20}.items():
            assert np.array_equal(sample[name], encoded(picture(seed + i, 16)))


def test_dpdd_keeps_all_sixteen_bits(tmp_path):
    data = DPDD(dpdd(tmp_path), split="test")
    levels = data[0]["left"].transpose(1, 2, 0).astype(np.float64) * 65535
    assert np.abs(levels - picture(10, 16)).max() < 0.01


def test_dpdd_splits_are_apart(tmp_path):
    dpdd(tmp_path, ("train", "val"))
    for split in ("train", "val"):
        assert all(f"{split}_" in str(file) for file in DPDD(tmp_path, split).files(0).values())
    assert len(DPDD(tmp_path)) == 3
    assert "split='train'" in repr(DPDD(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*test_c/target; .* holds train_c, train_l, train_r, val_c"
    ):
        DPDD(tmp_path, "test")
    with pytest.raises(ValueError, match="expected the split train, val or test, got 'valid'"):
        DPDD(tmp_path, "valid")


def test_views_can_be_chosen_and_the_others_missing(tmp_path):
    root = dpdd(tmp_path)
    shutil.rmtree(root / "test_r")
    shutil.rmtree(root / "test_c" / "source")
    data = DPDD(root, "test", views=["left"])
    assert list(data[0]) == ["all_in_focus", "left"]
    assert data.names == tuple(BLURRED)
    with pytest.raises(FileNotFoundError, match="no folder .*test_c/source"):
        DPDD(root, "test")
    pixels = pixel_dp(tmp_path / "PixelDP")
    assert list(PixelDP(pixels, ("right", "left"))[0]) == ["right", "left"]


@pytest.mark.parametrize("owner", [DPDD, PixelDP])
@pytest.mark.parametrize("views", ["left", (), ("left", "left"), ("middle",), ("all_in_focus",)])
def test_views_that_are_none(owner, views, tmp_path):
    with pytest.raises(ValueError, match="views among combined, left, right"):
        owner(tmp_path, views=views)


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("DPDD", f"test_l/source/{BLURRED[1]}.png", "3 in .*test_c/target, 3 in .*test_c/source, 2 in .*test_l/source"),
        ("DPDD", f"test_c/target/{SHARP[0]}.png", "2 in .*test_c/target, 3 in .*shifts all after it"),
        ("RealDOF", "source/00.png", "3 in .*target, 2 in .*source"),
        ("PixelDP", "test_r/source/10.png", "2 in .*test_r/source"),
        ("RTF", "sharp_02.png", "1 of 2 files have no partner for all_in_focus in .* the first being .*image_02.png"),
        ("RTF", "image_02.png", "1 of 2 files have no partner for combined in .* the first being .*sharp_02.png"),
        ("CUHK", "gt/out_of_focus0003.png", "no partner for blurred_mask in .*gt, .*image/out_of_focus0003.jpg"),
        ("SYNDOF", "image/MPI_alley_f_50.png", "no partner for combined in .*image, .*blur_map/MPI_alley_f_50.png"),
        ("LFDOF", "test_data/ground_truth/IMG_0007.png", "IMG_0007_ap2_04.png has no sharp image .*IMG_0007.png"),
    ],
)
def test_counts_that_do_not_match(name, lost, message, tmp_path):
    write, read, _, _ = SETS[name]
    (write(tmp_path) / lost).unlink()
    with pytest.raises(ValueError, match=rf"^{name}: .*{message}"):
        read(tmp_path)


def test_realdof_takes_the_depth_from_the_file(tmp_path):
    sample = RealDOF(real_dof(tmp_path))[1]
    assert np.array_equal(sample["combined"], encoded(picture(1, 16)))
    assert np.array_equal(sample["all_in_focus"], encoded(picture(51, 8)))


def test_lfdof_inputs_share_their_sharp_image(tmp_path):
    data = LFDOF(lfdof(tmp_path), "test")
    assert [data.files(i)["all_in_focus"].stem for i in range(4)] == 3 * ["IMG_0001"] + ["IMG_0007"]
    assert np.array_equal(data[0]["all_in_focus"], data[2]["all_in_focus"])
    assert np.array_equal(data[1]["combined"], encoded(picture(1, channels=4)))  # opaque RGBA
    with pytest.raises(FileNotFoundError, match="no folder .*train_data"):
        LFDOF(tmp_path)
    with pytest.raises(ValueError, match="expected the split train or test, got 'val'"):
        LFDOF(tmp_path, "val")


def test_lfdof_transparent_pixels_are_refused(tmp_path):
    data = LFDOF(lfdof(tmp_path), "test")
    values = picture(1, channels=4)
    values[0, 0, 3] = 254
    put(data.files(1)["combined"], values)
    with pytest.raises(ValueError, match="transparent pixels"):
        data[1]


def test_lfdof_inputs_may_lie_flat(tmp_path):
    lfdof(tmp_path)
    folder = tmp_path / "test_data" / "input"
    for file in list(folder.glob("*/*.png")):
        file.rename(folder / file.name)
    assert LFDOF(tmp_path, "test").names == tuple(LFDOF_INPUTS)
    put(folder / "IMG_0001.png", picture(0))
    with pytest.raises(ValueError, match="expected a name such as IMG_0001_ap1_02.png"):
        LFDOF(tmp_path, "test")
    for file in folder.glob("*.png"):
        file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"expected files \*.png in .*input or in the folders there, found none"
    ):
        LFDOF(tmp_path, "test")


def test_cuhk_masks(tmp_path):
    data = CUHK(cuhk(tmp_path))
    stored = io.read_array(data.files(0)["blurred_mask"])
    assert np.array_equal(data[0]["blurred_mask"], stored == 255)
    assert 0 < data[0]["blurred_mask"].mean() < 1
    levels = np.arange(24, dtype=np.uint8).reshape(H, W) + 116
    put(data.files(0)["blurred_mask"], np.dstack(3 * [levels] + [np.full_like(levels, 255)]))
    assert np.array_equal(data[0]["blurred_mask"], levels >= 128)
    put(data.files(0)["blurred_mask"], np.zeros((H, W), np.uint8))
    assert not data[0]["blurred_mask"].any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.eye(H, W, dtype=np.uint8), "got nothing above 1; was it saved as 0 and 1"),
        (picture(5), "expected a grey map, got colours"),
        (np.dstack(2 * [np.full((H, W), 7, np.uint8)]), "transparent"),
    ],
)
def test_masks_that_are_none(values, message, tmp_path):
    data = CUHK(cuhk(tmp_path))
    put(data.files(0)["blurred_mask"], values)
    with pytest.raises(ValueError, match=message):
        data[0]


def test_maps_of_floats_are_refused(tmp_path):
    data = SYNDOF(syndof(tmp_path))
    io.write_array(tmp_path / "a.pfm", np.ones((H, W), np.float32))
    shutil.copy(tmp_path / "a.pfm", data.files(0)["defocus_map"])
    with pytest.raises(ValueError, match="expected a map of uint8 or uint16, got float32"):
        data[0]


def test_cuhk_has_one_photograph_to_a_name(tmp_path):
    jpeg(cuhk(tmp_path) / "image" / "out_of_focus0003.jpeg", 3)
    with pytest.raises(ValueError, match=r"out_of_focus0003.jp.* both combined of the sample .* converted copy"):
        CUHK(tmp_path)


def test_real_cuhk_photographs(data, tmp_path):
    source = data / "cuhk_bd"
    if not source.is_dir():
        pytest.skip("the CUHK photographs are not among the real photographs")
    for file in source.glob("out_of_focus*"):
        folder = tmp_path / ("gt" if file.stem.endswith("_mask") else "image")
        folder.mkdir(exist_ok=True)
        shutil.copy(file, folder / file.name.replace("_mask", ""))
    photographs = CUHK(tmp_path)
    assert photographs.names == ("out_of_focus0504", "out_of_focus0537")
    assert [sample["combined"].shape for sample in photographs] == [(3, 512, 640), (3, 427, 640)]
    for sample in photographs:
        mask, luma = sample["blurred_mask"], sample["combined"].mean(axis=0)
        gradient = np.hypot(*np.gradient(luma))
        assert 0.1 < mask.mean() < 0.9
        assert gradient[~mask].mean() > 2 * gradient[mask].mean()  # True is where it is blurred, not where it is sharp


@pytest.mark.parametrize("bits", [8, 16])
def test_syndof_maps_are_a_tenth_of_the_integer(bits, tmp_path):
    data = SYNDOF(syndof(tmp_path))
    tenths = np.arange(24).reshape(H, W) * 3
    put(data.files(0)["defocus_map"], np.dstack(3 * [tenths]).astype(np.uint8 if bits == 8 else np.uint16))
    assert np.allclose(data[0]["defocus_map"], tenths / 10, rtol=1e-7)
    put(data.files(0)["defocus_map"], tenths.astype(np.uint8))
    assert np.allclose(data[0]["defocus_map"], tenths / 10, rtol=1e-7)


# The order of names, and the weight of the import


@examples(50)
@given(st.lists(st.integers(0, 99999), unique=True), st.sampled_from(["IMG_{}.png", "{}.png", "a{}_ap1_2.png"]))
def test_numbers_sort_by_value(numbers, pattern):
    names = sorted((pattern.format(number) for number in numbers), key=natural)
    assert names == [pattern.format(number) for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8), unique=True))
def test_any_names_have_one_order(names):
    assert sorted(names, key=natural) == sorted(reversed(names), key=natural)


@given(st.lists(st.integers(0, 9999), unique=True))
def test_names_of_equal_width_keep_their_plain_order(numbers):
    names = [f"1P0A{number:04}.png" for number in numbers]
    assert sorted(names, key=natural) == sorted(names)


def test_importing_brings_no_heavy_library():
    code = "import sys, synth.datasets; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "h5py", "scipy", "PIL", "skimage"} & set(result.stdout.split())


def test_a_loader_takes_them_as_they_are(tmp_path):
    from torch.utils.data import DataLoader

    batch = next(iter(DataLoader(DPDD(dpdd(tmp_path), "test"), batch_size=3)))
    assert {name: tuple(array.shape) for name, array in batch.items()} == {
        name: (3, 3, H, W) for name in ("all_in_focus", "combined", "left", "right")
    }


def test_all_names_are_there():
    assert set(datasets.__all__) == {*SETS, "FolderDataset", "Pairs"}
    assert Path(datasets.__file__).parent.name == "datasets"
