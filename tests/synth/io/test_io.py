"""Image files: exact numbers, linear light, and one sentence for whatever is wrong."""

import contextlib
import errno
import io as bytes_io
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blurphys.files.publishing import publish, publish_together, refused, uninterrupted
from synth import io

KINDS = ("png8", "png16", "jpeg", "webp", "tiff", "pfm", "dpt", "npy")


def file_bytes(kind):
    """A small valid file of each format."""
    rng = np.random.default_rng(7)
    if kind in ("png8", "png16"):
        dtype = np.uint8 if kind == "png8" else np.uint16
        return io.png.encode(rng.integers(0, np.iinfo(dtype).max, (6, 7, 3)).astype(dtype))
    if kind in ("jpeg", "webp", "tiff"):
        stream = bytes_io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (16, 24, 3), dtype=np.uint8)).save(stream, kind.upper())
        return stream.getvalue()
    values = rng.random((5, 6)).astype("<f4")
    if kind == "pfm":
        return io.arrays.encode_pfm(values)
    if kind == "dpt":
        return b"PIEH" + np.array([6, 5], "<i4").tobytes() + values.tobytes()
    return io.arrays.encode_npy(values)


@pytest.mark.parametrize("bits", [8, 16])
def test_every_level_survives_linear_light_and_back(bits, tmp_path):
    """Trap 7: files are sRGB-encoded, light is linear; all 256 or 65536 levels come back."""
    dtype = np.uint8 if bits == 8 else np.uint16
    levels = np.arange(2**bits, dtype=dtype).reshape(16, -1)
    image = np.stack([levels, levels[::-1], levels[:, ::-1]], axis=-1)
    io.write_array(tmp_path / "in.png", image)
    light = io.read_image(tmp_path / "in.png")
    assert light.dtype == np.float32
    assert light.shape == (3, *levels.shape)
    io.write_image(tmp_path / "out.png", light, bits=bits)
    assert np.array_equal(io.read_array(tmp_path / "out.png"), image)
    assert (tmp_path / "in.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_linear_light_is_the_exact_curve(tmp_path):
    """Trap 7, the numbers: mid grey of an sRGB file is 0.2159 of white, and the foot is a straight line."""
    io.write_array(tmp_path / "a.png", np.array([[0, 10, 128, 255]], np.uint8))
    light = io.read_image(tmp_path / "a.png")[0, 0]
    assert light == pytest.approx([0, 10 / 255 / 12.92, ((128 / 255 + 0.055) / 1.055) ** 2.4, 1], rel=1e-6)
    encoded = io.read_image(tmp_path / "a.png", linear=False)[0, 0]
    assert encoded == pytest.approx(np.array([0, 10, 128, 255]) / 255, rel=1e-6)
    stated = io.read_image(tmp_path / "a.png", encoding="linear")[0, 0]
    assert np.array_equal(stated, encoded)


def test_float_files_are_linear_unless_said_otherwise(tmp_path):
    values = np.array([[[0.25, 0.5, 2.0]]], np.float32)
    io.write_array(tmp_path / "a.pfm", values)
    assert np.array_equal(io.read_image(tmp_path / "a.pfm")[:, 0, 0], values[0, 0])
    io.write_array(tmp_path / "b.pfm", values / 2)
    assert io.read_image(tmp_path / "b.pfm", encoding="srgb")[1, 0, 0] == pytest.approx(((0.25 + 0.055) / 1.055) ** 2.4)
    assert io.read_image(tmp_path / "a.pfm", linear=False)[0, 0, 0] == pytest.approx(1.055 * 0.25 ** (1 / 2.4) - 0.055)


def test_sixteen_bit_colour_is_not_read_as_eight(tmp_path):
    """Trap 25."""
    io.write_image(tmp_path / "a.png", np.full((3, 4, 5), 0.5001, np.float64), bits=16, linear=False)
    values = io.read_array(tmp_path / "a.png")
    assert values.dtype == np.uint16
    assert np.all(values == round(0.5001 * 65535))


def test_grey_alpha_and_palettes_as_colour(tmp_path):
    grey = np.array([[0, 255], [51, 102]], np.uint8)
    io.write_array(tmp_path / "grey.png", grey)
    image = io.read_image(tmp_path / "grey.png", linear=False)
    assert np.array_equal(image, np.repeat(grey[None] / np.float32(255), 3, axis=0))
    opaque = np.stack([grey, np.full_like(grey, 255)], axis=-1)
    io.write_array(tmp_path / "alpha.png", opaque)
    assert np.array_equal(io.read_image(tmp_path / "alpha.png", linear=False), image)
    opaque[0, 0, 1] = 254
    io.write_array(tmp_path / "alpha.png", opaque, overwrite=True)
    with pytest.raises(ValueError, match="transparent"):
        io.read_image(tmp_path / "alpha.png")


def test_jpeg_is_turned_upright(tmp_path):
    picture = Image.fromarray(np.arange(8 * 16, dtype=np.uint8).reshape(8, 16) * 2)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    turn_upright = io.read_array(tmp_path / "a.jpg")
    assert turn_upright.shape == (16, 8)
    assert abs(int(turn_upright[0, 0]) - int(np.array(picture)[-1, 0])) < 8


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm_is_bottom_up_and_says_its_byte_order(shape, order, tmp_path, rng):
    values = rng.random(shape).astype(np.float32)
    kind, scale = ("PF" if len(shape) == 3 else "Pf"), ("-0.0039" if order == "<" else "0.0039")
    file = tmp_path / "a.pfm"
    file.write_bytes(f"{kind}\n7 4\n{scale}\n".encode() + values[::-1].astype(f"{order}f4").tobytes())
    assert np.array_equal(io.read_array(file), values)
    io.write_array(tmp_path / "b.pfm", values)
    assert np.array_equal(io.read_array(tmp_path / "b.pfm"), values)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i8", "f2", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(dtype, order, tmp_path):
    values = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    back = io.read_array(tmp_path / "a.npy")
    assert np.array_equal(back, values)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "a.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(ValueError, match="array of numbers"):
        io.read_array(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def test_headers_that_lie_allocate_nothing(tmp_path):
    big = 1 << 20
    npy = bytes_io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "<f8", "fortran_order": False, "shape": (big, big)})
    for name, data in {
        "a.pfm": f"PF\n{big} {big}\n-1.0\n".encode() + bytes(64),
        "a.dpt": b"PIEH" + np.array([big, big], "<i4").tobytes() + bytes(64),
        "a.npy": npy.getvalue() + bytes(64),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="cut short"):
            io.read_array(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=st.data())
def test_mutated_files_raise_only_value_error(kind, drawn, tmp_path_factory):
    mutated = bytearray(file_bytes(kind))
    for _ in range(drawn.draw(st.integers(1, 4))):
        place = drawn.draw(st.integers(0, max(0, min(len(mutated), 400) - 1)))
        what = drawn.draw(st.sampled_from(["set", "cut", "insert"]))
        if what == "set" and mutated:
            mutated[place] = drawn.draw(st.integers(0, 255))
        elif what == "cut":
            del mutated[place:]
        else:
            mutated[place:place] = drawn.draw(st.binary(max_size=6))
    file = tmp_path_factory.getbasetemp() / f"mutated_{kind}"
    file.write_bytes(bytes(mutated))
    try:
        io.read_array(file)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: io.read_array(d / "none.png"), FileNotFoundError, "there is no file"),
        (lambda d: io.read_array(d), ValueError, "got the folder"),
        (lambda d: io.read_array(os.devnull), ValueError, "device"),
        (lambda d: io.read_array(d / "text.png"), ValueError, "expected a PNG, JPEG"),
        (lambda d: io.read_image(d / "text.png", encoding="gamma"), ValueError, "encoding"),
        (lambda d: io.read_image(d / "int.npy"), ValueError, "uint8, uint16 or floats"),
        (lambda d: io.read_image(d / "inf.npy"), ValueError, "depth or disparity"),
        (lambda d: io.read_image(d / "five.npy"), ValueError, "expected an image of shape"),
        (lambda d: io.write_image(d / "a.png", np.zeros((4, 4)), bits=12), ValueError, "bits=8 or bits=16"),
        (lambda d: io.write_image(d / "a.jpg", np.zeros((4, 4))), ValueError, "ending in .png"),
        (lambda d: io.write_image(d / "a.png", np.zeros((4, 5, 3))), ValueError, "channels-last"),
        (lambda d: io.write_image(d / "a.png", np.zeros((2, 4, 5))), ValueError, "expected shape"),
        (lambda d: io.write_image(d / "a.png", np.full((3, 4, 5), np.nan)), ValueError, "not finite"),
        (lambda d: io.write_image(d / "no" / "a.png", np.zeros((4, 4))), FileNotFoundError, "no folder"),
        (lambda d: io.write_array(d / "a.png", np.zeros((4, 4))), TypeError, "uint8 or uint16"),
        (lambda d: io.write_array(d / "a.pfm", np.zeros((4, 4))), TypeError, "float32"),
        (lambda d: io.write_array(d / "a.pfm", np.zeros((4, 4, 2), np.float32)), ValueError, "expected shape"),
        (lambda d: io.write_array(d / "a.bmp", np.zeros((4, 4))), ValueError, "ending in"),
        (lambda d: io.read_image(d / "half.npy", dtype=np.uint8), ValueError, "dtype float32 or float64, got uint8"),
        (lambda d: io.read_image(d / "huge.npy"), ValueError, r"huge\.npy: .* up to 1e\+300, more than float32 holds"),
        (lambda d: io.write_image(d / "a.png", np.full((3, 4, 5), 255, np.uint8)), TypeError, "floats.*got uint8"),
        (lambda d: io.write_image(d / "a.png", np.ones((4, 5), complex)), TypeError, "floats.*got complex128"),
        (lambda d: io.write_image(d / "a.png", "text"), TypeError, "floats.*got <U4"),
        (lambda d: io.write_array(d / "a.npy", np.ones((4, 5), complex)), TypeError, "numbers.*got complex128"),
        (lambda d: io.write_array(d / "a.npy", np.array(["a"])), TypeError, "numbers.*got <U1"),
        (lambda d: io.write_array(d / "a.npy", np.array([{}])), TypeError, "numbers.*got object"),
        (lambda d: io.write_array(d / "a.npy", np.zeros((0, 3))), ValueError, r"non-empty array.*got shape \(0, 3\)"),
        (lambda d: io.write_array(d / "a.npy", np.float32(3)), ValueError, r"non-empty array.*got shape \(\)"),
    ],
)
def test_bad_input(call, error, message, tmp_path):
    (tmp_path / "text.png").write_text("no image at all")
    np.save(tmp_path / "int.npy", np.zeros((4, 4), np.int64))
    np.save(tmp_path / "inf.npy", np.full((4, 4), np.inf))
    np.save(tmp_path / "five.npy", np.zeros((4, 4, 5)))
    np.save(tmp_path / "half.npy", np.full((4, 4), 0.5))
    np.save(tmp_path / "huge.npy", np.full((4, 4), 1e300))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_values_are_clipped_and_rounded_to_the_nearest(tmp_path):
    io.write_image(tmp_path / "a.png", np.array([[-1.0, 0.4999 / 255, 0.5001 / 255, 7.0]]), linear=False)
    assert io.read_array(tmp_path / "a.png").tolist() == [[0, 0, 1, 255]]


def test_a_mask_is_a_picture_of_black_and_white(tmp_path):
    mask = np.array([[True, False], [False, True]])
    io.write_image(tmp_path / "a.png", mask)
    assert np.array_equal(io.read_mask(tmp_path / "a.png"), mask)


def test_an_existing_file_is_kept_unless_told(tmp_path):
    file = tmp_path / "a.png"
    io.write_image(file, np.zeros((3, 4, 5)))
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        io.write_image(file, np.ones((3, 4, 5)))
    assert file.read_bytes() == before
    io.write_image(file, np.ones((3, 4, 5)), overwrite=True)
    assert io.read_array(file).min() == 255


@pytest.mark.parametrize(("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")])
def test_a_refused_write_leaves_nothing_behind(tmp_path, monkeypatch, code, message):
    file = tmp_path / "a.png"
    io.write_image(file, np.zeros((3, 4, 5)))
    before = file.read_bytes()

    def refuse(path, data):
        with path.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match=message) as caught:
        io.write_image(file, np.ones((3, 4, 5)), overwrite=True)
    assert "nothing was left behind" in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def test_a_refusal_crosses_to_another_process():
    error = refused("could not write a; b: the disk is full", "nothing was left behind")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error) and there.reason == error.reason
    assert str(there) == str(error) == "could not write a; b: the disk is full; nothing was left behind"


def test_other_errors_inside_keep_their_kind(tmp_path):
    with pytest.raises(KeyError), publish(tmp_path / "a", overwrite=False) as part:
        part.write_text("half")
        raise KeyError("x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(FileExistsError), publish(tmp_path / "a", overwrite=False) as part:
        part.write_text("mine")
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_named_part_is_the_users_own(tmp_path):
    (tmp_path / "a.part").write_text("mine")
    for fails in (False, True):
        with contextlib.suppress(KeyError), publish(tmp_path / "a", overwrite=True) as part:
            part.write_text("new")
            if fails:
                raise KeyError
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "new", "a.part": "mine"}


def test_two_writers_of_one_file_have_a_temporary_file_each(tmp_path):
    with publish(tmp_path / "a", overwrite=True) as last, publish(tmp_path / "a", overwrite=True) as first:
        assert first != last and first.parent == last.parent == tmp_path
        assert all(part.name.startswith("a.") and part.name.endswith(".part") for part in (first, last))
        first.write_text("first")
        last.write_text("last")
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "last"}


def test_published_files_have_the_mode_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        io.write_image(tmp_path / "a.png", np.zeros((3, 4, 5)))
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


def test_files_published_together_appear_at_the_end(tmp_path):
    with publish_together([tmp_path / "a", tmp_path / "b"], overwrite=False) as (a, b):
        a.write_text("1")
        b.write_text("2")
        assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "1", "b": "2"}


@pytest.mark.parametrize("failing", ["block", "second exists", "second rename"])
def test_of_files_published_together_none_is_left_alone(tmp_path, monkeypatch, failing):
    def replace(part, file, put=os.replace):
        if failing == "second rename" and Path(file).name == "b":
            raise OSError(errno.EIO, "no")
        put(part, file)

    monkeypatch.setattr(os, "replace", replace)
    with (
        pytest.raises((KeyboardInterrupt, OSError)),
        publish_together([tmp_path / "a", tmp_path / "b"], overwrite=False) as (a, b),
    ):
        a.write_text("1")
        b.write_text("2")
        if failing == "block":
            raise KeyboardInterrupt
        if failing == "second exists":
            (tmp_path / "b").write_text("theirs")
    assert [f.read_text() for f in tmp_path.iterdir()] == (["theirs"] if failing == "second exists" else [])


def test_a_refusal_inside_names_the_files_asked_for(tmp_path):
    with (
        pytest.raises(OSError, match=r"could not write .*/a and .*/b: the disk is full; nothing") as caught,
        publish_together([tmp_path / "a", tmp_path / "b"], overwrite=False) as (a, _),
        publish(a, overwrite=True),
    ):
        raise OSError(errno.ENOSPC, "x")
    assert ".part" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_of_a_pair_of_images_both_or_none(tmp_path, monkeypatch):
    pair = {tmp_path / "l.png": np.zeros((3, 4, 5)), tmp_path / "r.png": np.ones((3, 4, 5))}
    write, calls = Path.write_bytes, []

    def refuse(path, data):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "x")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(OSError, match="the disk is full; nothing was left behind"):
            io.write_images(pair)
    assert list(tmp_path.iterdir()) == []
    io.write_images(pair)
    assert [io.read_array(file).max() for file in pair] == [0, 255]


def test_an_interrupt_waits_for_the_end_of_the_block():
    before, reached = signal.getsignal(signal.SIGINT), []
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                reached.append("inner")
            reached.append("outer")
        assert reached == ["inner", "outer"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_other_than_the_main_one_need_no_handler(tmp_path):
    thread = threading.Thread(target=io.write_image, args=(tmp_path / "a.png", np.zeros((3, 4, 5))))
    thread.start()
    thread.join()
    assert (tmp_path / "a.png").exists()
