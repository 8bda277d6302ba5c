"""One photo of which nothing is known: a network estimates its blur, a solver undoes it where that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

import blurphys as bp
import solvers
from blurphys.colour import linear_to_srgb
from blurphys.inputs import require_float, require_number
from solvers.core.arrays import to_host

if TYPE_CHECKING:
    from ..models.blurmap.blur_map_net import BlurMapNet

__all__ = ["DEFAULT_PUPIL", "MAX_RADIUS", "Restoration", "restore"]

Plane = NDArray[np.floating]

LEAST = 16
"""Smallest height and width, px: two cells of the network."""

MAX_RADIUS = 8.0
"""Largest radius that the network tells apart, px; for larger ones it sees the photo reduced."""

AT_LEAST = 0.6
"""Probability with which the true radius is at least the one that is undone: too large a radius rings, too small a one
only gains less."""

ABSOLUTE, RELATIVE = 0.75, 0.3
"""A radius is right within the larger of these, px and a share of itself: the probability of that is its confidence."""

NOTHING = 0.005
"""Restored share of the frame below which the photo is returned as it is."""

DEFAULT_PUPIL = bp.Pupil.disk(core=0.4)


@dataclass(frozen=True, eq=False, kw_only=True)
class Restoration:
    """A photo with its defocus undone where that can be trusted.

    Attributes
    ----------
    image : array, shape of the photo
        Linear light; pixels with a trust of 0 equal the photo exactly.
    defocus_map : array of shape (H, W)
        Radius that was undone, px: a cautious estimate, see `restore`.
    confidence : array of shape (H, W)
        Probability that this radius is right within .75 px or 30 %, the larger of them; 1 where the map was given
        without one.
    trust : array of shape (H, W)
        Share of the restoration in `image`, 0 to 1.
    restored_share : float
        Share of the frame with a trust of at least a half.
    kept : dict of str to float
        Share of the frame kept for each cause, see `solvers.RestoredPhoto`.
    noise, strength : float
        Standard deviation of the noise, linear light, and weight of the prior.
    verdict : str
        One sentence on what was restored, and why the rest was not.
    """

    image: Any
    defocus_map: Any
    confidence: Any
    trust: Any
    restored_share: float
    kept: dict[str, float]
    noise: float
    strength: float
    verdict: str


def restore(
    photo: Any,
    *,
    max_radius: float = MAX_RADIUS,
    pupil: bp.Pupil | bp.PSFBank = DEFAULT_PUPIL,
    view: Literal["combined", "left", "right"] = "combined",
    strength: float | Literal["auto"] = "auto",
    noise: float | None = None,
    defocus_map: Any = None,
    confidence: Any = None,
    net: BlurMapNet | None = None,
    tile: int = 512,
    on_progress: Callable[[str, int, int], object] | None = None,
) -> Restoration:
    """Undo the defocus of one photo of which nothing is known, and keep the photo where that cannot be trusted.

    Parameters
    ----------
    photo : array of shape (3, H, W), (1, H, W) or (H, W)
        Floats in linear light, nominal range [0, 1], at least 16 x 16 px; NumPy, torch or CuPy.
    max_radius : float
        Largest blur radius, px. Above 8 the network sees the photo reduced, and finds small radii less well.
    pupil : Pupil or PSFBank
        Shape of the PSFs. The default is a disk with a core blur of .4 px.
    view : {"combined", "left", "right"}
        What was recorded. With one half of a dual pixel the sign of the radius matters, which one photo does not show:
        all is taken to be behind the plane of focus. Pass a negative `defocus_map` for what is in front.
    strength, noise
        As for `solvers.restore_photo`.
    defocus_map, confidence : array of shape (H, W), optional
        The map if it is known, and how certain it is, 0 to 1; no network is used then.
    net : BlurMapNet, optional
        Instead of the weights that come with the package.
    tile : int
        As for `solvers.restore_photo`.
    on_progress : callable, optional
        Called as (step, done, total), step being "estimate" or "restore".

    Returns
    -------
    Restoration
        Arrays of the kind, dtype and device of the photo.

    Raises
    ------
    ValueError
        Another shape, a photo that is too small, values that are not finite, settings out of range.
    TypeError
        Not an array of floats.

    Notes
    -----
    `estimate_blur` yields the probability of every radius in cells of 8 x 8 px. Undone is the radius that the true one
    reaches with a probability of .6, because too large a radius rings, and too small a one only gains less. The map of
    medians, completed along the edges of the photo, is lowered by the difference. `solvers.restore_photo` does the
    rest. Without a sign there is no order of occlusion: near the edges of surfaces of different blur the photo is kept.
    The network is given display values (sRGB), for which it was trained.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, nets
    >>> sharp = np.random.default_rng(0).random((3, 12, 16)).repeat(4, axis=1).repeat(4, axis=2) * 0.9
    >>> c = np.full((48, 64), 2.0)
    >>> y = bp.DefocusBlur(c, bank=bp.PSFBank(bp.Pupil.disk(core=0.4), max_radius=2.0))(sharp)
    >>> found = nets.restore(y, defocus_map=c)
    >>> found.verdict
    'Restored 100% of the frame.'
    """
    y = _checked(photo)
    max_radius = require_number("restore", "max_radius", max_radius, above=0, unit="px")
    xp, there = array_namespace(y), {"dtype": y.dtype, "device": device(y)}
    if defocus_map is None:
        if confidence is not None:
            raise ValueError("restore: expected confidence only together with defocus_map, got it alone")
        if on_progress is not None:
            on_progress("estimate", 0, 1)
        radii, certain = _estimated(to_host(y), max_radius, net)
        defocus_map, confidence = xp.asarray(radii, **there), xp.asarray(certain, **there)
    found = solvers.restore_photo(
        y, defocus_map, pupil=pupil, view=view, confidence=confidence, noise=noise, strength=strength, tile=tile,
        on_progress=None if on_progress is None else lambda done, total: on_progress("restore", done, total),
    )  # fmt: skip
    if found.restored_share < NOTHING:
        found = replace(found, image=1 * y, trust=0 * found.trust, restored_share=0.0)
    return Restoration(
        image=found.image[0] if photo.ndim == 2 else found.image,
        defocus_map=defocus_map,
        confidence=xp.ones(tuple(y.shape[-2:]), **there) if confidence is None else confidence,
        trust=found.trust, restored_share=found.restored_share, kept=found.kept, noise=found.noise,
        strength=found.strength, verdict=_verdict(found.restored_share, found.kept),
    )  # fmt: skip


def _checked(photo: Any) -> Any:
    """Return the photo with an axis of colours."""
    require_float("restore", "photo", photo)
    shape = tuple(photo.shape)
    y = photo[None] if len(shape) == 2 else photo
    if y.ndim != 3 or y.shape[0] not in (1, 3):
        hint = "; is it channels-last?" if y.ndim == 3 and y.shape[-1] in (1, 3) else ""
        raise ValueError(f"restore: expected one photo of shape (3, H, W), (1, H, W) or (H, W), got {shape}{hint}")
    if min(y.shape[1:]) < LEAST:
        raise ValueError(f"restore: expected at least {LEAST} x {LEAST} px, got {y.shape[1]} x {y.shape[2]}")
    if not bool(array_namespace(y).all(array_namespace(y).isfinite(y))):
        raise ValueError("restore: expected finite values, got a photo with NaN or infinity")
    return y


def _estimated(y: Plane, max_radius: float, net: BlurMapNet | None) -> tuple[Plane, Plane]:
    """Return the radius to undo and the probability that it is right, (H, W)."""
    from ..models.blurmap.blur_map_net import CELL
    from .blur_map import estimate_blur

    shape = (y.shape[-2], y.shape[-1])
    scale = _reduction(shape, max_radius)
    seen = np.asarray(linear_to_srgb(np.clip(_reduced(y, scale), 0, 1)), np.float32)
    estimate = estimate_blur(np.repeat(seen, 3, axis=0) if len(seen) == 1 else seen, net=net)
    p, radii = estimate.distribution, estimate.radii
    surplus = quantile(p, radii, 0.5) - quantile(p, radii, 1 - AT_LEAST)
    lowered = np.maximum(estimate.radius - _enlarged(surplus, CELL, estimate.radius.shape), 0)
    here = _cell_means(lowered, CELL)
    within = np.maximum(ABSOLUTE / scale, RELATIVE * here)
    certain = _enlarged(probability(p, radii, here - within, here + within), CELL, lowered.shape)
    if scale > 1:
        lowered, certain = scale * _enlarged(lowered, scale, shape), _enlarged(certain, scale, shape)
    return np.minimum(lowered, max_radius), np.clip(certain, 0, 1)


def _reduction(shape: tuple[int, int], max_radius: float) -> int:
    """Return the factor by which the network sees the photo smaller."""
    return max(1, min(ceil(max_radius / MAX_RADIUS), min(shape) // LEAST))


def _reduced(y: Plane, scale: int) -> Plane:
    if scale == 1:
        return y
    channels, height, width = y.shape
    padded = np.pad(y, ((0, 0), (0, -height % scale), (0, -width % scale)), mode="edge")
    means: Plane = padded.reshape(channels, -(-height // scale), scale, -(-width // scale), scale).mean(axis=(2, 4))
    return means


def _enlarged(plane: Plane, factor: int, shape: tuple[int, ...]) -> Plane:
    """Return a plane at `factor` times its size, interpolated linearly, cut to a shape."""
    from scipy.ndimage import zoom

    large: Plane = zoom(np.asarray(plane, np.float32), factor, order=1, mode="nearest", grid_mode=True)
    return large[: shape[0], : shape[1]]


def _cell_means(plane: Plane, cell: int) -> Plane:
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % cell), (0, -width % cell)), mode="edge")
    means: Plane = padded.reshape(-(-height // cell), cell, -(-width // cell), cell).mean(axis=(1, 3))
    return means


def _bins(radii: Plane) -> tuple[Plane, Plane]:
    """Return lower and upper ends of the bins around radii at even distances, the first beginning at 0."""
    step = float(radii[1] - radii[0])
    return np.maximum(radii - step / 2, 0), radii + step / 2


def quantile(distribution: Plane, radii: Plane, share: float) -> Plane:
    """Return the radius below which this share of every cell's distribution (bins, h, w) lies, (h, w), px."""
    low, high = _bins(radii)
    total = np.cumsum(distribution, axis=0, dtype=np.float64)
    total /= total[-1]
    number = (total < share).sum(axis=0).clip(0, len(radii) - 1)[None]
    up_to = np.take_along_axis(total, number, axis=0)[0]
    before = np.where(number[0] > 0, np.take_along_axis(total, np.maximum(number - 1, 0), axis=0)[0], 0.0)
    inside = ((share - before) / np.maximum(up_to - before, 1e-9)).clip(0, 1)
    found: Plane = low[number[0]] + inside * (high - low)[number[0]]
    return found


def probability(distribution: Plane, radii: Plane, least: Plane, most: Plane) -> Plane:
    """Return the probability of radii between `least` and `most` (h, w) in every cell."""
    low, high = (ends[:, None, None] for ends in _bins(radii))
    shared = np.clip((np.minimum(most, high) - np.maximum(least, low)) / (high - low), 0, 1)
    found: Plane = (distribution * shared).sum(axis=0)
    return found


def _verdict(share: float, kept: dict[str, float]) -> str:
    """Return a sentence on what was restored, and on the main reason for the rest."""
    reasons = {
        "sharp": "no defocus of more than 1 px is seen",
        "uncertain": "its blur cannot be told for want of texture",
        "clipped": "clipped light reaches it",
        "edge": "surfaces of different blur meet",
        "noise": "noise covers what the blur left",
        "misfit": "defocus does not explain how it is blurred (motion, or processing, may)",
    }
    cause = max(kept, key=lambda name: kept[name])
    if share < NOTHING:
        if cause == "sharp":
            return "Nothing to restore: no defocus of more than 1 px is seen, and the photo was left as it is."
        return f"The photo was left as it is: on {kept[cause]:.0%} of the frame {reasons[cause]}."
    said = f"Restored {share:.0%} of the frame"
    if kept[cause] >= 0.02:
        said += f"; the rest was kept, above all ({kept[cause]:.0%} of the frame) where {reasons[cause]}"
    return f"{said}."
