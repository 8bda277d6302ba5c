"""Every kind of picture is read right or refused in a sentence; masks; arrays of either layout."""

import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from blurphys.notes import NoteWarning, as_notes
from synth import io

GREY = np.add.outer(np.arange(5) * 9, np.arange(7) * 11).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def planes(values):
    return np.broadcast_to(values[..., None] if values.ndim == 2 else values, (*values.shape[:2], 3)).transpose(2, 0, 1)


@pytest.mark.parametrize("values", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib", "predictor": True}, {"byteorder": ">"}, {"tile": (16, 16)}]
)
def test_tiff_of_every_depth(values, dtype, options, tmp_path):
    if np.dtype(dtype).kind == "f" and "predictor" in options:
        options = {"compression": "zlib"}
    white = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    stored = (values.astype(np.float64) / 255 * white).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb" if values.ndim == 3 else "minisblack", **options)
    assert np.array_equal(io.read_array(tmp_path / "a.tif"), stored)
    encoded = white > 1
    found = io.read_image(tmp_path / "a.tif", linear=not encoded)
    assert np.array_equal(found, planes((stored / np.float64(white)).astype(np.float32)))


def test_other_tiffs_that_are_pictures(tmp_path):
    Image.fromarray(COLOUR).quantize(16).save(tmp_path / "palette.tif")
    with Image.open(tmp_path / "palette.tif") as picture:
        expected = np.array(picture.convert("RGB"))
    assert np.array_equal(io.read_array(tmp_path / "palette.tif"), expected)
    Image.fromarray(GREY > 40).save(tmp_path / "bits.tif")
    assert np.array_equal(io.read_array(tmp_path / "bits.tif"), (GREY > 40) * np.uint8(255))
    tifffile.imwrite(tmp_path / "white.tif", 255 - GREY, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "floats.tif", GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"floats\.tif: TIFF: expected floats with black at 0, got white at 0"):
        io.read_array(tmp_path / "floats.tif")
    assert np.array_equal(io.read_array(tmp_path / "white.tif"), GREY)
    tifffile.imwrite(tmp_path / "planes.tif", COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(io.read_array(tmp_path / "planes.tif"), COLOUR)
    opaque = np.concatenate([COLOUR, np.full_like(GREY, 255)[..., None]], axis=-1)
    tifffile.imwrite(tmp_path / "alpha.tif", opaque, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(io.read_image(tmp_path / "alpha.tif", linear=False), planes(np.float32(COLOUR / 255)))
    for name, values in (("lzw", COLOUR), ("grey", GREY), ("grey16", GREY * np.uint16(257))):
        picture = Image.fromarray(values)
        picture.save(tmp_path / f"{name}.tif", compression="tiff_lzw")
        assert np.array_equal(io.read_array(tmp_path / f"{name}.tif"), values)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_compressed_tiffs_keep_every_bit(compression, dtype, tmp_path, rng):
    stored = rng.random(COLOUR.shape).astype(dtype) if dtype is np.float32 else (COLOUR * dtype(251)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", compression=compression)
    assert np.array_equal(io.read_array(tmp_path / "a.tif"), stored)


def test_jpeg_in_tiff_is_what_pillow_reads(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", compression="jpeg")
    found = io.read_array(tmp_path / "a.tif").astype(int)
    assert np.abs(found - np.array(Image.open(tmp_path / "a.tif"))).max() <= 2


@pytest.mark.parametrize("orientation", [3, 6])
def test_lzw_tiffs_are_turned_once(orientation, tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={274: orientation})
    turned = COLOUR[::-1, ::-1] if orientation == 3 else np.rot90(COLOUR, -1)
    assert np.array_equal(io.read_array(tmp_path / "a.tif"), turned)


def no_such_compression(path):
    tifffile.imwrite(path, COLOUR, photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(34676)


def damaged_exif(path):
    Image.fromarray(COLOUR).save(path, quality=100, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(30))


def test_a_damaged_exif_record_spoils_no_picture(tmp_path):
    damaged_exif(tmp_path / "a.jpg")
    assert io.read_array(tmp_path / "a.jpg").shape == COLOUR.shape


def animated(path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("empty.png", lambda f: f.write_bytes(b""), "got an empty file"),
        ("a.gif", lambda f: Image.fromarray(GREY).save(f), "got GIF; convert it"),
        ("a.bmp", lambda f: Image.fromarray(GREY).save(f), "got BMP; convert it"),
        ("a.ppm", lambda f: Image.fromarray(COLOUR).save(f), "got PPM; convert it"),
        ("a.heic", lambda f: f.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0"), "got HEIC; convert it"),
        ("moving.png", animated, "animation of 2 frames"),
        ("moving.webp", animated, "animation of 2 frames"),
        ("cmyk.tif", lambda f: Image.new("CMYK", (8, 8)).save(f), r"ink \(CMYK\)"),
        ("lab.tif", lambda f: Image.new("LAB", (8, 8)).save(f), "CIE Lab"),
        ("signed.tif", lambda f: tifffile.imwrite(f, GREY.astype(np.int16)), "signed of 16 bits"),
        ("wide.tif", lambda f: tifffile.imwrite(f, GREY.astype(np.uint32)), "unsigned of 32 bits"),
        ("sgilog.tif", no_such_compression, "no decoder for the compression SGILOG"),
        ("a.exr", lambda f: f.write_bytes(b"v/1\x01" + bytes(30)), "OpenEXR file is damaged"),
        ("what.ever", lambda f: f.write_bytes(b"hello there"),
         "expected a PNG, JPEG, JPEG XL, TIFF, WebP, OpenEXR, camera raw .*, PFM, Sintel .dpt, COLMAP depth .bin, .npy "
         "or .npz file, got one that begins with b'hello th'"),
        ("cut.jxl", lambda f: f.write_bytes(imagecodecs.jpegxl_encode(COLOUR)[:40]), "damaged or cut"),
        ("nothing.tif", lambda f: f.write_bytes(b"II*\0" + bytes(20)), r"damaged or cut short \(it holds no picture"),
        ("pages.tif", animated, "got 2 pages"),
        ("many.tif", lambda f: tifffile.imwrite(f, np.zeros((5, 7, 6), np.uint8), photometric="minisblack",
                                                planarconfig="contig"), "stack or a multispectral"),
        ("raw.dng", lambda f: tifffile.imwrite(f, GREY, extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),
         "camera raw file"),
        ("cut.jpg", lambda f: (Image.fromarray(COLOUR).save(f), f.write_bytes(f.read_bytes()[:300])), "damaged or cut"),
        ("cut.webp", lambda f: (Image.fromarray(COLOUR).save(f), f.write_bytes(f.read_bytes()[:40])), "damaged or cut"),
        ("cut.tif", lambda f: (tifffile.imwrite(f, COLOUR), f.write_bytes(f.read_bytes()[:-50])), "damaged or cut"),
    ],
)  # fmt: skip
def test_what_is_refused(name, make, words, tmp_path, caplog, capfd):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=words) as caught:
        io.read_image(tmp_path / name)
    assert not caplog.records and not capfd.readouterr().err
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["m.png", "m95.jpg", "m60.jpg", "m30.jpg", "m.webp", "m.tif"])
def test_masks_have_their_threshold_at_half(name, tmp_path):
    """Ringing of lossy compression around a black square, and its near-blacks, are no observations."""
    mask = np.full((64, 64), 255, np.uint8)
    mask[20:40, 20:40] = 0
    quality = int("".join(c for c in name if c.isdigit()) or 80)
    Image.fromarray(mask).convert("RGB" if name.endswith("webp") else "L").save(tmp_path / name, quality=quality)
    if "jpg" in name:
        stored = io.read_array(tmp_path / name)
        assert ((stored != 0) & (stored != 255)).any(), "this file does ring"
    assert np.array_equal(io.read_mask(tmp_path / name), mask == 255)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.uint16])
def test_masks_of_zero_and_one(dtype, tmp_path):
    mask = GREY > 40
    np.save(tmp_path / "m.npy", mask.astype(dtype))
    assert np.array_equal(io.read_mask(tmp_path / "m.npy"), mask)
    if dtype is np.uint8:
        io.write_array(tmp_path / "m.png", mask.astype(dtype))
        assert np.array_equal(io.read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize("bad", [np.full((3, 4), np.nan), np.full((3, 4), 7.0), np.full((3, 4), -1)])
def test_masks_that_are_none(bad, tmp_path):
    np.save(tmp_path / "m.npy", bad)
    with pytest.raises(ValueError, match=r"m\.npy: expected a mask of"):
        io.read_mask(tmp_path / "m.npy")


def test_arrays_of_either_layout(tmp_path, rng):
    image = rng.random((3, 5, 7))
    for name, values in (("chw", image), ("hwc", image.transpose(1, 2, 0))):
        np.save(tmp_path / f"{name}.npy", values)
        assert np.array_equal(io.read_image(tmp_path / f"{name}.npy"), image.astype(np.float32))
        assert np.array_equal(io.read_image(tmp_path / f"{name}.npy", dtype=np.float64, layout=name), image)
    np.save(tmp_path / "grey.npy", image[:1])
    assert np.array_equal(io.read_image(tmp_path / "grey.npy", dtype=np.float64), np.repeat(image[:1], 3, axis=0))
    assert np.array_equal(io.read_image(tmp_path / "grey.npy", dtype=np.float64, shape=(1, 5, 7)), image[:1])
    six = rng.random((6, 5, 7))
    np.save(tmp_path / "six.npy", six)
    assert np.array_equal(io.read_image(tmp_path / "six.npy", dtype=np.float64, shape=(6, 5, 7)), six)


def test_a_shape_that_may_be_both_is_asked_about(tmp_path, rng):
    image = rng.random((3, 5, 3))
    np.save(tmp_path / "a.npy", image)
    with pytest.raises(ValueError, match=r"shape \(3, 5, 3\) may be \(channels, rows, columns\).* layout chw or hwc"):
        io.read_image(tmp_path / "a.npy")
    assert io.read_image(tmp_path / "a.npy", layout="chw").shape == (3, 5, 3)
    assert io.read_image(tmp_path / "a.npy", layout="hwc").shape == (3, 3, 5)
    assert io.read_image(tmp_path / "a.npy", shape=(3, 3, 5)).shape == (3, 3, 5)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (4, 1), (3, 3), (1, 1)])
def test_an_array_of_two_axes_is_grey_whatever_its_shape(shape, tmp_path, rng):
    grey = rng.random(shape)
    io.write_array(tmp_path / "a.npy", grey)
    for options in ({}, {"layout": "chw"}, {"layout": "hwc"}, {"shape": (3, *shape)}, {"shape": (6, *shape)}):
        assert np.array_equal(io.read_image(tmp_path / "a.npy", dtype=np.float64, **options), [grey] * 3), options
    assert np.array_equal(io.read_image(tmp_path / "a.npy", dtype=np.float64, shape=(1, *shape)), grey[None])
    assert np.array_equal(io.read_mask(tmp_path / "a.npy"), grey > 0.5)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 5, 7), (3, 1, 5), (3, 5, 3), (3, 2, 2), (1, 4, 1), (6, 5, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_of_three_axes_comes_back_as_it_was_written(shape, dtype, tmp_path, rng):
    image = (3 * rng.random(shape) - 1).astype(dtype)
    io.write_array(tmp_path / "a.npy", image)
    found = io.read_image(tmp_path / "a.npy", layout="chw", shape=shape, dtype=dtype)
    assert np.array_equal(found, image) and found.dtype == dtype


@pytest.mark.parametrize("shape", [(5,), (1, 3, 5, 7)])
def test_arrays_that_are_no_picture_name_their_file(shape, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    for wanted in (None, (1, 5, 7), (6, 5, 7)):
        with pytest.raises(ValueError, match=r"a\.npy: expected an image of shape"):
            io.read_image(tmp_path / "a.npy", shape=wanted)


def test_notes_are_one_line_each_and_said_once(capsys):
    with as_notes():
        for text in ("one\ntwo", "one two", "three"):
            warnings.warn(text, NoteWarning, stacklevel=1)
        with pytest.raises(DeprecationWarning):
            warnings.warn("other", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err.splitlines() == ["note: one two", "note: three"]
