"""Portable Network Graphics, bit for bit: every colour type and depth the format has, 16-bit colour included.

The usual Python readers hand 16-bit colour back as its top eight bits without a word, which ruins linear-light work;
this module exists for that case and then serves all others too. Only zlib and NumPy are used.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import NamedTuple

import numpy as np

__all__ = ["SIGNATURE", "ancillary", "decode", "encode", "inflated", "size"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 30
"""Largest decoded image, in bytes: a header that promises more is refused before anything is allocated."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_DEFLATE_LIMIT = 1040  # no deflate stream expands by more than 1032 to 1
_BLOCK_BYTES = 1 << 24


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
    O(H W C), memory three images.

    References
    ----------
    Portable Network Graphics (PNG) Specification, W3C Recommendation, second edition, 2003.
    """
    header, palette, transparent, stream = _chunks(data)
    rows = [h * (1 + header.row_bytes(w)) for _, _, h, w in header.passes()]
    raw = _inflate(stream, sum(rows))
    samples = np.empty(
        (header.height, header.width, _CHANNELS[header.colour]), np.uint16 if header.depth == 16 else np.uint8
    )
    start = 0
    for (across, along, h, w), length in zip(header.passes(), rows, strict=True):
        lines = np.frombuffer(raw, np.uint8, length, start).reshape(h, -1)
        samples[across, along] = _samples(_unfilter(lines, max(1, header.pixel_bits // 8)), header, w)
        start += length
    return _colours(samples, header, palette, transparent)


def size(data: bytes) -> tuple[int, int]:
    """Height and width, as the header of a PNG file says; ValueError where it has none."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ValueError("PNG file is cut short or damaged: it has no header")
    header = _header(data[16:29])
    return header.height, header.width


def ancillary(data: bytes | mmap.mmap) -> dict[bytes, bytes]:
    """Bodies of the chunks that may be left out, by name, the first of each; for a file that `decode` takes."""
    found: dict[bytes, bytes] = {}
    position = 8
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name[0] & 32:
            found.setdefault(name, data[position + 8 : position + 8 + length])
        position += 12 + length
    return found


def inflated(body: bytes, limit: int = 1 << 24) -> bytes:
    """Unpack what a chunk holds; ValueError where it is damaged or larger than `limit` bytes."""
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
    if header.decoded_bytes > MAX_BYTES:
        raise ValueError(
            f"PNG file says {width} x {height} pixels, more than the {MAX_BYTES >> 20} MiB this reader takes"
        )
    return header


def _inflate(stream: bytes, expected: int) -> bytes:
    """Decompress to exactly `expected` bytes, never allocating more than the stream can honestly fill."""
    if expected > _DEFLATE_LIMIT * len(stream) + 64:
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


def _unfilter(lines: np.ndarray, stride: int) -> np.ndarray:
    """Undo the row filters: bytes of shape (h, 1 + n), filter type first, to bytes of shape (h, n).

    A pixel needs its left, upper and upper-left neighbours, so all pixels of one anti-diagonal are independent: the
    rows are handled in blocks, and a block diagonal by diagonal, as arrays.
    """
    kinds, body = lines[:, 0], lines[:, 1:]
    if kinds.max() > 4:
        raise ValueError(f"PNG file is damaged: row filter {kinds.max()} does not exist")
    if not kinds.any():
        return body
    h, n = body.shape
    width = n // stride  # rows of less than a byte per pixel have stride 1, so this is exact
    out = np.empty((h, width, stride), np.uint8)
    above = np.zeros((width, stride), np.uint8)
    step = min(512, max(1, _BLOCK_BYTES // n))
    for top in range(0, h, step):
        rows = min(step, h - top)
        block = body[top : top + rows].reshape(rows, width, stride)
        out[top : top + rows] = _unfilter_block(block, kinds[top : top + rows], above)
        above = out[top + rows - 1]
    return out.reshape(h, n)


def _unfilter_block(block: np.ndarray, kinds: np.ndarray, above: np.ndarray) -> np.ndarray:
    rows, width, stride = block.shape
    # skew[d, r + 1] is pixel (r, d - r - 1); column 0 is the row above the block. What was never written is the zero
    # outside the image.
    skew = np.zeros((rows + width + 1, rows + 1, stride), np.int16)
    row = np.arange(rows)[:, None]
    diagonal = row + 1 + np.arange(1, width + 1)[None, :]
    skew[np.arange(1, width + 1), 0] = above
    skew[diagonal, row + 1] = block
    kind = kinds[:, None]
    present = [k for k in (1, 2, 3, 4) if (kinds == k).any()]
    for d in range(2, rows + width + 1):
        first, last = max(0, d - 1 - width), min(rows, d - 1)
        here = skew[d, first + 1 : last + 1]
        a, b, c = skew[d - 1, first + 1 : last + 1], skew[d - 1, first:last], skew[d - 2, first:last]
        chosen = kind[first:last]
        for k in present:
            if k == 1:
                guess = a
            elif k == 2:
                guess = b
            elif k == 3:
                guess = (a + b) >> 1
            else:
                guess = _paeth(a, b, c)
            here += np.where(chosen == k, guess, 0)
        here &= 255
    return skew[diagonal, row + 1].astype(np.uint8)


def _paeth(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return whichever of left, above, upper left is nearest to a + b - c, ties in that order."""
    da, db = np.abs(b - c), np.abs(a - c)
    dc = np.abs(a + b - 2 * c)
    return np.where((da <= db) & (da <= dc), a, np.where(db <= dc, b, c))


def _samples(body: np.ndarray, header: _Header, width: int) -> np.ndarray:
    """Bytes of shape (h, n) to samples of shape (h, width, channels)."""
    h, channels = body.shape[0], _CHANNELS[header.colour]
    if header.depth == 16:
        return np.ascontiguousarray(body).view(">u2").reshape(h, width, channels).astype(np.uint16)
    if header.depth == 8:
        return body.reshape(h, width, channels)
    bits = np.unpackbits(body, axis=1).reshape(h, -1, header.depth)[:, :width]
    weights = 1 << np.arange(header.depth - 1, -1, -1, dtype=np.uint8)
    values: np.ndarray = (bits * weights).sum(-1, dtype=np.uint8)
    return values[..., None]


def _colours(samples: np.ndarray, header: _Header, palette: np.ndarray | None, transparent: bytes | None) -> np.ndarray:
    """Palette look-up, transparent colour, and the scaling of narrow grey."""
    if header.colour == 3:
        return _look_up(samples[..., 0], palette, transparent)
    image = samples
    if transparent is not None and header.colour in (0, 2):
        channels = _CHANNELS[header.colour]
        if len(transparent) != 2 * channels:
            raise ValueError(
                f"PNG file is damaged: its tRNS chunk has {len(transparent)} bytes instead of {2 * channels}"
            )
        key = np.frombuffer(transparent, ">u2")
        opaque = (samples != key).any(-1, keepdims=True)
        image = np.concatenate([samples, opaque * samples.dtype.type((1 << header.depth) - 1)], axis=-1)
    if header.depth < 8:
        image = image * np.uint8(255 // ((1 << header.depth) - 1))
    if image.shape[-1] == 1:
        image = image[..., 0]
    return image


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
        The whole file. Each row takes the filter whose residual has the smallest sum of absolute values.

    Raises
    ------
    TypeError
        The array is neither uint8 nor uint16.
    ValueError
        The shape is none of the above, or empty.

    Notes
    -----
    Cost O(H W C).
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"PNG: expected uint8 or uint16 samples, got {array.dtype}")
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4) or image.size == 0:
        raise ValueError(f"PNG: expected shape (H, W) or (H, W, C) with C of 1 to 4, got {array.shape}")
    height, width, channels = image.shape
    wide = image.dtype == np.uint16
    body = np.ascontiguousarray(image.astype(">u2") if wide else image).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16 if wide else 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    pixels = zlib.compress(_filter(body, channels * (2 if wide else 1)).tobytes(), level)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _filter(body: np.ndarray, stride: int) -> np.ndarray:
    """Bytes of shape (h, n) to filtered rows of shape (h, 1 + n), the best of the five filters for each row."""
    h, n = body.shape
    padded = np.zeros((h + 1, n + stride), np.int16)
    padded[1:, stride:] = body
    a, b, c = padded[1:, :-stride], padded[:-1, stride:], padded[:-1, :-stride]
    out = np.empty((h, 1 + n), np.uint8)
    best = np.full(h, np.iinfo(np.int64).max)
    for kind, guess in enumerate((0, a, b, (a + b) >> 1, _paeth(a, b, c))):
        residual = (body - guess).astype(np.uint8)
        size = np.abs(residual.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64)
        better = size < best
        best[better] = size[better]
        out[better, 0], out[better, 1:] = kind, residual[better]
    return out
