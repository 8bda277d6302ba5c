"""`layered_over`: layers laid over each other, each blurred by its own PSFs, in steps of `psf_gather`.

Where an engine has `layered_over` in one piece, that serves; elsewhere these steps do, and every step is computed by
the engine that has it: `choose` is `dispatch.kernel` then, and the reference of `psf_gather` for the ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from ...frozen import transformed
from ...inputs import tracing
from ...types import Array, Shape
from .convolve import zeros_for
from .psf import psf_gather, psf_gather_adjoint

__all__ = ["COMPOSED", "Extent", "layered_over", "layered_over_adjoint", "whole_frame"]

Choose = Callable[[str, Array], Callable[..., Array]]
"""Primitive and image to the function that computes it."""


class Extent(NamedTuple):
    """Where a layer can be seen after its blur."""

    layer: int
    rows: slice
    cols: slice
    near: Array  # (1, h, w), 1 within reach of the layer and 0 elsewhere


Extents = Callable[[], Sequence[Extent]]
"""Finds the extents of all layers that are anywhere; asked only by those who use them."""


def whole_frame(alphas: Array) -> tuple[Extent, ...]:
    """Return extents that take every layer to be everywhere."""
    count, *shape = alphas.shape
    ones = array_namespace(alphas).ones((1, *shape), dtype=alphas.dtype, device=device(alphas))
    return tuple(Extent(k, slice(0, shape[0]), slice(0, shape[1]), ones) for k in range(count))


@dataclass(frozen=True)
class _Layers:
    """The arguments of a call; see `layered_over`."""

    choose: Choose
    alphas: Array
    psfs: Sequence[Array]
    extents: Extents | None
    channels: int
    boundary: str
    per_layer: bool
    normalize: bool
    closed: float

    @property
    def views(self) -> int:
        return int(self.psfs[0].shape[0])

    def find(self) -> Sequence[Extent]:
        """Return the extents of the layers that are anywhere."""
        return whole_frame(self.alphas) if self.extents is None else self.extents()

    def psfs_of(self, view: int) -> list[Array]:
        return [psf[view : view + 1, ...] for psf in self.psfs]

    def alpha(self, at: Extent) -> Array:
        return self.alphas[at.layer, at.rows, at.cols]

    def colours(self, x: Array, at: Extent) -> Array:
        k = at.layer
        return x[..., k * self.channels : (k + 1) * self.channels, :, :] if self.per_layer else x

    def gather(self, planes: Array, at: Extent, psf: Array, weights: Array) -> Array:
        """Blur `planes` as a view sees them; one weight for each output pixel, and for each colour of the PSFs."""
        blur = self.choose("psf_gather", planes)
        if weights.shape[-3] == 1:
            return blur(planes, psf, weights, self.boundary)
        return weights * blur(planes, psf, at.near, self.boundary)

    def open_shares(self, extents: Sequence[Extent], psfs: Sequence[Array]) -> Iterator[tuple[Extent | None, Array]]:
        """Yield for every layer its extent and T there (0 out of its sight); last None and T behind all layers."""
        xp = array_namespace(self.alphas)
        colours = psfs[0].shape[-3]
        share = xp.ones((colours, *self.alphas.shape[-2:]), dtype=self.alphas.dtype, device=device(self.alphas))
        for at in extents:
            window = (..., at.rows, at.cols)
            seen = share[window] * at.near
            yield at, seen
            alpha = xp.broadcast_to(self.alpha(at), (colours, *at.near.shape[-2:]))
            left = share[window] - self.gather(alpha, at, psfs[at.layer], seen)
            share = _replaced(share, at, xp.where(left > self.closed, left, xp.zeros_like(left)))
        yield None, share

    def cover(self, y: Array, open_share: Array) -> Array:
        """Divide by what all layers together cover; a diagonal factor, hence its own transpose."""
        if not self.normalize:
            return y
        xp = array_namespace(y)
        cover = 1 - open_share
        some = cover > self.closed
        return y * xp.where(some, 1 / xp.where(some, cover, xp.ones_like(cover)), xp.zeros_like(cover))

    def resized(self, x: Array) -> Shape:
        return (*x.shape[:-3], self.channels, *x.shape[-2:])


def _over(choose: Choose, x: Array, *arguments: Any) -> Array:
    layers, views = _Layers(choose, *arguments), []
    extents = layers.find()
    for view in range(layers.views):
        y, psfs = zeros_for(x, layers.resized(x)), layers.psfs_of(view)
        for at, seen in layers.open_shares(extents, psfs):
            if at is None:
                y = layers.cover(y, seen)
                break
            light = layers.colours(x, at)[..., at.rows, at.cols] * layers.alpha(at)
            part = y[..., at.rows, at.cols] + layers.gather(light, at, psfs[at.layer], seen)
            y = _replaced(y, at, part)
        views.append(y)
    return views[0] if len(views) == 1 else array_namespace(x).concat(views, axis=-3)


def _over_adjoint(choose: Choose, y: Array, *arguments: Any) -> Array:
    layers = _Layers(choose, *arguments)
    count = len(layers.psfs) if layers.per_layer else 1
    outs = [zeros_for(y, layers.resized(y)) for _ in range(count)]
    extents = layers.find()
    for view in range(layers.views):
        psfs = layers.psfs_of(view)
        *shares, (_, open_share) = list(layers.open_shares(extents, psfs))
        u = layers.cover(y[..., view * layers.channels : (view + 1) * layers.channels, :, :], open_share)
        for at, seen in shares:
            assert at is not None
            window = (..., at.rows, at.cols)
            weights, back = (seen, u[window]) if seen.shape[-3] == 1 else (at.near, seen * u[window])
            sent = choose("psf_gather_adjoint", y)(back, psfs[at.layer], weights, layers.boundary)
            place = at.layer if layers.per_layer else 0
            outs[place] = _replaced(outs[place], at, outs[place][window] + sent * layers.alpha(at))
    return outs[0] if len(outs) == 1 else array_namespace(y).concat(outs, axis=-3)


COMPOSED: dict[str, Callable[..., Array]] = {"layered_over": _over, "layered_over_adjoint": _over_adjoint}
"""Both directions in steps of `psf_gather`; they take `choose` before the image."""


def _plain(primitive: str, image: Array) -> Callable[..., Array]:
    return psf_gather if primitive == "psf_gather" else psf_gather_adjoint


def layered_over(
    x: Array,
    alphas: Array,
    psfs: Sequence[Array],
    extents: Extents | None,
    channels: int,
    boundary: str,
    per_layer: bool,
    normalize: bool,
    closed: float,
) -> Array:
    """Lay K layers over each other, nearest first: ``y = sum_k T_k . (h_k * E(a_k . x_k)) / (1 - T_(K+1))``.

    Parameters
    ----------
    x : array of shape (*N, C or K C, H, W)
        One image of which every layer shows its part, or (`per_layer`) the colours of every layer.
    alphas : array of shape (K, H, W)
    psfs : sequence of K arrays of shape (V, 1, 1 or C, h, w)
    extents : callable, optional
        Returns where the layers can be seen, for those who save themselves the rest; None: they may be anywhere.
    channels : int
        C.
    boundary : str
    per_layer, normalize : bool
        Without `normalize` nothing is divided by the cover ``1 - T_(K+1)``.
    closed : float
        Open shares T up to this count as none, and so do covers.

    Returns
    -------
    array of shape (*N, V C, H, W)
        Views one after the other. ``T_1 = 1, T_(k+1) = T_k . (1 - h_k * E a_k)``, see `LayeredDefocus`.
    """
    return _over(_plain, x, alphas, psfs, extents, channels, boundary, per_layer, normalize, closed)


def layered_over_adjoint(
    y: Array,
    alphas: Array,
    psfs: Sequence[Array],
    extents: Extents | None,
    channels: int,
    boundary: str,
    per_layer: bool,
    normalize: bool,
    closed: float,
) -> Array:
    """Compute the transpose of `layered_over`: ``x_k = a_k . E^T h_k^T (T_k . y / (1 - T_(K+1)))``."""
    return _over_adjoint(_plain, y, alphas, psfs, extents, channels, boundary, per_layer, normalize, closed)


def _replaced(whole: Array, at: Extent, part: Array) -> Array:
    """Put `part` in its place; in a new array where torch may be recording."""
    window = (..., at.rows, at.cols)
    if part.shape == whole.shape:
        return part
    recorded = any(getattr(a, "requires_grad", False) for a in (part, whole))
    if tracing() or recorded or transformed(part) or transformed(whole):
        whole = whole + 0
    whole[window] = part
    return whole
