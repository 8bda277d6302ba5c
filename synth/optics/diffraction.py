"""Diffraction: the width of its core, and PSFs softened by it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

import blurphys as bp
from blurphys.inputs import require_number

__all__ = ["diffraction_sigma", "softened"]


def diffraction_sigma(
    wavelength_nm: float, f_number: float, magnification: float = 0.0, *, pixel_pitch_um: float
) -> float:
    """Return the standard deviation, px, of the Gaussian that comes closest to the core of the diffraction disk.

    Parameters
    ----------
    wavelength_nm : float
        Wavelength of the light, nm; about 610, 540 and 460 for red, green and blue.
    f_number : float
        Nominal f-number, focal length over aperture.
    magnification : float
        Image size over object size at the plane of focus, ``f / (u - f)``: 0 for far focus.
    pixel_pitch_um : float
        Pitch of the pixels of the stored image, um.

    Returns
    -------
    float
        ``0.42 lambda N (1 + m) / pitch``; the first dark ring has the radius ``1.22 lambda N (1 + m)``.

    Raises
    ------
    ValueError
        A length or the f-number not positive, a negative magnification.

    Notes
    -----
    It does not include the pixel: PSFs of this package are integrated over the pixel already.

    Examples
    --------
    >>> round(diffraction_sigma(540, 22, pixel_pitch_um=4.0), 2)
    1.25
    """
    given = (("wavelength_nm", wavelength_nm), ("f_number", f_number), ("pixel_pitch_um", pixel_pitch_um))
    for name, value in given:
        require_number("diffraction_sigma", name, value, above=0)
    if wavelength_nm < 10:
        raise ValueError(f"diffraction_sigma: expected wavelength_nm such as 540, got {wavelength_nm}; is it um?")
    require_number("diffraction_sigma", "magnification", magnification, least=0)
    return 0.42 * wavelength_nm * 1e-3 * f_number * (1 + magnification) / pixel_pitch_um


def softened(bank: bp.PSFBank, sigma_px: float | Sequence[float], *, views: Sequence[str] | None = None) -> bp.PSFBank:
    """Return a bank with every PSF blurred by a Gaussian, for diffraction and other limits of sharpness.

    Parameters
    ----------
    bank : blurphys.PSFBank
        PSFs from a pupil or in NumPy arrays.
    sigma_px : float or sequence of C floats
        Standard deviation, px, for all colours or for each; see `diffraction_sigma`.
    views : sequence of str, optional
        Views of the new bank; by default those of the old one. The new one has no pupil to make others from.

    Returns
    -------
    blurphys.PSFBank
        The same radii. Sums stay as they are, and so do centroids.

    Raises
    ------
    ValueError
        Sigma negative or not finite, a number of sigmas that does not fit the colours, an unknown view.
    TypeError
        A bank of tensors.

    Notes
    -----
    The Gaussian is `blurphys.psf.gaussian`, integrated over the pixel; the variance along an axis grows by its own,
    ``sigma_px^2 + 1/12`` from half a pixel upwards. It reaches four sigma, and the PSFs grow by that. A sigma of 0
    changes nothing.

    Examples
    --------
    >>> import blurphys as bp
    >>> soft = softened(bp.PSFBank(bp.Pupil.disk(), max_radius=2.0), 0.5)
    >>> bool(soft.psfs()[4].max() < 0.5), round(float(soft.psfs()[4].sum()), 12)
    (True, 1.0)
    """
    if not bank.fixed:
        raise TypeError("softened: expected a bank of a pupil or of NumPy arrays, got tensors")
    given = sigma_px if isinstance(sigma_px, Sequence) else [sigma_px]
    sigmas = [require_number("softened", "sigma_px", s, least=0) for s in given]
    if not sigmas:
        raise ValueError(f"softened: expected one sigma_px or one for each colour, got {sigma_px}")
    lines = [bp.psf.gaussian(s, 2 * ceil(4 * max(sigmas)) + 1).sum(axis=0) for s in sigmas]
    psfs = {view: np.asarray(bank.psfs(view), np.float64) for view in (bank.views if views is None else views)}
    return bp.PSFBank(psfs={view: _softened(levels, lines) for view, levels in psfs.items()}, radii=bank.radii.tolist())


def _softened(levels: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    if len(lines) > 1:
        levels = levels[:, None] if levels.ndim == 3 else levels
        if levels.shape[1] not in (1, len(lines)):
            raise ValueError(f"softened: expected sigma_px for {levels.shape[1]} colours, got {len(lines)} values")
        levels = np.broadcast_to(levels, (len(levels), len(lines), *levels.shape[2:]))
    down = np.stack([_spreading(line, levels.shape[-2]) for line in lines])
    right = np.stack([_spreading(line, levels.shape[-1]) for line in lines])
    if len(lines) == 1:
        down, right = down[0], right[0]
    soft: np.ndarray = down @ levels @ right.swapaxes(-1, -2)
    return soft


def _spreading(line: np.ndarray, n: int) -> np.ndarray:
    """Matrix of the full convolution of n values with `line`."""
    matrix = np.zeros((n + len(line) - 1, n))
    for i in range(n):
        matrix[i : i + len(line), i] = line
    return matrix
