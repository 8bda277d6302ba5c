"""Turn measured PSFs into convolution kernels: background removed, centred, resampled to the pixel size, normalised."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inputs import require_integer, require_number

__all__ = ["center", "clean", "normalize", "resample"]

Kernel = NDArray[np.floating]


def normalize(psf: Any) -> Kernel:
    """Divide each PSF by its sum.

    Parameters
    ----------
    psf : array of shape (..., h, w)
        PSFs in any unit, integers too.

    Returns
    -------
    ndarray of shape (..., h, w)
        float64, each of unit sum.

    Raises
    ------
    ValueError
        Not PSFs, NaN or inf, or a sum that is not positive.

    Examples
    --------
    >>> normalize([[0, 2, 0], [2, 4, 2], [0, 2, 0]])[1].round(3).tolist()
    [0.167, 0.333, 0.167]
    """
    values = _as_kernels("psf.normalize", psf)
    with np.errstate(over="ignore"):
        total = values.sum(axis=(-2, -1), keepdims=True)
    if not np.isfinite(total).all():
        raise ValueError(
            "psf.normalize: expected PSFs with a finite sum, got one beyond float64; divide by the largest"
        )
    if not (total > 0).all():
        raise ValueError(
            f"psf.normalize: expected PSFs with a positive sum, got {float(total.min()):g}; was the dark level "
            f"subtracted twice?"
        )
    return values / total


def clean(psf: Any, *, background: float | None = None, cut: float = 0.0) -> Kernel:
    """Remove background, noise around the PSF and hot pixels from images of a point source.

    Parameters
    ----------
    psf : array of shape (..., h, w)
        Images in any unit, integers too.
    background : float, optional
        Level without light, in the unit of the image; by default the median of the outermost pixels of each image. It
        is subtracted, and negative values become zero.
    cut : float
        Values below this fraction of the peak become zero, and of the remaining regions only the one with the most
        light is kept, which removes hot pixels and other points. 0 to 1 (exclusive); 0 keeps everything.

    Returns
    -------
    ndarray of shape (..., h, w)
        float64, non-negative, in the unit of the image; `normalize` is the next step.

    Raises
    ------
    ValueError
        Not PSFs, NaN or inf, a background that is not finite, a cut out of range, or nothing above the background.

    Examples
    --------
    >>> recorded = [[9, 10, 11, 10], [10, 30, 60, 10], [10, 20, 30, 10], [10, 12, 9, 10]]
    >>> clean(recorded, cut=0.1).astype(int).tolist()
    [[0, 0, 0, 0], [0, 20, 50, 0], [0, 10, 20, 0], [0, 0, 0, 0]]
    """
    values = _as_kernels("psf.clean", psf)
    if background is not None:
        require_number("psf.clean", "background", background)
    if not 0 <= cut < 1:
        raise ValueError(f"psf.clean: expected cut from 0 to below 1, a fraction of the peak, got {cut}")
    cleaned = np.empty_like(values)
    for index in np.ndindex(values.shape[:-2]):
        one = values[index]
        level = float(np.median(_rim(one))) if background is None else background
        light = np.maximum(one - level, 0.0)
        if not light.any():
            raise ValueError(f"psf.clean: expected light above the background of {level:g}, got none")
        cleaned[index] = keep_brightest_region(light, cut)
    return cleaned


def keep_brightest_region(psf: Kernel, cut: float) -> Kernel:
    """Keep the connected region with the most light among the pixels of at least `cut` times the peak."""
    if cut == 0:
        return psf
    from scipy.ndimage import label

    regions, _ = label(psf >= cut * psf.max())
    light = np.bincount(regions.ravel(), psf.ravel())
    return np.where(regions == 1 + light[1:].argmax(), psf, 0.0)


def center(psf: Any, size: int | None = None) -> Kernel:
    """Move the centroid of each PSF to the centre pixel of an odd kernel.

    Parameters
    ----------
    psf : array of shape (..., h, w)
        PSFs in any unit; use `clean` first, as a background moves the centroid towards the middle.
    size : int, optional
        Odd width of the result, px; by default the least that holds every array. Light outside it is an error.

    Returns
    -------
    ndarray of shape (..., size, size)
        With the same sums, centroid at ``size // 2``.

    Raises
    ------
    ValueError
        As for `resample`.

    Notes
    -----
    A shift by a fraction f of a pixel divides the light of each pixel between two: the variance along that axis grows
    by f (1 - f), at most 1/4 px^2. `resample` shifts and scales at once, which widens the PSF less than doing one after
    the other.

    Examples
    --------
    >>> center([[0, 0, 0, 0], [0, 0, 3, 1], [0, 0, 0, 0]], size=5)[2].tolist()
    [0.0, 0.75, 2.5, 0.75, 0.0]
    """
    return _resample_all("psf.center", psf, 1.0, True, size)


def resample(
    psf: Any,
    scale: float | None = None,
    *,
    oversampling: float | None = None,
    centered: bool = False,
    size: int | None = None,
) -> Kernel:
    """Resample PSFs, sampled more finely or coarsely than the image, to the pixel size of the image.

    Parameters
    ----------
    psf : array of shape (..., h, w)
        PSFs in any unit, centre ``h // 2, w // 2``.
    scale : float
        Pixel size of the PSF divided by that of the image: 0.25 for a PSF with 1 um samples and an image with 4 um
        pixels. Positive.
    oversampling : float
        Instead of `scale`: samples of the PSF per pixel of the image, 1 / scale.
    centered : bool
        Whether the centroid is moved to the centre pixel; otherwise the centre of the given array stays the centre.
    size : int, optional
        Odd width of the result, px; by default the least that holds every array. Light outside it is an error.

    Returns
    -------
    ndarray of shape (..., size, size)
        float64, with the same sums and the centroids `scale` times as far from the centre.

    Raises
    ------
    ValueError
        Not PSFs, NaN or inf, neither or both of scale and oversampling, one that is not positive, an even size or one
        that does not hold the PSF, or with ``centered`` a sum that is not positive.

    Notes
    -----
    The light of each sample, taken as uniform over its square, is distributed over the pixels by exact overlap, with
    two small matrix products. Representing pixels by their centres would move the centroid, and narrow a PSF with
    structure at the scale of a pixel by some hundredths of a px^2. The smallest possible kernel of three taps along
    each axis corrects this: the centroid is ``scale`` times the old one and the variance at least ``scale^2`` times
    the old one, so that no PSF is narrower than what was measured. At scale 1 an odd square PSF is returned unchanged,
    bit for bit.

    Examples
    --------
    >>> import blurphys as bp
    >>> fine = bp.psf.disk(6.0)  # three samples on a pixel
    >>> coarse = resample(fine, oversampling=3)
    >>> coarse.shape, round(float(coarse.sum()), 12)
    ((5, 5), 1.0)
    """
    owner = "psf.resample"
    if scale is None and oversampling is not None:
        factor = 1.0 / require_number(owner, "oversampling", oversampling, above=0)
    elif scale is None or oversampling is not None:
        raise ValueError(f"{owner}: expected either scale or oversampling, got {scale} and {oversampling}")
    else:
        factor = require_number(owner, "scale", scale, above=0)
    return _resample_all(owner, psf, factor, centered, size)


def _resample_all(owner: str, psf: Any, scale: float, centered: bool, size: int | None) -> Kernel:
    values = _as_kernels(owner, psf)
    if size is not None:
        require_integer(owner, "size", size, odd=True, unit="px")
    flat = values.reshape(-1, *values.shape[-2:])
    made = [_resample_one(owner, one, scale, centered) for one in flat]
    wanted = max(len(one) for one in made) if size is None else int(size)
    for one in made:
        over = (len(one) - wanted) // 2
        if over > 0 and _share_outside(one, over) > 1e-12:
            raise ValueError(
                f"{owner}: expected a size that holds the PSF, {len(one)} px, got {wanted}; crop or clean the PSF first"
            )
    return np.stack([fit_to_size(one, wanted) for one in made]).reshape(*values.shape[:-2], wanted, wanted)


def _resample_one(owner: str, psf: Kernel, scale: float, centered: bool) -> Kernel:
    shift = (0.0, 0.0)
    if centered:
        if not _has_moments(psf):
            raise ValueError(
                f"{owner}: expected a PSF of mostly positive values, got a sum of {psf.sum():.3g} from values that add "
                f"up to {np.abs(psf).sum():.3g} without their signs: it has no centroid; psf.clean removes noise"
            )
        (down, _), (right, _) = moments(psf)
        shift = (-scale * down, -scale * right)
    return scale_kernel(psf, scale, shift)


def scale_kernel(psf: Kernel, scale: float, shift: tuple[float, float] = (0.0, 0.0)) -> Kernel:
    """Scale a kernel (h, w) about its centre, then shift it by (down, right) px: an odd square with the same sum.

    The mean along an axis becomes ``scale mean + shift``, the variance at least ``scale^2`` times what it was.
    """
    shares = [_overlap_matrix(n, scale, move) for n, move in zip(psf.shape, shift, strict=True)]
    half = max(len(share) // 2 for share in shares)
    rows, cols = (np.pad(share, ((half - len(share) // 2,) * 2, (0, 0))) for share in shares)
    result: Kernel = rows @ psf @ cols.T
    if not _has_moments(psf):
        return result
    for axis, (before, after) in enumerate(zip(moments(psf), moments(result), strict=True)):
        result = _match_moments(
            result, axis, scale * before[0] + shift[axis] - after[0], scale**2 * before[1] - after[1]
        )
    return fit_to_size(result, max(result.shape))


def _has_moments(psf: Kernel) -> bool:
    """Whether mean and variance are meaningful: not for derivatives or noise, whose sums are nearly zero."""
    return float(psf.sum()) > 0.1 * float(np.abs(psf).sum())


def _share_outside(psf: Kernel, rim: int) -> float:
    """Return the fraction of a kernel (absolute values) in its outermost `rim` rows and columns."""
    outside = np.abs(psf)
    outside[rim:-rim, rim:-rim] = 0.0
    return float(outside.sum() / (np.abs(psf).sum() or 1.0))


def _overlap_matrix(n: int, scale: float, shift: float) -> Kernel:
    """Return the fraction of each of n samples in each pixel of -half..half: (2 half + 1, n), columns of unit sum."""
    edges = (np.arange(n + 1) - n // 2 - 0.5) * scale + shift
    half = max(0, ceil(max(-edges[0], edges[-1]) - 0.5))
    pixels = np.arange(-half, half + 1)[:, None]
    share = np.diff(np.clip(edges[None, :], pixels - 0.5, pixels + 0.5), axis=1)
    width = np.diff(edges)
    if width.min() < 1e-9:  # samples so narrow that differences of their edges lose digits: all light goes to one pixel
        middle = 0.5 * (edges[1:] + edges[:-1])
        return np.where(np.abs(pixels - middle) < 0.5, 1.0, 0.0) if scale else np.ones((2 * half + 1, n))
    return share / share.sum(axis=0)


def moments(psf: Kernel) -> list[tuple[float, float]]:
    """Return mean (from ``size // 2``) and variance, px and px^2, along the rows and along the columns."""
    found = []
    for axis, n in enumerate(psf.shape):
        line = psf.sum(axis=1 - axis) / psf.sum()
        position = np.arange(n) - n // 2
        mean = float(line @ position)
        found.append((mean, float(line @ (position - mean) ** 2)))
    return found


def _match_moments(psf: Kernel, axis: int, move: float, missing: float) -> Kernel:
    """Move the mean by `move` and increase the variance by at least `missing`, with a kernel of three taps."""
    moved, wider = abs(move) > 1e-12, missing > 1e-12
    if not (moved or wider):
        return psf
    # Taps (before, 1 - spread, after) at -1, 0, 1 have mean after - before and second moment spread = after + before.
    spread = max(abs(move), missing + move * move)
    before, after = 0.5 * (spread - move), 0.5 * (spread + move)
    wide = np.pad(psf, [(1, 1) if a == axis else (0, 0) for a in (0, 1)])
    return np.asarray((1 - spread) * wide + before * np.roll(wide, -1, axis) + after * np.roll(wide, 1, axis))


def fit_to_size(psf: Kernel, size: int) -> Kernel:
    """Pad or crop an odd kernel about its centre to an odd square."""
    for axis, n in enumerate(psf.shape):
        grow = (size - n) // 2
        if grow > 0:
            psf = np.pad(psf, [(grow, grow) if a == axis else (0, 0) for a in (0, 1)])
        elif grow < 0:
            psf = np.take(psf, np.arange(-grow, n + grow), axis=axis)
    return psf


def _rim(psf: Kernel) -> Kernel:
    inner = np.zeros(psf.shape, dtype=bool)
    inner[1:-1, 1:-1] = True
    return psf[~inner]


def _as_kernels(owner: str, psf: Any) -> Kernel:
    try:
        given = np.asarray(psf.detach().cpu() if hasattr(psf, "detach") else psf)
        values = np.array(given.real, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{owner}: expected an array of PSFs (..., h, w), got no numbers, or rows of different lengths"
        ) from None
    if np.iscomplexobj(given):
        raise ValueError(
            f"{owner}: expected real values, got complex ones; a PSF is the squared modulus of an amplitude"
        )
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(f"{owner}: expected an array of PSFs (..., h, w), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{owner}: expected finite values, got {int((~np.isfinite(values)).sum())} NaN or inf")
    return values
