"""Reading and writing image files, exact for 8 and 16 bits; the format is recognised by content, not by suffix."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.files.publishing import PathLike, publish, publish_together
from blurphys.inputs import require_choice

from . import arrays, png
from .colour import LINEAR, SRGB, Colour
from .depth import Stereo, read_depth, to_metres
from .formats import orientation_for, read_array, read_stored
from .orientation import PictureWarning, turn_upright
from .raster import Stored

__all__ = [
    "Axes",
    "Encoding",
    "PictureWarning",
    "Stereo",
    "publish",
    "publish_together",
    "read_array",
    "read_depth",
    "read_image",
    "read_mask",
    "to_metres",
    "write_array",
    "write_image",
    "write_images",
]
__dir__ = __all__.copy  # what completion offers

Encoding: TypeAlias = Literal["srgb", "linear"]
Axes: TypeAlias = Literal["hwc", "chw"]
_VISIBLE = 0.5 / 255
"""Colours outside sRGB by more than this, in linear light, are reported."""
_ROUNDING = 1e-3
"""Tolerance of range checks, as a share of white."""


def read_image(
    path: PathLike,
    *,
    linear: bool = True,
    encoding: Encoding | None = None,
    belongs_to: PathLike | None = None,
    layout: Axes | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: type[np.floating] | np.dtype = np.float32,
    observed: np.ndarray | None = None,
) -> np.ndarray:
    """Read a photograph as linear light (or as its encoded values, divided by white).

    Parameters
    ----------
    path : path
        As for `read_array`.
    linear : bool
        True returns linear light; False returns sRGB-encoded values.
    encoding : {"srgb", "linear"}, optional
        Encoding of the numbers, overriding the file. Without it that of the file (see Notes); where it has none,
        integers are sRGB-encoded and floats are linear light.
    belongs_to : path, optional
        The picture whose other view this is, as for `read_array`.
    layout : {"hwc", "chw"}, optional
        Of a ``.npy`` file with three axes: channels last, or first as in this package. Without it the shape decides.
        Two axes are rows and columns of a grey image, whatever their lengths.
    shape : (int, int, int), optional
        The expected (C, H, W): one channel for a grey file, any number for a ``.npy`` file. An image of another size is
        returned as it is.
    dtype : dtype
        float32 or float64.
    observed : ndarray of bool, shape (H, W), optional
        The valid pixels; the others may hold anything, NaN too, and become 0.

    Returns
    -------
    ndarray of shape (3, H, W)
        White is 1 (255 or 65535 in integer files). A grey image fills the three channels alike, unless `shape` has one.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        `encoding` is unknown, or `dtype` no float; the file cannot be read, is neither grey nor RGB, has transparent
        pixels, holds values that are not finite (in `dtype`), or integers that are neither 8 nor 16 bits; floats that
        are encoded, by what the file or `encoding` says, and lie outside [0, 1]; a ``.npy`` shape that may be read two
        ways.

    Warns
    -----
    PictureWarning
        The file has colour metadata that cannot be used, and sRGB was assumed; colours of an integer file outside sRGB
        were clipped; or as for `read_array`.

    Notes
    -----
    Floats are never clipped: linear light keeps values below 0 and above 1, also those of colours outside sRGB. Encoded
    floats outside [0, 1], except by rounding, are an error.

    ICC profiles of curves and a matrix (JPEG, PNG, TIFF, WebP), the chunks cICP, sRGB, gAMA and cHRM of PNG, and EXIF's
    colour space are used: the light is that of sRGB's primaries in any case, and colours of integer files that these
    cannot show are clipped. The exact piecewise sRGB curve is used. Reading 8- or 16-bit sRGB and writing it with
    `write_image` at the same depth gives the same integers back. Cost O(H W).
    """
    if encoding is not None:
        require_choice("read_image", "encoding", encoding, get_args(Encoding))
    if layout is not None:
        require_choice("read_image", "layout", layout, get_args(Axes))
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"read_image: expected dtype float32 or float64, got {np.dtype(dtype)}")
    stored = read_stored(path)
    stored = stored._replace(values=_channels_last(stored, layout, shape, path))
    values = turn_upright(stored.values, orientation_for(path, stored, belongs_to))
    is_integer = values.dtype.kind in "ui"
    if values.dtype.kind != "f" and values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: expected an image of uint8, uint16 or floats, got {values.dtype}")
    white = np.iinfo(values.dtype).max if is_integer else 1.0
    anything = shape is not None and stored.axes is None and values.ndim == 3 and shape[0] not in (1, 3)
    planes = (values.transpose(2, 0, 1) if anything else _three_channels(values, white, path)) / np.float64(white)
    if observed is not None and observed.shape == planes.shape[-2:]:
        planes = np.where(observed, planes, 0.0)
    if not is_integer and not np.isfinite(planes).all():
        raise ValueError(
            f"{path}: the image holds values that are not finite; is it a depth or disparity map? A mask hides pixels "
            f"that were not observed"
        )
    colour = _colour_of(stored, encoding, is_integer)
    if colour.curves and not -_ROUNDING <= planes.min() <= planes.max() <= 1 + _ROUNDING:
        raise ValueError(
            f"{path}: expected {colour.about} values from 0 to 1, got {planes.min():g} to {planes.max():g}; encoding "
            "'linear' takes any"
        )
    planes = _meant(planes, colour, path, linear=linear, clip=is_integer)
    if shape is not None and shape[0] == 1 and (planes == planes[:1]).all():
        planes = planes[:1]
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(planes, dtype)
    if not is_integer and not np.isfinite(image).all():
        most = np.abs(planes).max()
        raise ValueError(f"{path}: the image holds values up to {most:g}, more than {image.dtype} holds")
    return image


def _colour_of(stored: Stored, encoding: str | None, is_integer: bool) -> Colour:
    if encoding is None and stored.colour is not None:
        return stored.colour
    return SRGB if (encoding == "srgb" if encoding is not None else is_integer) else LINEAR


def _meant(planes: np.ndarray, colour: Colour, path: PathLike, *, linear: bool, clip: bool) -> np.ndarray:
    """Convert the numbers of a file, white at 1, to linear light or sRGB-encoded values."""
    if colour.assumed:
        warnings.warn(
            f"{path}: sRGB is assumed, since the file has {colour.assumed}; say the encoding, srgb or linear, to "
            "choose",
            PictureWarning,
            stacklevel=3,
        )
    if colour.is_srgb:
        return srgb_to_linear(planes) if linear else planes
    light = colour.light(planes)
    if colour.matrix is not None:
        if clip:
            light, exact = light.clip(0.0, 1.0), light
            outside = np.mean((np.abs(light - exact) > _VISIBLE).any(axis=0))
            if outside > 0.001:
                warnings.warn(
                    f"{path}: {outside:.1%} of the pixels have colours of {colour.about} that sRGB cannot show, and "
                    "were clipped",
                    PictureWarning,
                    stacklevel=3,
                )
    return light if linear else linear_to_srgb(light)


def _channels_last(stored: Stored, layout: str | None, shape: tuple[int, ...] | None, path: PathLike) -> np.ndarray:
    """Bring an array of three axes to (H, W, C), by `layout`, the expected `shape`, or what its own shape allows."""
    values = stored.values
    if stored.axes is not None or values.ndim != 3:
        return values
    first, last = values.transpose(1, 2, 0), values
    if layout is None and shape is not None:
        fits = [name for name, array in (("chw", first), ("hwc", last)) if array.shape == (*shape[1:], shape[0])]
        layout = fits[0] if len(fits) == 1 else None
    if layout is None:
        may = [values.shape[0] in (1, 3), values.shape[-1] in (1, 2, 3, 4)]
        if all(may):
            raise ValueError(
                f"{path}: an array of shape {values.shape} may be (channels, rows, columns) or (rows, columns, "
                "channels); say which, layout chw or hwc"
            )
        layout = "chw" if may[0] else "hwc"
    return first if layout == "chw" else last


def read_mask(path: PathLike, *, belongs_to: PathLike | None = None) -> np.ndarray:
    """Read a mask: True where the file is white, False where it is black, with the threshold at half.

    Parameters
    ----------
    path : path
        As for `read_array`. For colours the brightest channel counts. Files without lossy compression may hold 0 and 1
        instead.
    belongs_to : path, optional
        The picture that it masks, as for `read_array`.

    Returns
    -------
    ndarray of shape (H, W)
        bool.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file cannot be read, is neither grey nor in colour, has transparent pixels or values that are not finite.

    Notes
    -----
    The threshold applies to the stored values: JPEG ringing beside an edge does not cross it. Cost O(H W).
    """
    stored = read_stored(path)
    stored = stored._replace(values=_channels_last(stored, None, None, path))
    values = turn_upright(stored.values, orientation_for(path, stored, belongs_to))
    kind = values.dtype.kind
    white = float(np.iinfo(values.dtype).max) if values.dtype in (np.uint8, np.uint16) else 1.0
    planes = _three_channels(values, white, path).astype(np.float64)
    if not np.isfinite(planes).all():
        raise ValueError(f"{path}: expected a mask of black and white, got values that are not finite")
    level = planes.max(axis=0)
    if stored.exact and kind in "ui" and level.max() <= 1:
        white = 1.0
    if not -_ROUNDING <= level.min() <= level.max() <= white * (1 + _ROUNDING):
        raise ValueError(
            f"{path}: expected a mask of 0 and {white:g}, got {values.dtype} values from {level.min():g} to "
            f"{level.max():g}"
        )
    return np.asarray(level > white / 2)


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
        Finite floats, or bool; white is 1. Values outside [0, 1] are clipped, and all are rounded to the nearest
        level, because the format demands it.
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
    TypeError
        Integers; `write_array` writes them unchanged.
    ValueError
        Another suffix, bit depth or shape, or values that are not finite.

    Notes
    -----
    The file is complete or does not appear. Cost O(H W).
    """
    write_images({path: image}, bits=bits, linear=linear, overwrite=overwrite)


def write_images(
    images: Mapping[PathLike, np.ndarray],
    *,
    bits: Literal[8, 16] = 8,
    linear: bool = True,
    overwrite: bool = False,
) -> None:
    """Write several images, each as `write_image` does: all files appear, or none.

    Parameters
    ----------
    images : mapping of path to ndarray
        The images by their files.
    bits, linear, overwrite
        As for `write_image`, of all of them.

    Raises
    ------
    FileExistsError, FileNotFoundError, OSError, TypeError, ValueError
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
    if (kind := np.asarray(image).dtype).kind not in "fb":
        raise TypeError(
            f"write_image: expected floats with white at 1, got {kind}; write_array keeps integers as they are"
        )
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
    return png.encode(levels.transpose(1, 2, 0))


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
        The format cannot hold this dtype exactly, or the dtype is not numeric.
    ValueError
        Unknown suffix, or a shape the format cannot hold.
    """
    suffix = str(path).lower().rpartition(".")[2]
    values = np.asarray(array)
    if suffix == "png":
        data = png.encode(values)
    elif suffix == "pfm":
        if values.dtype != np.float32:
            raise TypeError(f"PFM: expected float32 values, got {values.dtype}")
        data = arrays.encode_pfm(values)
    elif suffix == "npy":
        data = arrays.encode_npy(values)
    else:
        raise ValueError(f"write_array: expected a name ending in .png, .pfm or .npy, got {path}")
    with publish(path, overwrite=overwrite) as part:
        part.write_bytes(data)
