"""Measure the halo of an operator: the distance at which input pixels contribute to output pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..linop.base import LinearOperator
from ..linop.windows import leaves
from ..types import Array
from .linalg import full_shapes, namespace_of, to_numpy

__all__ = ["measure_reach"]

ROUNDING = 64.0
"""Responses up to this many eps times the largest one count as zero: FFTs leave such errors everywhere."""


def measure_reach(A: LinearOperator, *, like: Array | None = None, seed: int = 0, points: int = 9) -> int | None:
    """Measure the distance, px, at which pixels of an image contribute to A(x): a lower bound of the halo.

    Parameters
    ----------
    A : LinearOperator
    like : array, optional
        Determines namespace, dtype and device if the operator has no array.
    seed : int
        Seed of the random values and positions.
    points : int
        Number of single pixels that are tested: the corners and the middle, then random ones.

    Returns
    -------
    int or None
        Largest distance, along rows or columns, of a nonzero output pixel from the nearest nonzero input pixel. None
        if the inputs or outputs are not images, or outputs have no position in the input.

    Notes
    -----
    The inputs are single pixels and the four quarters of the frame filled with random values, all channels and the
    batch at once: ``points + 4`` applications. On sides longer than twice the reach, the quarters test every pixel. A
    smaller output is taken to be the middle of the input (`Window`). Distances go around the frame if an operator is
    ``circular`` or its boundary is unknown.
    """
    shape, out = full_shapes(A)
    if len(A.in_shape) != 3 or len(A.out_shape) != 3:
        return None
    offsets = [(n - m) / 2 for n, m in zip(shape[-2:], out[-2:], strict=True)]
    if any(offset != int(offset) for offset in offsets):
        return None
    rng, (height, width) = np.random.default_rng(seed), shape[-2:]
    wraps = _wraps(A)
    furthest = 0
    for rows, cols in (*_points(height, width, points, rng), *_quarters(height, width)):
        x = np.zeros(shape)
        x[..., rows, cols] = rng.standard_normal((*shape[:-2], rows.stop - rows.start, cols.stop - cols.start))
        found = _nonzero_pixels(A, x, like)
        for lines, span, size, offset in zip(np.nonzero(found), (rows, cols), (height, width), offsets, strict=True):
            if lines.size:
                furthest = max(furthest, int(_distance(lines + int(offset), span, size if wraps else None).max()))
    return furthest


def _wraps(A: LinearOperator) -> bool:
    """Whether distances go around the frame: an operator in `A` is circular, or its boundary is not given."""
    return any(getattr(a, "boundary", "circular") == "circular" for a in leaves(A).values() if a.halo != 0)


def _points(height: int, width: int, count: int, rng: np.random.Generator) -> list[tuple[slice, slice]]:
    fixed = [(0, 0), (height // 2, width // 2), (height - 1, width - 1), (0, width - 1), (height - 1, 0)]
    drawn = [(int(rng.integers(height)), int(rng.integers(width))) for _ in range(count - len(fixed))]
    return [(slice(r, r + 1), slice(c, c + 1)) for r, c in dict.fromkeys([*fixed, *drawn][:count])]


def _quarters(height: int, width: int) -> list[tuple[slice, slice]]:
    halves = [[slice(0, n // 2), slice(n // 2, n)] if n > 1 else [slice(0, n)] for n in (height, width)]
    return [(rows, cols) for rows in halves[0] for cols in halves[1]]


def _nonzero_pixels(A: LinearOperator, x: np.ndarray[Any, Any], like: Array | None) -> np.ndarray[Any, Any]:
    """Return where A(x) is not zero in any channel and any item of the batch: (H, W)."""
    xp, where = namespace_of(A, like)
    y = A.forward(xp.asarray(x, **where))
    eps = float(array_namespace(y).finfo(y.dtype).eps)
    values = np.abs(to_numpy(y))
    height, width = values.shape[-2:]
    return (values > ROUNDING * eps * values.max(initial=0.0)).reshape(-1, height, width).any(axis=0)


def _distance(lines: np.ndarray[Any, Any], span: slice, period: int | None) -> np.ndarray[Any, Any]:
    """Return the distance of rows or columns from a span of them, around the frame if it has a period."""
    away = np.maximum(np.maximum(span.start - lines, lines - (span.stop - 1)), 0)
    if period is not None:
        around = np.minimum(lines + period - (span.stop - 1), span.start + period - lines)
        away = np.minimum(away, np.maximum(around, 0))
    return away
