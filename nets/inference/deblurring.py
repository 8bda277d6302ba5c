"""Inference on photos of any size, as a whole or in blended tiles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blurphys.colour import linear_to_srgb, srgb_to_linear
from blurphys.inputs import require_integer

__all__ = ["TILE", "MAX_WHOLE_PIXELS", "TilingWarning", "deblur"]

MAX_WHOLE_PIXELS = 4_000_000
"""Images of up to so many pixels are processed as a whole unless tiles are asked for. All published test sets are
below; at the limit GKMNet takes some 6 GB and NRKNet 10 GB (1.6 and 2.4 kB a pixel on a CPU, float32)."""

TILE = 1024
"""Side of the tiles, px, where none is given."""

OVERLAP, MAX_OVERLAP = 128, 256
"""Overlap of tiles, px: for networks whose reach is not known, and the maximum for the others."""


class TilingWarning(UserWarning):
    """An image is processed in tiles by a network whose output depends on the whole image."""


def deblur(
    net: nn.Module,
    image: Any,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    linear: bool = False,
) -> Any:
    """Restore a photo.

    Parameters
    ----------
    net : Net
        Stays on its device; the photo is moved there, tile by tile.
    image : array or tensor of shape (3, H, W) or (B, 3, H, W), or a sequence of them
        NumPy or torch floats in [0, 1]; one for each of the network's `inputs`, in that order. Networks are trained on
        display values (sRGB-encoded, what an 8-bit file holds divided by 255).
    tile : int, optional
        Side of the tiles without their overlap, px; without it, images of more than `MAX_WHOLE_PIXELS` pixels are cut
        to tiles of 1024.
    overlap : int, optional
        Pixels that two neighbouring tiles share on either side of their common edge: half of it is context only, and
        they are blended over the other half. By default twice the network's `reach`, but at most 256 and no more than
        the tile, and 128 where the reach is not known. Tiles smaller than the overlap grow to it.
    linear : bool
        True: the image is linear light; it is encoded for the network, and the result is decoded.

    Returns
    -------
    array or tensor
        Of the shape, kind and dtype of `image`, not clipped.

    Raises
    ------
    TypeError
        No network, or neither arrays nor tensors of floats.
    ValueError
        Another shape, number of images, tile or overlap, or values that are not finite.

    Warns
    -----
    TilingWarning
        Tiles, and a network with `global_statistics` (attention over the whole image, normalisation by its statistics):
        tiles give another result than the whole would.

    Notes
    -----
    The tiles' weights are linear ramps that sum to one, and tiles begin at multiples of the network's `multiple`, so
    that where half the overlap is at least the reach the result is that of the whole image to rounding. Evaluation
    mode; the images of a batch go through one by one.

    Examples
    --------
    >>> import nets, numpy as np
    >>> x = deblur(nets.load("gkmnet-synthetic"), np.full((3, 50, 70), 0.5))  # doctest: +SKIP
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"deblur: expected a network, got {type(net).__name__}; nets.load reads one from a file")
    if isinstance(image, str):
        raise TypeError(f"deblur: expected an array, got the text {image!r}; synth.io.read_image reads files")
    if getattr(net, "restores", True) is False:
        raise ValueError(f"deblur: {_name(net)} does not restore an image; what it returns is something else")
    given = list(image) if isinstance(image, Sequence) else [image]
    wanted: tuple[str, ...] = getattr(net, "inputs", ("image",))
    if len(given) != len(wanted):
        raise ValueError(f"deblur: {_name(net)} takes {len(wanted)} images ({', '.join(wanted)}), got {len(given)}")
    planes = [_tensor(one) for one in given]
    if len({tuple(p.shape) for p in planes}) > 1:
        raise ValueError(f"deblur: expected images of one shape, got {', '.join(str(tuple(p.shape)) for p in planes)}")
    if linear:
        planes = [linear_to_srgb(p) for p in planes]
    size = (int(planes[0].shape[-2]), int(planes[0].shape[-1]))
    plan = _plan(net, size, tile, overlap)
    if len(plan) > 1 and getattr(net, "global_statistics", False):
        warnings.warn(
            f"deblur: every pixel of {_name(net)} depends on the whole image, so that {len(plan)} tiles give another "
            "result than the whole image would; pass a tile as large as the image if memory allows",
            TilingWarning,
            stacklevel=2,
        )
    batched = planes[0].ndim == 4
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with torch.no_grad():
            rows = zip(*(p if batched else p[None] for p in planes), strict=True)
            results = [_restore(net, row, plan) for row in rows]
    finally:
        for module, training in modes:
            module.training = training
    result = torch.stack(results) if batched else results[0]
    if linear:
        result = srgb_to_linear(result)
    like = given[0]
    if isinstance(like, np.ndarray):
        return result.cpu().numpy().astype(like.dtype, copy=False)
    return result.to(like)


def _name(net: nn.Module) -> str:
    return str(getattr(net, "name", type(net).__name__))


def _tensor(image: Any) -> Tensor:
    if not isinstance(image, np.ndarray | Tensor):
        raise TypeError(f"deblur: expected a NumPy array or a torch tensor, got {type(image).__name__}")
    if isinstance(image, np.ndarray):
        if image.dtype.kind != "f":
            raise TypeError(f"deblur: expected floats in [0, 1], got {image.dtype}; divide 8-bit values by 255")
        image = torch.from_numpy(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))
    if not image.is_floating_point():
        raise TypeError(f"deblur: expected floats in [0, 1], got {image.dtype}; divide 8-bit values by 255")
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or image.numel() == 0:
        hint = "; is it channels-last?" if image.ndim in (3, 4) and image.shape[-1] == 3 else ""
        raise ValueError(f"deblur: expected shape (3, H, W) or (B, 3, H, W), got {tuple(image.shape)}{hint}")
    if not torch.isfinite(image).all():
        raise ValueError("deblur: expected finite values, got an image with NaN or infinity")
    return image


# ---- tiles --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """Start and end of a tile along one axis, and the weights of its samples."""

    start: int
    stop: int
    weights: Tensor | None


@dataclass(frozen=True)
class _Window:
    rows: _Span
    columns: _Span


def _plan(net: nn.Module, size: tuple[int, int], tile: int | None, overlap: int | None) -> list[_Window]:
    multiple = max(1, int(getattr(net, "multiple", 1)))
    if tile is None and size[0] * size[1] <= MAX_WHOLE_PIXELS:
        tile, overlap = max(size), 0 if overlap is None else overlap
    tile = require_integer("deblur", "tile", TILE if tile is None else tile, unit="px")
    reach = getattr(net, "reach", None)
    if overlap is None:
        overlap = min(OVERLAP if reach is None else min(2 * int(reach), MAX_OVERLAP), tile)
    overlap = require_integer("deblur", "overlap", overlap, 0, unit="px")
    # Tiles begin and end on the grid of the network's coarsest scale.
    side, shared = (-(-n // multiple) * multiple for n in (tile, overlap))
    if shared > side:
        side = shared  # the two ramps of a tile must not overlap
    rows, columns = (list(_spans(length, side, shared, multiple)) for length in size)
    return [_Window(row, column) for row in rows for column in columns]


def _spans(length: int, side: int, shared: int, multiple: int) -> Iterator[_Span]:
    """Cut an axis: cores of `side` px, each read with `shared` px around it and blended across the edges of the cores.

    A tile at the end is as wide as the others, so that it has as much context.
    """
    edges = [*range(0, length, side), length]
    if len(edges) == 2:
        yield _Span(0, length, None)
        return
    at = torch.arange(length, dtype=torch.float64) + 0.5
    for core, end in zip(edges[:-1], edges[1:], strict=True):
        start, stop = max(0, core - shared), min(length, end + shared)
        if stop == length:
            start = min(start, max(0, length - side - shared) // multiple * multiple)
        weights = torch.ones(length, dtype=torch.float64)
        if core > 0:
            weights *= _ramp(at - core, shared / 2)
        if end < length:
            weights *= 1 - _ramp(at - end, shared / 2)
        yield _Span(start, stop, weights[start:stop])


def _ramp(distance: Tensor, half: float) -> Tensor:
    """From 0 to 1 over ``-half .. half``; a step where there is no overlap."""
    if half == 0:
        return (distance > 0).to(distance.dtype)
    return (0.5 + distance / (2 * half)).clamp(0.0, 1.0)


def _restore(net: nn.Module, images: Sequence[Tensor], plan: Sequence[_Window]) -> Tensor:
    """Restore one image (3, H, W), or one for each input, window by window."""
    like = next((p for p in net.parameters() if p.is_floating_point()), images[0])

    def run(window: _Window) -> Tensor:
        rows, columns = slice(window.rows.start, window.rows.stop), slice(window.columns.start, window.columns.stop)
        parts = [image[None, :, rows, columns].to(device=like.device, dtype=like.dtype) for image in images]
        return net(*parts)[0].to(images[0])

    if len(plan) == 1:
        return run(plan[0])
    total = torch.zeros_like(images[0])
    for window in plan:
        part = run(window)
        for span, axis in ((window.rows, -2), (window.columns, -1)):
            if span.weights is not None:
                weights = span.weights.to(part)
                part = part * (weights[:, None] if axis == -2 else weights)
        total[:, window.rows.start : window.rows.stop, window.columns.start : window.columns.stop] += part
    return total
