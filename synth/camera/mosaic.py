"""The Bayer mosaic of a sensor, and demosaicing."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from blurphys.inputs import require_choice

from .checks import check_image, describe_value

__all__ = ["FILTERS", "Demosaic", "Mosaic", "bayer_demosaic", "bayer_mosaic"]

Mosaic: TypeAlias = Literal["rggb", "bggr", "grbg", "gbrg"]
Demosaic: TypeAlias = Literal["bilinear", "malvar"]


def bayer_mosaic(image: np.ndarray, pattern: Mosaic) -> np.ndarray:
    """Sample the colour of each pixel's filter (Bayer mosaic).

    Parameters
    ----------
    image : ndarray of shape (3, H, W)
        Red, green, blue.
    pattern : {"rggb", "bggr", "grbg", "gbrg"}
        Colours of the first two pixels of the first row, then of the second.

    Returns
    -------
    ndarray of shape (H, W)
        Of the input's dtype.

    Raises
    ------
    ValueError
        Another shape, dtype or pattern.
    """
    check_image("bayer_mosaic", image)
    require_choice("bayer_mosaic", "pattern", pattern, get_args(Mosaic))
    plane = np.empty(image.shape[1:], image.dtype)
    for site, colour in enumerate(pattern):
        rows, columns = slice(site // 2, None, 2), slice(site % 2, None, 2)
        plane[rows, columns] = image["rgb".index(colour), rows, columns]
    return plane


def bayer_demosaic(plane: np.ndarray, pattern: Mosaic, method: Demosaic = "bilinear") -> np.ndarray:
    """Interpolate the two missing colours of each pixel of a mosaic (demosaicing).

    Parameters
    ----------
    plane : ndarray of shape (H, W)
        Floats, linear light; H and W at least 2.
    pattern : {"rggb", "bggr", "grbg", "gbrg"}
        As in `bayer_mosaic`.
    method : {"bilinear", "malvar"}
        Mean of the nearest two or four pixels of that colour, or the same corrected by the second difference of the
        colour measured at the pixel.

    Returns
    -------
    ndarray of shape (3, H, W)
        Of the input's dtype; measured values are kept to the bit. Malvar overshoots at edges, also below 0.

    Raises
    ------
    ValueError
        Another shape, dtype, pattern or method.

    Notes
    -----
    Linear in `plane`, and a grey constant comes back unchanged (with Malvar to rounding). Bilinear weights also keep
    every constant colour, and linear ramps away from the border. The border is mirrored about the outermost pixels,
    which keeps the colours of the mosaic in step. O(H W), four filters of up to 5 x 5 in double precision.

    References
    ----------
    Malvar, He and Cutler, High-quality linear interpolation for demosaicing of Bayer-patterned color images, ICASSP
    2004: the four filters, with gains 1/2, 5/8 and 3/4.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((3, 4, 6), 0.3)
    >>> bool((bayer_demosaic(bayer_mosaic(grey, "grbg"), "grbg") == grey).all())
    True
    """
    from scipy import ndimage

    if not (isinstance(plane, np.ndarray) and plane.ndim == 2 and np.issubdtype(plane.dtype, np.floating)):
        raise ValueError(f"bayer_demosaic: expected floats of shape (H, W), got {describe_value(plane)}")
    if min(plane.shape) < 2:
        raise ValueError(f"bayer_demosaic: expected at least 2 rows and columns, got shape {plane.shape}")
    require_choice("bayer_demosaic", "pattern", pattern, get_args(Mosaic))
    require_choice("bayer_demosaic", "method", method, get_args(Demosaic))
    values = plane.astype(np.float64)
    filled = {
        name: ndimage.correlate(values, np.array(weights) / 16, mode="mirror")
        for name, weights in FILTERS[method].items()
    }
    image = np.empty((3, *plane.shape), plane.dtype)
    for site, measured in enumerate(pattern):
        rows, columns = slice(site // 2, None, 2), slice(site % 2, None, 2)
        beside = pattern[site ^ 1]  # the other colour of this row
        for channel, wanted in enumerate("rgb"):
            if wanted == measured:
                source = plane
            elif wanted == "g":
                source = filled["cross"]
            elif measured == "g":
                source = filled["row" if beside == wanted else "column"]
            else:
                source = filled["diagonal"]
            image[channel, rows, columns] = source[rows, columns]
    return image


def _rows(*rows: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(weight) for weight in row.split()) for row in rows)


def _transposed(weights: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(zip(*weights, strict=True))


_BILINEAR_ROW = _rows("0 0 0 0 0", "0 0 0 0 0", "0 8 0 8 0", "0 0 0 0 0", "0 0 0 0 0")
_MALVAR_ROW = _rows("0 0 1 0 0", "0 -2 0 -2 0", "-2 8 10 8 -2", "0 -2 0 -2 0", "0 0 1 0 0")

# Sixteenths. cross: green where red or blue was measured; row (column): red or blue at a green pixel with that colour
# beside it in its row (column); diagonal: red at blue and blue at red.
FILTERS: dict[str, dict[str, tuple[tuple[int, ...], ...]]] = {
    "bilinear": {
        "cross": _rows("0 0 0 0 0", "0 0 4 0 0", "0 4 0 4 0", "0 0 4 0 0", "0 0 0 0 0"),
        "row": _BILINEAR_ROW,
        "column": _transposed(_BILINEAR_ROW),
        "diagonal": _rows("0 0 0 0 0", "0 4 0 4 0", "0 0 0 0 0", "0 4 0 4 0", "0 0 0 0 0"),
    },
    "malvar": {
        "cross": _rows("0 0 -2 0 0", "0 0 4 0 0", "-2 4 8 4 -2", "0 0 4 0 0", "0 0 -2 0 0"),
        "row": _MALVAR_ROW,
        "column": _transposed(_MALVAR_ROW),
        "diagonal": _rows("0 0 -3 0 0", "0 4 0 4 0", "-3 0 12 0 -3", "0 4 0 4 0", "0 0 -3 0 0"),
    },
}
