"""Strips and maps of images: what the reference of the two separable mixtures shares."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from array_api_compat import array_namespace

from ...types import Array, Shape

__all__ = ["map_rows", "mixed", "mixed_adjoint", "resized", "strips"]


def resized(x: Array, channels: int, rows: int, cols: int) -> Shape:
    """Return the shape of x with other channels, rows and columns."""
    return (*x.shape[:-3], channels, rows, cols)


def strips(x: Array, rows: int, halo: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` into strips that keep a strip of all channels near 1 MiB, but no thinner than the halo."""
    per_row = max(1, prod(x.shape[:-2]) * x.shape[-1])
    height = max(16, 2 * halo, 2**18 // per_row)
    for start in range(0, rows, height):
        yield start, min(rows, start + height)


def map_rows(maps: Array, k: int, rows: slice) -> Array:
    """Map k on some rows, with a channel axis that broadcasts."""
    return maps[..., k, rows, :][..., None, :, :]


def mixed(u: Array, mix: Array | None, k: int) -> Array:
    """Sum over the input channels with the weights mix[:, :, k]; (..., C_in, n, m) -> (..., C_out, n, m)."""
    if mix is None:
        return u
    flat = array_namespace(u).reshape(u, (*u.shape[:-2], u.shape[-2] * u.shape[-1]))
    return array_namespace(u).reshape(mix[:, :, k] @ flat, (*u.shape[:-3], mix.shape[0], *u.shape[-2:]))


def mixed_adjoint(u: Array, mix: Array | None, k: int) -> Array:
    """Apply the transpose of `mixed`."""
    if mix is None:
        return u
    return mixed(u, array_namespace(u).permute_dims(mix, (1, 0, 2)), k)
