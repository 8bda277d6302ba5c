"""Banks of measured PSFs: at one defocus over the frame, or at several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import blurphys as bp
from blurphys.inputs import require_number
from blurphys.optics.bank import bank_radii
from blurphys.optics.psf_sampling import fit_to_size, keep_brightest_region, scale_kernel

__all__ = ["measured_banks", "stack_bank"]


def measured_banks(
    psfs_left: np.ndarray,
    psfs_right: np.ndarray,
    *,
    radius_px: float | np.ndarray,
    max_radius: float,
    step: float = 0.5,
    cut: float = 0.0,
) -> tuple[tuple[bp.PSFBank, ...], ...]:
    """Return a grid of banks from PSFs that were measured at one defocus behind the plane of focus.

    Parameters
    ----------
    psfs_left, psfs_right : ndarray of shape (rows, cols, h, w)
        Convolution kernels of both views over the frame, centre ``h // 2, w // 2``. One view twice where the sensor is
        not divided.
    radius_px : float or ndarray of shape (rows, cols)
        CoC radius at which they were measured, px: positive. The blur of a disk has twice the standard deviation of
        its radius along an axis; one radius for all keeps the wider PSFs of the borders wider.
    max_radius, step : float
        Of each bank, px.
    cut : float
        Values below this share of a PSF's peak count as noise and become zero, and of the regions that are left the one
        with the most light stays; 0 to 1 (not included). The blur is faster by the area that is saved.

    Returns
    -------
    tuple of tuples of blurphys.PSFBank
        For ``FieldDefocus(..., banks=..., nodes="centres")``, of the views left, right and combined, their mean.

    Raises
    ------
    ValueError
        Shapes that are not grids, or differ, values that are negative, not finite or all zero, a radius, max_radius or
        step that is not positive, a cut out of range.

    Notes
    -----
    At radius r a PSF is ``k(x / s) / s^2``, s = r / radius_px, the light of each scaled pixel shared out by area, and
    then divided by its sum: each view sums to one. For s = 1 it is the measured one. In front of the plane of focus the
    pupil is seen upside down and every view's PSF is turned by 180 degrees. What does not scale with the defocus, the
    aberrations and the diffraction, is scaled all the same: trust it near radius_px.

    Examples
    --------
    >>> import numpy as np
    >>> left = np.zeros((1, 1, 5, 5)); left[..., 2, 1:3] = 1.0
    >>> ((bank,),) = measured_banks(left, left[..., ::-1], radius_px=2.0, max_radius=4.0, step=2.0)
    >>> bank.radii.tolist(), bank.psfs("left")[3, bank.psfs("left").shape[-2] // 2].round(2).tolist()
    ([-4.0, -2.0, 0.0, 2.0, 4.0], [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    """
    left, right = (_check_measured("measured_banks", view) for view in (psfs_left, psfs_right))
    if left.ndim != 4 or left.shape != right.shape:
        raise ValueError(
            f"measured_banks: expected PSFs of shape (rows, cols, h, w) for both views, got {left.shape} and "
            f"{right.shape}"
        )
    if not 0 <= cut < 1:
        raise ValueError(f"measured_banks: expected cut from 0 to below 1, a share of the peak, got {cut}")
    nominal = np.asarray(radius_px, np.float64)
    if nominal.shape not in ((), left.shape[:2]) or not np.all(np.isfinite(nominal) & (nominal > 0)):
        raise ValueError(
            f"measured_banks: expected radius_px > 0, one or one for each of {left.shape[0]} x {left.shape[1]} places, "
            f"got {radius_px}; PSFs from in front of focus have to be turned by 180 degrees first"
        )
    nominal = np.broadcast_to(nominal, left.shape[:2])
    radii = bank_radii("measured_banks", max_radius, step)

    def bank(i: int, j: int) -> bp.PSFBank:
        pair = _trimmed(np.stack([keep_brightest_region(view[i, j], cut) for view in (left, right)]))
        made = [[scale_kernel(psf, abs(float(r)) / float(nominal[i, j])) for psf in pair] for r in radii]
        size = max(len(psf) for level in made for psf in level)
        levels = bp.psf.normalize([[fit_to_size(psf, size) for psf in level] for level in made])
        levels[radii < 0] = levels[radii < 0, :, ::-1, ::-1]
        return bp.PSFBank(psfs={"left": levels[:, 0], "right": levels[:, 1]}, radii=radii.tolist())

    return tuple(tuple(bank(i, j) for j in range(left.shape[1])) for i in range(left.shape[0]))


def stack_bank(psfs: np.ndarray, *, radii: Sequence[float], background: float = 0.0) -> bp.PSFBank:
    """Return a bank from PSFs measured at several defoci, a focal stack of a point source.

    Parameters
    ----------
    psfs : ndarray of shape (L, h, w)
        Recordings in any unit, integers too, centre ``h // 2, w // 2``.
    radii : sequence of L increasing floats
        Signed CoC radius of each, px.
    background : float
        Level of the recordings without light; it is subtracted, and what falls below zero becomes zero.

    Returns
    -------
    blurphys.PSFBank
        Of the combined view; each PSF sums to one.

    Raises
    ------
    ValueError
        Shapes or radii that do not fit, values that are negative, not finite, or nowhere above the background.

    Examples
    --------
    >>> import numpy as np
    >>> stack_bank(np.full((2, 3, 3), 10), radii=(-1.0, 1.0), background=1.0).psfs().sum(axis=(1, 2)).tolist()
    [1.0, 1.0]
    """
    require_number("stack_bank", "background", background)
    light = _check_measured("stack_bank", psfs, background)
    if light.ndim != 3:
        raise ValueError(f"stack_bank: expected PSFs of shape (L, h, w), got {light.shape}")
    return bp.PSFBank(psfs=light / light.sum(axis=(-2, -1), keepdims=True), radii=list(radii))


def _check_measured(owner: str, psfs: np.ndarray, background: float = 0.0) -> np.ndarray:
    values = np.asarray(psfs, np.float64)
    if values.ndim < 3 or 0 in values.shape:
        raise ValueError(f"{owner}: expected an array of PSFs (..., h, w), got shape {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{owner}: expected PSFs that are finite and not negative; subtract and clip the dark level")
    light: np.ndarray = np.maximum(values - background, 0)
    if not (light.sum(axis=(-2, -1)) > 0).all():
        raise ValueError(f"{owner}: expected light in every PSF, got one without; is background={background:g} right?")
    return light


def _trimmed(psfs: np.ndarray) -> np.ndarray:
    """Cut to an odd square around the centre ``h // 2, w // 2`` that holds all light."""
    used = (psfs > 0).any(axis=tuple(range(psfs.ndim - 2)))
    row, col = used.shape[0] // 2, used.shape[1] // 2
    there = np.argwhere(used) - (row, col)
    half = int(np.abs(there).max(initial=0))
    wide = np.pad(psfs, [(0, 0)] * (psfs.ndim - 2) + [(half, half)] * 2)
    cut: np.ndarray = wide[..., row : row + 2 * half + 1, col : col + 2 * half + 1]
    return cut
