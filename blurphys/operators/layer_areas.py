"""Where the layers of `LayeredDefocus` are visible: areas of the frame, masks, and PSFs without margins of zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs import detach, tracing
from ..types import Array

__all__ = ["dilate", "span_of", "to_host", "trim_zeros"]

Host = np.ndarray[Any, Any]


def to_host(x: Array) -> Host:
    """Convert an array of any namespace to a NumPy array."""
    if hasattr(x, "get"):
        return np.asarray(x.get())
    x = detach(x)
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x if isinstance(x, np.ndarray) else np.from_dlpack(x))


def dilate(used: Host, rows: int, cols: int) -> Host:
    """Mark every pixel that is at most `rows` rows and `cols` columns from a marked one."""
    for axis, reach in ((0, rows), (1, cols)):
        if reach:
            # Running sums: a pixel is near a marked one if the sum grows over the 2 reach + 1 pixels around it.
            pads = [(0, 0), (0, 0)]
            pads[axis] = (reach + 1, reach)
            sums = np.cumsum(np.pad(used, pads), axis=axis, dtype=np.int32)
            n = used.shape[axis]
            after = sums[2 * reach + 1 :] if axis == 0 else sums[:, 2 * reach + 1 :]
            used = after > (sums[:n] if axis == 0 else sums[:, :n])
    return used


def span_of(lines: Any, margin: int) -> slice:
    """Return the rows or columns from the first to the last marked one, plus a margin, within the frame."""
    found = np.flatnonzero(lines)
    if not found.size:
        return slice(0, 1 if lines.size else 0)
    return slice(max(0, int(found[0]) - margin), min(lines.size, int(found[-1]) + 1 + margin))


def trim_zeros(psfs: Array) -> Array:
    """Remove margins of zeros from PSFs, by the same amount on opposite sides."""
    if tracing():
        return psfs
    used = (to_host(psfs) != 0).any(axis=(0, 1, 2))
    h, w = used.shape
    if not used.any():
        return psfs
    cuts = []
    for lines, n in ((used.any(axis=1), h), (used.any(axis=0), w)):
        found = np.flatnonzero(lines)
        # The centre has to stay at n // 2: with equal cuts it does, for even sizes too.
        cuts.append(max(0, min(int(found[0]), n - 1 - int(found[-1]))))
    (a, b) = cuts
    return psfs[..., a : h - a, b : w - b]
