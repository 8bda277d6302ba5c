"""Camera raw files: linear light through rawpy where it is installed, one sentence where it is not."""

import sys
import types

import numpy as np
import pytest
import tifffile

from synth import io
from synth.io.formats import layout

H, W = 64, 96
LIGHT = (0.05 + 0.9 * np.arange(W) / W) * np.ones((H, 1))
XYZ_TO_SRGB = (
    3240970, 1000000, -1537383, 1000000, -498611, 1000000, -969244, 1000000, 1875968, 1000000, 41555, 1000000,
    55630, 1000000, -203977, 1000000, 1056972, 1000000,
)  # fmt: skip
WHITE = 60000


def dng(path, light=LIGHT, *, neutral=(1, 1, 1, 1, 1, 1), orientation=1):
    """A DNG of a Bayer mosaic whose camera sees with the primaries of sRGB."""
    extra = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes([0, 1, 1, 2]), True), (271, "s", 0, "blurphys", True),
        (272, "s", 0, "test", True), (274, "H", 1, orientation, True), (50706, "B", 4, bytes([1, 4, 0, 0]), True),
        (50707, "B", 4, bytes([1, 1, 0, 0]), True), (50708, "s", 0, "blurphys test", True), (50714, "H", 1, 0, True),
        (50717, "I", 1, WHITE, True), (50721, "2i", 9, XYZ_TO_SRGB, True), (50728, "2I", 3, neutral, True),
        (50778, "H", 1, 21, True),
    ]  # fmt: skip
    gains = np.array([[neutral[0] / neutral[1], 1.0], [1.0, neutral[4] / neutral[5]]])
    mosaic = np.rint(light * np.tile(gains, (H // 2, W // 2)) * WHITE).astype(np.uint16)
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=extra, metadata=None)
    return path


def test_light_is_linear_and_white_is_white(tmp_path):
    pytest.importorskip("rawpy", reason="the optional extra [raw] is not installed")
    with pytest.warns(io.PictureWarning, match="developed to linear light: camera white balance, no tone curve"):
        image = io.read_image(dng(tmp_path / "a.dng"))
    assert image.shape == (3, H, W)
    inside = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_allclose(image[inside], np.broadcast_to(LIGHT, image.shape)[inside], atol=2e-3)
    with pytest.warns(io.PictureWarning):
        half = io.read_image(dng(tmp_path / "b.dng", LIGHT / 2))
    np.testing.assert_allclose(2 * half[inside], image[inside], atol=2e-3)  # no brightening by what is in the picture


def test_the_white_balance_of_the_camera(tmp_path):
    """Red and blue recorded at 0.5 and 0.8 of green: a grey surface stays grey."""
    pytest.importorskip("rawpy", reason="the optional extra [raw] is not installed")
    with pytest.warns(io.PictureWarning):
        image = io.read_image(dng(tmp_path / "a.dng", 0.4 * np.ones((H, W)), neutral=(1, 2, 1, 1, 4, 5)))
    middle = image[:, H // 2, W // 2]
    assert np.ptp(middle) < 0.01 * middle.mean()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_raw_files_are_turned_upright_with_their_depth(orientation, tmp_path):
    pytest.importorskip("rawpy", reason="the optional extra [raw] is not installed")
    file = dng(tmp_path / "a.dng", orientation=orientation)
    assert layout(file) == ((H, W), orientation)
    depth = np.arange(1.0, 1.0 + H * W, dtype=np.float32).reshape(H, W)
    io.write_array(tmp_path / "d.pfm", depth)
    with pytest.warns(io.PictureWarning):
        image, turned = io.read_image(file), io.read_depth(tmp_path / "d.pfm", unit="m", belongs_to=file)
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    assert np.array_equal(turned, np.rot90(depth, turns))
    expected = np.rot90(LIGHT, turns)
    inside = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(image[1][inside], expected[inside], atol=2e-3)


def test_without_rawpy_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for read in (io.read_image, io.read_array, layout):
        with pytest.raises(ValueError, match=r"need the package rawpy: pip install 'blurphys\[raw\]'") as caught:
            read(dng(tmp_path / "a.dng"))
        assert "\n" not in str(caught.value)


def test_what_rawpy_is_asked_for(tmp_path, monkeypatch):
    """With a stand-in: no gamma, no brightening by the picture, the camera's balance, 16 bits, unturned."""
    asked = {}

    class Raw:
        sizes = types.SimpleNamespace(iheight=H, iwidth=W, flip=5)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def postprocess(self, **options):
            asked.update(options)
            return np.full((H, W, 3), 32768, np.uint16)

    fake = types.SimpleNamespace(
        imread=lambda stream: Raw(), LibRawError=type("LibRawError", (Exception,), {}),
        ColorSpace=types.SimpleNamespace(sRGB=1), HighlightMode=types.SimpleNamespace(Clip=0),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "rawpy", fake)
    with pytest.warns(io.PictureWarning, match="linear light"):
        image = io.read_image(dng(tmp_path / "a.dng"))
    assert asked["gamma"] == (1, 1) and asked["no_auto_bright"] and asked["use_camera_wb"]
    assert asked["output_bps"] == 16 and asked["user_flip"] == 0 and asked["adjust_maximum_thr"] == 0
    assert image.shape == (3, W, H)
    np.testing.assert_allclose(image, 32768 / 65535, rtol=1e-6)  # linear: not decoded from sRGB


@pytest.mark.parametrize("head", [b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW ", b"\0\0\0\x18ftypcrx "])
def test_other_raw_files_are_recognised(head, tmp_path):
    """By their first bytes; what rawpy cannot read of them is refused in a sentence."""
    (tmp_path / "a.raw").write_bytes(head + bytes(300))
    with pytest.raises(ValueError, match="camera raw file") as caught:
        io.read_image(tmp_path / "a.raw")
    assert "\n" not in str(caught.value)


def test_a_tiff_of_a_camera_is_no_raw_file(tmp_path):
    """Finished pictures name their camera, too."""
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    tifffile.imwrite(tmp_path / "a.tif", grey, extratags=[(271, "s", 0, "blurphys", True)])
    assert np.array_equal(io.read_array(tmp_path / "a.tif"), grey)
