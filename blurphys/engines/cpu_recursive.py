"""`recursive_mixture` on the CPU: one pass over the image, a ring of three rows for each level.

When row i of level 0 arrives, level j can make its row i - j, so the working set is J x 3 rows, which fits the cache;
every map is read once for each colour and nothing is written but y. Cost: 7 multiply-adds per pixel and level.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..boundary import fold
from ..types import Array
from . import reference
from .cpu_rows import add_product, boundary_code, flat_planes, jit, load_row, row_strips, shared_batch
from .registry import register
from .threads import run_tasks, thread_count

__all__ = ["recursive_mixture", "recursive_mixture_adjoint"]


@jit
def _filter_rows(above: Any, middle: Any, below: Any, first: Any, centre: Any, last: Any, v: Any, out: Any) -> None:
    """Apply a three-tap kernel down the rows into v, then along v into the two pixels shorter `out`."""
    for q in range(v.size):
        v[q] = first * above[q] + centre * middle[q] + last * below[q]
    n = out.size
    left, here, right = v[:n], v[1 : n + 1], v[2 : n + 2]
    for q in range(n):
        out[q] = first * left[q] + centre * here[q] + last * right[q]


@jit
def _forward_strip(x: Any, maps: Any, atoms: Any, boundary: int, y: Any, top: int, bottom: int) -> None:
    """Write rows top..bottom of one plane y (H, W); maps (J, H, W), atoms (J-1, 3)."""
    levels, cols = maps.shape[0], x.shape[1]
    reach = levels - 1
    ring = np.empty((levels, 3, cols + 2 * reach), dtype=x.dtype)
    v = np.empty(cols + 2 * reach, dtype=x.dtype)
    for i in range(top - reach, bottom + reach):
        load_row(x, i, reach, boundary, ring[0, i % 3])
        if top <= i < bottom:
            y[i] = 0
            add_product(y[i], maps[0, i], ring[0, i % 3, reach : reach + cols])
        for j in range(1, levels):
            r = i - j
            if r < top - (reach - j):
                break
            n = cols + 2 * (reach - j)
            a = atoms[j - 1]
            before = ring[j - 1]
            out = ring[j, r % 3, :n]
            _filter_rows(
                before[(r - 1) % 3, : n + 2], before[r % 3, : n + 2], before[(r + 1) % 3, : n + 2],
                a[2], a[1], a[0], v[: n + 2], out,
            )  # fmt: skip
            if top <= r < bottom:
                add_product(y[r], maps[j, r], out[reach - j : reach - j + cols])


@jit
def _adjoint_strip(y: Any, maps: Any, atoms: Any, plane: Any, top: int, bottom: int) -> None:
    """Write rows top..bottom of the extended plane (H + 2 reach, W + 2 reach), gathered from one plane y (H, W)."""
    levels, (rows, cols) = maps.shape[0], y.shape
    reach = levels - 1
    base = reach + 1  # a pixel of zeros on both sides of the widest row
    ring = np.zeros((levels, 3, cols + 2 * base), dtype=y.dtype)
    v = np.zeros(cols + 2 * base, dtype=y.dtype)
    first, stop = top - reach, bottom - reach  # in image coordinates
    for i in range(first - reach, stop + reach):
        deepest = ring[reach, i % 3, base : base + cols]
        deepest[:] = 0
        if 0 <= i < rows:
            add_product(deepest, maps[reach, i], y[i])
        for j in range(reach - 1, -1, -1):
            r = i - (reach - j)
            if r < first - j:
                break
            grown = reach - j - 1
            low, high = base - grown, base + cols + grown
            first_tap, centre, last_tap = atoms[j, 0], atoms[j, 1], atoms[j, 2]
            after = ring[j + 1]
            v[low - 2 : low] = 0
            v[high : high + 2] = 0
            above, middle, below = after[(r - 1) % 3], after[r % 3], after[(r + 1) % 3]
            out = ring[j, r % 3]
            inner = v[low:high]
            n = high - low
            ra, rm, rb = above[low:high], middle[low:high], below[low:high]
            for q in range(n):
                inner[q] = first_tap * ra[q] + centre * rm[q] + last_tap * rb[q]
            left, here, right = v[low - 2 : high], v[low - 1 : high + 1], v[low : high + 2]
            wide = out[low - 1 : high + 1]
            for q in range(n + 2):
                wide[q] = first_tap * left[q] + centre * here[q] + last_tap * right[q]
            if 0 <= r < rows:
                add_product(out[base : base + cols], maps[j, r], y[r])
        r = i - reach
        if r >= first:
            plane[r + reach] = ring[0, r % 3, 1 : cols + 2 * reach + 1]


def _fusible(maps: Array, atoms: Array, stagewise: bool, mix: Array | None) -> bool:
    """Whether the ring of three rows applies: three taps, extended once, no channel mix."""
    return not stagewise and mix is None and (atoms.shape[-1] == 3 or maps.shape[-3] == 1)


def _tasks(images: Any, rows: int, reach: int) -> list[tuple[int, int, int, int]]:
    """All (image, colour, top, bottom); a strip costs its halo twice, so there are no more strips than threads."""
    height = max(-(-rows // thread_count()), 4 * reach, 16)
    strips = row_strips(rows, height)
    return [(n, c, *strip) for n in range(images.shape[0]) for c in range(images.shape[1]) for strip in strips]


@register("recursive_mixture", namespace="numpy")
def recursive_mixture(
    x: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """See `reference.recursive_mixture`, which still serves other atoms than three taps, stagewise and mix."""
    if not _fusible(maps, atoms, stagewise, mix):
        return reference.recursive_mixture(x, maps, atoms, boundary, stagewise, mix)
    images, weights = flat_planes(x), shared_batch(maps, x.shape[:-3], 3)
    taps, code = np.ascontiguousarray(atoms), boundary_code(boundary)
    y = np.empty_like(images)

    def work(n: int, c: int, top: int, bottom: int) -> None:
        own = taps[:, c if taps.shape[1] > 1 else 0]
        _forward_strip(images[n, c], weights[n % len(weights)], own, code, y[n, c], top, bottom)

    run_tasks(work, _tasks(images, x.shape[-2], maps.shape[-3] - 1))
    return y.reshape(x.shape)


@register("recursive_mixture_adjoint", namespace="numpy")
def recursive_mixture_adjoint(
    y: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """See `reference.recursive_mixture_adjoint`. A gather: each row of the extended plane is written once."""
    if not _fusible(maps, atoms, stagewise, mix):
        return reference.recursive_mixture_adjoint(y, maps, atoms, boundary, stagewise, mix)
    images, weights = flat_planes(y), shared_batch(maps, y.shape[:-3], 3)
    taps, reach = np.ascontiguousarray(atoms), maps.shape[-3] - 1
    rows, cols = y.shape[-2:]
    plane = np.empty((*images.shape[:2], rows + 2 * reach, cols + 2 * reach), dtype=y.dtype)

    def work(n: int, c: int, top: int, bottom: int) -> None:
        own = taps[:, c if taps.shape[1] > 1 else 0]
        _adjoint_strip(images[n, c], weights[n % len(weights)], own, plane[n, c], top, bottom)

    run_tasks(work, _tasks(images, rows + 2 * reach, reach))
    return fold(plane, (reach, reach), (reach, reach), boundary).reshape(y.shape)
