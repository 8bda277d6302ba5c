"""Plain arrays of numbers: PFM, Sintel ``.dpt``, COLMAP depth maps, ``.npy`` and ``.npz``; ValueError for damaged ones.

References: P. Debevec, PFM; MPI-Sintel depth format; COLMAP documentation, "Output format" (dense depth maps); NumPy
enhancement proposal 1 (npy).
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib

import numpy as np

from .raster import MAX_BYTES

__all__ = [
    "DPT_SIGNATURE",
    "NPY_SIGNATURE",
    "ZIP_SIGNATURE",
    "decode_colmap",
    "decode_dpt",
    "decode_npy",
    "decode_npz",
    "decode_pfm",
    "encode_npy",
    "encode_pfm",
    "is_colmap",
]

DPT_SIGNATURE = b"PIEH"
NPY_SIGNATURE = b"\x93NUMPY"
ZIP_SIGNATURE = b"PK\x03\x04"
_COLMAP = re.compile(rb"(\d{1,9})&(\d{1,9})&(\d{1,9})&")


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


def is_colmap(data: bytes) -> bool:
    """Return whether the file begins as COLMAP's arrays do: ``width&height&channels&``."""
    return _COLMAP.match(data[:32]) is not None


def decode_colmap(data: bytes) -> np.ndarray:
    """COLMAP's dense depth map: ``width&height&channels&`` in ASCII, then float32, little-endian; shape (H, W).

    Depth along the optical axis in the unit of the reconstruction; 0 is unknown.
    """
    found = _COLMAP.match(data[:32])
    if found is None:
        raise ValueError("COLMAP depth map is damaged: it does not begin with width&height&channels&")
    width, height, channels = (int(number) for number in found.groups())
    if channels != 1:
        raise ValueError(f"COLMAP: expected a depth map of one channel, got {channels}; is it a normal map?")
    expected, given = 4 * width * height, len(data) - found.end()
    if width < 1 or height < 1 or given != expected:
        raise ValueError(
            f"COLMAP depth map is cut short or damaged: {given} bytes for {width} x {height} float32 values"
        )
    return np.frombuffer(data, "<f4", offset=found.end()).reshape(height, width).astype(np.float32)


def decode_npz(data: bytes, name: str) -> np.ndarray:
    """Return the only array of a ``.npz`` file, or the one called `name`; never pickled objects.

    Raises
    ------
    ValueError
        The archive is damaged, holds no array, or several and none of that name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = [entry for entry in archive.namelist() if entry.endswith(".npy")]
            if not arrays:
                raise _ArchiveError("expected a .npz file with an array, got a ZIP archive without one")
            wanted = f"{name}.npy" if f"{name}.npy" in arrays else arrays[0]
            if len(arrays) > 1 and wanted != f"{name}.npy":
                listed = ", ".join(entry.removesuffix(".npy") for entry in arrays[:8])
                raise _ArchiveError(f"npz file: expected one array, or one called {name!r}, got {listed}")
            if archive.getinfo(wanted).file_size > MAX_BYTES:
                raise _ArchiveError(f"npz file says it has more than {MAX_BYTES >> 20} MiB; this reader takes less")
            member = archive.read(wanted)
    except _ArchiveError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"npz file is damaged or cut short ({' '.join(str(error).split())})") from None
    if not member.startswith(NPY_SIGNATURE):
        raise ValueError("npz file is damaged: its array does not begin as a .npy file does")
    return decode_npy(member)


class _ArchiveError(ValueError):
    """An archive that can be read, but not used."""
