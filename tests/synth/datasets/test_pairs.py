"""Blurred and sharp pictures of one's own: matched by name in every layout, or one sentence."""

import pickle
import unicodedata

import numpy as np
import pytest
import tifffile
from PIL import Image

import synth
from blurphys.colour import linear_to_srgb, srgb_to_linear
from synth import io
from synth.datasets import Pairs

SIZE = (5, 8)


def picture(seed, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random((*SIZE, 3)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (*SIZE, 3)).astype(dtype)


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, values, photometric="rgb")
    elif path.suffix == ".png":
        io.write_array(path, values, overwrite=True)
    else:
        Image.fromarray(values).save(path, quality=95)
    return path


LAYOUTS = {
    "folders": ("blurred/{}.png", "sharp/{}.png"),
    "other words": ("Input/{}.jpg", "GT/{}.png"),
    "words twice": ("blur/{}_blur.png", "target/sharp-{}.tiff"),
    "endings": ("{}_blurred.png", "{}_sharp.tif"),
    "beginnings": ("defocused_{}.jpeg", "in_focus_{}.PNG"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout, tmp_path):
    for number in (10, 2):
        for seed, pattern in enumerate(LAYOUTS[layout]):
            file = tmp_path / pattern.format(f"leaf{number}").replace(".PNG", ".png")
            put(file, picture(10 * number + seed)).rename(tmp_path / pattern.format(f"leaf{number}"))
    assert Pairs.lie_in(tmp_path)
    data = Pairs(tmp_path)
    assert data.names == ("leaf2", "leaf10")
    for sample, number in zip(data, (2, 10), strict=True):
        assert list(sample) == ["all_in_focus", "combined"]
        for name, seed in (("combined", 0), ("all_in_focus", 1)):
            expected = picture(10 * number + seed).transpose(2, 0, 1) / 255
            lossy = name == "combined" and LAYOUTS[layout][0].endswith(("jpg", "jpeg"))
            assert sample[name].dtype == np.float32
            np.testing.assert_allclose(sample[name], expected, atol=1.0 if lossy else 1e-7)
    assert pickle.loads(pickle.dumps(data)).names == data.names


def test_named_folders_and_splits(tmp_path):
    for split in ("train", "val"):
        for kind in ("f2", "f16"):
            put(tmp_path / split / kind / "a.png", picture(0))
    assert Pairs(tmp_path, "val", blurred="f2", sharp="f16").names == ("a",)
    put(tmp_path / "train" / "blurred" / "b.png", picture(0))
    put(tmp_path / "train" / "sharp" / "b.png", picture(1))
    assert Pairs(tmp_path, "train").names == ("b",)
    with pytest.raises(FileNotFoundError, match="there are pairs in train: name one as the split"):
        Pairs(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*test for the split"):
        Pairs(tmp_path, "test")


def test_what_the_numbers_mean(tmp_path):
    """Each file is taken at its word; an encoding that is said holds for all."""
    light = picture(1, np.float32)
    put(tmp_path / "blurred" / "a.png", picture(0, np.uint16))
    put(tmp_path / "sharp" / "a.tif", light)
    encoded, linear = Pairs(tmp_path)[0], Pairs(tmp_path, linear=True)[0]
    stored = picture(0, np.uint16).transpose(2, 0, 1) / 65535
    np.testing.assert_allclose(encoded["combined"], stored, atol=1e-6)
    np.testing.assert_allclose(encoded["all_in_focus"], linear_to_srgb(light.transpose(2, 0, 1)), atol=1e-6)
    np.testing.assert_allclose(linear["combined"], srgb_to_linear(stored), atol=1e-6)
    np.testing.assert_allclose(linear["all_in_focus"], light.transpose(2, 0, 1), atol=1e-6)
    said = Pairs(tmp_path, linear=True, encoding="linear")[0]
    np.testing.assert_allclose(said["combined"], stored, atol=1e-6)


def test_a_sharp_picture_is_turned_with_a_blurred_one(tmp_path):
    (tmp_path / "blurred").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0)).save(tmp_path / "blurred" / "a.jpg", exif=exif)
    put(tmp_path / "sharp" / "a.png", picture(1))
    sample = Pairs(tmp_path)[0]
    assert np.array_equal(np.rint(sample["all_in_focus"] * 255), np.rot90(picture(1), -1).transpose(2, 0, 1))
    assert sample["combined"].shape == sample["all_in_focus"].shape == (3, 8, 5)


def test_orientations_that_are_not_certain_are_said_once(tmp_path):
    (tmp_path / "blurred").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in ("a", "b", "c"):
        Image.fromarray(picture(0)).save(tmp_path / "blurred" / f"{name}.jpg", exif=exif)
        put(tmp_path / "sharp" / f"{name}.png", picture(1))
    with pytest.warns(io.PictureWarning, match=r"upside down, and so were 2 more$") as raised:
        data = Pairs(tmp_path)
    assert len(raised) == 1
    assert np.array_equal(np.rint(data[1]["all_in_focus"] * 255), picture(1)[::-1, ::-1].transpose(2, 0, 1))


def spoiled(tmp_path, how):
    for name in ("a", "b"):
        put(tmp_path / "blurred" / f"{name}.png", picture(0))
        put(tmp_path / "sharp" / f"{name}.png", picture(1))
    if how == "lonely":
        (tmp_path / "sharp" / "b.png").unlink()
    elif how == "two of a name":
        put(tmp_path / "sharp" / "b.jpg", picture(1))
    elif how == "size":
        put(tmp_path / "sharp" / "b.png", picture(1)[:4])
    elif how == "two folders":
        put(tmp_path / "gt" / "a.png", picture(0))
    elif how == "empty folder":
        for file in (tmp_path / "sharp").iterdir():
            file.unlink()
    elif how == "damaged":
        (tmp_path / "sharp" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("lonely", ValueError, r"1 of 2 files have no partner for all_in_focus .*blurred.b\.png"),
        ("two of a name", ValueError, r"b\.(jpg|png) and b\.(jpg|png) are both all_in_focus"),
        ("size", ValueError, r"of one size, got 5 x 8 px in .*blurred.b\.png and 4 x 8 px in .*sharp.b\.png"),
        ("two folders", ValueError, "one folder of sharp pictures .* found sharp and gt; say which"),
        ("empty folder", FileNotFoundError, r"expected files .*\*\.jxl or \*\.exr in .*sharp, found nothing"),
        ("damaged", ValueError, r"sharp.b\.png: PNG file is cut short"),
    ],
)
def test_pairs_that_are_none(how, error, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        Pairs(spoiled(tmp_path, how))
    assert "\n" not in str(caught.value)


def test_other_refusals(tmp_path):
    folder = spoiled(tmp_path, "")
    assert not Pairs.lie_in(folder / "sharp") and not Pairs.lie_in(folder / "no")
    for arguments, error, words in (
        ({"root": folder / "no"}, FileNotFoundError, "no folder"),
        ({"root": folder / "sharp" / "a.png"}, ValueError, "got the file"),
        ({"root": folder / "sharp"}, FileNotFoundError, "found no pairs"),
        ({"root": folder, "blurred": "blurred"}, ValueError, "both folders"),
        ({"root": folder, "encoding": "gamma"}, ValueError, "expected encoding"),
    ):
        with pytest.raises(error, match=words):
            Pairs(**arguments)
    assert "2 of all_in_focus, combined" in repr(synth.datasets.Pairs(folder))


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
@pytest.mark.parametrize("both", [False, True])
def test_a_file_that_is_no_picture_is_named(content, both, tmp_path):
    for kind in ("blurred", "sharp"):
        for name in ("a", "b"):
            put(tmp_path / kind / f"{name}.png", picture(1))
    (tmp_path / "blurred" / "b.png").write_bytes(content)
    if both:
        (tmp_path / "sharp" / "b.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"blurred.b\.png: expected a PNG, JPEG.*, got"):
        Pairs(tmp_path)


def test_one_name_in_two_spellings_of_unicode(tmp_path):
    """A name that was copied from a Mac has its umlaut as two characters."""
    name = "B\u00e4ume im Wind"
    put(tmp_path / "blurred" / f"{name}.png", picture(1))
    put(tmp_path / "sharp" / f"{unicodedata.normalize('NFD', name)}.png", picture(2))
    data = Pairs(tmp_path)
    assert data.names == (name,) and data[0]["combined"].shape == (3, *SIZE)
