"""OpenEXR: the header is parsed and checked here, the pixels are decoded by the OpenEXR library.

Reference: OpenEXR file layout (openexr.com, technical documentation).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .colour import LINEAR, Colour, from_primaries, unknown
from .raster import MAX_BYTES, Stored

__all__ = ["LONGEST_HEADER", "SIGNATURE", "decode_exr", "size"]

SIGNATURE = b"v/1\x01"
LONGEST_HEADER = 1 << 20
"""Bytes that are searched for the end of the header."""
_TILED, _LONG_NAMES, _DEEP, _PARTS = 0x200, 0x400, 0x800, 0x1000
_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Rows of a chunk by compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB."""
_DEPTH_NAMES = ("z", "depth", "distance")


class _Channel(NamedTuple):
    name: str
    bytes: int
    subsampled: bool


class _Header(NamedTuple):
    channels: tuple[_Channel, ...]
    data: tuple[int, int, int, int]  # left, top, right, bottom, inclusive
    display: tuple[int, int, int, int]
    compression: int
    tiled: bool
    colour: Colour
    end: int


def size(data: bytes) -> tuple[int, int]:
    """Height and width from the header; ValueError where it is damaged."""
    left, top, right, bottom = _header(data).display
    return bottom - top + 1, right - left + 1


def decode_exr(data: bytes, file: Path, *, depth: bool = False) -> Stored:
    """OpenEXR of one part: the picture (R, G, B, or Y, perhaps A), or with `depth` the depth (Z).

    Parameters
    ----------
    data : bytes
        The whole file.
    file : Path
        The same on disk: the library reads it itself.
    depth : bool
        Whether the channel ``Z``, ``Depth`` or ``Distance`` is wanted, of any layer, or the only one.

    Returns
    -------
    Stored
        float16, float32 or uint32 of shape (H, W) or (H, W, C), the display window. Pixels outside the data window
        are 0 in a picture and NaN (in floats) in depth.

    Raises
    ------
    ValueError
        The file is damaged, deep, of several parts, subsampled, or has no such channel, or several.

    Notes
    -----
    Half and float numbers are linear light of the primaries that the attribute ``chromaticities`` gives, else those of
    sRGB. Layers are channels with a prefix: ``ViewLayer.Combined.R``, ``ViewLayer.Depth.Z``. Cost O(H W C).
    """
    header = _header(data)
    _check_chunks(data, header)
    names = _depth_channel(header) if depth else _picture_channels(header)
    if any(channel.subsampled for channel in header.channels if channel.name in names):
        raise ValueError("OpenEXR: expected a sample for each pixel, got subsampled channels; save it as RGB")
    planes = _pixels(file, names)
    shape = (header.data[3] - header.data[1] + 1, header.data[2] - header.data[0] + 1)
    if any(plane.shape != shape for plane in planes):
        raise ValueError(f"OpenEXR file is damaged: {shape[1]} x {shape[0]} px became shape {planes[0].shape}")
    kind = np.result_type(*planes)
    values = _framed(np.stack([plane.astype(kind) for plane in planes], axis=-1), header, depth)
    return Stored(values[..., 0] if len(names) == 1 else values, None, None if depth else header.colour)


def _framed(values: np.ndarray, header: _Header, depth: bool) -> np.ndarray:
    """Cut or extend the data window to the display window."""
    if header.data == header.display:
        return values
    left, top, right, bottom = header.display
    empty = np.nan if depth and values.dtype.kind == "f" else 0
    framed = np.full((bottom - top + 1, right - left + 1, values.shape[-1]), empty, values.dtype)
    rows = slice(max(top, header.data[1]), min(bottom, header.data[3]) + 1)
    columns = slice(max(left, header.data[0]), min(right, header.data[2]) + 1)
    if rows.start < rows.stop and columns.start < columns.stop:
        framed[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = values[
            rows.start - header.data[1] : rows.stop - header.data[1],
            columns.start - header.data[0] : columns.stop - header.data[0],
        ]
    return framed


def _picture_channels(header: _Header) -> tuple[str, ...]:
    """Return the names of R, G, B (or Y) and A: those without a layer, else those of the only layer that has them."""
    names = [channel.name for channel in header.channels]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
    found = []
    for layer in layers:
        own = {name.rpartition(".")[2].upper(): name for name in names if name.rpartition(".")[0] == layer}
        colours = ("R", "G", "B") if {"R", "G", "B"} <= own.keys() else ("Y",)
        if set(colours) <= own.keys():
            if colours == ("Y",) and {"RY", "BY"} & own.keys():
                raise ValueError("OpenEXR: expected RGB or grey, got luminance and chroma (Y, RY, BY); save it as RGB")
            found.append(tuple(own[name] for name in (*colours, "A") if name in own))
    if not found and len(names) == 1:
        return (names[0],)
    preferred = [group for group in found if "." not in group[0]] or [
        group for group in found if "combined" in group[0].lower()
    ]
    found = preferred if len(preferred) == 1 else found
    if len(found) != 1:
        raise ValueError(f"OpenEXR: expected one picture, channels R, G, B or Y, got {_listed(names)}")
    return found[0]


def _depth_channel(header: _Header) -> tuple[str, ...]:
    names = [channel.name for channel in header.channels]
    found = [name for name in names if name.rpartition(".")[2].lower() in _DEPTH_NAMES]
    found = found or (names if len(names) == 1 else [])
    found = [name for name in found if "." not in name] or found
    if len(found) == 1:
        return (found[0],)
    if not found and {"R", "G", "B"} <= set(names):  # a map saved in colours; the reader of depth judges them
        return _picture_channels(header)
    raise ValueError(f"OpenEXR: expected one channel of depth, called Z or Depth, got {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


def _pixels(file: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    try:
        import OpenEXR
    except ImportError:
        raise ValueError("OpenEXR files need the package OpenEXR: pip install OpenEXR") from None
    try:
        with OpenEXR.File(str(file), separate_channels=True) as opened:
            stored: Any = opened.channels()
            planes = [np.array(stored[name].pixels) for name in names]
    except Exception as error:  # decoders of untrusted bytes fail in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"OpenEXR file is damaged or cut short ({reason})") from None
    return planes


# ---- header -------------------------------------------------------------------------------------------------------


def _header(data: bytes) -> _Header:
    try:
        return _parsed(data)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError("OpenEXR file is damaged or cut short: its header cannot be read") from None


def _parsed(data: bytes) -> _Header:
    (flags,) = struct.unpack_from("<I", data, 4)
    if flags & _PARTS:
        raise ValueError("OpenEXR: expected one picture, got a file of several parts; save the one you want by itself")
    if flags & _DEEP:
        raise ValueError("OpenEXR: expected one sample for each pixel, got deep data; flatten it first")
    if flags & 0xFF != 2 or flags & ~(0xFF | _TILED | _LONG_NAMES):
        raise ValueError(f"OpenEXR file is damaged, or of an unknown version ({flags:#x})")
    attributes, position = dict[str, bytes](), 8
    while data[position] != 0:
        name, position = _text(data, position)
        _, position = _text(data, position)
        (length,) = struct.unpack_from("<i", data, position)
        position += 4
        if length < 0 or position + length > len(data):
            raise struct.error
        attributes[name] = data[position : position + length]
        position += length
    windows = []
    for name in ("dataWindow", "displayWindow"):
        left, top, right, bottom = struct.unpack("<4i", attributes.get(name, b""))
        if not (0 <= right - left < 1 << 20 and 0 <= bottom - top < 1 << 20):
            raise ValueError(f"OpenEXR file is damaged: its {name} is {left}, {top} to {right}, {bottom}")
        windows.append((left, top, right, bottom))
    channels = tuple(_channels(attributes.get("channels", b"")))
    for left, top, right, bottom in windows:
        pixels = (right - left + 1) * (bottom - top + 1)
        if pixels * max(4, sum(channel.bytes for channel in channels)) > MAX_BYTES:
            raise ValueError(
                f"OpenEXR file says {right - left + 1} x {bottom - top + 1} pixels of {len(channels)} channels, more "
                f"than the {MAX_BYTES >> 20} MiB this reader takes"
            )
    return _Header(
        channels=channels,
        data=windows[0],
        display=windows[1],
        compression=attributes.get("compression", b"\xff")[0],
        tiled=bool(flags & _TILED),
        colour=_colour(attributes.get("chromaticities")),
        end=position + 1,
    )


def _text(data: bytes, start: int) -> tuple[str, int]:
    stop = data.find(b"\0", start, start + 256)
    if stop <= start:
        raise struct.error
    return data[start:stop].decode("utf-8"), stop + 1


def _channels(listed: bytes) -> Iterable[_Channel]:
    position = 0
    while listed[position] != 0:
        name, position = _text(listed, position)
        kind, _, across, down = struct.unpack_from("<iB3x2i", listed, position)
        if kind not in (0, 1, 2) or across < 1 or down < 1:
            raise struct.error
        position += 16
        yield _Channel(name, 2 if kind == 1 else 4, (across, down) != (1, 1))


def _colour(chromaticities: bytes | None) -> Colour:
    if chromaticities is None:
        return LINEAR
    try:
        red_green_blue_white = struct.unpack("<8f", chromaticities)
        order = red_green_blue_white[6:] + red_green_blue_white[:6]
        return from_primaries("the primaries (chromaticities) of the file", order, None)
    except (struct.error, ValueError):
        return unknown("primaries (chromaticities) that are damaged")


def _check_chunks(data: bytes, header: _Header) -> None:
    """Check that each chunk of a file of scan lines lies inside it, before anything is decoded."""
    if header.tiled or header.compression not in _LINES:
        return
    top, bottom = header.data[1], header.data[3]
    count = -(-(bottom - top + 1) // _LINES[header.compression])
    if header.end + 8 * count > len(data):
        raise ValueError("OpenEXR file is cut short: its table of rows is not complete")
    for start in struct.unpack_from(f"<{count}Q", data, header.end):
        if start + 8 > len(data) or start + 8 + max(0, struct.unpack_from("<i", data, start + 4)[0]) > len(data):
            raise ValueError("OpenEXR file is damaged or cut short: it lacks rows of its table")
