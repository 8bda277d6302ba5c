"""JPEG, WebP and TIFF through Pillow and tifffile: stored numbers, orientation and colour encoding."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from . import colour
from .colour import Colour
from .ink import ink_to_srgb
from .orientation import TAG, Layout, from_exif

__all__ = [
    "MAX_BYTES",
    "Stored",
    "decode_jpeg",
    "decode_tiff",
    "decode_webp",
    "is_tiff",
    "is_webp",
    "layout_of",
    "silenced",
]

MAX_BYTES = 1 << 30
"""Largest decoded picture, in bytes; a header with a larger size is refused before anything is allocated."""

_PILLOW = {"JPEG": ("L", "RGB"), "WEBP": ("RGB", "RGBA")}
_COLOUR_SPACE, _INTEROP_FOLDER, _INTEROP_INDEX, _PHOTO_FOLDER = 0xA001, 0xA005, 0x0001, 0x8769
_UNUSUAL = {
    4: "a transparency mask", 5: "ink (CMYK)", 8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab",
    32803: "a colour filter array (raw)", 34892: "linear raw",
}  # fmt: skip
_DNG_VERSION = 50706
_JPEG = (6, 7)
_LOSSLESS = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions of TIFF that keep every bit: none, CCITT, LZW, Deflate (twice), PackBits, LZMA, Zstandard."""


class Stored(NamedTuple):
    """A picture as it is stored in its file.

    Attributes
    ----------
    values : ndarray of shape (H, W) or (H, W, C)
        Not turned.
    orientation : int or None
        EXIF 1 to 8, None where the file has none.
    colour : Colour or None
        None where the file has no colour metadata.
    exact : bool
        Whether the file is compressed without loss.
    axes : str or None
        "hwc" where the format has channels last, None where an array may have them first.
    notes : tuple of str
        What was converted, for a message.
    unit : {"m", "colmap"} or None
        Of a depth map whose format says it: metres, or the unit of a COLMAP reconstruction.
    """

    values: np.ndarray
    orientation: int | None = None
    colour: Colour | None = None
    exact: bool = True
    axes: str | None = "hwc"
    notes: tuple[str, ...] = ()
    unit: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as stored; of an array without them (0, 0)."""
        return (0, 0) if self.values.ndim < 2 else (self.values.shape[0], self.values.shape[1])


def decode_jpeg(data: bytes) -> Stored:
    """JPEG: uint8 of shape (H, W) or (H, W, 3); ink (CMYK) becomes sRGB."""
    return _decode_by_pillow(data, "JPEG")


def decode_webp(data: bytes) -> Stored:
    """WebP of one frame: uint8 of shape (H, W, 3) or (H, W, 4)."""
    return _decode_by_pillow(data, "WEBP")


def is_webp(data: bytes) -> bool:
    """Return whether the file has the signature of WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def is_tiff(data: bytes) -> bool:
    """Return whether the file has the signature of TIFF or BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _decode_by_pillow(data: bytes, kind: str) -> Stored:
    from PIL import Image

    name = {"WEBP": "WebP"}.get(kind, kind)
    try:
        with silenced(), Image.open(io.BytesIO(data), formats=(kind,)) as image:
            frames = 1 if kind == "JPEG" else getattr(image, "n_frames", 1)  # of a stereo JPEG the first is the picture
            mode = image.mode
            if frames == 1 and mode in _PILLOW[kind]:
                exif = _exif_of(image)
                profile = image.info.get("icc_profile")
                values = np.array(image)
                said = _colour_of(exif, profile, 1 if mode == "L" else 3)
                return Stored(values, from_exif(exif), said, exact=False)
            if kind == "JPEG" and mode == "CMYK":
                values, note = ink_to_srgb(image)
                return Stored(values, from_exif(_exif_of(image)), colour.SRGB, exact=False, notes=(note,))
    except Image.DecompressionBombError:
        raise ValueError(f"{name} says it has more than 178 million pixels; this reader takes fewer") from None
    except Exception as error:  # decoders of untrusted bytes fail in many ways
        raise ValueError(f"{name} file is damaged or cut short ({error})") from None
    if frames > 1:
        raise ValueError(f"{name}: expected one picture, got an animation of {frames} frames; save the frame you want")
    raise ValueError(f"{name}: expected a grey or RGB image, got colour mode {mode}; convert it first")


@contextmanager
def silenced() -> Iterator[None]:
    """Silence the warnings and logs of the decoders; errors are raised."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _exif_of(image: Any) -> Any:
    """Return the EXIF record, empty where it is damaged."""
    from PIL import Image

    try:
        exif = image.getexif()
        for folder in (_INTEROP_FOLDER, _PHOTO_FOLDER):
            exif.get_ifd(folder)
        return exif
    except Exception:  # a damaged record must not prevent reading the picture
        return Image.Exif()


def _colour_of(exif: Any, profile: bytes | None, channels: int) -> Colour | None:
    """Return the colour of the ICC profile, else of EXIF, else None."""
    if profile:
        return colour.from_icc(profile, channels)
    if channels == 3 and exif.get_ifd(_INTEROP_FOLDER).get(_INTEROP_INDEX) == "R03":
        return colour.ADOBE_RGB
    space = exif.get_ifd(_PHOTO_FOLDER).get(_COLOUR_SPACE)
    if space == 2 and channels == 3:
        return colour.ADOBE_RGB
    if space == 0xFFFF:
        return colour.unknown("an uncalibrated colour space and no profile")
    return colour.SRGB if space == 1 else None


def layout_of(stream: BinaryIO, kind: str) -> Layout:
    """Stored size and orientation of an open JPEG, WEBP or TIFF file, from its header alone."""
    from PIL import Image

    try:
        if kind == "TIFF":
            import tifffile

            with silenced(), tifffile.TiffFile(stream) as file:
                page = _only_page(file)
                return Layout((page.imagelength, page.imagewidth), from_exif({TAG: page.tags.valueof(TAG)}))
        with silenced(), Image.open(stream, formats=(kind,)) as image:
            return Layout(image.size[::-1], from_exif(_exif_of(image)))
    except _TiffError:
        raise
    except Exception as error:
        raise ValueError(f"{kind} file is damaged or cut short ({error})") from None


# ---- TIFF ---------------------------------------------------------------------------------------------------------


def decode_tiff(data: bytes) -> Stored:
    """TIFF of one picture: uint8, uint16 or floats of shape (H, W) or (H, W, C), grey or RGB, alpha last.

    Raises
    ------
    ValueError
        The file is damaged, holds several pictures, or one of another kind or compression.
    """
    import tifffile

    try:
        with silenced(), tifffile.TiffFile(io.BytesIO(data)) as file:
            page = _only_page(file)
            _check_kind(page)
            orientation = from_exif({TAG: page.tags.valueof(TAG)})
            profile = page.tags.valueof(34675)
            values = _tiff_values(page)
    except _TiffError:
        raise
    except Exception as error:  # as above
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"TIFF file is damaged or cut short ({reason})") from None
    channels = 1 if values.ndim == 2 or values.shape[-1] == 2 else 3
    said = colour.from_icc(bytes(profile), channels) if profile else None
    return Stored(values, orientation, said, exact=int(page.compression) in _LOSSLESS)


class _TiffError(ValueError):
    """A valid file of a kind that is not supported."""


def _only_page(file: Any) -> Any:
    """Return the only page that is not a reduced copy of another."""
    if not len(file.pages):
        raise ValueError("it holds no picture")
    pages = [page for page in file.pages if not page.is_reduced]
    if any(_DNG_VERSION in page.tags for page in file.pages) or not pages:
        raise _TiffError("TIFF: expected a finished picture, got a camera's raw file; develop it first")
    if len(pages) > 1:
        raise _TiffError(f"TIFF: expected one picture, got {len(pages)} pages; save the one you want by itself")
    return pages[0]


def _check_kind(page: Any) -> None:
    import tifffile

    kind, bits, form = int(page.photometric), page.bitspersample, int(page.sampleformat)
    if kind in _UNUSUAL:
        raise _TiffError(f"TIFF: expected a grey or RGB picture, got {_UNUSUAL[kind]}; convert it first")
    if kind not in (0, 1, 2, 3, 6):
        raise _TiffError(f"TIFF: expected a grey or RGB picture, got photometric interpretation {kind}")
    if not (form == 1 and bits in (1, 2, 4, 8, 16)) and not (form == 3 and bits in (16, 32, 64)):
        name = {1: "unsigned", 2: "signed", 3: "float"}.get(form, "complex or other")
        raise _TiffError(f"TIFF: expected unsigned integers of 8 or 16 bits or floats, got {name} of {bits} bits")
    if kind == 0 and form == 3:
        raise _TiffError("TIFF: expected floats with black at 0, got white at 0; save it with black as zero")
    colours = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}[kind]
    if page.imagedepth != 1 or page.samplesperpixel not in (colours, colours + 1):
        raise _TiffError(
            f"TIFF: expected {colours} channel{'s' if colours > 1 else ''}, perhaps with alpha, got "
            f"{page.samplesperpixel}; is it a stack or a multispectral image?"
        )
    if kind == 6 and int(page.compression) not in _JPEG:
        raise _TiffError("TIFF: expected a grey or RGB picture, got YCbCr without JPEG; convert it first")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        name = getattr(page.compression, "name", page.compression)
        raise _TiffError(
            f"TIFF: no decoder for the compression {name}; save the picture without, or with ZIP (deflate)"
        )
    if page.samplesperpixel * page.imagelength * page.imagewidth * max(1, bits // 8) > MAX_BYTES:
        raise _TiffError("TIFF says it has more than 1 GiB of pixels; this reader takes less")


def _tiff_values(page: Any) -> np.ndarray:
    kind, bits = int(page.photometric), page.bitspersample
    values = np.asarray(page.asarray()).reshape(page.shape)
    if kind == 3:
        return _look_up_palette(values, np.asarray(page.colormap))
    if values.ndim == 3 and page.planarconfig == 2:
        values = np.moveaxis(values, 0, -1)
    white = 2**bits - 1
    if values.dtype.kind in "bu":
        full = 65535 if bits == 16 else 255
        values = (values.astype(np.uint32) * (full // white)).astype(np.uint16 if bits == 16 else np.uint8)
        if kind == 0:
            inverted = full - (values[..., :1] if values.ndim == 3 else values)
            values = inverted if values.ndim == 2 else np.concatenate([inverted, values[..., 1:]], axis=-1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _look_up_palette(index: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Look up colours in a palette (3, n) of 16 bits; many writers store 8 bits, in the upper byte or in both."""
    if int(index.max()) >= table.shape[1]:
        raise ValueError("a colour beyond its palette")
    narrow = bool((table % 256 == 0).all() or (table % 257 == 0).all())
    colours = (table >> 8).astype(np.uint8) if narrow else table.astype(np.uint16)
    found: np.ndarray = np.ascontiguousarray(colours.T)[index]
    return found
