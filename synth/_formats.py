"""From the bytes of an image or depth file to an array, whichever format it is; ValueError for anything damaged."""

from __future__ import annotations

import io
import math

import numpy as np

from blurphys.publishing import PathLike, existing_file

from . import _png

__all__ = ["encode_npy", "encode_pfm", "read_array"]

DPT_SIGNATURE = b"PIEH"
NPY_SIGNATURE = b"\x93NUMPY"


def read_array(path: PathLike) -> np.ndarray:
    """Read the numbers of an image file as they stand in it.

    Parameters
    ----------
    path : path
        PNG (every colour type, 1 to 16 bits, interlaced or not), JPEG, PFM, Sintel ``.dpt``, or ``.npy``.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)
        In the file's own type: uint8, uint16, float32, or what the ``.npy`` file holds. Top row first, R before G
        before B, alpha last. PNG palettes are looked up and grey below 8 bits is scaled to 0..255; JPEG is turned
        upright according to its EXIF orientation.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is of another format, damaged or cut short, or its header promises more than it can hold.

    Notes
    -----
    Pillow, imageio and scikit-image return the top eight bits of 16-bit colour PNG files; this reader returns all 16.
    Nothing is ever unpickled. Cost O(H W C); a 1680 x 1120 PNG of 16-bit colour takes about a second.
    """
    file = existing_file(path)
    data = file.read_bytes()
    try:
        if data.startswith(_png.SIGNATURE):
            return _png.decode(data)
        if data.startswith(b"\xff\xd8\xff"):
            return decode_jpeg(data)
        if data.startswith((b"PF", b"Pf")):
            return decode_pfm(data)
        if data.startswith(DPT_SIGNATURE):
            return decode_dpt(data)
        if data.startswith(NPY_SIGNATURE):
            return decode_npy(data)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    raise ValueError(
        f"{file}: expected a PNG, JPEG, PFM, Sintel .dpt or .npy file, got one that begins with {data[:8]!r}"
    )


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
    if dtype.kind not in "uif" or min(shape, default=0) < 1:
        raise ValueError(f"npy file: expected a non-empty array of numbers, got dtype {dtype} and shape {shape}")
    start = stream.tell()
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected:
        raise ValueError(f"npy file is cut short or damaged: {len(data) - start} bytes of values instead of {expected}")
    values = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(values, dtype.newbyteorder("="))


def encode_npy(array: np.ndarray) -> bytes:
    """Write a numeric array as a NumPy array file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def decode_jpeg(data: bytes) -> np.ndarray:
    """JPEG through Pillow: uint8 of shape (H, W) or (H, W, 3), turned upright as its EXIF orientation says."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.mode in ("L", "RGB"):
                return np.array(ImageOps.exif_transpose(image))
            mode = image.mode
    except Image.DecompressionBombError:
        raise ValueError("JPEG says it has more than 178 million pixels; this reader takes fewer") from None
    except Exception as error:  # a foreign decoder on bytes of unknown origin: whatever it stumbles over is damage
        raise ValueError(f"JPEG file is damaged or cut short ({error})") from None
    raise ValueError(f"JPEG: expected a grey or RGB image, got colour mode {mode}; convert it first")
