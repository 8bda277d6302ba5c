"""`gaussian_mixture` in plain array code."""

from __future__ import annotations

from collections.abc import Sequence

from ...boundary import extend, fold
from ...types import Array
from ..guards import guarded
from .convolve import accumulate, zeros_for
from .strips import map_rows, mixed, mixed_adjoint, resized, strips

__all__ = ["gaussian_mixture", "gaussian_mixture_adjoint"]


def _tap(taps: Array, k: int, t: int) -> Array:
    """Weight of kernel k at offset t, with axes that broadcast over (C, n, m)."""
    return taps[:, k, t][:, None, None]


@guarded
def gaussian_mixture(
    x: Array, maps: Array, taps: Array, halves: Sequence[int], boundary: str, mix: Array | None = None
) -> Array:
    """Compute ``y = sum_k maps_k . mix_k (g_k * x)`` for symmetric separable kernels ``g_k``.

    Parameters
    ----------
    x : array of shape (*N, C, H, W)
    maps : array of shape (*B, K, H, W)
    taps : array of shape (1 or C, K, h + 1)
        One-sided taps of each kernel, centre first.
    halves : sequence of K ints
        Half-width of each kernel; its taps beyond are not used.
    boundary : str
    mix : array of shape (C_out, C, K), optional

    Returns
    -------
    array of shape (*N, C_out, H, W)

    Notes
    -----
    The vertical sums ``x[i-t] + x[i+t]`` are formed once per strip and shared by all K kernels.
    Cost: O(sum of the one-sided supports) per pixel.
    """
    h = max(halves)
    rows, cols = x.shape[-2:]
    plane = extend(x, (h, h), (h, h), boundary)
    y = zeros_for(x, resized(x, x.shape[-3] if mix is None else mix.shape[0], rows, cols), maps, taps, mix)
    for top, bottom in strips(x, rows, h):
        n = bottom - top
        u = plane[..., top : bottom + 2 * h, :]
        sums = [u[..., h : h + n, :]]
        sums += [u[..., h - t : h - t + n, :] + u[..., h + t : h + t + n, :] for t in range(1, h + 1)]
        strip = None
        for k, half in enumerate(halves):
            v = _tap(taps, k, 0) * sums[0]
            for t in range(1, half + 1):
                v += _tap(taps, k, t) * sums[t]
            s = _tap(taps, k, 0) * v[..., h : h + cols]
            for t in range(1, half + 1):
                s += _tap(taps, k, t) * (v[..., h - t : h - t + cols] + v[..., h + t : h + t + cols])
            strip = accumulate(strip, map_rows(maps, k, slice(top, bottom)) * mixed(s, mix, k))
        y[..., top:bottom, :] = strip
    return y


@guarded
def gaussian_mixture_adjoint(
    y: Array, maps: Array, taps: Array, halves: Sequence[int], boundary: str, mix: Array | None = None
) -> Array:
    """Compute the transpose of `gaussian_mixture`: ``x = E^T sum_k g_k^T mix_k^T (maps_k . y)``, E the extension."""
    h = max(halves)
    rows, cols = y.shape[-2:]
    channels = y.shape[-3] if mix is None else mix.shape[1]
    plane = zeros_for(y, resized(y, channels, rows + 2 * h, cols + 2 * h), maps, taps, mix)
    for top, bottom in strips(y, rows, h):
        n = bottom - top
        size = resized(y, channels, n, cols + 2 * h)
        sums = [zeros_for(y, size, maps, taps, mix) for _ in range(h + 1)]
        for k, half in enumerate(halves):
            z = mixed_adjoint(map_rows(maps, k, slice(top, bottom)) * y[..., top:bottom, :], mix, k)
            s = zeros_for(y, size, maps, taps, mix)
            s[..., h : h + cols] += _tap(taps, k, 0) * z
            for t in range(1, half + 1):
                part = _tap(taps, k, t) * z
                s[..., h - t : h - t + cols] += part
                s[..., h + t : h + t + cols] += part
            for t in range(half + 1):
                sums[t] += _tap(taps, k, t) * s
        plane[..., top + h : bottom + h, :] += sums[0]
        for t in range(1, h + 1):
            plane[..., top + h - t : bottom + h - t, :] += sums[t]
            plane[..., top + h + t : bottom + h + t, :] += sums[t]
    return fold(plane, (h, h), (h, h), boundary)
