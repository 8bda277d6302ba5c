"""How badly each radius explains the two views around each pixel: the whitened residual of exchanged PSFs."""

from __future__ import annotations

from typing import Any

import numpy as np

from blurphys.engines.threads import run_tasks

from .candidates import Region, psfs_at

__all__ = ["SPECTRUM", "matching_cost"]

SPECTRUM = 0.05
"""Root mean square of the differences of neighbouring pixels of a sharp image: the natural-image prior."""

MISMATCH = 0.05
"""Relative error of what the PSFs predict (vignetting, field dependence, sharpening), the same for all radii."""

TILE = 208
"""Largest side of a tile without its halo, px: its Fourier transform stays in the cache."""

Plane = np.ndarray[Any, Any]


def matching_cost(
    left: Plane,
    right: Plane,
    valid: Plane,
    regions: list[Region],
    radii: Plane,
    *,
    noise: float,
    floor: float,
    window: float,
) -> Plane:
    """Return the cost of every candidate at every pixel, (H, W, D) float32.

    Parameters
    ----------
    left, right : ndarray of shape (C, H, W)
    valid : ndarray of bool of shape (H, W)
        Pixels that count.
    regions : list of Region
        The PSFs of every part of the frame.
    radii : ndarray of shape (D,)
        The candidates, px.
    noise : float
        Standard deviation of the noise of each view.
    floor : float
        Variance of the real noise over that of `noise`.
    window : float
        Standard deviation of the Gaussian window, px.

    Notes
    -----
    Views ``l = l_c * x + n``, ``r = r_c * x + n`` of any image x satisfy ``r_c * l = l_c * r`` up to noise. In the
    Fourier domain the residual is ``E = (R_c L - L_c R) / sqrt(|L_c|^2 + |R_c|^2 + noise^2 / S)`` (whitened), where
    ``S = 0.05^2 / (4 sin^2(wx/2) + 4 sin^2(wy/2))`` is the power spectrum of a natural image; the last term lowers the
    weight of frequencies that neither view holds. A second factor, ``1 / sqrt(1 + 0.05^2 S / noise^2)``, allows for
    errors of 5 % of the signal: without it the low frequencies, where a picture has most of its power and radii differ
    least, outvote the others on any real photograph (uneven exposure, PSFs that are not exactly known).
    The inverse transform of E, in units of the noise, is squared and averaged over colours and over a Gaussian window,
    less what noise alone leaves: for the true radius 0 is expected.
    Tiles with a halo are transformed by themselves, on all cores. Cost: D C transforms.
    """
    reach = 0
    sets = {}
    for region in regions:
        if id(region.bank) not in sets:
            pairs = [psfs_at(region.bank, radii, view) for view in ("left", "right")]
            reach = max(reach, *(psf.shape[-1] // 2 for psfs in pairs for psf in psfs))
            sets[id(region.bank)] = pairs
    halo = reach + int(np.ceil(3 * window)) + 4
    size = _fast(min(TILE, max(left.shape[-2:])) + 2 * halo)
    padding = ((0, 0), (halo, halo + size), (halo, halo + size))
    views = np.pad(np.stack([left, right]).astype(np.float32), ((0, 0), *padding), mode="edge")
    counts = np.pad(valid.astype(np.float32), padding[1:])
    cost = np.empty((*left.shape[-2:], len(radii)), np.float32)
    core = size - 2 * halo
    for key, pairs in sets.items():
        filters = _filters(pairs, size, noise, floor)
        tiles = [
            (top, min(top + core, region.rows.stop), side, min(side + core, region.cols.stop))
            for region in regions
            if id(region.bank) == key
            for top in range(region.rows.start, region.rows.stop, core)
            for side in range(region.cols.start, region.cols.stop, core)
        ]

        def work(top: int, bottom: int, side: int, end: int, filters: Any = filters) -> None:
            here = (..., slice(top, top + size), slice(side, side + size))
            _tile(views[here], counts[here], filters, window, halo, cost[top:bottom, side:end], noise)

        run_tasks(work, tiles)
    return cost


def _fast(size: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(size, real=True))


def _filters(pairs: list[list[Plane]], size: int, noise: float, floor: float) -> list[tuple[Plane, Plane, float]]:
    """Return, for each candidate, what the spectra of left and right are multiplied by, (1 or C, size, size // 2 + 1).

    The third item is what noise alone leaves in the mean square, in units of its variance.
    """
    wy = np.fft.fftfreq(size)[:, None]
    wx = np.fft.rfftfreq(size)
    ratio = noise**2 / SPECTRUM**2 * 4 * (np.sin(np.pi * wy) ** 2 + np.sin(np.pi * wx) ** 2)
    found = []
    for left, right in zip(*pairs, strict=True):
        of_left, of_right = _transfer(left, size), _transfer(right, size)
        power = np.abs(of_left) ** 2 + np.abs(of_right) ** 2
        scale = 1 / np.sqrt(np.maximum(power + ratio, 1e-12) * (1 + MISMATCH**2 / np.maximum(ratio, 1e-12)))
        expected = floor * float(np.mean((power * scale**2)[..., : size // 2]))
        found.append(((of_right * scale).astype(np.complex64), (of_left * scale).astype(np.complex64), expected))
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
    filters: list[tuple[Plane, Plane, float]],
    window: float,
    halo: int,
    cost: Plane,
    noise: float,
) -> None:
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import gaussian_filter

    size = views.shape[-1]
    mean = views.mean(axis=(0, 2, 3), keepdims=True)  # the same for both views: smaller jumps at the tile's edges
    left, right = rfft2(views - mean)
    inner = (slice(halo, halo + cost.shape[0]), slice(halo, halo + cost.shape[1]))
    share = gaussian_filter(counts, window, truncate=3)[inner]
    share = np.where(share > 1e-3, 1 / (noise**2 * len(left) * np.maximum(share, 1e-3)), 0)
    for k, (on_left, on_right, expected) in enumerate(filters):
        residual = irfft2(on_left * left - on_right * right, s=(size, size))
        power = np.einsum("cij,cij->ij", residual, residual)
        power *= counts
        cost[..., k] = share * gaussian_filter(power, window, truncate=3)[inner]
        cost[..., k] -= expected * (share > 0)
