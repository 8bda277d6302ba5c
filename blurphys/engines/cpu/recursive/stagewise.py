"""`recursive_mixture` with ``stagewise=True`` on the CPU: every level is extended anew, as the authors' networks do.

The same cascade as in `cascade`, on whole rows. A row is kept with h = t // 2 pixels of its own extension on both
sides. Rows beyond the frame are looked up by the boundary rule; they always lie within h rows, so rings of t rows do.
The adjoint folds: a row is spread and its rim added back, then every row gathers what it was copied to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....types import Array
from ...threads import run_tasks
from ..common.compiler import inner_jit, jit
from ..common.mix import Sums, Weights, add_scaled, add_to_coefficients, load_weighted
from ..common.rows import (
    add_product,
    aligned_rows,
    boundary_code,
    copy_row,
    flat_planes,
    fold_line,
    row_strips,
    shared_batch,
    source,
    writable,
)
from ..common.taps import dot
from .cascade import CHUNK, mix_table

__all__ = ["stagewise_back", "stagewise_values"]


@inner_jit
def _extend_line(line: Any, h: int, boundary: int) -> None:
    """Fill the h pixels on both sides of a row by the boundary rule."""
    cols = line.size - 2 * h
    for q in range(h):
        a, b = source(q - h, cols, boundary), source(cols + q, cols, boundary)
        line[q] = line[h + a] if a >= 0 else 0
        line[h + cols + q] = line[h + b] if b >= 0 else 0


@inner_jit
def _next_row(ring: Any, r: int, rows: int, taps: Any, boundary: int, v: Any, out: Any) -> None:
    """Write row r of the next level, extension included, from a ring of extended rows."""
    t, width = taps.size, out.size
    h = t // 2
    v[:width] = 0
    for s in range(t):
        i = source(r - h + s, rows, boundary)
        if i >= 0:
            add_scaled(v[:width], taps[t - 1 - s], ring[i % ring.shape[0], :width])
    inner = out[h : width - h]
    inner[:] = 0
    for s in range(t):
        add_scaled(inner, taps[t - 1 - s], v[s : s + inner.size])
    _extend_line(out, h, boundary)


@jit
def _forward_strip(x: Any, atoms: Any, weights: Any, boundary: int, top: int, bottom: int, sums: Any) -> None:
    """Add rows top..bottom to those of the `Sums` that are not empty; x (C, H, W), `Weights` of J maps."""
    maps = weights.maps
    (levels, rows, cols), (_, own, t), channels = maps.shape, atoms.shape, x.shape[0]
    h = t // 2
    reach, width = h * (levels - 1), cols + 2 * h
    ring = aligned_rows(channels * levels * t, width, x).reshape((channels, levels, t, -1))
    v, scratch = aligned_rows(1, width, x)[0], aligned_rows(2, cols, x)
    # As in `cascade`, but a row beyond the frame is never made: it is a copy of one within h rows of the edge, which
    # the ring of t rows still holds when it is asked for. So the levels only run over rows of the image.
    first = max(0, top - reach)
    for start in range(first, bottom + reach, CHUNK):
        for c in range(channels):
            for i in range(start, min(start + CHUNK, bottom + reach)):
                for j in range(levels):
                    r = i - h * j
                    if r < max(0, top - (reach - h * j)):
                        break
                    if r >= min(rows, bottom + reach - h * j):
                        continue
                    out = ring[c, j, r % t, :width]
                    if j == 0:
                        copy_row(x[c, r], out[h : h + cols])
                        _extend_line(out, h, boundary)
                    else:
                        taps = atoms[j - 1, c if own > 1 else 0]
                        _next_row(ring[c, j - 1], r, rows, taps, boundary, v, out)
                    if top <= r < bottom:
                        copy_row(out[h : h + cols], scratch[1, :cols])
                        add_to_coefficients(scratch[1, :cols], weights, j, c, j, r, 0, scratch[0], sums)


@inner_jit
def _gather_row(spread: Any, r: int, rows: int, taps: Any, boundary: int, out: Any) -> None:
    """Add to row r what the rows of `spread` (a ring) send back through the taps down the columns."""
    t = taps.size
    h = t // 2
    # A row near the edge gets the share of every row that is a copy of it: their taps are added first.
    for i in range(max(0, r - h), min(rows, r + h + 1)):
        weight = taps[0] * 0
        for s in range(t):
            if source(i - h + s, rows, boundary) == r:
                weight += taps[t - 1 - s]
        add_scaled(out, weight, spread[i % spread.shape[0], : out.size])


@inner_jit
def _add_atom(ring: Any, r: int, rows: int, taps: Any, boundary: int, cotangent: Any, v: Any, out: Any) -> None:
    """Add to out[i] the derivative in tap i of ``<cotangent, next row>``; the ring holds extended rows."""
    t, n = taps.size, cotangent.size
    h, width = t // 2, cotangent.size + taps.size - 1
    line, spread = v[0, :width], v[1, :width]
    line[:] = 0
    spread[:] = 0
    for s in range(t):
        i = source(r - h + s, rows, boundary)
        if i >= 0:
            add_scaled(line, taps[t - 1 - s], ring[i % ring.shape[0], :width])
        add_scaled(spread[s : s + n], taps[t - 1 - s], cotangent)
    for s in range(t):
        i = source(r - h + s, rows, boundary)
        out[t - 1 - s] += dot(cotangent, line[s : s + n])
        if i >= 0:
            out[t - 1 - s] += dot(spread, ring[i % ring.shape[0], :width])


@jit
def _back_strip(
    x: Any, atoms: Any, weights: Any, boundary: int, c: int, top: int, bottom: int, gx: Any, gatoms: Any
) -> None:
    """Write rows top..bottom of colour c of gx, add their share to gatoms (J-1, t); whichever is not empty.

    The cotangents run `reach` rows behind the levels of x, see `cascade_atoms`.
    """
    u, maps, mix = weights.u, weights.maps, weights.mix
    (levels, rows, cols), (_, own, t) = maps.shape, atoms.shape
    h, colour, with_atoms = t // 2, c if own > 1 else 0, gatoms.shape[0] > 0
    reach, width = h * (levels - 1), cols + 2 * h
    start = np.empty(levels + 1, dtype=np.int64)
    start[0] = 0
    for j in range(levels):
        start[j + 1] = start[j] + (max(t, 2 * h * (levels - 1 - j) + 1) if with_atoms else 0)
    levels_of_x = aligned_rows(start[levels], width, u)
    spread = aligned_rows(levels * t, cols, u).reshape((levels, t, -1))
    v = aligned_rows(2, width, u)
    row, given = aligned_rows(1, cols, u)[0, :cols], aligned_rows(1, cols, u)[0, :cols]
    for i in range(max(0, top - reach), bottom + 2 * reach):
        for j in range(levels if with_atoms else 0):
            r = i - h * j
            if r < max(0, top - (reach - h * j)):
                break
            if r >= min(rows, bottom + reach - h * j):
                continue
            ring = levels_of_x[start[j] : start[j + 1]]
            out = ring[r % ring.shape[0], :width]
            if j == 0:
                copy_row(x[c, r], out[h : h + cols])
                _extend_line(out, h, boundary)
            else:
                _next_row(levels_of_x[start[j - 1] : start[j]], r, rows, atoms[j - 1, colour], boundary, v[0], out)
        for j in range(levels - 1, -1, -1):
            r = i - reach - h * (levels - 1 - j)
            if r < max(0, top - h * j):
                break
            if r >= min(rows, bottom + h * j):
                continue
            row[:] = 0
            if j < levels - 1:
                _gather_row(spread[j + 1], r, rows, atoms[j, colour], boundary, row)
            if mix.shape[0] == 0:
                add_product(row, maps[j, r], u[c, r])
            else:
                load_weighted(u, maps[j, r], mix, j, c, r, 0, given)
                add_scaled(row, 1, given)
            if j == 0:
                if gx.shape[0] > 0:
                    copy_row(row, gx[c, r])
                continue
            taps = atoms[j - 1, colour]
            if with_atoms and top <= r < bottom:
                _add_atom(levels_of_x[start[j - 1] : start[j]], r, rows, taps, boundary, row, v, gatoms[j - 1])
            line = v[0, :width]
            line[:] = 0
            for s in range(t):
                add_scaled(line[s : s + cols], taps[t - 1 - s], row)
            folded = spread[j, r % t, :cols]
            folded[:] = 0
            fold_line(line, h, boundary, folded)


def _strips(rows: int, reach: int) -> list[tuple[int, int]]:
    """Strips that do not depend on the number of threads, so that sums are always taken in one order."""
    return row_strips(rows, max(-(-rows // 8), 4 * reach, 16))


def stagewise_values(
    x: Array,
    u: Array | None,
    maps: Array,
    atoms: Array,
    boundary: str,
    mix: Array | None,
    wanted: tuple[bool, bool, bool],
) -> tuple[Any, Any, Any]:
    """Compute what the levels of x give, as `cascade.forward_values` does."""
    images, weights = flat_planes(x), shared_batch(maps, x.shape[:-3], 3)
    cotangents = np.zeros((len(images), 0, 1, 1), dtype=x.dtype) if u is None else flat_planes(u)
    table, code, taps = mix_table(mix, x), boundary_code(boundary), writable(np.ascontiguousarray(atoms))
    (count, channels, rows, cols), (levels, t) = images.shape, (maps.shape[-3], atoms.shape[-1])
    want_y, want_maps, want_mix = wanted
    strips = _strips(rows, (t // 2) * (levels - 1))
    groups = [[n] for n in range(count)] if len(weights) > 1 or not want_maps else [list(range(count))]
    results = channels if mix is None else mix.shape[0]
    y = np.zeros((count, results if want_y else 0, rows, cols), dtype=x.dtype)
    gmaps = np.zeros((len(weights), levels if want_maps else 0, rows, cols), dtype=x.dtype)
    gmix = np.zeros((len(groups), len(strips), levels if want_mix else 0, *table.shape[1:]))

    def work(group: int, strip: int) -> None:
        for n in groups[group]:
            m = n % len(weights)
            given = Weights(cotangents[n], weights[m], table)
            _forward_strip(images[n], taps, given, code, *strips[strip], Sums(y[n], gmaps[m], gmix[group, strip]))

    run_tasks(work, [(g, s) for g in range(len(groups)) for s in range(len(strips))])
    return y, gmaps, gmix.sum(axis=(0, 1))


def stagewise_back(
    x: Array | None, u: Array, maps: Array, atoms: Array, boundary: str, mix: Array | None, want_x: bool
) -> tuple[Any, Any]:
    """Return F^T u (N, C, H, W), empty if not wanted, and the gradient of the atoms (J-1, C, t), empty without x."""
    cotangents, weights = flat_planes(u), shared_batch(maps, u.shape[:-3], 3)
    table, code, taps = mix_table(mix, u), boundary_code(boundary), writable(np.ascontiguousarray(atoms))
    (count, channels, rows, cols), (levels, t) = cotangents.shape, (maps.shape[-3], atoms.shape[-1])
    channels = channels if mix is None else mix.shape[1]
    images = np.zeros((count, 0, 1, 1), dtype=u.dtype) if x is None else flat_planes(x)
    strips = _strips(rows, (t // 2) * (levels - 1))
    gx = np.empty((count, channels if want_x else 0, rows, cols), dtype=u.dtype)
    gatoms = np.zeros((count, channels, len(strips), 0 if x is None else levels - 1, t))

    def work(n: int, c: int, strip: int) -> None:
        given = Weights(cotangents[n], weights[n % len(weights)], table)
        _back_strip(images[n], taps, given, code, c, *strips[strip], gx[n], gatoms[n, c, strip])

    run_tasks(work, [(n, c, s) for n in range(count) for c in range(channels) for s in range(len(strips))])
    return gx, gatoms.sum(axis=(0, 2)).transpose(1, 0, 2)
