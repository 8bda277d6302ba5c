"""`LayeredDefocus` restricted to the pixels that its layers cover, with constant transmittances, for solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

import numpy as np
from array_api_compat import array_namespace, device

from ..engines.dispatch import kernel
from ..engines.loading import fast_kernel
from ..engines.reference.convolve import zeros_for
from ..engines.reference.layered import VisibleArea, visibilities, with_part
from ..frozen import freeze, make_plain
from ..inputs import detach
from ..linop.base import LinearOperator
from ..types import Array, Shape
from .layer_areas import to_host
from .layered import LayeredDefocus

__all__ = ["PackedLayers"]

Index = np.ndarray[Any, Any]


class _Part(NamedTuple):
    """One layer that covers at least one pixel."""

    area: VisibleArea
    span: slice  # its pixels in a packed image
    covered: Array  # (n,), where they are in the area, row by row
    packed: Array  # (h w,), where a pixel of the area is in a packed image; N for those not covered
    psfs: Array  # (V, 1, 1 or C, h, w)
    weights: tuple[Array, ...]  # of each view, (1 or C, h, w): the share of the layer's light that is recorded


@final
@dataclass(frozen=True, eq=False, repr=False)
class PackedLayers(LinearOperator):
    """Map the colours of all covered pixels of all layers to the image that a lens records.

    A packed image has the shape (C, 1, N): the covered pixels (alpha > 0) of the first layer, row by row, then those of
    the next. Its size depends on the area that the layers cover, not on their number: K_eff C H W numbers for layers
    that together cover K_eff frames.

    Parameters
    ----------
    layers : LayeredDefocus
        Its alphas and PSFs are constants here: nothing is differentiated with respect to them.

    Notes
    -----
    The same map as that of `layers` with ``per_layer=True``, restricted to the pixels that matter:

        y = sum_k W_k . (h_k * E(a_k . x_k)),   W_k = T_k / (1 - T_(K+1)),

    with W_k computed once, which spares the adjoint the recursion of T_k. Cost: for each view and layer, the area of
    its PSF times the pixels where it is visible, C times. Memory: V weights for each of these pixels.
    """

    layers: LayeredDefocus
    _parts: tuple[_Part, ...] = field(init=False, default=())
    _alpha: Array = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.layers, LayeredDefocus):
            raise TypeError(f"PackedLayers: expected a LayeredDefocus, got {type(self.layers).__name__}")
        layers = replace(self.layers, alphas=detach(self.layers.alphas), per_layer=True)
        freeze(self, layers=layers)
        parts, alpha = make_plain(self._pack_layers)
        freeze(self, _parts=parts, _alpha=alpha)

    def _pack_layers(self) -> tuple[tuple[_Part, ...], Array]:
        alphas = self.layers.alphas
        xp, where = array_namespace(alphas), device(alphas)
        found, alpha, start = [], [], 0
        for area, weights in visibilities(kernel, *self.layers._arguments):
            values = to_host(alphas[area.layer, area.rows, area.cols]).ravel()
            covered = np.flatnonzero(values > 0)
            found.append((area, weights, values, covered, slice(start, start + covered.size)))
            start += covered.size
        parts = []
        for area, weights, values, covered, span in found:
            packed = np.full(values.size, start)
            packed[covered] = np.arange(span.start, span.stop)
            here, there = (xp.asarray(index, device=where) for index in (covered, packed))
            psf = detach(self.layers._psfs[area.layer])
            parts.append(_Part(area, span, here, there, psf, weights))
            alpha.append(xp.asarray(values[covered], dtype=alphas.dtype, device=where))
        empty = xp.zeros((0,), dtype=alphas.dtype, device=where)
        return tuple(parts), xp.concat([*alpha, empty])

    @property
    def like(self) -> Array:
        return self.layers.alphas

    @property
    def in_shape(self) -> Shape:
        return (self.layers.channels, 1, int(self._alpha.shape[0]))

    @property
    def out_shape(self) -> Shape:
        return self.layers.out_shape

    def _forward(self, x: Array) -> Array:
        if isinstance(x, np.ndarray) and fast_kernel("layered_over", "numpy") is not None:
            return self.layers._forward(self.unpack(x))  # in one pass, faster than known weights make the steps below
        xp, channels, views = array_namespace(x), self.layers.channels, len(self.layers.views)
        light = self._with_zero(x[..., 0, :] * self._alpha)
        ys = [zeros_for(x, (*x.shape[:-3], channels, *self.out_shape[-2:])) for _ in range(views)]
        for part in self._parts:
            area, blur = part.area, kernel("psf_gather", x)
            blurred = blur(self._unpack_part(light, part), part.psfs, area.near, self.layers.boundary)
            for view, weights in enumerate(part.weights):
                here, own = (..., area.rows, area.cols), slice(view * channels, (view + 1) * channels)
                ys[view] = with_part(ys[view], area, ys[view][here] + weights * blurred[..., own, :, :])
        return ys[0] if views == 1 else xp.concat(ys, axis=-3)

    def _adjoint(self, y: Array) -> Array:
        xp, channels = array_namespace(y), self.layers.channels
        sums = [zeros_for(y, (*y.shape[:-3], channels, 0))]
        for part in self._parts:
            area, spread = part.area, kernel("psf_gather_adjoint", y)
            own = [slice(view * channels, (view + 1) * channels) for view in range(len(part.weights))]
            views = [w * y[..., c, area.rows, area.cols] for c, w in zip(own, part.weights, strict=True)]
            sent = spread(xp.concat(views, axis=-3), part.psfs, area.near, self.layers.boundary)
            sums.append(xp.take(xp.reshape(sent, (*sent.shape[:-2], -1)), part.covered, axis=-1))
        return (self._alpha * xp.concat(sums, axis=-1))[..., None, :]

    def _with_zero(self, flat: Array) -> Array:
        """Append a zero to (..., N), the value of pixels that are not covered."""
        return array_namespace(flat).concat([flat, zeros_for(flat, (*flat.shape[:-1], 1))], axis=-1)

    def _unpack_part(self, padded: Array, part: _Part) -> Array:
        """Return one layer on its area, (..., C, h, w)."""
        shape = (*padded.shape[:-1], *part.area.near.shape[-2:])
        return array_namespace(padded).reshape(array_namespace(padded).take(padded, part.packed, axis=-1), shape)

    def neighbours(self) -> tuple[Index, Index]:
        """Return the packed pixel below each one (N where its layer ends), and whether the next is on its right."""
        count = self.in_shape[-1]
        below, right = np.full(count, count), np.zeros(count, dtype=bool)
        for part in self._parts:
            width, start = part.area.near.shape[-1], part.span.start
            covered, packed = to_host(part.covered), to_host(part.packed)
            inner = covered + width < packed.size
            below[part.span][inner] = packed[covered[inner] + width]
            if covered.size > 1:
                side_by_side = (np.diff(covered) == 1) & (covered[1:] % width > 0)
                right[start : start + covered.size - 1] = side_by_side
        return below, right

    def map_layers(self, apply: Callable[[Array], Array], x: Array) -> Array:
        """Apply a function of images (..., C, h, w) to each layer, continued beyond its edges by the nearest pixel.

        What it returns beyond the edges is discarded. Additional cost: a distance transform for each layer.
        """
        from scipy.ndimage import distance_transform_edt

        xp, flat = array_namespace(x), x[..., 0, :]
        parts = [flat[..., :0]]
        for part in self._parts:
            shape = part.area.near.shape[-2:]
            packed = to_host(part.packed).reshape(shape)
            rows, cols = distance_transform_edt(
                packed == self.in_shape[-1], return_distances=False, return_indices=True
            )
            nearest = xp.asarray(packed[rows, cols].ravel(), device=device(x))
            image = apply(xp.reshape(xp.take(flat, nearest, axis=-1), (*flat.shape[:-1], *shape)))
            parts.append(xp.take(xp.reshape(image, (*flat.shape[:-1], -1)), part.covered, axis=-1))
        return xp.concat(parts, axis=-1)[..., None, :]

    def shows_only(self, chosen: Callable[[float], bool]) -> Index:
        """Return where no view records light of a layer whose radius is not chosen, bool of shape (H, W)."""
        only = np.ones(self.out_shape[-2:], dtype=bool)
        for part in self._parts:
            if not chosen(self.layers.radii[part.area.layer]):
                for weights in part.weights:
                    only[part.area.rows, part.area.cols] &= ~(to_host(weights) > 0).any(axis=0)
        return only

    def composite(self, x: Array) -> Array:
        """Return the picture without blur, as `LayeredDefocus.composite`: (..., C, 1, N) to (..., C, H, W)."""
        return self.layers.composite(self.unpack(x))

    def pack(self, x: Array) -> Array:
        """Return the covered pixels of the colours of all layers: (..., K C, H, W) to (..., C, 1, N)."""
        xp, C = array_namespace(x), self.layers.channels
        parts = [zeros_for(x, (*x.shape[:-3], C, 0))]
        for part in self._parts:
            k = part.area.layer
            image = x[..., k * C : (k + 1) * C, part.area.rows, part.area.cols]
            parts.append(xp.take(xp.reshape(image, (*image.shape[:-2], -1)), part.covered, axis=-1))
        return xp.concat(parts, axis=-1)[..., None, :]

    def unpack(self, x: Array) -> Array:
        """Return the colours of all layers on the frame, zero where they cover nothing: the transpose of `pack`."""
        padded = self._with_zero(x[..., 0, :])
        out = zeros_for(x, (*x.shape[:-3], *self.layers.in_shape))
        C = self.layers.channels
        for part in self._parts:
            k = part.area.layer
            out[..., k * C : (k + 1) * C, part.area.rows, part.area.cols] = self._unpack_part(padded, part)
        return out
