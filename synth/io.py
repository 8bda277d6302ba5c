"""Image files in and out, 8 and 16 bits exact; what the bytes are decides, not the suffix of the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.publishing import PathLike, publish, publish_together

from . import _formats, _png
from ._formats import read_array
from .depth import Stereo, read_depth, to_metres

__all__ = [
    "Stereo",
    "publish",
    "publish_together",
    "read_array",
    "read_depth",
    "read_image",
    "to_metres",
    "write_array",
    "write_image",
    "write_images",
]


def read_image(path: PathLike, *, linear: bool = True, encoding: Literal["srgb", "linear"] | None = None) -> np.ndarray:
    """Read a photograph as linear light (or as its encoded values, divided by white).

    Parameters
    ----------
    path : path
        As for `read_array`.
    linear : bool
        True returns linear light; False returns sRGB-encoded values.
    encoding : {"srgb", "linear"}, optional
        What the numbers in the file mean. Without it, integers are sRGB-encoded and floats are linear light. Colour
        profiles in the file are not consulted.

    Returns
    -------
    ndarray of shape (3, H, W)
        float32; white is 1 (255 or 65535 in integer files). A grey image fills the three channels alike.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        `encoding` is unknown; the file cannot be read, is neither grey nor RGB, has transparent pixels, holds values
        that are not finite, or integers that are neither 8 nor 16 bits.

    Notes
    -----
    The exact piecewise sRGB curve is used. Reading 8- or 16-bit RGB and writing it with `write_image` at the same depth
    gives the same integers back. Cost O(H W).
    """
    if encoding not in (None, "srgb", "linear"):
        raise ValueError(f"read_image: expected encoding 'srgb' or 'linear', got {encoding!r}")
    values = read_array(path)
    is_integer = values.dtype.kind in "ui"
    if is_integer and values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: expected an image of uint8, uint16 or floats, got {values.dtype}")
    white = np.iinfo(values.dtype).max if is_integer else 1.0
    planes = _three_channels(values, white, path) / np.float64(white)
    if not is_integer and not np.isfinite(planes).all():
        raise ValueError(f"{path}: the image holds values that are not finite; is it a depth or disparity map?")
    encoded = encoding == "srgb" if encoding is not None else is_integer
    if encoded and linear:
        planes = srgb_to_linear(planes)
    elif linear is False and not encoded:
        planes = linear_to_srgb(planes)
    return np.ascontiguousarray(planes, np.float32)


def _three_channels(values: np.ndarray, white: float, path: PathLike) -> np.ndarray:
    """(H, W) or (H, W, C) to (3, H, W); opaque alpha is dropped, any other is an error."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 2, 3, 4):
        raise ValueError(f"{path}: expected an image of shape (H, W) or (H, W, 1..4), got {values.shape}")
    if values.shape[-1] in (2, 4):
        if (values[..., -1] != white).any():
            raise ValueError(f"{path}: the image has transparent pixels; lay it over a background first")
        values = values[..., :-1]
    return np.broadcast_to(values, (*values.shape[:2], 3)).transpose(2, 0, 1)


def write_image(
    path: PathLike, image: np.ndarray, *, bits: Literal[8, 16] = 8, linear: bool = True, overwrite: bool = False
) -> None:
    """Write an image as a PNG file.

    Parameters
    ----------
    path : path
        Must end in ``.png``.
    image : ndarray of shape (3, H, W), (1, H, W) or (H, W)
        Finite floats, white is 1. Values outside [0, 1] are clipped, and all are rounded to the nearest level, because
        the format demands it.
    bits : {8, 16}
        Bits per channel.
    linear : bool
        True: `image` is linear light and is sRGB-encoded for the file. False: it is encoded already.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is False.
    FileNotFoundError
        The folder does not exist.
    OSError
        The disk is full; nothing is left behind.
    ValueError
        Another suffix, bit depth or shape, or values that are not finite.

    Notes
    -----
    The file appears whole or not at all. Cost O(H W).
    """
    write_images({path: image}, bits=bits, linear=linear, overwrite=overwrite)


def write_images(
    images: Mapping[PathLike, np.ndarray],
    *,
    bits: Literal[8, 16] = 8,
    linear: bool = True,
    overwrite: bool = False,
) -> None:
    """Write images that belong together, each as `write_image` does: all files appear, or none.

    Parameters
    ----------
    images : mapping of path to ndarray
        The images by their files.
    bits, linear, overwrite
        As for `write_image`, of all of them.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError, ValueError
        As for `write_image`.
    """
    encoded = {path: _encoded(path, image, bits=bits, linear=linear) for path, image in images.items()}
    with publish_together(encoded, overwrite=overwrite) as parts:
        for part, data in zip(parts, encoded.values(), strict=True):
            part.write_bytes(data)


def _encoded(path: PathLike, image: np.ndarray, *, bits: Literal[8, 16], linear: bool) -> bytes:
    if bits not in (8, 16):
        raise ValueError(f"write_image: expected bits=8 or bits=16, got {bits!r}")
    if not str(path).lower().endswith(".png"):
        raise ValueError(f"write_image writes PNG files: expected a name ending in .png, got {path}")
    planes = np.asarray(image, np.float64)
    if planes.ndim == 2:
        planes = planes[None]
    if planes.ndim != 3 or planes.shape[0] not in (1, 3) or planes.size == 0:
        hint = "; is the image channels-last?" if planes.ndim == 3 and planes.shape[-1] in (1, 3) else ""
        raise ValueError(f"write_image: expected shape (3, H, W), (1, H, W) or (H, W), got {np.shape(image)}{hint}")
    if not np.isfinite(planes).all():
        raise ValueError("write_image: the image holds values that are not finite")
    planes = planes.clip(0.0, 1.0)
    if linear:
        planes = linear_to_srgb(planes)
    levels = np.rint(planes * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return _png.encode(levels.transpose(1, 2, 0))


def write_array(path: PathLike, array: np.ndarray, *, overwrite: bool = False) -> None:
    """Write numbers as they are: integers as PNG, floats as PFM, anything numeric as ``.npy``; the suffix decides.

    Parameters
    ----------
    path : path
        Ends in ``.png`` (uint8 or uint16), ``.pfm`` (float32) or ``.npy``.
    array : ndarray of shape (H, W) or (H, W, C)
        The values; nothing is scaled or cast.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError
        As for `write_image`.
    TypeError
        The format cannot hold this dtype exactly.
    ValueError
        Unknown suffix, or a shape the format cannot hold.
    """
    suffix = str(path).lower().rpartition(".")[2]
    values = np.asarray(array)
    if suffix == "png":
        data = _png.encode(values)
    elif suffix == "pfm":
        if values.dtype != np.float32:
            raise TypeError(f"PFM: expected float32 values, got {values.dtype}")
        data = _formats.encode_pfm(values)
    elif suffix == "npy":
        data = _formats.encode_npy(values)
    else:
        raise ValueError(f"write_array: expected a name ending in .png, .pfm or .npy, got {path}")
    with publish(path, overwrite=overwrite) as part:
        part.write_bytes(data)
