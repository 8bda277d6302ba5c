"""Recognising and decoding image and depth files; ValueError for damaged ones."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from blurphys.files.publishing import PathLike, existing_file

from . import arrays, camera_raw, exr, jpegxl, png
from .colour import from_png
from .orientation import Layout, PictureWarning, companion_orientation, from_exif, turn_upright
from .raster import Stored, decode_jpeg, decode_tiff, decode_webp, is_tiff, is_webp, layout_of

__all__ = [
    "Stored",
    "layout",
    "orientation_for",
    "read_array",
    "read_stored",
    "upright_size",
]

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_EXPECTED = (
    "a PNG, JPEG, JPEG XL, TIFF, WebP, OpenEXR, camera raw (DNG, ...), PFM, Sintel .dpt, COLMAP depth .bin, .npy or "
    ".npz file"
)


def read_array(path: PathLike, *, belongs_to: PathLike | None = None) -> np.ndarray:
    """Read the numbers of an image file, unconverted.

    Parameters
    ----------
    path : path
        PNG (every colour type, 1 to 16 bits, interlaced or not), JPEG, JPEG XL, TIFF (one page; integers or floats),
        WebP, OpenEXR, camera raw (needs ``rawpy``), PFM, Sintel ``.dpt``, COLMAP ``.bin``, ``.npy``, or ``.npz`` of one
        array, or with one called ``image``.
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
        `belongs_to` has an orientation that keeps its shape, and `path` has none; ink or a raw file was converted.

    Notes
    -----
    A companion with an orientation of its own is turned by that. One without is assumed to be stored like the pixels of
    its picture and is turned with them, unless only the upright picture has its shape: then it is upright already. A
    companion of another size counts by its proportions.

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


def read_stored(path: PathLike, *, depth: bool = False) -> Stored:
    """Read the numbers of an image file, not turned, with its orientation and colour encoding.

    With `depth`, of files that hold several planes (OpenEXR, ``.npz``) the depth rather than the picture.

    Warns
    -----
    PictureWarning
        The picture was converted in a way that its reader should know of (ink, camera raw).
    """
    file = existing_file(path)
    data = file.read_bytes()
    try:
        stored = _decoded(data, file, depth)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    for note in stored.notes:
        warnings.warn(f"{file}: {note}", PictureWarning, stacklevel=3)
    return stored


def _decoded(data: bytes, file: Path, depth: bool) -> Stored:
    if data.startswith(png.SIGNATURE):
        return decode_png(data)
    if data.startswith(_JPEG_SIGNATURE):
        return decode_jpeg(data)
    if is_webp(data):
        return decode_webp(data)
    if camera_raw.is_raw(data):
        return camera_raw.decode_raw(data)
    if is_tiff(data):
        return decode_tiff(data)
    if jpegxl.is_jpegxl(data):
        return jpegxl.decode_jpegxl(data)
    if data.startswith(exr.SIGNATURE):
        return exr.decode_exr(data, file, depth=depth)
    if data.startswith((b"PF", b"Pf")):
        return Stored(arrays.decode_pfm(data))
    if data.startswith(arrays.DPT_SIGNATURE):
        return Stored(arrays.decode_dpt(data), unit="m")
    if arrays.is_colmap(data):
        return Stored(arrays.decode_colmap(data), unit="colmap")
    if data.startswith(arrays.NPY_SIGNATURE):
        return Stored(arrays.decode_npy(data), axes=None)
    if data.startswith(arrays.ZIP_SIGNATURE):
        return Stored(arrays.decode_npz(data, "depth" if depth else "image"), axes=None)
    raise ValueError(f"expected {_EXPECTED}, got {_foreign(data) if data else 'an empty file'}")


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
            if camera_raw.may_be_raw(head) and camera_raw.is_raw(whole := data[:]):
                return camera_raw.layout(whole)
            if is_tiff(head):
                return layout_of(stream, "TIFF")
            if head.startswith(exr.SIGNATURE):
                return Layout(exr.size(data[: exr.LONGEST_HEADER]), None)
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
        kind = {b"avif": "AVIF"}.get(data[8:12], "HEIC" if data[8:11] in _HEIC else "a video")
        return f"{kind}; convert it to PNG, TIFF or JPEG"
    for signature, kind in _FOREIGN.items():
        if data.startswith(signature):
            return f"{kind}; convert it to PNG or TIFF"
    return f"one that begins with {data[:8]!r}"


_HEIC = (b"hei", b"hev", b"mif", b"msf")
_FOREIGN = {
    b"GIF8": "GIF", b"BM": "BMP", b"\x00\x00\x01\x00": "an icon", b"#?RADIANCE": "Radiance HDR",
    b"8BPS": "a Photoshop document", b"P5": "PGM", b"P6": "PPM", b"P4": "PBM", b"\x89HDF": "HDF5", b"%PDF": "PDF",
    b"PK": "an empty ZIP archive",
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
