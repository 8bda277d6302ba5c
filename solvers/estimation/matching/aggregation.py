"""The best candidate of each pixel from their costs: semi-global matching, refinement, confidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blurphys.engines.threads import run_tasks

__all__ = ["best_candidates"]

BROAD = 3.0
"""Standard deviation of a second window, px, for pixels whose own shows no texture."""

CAP = 60.0
"""Costs count up to this far above the smallest of their pixel: a pixel at an occluding edge cannot outvote others."""

SMALL, LARGE, EDGE = 12.0, 30.0, 0.05
"""Penalties of a step and of a jump between neighbours; a difference of EDGE in the guide divides the second by e."""

HALF_SURE = 80.0
"""Margin of the best radius, after aggregation, at which the confidence is one half."""

NEIGHBOURS = 2
"""Candidates up to this far from the best one are the same radius, not competitors."""

NO_TEXTURE = 8.0
"""Range of the costs of a pixel that noise alone does not reach, in standard deviations of a cost."""

Plane = np.ndarray[Any, Any]


def best_candidates(cost: Plane, guide: Plane, *, colours: float, window: float) -> tuple[Plane, Plane]:
    """Return the best candidate of each pixel, with fractions, and the confidence in it, (H, W) each.

    Parameters
    ----------
    cost : ndarray of shape (H, W, D), float32
        In units of the noise variance; averaged over `colours` and a Gaussian window of standard deviation `window`.
    colours : float
        Number of colours; of N views whose residuals were added up, that over N - 1.
    guide : ndarray of shape (H, W)
        The picture, at whose edges jumps cost less.

    Notes
    -----
    The confidence is ``m / (m + 80)``, m the margin of the best radius over all that differ from it by more than two
    candidates, and 0 where the costs differ by no more than the noise makes them.
    """
    from blurphys.engines.cpu.matching import semi_global_sum

    count = cost.shape[-1]
    cost, seen = _with_broad_window(cost, colours, window)
    independent = np.float32(0.5 * 4 * math.pi * window**2)  # half the number of pixels: a log-likelihood
    excess = np.minimum(independent * (cost - cost.min(axis=-1, keepdims=True)), np.float32(CAP))
    total = semi_global_sum(excess, guide, SMALL, LARGE, EDGE)
    best = total.argmin(axis=-1)
    least = np.take_along_axis(total, best[..., None], axis=-1)[..., 0]
    margin = np.full(best.shape, np.inf, dtype=np.float32)
    for k in range(count):
        competes = np.abs(best - k) > NEIGHBOURS
        np.minimum(margin, total[..., k] - least, out=margin, where=competes)
    with np.errstate(invalid="ignore"):
        sure = np.where(np.isfinite(margin), margin / (margin + HALF_SURE), 1)
    return best + _fractions(total, best), seen * sure


def _with_broad_window(cost: Plane, colours: float, window: float) -> tuple[Plane, Plane]:
    """Return costs that are averaged more widely where they show no texture, and how much texture there is, 0 to 1."""
    from scipy.ndimage import gaussian_filter

    seen = _texture(cost, colours, window)
    if seen.min() == 1:
        return cost, seen
    broad, mixed = np.empty_like(cost), np.empty_like(cost)
    missing = (1 - seen).astype(np.float32)

    def work(k: int) -> None:
        broad[..., k] = gaussian_filter(cost[..., k], BROAD, truncate=3)
        mixed[..., k] = cost[..., k] + missing * (broad[..., k] - cost[..., k])

    run_tasks(work, [(k,) for k in range(cost.shape[-1])])
    return mixed, np.maximum(seen, _texture(broad, colours, math.hypot(window, BROAD)))


def _texture(cost: Plane, colours: float, window: float) -> Plane:
    """Return 0 where the costs of a pixel differ by no more than noise makes them, 1 where by twice that."""
    deviations = (cost.max(axis=-1) - cost.min(axis=-1)) * math.sqrt(0.5 * colours * 4 * math.pi * window**2)
    seen: Plane = np.clip((deviations - NO_TEXTURE) / NO_TEXTURE, 0, 1)
    return seen


def _fractions(total: Plane, best: Plane) -> Plane:
    """Return the minimum of a parabola through the best candidate and its neighbours, -0.5 to 0.5 candidates."""
    count = total.shape[-1]
    if count < 3:
        return np.zeros(best.shape)
    inner = np.clip(best, 1, count - 2)
    below, here, above = (np.take_along_axis(total, (inner + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = below - 2 * here + above
    shift = 0.5 * (below - above) / np.maximum(bend, 1e-9)
    fractions: Plane = np.where((inner == best) & (bend > 0), np.clip(shift, -0.5, 0.5), 0)
    return fractions
