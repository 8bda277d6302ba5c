"""Camera raw files (DNG, NEF, CR2, CR3, ARW, RAF, ...) as linear light, through rawpy (LibRaw), an optional package."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .colour import LINEAR
from .orientation import Layout
from .raster import MAX_BYTES, Stored, is_tiff

__all__ = ["decode_raw", "is_raw", "layout", "may_be_raw"]

_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb")  # ORF (3), RW2, RAF, X3F
_DNG_VERSION, _MAKE, _CFA, _LINEAR_RAW = 50706, 271, 32803, 34892
_FLIPS = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF orientation of LibRaw's flip."""
_NOTE = "camera raw was developed to linear light: camera white balance, no tone curve, no brightening"


def may_be_raw(head: bytes) -> bool:
    """Return whether the first bytes allow a raw file: many are TIFF files."""
    return is_tiff(head) or head.startswith(_SIGNATURES) or head[4:12] == b"ftypcrx "


def is_raw(data: bytes) -> bool:
    """Return whether this is a camera raw file rather than a finished picture."""
    if not is_tiff(data):
        return may_be_raw(data)
    if data[8:10] == b"CR":
        return True
    import tifffile

    from .raster import silenced

    try:
        with silenced(), tifffile.TiffFile(io.BytesIO(data)) as file:
            first: Any = file.pages[0]
            if _DNG_VERSION in first.tags:
                return True
            pages = [first, *(first.pages or ())]
            return _MAKE in first.tags and any(int(page.photometric) in (_CFA, _LINEAR_RAW) for page in pages)
    except Exception:  # a damaged file is judged by the reader of TIFF
        return False


def layout(data: bytes) -> Layout:
    """Return size and orientation of the developed picture, from the header."""
    with _opened(data) as raw:
        return _layout(raw)


def decode_raw(data: bytes) -> Stored:
    """Develop a raw file: uint16 of shape (H, W, 3), linear light of sRGB's primaries, white at 65535, not turned.

    Raises
    ------
    ValueError
        rawpy is not installed, the camera is not known to it, or the file is damaged.

    Notes
    -----
    Demosaicing by LibRaw's default (AHD), the white balance that the camera stored, highlights clipped at white, and no
    scaling that depends on the picture, so that the light of two exposures can be compared. Cost O(H W).
    """
    import_rawpy = _rawpy()
    with _opened(data) as raw:
        known = _layout(raw)
        if known.size[0] * known.size[1] * 6 > MAX_BYTES:
            raise ValueError(f"camera raw says it has {known.size[1]} x {known.size[0]} px; this reader takes fewer")
        values = raw.postprocess(
            gamma=(1, 1), no_auto_bright=True, adjust_maximum_thr=0.0, use_camera_wb=True, output_bps=16, user_flip=0,
            output_color=import_rawpy.ColorSpace.sRGB, highlight_mode=import_rawpy.HighlightMode.Clip,
        )  # fmt: skip
    return Stored(np.ascontiguousarray(values), known.orientation, LINEAR, notes=(_NOTE,))


def _layout(raw: Any) -> Layout:
    sizes = raw.sizes
    return Layout((int(sizes.iheight), int(sizes.iwidth)), _FLIPS.get(int(sizes.flip)))


def _rawpy() -> Any:
    try:
        import rawpy
    except ImportError:
        raise ValueError(
            "camera raw files need the package rawpy: pip install 'blurphys[raw]', or develop the file to a 16-bit TIFF"
        ) from None
    return rawpy


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    rawpy = _rawpy()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("ascii", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"camera raw file cannot be developed ({text})") from None
