"""One photograph and a map of its blur: the blur undone where that can be trusted, the photograph elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Literal, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.inputs import require_choice, require_integer, require_number, require_same_kind
from blurphys.operators.defocus import DefocusBlur, DualPixel
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ..core.arrays import to_host
from ..core.checks import check_image
from ..core.types import Array
from ..estimation.noise import BLOCK
from ..estimation.noise_curve import NoiseCurve, noise_curve
from ..prox.total_variation import tv
from ..splitting.hqs import hqs
from ..splitting.strength import MAX_STRENGTH, MIN_STRENGTH, STRENGTH_PER_VARIANCE
from .tiles import tiles_of
from .trust import WINDOW, Trust, clipped_pixels, misfit_of

__all__ = ["RestoredPhoto", "restore_photo"]

NAME = "restore_photo"

PRIOR = partial(tv, iterations=20, joint=True)
"""Colour total variation: 20 steps serve as well as 50 here, and coupled colours ring less than single ones."""

RHO, INNER = (0.003, 0.01, 0.03, 0.1, 0.3), 8
"""Coupling of the outer iterations of `hqs`, and conjugate gradient steps in each."""

MODEL_ERROR = 0.015
"""Error of map, PSFs and tone curve that the prior expects, in units of the root of the mean light. A weaker prior
turns these errors into ringing."""

LEFT_BY_NOISE = 0.8
"""Median of the mean square of y - A x, in variances of the noise, where the model holds."""

SPARE = 8
"""What tiles show beyond three times the largest radius, px."""

NOISE_ROWS, NOISE_BANDS = 128, 12
"""The noise of a large photograph is estimated from this many bands of so many rows."""

UNKNOWN_NOISE = 0.005
"""Standard deviation that is taken where a photograph is too small to show its noise."""

Plane = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class RestoredPhoto:
    """A photograph with its blur undone where that can be trusted.

    Attributes
    ----------
    image : array of shape (C, H, W)
        Linear light. Pixels with a trust of 0 equal the photograph exactly.
    trust : array of shape (H, W)
        Share of the restoration in `image`, 0 to 1.
    misfit : array of shape (H, W)
        Root mean square of what the restoration, blurred again, leaves of the photograph beyond the noise, divided by
        the root of the light; 0 where nothing was restored.
    restored_share : float
        Share of the frame with a trust of at least a half.
    kept : dict of str to float
        Share of the frame that was kept for each cause: "sharp", "uncertain", "clipped", "edge", "noise", "misfit".
    noise : float
        Standard deviation of the noise, given or estimated (root mean square over the frame).
    strength : float
        Weight of the prior.
    """

    image: Array
    trust: Array
    misfit: Array
    restored_share: float
    kept: dict[str, float]
    noise: float
    strength: float


def restore_photo(
    y: Array,
    defocus_map: Array,
    *,
    pupil: Pupil | PSFBank,
    view: Literal["combined", "left", "right"] = "combined",
    confidence: Array | None = None,
    noise: float | NoiseCurve | None = None,
    strength: float | Literal["auto"] = "auto",
    tile: int = 512,
    on_progress: Callable[[int, int], object] | None = None,
) -> RestoredPhoto:
    """Undo the defocus of one photograph by a map of it that may be wrong, and keep the photograph where it is.

    Parameters
    ----------
    y : array of shape (C, H, W)
        The photograph, linear light, nominal range [0, 1].
    defocus_map : array of shape (H, W)
        Circle-of-confusion radius, px. A single photograph does not show the sign, which matters for a left or right
        view alone: positive is behind the plane of focus.
    pupil : Pupil or PSFBank
        The PSFs.
    view : {"combined", "left", "right"}
        What was recorded: the whole pixel, or one half of a dual pixel.
    confidence : array of shape (H, W), optional
        Of the map, 0 to 1: below .3 the photograph is kept, from .6 the map counts in full.
    noise : float or NoiseCurve, optional
        Standard deviation of the noise, or its variance as a line in the light; estimated if omitted.
    strength : float or "auto"
        Weight of the prior. "auto" follows from the noise and the mean light, see Notes.
    tile : int
        Side of the parts that are restored one by one, px. Memory grows with its square; parts without anything to
        restore are skipped.
    on_progress : callable, optional
        Called with the number of parts that are done, and of all parts.

    Returns
    -------
    RestoredPhoto
        Arrays of the kind, dtype and device of `y`.

    Raises
    ------
    ValueError
        A map or confidence of another shape than the photograph, values that are not finite, radii beyond the bank,
        settings out of range.
    TypeError
        Arrays that are not floating-point, or of different kinds.

    Notes
    -----
    `hqs` inverts the gather operator (`bp.DefocusBlur`, boundary "replicate") with colour total variation, without the
    equations of clipped pixels. With a map that is exact, `all_in_focus` gains more along the edges of surfaces; with
    one that was estimated from a single photograph it gains less, and takes some three times as long.
    "auto" is 15 max(v, .000225 m), v the mean variance of the noise and m the mean of y: a map that was estimated and a
    tone curve that is not known leave errors of some 1.5 % of the root of the light. Between 1e-5 and 1e-2.
    The photograph is kept, with soft transitions,

    - where the radius is below 1 px (from .75 to 1.25),
    - where the confidence is low,
    - as far as clipped light reaches: radius + 1 px,
    - where the radius changes by more than about 1 px within 4 px: the gather operator knows no occlusion,
    - where the photograph varies by no more than its noise,
    - where the restoration, blurred again, misses the photograph by more than noise and some .6 % of white in display
      values, in full from 2 %: its radius is too large, or its blur is none of a lens.

    Cost: 40 conjugate gradient steps and 5 prior steps, some 4 s of processor time per megapixel in colour. Memory: 3
    images and what a part needs. Figures: ``docs/estimation.md``.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> pupil, c = bp.Pupil.disk(), np.full((48, 64), 2.0)
    >>> sharp = np.random.default_rng(0).random((3, 12, 16)).repeat(4, axis=1).repeat(4, axis=2) * 0.9
    >>> y = bp.DefocusBlur(c, bank=bp.PSFBank(pupil, max_radius=2.0))(sharp)
    >>> found = solvers.restore_photo(y, c, pupil=pupil, noise=1e-3, strength=1e-4)
    >>> before, after = (float(((image - sharp) ** 2).mean()) for image in (y, found.image))
    >>> found.restored_share > 0.9, after < before / 4
    (True, True)
    """
    images, radii, certain = _checked(y, defocus_map, confidence)
    require_choice(NAME, "view", view, ("combined", "left", "right"))
    tile = require_integer(NAME, "tile", tile, least=16)
    curve = _noise_of(images, noise)
    light = images.mean(axis=0)
    strength = _strength(strength, curve, light)
    reach = float(np.abs(radii).max())
    bank = _bank(pupil, reach)
    variance = np.asarray(curve.variance(_window(light)), np.float32)
    clipped = clipped_pixels(images)
    trust = Trust(radii.shape)
    trust.judge_map(radii, certain)
    trust.judge_light(images, radii, variance, clipped)
    trust.feather()
    restored, error = images.copy(), np.zeros(radii.shape, np.float32)
    parts = [
        part
        for part in tiles_of(bank, radii.shape, "corners", side=tile, margin=3 * ceil(reach) + SPARE)
        if trust.share[part.rows, part.cols].any()
    ]
    for done, part in enumerate(parts, 1):
        around = (..., *part.around)
        x, square = _undo(images[around], radii[part.around], clipped[part.around], bank, view, strength)
        restored[:, part.rows, part.cols] = x[(..., *part.inner)]
        error[part.rows, part.cols] = square[part.inner]
        if on_progress is not None:
            on_progress(done, len(parts))
    misfit = np.zeros(radii.shape, np.float32)
    if parts:
        trusted = trust.share > 0
        lower = min(1.0, float(np.median(error[trusted] / variance[trusted])) / LEFT_BY_NOISE)
        misfit = np.where(trusted, misfit_of(error, lower * variance, _window(light)), 0).astype(np.float32)
        trust.judge_misfit(misfit)
    share = trust.share
    image = np.where(share > 0, images + share.astype(images.dtype) * (restored - images), images)
    xp, there = array_namespace(y), {"dtype": y.dtype, "device": device(y)}
    return RestoredPhoto(
        image=xp.asarray(image, **there), trust=xp.asarray(share, **there), misfit=xp.asarray(misfit, **there),
        restored_share=float((share >= 0.5).mean()), kept=trust.kept(),
        noise=float(np.sqrt(curve.variance(light).mean())), strength=strength,
    )  # fmt: skip


def _checked(y: Array, defocus_map: Array, confidence: Array | None) -> tuple[Plane, Plane, Plane | None]:
    """Return photograph, map and confidence on the host, checked."""
    check_image(NAME, "y", y)
    require_same_kind(NAME, "the defocus map", defocus_map, "y", y)
    if y.ndim != 3 or 0 in tuple(y.shape):
        raise ValueError(f"{NAME}: expected one photograph of shape (C, H, W), got {tuple(y.shape)}")
    frame = tuple(y.shape[-2:])
    for what, plane in (("a map", defocus_map), ("confidence", confidence)):
        if plane is not None and tuple(plane.shape) != frame:
            raise ValueError(
                f"{NAME}: expected {what} of {frame[0]} x {frame[1]} px, the size of the photograph, got "
                f"{tuple(plane.shape)}; is it the map of this photograph, at this size and orientation?"
            )
    images, radii = to_host(y), to_host(defocus_map)
    certain = None if confidence is None else to_host(confidence)
    if not all(np.isfinite(a).all() for a in (images, radii, certain) if a is not None):
        raise ValueError(f"{NAME}: expected a finite photograph, map and confidence, got NaN or infinity.")
    return images, radii, certain


def _noise_of(y: Plane, given: float | NoiseCurve | None) -> NoiseCurve:
    """Return the noise as given, or of the photograph: from a sample of its rows where it is large."""
    if isinstance(given, NoiseCurve):
        return given
    if given is not None:
        return NoiseCurve(shot=0.0, read=require_number(NAME, "noise", given, least=0) ** 2)
    height, width = y.shape[-2:]
    if min(height, width) < BLOCK + 2:
        return NoiseCurve(shot=0.0, read=UNKNOWN_NOISE**2)
    if height <= NOISE_ROWS * NOISE_BANDS:
        return noise_curve(y)
    starts = np.linspace(0, height - NOISE_ROWS, NOISE_BANDS).astype(int)
    return noise_curve(np.stack([y[:, start : start + NOISE_ROWS] for start in starts]))


def _strength(given: float | str, curve: NoiseCurve, light: Plane) -> float:
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f'{NAME}: strength must be a number or "auto", got {given!r}.')
        mean = float(np.maximum(light, 0).mean(dtype=np.float64))
        found = STRENGTH_PER_VARIANCE * max(curve.variance(mean), MODEL_ERROR**2 * mean)
        return float(np.clip(found, MIN_STRENGTH, MAX_STRENGTH))
    return require_number(NAME, "strength", given, least=0)


def _bank(pupil: Pupil | PSFBank, reach: float) -> PSFBank:
    return PSFBank(pupil, max_radius=max(0.5, reach), step=0.25) if isinstance(pupil, Pupil) else pupil


def _undo(y: Plane, radii: Plane, clipped: Plane, bank: PSFBank, view: str, strength: float) -> tuple[Plane, Plane]:
    """Restore a part of the frame; return it, and the mean square of y - A x over a window."""
    A = _operator(radii.astype(y.dtype), bank, view, len(y))
    mask = None if not clipped.any() else (~clipped).astype(y.dtype)[None]
    x = hqs(A, y, prox=PRIOR, rho=RHO, inner_iterations=INNER, strength=strength, mask=mask, x0=y).x
    return x, _window(np.where(clipped, 0, ((y - A(x)) ** 2).mean(axis=0)))


def _operator(radii: Plane, bank: PSFBank, view: str, channels: int) -> DefocusBlur | DualPixel:
    if view == "combined":
        return DefocusBlur(radii, bank=bank, channels=channels, boundary="replicate")
    return DualPixel(radii, bank=bank, channels=channels, boundary="replicate", views=(view,))


def _window(plane: Plane) -> Plane:
    from scipy.ndimage import gaussian_filter

    smooth: Plane = gaussian_filter(plane, WINDOW)
    return smooth
