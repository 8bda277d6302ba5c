"""Gradients of the cascade in image and atoms on the CPU, extended once, without a stored level.

The maps and the mix ask for the levels of x alone: `cascade.forward_values`. An atom asks for a level u_(j-1) of
x and, at the same pixel, for the cotangent v_j of the next one. Going down the image, u_j comes later with growing j
and v_j earlier. So v_j runs behind, and the rows of u_(j-1) wait in a ring of 2 h (J - j) + 1 rows. The image gets v_0
in the same pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....types import Array
from ...threads import run_tasks
from ..common.compiler import inner_jit, jit, wide_vectors
from ..common.mix import Weights, add_scaled, load_weighted
from ..common.rows import (
    add_product,
    aligned_rows,
    boundary_code,
    copy_row,
    flat_planes,
    fold_planes,
    load_span,
    row_strips,
    shared_batch,
    writable,
)
from ..common.taps import dot
from .cascade import blocks, filter_rows, mix_table

__all__ = ["back_values"]


@inner_jit
def _add_three_taps(above: Any, middle: Any, below: Any, taps: Any, cotangent: Any, out: Any) -> None:
    """Add to out[i] the derivative in tap i of ``<cotangent, (a a^T) * u>`` on one row, three taps.

    The rows of u start one pixel to the left of the cotangent and are two pixels longer.
    """
    wide_vectors()
    n, (a, b, c) = cotangent.size, (taps[2], taps[1], taps[0])
    u0, u1, u2 = above[:n], above[1 : n + 1], above[2 : n + 2]
    m0, m1, m2 = middle[:n], middle[1 : n + 1], middle[2 : n + 2]
    d0, d1, d2 = below[:n], below[1 : n + 1], below[2 : n + 2]
    along0 = along1 = along2 = down0 = down1 = down2 = a * 0
    for q in range(n):
        w = cotangent[q]
        along0 += w * (a * u0[q] + b * m0[q] + c * d0[q])
        along1 += w * (a * u1[q] + b * m1[q] + c * d1[q])
        along2 += w * (a * u2[q] + b * m2[q] + c * d2[q])
        down0 += w * (a * u0[q] + b * u1[q] + c * u2[q])
        down1 += w * (a * m0[q] + b * m1[q] + c * m2[q])
        down2 += w * (a * d0[q] + b * d1[q] + c * d2[q])
    out[2] += along0 + down0
    out[1] += along1 + down1
    out[0] += along2 + down2


@inner_jit
def _add_taps(ring: Any, skip: int, r: int, taps: Any, cotangent: Any, v: Any, out: Any) -> None:
    """The same for any odd number of taps; the ring holds the rows of u, used from column `skip`. v is scratch."""
    n, t, size = cotangent.size, taps.size, ring.shape[0]
    wide, h = n + t - 1, t // 2
    line, spread = v[0, :wide], v[1, :wide]
    line[:] = 0
    spread[:] = 0
    for s in range(t):
        add_scaled(line, taps[t - 1 - s], ring[(r - h + s) % size, skip : skip + wide])
        add_scaled(spread[s : s + n], taps[t - 1 - s], cotangent)
    for i in range(t):  # the tap along the row, the other one already applied; then the tap down the columns
        out[i] += dot(cotangent, line[t - 1 - i : t - 1 - i + n])
        out[i] += dot(spread, ring[(r + h - i) % size, skip : skip + wide])


@jit
def _both_block(
    x: Any, atoms: Any, mirrored: Any, weights: Any, boundary: int, c: int, block: Any, plane: Any, gatoms: Any
) -> None:
    """Write a block (top, bottom, left, right) of colour c of the extended plane, and add its share to gatoms (J-1, t).

    plane (C, H', W') is in coordinates of its own: image row r is row r + reach.
    """
    top, bottom, left, right = block
    u, maps, mix = weights.u, weights.maps, weights.mix
    # Two cascades run down the image together: the levels u_j of x, row i - h j at step i, and `reach` rows behind them
    # the cotangents v_j, row i - reach - h (J - 1 - j). Atom j asks for v_j at row r and for u_(j-1) at rows r - h .. r
    # + h. The oldest of these was made 2 h (J - j) steps before v_j comes to r, which is what sets the length of each
    # ring. The rings have different lengths and stand one behind the other in `levels_of_x`; those of the cotangents
    # have t rows each.
    (levels, rows, cols), (_, own, t) = maps.shape, atoms.shape
    h, colour = t // 2, c if own > 1 else 0
    reach, n = h * (levels - 1), right - left
    depth = 2 * h * (levels - 1) + 1
    width = n + 2 * reach
    start = np.empty(levels + 1, dtype=np.int64)  # rows of each level in one array
    start[0] = 0
    for j in range(levels):
        start[j + 1] = start[j] + max(t, depth - 2 * h * j)
    levels_of_x = aligned_rows(start[levels], width, x)
    back = aligned_rows(levels * t, width, x).reshape((levels, t, -1))
    v = aligned_rows(2, width, x)
    given = aligned_rows(1, width, x)[0]
    first_row, first_col = top - reach, left - reach  # of the block, in the image
    for i in range(first_row - reach, bottom - reach + 2 * reach):
        ring = levels_of_x[: start[1]]
        load_span(x[c], i, first_col - reach, reach, boundary, ring[i % ring.shape[0], :width])
        for j in range(1, levels):  # rows of x's levels on the block and reach - j h around
            r = i - h * j
            if r < first_row - (reach - h * j):
                break
            ring, out = levels_of_x[start[j - 1] : start[j]], levels_of_x[start[j] : start[j + 1]]
            filter_rows(ring, r, atoms[j - 1, colour], v[0], out[r % out.shape[0], : width - 2 * h * j])
        for j in range(levels - 1, -1, -1):  # rows of their cotangents on the block and j h around
            r = i - reach - h * (levels - 1 - j)
            if r < first_row - h * j:
                break
            around, m = h * j, n + 2 * h * j
            out = back[j, r % t, :m]
            if j == levels - 1:
                out[:] = 0
            else:
                filter_rows(back[j + 1], r, mirrored[j, colour], v[0], out)
            if 0 <= r < rows:
                a, b = max(0, first_col - around), min(cols, first_col + n + around)
                if b > a:
                    place = out[a - first_col + around : b - first_col + around]
                    if mix.shape[0] == 0:
                        add_product(place, maps[j, r, a:b], u[c, r, a:b])
                    else:
                        load_weighted(u, maps[j, r], mix, j, c, r, a, given[: b - a])
                        add_scaled(place, 1, given[: b - a])
            # Every pixel of the plane belongs to one block, and so does its share of the sums.
            if first_row <= r < bottom - reach:
                if j > 0:
                    ring = levels_of_x[start[j - 1] : start[j]]
                    skip, size = reach - h * j, start[j] - start[j - 1]
                    inner, taps = out[around : around + n], atoms[j - 1, colour]
                    if t == 3:
                        above, middle, below = ring[(r - 1) % size], ring[r % size], ring[(r + 1) % size]
                        a, b = skip, skip + n + 2
                        _add_three_taps(above[a:b], middle[a:b], below[a:b], taps, inner, gatoms[j - 1])
                    else:
                        _add_taps(ring, skip, r, taps, inner, v, gatoms[j - 1])
                elif plane.shape[0] > 0:
                    copy_row(out, plane[c, r + reach, left:right])


def back_values(
    x: Array, u: Array, maps: Array, atoms: Array, boundary: str, mix: Array | None, want_x: bool
) -> tuple[Any, Any]:
    """Return F^T u (N, C, H, W), None if not wanted, and the gradient of the atoms (J-1, C, t).

    The same bits for any number of threads: the strips are fixed, and their sums are taken in order.
    """
    images, cotangents, weights = flat_planes(x), flat_planes(u), shared_batch(maps, x.shape[:-3], 3)
    table, code = mix_table(mix, x), boundary_code(boundary)
    taps, mirrored = writable(np.ascontiguousarray(atoms)), atoms[..., ::-1].copy()
    (count, channels, rows, cols), levels, t = images.shape, maps.shape[-3], atoms.shape[-1]
    h = t // 2
    reach = h * (levels - 1)
    plane = np.empty((count, channels if want_x else 0, rows + 2 * reach, cols + 2 * reach), dtype=x.dtype)
    strips = row_strips(rows + 2 * reach, max(-(-(rows + 2 * reach) // 8), 4 * reach, 16))
    rings = max(1, levels * (h * levels + t) // 8)  # long rows gain more than their rings lose in the third-level cache
    spans = blocks(cols + 2 * reach, rings, reach, x.itemsize)
    tasks = [(n, c, s, b) for n in range(count) for c in range(channels) for s, _ in enumerate(strips) for b in spans]
    gatoms = np.zeros((len(tasks), levels - 1, t))

    def work(place: int) -> None:
        n, c, s, span = tasks[place]
        given = Weights(cotangents[n], weights[n % len(weights)], table)
        _both_block(images[n], taps, mirrored, given, code, c, (*strips[s], *span), plane[n], gatoms[place])

    run_tasks(work, [(place,) for place in range(len(tasks))])
    each = gatoms.reshape(count, channels, len(strips) * len(spans), levels - 1, t).sum(axis=(0, 2))
    gx = fold_planes(plane, (reach, reach), (reach, reach), boundary) if want_x else None
    return gx, each.transpose(1, 0, 2)
