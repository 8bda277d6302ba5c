"""Rows of images under the maps and the channel mix: what the compiled mixtures do with a filtered row.

The mix is (K, C, D), empty where each colour stays with itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .compiler import inner_jit, wide_vectors
from .rows import add_product
from .taps import dot

__all__ = ["Sums", "Weights", "add_mixed", "add_scaled", "add_to_coefficients", "load_weighted"]


class Weights(NamedTuple):
    """What weighs the filtered rows of one image: u (D, H, W) the cotangent, maps (K, H, W), mix (K, C, D)."""

    u: Any
    maps: Any
    mix: Any


class Sums(NamedTuple):
    """What filtered rows are added to, empty where not wanted: y (D, H, W), gmaps (K, H, W), gmix (K, C, D)."""

    y: Any
    gmaps: Any
    gmix: Any


@inner_jit
def add_scaled(out: Any, factor: Any, values: Any) -> None:
    """Add ``factor values`` to a row."""
    wide_vectors()
    for q in range(out.size):
        out[q] += factor * values[q]


@inner_jit
def add_mixed(y: Any, weight: Any, mix: Any, r: int, start: int, s: Any) -> None:
    """Add ``mix[d] weight . s`` to row r of every y[d] from column `start`; s is overwritten."""
    wide_vectors()
    for q in range(s.size):
        s[q] *= weight[q]
    for d in range(y.shape[0]):
        out, w = y[d, r, start : start + s.size], mix[d]
        for q in range(s.size):
            out[q] += w * s[q]


@inner_jit
def load_weighted(y: Any, weight: Any, mix: Any, k: int, c: int, r: int, start: int, z: Any) -> None:
    """Write ``weight . y[c]``, or ``weight . sum_d mix[k, c, d] y[d]``, on z.size columns; zero outside the image."""
    wide_vectors()
    first, stop = max(0, start), min(weight.size, start + z.size)
    if stop <= first:
        z[:] = 0
        return
    z[: first - start] = 0
    z[stop - start :] = 0
    out, w = z[first - start : stop - start], weight[first:stop]
    if mix.shape[0] == 0:
        line = y[c, r, first:stop]
        for q in range(out.size):
            out[q] = w[q] * line[q]
        return
    out[:] = 0
    for d in range(y.shape[0]):
        line, share = y[d, r, first:stop], mix[k, c, d]
        for q in range(out.size):
            out[q] += share * line[q]
    for q in range(out.size):
        out[q] *= w[q]


@inner_jit
def add_to_coefficients(s: Any, weights: Any, k: int, c: int, i: int, r: int, start: int, line: Any, sums: Any) -> None:
    """Add a filtered row s of colour c to y, to the gradient of map k (entry i of the mix) and to that of the mix.

    `weights` are `Weights`, `sums` are `Sums`; `line` is scratch, and s is overwritten where y and the mix are wanted.
    """
    wide_vectors()
    n = s.size
    u, maps, mix = weights.u, weights.maps, weights.mix
    y, gmaps, gmix = sums.y, sums.gmaps, sums.gmix
    if gmaps.shape[0] > 0:
        if mix.shape[0] == 0:
            add_product(gmaps[k, r, start : start + n], u[c, r, start : start + n], s)
        else:
            line[:n] = 0
            for d in range(u.shape[0]):
                add_scaled(line[:n], mix[i, c, d], u[d, r, start : start + n])
            add_product(gmaps[k, r, start : start + n], line[:n], s)
    weight = maps[k, r, start : start + n]
    if gmix.shape[0] > 0:
        line[:n] = 0
        add_product(line[:n], weight, s)
        for d in range(u.shape[0]):
            gmix[i, c, d] += dot(line[:n], u[d, r, start : start + n])
    if y.shape[0] > 0:
        if mix.shape[0] == 0:
            add_product(y[c, r, start : start + n], weight, s)
        else:
            add_mixed(y, weight, mix[i, c], r, start, s)
