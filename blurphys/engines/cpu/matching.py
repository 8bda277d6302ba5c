"""Compiled loops of semi-global matching: paths through a cost volume, four directions in one pass over the rows.

A volume is (H, W, D), the candidates of a pixel side by side. The paths of the left, the upper left, the upper and the
upper right neighbour end in a pixel on the way down; the other four on the way up. The two passes are independent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..threads import run_tasks
from .common.compiler import inner_jit, jit

__all__ = ["semi_global_sum"]

HIGH = np.float32(1e6)
"""Cost of a candidate that does not exist, at either end of a path."""


@inner_jit
def _extend(
    cost: Any, before: Any, least: Any, small: Any, large: Any, after: Any, total: Any, spare: Any, half: int
) -> Any:
    """Extend a path by one pixel; `after` receives its costs, `total` their sum; return the smallest of them.

    before, after: (D + 2,), the first and last of them HIGH. spare: (2 half,), HIGH from D on, half a power of two.
    """
    count = cost.size
    jump = least + large
    for d in range(count):
        step = min(before[d], before[d + 2]) + small
        best = min(min(before[d + 1], step), jump)
        value = np.float32(cost[d]) + (best - least)
        after[d + 1] = value
        spare[d] = value
        total[d] += value
    for d in range(count, 2 * half):
        spare[d] = HIGH
    n = half
    while n > 0:
        for d in range(n):
            spare[d] = min(spare[d], spare[d + n])
        n //= 2
    return spare[0]


@jit
def _pass(cost: Any, guide: Any, small: Any, large: Any, scale: Any, up: bool, total: Any) -> None:
    """Write to `total` the sum of the costs of the four paths that end in each pixel on the way down (or up)."""
    height, width, count = cost.shape
    half = 1
    while 2 * half < count:
        half *= 2
    spare = np.empty(2 * half, np.float32)
    sums = np.empty(count, np.float32)
    # of the pixels of this row and of the last: three paths that came from there, and the smallest cost of each
    paths = np.full((2, 3, width, count + 2), HIGH, np.float32)
    least = np.zeros((2, 3, width), np.float32)
    along = np.full((2, count + 2), HIGH, np.float32)
    zero = np.zeros(count + 2, np.float32)
    none = np.float32(0)
    for i in range(height):
        row = height - 1 - i if up else i
        last = row + 1 if up else row - 1
        here, there = i % 2, (i + 1) % 2
        lowest = none
        for j in range(width):
            column = width - 1 - j if up else j
            sums[:] = none
            value = guide[row, column]
            side = column + 1 if up else column - 1
            if j == 0:
                lowest = _extend(cost[row, column], zero, none, small, large, along[j % 2], sums, spare, half)
            else:
                penalty = max(small, large * np.exp(-abs(value - guide[row, side]) * scale))
                lowest = _extend(
                    cost[row, column], along[(j + 1) % 2], lowest, small, penalty, along[j % 2], sums, spare, half
                )
            for k in range(3):
                from_column = column + k - 1
                if i == 0 or from_column < 0 or from_column >= width:
                    least[here, k, column] = _extend(
                        cost[row, column], zero, none, small, large, paths[here, k, column], sums, spare, half
                    )
                else:
                    penalty = max(small, large * np.exp(-abs(value - guide[last, from_column]) * scale))
                    least[here, k, column] = _extend(
                        cost[row, column], paths[there, k, from_column], least[there, k, from_column], small, penalty,
                        paths[here, k, column], sums, spare, half,
                    )  # fmt: skip
            for d in range(count):
                total[row, column, d] = sums[d]


def semi_global_sum(cost: Any, guide: Any, small: float, large: float, scale: float) -> Any:
    """Return the sum over eight directions of the costs of the best paths that end in each pixel, (H, W, D) float32.

    Parameters
    ----------
    cost : ndarray of shape (H, W, D), float32
    guide : ndarray of shape (H, W), float32
        A change by `scale` divides the penalty of a jump by e.
    small, large : float
        Penalty of a step to the next candidate, and of a jump to any other.
    scale : float
        In units of the guide.
    """
    totals = [np.empty(cost.shape, np.float32) for _ in range(2)]
    cost, guide = np.ascontiguousarray(cost, np.float32), np.ascontiguousarray(guide, np.float32)
    penalties = np.float32(small), np.float32(large), np.float32(1 / scale)

    def work(k: int) -> None:
        _pass(cost, guide, *penalties, bool(k), totals[k])

    run_tasks(work, [(0,), (1,)])
    totals[0] += totals[1]
    return totals[0]
