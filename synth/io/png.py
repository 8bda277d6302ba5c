"""PNG files, bit for bit: every colour type and depth of the format, 16-bit colour included.

The structure of a file is checked here, before anything is decoded: sizes, checksums, palettes, and how many bytes its
pixels unpack to. libpng (through imagecodecs) then undoes the row filters of pixels that are known to be complete, so
that it neither warns nor allocates more than was checked.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import NamedTuple

import numpy as np

__all__ = ["SIGNATURE", "ancillary", "decode", "encode", "inflate_chunk", "size"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 30
"""Largest decoded image, in bytes; a header with a larger size is refused before anything is allocated."""
MAX_SIDE = 1_000_000
"""Largest height and width, px: libpng takes no more."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_MAX_DEFLATE_RATIO = 1040  # no deflate stream expands by more than 1032 to 1


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def decoded_bytes(self) -> int:
        channels = 4 if self.colour == 3 else _CHANNELS[self.colour]
        return self.height * self.width * channels * (2 if self.depth == 16 else 1)

    @property
    def pixel_bits(self) -> int:
        return self.depth * _CHANNELS[self.colour]

    def row_bytes(self, width: int) -> int:
        return (width * self.pixel_bits + 7) // 8

    def passes(self) -> list[tuple[slice, slice, int, int]]:
        """Rows, columns, height and width of each pass over the image; one pass when not interlaced."""
        if not self.interlaced:
            return [(slice(None), slice(None), self.height, self.width)]
        result = []
        for top, left, down, right in _ADAM7:
            h, w = -(-(self.height - top) // down), -(-(self.width - left) // right)
            if h > 0 and w > 0:
                result.append((slice(top, None, down), slice(left, None, right), h, w))
        return result


def decode(data: bytes) -> np.ndarray:
    """Decode a PNG file without losing a bit.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)
        uint16 for 16-bit files, otherwise uint8. Grey of fewer than 8 bits is scaled to 0..255; palettes come out as
        the colours they name; a transparent colour (``tRNS``) becomes an alpha channel, so C is 2 (grey and alpha), 3
        or 4.

    Raises
    ------
    ValueError
        The file is not a valid PNG, is cut short, fails a checksum, or would be larger than 1 GiB decoded.

    Notes
    -----
    Interlaced files are supported. What the file says about colour and orientation is in its `ancillary` chunks. Cost
    O(H W C), memory four images.

    References
    ----------
    Portable Network Graphics (PNG) Specification, W3C Recommendation, second edition, 2003.
    """
    from imagecodecs import png_decode

    header, palette, transparent, stream = _chunks(data)
    passes = header.passes()
    lengths = [h * (1 + header.row_bytes(w)) for _, _, h, w in passes]
    raw, start, parts = memoryview(_inflate(stream, sum(lengths))), 0, list[np.ndarray]()
    for (_, _, h, w), length in zip(passes, lengths, strict=True):
        plain = _plain(header, h, w, raw[start : start + length], transparent)
        start += length
        try:
            parts.append(np.asarray(png_decode(plain)))
        except RuntimeError as error:
            raise ValueError(f"PNG file is damaged ({error})") from None
    image = parts[0]
    if header.interlaced:
        image = np.empty((header.height, header.width, *image.shape[2:]), image.dtype)
        for (across, along, _, _), part in zip(passes, parts, strict=True):
            image[across, along] = part
    return image if header.colour != 3 else _look_up(image // (255 // ((1 << header.depth) - 1)), palette, transparent)


def _plain(header: _Header, height: int, width: int, rows: memoryview, transparent: bytes | None) -> bytes:
    """Pack filtered rows as a file without compression, interlacing or palette: indices become levels of grey."""
    lines = np.frombuffer(rows, np.uint8).reshape(height, -1)
    if (kind := lines[:, 0].max()) > 4:
        raise ValueError(f"PNG file is damaged: row filter {kind} does not exist")
    colour = 0 if header.colour == 3 else header.colour
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, header.depth, colour, 0, 0, 0))]
    if transparent is not None and header.colour in (0, 2):
        if len(transparent) != 2 * _CHANNELS[colour]:
            raise ValueError(
                f"PNG file is damaged: its tRNS chunk has {len(transparent)} bytes instead of {2 * _CHANNELS[colour]}"
            )
        chunks.append((b"tRNS", transparent))
    chunks += [(b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
        for name, body in chunks
    )


def size(data: bytes) -> tuple[int, int]:
    """Height and width, as the header of a PNG file says; ValueError where it has none."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ValueError("PNG file is cut short or damaged: it has no header")
    header = _header(data[16:29])
    return header.height, header.width


def ancillary(data: bytes | mmap.mmap) -> dict[bytes, bytes]:
    """Return the bodies of the ancillary chunks by name, the first of each; for a file that `decode` accepts."""
    found: dict[bytes, bytes] = {}
    position = 8
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name[0] & 32:
            found.setdefault(name, data[position + 8 : position + 8 + length])
        position += 12 + length
    return found


def inflate_chunk(body: bytes, limit: int = 1 << 24) -> bytes:
    """Decompress the body of a chunk; ValueError where it is damaged or larger than `limit` bytes."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(body, limit)
    except zlib.error as error:
        raise ValueError(f"a packed chunk is damaged ({error})") from None
    if not stream.eof:
        raise ValueError("a packed chunk is cut short, or larger than it may be")
    return text


def _chunks(data: bytes) -> tuple[_Header, np.ndarray | None, bytes | None, bytes]:
    """Walk through the chunks: header, palette of shape (n, 3), transparency, compressed pixels."""
    if data[:8] != SIGNATURE:
        raise ValueError("not a PNG file: the first eight bytes are not the PNG signature")
    header, palette, transparent, parts = None, None, None, []
    position, ended = 8, False
    while not ended:
        if position + 12 > len(data):
            raise ValueError("PNG file is cut short: it ends before its IEND chunk")
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if position + 12 + length > len(data):
            raise ValueError(f"PNG file is cut short: chunk {name!r} promises {length} bytes, {len(body)} are there")
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(body, zlib.crc32(name)) != checksum:
            raise ValueError(f"PNG file is damaged: the checksum of chunk {name!r} does not match")
        if (header is None) != (name == b"IHDR"):
            raise ValueError("PNG file is damaged: IHDR must be the first chunk and stand there once")
        if name == b"IHDR":
            header = _header(body)
        elif name == b"PLTE":
            if length % 3 or not 0 < length <= 768 or palette is not None:
                raise ValueError(
                    f"PNG file is damaged: its palette has {length} bytes, not 3 for each of 1 to 256 colours"
                )
            palette = np.frombuffer(body, np.uint8).reshape(-1, 3)
        elif name == b"tRNS":
            transparent = body
        elif name == b"IDAT":
            parts.append(body)
        elif name == b"IEND":
            ended = True
        elif not name[0] & 32:
            raise ValueError(f"PNG file has a critical chunk {name!r} that the format does not define")
        position += 12 + length
    if header is None or not parts:
        raise ValueError("PNG file is damaged: it holds no pixels (no IDAT chunk)")
    return header, palette, transparent, b"".join(parts)


def _header(body: bytes) -> _Header:
    if len(body) != 13:
        raise ValueError(f"PNG file is damaged: its header has {len(body)} bytes instead of 13")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31):
        raise ValueError(f"PNG file is damaged: its header says {width} x {height} pixels")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ValueError(
            f"PNG file is damaged: colour type {colour} with {depth} bits, compression {compression}, filter "
            f"{filtering} and interlace {interlace} is no combination the format defines"
        )
    header = _Header(width, height, depth, colour, bool(interlace))
    if header.decoded_bytes > MAX_BYTES or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"PNG file says {width} x {height} pixels, more than the {MAX_BYTES >> 20} MiB or {MAX_SIDE} pixels a side "
            "that this reader takes"
        )
    return header


def _inflate(stream: bytes, expected: int) -> bytes:
    """Decompress to exactly `expected` bytes, without allocating more than the stream can fill."""
    if expected > _MAX_DEFLATE_RATIO * len(stream) + 64:
        raise ValueError(
            f"PNG file is cut short: {len(stream)} compressed bytes cannot hold the {expected} its header promises"
        )
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(stream, expected)
        surplus = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(f"PNG file is damaged: its pixels do not decompress ({error})") from None
    if len(raw) < expected:
        raise ValueError(f"PNG file is cut short: {len(raw)} bytes of pixels instead of {expected}")
    if surplus or not inflater.eof:
        raise ValueError(f"PNG file is damaged: it holds more than the {expected} bytes of pixels its header promises")
    return raw


def _look_up(index: np.ndarray, palette: np.ndarray | None, transparent: bytes | None) -> np.ndarray:
    if palette is None:
        raise ValueError("PNG file is damaged: it uses a palette and has none")
    if index.max() >= len(palette):
        raise ValueError(f"PNG file is damaged: colour {index.max()} of a palette of {len(palette)}")
    colours = palette
    if transparent is not None:
        if len(transparent) > len(palette):
            raise ValueError(f"PNG file is damaged: {len(transparent)} transparencies for a palette of {len(palette)}")
        alpha = np.full((len(palette), 1), 255, np.uint8)
        alpha[: len(transparent), 0] = np.frombuffer(transparent, np.uint8)
        colours = np.concatenate([palette, alpha], axis=1)
    image: np.ndarray = colours[index]
    return image


def encode(array: np.ndarray, *, level: int = 6) -> bytes:
    """Encode an image as PNG without losing a bit.

    Parameters
    ----------
    array : ndarray of shape (H, W) or (H, W, C)
        uint8 or uint16; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
    level : int
        zlib's effort, 0 to 9.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    TypeError
        The array is neither uint8 nor uint16.
    ValueError
        The shape is none of the above, or empty, or longer than 1 000 000 pixels a side.

    Notes
    -----
    Cost O(H W C).
    """
    from imagecodecs import png_encode

    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"PNG: expected uint8 or uint16 samples, got {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 2, 3, 4)) or array.size == 0:
        raise ValueError(f"PNG: expected shape (H, W) or (H, W, C) with C of 1 to 4, got {array.shape}")
    if max(array.shape[:2]) > MAX_SIDE:
        raise ValueError(f"PNG: expected at most {MAX_SIDE} pixels a side, got shape {array.shape}")
    filtered = array.nbytes + array.shape[0]  # imagecodecs underestimates the size for short rows
    return bytes(png_encode(array.copy(), level=level, out=filtered + filtered // 50 + 1024))
