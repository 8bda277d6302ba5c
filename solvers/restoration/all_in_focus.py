"""The all-in-focus image of photographs with a defocus map: layers, their restoration, and where it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.inputs import require_choice, require_integer, require_number, require_same_kind
from blurphys.operators.layered import LayeredDefocus
from blurphys.operators.layers_from_map import layers_from_map
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ..core.arrays import to_host
from ..core.checks import check_image
from ..core.types import Array
from ..estimation.dual_pixel.checks import clipped_pixels, exposure_gain
from ..estimation.dual_pixel.gain import balance
from ..estimation.noise import noise_level
from ..splitting.layered import layered
from ..splitting.strength import strength_for
from .tiles import Tile, tiles_of

__all__ = ["AllInFocus", "all_in_focus"]

NAME = "all_in_focus"

WINDOW = 2.0
"""Standard deviation of the window over which the misfit is averaged, px."""

TRUSTED, DOUBTED = 0.005, 0.009
"""Error of the model (of white, root mean square beyond the noise) up to which the restoration is taken as it is, and
from which the photograph is kept. Chosen on rendered scenes (seeds 3 and 7), see docs/estimation.md."""

NEARBY, UNCERTAIN, CERTAIN = 3, 0.3, 0.6
"""Distance over which a certain radius holds, px, and the confidence from which it counts, and counts in full."""

MODEL_ERROR = 0.008
"""Noise (of white) that the prior expects at least: an estimated map and measured PSFs leave errors that a weaker prior
turns into ringing. On rendered scenes it costs next to nothing."""

LEFT_BY_NOISE = 0.8
"""Median misfit of a scene that the model describes: a restoration follows part of the noise."""

SMOOTH_RADIUS, SMOOTH_PIXELS = 2.5, 1000
"""Radius (px) from which a blur leaves hardly any second differences, and the number of pixels a median needs."""

Plane = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class AllInFocus:
    """A picture in focus, and how far it can be trusted.

    Attributes
    ----------
    image : array of shape (C, H, W)
        The restoration where the model explains the photographs, their mean elsewhere; linear light.
    restored : array of shape (C, H, W)
        The restoration everywhere.
    recorded : array of shape (C, H, W)
        The mean of the photographs.
    trust : array of shape (H, W)
        Share of `restored` in `image`, 0 to 1.
    misfit : array of shape (H, W)
        Root mean square of what the restored layers, blurred again, leave of the photographs beyond the noise.
    explained : float
        Mean of `trust` over the frame.
    noise : float
        Standard deviation of the noise of each photograph, given or estimated.
    strength : float
        Weight of the prior.
    layers : int
        Largest number of layers in any part of the frame.
    """

    image: Array
    restored: Array
    recorded: Array
    trust: Array
    misfit: Array
    explained: float
    noise: float
    strength: float
    layers: int


def all_in_focus(
    y: Array,
    defocus_map: Array,
    *,
    pupil: Pupil | PSFBank | Sequence[Sequence[PSFBank]],
    views: Sequence[str] = ("left", "right"),
    nodes: Literal["corners", "centres"] = "corners",
    confidence: Array | None = None,
    noise: float | None = None,
    strength: float | Literal["auto"] = "auto",
    slabs: int = 24,
    tile: int = 512,
    on_progress: Callable[[int, int], object] | None = None,
) -> AllInFocus:
    """Restore a picture in focus from one or several photographs of a scene and its defocus map.

    Parameters
    ----------
    y : array of shape (V C, H, W)
        The photographs, in the order of `views`, linear light, nominal range [0, 1].
    defocus_map : array of shape (H, W)
        Signed circle-of-confusion radius, px, positive farther than the plane of focus: measured, or estimated by
        `solvers.estimation.dual_pixel_map`.
    pupil : Pupil, PSFBank, or sequence of sequences of PSFBank
        The PSFs; rows of banks where they depend on the position in the frame, as for `bp.FieldDefocus`.
    views : sequence of str
        ``("left", "right")`` for a dual-pixel pair, ``("combined",)`` for an ordinary photograph.
    nodes : {"corners", "centres"}
        Where the banks of a grid stand in the frame, see `bp.FieldDefocus`.
    confidence : array of shape (H, W), optional
        Of the map, 0 to 1. Where nothing within 3 px is certain there is no texture to restore, but a wrong radius
        would add some: the photograph is kept.
    noise : float, optional
        Standard deviation of the noise of each photograph; estimated if omitted.
    strength : float or "auto"
        Weight of the prior, see `solvers.layered`. "auto" is 15 times the variance of the noise, taken as
        .008 at least: estimated maps are not exact. With an exact map and little noise a smaller strength shows more.
    slabs : int
        Largest number of layers in any part of the frame.
    tile : int
        Side of the parts that are restored one by one, px. Memory grows with its square.
    on_progress : callable, optional
        Called with the number of parts that are done, and of all parts.

    Returns
    -------
    AllInFocus
        Arrays of the kind, dtype and device of `y`.

    Raises
    ------
    ValueError
        A map of another shape than the photographs, not finite, or with radii beyond the bank; views that do not make
        up the channels of `y`; settings out of range.
    TypeError
        Arrays that are not floating-point, or of different kinds.

    Notes
    -----
    `bp.layers_from_map` cuts the picture into layers, `solvers.layered` restores the colours of each. The restored
    layers are blurred again and compared with the photographs: where the mean square of the difference (Gaussian window
    of 2 px) exceeds that of the noise by more than .009^2, the map or the PSFs are wrong there and the photograph is
    kept; up to .005^2 the restoration is taken, in between a mixture. A single photograph can be explained by a
    wrong map too, so that `trust` says less than for two views.
    Parts of the frame overlap by twice the largest radius in the map, and 8 px.
    Cost: that of `solvers.layered`, some 4 s for 224 x 320 px in colour, both views, on two cores. What it gains with
    estimated maps: ``docs/estimation.md``.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> pupil, c = bp.Pupil.disk(split=0.45), np.full((48, 64), 2.0)
    >>> sharp = np.random.default_rng(0).random((3, 12, 16)).repeat(4, axis=1).repeat(4, axis=2)
    >>> y = bp.DualPixel(c, bank=bp.PSFBank(pupil, max_radius=3.0))(sharp)
    >>> found = solvers.all_in_focus(y, c, pupil=pupil, noise=1e-3)
    >>> before, after = (float(((image - sharp) ** 2).mean()) for image in (found.recorded, found.image))
    >>> found.explained > 0.9, after < before / 10
    (True, True)
    """
    check_image(NAME, "y", y)
    require_same_kind(NAME, "the defocus map", defocus_map, "y", y)
    views = tuple(views)
    count, frame = len(views), (int(y.shape[-2]), int(y.shape[-1]))
    if y.ndim != 3 or not count or y.shape[0] % count:
        raise ValueError(
            f"{NAME}: expected y of shape (V C, H, W) with the channels of {count} views, {', '.join(views)}, got "
            f"{tuple(y.shape)}; views=('combined',) for one photograph"
        )
    if tuple(defocus_map.shape) != frame:
        raise ValueError(
            f"{NAME}: expected a map of {frame[0]} x {frame[1]} px, one radius for each pixel, got "
            f"{tuple(defocus_map.shape)}; is it the map of this photograph, at this size and orientation?"
        )
    if confidence is not None and tuple(confidence.shape) != frame:
        raise ValueError(
            f"{NAME}: expected confidence of {frame[0]} x {frame[1]} px like the map, got {tuple(confidence.shape)}"
        )
    require_choice(NAME, "nodes", nodes, ("corners", "centres"))
    slabs = require_integer(NAME, "slabs", slabs, least=1)
    tile = require_integer(NAME, "tile", tile, least=16)
    if noise is not None:
        noise = require_number(NAME, "noise", noise, least=0)
    images, radii = to_host(y), to_host(defocus_map)
    if not np.isfinite(images).all() or not np.isfinite(radii).all():
        raise ValueError(f"{NAME}: expected finite photographs and a finite map, got NaN or infinity.")
    channels = images.shape[0] // count
    if views == ("left", "right"):
        pair = images[:channels], images[channels:]
        valid = ~clipped_pixels(pair)
        images = np.concatenate(balance(pair, valid, exposure_gain(pair, valid)))
    recorded: Plane = images.reshape(count, channels, *frame).mean(axis=0)
    level = _noise_of(images, radii) if noise is None else noise
    if isinstance(strength, str):
        if strength != "auto":
            raise ValueError(f'{NAME}: strength must be a number or "auto", got {strength!r}.')
        strength = strength_for(max(level, MODEL_ERROR) ** 2)
    strength = require_number(NAME, "strength", strength, least=0)
    reach = float(np.abs(radii).max())
    parts = list(tiles_of(pupil, frame, nodes, side=tile, margin=2 * ceil(reach) + 8))
    restored, error, most = np.empty_like(recorded), np.empty(frame), 0
    for done, part in enumerate(parts, 1):
        picture, residual, number = _restore(
            part, images[(..., *part.around)], radii[part.around], recorded[(..., *part.around)],
            views=views, slabs=slabs, strength=strength,
        )  # fmt: skip
        restored[:, part.rows, part.cols] = picture[(..., *part.inner)]
        error[part.rows, part.cols] = residual[part.inner]
        most = max(most, number)
        if on_progress is not None:
            on_progress(done, len(parts))
    trust, misfit = _trust(error, level)
    if confidence is not None:
        trust *= _certainty(to_host(confidence))
    image = recorded + trust.astype(recorded.dtype) * (restored - recorded)
    xp, there = array_namespace(y), {"dtype": y.dtype, "device": device(y)}
    return AllInFocus(
        image=xp.asarray(image, **there), restored=xp.asarray(restored, **there),
        recorded=xp.asarray(recorded, **there), trust=xp.asarray(trust, **there), misfit=xp.asarray(misfit, **there),
        explained=float(trust.mean()), noise=float(level), strength=float(strength), layers=most,
    )  # fmt: skip


def _restore(
    part: Tile, y: Plane, radii: Plane, recorded: Plane, *, views: tuple[str, ...], slabs: int, strength: float
) -> tuple[Plane, Plane, int]:
    """Restore a part of the frame; return picture, mean square of the residual, and number of layers."""
    alphas, means, _ = layers_from_map(recorded, radii.astype(recorded.dtype), slabs=slabs)
    bank = part.bank
    if isinstance(bank, Pupil):
        bank = PSFBank(bank, max_radius=max(0.5, float(np.abs(means).max())), step=0.25)
    A = LayeredDefocus(alphas, radii=means, bank=bank, channels=len(recorded), views=views, per_layer=True)
    x = layered(A, y, strength=strength).x
    residual: Plane = ((y - A(x)) ** 2).mean(axis=0, dtype=np.float64)
    return A.composite(x), residual, len(means)


def _trust(error: Plane, noise: float) -> tuple[Plane, Plane]:
    """Return how far the restoration is to be trusted, and the misfit that says so."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(error, WINDOW)
    # Texture counts as noise in an estimate of it, but what the model leaves of the better half of the frame is noise.
    level = min(noise**2, float(np.median(smooth)) / LEFT_BY_NOISE)
    misfit: Plane = np.sqrt(np.maximum(smooth - level, 0))
    doubt = np.log(np.maximum(misfit, 1e-6) / TRUSTED) / np.log(DOUBTED / TRUSTED)
    trust: Plane = 1 - np.clip(doubt, 0, 1)
    return trust, misfit


def _certainty(confidence: Plane) -> Plane:
    """Return 1 near pixels whose radius is certain, 0 where there are none."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    nearby = gaussian_filter(maximum_filter(confidence, 2 * NEARBY + 1), NEARBY / 2)
    certainty: Plane = np.clip((nearby - UNCERTAIN) / (CERTAIN - UNCERTAIN), 0, 1)
    return certainty


def _noise_of(y: Plane, radii: Plane) -> float:
    """Return the noise of the photographs, if possible from where everything is far out of focus."""
    from scipy.ndimage import minimum_filter

    if min(y.shape[-2:]) < 18:
        return MODEL_ERROR
    side = 2 * ceil(float(np.abs(radii).max())) + 1
    smooth = minimum_filter(np.abs(radii), side) >= SMOOTH_RADIUS
    return noise_level(y, mask=smooth if smooth.sum() >= SMOOTH_PIXELS else None)
