"""How badly each candidate explains several views around each pixel: the whitened residual of their PSFs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from blurphys.engines.threads import run_tasks

__all__ = ["SPECTRUM", "Part", "matching_cost"]

SPECTRUM = 0.05
"""Root mean square of the differences of neighbouring pixels of a sharp image: the natural-image prior."""

MISMATCH = 0.05
"""Relative error of what the PSFs predict (vignetting, field dependence, sharpening), the same for all radii."""

TILE = 208
"""Largest side of a tile without its halo, px: its Fourier transform stays in the cache."""

Plane = np.ndarray[Any, Any]


class Part(NamedTuple):
    """Rectangles of the frame (rows, columns), and the PSFs (1 or C, h, w) in them, as ``psfs[view][candidate]``."""

    places: list[tuple[slice, slice]]
    psfs: Sequence[list[Plane]]


class _Filter(NamedTuple):
    """What the spectra of the views are multiplied by for one candidate, (1 or C, size, size // 2 + 1) each.

    `inverse` and `scale` are None for two views, whose residual takes one transform. `expected` is what noise alone
    leaves in the sum of squares, in units of its variance.
    """

    transfer: list[Plane]
    inverse: Plane | None
    scale: Plane | None
    expected: float

    def residuals(self, spectra: Plane) -> Iterator[Plane]:
        """Return the spectra of the residuals of views (N, C, size, size // 2 + 1)."""
        if self.inverse is None:
            yield self.transfer[1] * spectra[0] - self.transfer[0] * spectra[1]
            return
        sharp = sum(np.conj(h) * view for h, view in zip(self.transfer, spectra, strict=True)) * self.inverse
        for h, view in zip(self.transfer, spectra, strict=True):
            yield self.scale * (view - h * sharp)


def matching_cost(
    views: Plane, valid: Plane, parts: Sequence[Part], *, noise: float, floor: float, window: float
) -> Plane:
    """Return the cost of every candidate at every pixel, (H, W, D) float32.

    Parameters
    ----------
    views : ndarray of shape (N, C, H, W)
        Two or more views of one scene.
    valid : ndarray of bool of shape (H, W)
        Pixels that count.
    parts : sequence of Part
        The PSFs of every part of the frame, for each view and candidate.
    noise : float
        Standard deviation of the noise of each view.
    floor : float
        Variance of the real noise over that of `noise`.
    window : float
        Standard deviation of the Gaussian window, px.

    Notes
    -----
    Two views ``l = l_c * x + n``, ``r = r_c * x + n`` of any image x satisfy ``r_c * l = l_c * r`` up to noise. In the
    Fourier domain the residual is ``E = (R_c L - L_c R) / sqrt(|L_c|^2 + |R_c|^2 + noise^2 / S)`` (whitened), where
    ``S = 0.05^2 / (4 sin^2(wx/2) + 4 sin^2(wy/2))`` is the power spectrum of a natural image; the last term lowers the
    weight of frequencies that neither view holds. More views are compared with the image that explains them best,
    ``X = sum_i H_i^* Y_i / (sum_i |H_i|^2 + noise^2 / S)``: the residuals are ``Y_i - H_i X``, whose squares add up to
    that of E for two views, where the last term vanishes.
    A second factor, ``1 / sqrt(1 + 0.05^2 S / noise^2)``, allows for errors of 5 % of the signal: without it the low
    frequencies, where a picture has most of its power and radii differ least, outvote the others on any real photograph
    (uneven exposure, PSFs that are not exactly known).
    The inverse transforms, in units of the noise, are squared and averaged over colours and over a Gaussian window,
    less what noise alone leaves: for the true candidate 0 is expected.
    Tiles with a halo are transformed by themselves, on all cores. Cost: D C transforms for two views, N D C for more.
    """
    reach = max(psf.shape[-1] // 2 for part in parts for kernels in part.psfs for psf in kernels)
    halo = reach + int(np.ceil(3 * window)) + 4
    size = _fast(min(TILE, max(views.shape[-2:])) + 2 * halo)
    padding = ((0, 0), (halo, halo + size), (halo, halo + size))
    padded = np.pad(views.astype(np.float32), ((0, 0), *padding), mode="edge")
    counts = np.pad(valid.astype(np.float32), padding[1:])
    cost = np.empty((*views.shape[-2:], len(parts[0].psfs[0])), np.float32)
    core = size - 2 * halo
    for part in parts:
        filters = _filters(part.psfs, size, noise, floor)
        tiles = [
            (top, min(top + core, rows.stop), side, min(side + core, cols.stop))
            for rows, cols in part.places
            for top in range(rows.start, rows.stop, core)
            for side in range(cols.start, cols.stop, core)
        ]

        def work(top: int, bottom: int, side: int, end: int, filters: Any = filters) -> None:
            here = (..., slice(top, top + size), slice(side, side + size))
            _tile(padded[here], counts[here], filters, window, halo, cost[top:bottom, side:end], noise)

        run_tasks(work, tiles)
    return cost


def _fast(size: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(size, real=True))


def _filters(psfs: Sequence[list[Plane]], size: int, noise: float, floor: float) -> list[_Filter]:
    """Return the filters of each candidate."""
    wy = np.fft.fftfreq(size)[:, None]
    wx = np.fft.rfftfreq(size)
    ratio = noise**2 / SPECTRUM**2 * 4 * (np.sin(np.pi * wy) ** 2 + np.sin(np.pi * wx) ** 2)
    mismatch = 1 + MISMATCH**2 / np.maximum(ratio, 1e-12)
    found = []
    for kernels in zip(*psfs, strict=True):
        transfer = [_transfer(psf, size) for psf in kernels]
        power = sum(np.abs(h) ** 2 for h in transfer)
        if len(transfer) == 2:
            scale = 1 / np.sqrt(np.maximum(power + ratio, 1e-12) * mismatch)
            left = floor * float(np.mean((power * scale**2)[..., : size // 2]))
            found.append(_Filter([(h * scale).astype(np.complex64) for h in transfer], None, None, left))
            continue
        inverse = 1 / np.maximum(power + ratio, 1e-12)
        scale = 1 / np.sqrt(mismatch)
        noisy = scale**2 * (len(transfer) - 1 + (1 - power * inverse) ** 2)
        left = floor * float(np.mean(noisy[..., : size // 2]))
        narrow = [h.astype(np.complex64) for h in transfer]
        found.append(_Filter(narrow, inverse.astype(np.float32), scale.astype(np.float32), left))
    return found


def _transfer(psf: Plane, size: int) -> Plane:
    """Return the transfer function of a kernel with its centre at (h // 2, w // 2)."""
    from scipy.fft import rfft2

    rows, cols = psf.shape[-2:]
    plane = np.zeros((psf.shape[0], size, size))
    plane[:, :rows, :cols] = psf
    found: Plane = rfft2(np.roll(plane, (-(rows // 2), -(cols // 2)), axis=(1, 2)))
    return found


def _tile(
    views: Plane,
    counts: Plane,
    filters: list[_Filter],
    window: float,
    halo: int,
    cost: Plane,
    noise: float,
) -> None:
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import gaussian_filter

    size = views.shape[-1]
    mean = views.mean(axis=(0, 2, 3), keepdims=True)  # the same for all views: smaller jumps at the tile's edges
    spectra = rfft2(views - mean)
    inner = (slice(halo, halo + cost.shape[0]), slice(halo, halo + cost.shape[1]))
    share = gaussian_filter(counts, window, truncate=3)[inner]
    share = np.where(share > 1e-3, 1 / (noise**2 * views.shape[1] * np.maximum(share, 1e-3)), 0)
    for k, candidate in enumerate(filters):
        power = np.zeros_like(counts)
        for spectrum in candidate.residuals(spectra):
            residual = irfft2(spectrum, s=(size, size))
            power += np.einsum("cij,cij->ij", residual, residual)
        power *= counts
        cost[..., k] = share * gaussian_filter(power, window, truncate=3)[inner]
        cost[..., k] -= candidate.expected * (share > 0)
