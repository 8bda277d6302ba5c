"""Pictures end the way up they were taken, and what belongs to a picture ends the same way."""

import struct
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

import synth
from synth import io
from tests.synth.io.test_png import chunk

FORMATS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}
SCENE = (np.add.outer(np.arange(6) * 20, np.arange(9) * 8)).astype(np.uint8)  # no symmetry: rows and columns differ


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def stored_as(upright, orientation):
    """The pixels of a camera held so that orientation 1 to 8 makes them `upright`."""
    undo = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}[orientation]  # fmt: skip
    picture = Image.fromarray(upright)
    return picture if undo is None else picture.transpose(undo)


def put(path, upright, orientation, *, tagged=True):
    picture = stored_as(upright, orientation)
    if path.suffix == ".tif":
        extra = [(274, 3, 1, orientation, True)] if tagged else []
        tifffile.imwrite(path, np.array(picture), extratags=extra, photometric="rgb" if upright.ndim == 3 else None)
        return path
    options = {"quality": 100} if path.suffix in (".jpg", ".webp") else {}
    if tagged:
        options["exif"] = exif(orientation)
    picture.save(path, FORMATS[path.suffix[1:]], **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_orientation_of_every_format_is_turned_upright(suffix, orientation, tmp_path):
    colours = np.repeat(SCENE[..., None], 3, axis=-1)
    file = put(tmp_path / f"a.{suffix}", colours, orientation)
    read = io.read_array(file)
    assert read.shape == colours.shape
    assert np.abs(read.astype(int) - colours).max() <= (0 if suffix in ("png", "tif") else 6)
    if suffix != "tif":
        assert np.array_equal(read, np.array(ImageOps.exif_transpose(Image.open(file).convert("RGB"))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", FORMATS)
def test_depth_and_mask_end_as_their_picture_does(suffix, orientation, tmp_path):
    """A depth map beside a turned photo is stored as the photo's pixels are, and says nothing itself."""
    picture = put(tmp_path / f"a.{suffix}", np.repeat(SCENE[..., None], 3, axis=-1), orientation)
    depth = put(tmp_path / "depth.png", SCENE + np.uint8(1), orientation, tagged=False)
    mask = put(tmp_path / "mask.png", (SCENE > 80).astype(np.uint8) * np.uint8(255), orientation, tagged=False)
    np.save(tmp_path / "depth.npy", np.array(stored_as(SCENE + np.uint8(1), orientation)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", io.PictureWarning)
        for file in (depth, tmp_path / "depth.npy"):
            assert np.array_equal(io.read_depth(file, unit="m", belongs_to=picture), SCENE + 1.0)
        assert np.array_equal(io.read_mask(mask, belongs_to=picture), SCENE > 80)
        scene = synth.scenes.from_files(picture, depth, depth_unit="m")
    assert np.array_equal(scene.depth_m, SCENE + 1.0)


def test_what_has_an_orientation_of_its_own_is_turned_by_it(tmp_path):
    picture = put(tmp_path / "a.jpg", SCENE, 6)
    for orientation in (1, 3, 6, 8):
        depth = put(tmp_path / "depth.png", SCENE, orientation)
        assert np.array_equal(io.read_array(depth, belongs_to=picture), SCENE)


def test_what_somebody_has_turned_already_stays(tmp_path):
    """The shape of the upright picture only: turned again it would not fit."""
    picture = put(tmp_path / "a.jpg", SCENE, 6)
    io.write_array(tmp_path / "depth.png", SCENE)
    assert np.array_equal(io.read_array(tmp_path / "depth.png", belongs_to=picture), SCENE)


@pytest.mark.parametrize(("orientation", "words"), [(3, "upside down"), (2, "mirrored"), (6, "on its side")])
def test_where_the_shape_cannot_tell_the_rule_is_said(orientation, words, tmp_path):
    square = SCENE[:, :6]
    picture = put(tmp_path / "a.jpg", square, orientation)
    depth = put(tmp_path / "depth.png", square, orientation, tagged=False)
    with pytest.warns(io.PictureWarning, match=f"depth.png has no orientation .*a.jpg, which is stored {words}$"):
        assert np.array_equal(io.read_array(depth, belongs_to=picture), square)


def test_numbers_that_mean_nothing_turn_nothing(tmp_path):
    plain = io.png.encode(SCENE)
    for number in (0, 9, 255):
        body = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, number, 0, 0)
        (tmp_path / "a.png").write_bytes(plain[:33] + chunk(b"eXIf", body) + plain[33:])
        assert np.array_equal(io.read_array(tmp_path / "a.png"), SCENE)
    (tmp_path / "a.png").write_bytes(plain[:33] + chunk(b"eXIf", b"MM\0*damaged") + plain[33:])
    assert np.array_equal(io.read_array(tmp_path / "a.png"), SCENE)


def test_an_exif_chunk_behind_the_pixels_counts_too(tmp_path):
    plain = io.png.encode(np.array(stored_as(SCENE, 6)))
    body = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    (tmp_path / "a.png").write_bytes(plain[:-12] + chunk(b"eXIf", body) + plain[-12:])
    assert np.array_equal(io.read_array(tmp_path / "a.png"), SCENE)


def test_maps_of_published_sets_are_turned_with_their_photographs(tmp_path):
    for name in ("image", "gt"):
        (tmp_path / name).mkdir()
    put(tmp_path / "image" / "out_of_focus0001.jpg", SCENE, 6)
    put(tmp_path / "gt" / "out_of_focus0001.png", (SCENE > 80).astype(np.uint8) * np.uint8(255), 6, tagged=False)
    sample = synth.datasets.CUHK(tmp_path)[0]
    assert np.array_equal(sample["blurred_mask"], SCENE > 80)
