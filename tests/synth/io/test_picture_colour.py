"""What the numbers of a picture mean: profiles, gamma and primaries are used, or what is assumed is said."""

import io as bytes_io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from blurphys.colour import linear_to_srgb, srgb_to_linear
from synth import io
from synth.io import png as _png
from synth.io.colour import from_icc, from_primaries, gamma
from tests.synth.io.test_png import chunk

RAMP = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[None, :, None], 3, axis=-1)
LEVELS = RAMP[0, :, 0] / 255.0
P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def png(path, *chunks, values=RAMP):
    plain = _png.encode(values)
    path.write_bytes(plain[:33] + b"".join(chunk(name, body) for name, body in chunks) + plain[33:])
    return path


def gama(value):
    return b"gAMA", struct.pack(">I", value)


def chrm(points):
    return b"cHRM", struct.pack(">8I", *points)


def iccp(profile):
    return b"iCCP", b"name\0\0" + zlib.compress(profile)


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(n * 65536)) for n in numbers)


def profile(
    curve, columns=((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)), space=b"RGB "
):
    """An ICC profile of curves and a matrix, or of grey; by default with the primaries of sRGB."""
    names = (b"rTRC", b"gTRC", b"bTRC") if space == b"RGB " else (b"kTRC",)
    tags = {name: curve for name in names}
    if space == b"RGB ":
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
            tags[name] = b"XYZ \0\0\0\0" + fixed(*column)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"a test\0\0"
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    header = bytearray(128)
    header[:4], header[8:12], header[12:16] = struct.pack(">I", start + len(body)), b"\x04\x30\0\0", b"mntr"
    header[16:20], header[20:24], header[36:40] = space, b"XYZ ", b"acsp"
    header[68:80] = fixed(0.9642, 1.0, 0.8249)
    return bytes(header) + struct.pack(">I", len(tags)) + table + body


def curv(*values):
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def para(kind, *numbers):
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*numbers)


def light(path, **options):
    return io.read_image(path, **options)[:, 0].astype(np.float64)


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "said",
    [
        [], [(b"sRGB", b"\0")], [gama(45455)], [gama(45455), chrm(SRGB_POINTS)], [iccp(SRGB_PROFILE)],
        [gama(100000), (b"sRGB", b"\0")], [gama(100000), iccp(SRGB_PROFILE)], [(b"cICP", bytes([1, 13, 0, 1]))],
        [gama(100000), (b"cICP", bytes([1, 13, 0, 1]))],
    ],
)  # fmt: skip
def test_srgb_in_every_spelling_is_the_exact_curve(said, tmp_path):
    found = io.read_image(png(tmp_path / "a.png", *said))
    plain = io.read_image(png(tmp_path / "plain.png"))
    assert np.array_equal(found, plain)
    io.write_image(tmp_path / "back.png", found)
    assert np.array_equal(io.read_array(tmp_path / "back.png"), RAMP)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([gama(100000)], LEVELS),
        ([gama(55556)], LEVELS**1.8),
        ([gama(50000), chrm(SRGB_POINTS)], LEVELS**2),
        ([iccp(profile(curv()))], LEVELS),
        ([iccp(profile(curv(round(1.8 * 256))))], LEVELS ** (round(1.8 * 256) / 256)),
        ([iccp(profile(curv(*np.rint(np.linspace(0, 1, 4096) ** 3 * 65535).astype(int))))], LEVELS**3),
        ([iccp(profile(para(0, 2.5)))], LEVELS**2.5),
        ([iccp(profile(para(1, 2.0, 1.25, -0.25)))], np.maximum(1.25 * LEVELS - 0.25, 0) ** 2),
        ([iccp(profile(para(2, 2.0, 1.0, -0.2, 0.25)))], np.maximum(LEVELS - 0.2, 0) ** 2 + 0.25),
        ([iccp(profile(para(4, 3.0, 1.0, 0.0, 0.25, 0.5, 0.0, 0.0)))], np.where(LEVELS >= 0.5, LEVELS**3, LEVELS / 4)),
        ([(b"cICP", bytes([1, 8, 0, 1]))], LEVELS),
    ],
)  # fmt: skip
def test_curves_are_used(said, expected, tmp_path):
    for linear in (True, False):
        found = light(png(tmp_path / "a.png", *said), linear=linear)
        target = expected if linear else linear_to_srgb(expected)
        np.testing.assert_allclose(found, np.broadcast_to(target, found.shape), atol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_profiles_of_every_format(suffix, tmp_path):
    """Display P3 in each, against littleCMS."""
    colours = np.empty((40, 40, 3), np.uint8)
    colours[:] = (200, 120, 60)
    wide = profile(para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
                   ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)))  # fmt: skip
    file = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(file, colours, photometric="rgb", iccprofile=wide)
    else:
        options = {"quality": 100, "lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0}
        Image.fromarray(colours).save(file, icc_profile=wide, **(options if suffix != "png" else {}))
    source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(wide))
    target = ImageCms.createProfile("sRGB")
    expected = np.array(ImageCms.profileToProfile(Image.fromarray(colours), source, target, outputMode="RGB"))
    found = io.read_image(file, linear=False) * 255
    np.testing.assert_allclose(found[:, 9, 9], expected[9, 9], atol=2.5 if suffix == "jpg" else 1.1)
    assert abs(found[0, 9, 9] - 200) > 5, "the primaries make a difference"
    plain = io.read_image(file, linear=False, encoding="srgb") * 255
    np.testing.assert_allclose(plain[:, 9, 9], (200, 120, 60), atol=1.1)


def test_primaries_of_a_png(tmp_path):
    colours = np.full((2, 3, 3), (200, 120, 60), np.uint8)
    by_chunks = png(tmp_path / "a.png", gama(45455), chrm(P3), values=colours)
    by_points = png(tmp_path / "b.png", (b"cICP", bytes([12, 13, 0, 1])), values=colours)
    found = io.read_image(by_chunks)
    np.testing.assert_allclose(found, io.read_image(by_points), atol=1e-6)
    known = srgb_to_linear(np.array([200, 120, 60]) / 255) @ np.array(
        [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]
    ).T  # fmt: skip
    np.testing.assert_allclose(found[:, 0, 0], known, atol=1e-3)


def test_white_stays_white_whatever_the_primaries():
    for points in (P3, SRGB_POINTS, (34567, 35850, 73470, 26530, 15960, 84040, 3660, 1)):
        colour = from_primaries("x", tuple(n / 1e5 for n in points), gamma(2.2))
        np.testing.assert_allclose(colour.light(np.ones((3, 1, 1))), 1.0, atol=1e-9)


def test_colours_that_srgb_cannot_show_are_clipped_and_said(tmp_path):
    colours = np.full((4, 4, 3), (0, 255, 0), np.uint8)
    with pytest.warns(io.PictureWarning, match=r"100.0% of the pixels have colours .* clipped"):
        found = io.read_image(png(tmp_path / "a.png", gama(45455), chrm(P3), values=colours))
    assert 0 <= found.min() and found.max() <= 1


P3_COLUMNS = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
BEYOND = np.array([[[-0.25, 0.5, 1.5], [0.25, 2.0, 0.75]]], np.float32)


def float_file(path, values, said=None):
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="rgb", iccprofile=said)
    else:
        io.write_array(path, values)
    return path


@pytest.mark.parametrize("suffix", ["tif", "pfm", "npy"])
def test_linear_light_beyond_white_and_below_black_is_kept(suffix, tmp_path):
    file = float_file(tmp_path / f"a.{suffix}", BEYOND)
    expected = BEYOND.transpose(2, 0, 1)
    for encoding in (None, "linear"):
        assert np.array_equal(io.read_image(file, encoding=encoding, layout="hwc"), expected)
        encoded = io.read_image(file, encoding=encoding, layout="hwc", linear=False, dtype=np.float64)
        np.testing.assert_allclose(srgb_to_linear(encoded), expected, rtol=1e-6)


def test_light_of_other_primaries_is_kept_too(tmp_path):
    file = float_file(tmp_path / "a.tif", BEYOND, profile(para(0, 1.0), P3_COLUMNS))
    found = io.read_image(file, dtype=np.float64)
    to_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    np.testing.assert_allclose(found, np.tensordot(to_srgb, BEYOND.transpose(2, 0, 1), 1), atol=2e-3)
    assert found.min() < -0.2


@pytest.mark.parametrize("low_or_high", [-0.25, 1.5])
@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("said", ["srgb", curv(0, 20000, 65535), para(0, 2.2)])
def test_encoded_floats_beyond_their_range_are_refused(said, linear, low_or_high, tmp_path):
    values = np.full((2, 3, 3), 0.5, np.float32)
    encoding, told = (said, None) if isinstance(said, str) else (None, profile(said))
    file = float_file(tmp_path / "a.tif", values, told)
    io.read_image(file, encoding=encoding, linear=linear)
    values[1, 2, 0] = low_or_high
    file = float_file(tmp_path / "b.tif", values, told)
    with pytest.raises(ValueError, match=rf"b\.tif: expected .* values from 0 to 1, got {values.min():g} to .*linear"):
        io.read_image(file, encoding=encoding, linear=linear)
    assert io.read_image(file, encoding="linear")[0, 1, 2] == np.float32(low_or_high)


def test_rounding_is_not_beyond_the_range(tmp_path):
    values = np.full((2, 3, 3), 1 + 1e-6, np.float32)
    found = io.read_image(float_file(tmp_path / "a.tif", values), encoding="srgb")
    np.testing.assert_allclose(found, 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([iccp(b"nothing")], "a colour profile that is damaged"),
        ([(b"iCCP", b"name\0\0not packed")], "a colour profile that is damaged"),
        ([iccp(profile(b"what\0\0\0\0"))], "a colour profile that is damaged"),
        ([iccp(profile(curv(0, 0)))], "a colour profile that is damaged"),
        ([iccp(profile(curv(), space=b"GRAY"))], "the colour profile 'a test', which is for GRAY"),
        ([(b"cICP", bytes([9, 16, 0, 1]))], "cICP"),
        ([(b"gAMA", b"x")], "damaged"),
        ([gama(0)], "a gamma .* of 0"),
        ([gama(45455), chrm((0,) * 8)], "damaged"),
        ([chrm(P3)], "no curve"),
    ],
)
def test_what_cannot_be_used_is_named_and_an_encoding_silences_it(said, words, tmp_path):
    file = png(tmp_path / "a.png", *said)
    with pytest.warns(io.PictureWarning, match=f"a.png: sRGB is assumed, since the file has .*{words}"):
        found = io.read_image(file)
    np.testing.assert_allclose(found[:, 0], np.broadcast_to(srgb_to_linear(LEVELS), (3, 52)), atol=0.2)
    assert np.array_equal(light(file, encoding="linear"), np.broadcast_to(np.float32(LEVELS), (3, 52)))


def test_grey_pictures_have_grey_profiles(tmp_path):
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "a.jpg", quality=100, icc_profile=profile(curv(512), space=b"GRAY"))
    np.testing.assert_allclose(light(tmp_path / "a.jpg"), np.broadcast_to(LEVELS**2, (3, 52)), atol=0.01)
    file = png(tmp_path / "a.png", iccp(profile(curv(512))), values=RAMP[..., 0])
    np.testing.assert_allclose(light(file), np.broadcast_to(LEVELS**2, (3, 52)), atol=1e-6)


@pytest.mark.parametrize("index", ["R03", None])
def test_cameras_say_adobe_rgb_without_a_profile(index, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    if index:
        exif.get_ifd(0xA005)[1] = index
    colours = np.full((16, 16, 3), (120, 200, 60), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.jpg", quality=100, exif=exif.tobytes())
    if index is None:
        with pytest.warns(io.PictureWarning, match="an uncalibrated colour space"):
            io.read_image(tmp_path / "a.jpg")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", io.PictureWarning)
        found = io.read_image(tmp_path / "a.jpg")[:, 8, 8]
    assert found[1] > srgb_to_linear(np.array([200 / 255]))[0]


@pytest.mark.data
def test_real_profiles(data):
    """HP's sRGB is sRGB to rounding; Adobe RGB is not."""
    found = []
    for number in (504, 537):
        with Image.open(data / "cuhk_bd" / f"out_of_focus0{number}.jpg") as picture:
            found.append(picture.info["icc_profile"])
    hp, adobe = found
    assert from_icc(hp, 3).is_srgb
    assert "Adobe RGB" in from_icc(adobe, 3).about and not from_icc(adobe, 3).is_srgb
    assert not from_icc(adobe, 3).assumed
