"""`psf_gather` and `psf_scatter` on the CPU, with adjoints and gradients: direct or by FFT, whichever costs less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....types import Array
from ...registry import register
from ..common.rows import flat_planes, fold_planes, shared_batch, summed_to
from .choice import cheaper_pass
from .direct import Taps, gather_frame, scatter_frame

__all__ = ["run_gather", "run_scatter"]

Four = tuple[Any, Any, Any, Any]
"""(F(x), F^T u, gradient of psfs, gradient of the maps), None where it is not wanted."""


def _margins(psfs: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    h, w = psfs.shape[-2:]
    return (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)


def _shaped(image: Array | None, lead: tuple[int, ...]) -> Any:
    return None if image is None else image.reshape(*lead, *image.shape[1:])


def run_gather(
    x: Array | None,
    u: Array | None,
    psfs: Array,
    weights: Array | None,
    located: tuple[Array, Array] | None,
    boundary: str,
    wanted: Sequence[bool],
) -> Four:
    """Compute what is wanted for the gather form; the maps are `weights` or `located` = (index, fraction)."""
    like: Any = u if x is None else x
    lead, shape = like.shape[:-3], like.shape[-2:]
    channels = like.shape[-3] // (psfs.shape[0] if x is None else 1)
    maps = None if weights is None else shared_batch(weights, lead, 3)
    if located is not None:
        located = shared_batch(located[0], lead, 2), shared_batch(located[1], lead, 2)
        items = max(len(located[0]), len(located[1]))
        located = tuple(np.ascontiguousarray(np.broadcast_to(m, (items, *shape))) for m in located)  # type: ignore
    given = None if u is None else flat_planes(u)
    image = flat_planes(x) if x is not None else np.zeros((len(given), channels, 0, 0), dtype=psfs.dtype)  # type: ignore
    frame = gather_frame(shape, psfs.shape[-2:], boundary)
    taps = Taps(psfs[..., ::-1, ::-1])
    wanted = (*wanted[:3], wanted[3] and (weights is not None or located is not None))
    y, plane, gtaps, gmaps = cheaper_pass(image, given, taps, maps, located, frame, channels, wanted)
    given_maps = weights if located is None else located[1]
    return (
        _shaped(y, lead),
        None if plane is None else _shaped(fold_planes(plane, *_margins(psfs), boundary), lead),
        None if gtaps is None else gtaps[..., ::-1, ::-1].copy(),
        None if gmaps is None or given_maps is None else gmaps,
    )


def run_scatter(
    x: Array | None, u: Array | None, psfs: Array, weights: Array, boundary: str, wanted: Sequence[bool]
) -> Four:
    """Compute what is wanted for the scatter form: the gather form with image and cotangent exchanged."""
    like: Any = u if x is None else x
    lead, (channels, rows, cols), (h, w) = like.shape[:-3], like.shape[-3:], psfs.shape[-2:]
    maps = shared_batch(weights, lead, 3)
    given = None if x is None else flat_planes(x)
    image = flat_planes(u) if u is not None else np.zeros((len(given), channels, 0, 0), dtype=psfs.dtype)  # type: ignore
    frame = scatter_frame((rows, cols), (h, w), boundary)
    want_y, want_x, want_psfs, want_maps = wanted
    chosen = (want_x, want_y, want_psfs, want_maps)
    back, plane, gtaps, gmaps = cheaper_pass(image, given, Taps(psfs), maps, None, frame, channels, chosen)
    before, after = _margins(psfs)
    return (
        None if plane is None else _shaped(plane[..., h - 1 : h - 1 + rows, w - 1 : w - 1 + cols], lead),
        None if back is None else _shaped(fold_planes(back, before, after, boundary), lead),
        None if gtaps is None else np.ascontiguousarray(gtaps),
        None if gmaps is None else summed_to(fold_planes(gmaps, before, after, boundary), weights.shape, lead),
    )


@register("psf_gather", namespace="numpy")
def psf_gather(x: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """See `reference.psf_gather`. Cost: V C times the areas of the PSFs with weight at each pixel, or FFTs of tiles."""
    return run_gather(x, None, psfs, weights, None, boundary, (True, False, False, False))[0]


@register("psf_gather_adjoint", namespace="numpy")
def psf_gather_adjoint(y: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """See `reference.psf_gather_adjoint`. Cost as the forward direction."""
    return run_gather(None, y, psfs, weights, None, boundary, (False, True, False, False))[1]


@register("psf_gather_gradients", namespace="numpy")
def psf_gather_gradients(
    x: Array, u: Array, psfs: Array, weights: Array | None, boundary: str, wanted: Sequence[bool]
) -> Four:
    """Compute what is wanted of (F(x), F^T u, and the gradients of ``<u, F(x)>`` in psfs and weights).

    Shapes as in `reference.psf_gather`; what is not wanted is None, and so is the gradient of weights that are None.
    The weights' gradient needs every PSF at every pixel, the PSFs' gradient every tap at each pixel with weight.
    """
    *found, gweights = run_gather(x, u, psfs, weights, None, boundary, wanted)
    if gweights is not None and weights is not None:
        gweights = summed_to(gweights, weights.shape, x.shape[:-3])
    return found[0], found[1], found[2], gweights


@register("psf_scatter", namespace="numpy")
def psf_scatter(x: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """See `reference.psf_scatter`. Cost as `psf_gather`; a pixel without weight costs nothing."""
    return run_scatter(x, None, psfs, weights, boundary, (True, False, False, False))[0]


@register("psf_scatter_adjoint", namespace="numpy")
def psf_scatter_adjoint(y: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """See `reference.psf_scatter_adjoint`."""
    return run_scatter(None, y, psfs, weights, boundary, (False, True, False, False))[1]


@register("psf_scatter_gradients", namespace="numpy")
def psf_scatter_gradients(
    x: Array, u: Array, psfs: Array, weights: Array, boundary: str, wanted: Sequence[bool]
) -> Four:
    """Compute what is wanted of (F(x), F^T u, and the gradients of ``<u, F(x)>`` in psfs and weights)."""
    return run_scatter(x, u, psfs, weights, boundary, wanted)
