"""JPEG XL: exact where it is lossless, its header read by the letter, only ValueError for damaged files."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import io
from synth.io.jpegxl import decode_jpegxl, layout


def picture(shape, dtype, seed=0):
    values = np.random.default_rng(seed).random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if np.dtype(dtype).kind == "u" else values.astype(dtype)


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 57), (9, 13, 2), (64, 48, 3), (41, 56, 4), (1, 1), (1, 300, 3)])
def test_lossless_files_are_exact(shape, dtype, boxes, tmp_path):
    image = picture(shape, dtype)
    data = imagecodecs.jpegxl_encode(image, lossless=True, usecontainer=boxes)
    assert layout(data).size == shape[:2]
    (tmp_path / "a.jxl").write_bytes(data)
    found = io.read_array(tmp_path / "a.jxl")
    assert found.dtype == dtype and np.array_equal(found, image)
    if len(shape) == 3 and shape[-1] == 3:
        linear = decode_jpegxl(data).colour.about == "linear light"
        assert linear == (dtype is not np.uint8)  # as the encoder says by itself
        white = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1.0
        expected = (image.transpose(2, 0, 1) / np.float64(white)).astype(np.float32)
        assert np.array_equal(io.read_image(tmp_path / "a.jxl", linear=linear), expected)


@pytest.mark.parametrize("shape", [(200, 300), (200, 300, 3)])
def test_lossy_files_are_close(shape):
    rows, columns = np.mgrid[:200, :300] / 300
    image = np.stack([rows, columns, rows * columns], axis=-1)[..., 0 if len(shape) == 2 else slice(None)]
    image = (image * 255).astype(np.uint8)
    stored = decode_jpegxl(imagecodecs.jpegxl_encode(image, level=90))
    assert np.abs(stored.values.astype(int) - image).mean() < 2
    assert not stored.exact


def bits(*fields):
    """Numbers with their lengths, the lowest bit first, as the bytes of a codestream."""
    text = "".join(format(value, f"0{length}b")[::-1] for value, length in fields)
    text += "0" * (-len(text) % 8 + 64)
    return b"\xff\x0a" + bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_size_stand_in_the_header(orientation):
    # not small, 9-bit height 24, no ratio, 13-bit width 600; not by default, more fields, orientation, nothing more
    data = bits((0, 1), (0, 2), (23, 9), (0, 3), (1, 2), (599, 13), (0, 1), (1, 1), (orientation - 1, 3), (0, 3))
    assert layout(data) == ((24, 600), orientation)
    # small, height 5 x 8, ratio 16 : 9
    assert layout(bits((1, 1), (4, 5), (5, 3), (1, 1))) == ((40, 71), 1)


def test_what_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", None)
    large = bits((0, 1), (3, 2), ((1 << 30) - 1, 30), (1, 3), (1, 1))
    with pytest.raises(ValueError, match="JPEG XL file says 1073741824 x 1073741824 pixels"):
        decode_jpegxl(large)
    with pytest.raises(ValueError, match="an animation"):
        decode_jpegxl(bits((1, 1), (0, 5), (1, 3), (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1)))
    for data in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)):
        with pytest.raises(ValueError, match="damaged or cut short"):
            decode_jpegxl(data)


@given(st.data())
def test_mutated_files_raise_only_value_error(drawn):
    image = picture((20, 30, 3), np.uint8, drawn.draw(st.integers(0, 3)))
    data = bytearray(imagecodecs.jpegxl_encode(image, lossless=drawn.draw(st.booleans()), usecontainer=True))
    for _ in range(drawn.draw(st.integers(1, 4))):
        place = drawn.draw(st.integers(12, max(12, len(data) - 1)))
        if drawn.draw(st.booleans()):
            data[place : place + 1] = drawn.draw(st.binary(min_size=1, max_size=3))
        else:
            del data[place:]
    try:
        values = decode_jpegxl(bytes(data)).values
    except ValueError:
        return
    assert values.ndim in (2, 3)
