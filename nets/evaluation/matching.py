"""PSNR and SSIM of photographs of one scene that differ in exposure and black level: match first, then compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blurphys.inputs import require_integer

from .. import metrics

__all__ = ["affine_match", "matched_scores"]

Image = NDArray[Any]


def affine_match(image: Image, target: Image) -> Image:
    """Return an image with the gain and offset of each colour that bring it closest to another.

    Parameters
    ----------
    image, target : ndarray of shape (C, H, W)

    Returns
    -------
    ndarray of shape (C, H, W), float64
        ``gain image + offset``, least squares over all pixels; the mean of `target` where a colour of `image` is
        constant.

    Raises
    ------
    ValueError
        Different shapes, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> target = np.random.default_rng(0).random((3, 5, 7))
    >>> bool(np.allclose(affine_match(0.4 * target + 0.1, target), target))
    True
    """
    a, b = _pair("affine_match", image, target)
    means = [v.mean(axis=(1, 2), keepdims=True) for v in (a, b)]
    a, b = a - means[0], b - means[1]
    power = np.sum(a * a, axis=(1, 2), keepdims=True)
    gain = np.sum(a * b, axis=(1, 2), keepdims=True) / np.where(power > 0, power, 1)
    matched: Image = gain * a + means[1]
    return matched


def matched_scores(image: Image, truth: Image, *, border: int = 0) -> dict[str, float]:
    """Return PSNR (dB) and SSIM of an image after `affine_match` to the truth, without a border.

    Parameters
    ----------
    image, truth : ndarray of shape (C, H, W)
        Encoded as they are to be compared, peak 1.
    border : int
        Pixels left out along every edge; they do not take part in the match either.

    Returns
    -------
    dict
        ``psnr`` and ``ssim`` (`nets.metrics`, Gaussian window), in float64, nothing rounded.

    Raises
    ------
    ValueError
        As `affine_match`; a border that leaves less than the window of SSIM, 11 px.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.random.default_rng(0).random((3, 16, 20))
    >>> matched_scores(0.9 * truth, truth)["psnr"] > 200
    True
    """
    a, b = _pair("matched_scores", image, truth)
    border = require_integer("matched_scores", "border", border, 0, unit="px")
    if min(a.shape[-2:]) < 2 * border + 11:
        raise ValueError(
            f"matched_scores: expected at least 11 px inside a border of {border} px, got an image of "
            f"{a.shape[-2]} x {a.shape[-1]} px"
        )
    rows, cols = (slice(border, n - border) for n in a.shape[-2:])
    a, b = a[:, rows, cols], b[:, rows, cols]
    pair = [torch.from_numpy(np.ascontiguousarray(v))[None] for v in (affine_match(a, b), b)]
    return {"psnr": float(metrics.psnr(*pair)), "ssim": float(metrics.ssim(*pair))}


def _pair(owner: str, image: Image, target: Image) -> tuple[Image, Image]:
    a, b = (np.asarray(v, dtype=np.float64) for v in (image, target))
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"{owner}: expected two images of one shape (C, H, W), got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"{owner}: expected finite images, got NaN or infinity")
    return a, b
