"""The depth of each pixel from photographs at several focus distances or apertures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.inputs import require_number
from blurphys.optics.bank import PSFBank
from blurphys.optics.lens import ThinLens
from blurphys.optics.pupil import Pupil

from ...core.arrays import to_host
from ...core.checks import check_image
from ...core.types import Array
from ..completion import complete
from ..matching.aggregation import best_candidates
from ..matching.cost import Part, matching_cost
from ..noise import noise_level

__all__ = ["DepthEstimate", "focal_stack_depth"]

NAME = "focal_stack_depth"

LEAST_NOISE = 0.012
"""No stack is matched more finely than this, relative to a mean of 0.5: no PSF is known exactly."""

WINDOW = 1.5
"""Standard deviation of the window over which residuals are averaged, px."""

MAX_CANDIDATES = 128

Plane = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DepthEstimate:
    """Depth estimated from a stack of photographs.

    Attributes
    ----------
    depth_m : array of shape (H, W)
        Distance from the lens along the optical axis, m.
    confidence : array of shape (H, W)
        0 (completed from its surroundings) to 1 (measured at this pixel).
    defocus_maps : array of shape (N, H, W)
        Signed circle-of-confusion radius in each photograph, px, positive behind its plane of focus.
    candidates_m : ndarray of shape (D,)
        The distances that were compared, m, from far to near.
    noise : float
        Standard deviation of the noise of each photograph, given or estimated.
    """

    depth_m: Array
    confidence: Array
    defocus_maps: Array
    candidates_m: Plane
    noise: float


def focal_stack_depth(
    images: Sequence[Array],
    lenses: Sequence[ThinLens],
    *,
    pupil: Pupil | PSFBank,
    near_m: float,
    far_m: float,
    noise: float | None = None,
    step: float = 0.5,
) -> DepthEstimate:
    """Estimate depth from photographs of one scene at several focus distances or apertures, without learning.

    Parameters
    ----------
    images : sequence of arrays of shape (C, H, W)
        Two or more photographs, linear light, nominal range [0, 1], registered: a pixel shows the same point in all,
        the change of magnification with focus is undone.
    lenses : sequence of ThinLens
        The lens at each photograph.
    pupil : Pupil or PSFBank
        The PSFs; a bank must reach the largest radius.
    near_m, far_m : float
        Range of the depths, m; infinity is allowed.
    noise : float, optional
        Standard deviation of the noise of each photograph; `noise_level` estimates it.
    step : float
        Distance of neighbouring candidates: the largest change of a radius, px.

    Returns
    -------
    DepthEstimate
        Arrays of the kind, dtype and device of the images; the computation is NumPy on the CPU.

    Raises
    ------
    ValueError
        Fewer than two photographs, or another number of lenses; photographs of different sizes or without texture; a
        range that is none; lenses that are all the same; radii beyond the bank.
    TypeError
        Images that are not floating-point.

    Notes
    -----
    For each candidate depth the PSFs of all photographs are known, and with them the image that explains all best; what
    it leaves, whitened, is the cost (`solvers.estimation.matching.cost`). Candidates are evenly spaced in inverse
    depth, in which radii are linear. The minimum is found by semi-global matching, refined by a parabola, and completed
    where it is not certain, guided by the mean photograph. Each photograph is first scaled to the same mean.
    Photographs at one focus distance and two apertures do not tell the side of the plane of focus if the pupil is
    symmetric: the range must lie on one side of it.
    Cost: N D C Fourier transforms of the frame; four volumes of H W D float32.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> lens = dict(focal_length_mm=50, f_number=2.0, pixel_pitch_um=60)
    >>> lenses = [bp.ThinLens(focus_distance_m=u, **lens) for u in (1.0, 1.5, 3.0)]
    >>> sharp, depth = np.random.default_rng(0).random((3, 48, 64)), np.full((48, 64), 2.0)
    >>> pupil = bp.Pupil.disk()
    >>> bank = bp.PSFBank(pupil, max_radius=10.0)
    >>> photos = [bp.DefocusBlur(lens.defocus_map(depth), bank=bank)(sharp) for lens in lenses]
    >>> found = solvers.estimation.focal_stack_depth(photos, lenses, pupil=pupil, near_m=0.8, far_m=6.0)
    >>> float(np.median(found.depth_m).round(1))
    2.0
    """
    photos = _photos(images)
    lenses = tuple(lenses)
    _check_lenses(lenses, len(photos))
    near_m = require_number(NAME, "near_m", near_m, above=0, unit="m")
    if not far_m > near_m:
        raise ValueError(f"{NAME}: expected far_m beyond near_m = {near_m:g} m, got {far_m:g} m")
    step = require_number(NAME, "step", step, above=0, unit="px")
    if noise is None:
        small = min(photos.shape[-2:]) < 18
        noise = 0.0 if small else noise_level(photos.reshape(-1, *photos.shape[-2:]))
    else:
        noise = require_number(NAME, "noise", noise, least=0)
    means = photos.mean(axis=(1, 2, 3), dtype=np.float64)
    if means.min() <= 0:
        raise ValueError(f"{NAME}: expected photographs with light in them, got a mean of {means.min():.3g}")
    scaled = (photos / (2 * means[:, None, None, None])).astype(np.float32)
    level = max(noise / (2 * float(means.mean())), LEAST_NOISE)
    inverse = _candidates(lenses, 1 / float(far_m) if np.isfinite(far_m) else 0.0, 1 / near_m, step)
    radii = np.stack([_radius(lens, inverse) for lens in lenses])
    part = Part([(slice(0, photos.shape[-2]), slice(0, photos.shape[-1]))], _psfs(pupil, radii))
    floor = (noise / (2 * float(means.mean())) / level) ** 2
    valid = np.ones(photos.shape[-2:], dtype=bool)
    cost = matching_cost(scaled, valid, [part], noise=level, floor=floor, window=WINDOW)
    guide = np.sqrt(np.maximum(scaled.mean(axis=(0, 1)), 0)).astype(np.float32)
    colours = photos.shape[1] / max(1, len(photos) - 1)
    position, confidence = best_candidates(cost, guide, colours=colours, window=WINDOW)
    if not (confidence > 0).any():
        raise ValueError(
            f"{NAME}: expected photographs with texture, got none above the noise of {noise:.2g}; without texture "
            f"every depth explains them"
        )
    found = complete(np.interp(position, np.arange(len(inverse)), inverse), confidence, guide)
    found = np.clip(found, inverse[0], inverse[-1])
    maps = np.stack([_radius(lens, found) for lens in lenses])
    depth = 1 / np.maximum(found, 1e-9)
    like = images[0]
    xp, there = array_namespace(like), {"dtype": like.dtype, "device": device(like)}
    return DepthEstimate(
        depth_m=xp.asarray(depth, **there), confidence=xp.asarray(confidence, **there),
        defocus_maps=xp.asarray(maps, **there), candidates_m=1 / np.maximum(inverse, 1e-9), noise=float(noise),
    )  # fmt: skip


def _photos(images: Sequence[Array]) -> Plane:
    """Return the photographs as one NumPy array (N, C, H, W) float32."""
    given = list(images)
    if len(given) < 2:
        raise ValueError(f"{NAME}: expected at least two photographs, got {len(given)}")
    for k, image in enumerate(given):
        check_image(NAME, f"photograph {k}", image)
        if image.ndim != 3 or tuple(image.shape) != tuple(given[0].shape):
            raise ValueError(
                f"{NAME}: expected photographs of one shape (C, H, W), got {tuple(given[0].shape)} and "
                f"{tuple(image.shape)} (number {k}); are they registered and uncropped?"
            )
    photos = np.stack([to_host(image) for image in given]).astype(np.float32)
    if not np.isfinite(photos).all():
        raise ValueError(f"{NAME}: expected finite photographs, got NaN or infinity.")
    return photos


def _check_lenses(lenses: tuple[ThinLens, ...], count: int) -> None:
    if len(lenses) != count or not all(isinstance(lens, ThinLens) for lens in lenses):
        raise ValueError(f"{NAME}: expected {count} lenses (ThinLens), one for each photograph, got {len(lenses)}")
    if len({(lens.radius_at_infinity, lens.focus_distance_m) for lens in lenses}) < 2:
        raise ValueError(
            f"{NAME}: expected lenses that differ in focus distance or f-number, got the same for all {count} "
            f"photographs: they then show the same blur at every depth"
        )


def _radius(lens: ThinLens, inverse: Plane) -> Plane:
    """Return the signed radius at inverse depths (1/m), px."""
    radius: Plane = lens.radius_at_infinity * (1 - lens.focus_distance_m * inverse)
    return radius


def _candidates(lenses: tuple[ThinLens, ...], low: float, high: float, step: float) -> Plane:
    """Return inverse depths from low to high, no radius changing by more than `step` between neighbours."""
    fastest = max(lens.radius_at_infinity * lens.focus_distance_m for lens in lenses)
    count = max(3, ceil((high - low) * fastest / step) + 1)
    if count > MAX_CANDIDATES:
        raise ValueError(
            f"{NAME}: expected at most {MAX_CANDIDATES} candidates, got {count} between {1 / high:g} m and "
            f"{'infinity' if low == 0 else f'{1 / low:g} m'} in steps of {step:g} px; narrow the range or raise step"
        )
    return np.linspace(low, high, count)


def _psfs(pupil: Pupil | PSFBank, radii: Plane) -> list[list[Plane]]:
    """Return the PSFs (1 or C, h, w) of each photograph and candidate."""
    from ..dual_pixel.candidates import psfs_at

    reach = float(np.abs(radii).max())
    if isinstance(pupil, PSFBank) and not pupil.holds(float(radii.min()), float(radii.max())):
        raise ValueError(
            f"{NAME}: expected radii within the bank, {pupil.radii[0]:g} to {pupil.radii[-1]:g} px, got up to "
            f"{reach:g} px in this range of depths; narrow near_m and far_m, or make a larger bank"
        )
    if not isinstance(pupil, Pupil | PSFBank):
        raise ValueError(f"{NAME}: expected pupil to be a Pupil or a PSFBank, got {type(pupil).__name__}")
    return [psfs_at(pupil, line, "combined") for line in radii]
