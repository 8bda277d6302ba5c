"""`recursive_mixture` in plain array code."""

from __future__ import annotations

from ...boundary import extend, fold
from ...types import Array
from ..guards import guarded
from .convolve import accumulate, conv1d_adjoint, conv1d_valid, zeros_for
from .strips import map_rows, mixed, mixed_adjoint, resized, strips

__all__ = ["recursive_mixture", "recursive_mixture_adjoint"]


@guarded
def recursive_mixture(
    x: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """Compute ``y = sum_j maps_j . mix_j u_j`` with ``u_1 = x``, ``u_j = (a_j a_j^T) * u_(j-1)``.

    Parameters
    ----------
    x : array of shape (*N, C, H, W)
    maps : array of shape (*B, J, H, W)
    atoms : array of shape (J-1, 1 or C, t), t odd
        1-D taps, applied along columns and along rows.
    boundary : str
    stagewise : bool
        False: extend once, then filter on the extended plane. True: extend anew before every atom.
    mix : array of shape (C_out, C, J), optional

    Returns
    -------
    array of shape (*N, C_out, H, W)
        Cost: O(J t) per pixel.
    """
    h, levels = atoms.shape[-1] // 2, maps.shape[-3]
    rows, cols = x.shape[-2:]
    reach = 0 if stagewise else h * (levels - 1)
    step = h if stagewise else 0
    plane = extend(x, (reach, reach), (reach, reach), boundary)
    y = zeros_for(x, resized(x, x.shape[-3] if mix is None else mix.shape[0], rows, cols), maps, atoms, mix)
    for top, bottom in [(0, rows)] if stagewise else strips(x, rows, reach):
        u = plane[..., top : bottom + 2 * reach, :]
        strip = map_rows(maps, 0, slice(top, bottom)) * mixed(_crop(u, reach), mix, 0)
        for j in range(1, levels):
            u = extend(u, (step, step), (step, step), boundary)
            u = conv1d_valid(conv1d_valid(u, atoms[j - 1, :, :], -2), atoms[j - 1, :, :], -1)
            margin = 0 if stagewise else reach - h * j
            strip = accumulate(strip, map_rows(maps, j, slice(top, bottom)) * mixed(_crop(u, margin), mix, j))
        y[..., top:bottom, :] = strip
    return y


@guarded
def recursive_mixture_adjoint(
    y: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """Compute the transpose of `recursive_mixture`: Horner's rule run backwards, no level is stored.

    ``v = maps_J . y``, then ``v = (a_j a_j^T)^T v + maps_(j-1) . y`` down to the first level, then the extension's
    transpose.
    """
    h, levels = atoms.shape[-1] // 2, maps.shape[-3]
    rows, cols = y.shape[-2:]
    channels = y.shape[-3] if mix is None else mix.shape[1]
    reach = 0 if stagewise else h * (levels - 1)
    step = h if stagewise else 0
    plane = zeros_for(y, resized(y, channels, rows + 2 * reach, cols + 2 * reach), maps, atoms, mix)
    for top, bottom in [(0, rows)] if stagewise else strips(y, rows, reach):
        part = y[..., top:bottom, :]
        v = mixed_adjoint(map_rows(maps, levels - 1, slice(top, bottom)) * part, mix, levels - 1)
        for j in range(levels - 1, 0, -1):
            v = conv1d_adjoint(conv1d_adjoint(v, atoms[j - 1, :, :], -1), atoms[j - 1, :, :], -2)
            v = fold(v, (step, step), (step, step), boundary)
            margin = 0 if stagewise else h * (levels - j)
            inner = mixed_adjoint(map_rows(maps, j - 1, slice(top, bottom)) * part, mix, j - 1)
            v[..., margin : margin + bottom - top, margin : margin + cols] += inner
        plane[..., top : bottom + 2 * reach, :] += v
    return fold(plane, (reach, reach), (reach, reach), boundary)


def _crop(u: Array, margin: int) -> Array:
    return u[..., margin : u.shape[-2] - margin, margin : u.shape[-1] - margin]
