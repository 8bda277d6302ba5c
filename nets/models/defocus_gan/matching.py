"""The classical estimate of a dual-pixel map as channels, from which a network starts."""

from __future__ import annotations

import numpy as np

from solvers.estimation import DefocusEstimate

__all__ = ["CHANNELS", "OFFSETS", "matching_channels"]

OFFSETS = (-3.0, -2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0)
"""Distances of the radii whose costs the network sees from the estimated radius, px."""

CHANNELS = 2 + len(OFFSETS)
"""Of an estimate: the map, its confidence, and the costs."""

PIXELS = 2 * np.pi
"""Half the number of pixels over which a cost is averaged, so that the product is a negative log-likelihood."""

CAP = 60.0
"""Costs count up to this far above the smallest of their pixel, as in the matching."""


def matching_channels(found: DefocusEstimate) -> np.ndarray:
    """Return what the matching of a dual-pixel pair found, for a `DefocusMapNet` with `from_estimate`.

    Parameters
    ----------
    found : DefocusEstimate
        Of `solvers.estimation.dual_pixel_map`, with its cost volume (``keep_cost=True``).

    Returns
    -------
    ndarray of shape (CHANNELS, H, W), float32
        The map in px, the confidence, and ``sqrt(min(2 pi (d - min d), 60)) / 4`` at the estimated radius plus each of
        `OFFSETS`, d the cost there before aggregation: how much worse other radii explain this pixel alone. Neither the
        PSFs nor the range of the search need to be known to read them.

    Raises
    ------
    ValueError
        An estimate without its cost volume.
    """
    if found.cost_volume is None:
        raise ValueError("matching_channels: expected an estimate with its cost volume; use keep_cost=True")
    cost, radii = np.asarray(found.cost_volume), found.candidates
    last = len(radii) - 1
    step = float(np.median(np.diff(radii)))
    at = np.interp(found.defocus_map, radii, np.arange(last + 1))
    least = cost.min(axis=-1)
    channels = [np.asarray(found.defocus_map), np.asarray(found.confidence)]
    for offset in OFFSETS:
        place = np.clip(at + offset / step, 0, last)
        below = np.minimum(place.astype(np.intp), last - 1)
        low, high = (np.take_along_axis(cost, (below + k)[..., None], axis=-1)[..., 0] for k in (0, 1))
        excess = low + (place - below) * (high - low) - least
        channels.append(np.sqrt(np.clip(PIXELS * excess, 0, CAP)) / 4)
    return np.stack(channels).astype(np.float32)
