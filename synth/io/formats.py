"""Recognising and decoding image and depth files; ValueError for damaged ones."""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Mapping

import numpy as np

from blurphys.files.publishing import PathLike, existing_file

from . import jpegxl, png
from .colour import from_png
from .orientation import Layout, companion_orientation, from_exif, turn_upright
from .raster import Stored, decode_jpeg, decode_tiff, decode_webp, is_tiff, is_webp, layout_of

__all__ = [
    "Stored",
    "encode_npy",
    "encode_pfm",
    "layout",
    "orientation_for",
    "read_array",
    "read_stored",
    "upright_size",
]

DPT_SIGNATURE = b"PIEH"
NPY_SIGNATURE = b"\x93NUMPY"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_EXPECTED = "a PNG, JPEG, JPEG XL, TIFF, WebP, PFM, Sintel .dpt or .npy file"


def read_array(path: PathLike, *, belongs_to: PathLike | None = None) -> np.ndarray:
    """Read the numbers of an image file, unconverted.

    Parameters
    ----------
    path : path
        PNG (every colour type, 1 to 16 bits, interlaced or not), JPEG, JPEG XL, TIFF (one page; integers or floats),
        WebP, PFM, Sintel ``.dpt``, or ``.npy``.
    belongs_to : path, optional
        The picture whose depth map, mask or other view this is, so that both get the same orientation. See Notes.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)
        In the file's own type: uint8, uint16, float32, or what the ``.npy`` file holds, which keeps its shape. Top row
        first, R before G before B, alpha last. PNG palettes are looked up and grey below 8 bits is scaled to 0..255;
        what has an EXIF orientation is turned upright.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is of another format, damaged or cut short, holds several pictures, or its header promises more than
        it can hold.

    Warns
    -----
    PictureWarning
        `belongs_to` has an orientation that keeps its shape, and `path` has none.

    Notes
    -----
    A companion with an orientation of its own is turned by that. One without is assumed to be stored like the pixels of
    its picture and is turned with them, unless only the upright picture has its shape: then it is upright already.

    Pillow, imageio and scikit-image return the top eight bits of 16-bit colour PNG files; this reader returns all 16.
    Nothing is ever unpickled. Cost O(H W C); a 1680 x 1120 PNG of 16-bit colour takes about a tenth of a second.
    """
    stored = read_stored(path)
    return turn_upright(stored.values, orientation_for(path, stored, belongs_to))


def orientation_for(path: PathLike, stored: Stored, belongs_to: PathLike | None) -> int | None:
    """Return the orientation that a file is to be turned by, as for `read_array`."""
    if belongs_to is None:
        return stored.orientation
    return companion_orientation(path, Layout(stored.size, stored.orientation), belongs_to, layout(belongs_to))


def read_stored(path: PathLike) -> Stored:
    """Read the numbers of an image file, not turned, with its orientation and colour encoding."""
    file = existing_file(path)
    data = file.read_bytes()
    try:
        if data.startswith(png.SIGNATURE):
            return decode_png(data)
        if data.startswith(_JPEG_SIGNATURE):
            return decode_jpeg(data)
        if is_webp(data):
            return decode_webp(data)
        if is_tiff(data):
            return decode_tiff(data)
        if jpegxl.is_jpegxl(data):
            return jpegxl.decode_jpegxl(data)
        if data.startswith((b"PF", b"Pf")):
            return Stored(decode_pfm(data))
        if data.startswith(DPT_SIGNATURE):
            return Stored(decode_dpt(data))
        if data.startswith(NPY_SIGNATURE):
            return Stored(decode_npy(data), axes=None)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if not data:
        raise ValueError(f"{file}: expected {_EXPECTED}, got an empty file")
    raise ValueError(f"{file}: expected {_EXPECTED}, got {_foreign(data)}")


def layout(path: PathLike) -> Layout:
    """Return stored size and orientation of a picture, from its header; size (0, 0) for other files.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The header is damaged.
    """
    file = existing_file(path)
    if file.stat().st_size == 0:
        return Layout((0, 0), None)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:16]
        try:
            if head.startswith(png.SIGNATURE):
                return Layout(png.size(data[:33]), _png_orientation(png.ancillary(data)))
            for matches, kind in ((head.startswith(_JPEG_SIGNATURE), "JPEG"), (is_webp(head), "WEBP")):
                if matches:
                    return layout_of(stream, kind)
            if is_tiff(head):
                return layout_of(stream, "TIFF")
            if jpegxl.is_jpegxl(head):
                return jpegxl.layout(data[:])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
    return Layout((0, 0), None)


def upright_size(path: PathLike, *, belongs_to: PathLike | None = None) -> tuple[int, int]:
    """Return height and width of what `read_array` would return, from the header where there is one.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not a picture, or is damaged.
    """
    own = layout(path)
    if own.size == (0, 0):
        values = read_array(path, belongs_to=belongs_to)
        return (values.shape[0], values.shape[1]) if values.ndim > 1 else own.size
    turned = own.orientation if belongs_to is None else companion_orientation(path, own, belongs_to, layout(belongs_to))
    return own.size[::-1] if turned in (5, 6, 7, 8) else own.size


def _foreign(data: bytes) -> str:
    """Name a common format that is not supported."""
    if data[4:8] == b"ftyp":
        kind = {b"avif": "AVIF", b"crx ": "Canon CR3"}.get(data[8:12], "HEIC" if data[8:11] in _HEIC else "a video")
        return f"{kind}; convert it to PNG, TIFF or JPEG"
    for signature, kind in _FOREIGN.items():
        if data.startswith(signature):
            return f"{kind}; convert it to PNG or TIFF"
    return f"one that begins with {data[:8]!r}"


_HEIC = (b"hei", b"hev", b"mif", b"msf")
_FOREIGN = {
    b"GIF8": "GIF", b"BM": "BMP", b"\x00\x00\x01\x00": "an icon", b"v/1\x01": "OpenEXR", b"#?RADIANCE": "Radiance HDR",
    b"8BPS": "a Photoshop document", b"P5": "PGM", b"P6": "PPM", b"P4": "PBM", b"\x89HDF": "HDF5", b"%PDF": "PDF",
    b"PK": "a ZIP archive or .npz file",
    b"\x00\x00\x00\x0cjP": "JPEG 2000", b"<svg": "SVG", b"<?xml": "XML or SVG",
}  # fmt: skip


def decode_png(data: bytes) -> Stored:
    """PNG of one picture, with its eXIf orientation and its colour encoding."""
    values = png.decode(data)
    chunks = png.ancillary(data)
    frames = int.from_bytes(chunks.get(b"acTL", b"")[:4], "big")
    if frames > 1:
        raise ValueError(f"PNG: expected one picture, got an animation of {frames} frames; save the frame you want")
    channels = 1 if values.ndim == 2 or values.shape[-1] == 2 else 3
    return Stored(values, _png_orientation(chunks), from_png(chunks, channels))


def _png_orientation(chunks: Mapping[bytes, bytes]) -> int | None:
    """Return the orientation in the eXIf chunk; None where there is none, or it is damaged."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(b"Exif\0\0" + chunks.get(b"eXIf", b""))
        return from_exif(exif)
    except Exception:  # a damaged record must not prevent reading the picture
        return None


def decode_pfm(data: bytes) -> np.ndarray:
    """Portable float map: float32 of shape (H, W) or (H, W, 3), top row first.

    The sign of the scale line is the byte order; its size is ignored, as the Middlebury readers do. The file stores the
    bottom row first; that is undone here.
    """
    fields = data[:256].split(None, 4)
    if len(fields) < 4 or fields[0] not in (b"PF", b"Pf"):
        raise ValueError("PFM file is damaged: its header is not 'PF' or 'Pf', width, height, scale")
    try:
        width, height, scale = int(fields[1]), int(fields[2]), float(fields[3])
    except ValueError:
        raise ValueError("PFM file is damaged: width, height and scale are not numbers") from None
    if width < 1 or height < 1 or scale == 0 or not math.isfinite(scale):
        raise ValueError(f"PFM file is damaged: {width} x {height} pixels with scale {scale}")
    channels = 3 if fields[0] == b"PF" else 1
    start = 0
    for field in fields[:4]:
        start = data.index(field, start) + len(field)
    start += 1  # exactly one white-space byte ends the header
    expected = 4 * width * height * channels
    if len(data) - start != expected:
        raise ValueError(f"PFM file is cut short or damaged: {len(data) - start} bytes of pixels instead of {expected}")
    values = np.frombuffer(data, "<f4" if scale < 0 else ">f4", offset=start).reshape(height, width, channels)[::-1]
    image = np.ascontiguousarray(values, np.float32)
    return image[..., 0] if channels == 1 else image


def encode_pfm(array: np.ndarray) -> bytes:
    """Float32 of shape (H, W) or (H, W, 3) as a little-endian portable float map."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3) or array.size == 0:
        raise ValueError(f"PFM: expected shape (H, W) or (H, W, 3), got {array.shape}")
    header = f"{'PF' if array.ndim == 3 else 'Pf'}\n{array.shape[1]} {array.shape[0]}\n-1.0\n".encode()
    return header + np.ascontiguousarray(array[::-1], "<f4").tobytes()


def decode_dpt(data: bytes) -> np.ndarray:
    """MPI-Sintel depth: float32 tag 202021.25, int32 width and height, float32 metres, little-endian; shape (H, W)."""
    if len(data) < 12 or data[:4] != DPT_SIGNATURE:
        raise ValueError("depth file is damaged: it does not begin with the Sintel tag 202021.25 and a size")
    width, height = (int(n) for n in np.frombuffer(data, "<i4", 2, 4))
    expected = 4 * width * height
    if width < 1 or height < 1 or len(data) - 12 != expected:
        raise ValueError(
            f"depth file is cut short or damaged: {len(data) - 12} bytes for {width} x {height} float32 values"
        )
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width).astype(np.float32)


def decode_npy(data: bytes) -> np.ndarray:
    """NumPy array file of numbers, never pickled objects; the header is checked before anything is allocated."""
    stream = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # the header is a Python literal, and its parser fails in many ways
        raise ValueError(f"npy file is damaged: its header cannot be read ({type(error).__name__})") from None
    if dtype.kind not in "buif" or min(shape, default=0) < 1:
        raise ValueError(f"npy file: expected a non-empty array of numbers, got dtype {dtype} and shape {shape}")
    start = stream.tell()
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected:
        raise ValueError(f"npy file is cut short or damaged: {len(data) - start} bytes of values instead of {expected}")
    values = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(values, dtype.newbyteorder("="))


def encode_npy(array: np.ndarray) -> bytes:
    """Encode an array as a NumPy array file that `decode_npy` accepts."""
    if array.dtype.kind not in "buif":
        raise TypeError(f"npy file: expected real numbers, got {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"npy file: expected a non-empty array, got shape {array.shape}")
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
