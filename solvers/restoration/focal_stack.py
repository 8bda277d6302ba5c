"""One picture in focus from photographs at several focus distances or apertures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from array_api_compat import array_namespace

from blurphys.inputs import require_number, require_same_kind
from blurphys.linop.algebra import stack
from blurphys.operators.defocus import DefocusBlur
from blurphys.optics.bank import PSFBank
from blurphys.optics.pupil import Pupil

from ..core.checks import check_image
from ..core.solution import Solution
from ..core.types import Array
from ..prox.total_variation import tv
from ..splitting.hqs import hqs

__all__ = ["merge_focal_stack", "sharpest"]

NAME = "merge_focal_stack"


def sharpest(images: Sequence[Array], defocus_maps: Array) -> Array:
    """Return each pixel from the photograph in which its radius is smallest: the classical focus stack.

    Parameters
    ----------
    images : sequence of arrays of shape (C, H, W)
    defocus_maps : array of shape (N, H, W)

    Returns
    -------
    array of shape (C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from solvers.restoration.focal_stack import sharpest
    >>> maps = np.array([[[0.0, 2.0]], [[-3.0, 0.5]]])
    >>> sharpest([np.full((1, 1, 2), 1.0), np.full((1, 1, 2), 2.0)], maps).tolist()
    [[[1.0, 2.0]]]
    """
    xp = array_namespace(defocus_maps)
    best = xp.argmin(xp.abs(defocus_maps), axis=0)
    picture = images[0]
    for k, image in enumerate(images):
        picture = xp.where(best == k, image, picture)
    return picture


def merge_focal_stack(
    images: Sequence[Array],
    defocus_maps: Array,
    *,
    pupil: Pupil | PSFBank,
    strength: float | Literal["auto"] = "auto",
    margin: float = 2.0,
    prox: Any = tv,
    on_step: Callable[..., object] | None = None,
) -> Solution:
    """Restore one picture in focus from registered photographs at several focus distances or apertures.

    Parameters
    ----------
    images : sequence of arrays of shape (C, H, W)
        The photographs, linear light, of one exposure.
    defocus_maps : array of shape (N, H, W)
        Signed radius in each of them, px, for example from `solvers.estimation.focal_stack_depth`.
    pupil : Pupil or PSFBank
        The PSFs.
    strength : float or "auto"
        Weight of the prior, see `solvers.hqs`.
    margin : float
        A pixel of a photograph counts if its radius is at most that much above the smallest in the stack, px. Strong
        blur says little about details and mixes surfaces at depth edges, which this model does not know.
    prox : callable
        The prior, see `solvers.hqs`.
    on_step : callable, optional
        See `solvers.hqs`.

    Returns
    -------
    Solution
        `x` is the picture, (C, H, W).

    Raises
    ------
    ValueError
        Maps that do not fit the photographs; a negative margin.

    Notes
    -----
    `solvers.hqs` on ``bp.stack`` of one `bp.DefocusBlur` for each photograph, with a mask for pixels that do not count,
    started from the sharpest photograph of each pixel. Figures: ``docs/estimation.md``.
    Cost: that of `hqs`, N applications for one; memory: some 12 stacks.

    Examples
    --------
    >>> import numpy as np, blurphys as bp, solvers
    >>> pupil, sharp = bp.Pupil.disk(), np.random.default_rng(0).random((3, 12, 16)).repeat(4, axis=1).repeat(4, axis=2)
    >>> ramp = np.linspace(0.0, 4.0, 64) * np.ones((48, 1))
    >>> maps = np.stack([ramp, ramp - 4.0])
    >>> photos = [bp.DefocusBlur(m, bank=bp.PSFBank(pupil, max_radius=4.0))(sharp) for m in maps]
    >>> found = solvers.merge_focal_stack(photos, maps, pupil=pupil, strength=1e-5)
    >>> error = lambda image: float(((image - sharp) ** 2).mean())
    >>> error(found.x) < 0.3 * min(map(error, photos))
    True
    """
    photos = list(images)
    if not photos or defocus_maps.ndim != 3 or len(photos) != defocus_maps.shape[0]:
        raise ValueError(
            f"{NAME}: expected one map (H, W) for each of {len(photos)} photographs, got {tuple(defocus_maps.shape)}"
        )
    for k, image in enumerate(photos):
        check_image(NAME, f"photograph {k}", image)
        require_same_kind(NAME, "the defocus maps", defocus_maps, f"photograph {k}", image)
        if image.ndim != 3 or tuple(image.shape) != (photos[0].shape[0], *defocus_maps.shape[1:]):
            raise ValueError(
                f"{NAME}: expected photographs (C, H, W) of {' x '.join(map(str, defocus_maps.shape[1:]))} px like the "
                f"maps, got {tuple(image.shape)} (number {k})"
            )
    margin = require_number(NAME, "margin", margin, least=0, unit="px")
    xp = array_namespace(defocus_maps)
    channels = photos[0].shape[0]
    radii = xp.abs(defocus_maps)
    bank = pupil
    if isinstance(bank, Pupil):
        bank = PSFBank(bank, max_radius=max(0.5, float(xp.max(radii))), step=0.25)
    A = stack([DefocusBlur(defocus_maps[k, ...], bank=bank, channels=channels) for k in range(len(photos))])
    counts = radii <= xp.min(radii, axis=0) + margin
    mask = xp.reshape(
        xp.broadcast_to(counts[:, None, ...], (len(photos), channels, *defocus_maps.shape[1:])), tuple(A.out_shape)
    )
    y = xp.concat(photos, axis=0)
    return hqs(
        A, y, x0=sharpest(photos, defocus_maps), prox=prox, strength=strength, mask=xp.astype(mask, y.dtype),
        on_step=on_step,
    )  # fmt: skip
