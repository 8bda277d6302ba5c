"""PSNR and SSIM of a restored image, with explicit encoding and clipping."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blurphys.colour import linear_to_srgb

__all__ = ["Encoding", "encode", "psnr", "ssim"]

Image = NDArray[np.floating]
Encoding = Literal["linear", "srgb"]


def encode(image: Image, *, encoding: Encoding, clip: bool) -> Image:
    """Return an image of linear light clipped to [0, 1] if asked, and then as it is or encoded as sRGB."""
    image = np.clip(image, 0.0, 1.0) if clip else image
    return np.asarray(linear_to_srgb(image)) if encoding == "srgb" else image


def psnr(image: Image, truth: Image, *, encoding: Encoding, clip: bool) -> float:
    """Return the peak signal-to-noise ratio of an image, dB for a peak of 1; infinite for equal images.

    Parameters
    ----------
    image, truth : ndarray of shape (C, H, W)
        Linear light. Differences are taken in their dtype, the mean in float64.
    encoding : {"linear", "srgb"}
        Whether linear light or values encoded as sRGB are compared; their figures cannot be compared.
    clip : bool
        Whether both are clipped to [0, 1] first, as on a screen.

    Examples
    --------
    >>> import numpy as np
    >>> round(psnr(np.full((3, 2, 2), 0.1), np.zeros((3, 2, 2)), encoding="linear", clip=False), 6)
    20.0
    """
    a, b = (encode(v, encoding=encoding, clip=clip) for v in (image, truth))
    mse = float(np.mean((a - b) ** 2, dtype=np.float64))
    return float(-10 * np.log10(mse)) if mse > 0 else math.inf


def ssim(image: Image, truth: Image, *, encoding: Encoding, clip: bool) -> float:
    """Return the structural similarity of an image, scikit-image's default window of 7 x 7 px; arguments as `psnr`."""
    from skimage.metrics import structural_similarity

    a, b = (encode(v, encoding=encoding, clip=clip) for v in (image, truth))
    return float(structural_similarity(b, a, channel_axis=0, data_range=1.0))
