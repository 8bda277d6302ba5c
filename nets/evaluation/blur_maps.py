"""Scores of a map of blur radii: against true radii, or against a mask of what is blurred."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_scores", "mask_scores"]

Plane = NDArray[Any]


def map_scores(found: Plane, true: Plane, *, known: Plane | None = None) -> dict[str, float]:
    """Compare the blur radii of a map with true ones, whatever their signs.

    Parameters
    ----------
    found, true : ndarray of shape (H, W)
        Radii, px, signed or not: one photograph does not tell the sign.
    known : ndarray of bool of shape (H, W), optional
        Where the truth is known; everywhere by default.

    Returns
    -------
    dict
        ``rank_correlation`` (Spearman, 0 where either map is constant), ``median_error`` (px, of the absolute error),
        and ``constant_error`` (px, the smallest median error of any constant map).

    Raises
    ------
    ValueError
        Different shapes; no known pixel; values that are not finite where they are known.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> scores = map_scores(0.5 - true, true)
    >>> scores["median_error"], scores["constant_error"]
    (0.5, 1.0)
    """
    a, b = _known("map_scores", found, true, known)
    error = np.abs(a - b)
    return {
        "rank_correlation": _correlation(_ranks(a), _ranks(b)),
        "median_error": float(np.median(error)),
        "constant_error": _least_median(b),
    }


def mask_scores(found: Plane, blurred: Plane) -> dict[str, float]:
    """Compare the blur radii of a map with a mask of what is blurred.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        Radii, px, signed or not.
    blurred : ndarray of bool of shape (H, W)

    Returns
    -------
    dict
        ``inside`` and ``outside``: mean absolute radius where the mask is true and where it is false, px; ``auc``: the
        probability that a blurred pixel has a larger absolute radius than a sharp one (ties count half).

    Raises
    ------
    ValueError
        Different shapes; a mask that is true or false everywhere; radii that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> mask_scores(np.array([[1.0, 2.0, 2.0, 3.0]]), np.array([[False, False, True, True]]))
    {'inside': 2.5, 'outside': 1.5, 'auc': 0.875}
    """
    mask = np.asarray(blurred, dtype=bool)
    radii, _ = _known("mask_scores", found, mask.astype(np.float64), None)
    inside = mask.ravel()
    count, others = int(inside.sum()), int((~inside).sum())
    if not count or not others:
        raise ValueError("mask_scores: expected blurred and sharp pixels, got a mask of one kind alone")
    # The sum of the ranks of one group counts how often it wins (Mann and Whitney).
    wins = float(_ranks(radii)[inside].sum()) - count * (count + 1) / 2
    return {
        "inside": float(radii[inside].mean()),
        "outside": float(radii[~inside].mean()),
        "auc": wins / (count * others),
    }


def _known(owner: str, found: Plane, true: Plane, known: Plane | None) -> tuple[Plane, Plane]:
    """Return the absolute values where the truth is known."""
    a, b = (np.abs(np.asarray(v, dtype=np.float64)) for v in (found, true))
    where = np.ones(b.shape, bool) if known is None else np.asarray(known, dtype=bool)
    if not a.shape == b.shape == where.shape or a.ndim != 2:
        raise ValueError(f"{owner}: expected maps of one shape (H, W), got {a.shape}, {b.shape} and {where.shape}")
    if not where.any():
        raise ValueError(f"{owner}: expected at least one pixel whose truth is known, got none")
    a, b = a[where], b[where]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"{owner}: expected finite radii, got NaN or infinity")
    return a, b


def _ranks(values: Plane) -> Plane:
    from scipy.stats import rankdata

    ranks: Plane = rankdata(values)
    return ranks


def _correlation(a: Plane, b: Plane) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / power if power > 0 else 0.0


def _least_median(values: Plane) -> float:
    """Return the smallest (upper) median of |values - c| over all c: half the width of the shortest half."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float((ordered[half:] - ordered[: len(ordered) - half]).min()) / 2
