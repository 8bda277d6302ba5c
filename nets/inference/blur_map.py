"""How blurred a photo is, everywhere: the network in tiles, then completion of its map along the edges of the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..models.blurmap.blur_map_net import CELL, COARSE, LEAST, BlurMapNet
from ..weights.saving import load

__all__ = ["BlurEstimate", "blur_distribution", "confidence_of", "estimate_blur", "median_of", "weight_of"]

Plane = NDArray[np.float32]

SHIPPED = "blurmap-small"

TILE = 1024
"""Side of the tiles without their halo, px."""

WITHIN = 0.5
"""The confidence is the probability of an error below this, px."""

MAP_PIXELS = 1_500_000
"""Maps of larger photos are completed at half, a quarter, ... of the size and enlarged."""

SMOOTHNESS, EDGE = 0.3, 0.02
"""Of `solvers.estimation.complete`, where a cell counts as one measurement."""

VARIANCE, LEAST_WEIGHT = 0.05, 1e-4
"""Variance (px^2) below which cells count about alike, and the weight of a cell that knows nothing, so that a photo
without any texture has a map too."""

NOISE_PIXELS, STRIP = 4_000_000, 66
"""The noise of larger photos is estimated on strips of so many rows, evenly spread."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BlurEstimate:
    """How blurred a photo is.

    Attributes
    ----------
    radius : ndarray of shape (H, W), float32
        Absolute radius of the circle of confusion, px; complete: where nothing can be seen, it continues what is known
        around.
    confidence : ndarray of shape (H, W), float32
        Probability that the network's own estimate of that cell is right within half a pixel, from 0 to 1; low where
        there is no texture.
    noise : float
        Standard deviation of the noise of the photo, in its units.
    distribution : ndarray of shape (bins, ceil(H / 8), ceil(W / 8)), float32
        Probabilities of `radii` in cells of 8 x 8 px, as the network sees them.
    radii : ndarray of shape (bins,), float32
        Px.
    """

    radius: Plane
    confidence: Plane
    noise: float
    distribution: Plane
    radii: Plane


def estimate_blur(photo: Any, *, net: BlurMapNet | None = None) -> BlurEstimate:
    """Estimate the radius of defocus everywhere in one photo.

    Parameters
    ----------
    photo : array or tensor of shape (3, H, W)
        NumPy or torch floats, display values in [0, 1] (sRGB-encoded), at least 16 x 16 px.
    net : BlurMapNet, optional
        By default the weights ``"blurmap-small"`` that come with the package.

    Returns
    -------
    BlurEstimate
        NumPy arrays. Radii beyond the network's largest (8 px) come out as about that.

    Raises
    ------
    TypeError
        Neither an array nor a tensor of floats, or another network.
    ValueError
        Another shape, an image that is too small, or values that are not finite.

    Warns
    -----
    RangeWarning
        Values far outside [0, 1].

    Notes
    -----
    The medians of the network's distributions are completed by `solvers.estimation.complete`, weighted by the inverse
    square of their variances, with the photo as guide; photos above 1.5 megapixels at half, a quarter, ... of their
    size. The distribution does not depend on the tiles. Cost: 5 GMAC and 1.3 s of one core per megapixel; .7 GB beside
    a photo of 12 megapixels.

    Examples
    --------
    >>> import numpy as np, nets
    >>> found = nets.estimate_blur(np.full((3, 40, 60), 0.5, np.float32))
    >>> found.radius.shape, found.distribution.shape
    ((40, 60), (17, 5, 8))
    """
    checked = _checked(photo)
    net = _shipped() if net is None else net
    if not isinstance(net, BlurMapNet):
        raise TypeError(f"estimate_blur: expected a BlurMapNet, got {type(net).__name__}")
    distribution = blur_distribution(net, checked)
    radii = net.radii.cpu().numpy().astype(np.float32)
    middle = median_of(distribution, radii)
    sure = confidence_of(distribution, radii, middle)
    height, width = checked.shape[-2:]
    return BlurEstimate(
        radius=_completed(middle, weight_of(distribution, radii, middle), checked),
        confidence=np.clip(_enlarged(sure, CELL)[:height, :width], 0, 1),
        noise=_noise(checked),
        distribution=distribution,
        radii=radii,
    )


def _shipped() -> BlurMapNet:
    net = load(SHIPPED)
    assert isinstance(net, BlurMapNet)
    return net


def _checked(photo: Any) -> Tensor:
    name = "estimate_blur"
    if isinstance(photo, np.ndarray) and photo.dtype.kind == "f":
        photo = torch.from_numpy(np.ascontiguousarray(photo, photo.dtype.newbyteorder("=")))
    if not isinstance(photo, Tensor) or not photo.is_floating_point():
        kind = getattr(photo, "dtype", type(photo).__name__)
        raise TypeError(f"{name}: expected an array or tensor of floats in [0, 1], got {kind}; divide 8 bits by 255")
    shape = tuple(photo.shape)
    if photo.ndim != 3 or shape[0] != 3:
        last = shape[-1] if shape else 0
        hint = "; is it channels-last?" if photo.ndim == 3 and last == 3 else ""
        hint = "; a grey photo needs its channel three times" if photo.ndim == 2 or shape[:1] == (1,) else hint
        raise ValueError(f"{name}: expected one photo of shape (3, H, W), got {shape}{hint}")
    if min(shape[1:]) < LEAST:
        raise ValueError(f"{name}: expected at least {LEAST} x {LEAST} px, got {shape[1]} x {shape[2]}")
    if not torch.isfinite(photo).all():
        raise ValueError(f"{name}: expected finite values, got a photo with NaN or infinity")
    return photo.detach()


def blur_distribution(net: BlurMapNet, photo: Tensor, *, tile: int = TILE) -> Plane:
    """Return the network's distribution for a photo (3, H, W), (bins, ceil(H / 8), ceil(W / 8)), whatever the tile.

    Tiles begin on the grid of the coarsest level and are read with a halo of the network's reach.
    """
    like = net.scores.weight
    side, halo = (-(-n // COARSE) * COARSE for n in (tile, net.reach))
    height, width = photo.shape[-2:]
    found = np.empty((len(net.radii), -(-height // CELL), -(-width // CELL)), dtype=np.float32)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            for top in range(0, height, side):
                for left in range(0, width, side):
                    rows, columns = _span(top, side, halo, height), _span(left, side, halo, width)
                    part = photo[None, :, rows, columns].to(device=like.device, dtype=like.dtype)
                    cells = net(part)[0].cpu().numpy()
                    inner = cells[:, (top - rows.start) // CELL :, (left - columns.start) // CELL :]
                    into = found[:, top // CELL : (top + side) // CELL, left // CELL : (left + side) // CELL]
                    into[...] = inner[:, : into.shape[1], : into.shape[2]]
    finally:
        net.train(training)
    return found


def _span(start: int, side: int, halo: int, length: int) -> slice:
    """Return the rows of a tile with its halo; a short one at the end reaches further back, to be large enough."""
    return slice(max(0, start - halo), min(length, start + side + halo))


def median_of(distribution: Plane, radii: Plane) -> Plane:
    """Return the median radius of every cell, between the bins too, (h, w), px.

    A bin is an interval of one step around its radius (the first begins at 0), with even density.
    """
    edges, total = _edges(radii), np.cumsum(distribution, axis=0)
    bin_ = (total < 0.5).sum(axis=0).clip(0, len(radii) - 1)
    inside = np.take_along_axis(distribution, bin_[None], 0)[0]
    before = np.take_along_axis(total, bin_[None], 0)[0] - inside
    share = ((0.5 - before) / np.maximum(inside, 1e-9)).clip(0, 1)
    median: Plane = (edges[bin_] + share * (edges[bin_ + 1] - edges[bin_])).astype(np.float32)
    return median.clip(0, radii[-1])


def confidence_of(distribution: Plane, radii: Plane, middle: Plane, within: float = WITHIN) -> Plane:
    """Return the probability of every cell that its radius is within `within` px of `middle`, (h, w)."""
    edges = _edges(radii)
    sure = np.zeros_like(middle)
    for low, high, mass in zip(edges[:-1], edges[1:], distribution, strict=True):
        shared = np.minimum(middle + within, high) - np.maximum(middle - within, low)
        sure += mass * shared.clip(0) / (high - low)
    return sure.clip(0, 1)


def _edges(radii: Plane) -> Plane:
    between = (radii[1:] + radii[:-1]) / 2
    edges: Plane = np.concatenate([radii[:1], between, 1.5 * radii[-1:] - 0.5 * radii[-2:-1]]).astype(np.float32)
    return edges


def weight_of(distribution: Plane, radii: Plane, middle: Plane) -> Plane:
    """Return the weight of every cell in the completion, (h, w), at most 1: the inverse square of its variance.

    Inverse variances would be best if the errors of the cells were independent; those of cells without texture, which
    answer what is usual for such cells, are not, so that these count less.
    """
    variance = (distribution * (radii[:, None, None] - middle) ** 2).sum(axis=0)
    weight: Plane = (VARIANCE / (variance + VARIANCE)) ** 2 + LEAST_WEIGHT
    return weight


def _completed(middle: Plane, weight: Plane, photo: Tensor) -> Plane:
    from solvers.estimation import complete

    height, width = photo.shape[-2:]
    scale = 1
    while (height // scale) * (width // scale) > MAP_PIXELS and scale < CELL:
        scale *= 2
    guide = photo[None].float()
    if scale > 1:
        guide = functional.avg_pool2d(guide, scale, ceil_mode=True, count_include_pad=False)
    plane = guide[0].cpu().numpy()
    size = plane.shape[-2:]
    cell = CELL // scale
    values = (_enlarged(weight * middle, cell) / _enlarged(weight, cell))[: size[0], : size[1]]
    weights = _enlarged(weight, cell)[: size[0], : size[1]] / cell**2
    found = complete(values, weights, plane, smoothness=SMOOTHNESS, edge=EDGE).astype(np.float32)
    return _enlarged(found, scale)[:height, :width].clip(0, None)


def _enlarged(plane: Plane, factor: int) -> Plane:
    """Return a plane at `factor` times its size, interpolated linearly."""
    if factor == 1:
        return plane
    tensor = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    large = functional.interpolate(tensor, scale_factor=float(factor), mode="bilinear", align_corners=False)
    result: Plane = large[0, 0].numpy()
    return result


def _noise(photo: Tensor) -> float:
    from solvers.estimation import noise_level

    plane = photo.float().cpu().numpy()
    _, height, width = plane.shape
    count = height // STRIP
    wanted = max(1, NOISE_PIXELS // (STRIP * width))
    if count > wanted:
        starts = np.linspace(0, height - STRIP, wanted).astype(int)
        return noise_level(np.stack([plane[:, start : start + STRIP] for start in starts]))
    missing = [(0, max(0, 18 - n)) for n in (height, width)]
    return noise_level(np.pad(plane, [(0, 0), *missing], mode="reflect"))
