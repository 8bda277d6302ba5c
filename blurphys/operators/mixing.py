"""Shared by the operators: checks of channels and views, kernels for each colour, the channel mix."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, device

from ..inputs import require_integer, require_same_kind
from ..types import Array

__all__ = [
    "check_channels",
    "check_colours",
    "check_mix",
    "check_views",
    "flat_colours",
    "mixed_psf",
    "padded_psf",
    "symmetric_psf",
]


def check_channels(owner: str, channels: int) -> None:
    """Raise ValueError unless `channels` is a positive integer."""
    require_integer(owner, "channels", channels)


def check_views(owner: str, views: Any) -> tuple[str | float, ...]:
    """Return `views` as a tuple; raise ValueError where it is a string or empty, or names a view twice."""
    if isinstance(views, str):
        raise ValueError(f"{owner}: expected a tuple of views, got the string {views!r}")
    found = tuple(views)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{owner}: expected one or more different views, got {found}")
    return found


def check_colours(owner: str, psfs: Array, channels: int) -> None:
    """Raise ValueError unless the PSFs (..., C, h, w) of a bank are for one colour or for `channels` of them."""
    if psfs.shape[-3] not in (1, channels):
        raise ValueError(f"{owner}: expected a bank for {channels} colours, got one for {psfs.shape[-3]}")


def check_mix(owner: str, mix: Array | None, maps: Array, channels: int, levels: int) -> None:
    """Raise unless `mix` is None or an array (D, C, K) of the namespace, dtype and device of the maps."""
    if mix is None:
        return
    require_same_kind(owner, "mix", mix, "the maps", maps)
    if mix.ndim != 3 or tuple(mix.shape[1:]) != (channels, levels):
        raise ValueError(
            f"{owner}: expected mix of shape (C_out, {channels}, {levels}) = (C_out, C_in, K), got {tuple(mix.shape)}"
        )


def flat_colours(psf: Array) -> Array:
    """Remove the colour axis of a PSF (..., 1, h, w) that is the same for all colours."""
    return psf[..., 0, :, :] if psf.shape[-3] == 1 else psf


def padded_psf(psf: Array, size: int) -> Array:
    """Pad kernels (C, n, n) of odd size with zeros to (C, size, size)."""
    xp = array_namespace(psf)
    pad = (size - psf.shape[-1]) // 2
    full = xp.zeros((psf.shape[0], size, size), dtype=psf.dtype, device=device(psf))
    full[:, pad : size - pad, pad : size - pad] += psf
    return full


def mixed_psf(psf: Array, mix: Array | None, k: int) -> Array:
    """Apply a channel mix to kernels (1 or C, h, w), as a grey input sees it: the sum over C, (D, h, w)."""
    if mix is None:
        return psf
    xp = array_namespace(psf)
    weights = mix[:, :, k]
    return xp.sum(weights[:, :, None, None] * psf[None, :, :, :], axis=1)


def symmetric_psf(taps: Array, weights: Array, mix: Array | None) -> Array:
    """Return the PSF of a mixture of symmetric separable kernels at one pixel: (*B, 1 or C, n, n).

    `taps`, (1 or C, K, h + 1), are one-sided, centre first; `weights`, (*B, K), are the maps at the pixel.
    """
    xp = array_namespace(taps)
    lines = xp.concat([xp.flip(taps[:, :, 1:], axis=-1), taps], axis=-1)  # (1 or C, K, size)
    total: Array = None
    for k in range(taps.shape[1]):
        psf = lines[:, k, :, None] * lines[:, k, None, :]
        part = weights[..., k][..., None, None, None] * mixed_psf(psf, mix, k)
        total = part if total is None else total + part
    return total
