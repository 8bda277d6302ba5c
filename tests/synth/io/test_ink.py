"""JPEG files in ink (CMYK) become sRGB, and that is said."""

import struct

import numpy as np
import pytest
from PIL import Image

from synth import io


def profile():
    """A printer whose lightness is linear in black ink, 100 without and 0 with all of it; colours count as black."""

    def table(n):
        return bytes(range(256)) * n

    corners = b""
    for code in range(16):  # cyan varies slowest, black fastest
        corners += bytes([0 if code else 255, 128, 128])
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() << 16).tolist())
    lut += table(4) + corners + table(3)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": text, b"A2B0": lut, b"wtpt": white}
    body, table_of_tags, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table_of_tags += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", 0, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    head += bytes(24) + struct.pack(">I3i", 0, 63190, 65536, 54061)[0:16] + bytes(48)
    whole = head[:128].ljust(128, b"\0") + struct.pack(">I", len(tags)) + table_of_tags + body
    return struct.pack(">I", len(whole)) + whole[4:]


def inks(cyan, magenta, yellow, black):
    return Image.new("CMYK", (16, 8), (cyan, magenta, yellow, black))


@pytest.mark.parametrize("ink", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (51, 102, 204, 51), (0, 128, 0, 64)])
def test_without_a_profile_by_the_formula(ink, tmp_path):
    inks(*ink).save(tmp_path / "a.jpg", quality=100)
    with pytest.warns(io.PictureWarning, match=r"ink \(CMYK\) was converted to sRGB without a profile"):
        values = io.read_array(tmp_path / "a.jpg")
    share = np.array(ink) / 255
    assert values.shape == (8, 16, 3) and values.dtype == np.uint8
    assert np.abs(values - 255 * (1 - share[:3]) * (1 - share[3])).max() <= 3


def test_by_the_profile(tmp_path):
    """Half the black ink has half the lightness: luminance ((50 + 16) / 116)^3, where the formula says 1/2 in sRGB."""
    for black, lightness in ((0, 100.0), (255, 0.0), (128, 100 * (1 - 128 / 255))):
        inks(0, 0, 0, black).save(tmp_path / "a.jpg", quality=100, icc_profile=profile())
        with pytest.warns(io.PictureWarning, match="by its colour profile"):
            light = io.read_image(tmp_path / "a.jpg")
        luminance = ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness / 903.3
        assert light.mean() == pytest.approx(luminance, abs=0.006)


def test_a_profile_that_cannot_be_used(tmp_path):
    inks(0, 0, 0, 51).save(tmp_path / "a.jpg", quality=100, icc_profile=b"nonsense" * 20)
    with pytest.warns(io.PictureWarning, match="its profile cannot be used"):
        values = io.read_array(tmp_path / "a.jpg")
    assert np.abs(values.astype(int) - 204).max() <= 2


def test_orientation_of_a_picture_in_ink(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    inks(10, 20, 30, 40).save(tmp_path / "a.jpg", exif=exif)
    with pytest.warns(io.PictureWarning, match="CMYK"):
        assert io.read_array(tmp_path / "a.jpg").shape == (16, 8, 3)
