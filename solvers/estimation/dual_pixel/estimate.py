"""The signed defocus map of a dual-pixel pair, by matching, semi-global aggregation and completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.inputs import require_choice, require_number
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ...core.types import Array
from ..completion import complete
from ..matching.aggregation import best_candidates
from ..matching.cost import matching_cost
from ..noise import noise_level
from . import checks
from .candidates import Region, candidate_radii, parts_of, radius_at, regions
from .gain import balance

__all__ = ["DefocusEstimate", "dual_pixel_map"]

LEAST_NOISE = 0.012
"""No pair is matched more finely than this, relative to a mean of 0.5: no PSF is known exactly."""

WINDOW = 1.0
"""Standard deviation of the window over which residuals are averaged, px."""

SAMPLE, EXCHANGED = 128, 2.0
"""Half the side of the part that is tried with exchanged views (px), and how much better it must then fit."""

Plane = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DefocusEstimate:
    """A defocus map estimated from photographs, and what it takes to judge it.

    Attributes
    ----------
    defocus_map : array of shape (H, W)
        Signed circle-of-confusion radius, px; positive farther than the plane of focus.
    confidence : array of shape (H, W)
        0 (completed from its surroundings) to 1 (measured at this pixel).
    candidates : ndarray of shape (D,)
        The radii that were compared, px.
    noise : float
        Standard deviation of the noise of each view, given or estimated.
    gain : tuple of float
        Exposure of the left view over the right for each colour, which was corrected.
    cost_volume : array of shape (H, W, D) or None
        Matching cost of each candidate before aggregation, in units of the noise variance (1 is what noise alone
        leaves), if it was asked for.
    """

    defocus_map: Array
    confidence: Array
    candidates: Plane
    noise: float
    gain: tuple[float, ...]
    cost_volume: Array | None = None


def dual_pixel_map(
    left: Array,
    right: Array,
    *,
    pupil: Pupil | PSFBank | Sequence[Sequence[PSFBank]],
    max_radius: float | tuple[float, float],
    noise: float | None = None,
    step: float = 0.25,
    nodes: Literal["corners", "centres"] = "corners",
    keep_cost: bool = False,
) -> DefocusEstimate:
    """Estimate the signed defocus map of a dual-pixel pair, without learning.

    Parameters
    ----------
    left, right : array of shape (C, H, W)
        The two views, linear light, nominal range [0, 1].
    pupil : Pupil, PSFBank, or sequence of sequences of PSFBank
        The PSFs of both views. Rows of banks describe a lens whose PSFs depend on the position in the frame, as for
        `bp.FieldDefocus`: from top to bottom, each from left to right.
    max_radius : float or (float, float)
        Largest radius of the search, px, in front of and behind the plane of focus; or the lowest and the highest
        signed radius, where it is known that everything lies behind focus (say).
    noise : float, optional
        Standard deviation of the noise of each view; `noise_level` estimates it.
    step : float
        Distance of neighbouring candidates, px.
    nodes : {"corners", "centres"}
        Where the banks of a grid stand in the frame, see `bp.FieldDefocus`.
    keep_cost : bool
        Whether the result has the cost volume, H W D numbers.

    Returns
    -------
    DefocusEstimate
        Arrays of the kind, dtype and device of `left`; the computation is NumPy on the CPU.

    Raises
    ------
    ValueError
        Views of different size, or of exposures that differ by more than a factor of 1.5; a pair without texture; more
        than half of the pixels clipped; a pupil whose views are equal (split 0); a search beyond the bank; views that
        are exchanged, where a one-sided search shows it.
    TypeError
        Views that are not floating-point, or of different kinds.

    Warns
    -----
    EstimateWarning
        More than a quarter of the confident pixels has the largest radius of the search.

    Notes
    -----
    0. The exposure of the left view over the right, a smooth function of the position, is estimated and corrected.
    1. For each candidate radius c the whitened residual of ``r_c * left - l_c * right``, which vanishes for the true
       radius whatever the scene (`cost.matching_cost`), squared and averaged over a Gaussian window of 1 px, and of 3
       px where 1 px shows no texture. Clipped pixels do not count.
    2. Semi-global matching over eight directions; jumps cost less at the edges of the picture.
    3. The minimum is refined by a parabola; its margin over all other radii gives the confidence.
    4. Completion of what is not certain, guided by the picture (`complete`).

    The candidates are evenly spaced outside of +-0.5 px, within which a PSF is one pixel and radii cannot be told
    apart. The sign comes from which view leans to which side: exchanged views give the negative of the map. If the
    pupil is symmetric, nothing in the pair reveals the exchange unless the sign is known (a one-sided `max_radius`).
    The PSF is that of a plane, so that next to an occluding edge the map follows whichever surface dominates the
    window. Accuracy: ``docs/estimation.md``.
    Cost: D C Fourier transforms of the frame; four volumes of H W D float32 in memory (0.8 GB per megapixel for 45
    candidates), so that large photographs are best reduced or cut first.

    References
    ----------
    Hirschmueller, H., Stereo processing by semiglobal matching and mutual information, IEEE Transactions on Pattern
    Analysis and Machine Intelligence 30(2), 2008 (the aggregation; the matching cost here is another).

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> pupil = bp.Pupil.disk(split=0.45)
    >>> A = bp.DualPixel(np.full((48, 64), 2.0), bank=bp.PSFBank(pupil, max_radius=3.0))
    >>> left, right = np.split(A(np.random.default_rng(0).random((3, 48, 64))), 2)
    >>> found = solvers.estimation.dual_pixel_map(left, right, pupil=pupil, max_radius=3.0)
    >>> float(np.median(found.defocus_map).round(1))
    2.0
    """
    views = checks.check_views(left, right)
    checks.check_banks(pupil)
    low, high = checks.check_range(max_radius, pupil)
    step = require_number(checks.NAME, "step", step, above=0, unit="px")
    require_choice(checks.NAME, "nodes", nodes, ("corners", "centres"))
    if noise is not None:
        noise = require_number(checks.NAME, "noise", noise, least=0)
    valid = ~checks.clipped_pixels(views)
    gain = checks.exposure_gain(views, valid)
    views = balance(views, valid, gain)
    if noise is None:
        noise = _noise_of(views)
    scale = np.float32(2 * np.mean([view.mean(dtype=np.float64) for view in views]))
    scale = scale if scale > 0 else np.float32(1)
    views = (views[0] / scale, views[1] / scale)  # the mean is 0.5
    level = max(noise / float(scale), LEAST_NOISE)
    u, radii = candidate_radii(max(-low, high), step)
    inside = (radii >= low - 1e-9) & (radii <= high + 1e-9)
    u, radii = u[inside], radii[inside]
    if len(radii) < 2:
        raise ValueError(
            f"{checks.NAME}: expected at least two candidates, got {len(radii)} between {low:g} and {high:g} px in "
            f"steps of {step:g} px; widen max_radius or lower step"
        )
    parts = regions(pupil, views[0].shape[-2:], nodes)
    cost = matching_cost(
        np.stack(views),
        valid,
        parts_of(parts, radii),
        noise=level,
        floor=(noise / float(scale) / level) ** 2,
        window=WINDOW,
    )
    guide = _guide(views)
    if low >= 0 or high <= 0:
        _refuse_exchanged(views, valid, parts, radii, level)
    position, confidence = best_candidates(cost, guide, colours=len(views[0]), window=WINDOW)
    found = np.interp(position, np.arange(len(u)), u)
    if not (confidence > 0).any():
        raise ValueError(
            f"{checks.NAME}: expected a pair with texture, got none above the noise of {noise:.2g}; without texture "
            f"every radius explains both views, so there is no map"
        )
    filled = complete(found, confidence, guide)
    defocus = np.clip(radius_at(filled, step), low, high)
    checks.warn_if_at_the_limit(defocus, confidence, low, high)
    xp, there = array_namespace(left), {"dtype": left.dtype, "device": device(left)}
    return DefocusEstimate(
        defocus_map=xp.asarray(defocus, **there),
        confidence=xp.asarray(confidence, **there),
        candidates=radii,
        noise=noise,
        gain=tuple(float(g) for g in gain),
        cost_volume=xp.asarray(cost, **there) if keep_cost else None,
    )


def _refuse_exchanged(
    views: tuple[Plane, Plane], valid: Plane, parts: list[Region], radii: Plane, level: float
) -> None:
    """Raise if a one-sided search explains the views much better when they are exchanged; the middle is looked at."""
    rows, cols = (slice(max(0, n // 2 - SAMPLE), n // 2 + SAMPLE) for n in valid.shape)
    here = [Region(_overlap(part.rows, rows), _overlap(part.cols, cols), part.bank) for part in parts]
    here = [part for part in here if part.rows.stop > part.rows.start and part.cols.stop > part.cols.start]
    left, right = (view[:, rows, cols] for view in views)
    few = radii[:: max(1, len(radii) // 8)]
    psfs, here_valid = parts_of(here, few), valid[rows, cols]
    misfit = [
        float(matching_cost(np.stack(pair), here_valid, psfs, noise=level, floor=0.0, window=3.0).min(axis=-1).mean())
        for pair in ((left, right), (right, left))
    ]
    if misfit[0] > EXCHANGED * misfit[1] + 0.1:
        raise ValueError(
            f"{checks.NAME}: expected radii from {radii[0]:g} to {radii[-1]:g} px, which fit the views "
            f"{misfit[0] / max(misfit[1], 1e-3):.2g} times as badly as with left and right exchanged; exchange the "
            f"views, or the sign of max_radius"
        )


def _overlap(span: slice, window: slice) -> slice:
    """Return the part of a span inside a window, counted from the window's start."""
    first = max(span.start, window.start)
    return slice(first - window.start, max(first, min(span.stop, window.stop)) - window.start)


def _noise_of(views: tuple[Plane, Plane]) -> float:
    """Return the noise of the views; 0 where they are too small to tell."""
    return noise_level(np.concatenate(views)) if min(views[0].shape[-2:]) >= 18 else 0.0


def _guide(views: tuple[Plane, Plane]) -> Plane:
    """Return the square root of the mean light, (H, W): noise and edges then have about one size in dark and bright."""
    mean = 0.5 * (views[0].mean(axis=0) + views[1].mean(axis=0))
    guide: Plane = np.sqrt(np.maximum(mean, 0)).astype(np.float32)
    return guide
