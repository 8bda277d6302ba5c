"""Closed-form PSFs and the published dual-pixel kernels: NumPy float64, unit sum, integrated over pixels.

`gaussian`, `disk`, `generalized_gaussian` and `butterworth` return a convolution kernel of odd size with its centre at
``h // 2, w // 2``; kernels are continuous in their real-valued radii. A pupil (`blurphys.Pupil`) gives consistent PSFs
of all views. `clean`, `center`, `resample` and `normalize` turn the image of a point source into such a kernel.
"""

from __future__ import annotations

from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from .inputs import require_choice, require_integer, require_number
from .optics.psf_sampling import center, clean, normalize, resample

__all__ = ["butterworth", "center", "clean", "disk", "gaussian", "generalized_gaussian", "normalize", "resample"]
__dir__ = __all__.copy  # what completion offers

Kernel = NDArray[np.floating]


def _check_size(owner: str, size: int | None, default: int) -> int:
    if size is None:
        return default
    return require_integer(owner, "size", size, odd=True, unit="px")


def _unit_sum(kernel: Kernel) -> Kernel:
    return kernel / kernel.sum()


def gaussian(sigma: float, size: int | None = None) -> Kernel:
    """Return a Gaussian integrated over each pixel.

    Parameters
    ----------
    sigma : float
        Standard deviation, px; 0 gives the Dirac.
    size : int, optional
        Odd width, px; by default it reaches four sigma.

    Returns
    -------
    ndarray of shape (size, size)
        Unit sum. The variance along an axis is sigma^2 + 1/12, which includes that of the pixel.

    Raises
    ------
    ValueError
        Negative or non-finite sigma, even size.

    Notes
    -----
    These are not the taps of `blurphys.GKM`, which the papers sample at pixel centres.
    """
    from scipy.special import ndtr

    require_number("psf.gaussian", "sigma", sigma, least=0, unit="px")
    n = _check_size("psf.gaussian", size, 2 * ceil(4 * sigma) + 1)
    edges = np.arange(n + 1) - n / 2
    if sigma == 0:
        line = np.where(np.arange(n) == n // 2, 1.0, 0.0)
    else:
        line = np.diff(ndtr(edges / sigma))
    return _unit_sum(np.outer(line, line))


def _disk_area_below(x: Kernel, y: Kernel) -> Kernel:
    """Return the area of the part of the unit disk with X <= x and Y <= y, for x and y in [-1, 1]."""

    def primitive(t: Kernel) -> Kernel:  # integral of sqrt(1 - t^2)
        return 0.5 * (t * np.sqrt(np.maximum(1 - t * t, 0)) + np.arcsin(t))

    b = np.sqrt(np.maximum(1 - y * y, 0))
    inner = np.clip(x, -b, b)
    area = primitive(inner) - primitive(-b) + y * (inner + b)
    sides = primitive(np.minimum(x, -b)) - primitive(np.full_like(x, -1.0)) + primitive(np.maximum(x, b)) - primitive(b)
    return area + np.where(y > 0, 2 * sides, 0.0)


def disk_coverage(edges: Kernel) -> Kernel:
    """Return the area of the unit disk in each cell of a grid with these edges, symmetric about 0: (n, n)."""
    e = np.clip(edges, -1.0, 1.0)
    x, y = np.meshgrid(e, e)
    below = _disk_area_below(x, y)
    area = np.maximum(np.diff(np.diff(below, axis=0), axis=1), 0.0)
    return 0.25 * (area + area[::-1] + area[:, ::-1] + area[::-1, ::-1])  # symmetric to the last bit


def disk(radius: float, size: int | None = None) -> Kernel:
    """Return a uniform disk, each pixel weighted by the exact area that the disk covers.

    Parameters
    ----------
    radius : float
        Radius (not diameter), px, real-valued; below 0.5 px it is the Dirac.
    size : int, optional
        Odd width, px; by default the smallest that holds the disk.

    Returns
    -------
    ndarray of shape (size, size)
        Unit sum. The variance along an axis is radius^2 / 4 plus at most 1/12, that of the pixel.

    Raises
    ------
    ValueError
        Negative or non-finite radius, even size.

    Examples
    --------
    >>> disk(1.0).round(4)[1].tolist()
    [0.1453, 0.3183, 0.1453]
    """
    require_number("psf.disk", "radius", radius, least=0, unit="px")
    n = _check_size("psf.disk", size, 2 * ceil(max(0.0, radius - 0.5)) + 1)
    if radius < 0.5:
        return gaussian(0.0, n)
    return _unit_sum(disk_coverage((np.arange(n + 1) - n / 2) / radius))


def generalized_gaussian(scale: float, exponent: float, size: int | None = None) -> Kernel:
    """Return ``exp(-(rho / scale)^exponent)`` integrated over each pixel by sub-sampling.

    Parameters
    ----------
    scale : float
        Radius at which it is 1/e, px; 0 gives the Dirac.
    exponent : float
        2 is a Gaussian of standard deviation scale / sqrt(2); the limit infinity is a disk of radius `scale`. Real
        lenses have about 2 to 6.
    size : int, optional
        Odd width, px; by default it reaches a value of 1e-6.

    Returns
    -------
    ndarray of shape (size, size)
        Unit sum. The variance along an axis is ``scale^2 Gamma(4/b) / (2 Gamma(2/b))`` for exponent b, plus 1/12,
        that of the pixel.

    Raises
    ------
    ValueError
        Negative or non-finite scale, exponent not positive, even size.
    """
    require_number("psf.generalized_gaussian", "scale", scale, least=0, unit="px")
    require_number("psf.generalized_gaussian", "exponent", exponent, above=0)
    n = _check_size("psf.generalized_gaussian", size, 2 * ceil(scale * 13.9 ** (1 / exponent)) + 1)
    if scale == 0:
        return gaussian(0.0, n)
    sub = 15  # odd: a sample sits on the centre, so that tiny scales become the Dirac
    t = (np.arange(n * sub) - (n * sub - 1) / 2) / sub
    power = (np.hypot(t[:, None], t[None, :]) / scale) ** exponent
    fine = np.exp(-np.minimum(power, 700.0))
    return _unit_sum(fine.reshape(n, sub, n, sub).sum(axis=(1, 3)))


def check_ring(owner: str, order: float, cutoff: float, floor: float, smoothing: float) -> None:
    """Raise ValueError unless the parameters are in range."""
    if not (1 <= order < np.inf and 0 < cutoff < np.inf and 0 <= floor <= 1 and 0 <= smoothing <= 1):
        raise ValueError(
            f"{owner}: expected order >= 1, cutoff > 0, both finite, floor and smoothing in [0, 1], got order={order}, "
            f"cutoff={cutoff}, floor={floor}, smoothing={smoothing}"
        )


def butterworth_ring(squared: Kernel, order: float) -> Kernel:
    """Return ``1 / (1 + q^-order)`` of q = (rho / D0)^2, by logarithms so that no order overflows."""
    from scipy.special import expit

    with np.errstate(divide="ignore"):
        return np.asarray(expit(order * np.log(squared)))


def _published_window(radius: int) -> int:
    window = round((2 * radius + 1) / 7) + 1
    return window + 1 - window % 2


def butterworth(
    radius: int,
    order: int = 3,
    cutoff: float = 0.8,
    floor: float = 0.1,
    smoothing: float | None = None,
    view: str = "combined",
) -> Kernel:
    """Return the dual-pixel kernels of the ICCV 2021 generator as impulse responses.

    A ring (Butterworth high-pass in the distance from the centre) inside a disk, smoothed, and for the left and right
    view multiplied by a horizontal ramp over the padded width. The authors apply their arrays by *correlation*; this
    function returns convolution kernels, their mirror images.

    Parameters
    ----------
    radius : int
        Signed CoC radius, px, an integer (`Pupil.butterworth` is for any radius). The sign swaps the views.
    order : int
        n of the ring ``1 / (1 + (D0 / rho)^(2 n))``; 3, 6 or 9 in the publication.
    cutoff : float
        D0 / radius; 0.8 or 1.0 in the publication.
    floor : float
        Value at the centre after the ring was rescaled over the square grid, corners included; 0.1 or 0.2.
    smoothing : float, optional
        Standard deviation / radius of the Gaussian smoothing. None is the published window rule: width
        round((2 r + 1) / 7) + 1 made odd, standard deviation 0.3 ((width - 1) / 2 - 1) + 0.8 px.
    view : {"combined", "left", "right"}

    Returns
    -------
    ndarray of shape (size, size)
        Unit sum for each view; combined = (left + right) / 2. ``size = 2 radius + width``.

    Raises
    ------
    ValueError
        Radius not an integer, order < 1, cutoff <= 0, floor or smoothing outside [0, 1], unknown view.

    References
    ----------
    Abuolaim, Delbracio, Kelly, Brown, Milanfar, "Learning to Reduce Defocus Blur by Realistically Modeling
    Dual-Pixel Data", ICCV 2021.

    Examples
    --------
    >>> import numpy as np
    >>> left = butterworth(3, view="left")
    >>> float(np.round(left.sum(axis=0) @ (np.arange(9) - 4), 3))
    -0.987
    """
    require_choice("psf.butterworth", "view", view, ("combined", "left", "right"))
    if not isfinite(radius) or radius != int(radius):
        raise ValueError(
            f"psf.butterworth: expected an integer radius, as the published arrays have, got {radius}; "
            f"Pupil.butterworth(...).psf(radius) takes any"
        )
    check_ring("psf.butterworth", order, cutoff, floor, 0.0 if smoothing is None else smoothing)
    if radius == 0:
        return np.ones((1, 1))
    r = abs(int(radius))
    offset = np.arange(-r, r + 1.0)
    rho2 = offset[:, None] ** 2 + offset[None, :] ** 2
    ring = butterworth_ring(rho2 / (cutoff * r) ** 2, order)
    ring = floor + (1 - floor) * (ring - ring.min()) / (ring.max() - ring.min())
    if smoothing is None:
        width = _published_window(r)
        sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    else:
        sigma = smoothing * r
        width = 2 * ceil(3 * sigma) + 1
    half = (width - 1) // 2
    smooth = np.pad(ring * (rho2 <= r * r), half)
    if half:
        t = np.arange(-half, half + 1)
        taps = np.exp(-(t**2) / (2 * sigma**2))
        taps /= taps.sum()
        smooth = _smoothed(_smoothed(smooth, taps).T, taps).T
    if view == "combined":
        return _unit_sum(smooth)
    array = _unit_sum(smooth * np.linspace(0, 1, smooth.shape[1]))  # the authors' left array, rising to the right
    leans_right = (view == "right") == (radius > 0)
    return array if leans_right else array[:, ::-1].copy()


def _smoothed(image: Kernel, taps: Kernel) -> Kernel:
    """Filter along axis 0 with reflection at the edge (edge not repeated)."""
    half = len(taps) // 2
    padded = np.pad(image, ((half, half), (0, 0)), mode="reflect")
    return np.stack([np.convolve(column, taps, mode="valid") for column in padded.T], axis=1)
