"""The radii that are compared, and the PSFs of both views at these radii, for every part of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple, final

import numpy as np

from blurphys.maps import interpolation_index
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ...core.arrays import to_host
from ..matching.cost import Part

__all__ = ["FOCUS", "Region", "candidate_radii", "parts_of", "psfs_at", "radius_at", "regions"]

FOCUS = 0.5
"""Up to this radius (px) the PSF of a lens is one pixel, in both views: such radii cannot be told apart."""

Plane = np.ndarray[Any, Any]


@final
class Region(NamedTuple):
    """A rectangle of the frame in which one bank holds."""

    rows: slice
    cols: slice
    bank: PSFBank | Pupil


def candidate_radii(max_radius: float, step: float) -> tuple[Plane, Plane]:
    """Return evenly spaced coordinates u, with 0 among them, and the radii u + sign(u) / 2 that they stand for, px."""
    reach = max(max_radius - FOCUS, step)
    count = ceil(reach / step - 1e-9)
    u = np.linspace(-reach, reach, 2 * count + 1)
    return u, u + FOCUS * np.sign(u)


def radius_at(u: Plane, step: float) -> Plane:
    """Return the radii of any coordinates: near 0 the half pixel is passed through within one step."""
    radius: Plane = u + FOCUS * np.clip(u / (0.5 * step), -1, 1)
    return radius


def psfs_at(bank: PSFBank | Pupil, radii: Plane, view: str) -> list[Plane]:
    """Return the PSF (1 or C, h, w) of one view at each radius; those of a bank are interpolated."""
    if isinstance(bank, Pupil):
        return [np.asarray(bank.psf(float(radius), view))[None] for radius in radii]
    levels = to_host(bank.psfs(view)).astype(np.float64)
    levels = levels[:, None] if levels.ndim == 3 else levels
    index, fraction = interpolation_index(np.clip(radii, bank.nodes[0], bank.nodes[-1]), bank.nodes)
    return [(1 - f) * levels[k] + f * levels[k + 1] for k, f in zip(index, fraction, strict=True)]


def regions(pupil: Pupil | PSFBank | Sequence[Sequence[PSFBank]], shape: tuple[int, int], nodes: str) -> list[Region]:
    """Return the parts of the frame, each with the bank of the node that is nearest to it."""
    if isinstance(pupil, Pupil | PSFBank):
        return [Region(slice(0, shape[0]), slice(0, shape[1]), pupil)]
    rows, cols = (_spans(count, size, nodes) for count, size in zip((len(pupil), len(pupil[0])), shape, strict=True))
    found = [Region(r, c, pupil[i][j]) for i, r in enumerate(rows) for j, c in enumerate(cols)]
    return [region for region in found if region.rows.start < region.rows.stop and region.cols.start < region.cols.stop]


def parts_of(found: Sequence[Region], radii: Plane) -> list[Part]:
    """Return the PSFs of left and right at each radius, for the regions of each bank."""
    banks = {id(region.bank): region.bank for region in found}
    return [
        Part(
            [(region.rows, region.cols) for region in found if id(region.bank) == key],
            [psfs_at(bank, radii, view) for view in ("left", "right")],
        )
        for key, bank in banks.items()
    ]


def _spans(count: int, size: int, nodes: str) -> list[slice]:
    """Return the rows or columns that are nearest to each node, see `FieldDefocus`."""
    line = np.arange(size)
    position = line * ((count - 1) / max(size - 1, 1)) if nodes == "corners" else (line + 0.5) * (count / size) - 0.5
    nearest = np.clip(np.rint(position), 0, count - 1)
    edges = np.searchsorted(nearest, np.arange(count + 1))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
