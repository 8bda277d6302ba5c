"""`layered_over`: layers blurred by their own PSFs and composited over the ones behind, in steps of `psf_gather`.

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

__all__ = [
    "COMPOSED",
    "VisibleArea",
    "divide_by_coverage",
    "layered_over",
    "layered_over_adjoint",
    "visibilities",
    "whole_frame",
]

Choose = Callable[[str, Array], Callable[..., Array]]
"""Primitive and image to the function that computes it."""


class VisibleArea(NamedTuple):
    """The part of the frame where a layer is visible after its blur."""

    layer: int
    rows: slice
    cols: slice
    near: Array  # (1, h, w), 1 within the reach of the PSF from a pixel of the layer, 0 elsewhere


Areas = Callable[[], Sequence[VisibleArea]]
"""Computes the visible areas of all layers that are not empty; called only by code that uses them."""


def whole_frame(alphas: Array) -> tuple[VisibleArea, ...]:
    """Return areas that make every layer visible on the full frame."""
    count, *shape = alphas.shape
    ones = array_namespace(alphas).ones((1, *shape), dtype=alphas.dtype, device=device(alphas))
    return tuple(VisibleArea(k, slice(0, shape[0]), slice(0, shape[1]), ones) for k in range(count))


def divide_by_coverage(y: Array, behind: Array, opaque: float) -> Array:
    """Divide by 1 - `behind`, the transmittance of all layers together; zero where they cover up to `opaque`."""
    xp = array_namespace(y)
    coverage = 1 - behind
    some = coverage > opaque
    return y * xp.where(some, 1 / xp.where(some, coverage, xp.ones_like(coverage)), xp.zeros_like(coverage))


@dataclass(frozen=True)
class _Layers:
    """The arguments of a call; see `layered_over`."""

    choose: Choose
    alphas: Array
    psfs: Sequence[Array]
    areas: Areas | None
    channels: int
    boundary: str
    per_layer: bool
    normalize: bool
    opaque: float

    @property
    def views(self) -> int:
        return int(self.psfs[0].shape[0])

    def find(self) -> Sequence[VisibleArea]:
        """Return the areas of the layers that are not empty."""
        return whole_frame(self.alphas) if self.areas is None else self.areas()

    def psfs_of(self, view: int) -> list[Array]:
        return [psf[view : view + 1, ...] for psf in self.psfs]

    def alpha(self, area: VisibleArea) -> Array:
        return self.alphas[area.layer, area.rows, area.cols]

    def colours(self, x: Array, area: VisibleArea) -> Array:
        k = area.layer
        return x[..., k * self.channels : (k + 1) * self.channels, :, :] if self.per_layer else x

    def gather(self, planes: Array, area: VisibleArea, psf: Array, weights: Array) -> Array:
        """Convolve `planes` with the PSF of one view, then weight each pixel; weights (1 or C, h, w)."""
        blur = self.choose("psf_gather", planes)
        if weights.shape[-3] == 1:
            return blur(planes, psf, weights, self.boundary)
        return weights * blur(planes, psf, area.near, self.boundary)

    def transmittances(
        self, areas: Sequence[VisibleArea], psfs: Sequence[Array]
    ) -> Iterator[tuple[VisibleArea | None, Array]]:
        """Yield the area of each layer with T_k in it (0 where the layer is not visible), at last None with T_(K+1)."""
        xp = array_namespace(self.alphas)
        colours = psfs[0].shape[-3]
        transmittance = xp.ones((colours, *self.alphas.shape[-2:]), dtype=self.alphas.dtype, device=device(self.alphas))
        for area in areas:
            here = (..., area.rows, area.cols)
            through = transmittance[here] * area.near
            yield area, through
            alpha = xp.broadcast_to(self.alpha(area), (colours, *area.near.shape[-2:]))
            left = transmittance[here] - self.gather(alpha, area, psfs[area.layer], through)
            transmittance = with_part(transmittance, area, xp.where(left > self.opaque, left, xp.zeros_like(left)))
        yield None, transmittance

    def divide_by_coverage(self, y: Array, behind: Array) -> Array:
        """Divide by 1 - T_(K+1), the coverage of all layers together: a diagonal operator, its own transpose."""
        return divide_by_coverage(y, behind, self.opaque) if self.normalize else y

    def resized(self, x: Array) -> Shape:
        return (*x.shape[:-3], self.channels, *x.shape[-2:])


def _over(choose: Choose, x: Array, *arguments: Any) -> Array:
    layers, views = _Layers(choose, *arguments), []
    areas = layers.find()
    for view in range(layers.views):
        y, psfs = zeros_for(x, layers.resized(x)), layers.psfs_of(view)
        for area, through in layers.transmittances(areas, psfs):
            if area is None:
                y = layers.divide_by_coverage(y, through)
                break
            light = layers.colours(x, area)[..., area.rows, area.cols] * layers.alpha(area)
            part = y[..., area.rows, area.cols] + layers.gather(light, area, psfs[area.layer], through)
            y = with_part(y, area, part)
        views.append(y)
    return views[0] if len(views) == 1 else array_namespace(x).concat(views, axis=-3)


def _over_adjoint(choose: Choose, y: Array, *arguments: Any) -> Array:
    layers = _Layers(choose, *arguments)
    count = len(layers.psfs) if layers.per_layer else 1
    outs = [zeros_for(y, layers.resized(y)) for _ in range(count)]
    areas = layers.find()
    for view in range(layers.views):
        psfs = layers.psfs_of(view)
        # The forward recursion runs first: the adjoint needs every T_k, and the division by 1 - T_(K+1) at once.
        *seen, (_, behind) = list(layers.transmittances(areas, psfs))
        u = layers.divide_by_coverage(y[..., view * layers.channels : (view + 1) * layers.channels, :, :], behind)
        for area, through in seen:
            assert area is not None
            here = (..., area.rows, area.cols)
            # The primitive has one weight for each pixel; where T_k differs by colour it is applied beforehand.
            weights, back = (through, u[here]) if through.shape[-3] == 1 else (area.near, through * u[here])
            sent = choose("psf_gather_adjoint", y)(back, psfs[area.layer], weights, layers.boundary)
            place = area.layer if layers.per_layer else 0
            outs[place] = with_part(outs[place], area, outs[place][here] + sent * layers.alpha(area))
    return outs[0] if len(outs) == 1 else array_namespace(y).concat(outs, axis=-3)


def visibilities(choose: Choose, *arguments: Any) -> list[tuple[VisibleArea, tuple[Array, ...]]]:
    """Return the area of each layer that is not empty, and for each view the share of its light that is recorded there.

    The shares are ``T_k / (1 - T_(K+1))``, arrays of shape (1 or C, h, w). They depend on the layers alone, so that
    iterations with constant layers need them once. `arguments` are those of `layered_over` after the image.
    """
    layers = _Layers(choose, *arguments)
    areas, shares = layers.find(), []
    for view in range(layers.views):
        *seen, (_, behind) = list(layers.transmittances(areas, layers.psfs_of(view)))
        factor = layers.divide_by_coverage(array_namespace(behind).ones_like(behind), behind)
        shares.append([through * factor[..., area.rows, area.cols] for area, through in seen if area is not None])
    return [(area, tuple(share[i] for share in shares)) for i, area in enumerate(areas)]


COMPOSED: dict[str, Callable[..., Array]] = {"layered_over": _over, "layered_over_adjoint": _over_adjoint}
"""Both directions in steps of `psf_gather`; they take `choose` before the image."""


def _plain(primitive: str, image: Array) -> Callable[..., Array]:
    return psf_gather if primitive == "psf_gather" else psf_gather_adjoint


def layered_over(
    x: Array,
    alphas: Array,
    psfs: Sequence[Array],
    areas: Areas | None,
    channels: int,
    boundary: str,
    per_layer: bool,
    normalize: bool,
    opaque: float,
) -> Array:
    """Blur K layers and composite them, nearest first: ``y = sum_k T_k . (h_k * E(a_k . x_k)) / (1 - T_(K+1))``.

    Parameters
    ----------
    x : array of shape (*N, C or K C, H, W)
        One image from which every layer takes its colours, or (`per_layer`) the colours of every layer.
    alphas : array of shape (K, H, W)
    psfs : sequence of K arrays of shape (V, 1, 1 or C, h, w)
    areas : callable, optional
        Returns where the layers are visible, so that the rest of the frame is left out; None: the full frame.
    channels : int
        C.
    boundary : str
    per_layer, normalize : bool
        Without `normalize` nothing is divided by the coverage ``1 - T_(K+1)``.
    opaque : float
        Transmittances T and coverages up to this count as zero.

    Returns
    -------
    array of shape (*N, V C, H, W)
        Views one after the other. ``T_1 = 1, T_(k+1) = T_k . (1 - h_k * E a_k)``, see `LayeredDefocus`.
    """
    return _over(_plain, x, alphas, psfs, areas, channels, boundary, per_layer, normalize, opaque)


def layered_over_adjoint(
    y: Array,
    alphas: Array,
    psfs: Sequence[Array],
    areas: Areas | None,
    channels: int,
    boundary: str,
    per_layer: bool,
    normalize: bool,
    opaque: float,
) -> Array:
    """Compute the transpose of `layered_over`: ``x_k = a_k . E^T h_k^T (T_k . y / (1 - T_(K+1)))``."""
    return _over_adjoint(_plain, y, alphas, psfs, areas, channels, boundary, per_layer, normalize, opaque)


def with_part(image: Array, area: VisibleArea, part: Array) -> Array:
    """Return the image with `part` in an area: written in place, but into a copy if torch may record gradients."""
    here = (..., area.rows, area.cols)
    if part.shape == image.shape:
        return part
    recorded = any(getattr(a, "requires_grad", False) for a in (part, image))
    if tracing() or recorded or transformed(part) or transformed(image):
        image = image + 0
    image[here] = part
    return image
