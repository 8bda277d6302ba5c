"""JPEG XL: the header is parsed here, the pixels are decoded by libjxl (through imagecodecs).

Reference: ISO/IEC 18181-1 (the image header of a codestream) and 18181-2 (the boxes around it).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from .colour import LINEAR, SRGB, Colour, unknown
from .orientation import Layout
from .raster import MAX_BYTES, Stored

__all__ = ["decode_jpegxl", "is_jpegxl", "layout"]

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))


class _Header(NamedTuple):
    height: int
    width: int
    orientation: int
    animated: bool
    channels: int
    bytes: int
    colour: Colour


def is_jpegxl(data: bytes) -> bool:
    """Return whether the file has the signature of JPEG XL, with or without boxes."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def layout(data: bytes) -> Layout:
    """Return stored size and orientation from the header; ValueError where it is damaged."""
    header = _header(data)
    return Layout((header.height, header.width), header.orientation)


def decode_jpegxl(data: bytes) -> Stored:
    """JPEG XL of one picture: uint8, uint16 or floats of shape (H, W) or (H, W, C), grey or RGB, alpha last.

    Raises
    ------
    ValueError
        The file is damaged, is an animation, or would be larger than 1 GiB decoded.
    """
    import imagecodecs

    header = _header(data)
    if header.animated:
        raise ValueError("JPEG XL: expected one picture, got an animation; save the frame you want")
    if header.height * header.width * header.channels * header.bytes > MAX_BYTES:
        raise ValueError(
            f"JPEG XL file says {header.width} x {header.height} pixels, more than the {MAX_BYTES >> 20} MiB this "
            "reader takes"
        )
    try:
        values = np.asarray(imagecodecs.jpegxl_decode(data, keeporientation=True))
    except Exception as error:  # decoders of untrusted bytes fail in many ways
        raise ValueError(f"JPEG XL file is damaged or cut short ({error})") from None
    if values.shape[:2] != (header.height, header.width) or values.ndim > 3:
        raise ValueError(f"JPEG XL file is damaged: {header.width} x {header.height} px became shape {values.shape}")
    return Stored(values, header.orientation, header.colour, exact=False)


def _header(data: bytes) -> _Header:
    try:
        return _parse(_Bits(_codestream(data)))
    except (IndexError, struct.error):
        raise ValueError("JPEG XL file is damaged or cut short: its header cannot be read") from None


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream, out of its box."""
    if data.startswith(_CODESTREAM):
        return data[2:]
    start = len(_CONTAINER)
    while True:
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        if kind in (b"jxlc", b"jxlp"):
            inner = start + head + (4 if kind == b"jxlp" else 0)
            if data[inner : inner + 2] != _CODESTREAM:
                raise struct.error
            return data[inner + 2 : inner + 4096]
        if length < head:
            raise struct.error
        start += length


class _Bits:
    """Numbers of a codestream, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> int:
        value = 0
        for i in range(count):
            value |= (self.data[self.position >> 3] >> (self.position & 7) & 1) << i
            self.position += 1
        return value

    def choose(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Read two bits that choose how many more there are, and from where they count."""
        count, offset = choices[self.take(2)]
        return offset + self.take(count)


def _parse(bits: _Bits) -> _Header:
    height, width = _size(bits)
    orientation, animated, sample, channels, colour = 1, False, 1, 3, SRGB
    if not bits.take(1):  # else all is as by default
        if bits.take(1):
            orientation = 1 + bits.take(3)
            if bits.take(1):
                _size(bits)
            if bits.take(1):
                raise ValueError("JPEG XL: expected a picture without a preview; convert it first")
            animated = bool(bits.take(1))
        if animated:
            return _Header(height, width, orientation, True, 4, 4, SRGB)
        sample = _sample_bytes(bits)
        bits.take(1)
        extra = bits.choose(((0, 0), (0, 1), (4, 2), (12, 1)))
        known = all(_is_plain_alpha(bits) for _ in range(extra))
        channels += extra
        colour = _colour(bits) if known else unknown("channels other than alpha")
    return _Header(height, width, orientation, animated, channels, sample, colour)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.choose(_SIZES)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height, height * across // down
    return height, 8 * (bits.take(5) + 1) if small else bits.choose(_SIZES)


def _sample_bytes(bits: _Bits) -> int:
    if bits.take(1):
        depth = bits.choose(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
    else:
        depth = bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))
    return -(-depth // 8)


def _is_plain_alpha(bits: _Bits) -> bool:
    """Parse the description of an extra channel; False where it is not a plain alpha channel."""
    if bits.take(1):
        return True
    kind = bits.choose(_ENUM)
    _sample_bytes(bits)
    bits.choose(((0, 0), (0, 3), (0, 4), (3, 1)))
    name = bits.choose(((0, 0), (4, 0), (5, 16), (10, 48)))
    bits.take(8 * name)
    if kind == 0:
        bits.take(1)
    return kind == 0


def _colour(bits: _Bits) -> Colour:
    """Return sRGB or linear light of sRGB's primaries; sRGB is assumed for all else."""
    bits.take(1)  # whether the pixels are stored as XYB; they come back in the colours below
    if bits.take(1):
        return SRGB
    profile, space = bits.take(1), bits.choose(_ENUM)
    if profile or space > 1:
        return unknown("an ICC profile, or a colour space other than RGB and grey, in JPEG XL")
    white = bits.choose(_ENUM)
    primaries = 1 if space == 1 else bits.choose(_ENUM) if white == 1 else 0
    if (white, primaries) != (1, 1) or bits.take(1):
        return unknown("primaries other than those of sRGB, or a curve of its own, in JPEG XL")
    curve = bits.choose(_ENUM)
    return {8: LINEAR, 13: SRGB}.get(curve) or unknown(f"transfer function {curve} of JPEG XL")
