"""OpenEXR: pictures and depth as other writers store them; what is damaged or of another kind is refused."""

import struct
import sys

import numpy as np
import OpenEXR
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import io
from synth.io import exr
from synth.io.formats import layout, read_stored

H, W = 5, 7
KINDS = {np.dtype("u4"): 0, np.dtype("f2"): 1, np.dtype("f4"): 2}
PLANES = np.random.default_rng(3).uniform(0.1, 3.0, (4, H, W)).astype(np.float32)


def attribute(name, kind, body):
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(body)) + body


def written(channels, *, data=None, display=None, version=2, sampling=(1, 1), more=b""):
    """An uncompressed file of scan lines, written from the description of the format alone."""
    names = sorted(channels)
    first = channels[names[0]]
    rows, columns = first.shape
    data = (0, 0, columns - 1, rows - 1) if data is None else data
    listed = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3x2i", KINDS[channels[name].dtype], 0, *sampling) for name in names
    )
    head = exr.SIGNATURE + struct.pack("<I", version)
    head += attribute("channels", "chlist", listed + b"\0") + attribute("compression", "compression", b"\0")
    head += attribute("dataWindow", "box2i", struct.pack("<4i", *data))
    head += attribute("displayWindow", "box2i", struct.pack("<4i", *(display or data)))
    head += attribute("lineOrder", "lineOrder", b"\0") + attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", bytes(8)) + attribute(
        "screenWindowWidth", "float", struct.pack("<f", 1)
    )
    head += more + b"\0"
    lines = [b"".join(channels[name][row].tobytes() for name in names) for row in range(rows)]
    start, table, body = len(head) + 8 * rows, b"", b""
    for row, line in enumerate(lines):
        table += struct.pack("<Q", start + len(body))
        body += struct.pack("<ii", data[1] + row, len(line)) + line
    return head + table + body


def rgb(dtype="f4"):
    return dict(zip("RGB", PLANES[:3].astype(dtype), strict=True))


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_pictures_of_an_independent_writer(dtype, tmp_path):
    file = tmp_path / "a.exr"
    file.write_bytes(written(rgb(dtype)))
    values = io.read_array(file)
    assert values.dtype == dtype
    assert np.array_equal(values, PLANES[:3].astype(dtype).transpose(1, 2, 0))
    assert np.array_equal(io.read_image(file), PLANES[:3].astype(dtype).astype(np.float32)), "linear light above 1"
    assert layout(file).size == (H, W)
    opaque = {**rgb(dtype), "A": np.ones((H, W), dtype)}
    file.write_bytes(written(opaque))
    assert np.array_equal(io.read_image(file), PLANES[:3].astype(dtype).astype(np.float32))
    file.write_bytes(written({**rgb(dtype), "A": np.full((H, W), 0.5, dtype)}))
    with pytest.raises(ValueError, match="transparent"):
        io.read_image(file)
    file.write_bytes(written({"Y": PLANES[0].astype(dtype)}))
    assert np.array_equal(io.read_array(file), PLANES[0].astype(dtype))


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("kind", ["scanlineimage", "tiledimage"])
def test_every_lossless_compression(compression, dtype, kind, tmp_path):
    rows = np.tile(PLANES[:3].transpose(1, 2, 0), (8, 3, 1)).astype(dtype)  # several chunks
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION"), "type": getattr(OpenEXR, kind)}
    if kind == "tiledimage":
        header["tiles"] = OpenEXR.TileDescription()
        header["tiles"].xSize, header["tiles"].ySize = 16, 8
    OpenEXR.File(header, {"RGB": np.ascontiguousarray(rows)}).write(str(tmp_path / "a.exr"))
    assert np.array_equal(io.read_array(tmp_path / "a.exr"), rows)


@pytest.mark.parametrize("name", ["Z", "ViewLayer.Depth.Z", "depth", "Camera.depth.V", "distance"])
@pytest.mark.parametrize("with_picture", [False, True])
def test_depth_is_the_channel_of_its_name(name, with_picture, tmp_path):
    depth = PLANES[3]
    file = tmp_path / "a.exr"
    file.write_bytes(written({**(rgb() if with_picture else {}), name: depth}))
    if with_picture and name.endswith("V"):
        assert io.read_array(file).shape == (H, W, 3)
        return
    found = io.read_depth(file, unit="m")
    assert np.array_equal(found, depth.astype(np.float64))
    if with_picture:
        assert np.array_equal(io.read_image(file), PLANES[:3])


def test_layers_of_a_renderer(tmp_path):
    """The picture is the layer called Combined; two of them are asked about."""
    file = tmp_path / "a.exr"
    combined = {f"ViewLayer.Combined.{name}": plane for name, plane in rgb().items()}
    other = {f"ViewLayer.DiffDir.{name}": 2 * plane for name, plane in rgb().items()}
    file.write_bytes(written({**combined, **other, "ViewLayer.Depth.Z": PLANES[3]}))
    assert np.array_equal(io.read_image(file), PLANES[:3])
    assert np.array_equal(io.read_depth(file, unit="m"), PLANES[3].astype(float))
    file.write_bytes(written({**other, **{name.replace("Diff", "Gloss"): plane for name, plane in other.items()}}))
    with pytest.raises(ValueError, match=r"expected one picture, channels R, G, B or Y, got ViewLayer\.DiffDir\.B"):
        io.read_image(file)
    with pytest.raises(ValueError, match="expected one channel of depth, called Z or Depth, got"):
        io.read_depth(file, unit="m")


def test_the_display_window_is_the_picture(tmp_path):
    file = tmp_path / "a.exr"
    file.write_bytes(written({**rgb(), "Z": PLANES[3]}, data=(-2, 1, W - 3, H), display=(0, 0, 8, 7)))
    picture, depth = io.read_image(file), io.read_depth(file, unit="m")
    assert picture.shape == (3, 8, 9) and depth.shape == (8, 9) and layout(file).size == (8, 9)
    assert np.array_equal(picture[:, 1 : H + 1, : W - 2], PLANES[:3, :, 2:])
    assert np.array_equal(depth[1 : H + 1, : W - 2], PLANES[3, :, 2:])
    assert picture.sum() == pytest.approx(PLANES[:3, :, 2:].sum(dtype=float), rel=1e-6), "black around it"
    assert np.isnan(depth).sum() == 8 * 9 - H * (W - 2), "unknown around it"
    file.write_bytes(written(rgb(), data=(20, 20, 20 + W - 1, 20 + H - 1), display=(0, 0, 3, 3)))
    assert not io.read_image(file).any()


def test_primaries_of_the_file_are_used(tmp_path):
    """White stays white; the red of BT.2020 lies outside sRGB."""
    file = tmp_path / "a.exr"
    wide = struct.pack("<8f", 0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
    more = attribute("chromaticities", "chromaticities", wide)
    one = np.ones((H, W), np.float32)
    file.write_bytes(written({"R": one, "G": one, "B": one}, more=more))
    np.testing.assert_allclose(io.read_image(file), 1.0, atol=1e-3)
    file.write_bytes(written({"R": one, "G": 0 * one, "B": 0 * one}, more=more))
    np.testing.assert_allclose(io.read_image(file)[:, 0, 0], [1.6605, -0.1246, -0.0182], atol=2e-3)  # BT.2087
    usual = attribute(
        "chromaticities", "chromaticities", struct.pack("<8f", 0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
    )
    file.write_bytes(written(rgb(), more=usual))
    assert np.array_equal(io.read_image(file), PLANES[:3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2 | 0x1000}, "several parts"),
        ({"version": 2 | 0x800}, "deep data"),
        ({"version": 3}, "unknown version"),
        ({"sampling": (2, 2)}, "subsampled"),
        ({"data": (0, 0, W - 1, -3)}, "damaged: its dataWindow is 0, 0 to 6, -3"),
        ({"display": (0, 0, 1 << 19, 1 << 19)}, "more than the 1024 MiB"),
        ({"data": (0, 0, W - 1, H + 40)}, "cut short"),
    ],
)
def test_what_is_refused_before_it_is_decoded(change, words, tmp_path):
    (tmp_path / "a.exr").write_bytes(written(rgb(), **change))
    with pytest.raises(ValueError, match=words) as caught:
        io.read_image(tmp_path / "a.exr")
    assert "\n" not in str(caught.value)


def test_luminance_and_chroma_are_refused(tmp_path):
    (tmp_path / "a.exr").write_bytes(written(dict(zip(("Y", "RY", "BY"), PLANES[:3], strict=True))))
    with pytest.raises(ValueError, match="luminance and chroma"):
        io.read_image(tmp_path / "a.exr")


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.99])
def test_files_cut_short(at, tmp_path, capfd):
    whole = written(rgb())
    (tmp_path / "a.exr").write_bytes(whole[: int(at * len(whole))])
    with pytest.raises(ValueError, match="cut short"):
        io.read_image(tmp_path / "a.exr")
    assert not capfd.readouterr().err


def test_without_the_library_the_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.exr").write_bytes(written(rgb()))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ValueError, match="OpenEXR files need the package OpenEXR: pip install OpenEXR"):
        io.read_image(tmp_path / "a.exr")


@given(drawn=st.data())
def test_mutated_files_raise_only_value_error(drawn, tmp_path_factory):
    data = bytearray(written(rgb("f2")))
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(4, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "mutated.exr"
    file.write_bytes(bytes(data))
    for depth in (False, True):
        try:
            read_stored(file, depth=depth)
        except ValueError as error:
            assert "\n" not in str(error)
