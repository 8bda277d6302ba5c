"""The PNG codec: exact for every colour type and depth, and only ValueError for files that are not right."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synth.io import png as _png
from synth.io.png import decode, encode

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def filtered_row(kind, line, above, stride):
    """One row, filtered byte by byte as the specification words it."""
    out = bytearray([kind])
    for i, value in enumerate(line):
        a = line[i - stride] if i >= stride else 0
        b = above[i]
        c = above[i - stride] if i >= stride else 0
        if kind == 4:
            p = a + b - c
            distances = (abs(p - a), abs(p - b), abs(p - c))
            guess = (a, b, c)[distances.index(min(distances))]
        else:
            guess = (0, a, b, (a + b) // 2)[kind]
        out.append((value - guess) % 256)
    return bytes(out)


def packed(line, depth):
    """Samples of one row to bytes."""
    if depth == 16:
        return struct.pack(f">{len(line)}H", *line)
    bits = "".join(format(value, f"0{depth}b") for value in line)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def plain_png(samples, *, colour, depth, kinds, interlaced=False, extra=()):
    """A PNG file written by the letter; `samples` (H, W, channels), `kinds` the filter of row 0, 1, ... in turn."""
    height, width = samples.shape[:2]
    stride = max(1, depth * CHANNELS[colour] // 8)
    stream, row = b"", 0
    for top, left, down, right in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::right]
        if part.size == 0:
            continue
        lines = [packed(line.ravel().tolist(), depth) for line in part]
        for line, above in zip(lines, [bytes(len(lines[0])), *lines], strict=False):
            stream += filtered_row(kinds[row % len(kinds)], line, above, stride)
            row += 1
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    pixels = zlib.compress(stream)
    parts = [
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", pixels[:7]),
        chunk(b"IDAT", pixels[7:]),
        chunk(b"IEND", b""),
    ]
    return _png.SIGNATURE + b"".join(parts)


def by_pillow(data):
    return np.array(Image.open(io.BytesIO(data)))


@st.composite
def images(draw, dtypes=(np.uint8, np.uint16), channels=(0, 1, 2, 3, 4)):
    h, w = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    c, dtype = draw(st.sampled_from(channels)), draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = np.iinfo(dtype).max
    smooth = draw(st.booleans())
    values = rng.integers(0, top, (h, w, max(c, 1)), endpoint=True)
    values = np.cumsum(values // 64, axis=1) % (top + 1) if smooth else values
    return (values if c else values[..., 0]).astype(dtype)


@given(images())
def test_round_trip_is_exact(image):
    back = decode(encode(image))
    assert back.dtype == image.dtype
    assert np.array_equal(back, image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image)


def test_sixteen_bit_colour_keeps_all_its_bits(rng):
    """Trap 25: Pillow reads the same file as eight bits."""
    image = rng.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    data = encode(image)
    assert by_pillow(data).dtype == np.uint8
    assert np.array_equal(decode(data), image)


@given(images(channels=(0, 2, 3, 4), dtypes=(np.uint8,)))
def test_pillow_reads_what_we_write(image):
    assert np.array_equal(by_pillow(encode(image)), image)


@given(images(channels=(0,), dtypes=(np.uint8, np.uint16)))
def test_we_read_what_pillow_writes(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    assert np.array_equal(decode(stream.getvalue()), image)
    assert np.array_equal(by_pillow(encode(image)), image)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [(c, d) for c in DEPTHS for d in DEPTHS[c] if c != 3])
def test_every_type_with_every_filter(colour, depth, interlaced, rng):
    samples = rng.integers(0, 2**depth, (23, 19, CHANNELS[colour]))
    data = plain_png(samples, colour=colour, depth=depth, kinds=(0, 1, 2, 3, 4, 4, 3, 1), interlaced=interlaced)
    expected = samples * (255 // (2**depth - 1) if depth < 8 else 1)
    image = decode(data)
    assert image.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert np.array_equal(image.reshape(samples.shape), expected)


@pytest.mark.parametrize("kind", range(5))
def test_each_filter_alone_over_several_blocks(kind, rng):
    samples = rng.integers(0, 65536, (17, 5, 3))
    assert np.array_equal(decode(plain_png(samples, colour=2, depth=16, kinds=(kind,))), samples)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [False, True])
def test_palettes_are_looked_up(depth, interlaced, alpha, rng):
    palette = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    samples = rng.integers(0, 2**depth, (11, 13, 1))
    extra = [chunk(b"PLTE", palette.tobytes())] + ([chunk(b"tRNS", b"\x07")] if alpha else [])
    image = decode(plain_png(samples, colour=3, depth=depth, kinds=(0, 3, 4), interlaced=interlaced, extra=extra))
    assert np.array_equal(image[..., :3], palette[samples[..., 0]])
    if alpha:
        assert np.array_equal(image[..., 3], np.where(samples[..., 0] == 0, 7, 255))


def test_a_transparent_colour_becomes_alpha(rng):
    samples = rng.integers(0, 3, (6, 7, 1))
    grey = decode(plain_png(samples, colour=0, depth=2, kinds=(0,), extra=[chunk(b"tRNS", b"\0\2")]))
    assert np.array_equal(grey[..., 0], samples[..., 0] * 85)
    assert np.array_equal(grey[..., 1], np.where(samples[..., 0] == 2, 0, 255))
    colour = np.full((2, 2, 3), 700)
    colour[0, 1] = 5
    image = decode(
        plain_png(colour, colour=2, depth=16, kinds=(0,), extra=[chunk(b"tRNS", struct.pack(">3H", 5, 5, 5))])
    )
    assert image.dtype == np.uint16
    assert image[..., 3].tolist() == [[65535, 0], [65535, 65535]]


def header(width=4, height=4, depth=8, colour=2, compression=0, filtering=0, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, compression, filtering, interlace))


PIXELS = chunk(b"IDAT", zlib.compress(bytes(4 * 13)))
END = chunk(b"IEND", b"")
PALETTE = chunk(b"PLTE", b"\1\2\3")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "cut short"),
        ([header()], "cut short"),
        ([header(), END], "no pixels"),
        ([PIXELS, END], "IHDR"),
        ([header(), header(), PIXELS, END], "IHDR"),
        ([chunk(b"IHDR", b"123"), PIXELS, END], "13"),
        ([header(width=0), PIXELS, END], "0 x 4"),
        ([header(depth=3), PIXELS, END], "no combination"),
        ([header(colour=5), PIXELS, END], "no combination"),
        ([header(colour=2, depth=4), PIXELS, END], "no combination"),
        ([header(interlace=2), PIXELS, END], "no combination"),
        ([header(filtering=1), PIXELS, END], "no combination"),
        ([header(height=5), PIXELS, END], "cut short"),
        ([header(height=3), PIXELS, END], "more than"),
        ([header(), chunk(b"IDAT", b"nonsense"), END], "decompress"),
        ([header(), chunk(b"IDAT", zlib.compress(bytes(4 * 13))[:-1]), END], "more than|cut short|decompress"),
        ([header(), chunk(b"IDAT", zlib.compress(b"\7" * 4 * 13)), END], "filter 7"),
        ([header(), chunk(b"NEWS", b""), PIXELS, END], "critical"),
        ([header(), chunk(b"PLTE", b"12"), PIXELS, END], "palette"),
        ([header(), PALETTE, PALETTE, PIXELS, END], "palette"),
        ([header(colour=3), chunk(b"IDAT", zlib.compress(bytes(20))), END], "has none"),
        ([header(colour=3), PALETTE, chunk(b"IDAT", zlib.compress(b"\0\1\1\1\1" * 4)), END], "of a palette of 1"),
        (
            [header(colour=3), PALETTE, chunk(b"tRNS", b"12"), chunk(b"IDAT", zlib.compress(bytes(20))), END],
            "transparencies",
        ),
        ([header(), chunk(b"tRNS", b"12"), PIXELS, END], "tRNS"),
    ],
)
def test_damaged_files_are_named(parts, message):
    with pytest.raises(ValueError, match=message):
        decode(_png.SIGNATURE + b"".join(parts))


def test_a_checksum_is_checked_and_the_signature_too():
    good = bytearray(encode(np.zeros((4, 4, 3), np.uint8)))
    good[20] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        decode(bytes(good))
    with pytest.raises(ValueError, match="signature"):
        decode(b"GIF89a")


def test_a_header_that_lies_allocates_nothing():
    """2^31 x 2^31 pixels in a hundred bytes, and a size that only a longer stream could fill."""
    for size in ((1 << 31) - 1, 16000):
        with pytest.raises(ValueError, match="pixels|promises"):
            decode(_png.SIGNATURE + header(width=size, height=size) + PIXELS + END)


@given(st.data())
def test_mutated_files_raise_only_value_error(drawn):
    data = bytearray(encode(drawn.draw(images())))
    for _ in range(drawn.draw(st.integers(1, 4))):
        what = drawn.draw(st.sampled_from(["flip", "cut", "insert", "checksummed"]))
        place = drawn.draw(st.integers(0, max(0, len(data) - 1)))
        if what == "flip" and data:
            data[place] ^= drawn.draw(st.integers(1, 255))
        elif what == "cut":
            del data[place:]
        elif what == "insert":
            data[place:place] = drawn.draw(st.binary(max_size=9))
        elif len(data) > 33:
            # A changed header whose checksum is right, so that what lies behind the checksum is tried too.
            data[16 + place % 13] ^= drawn.draw(st.integers(1, 255))
            data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    try:
        image = decode(bytes(data))
    except ValueError:
        return
    assert image.dtype in (np.uint8, np.uint16)


def test_bad_arrays_are_refused():
    with pytest.raises(TypeError, match="float64"):
        encode(np.zeros((3, 3)))
    for shape in ((3,), (3, 3, 5), (0, 3), (2, 2, 2, 2)):
        with pytest.raises(ValueError, match="expected shape"):
            encode(np.zeros(shape, np.uint8))


def test_real_files_equal_pillow(data):
    for file in sorted(data.glob("*/*.png")):
        if "pixel4" not in str(file) or "001" in file.name:
            assert np.array_equal(decode(file.read_bytes()), np.array(Image.open(file))), file.name
