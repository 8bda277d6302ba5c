"""Semi-global matching against plain loops over paths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blurphys.engines.cpu.matching import semi_global_sum


def path_cost(cost, guide, small, large, scale, row, col, step):
    """Costs of the best paths that end at a pixel, from the border, by recursion along one direction."""
    height, width, count = cost.shape
    r, c = row - step[0], col - step[1]
    if not (0 <= r < height and 0 <= c < width):
        return [float(value) for value in cost[row, col]]
    before = path_cost(cost, guide, small, large, scale, r, c, step)
    jump = max(small, large * math.exp(-abs(guide[row, col] - guide[r, c]) / scale))
    least = min(before)
    found = []
    for d in range(count):
        options = [before[d], least + jump]
        options += [before[e] + small for e in (d - 1, d + 1) if 0 <= e < count]
        found.append(cost[row, col, d] + min(options) - least)
    return found


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 6), (6, 4, 9), (1, 6, 2), (7, 1, 1)])
def test_it_is_the_sum_over_eight_directions(shape):
    rng = np.random.default_rng(sum(shape))
    cost, guide = 10 * rng.random(shape), rng.random(shape[:2])
    found = semi_global_sum(cost, guide, 1.0, 6.0, 0.3)
    directions = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    for row in range(shape[0]):
        for col in range(shape[1]):
            paths = [path_cost(cost, guide, 1.0, 6.0, 0.3, row, col, step) for step in directions]
            assert np.allclose(found[row, col], np.sum(paths, axis=0), rtol=1e-5), (row, col)
