"""`psf_interpolate` in plain array code, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

from array_api_compat import array_namespace

from ...boundary import extend, fold
from ...inputs import tracing
from ...types import Array, Shape
from ..dynamic_range import Way
from ..guards import guarded
from .convolve import PSFConvolver, accumulate, way_for, zeros_for
from .strips import resized

__all__ = ["psf_interpolate", "psf_interpolate_adjoint"]


def _tiles(height: int, width: int, size: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield slice(top, min(height, top + size)), slice(left, min(width, left + size))


def _hat(index: Array, fraction: Array, level: int) -> Array:
    """Weight of one level at every pixel: 1-f where it is the lower neighbour, f where it is the upper one."""
    xp = array_namespace(fraction)
    zero = xp.zeros_like(fraction)
    upper = xp.where(index == level - 1, fraction, zero)
    return xp.where(index == level, 1.0 - fraction, upper)[..., None, :, :]


def _levels_in(index: Array, levels: int) -> range:
    """The levels that pixels ask for; all of them where torch records and no value is known."""
    if tracing():
        return range(levels)
    xp = array_namespace(index)
    return range(int(xp.min(index)), int(xp.max(index)) + 2)


@guarded
def psf_interpolate(x: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """Blur each output pixel with its own PSF, interpolated between two neighbouring levels.

    ``y_v[p] = (1 - f[p]) (h_vi * x)[p] + f[p] (h_v(i+1) * x)[p]`` with ``i = index[p]``.

    Parameters
    ----------
    x : array of shape (*N, C, H, W)
    psfs : array of shape (V, L, 1 or C, h, w)
    index : integer array of shape (*B, H, W)
        Lower level, 0 <= index <= L - 2.
    fraction : array of shape (*B, H, W)
        Weight of the upper level, in [0, 1].
    boundary : str

    Returns
    -------
    array of shape (*N, V C, H, W)

    Notes
    -----
    Tile by tile, visiting only the levels that occur in a tile.
    """
    views = psfs.shape[0]
    rows, cols = x.shape[-2:]
    channels = x.shape[-3]
    size = max(64, 3 * max(psfs.shape[-2:]))
    whole = PSFConvolver(psfs, (rows, cols), way="direct")
    plane = extend(x, whole.before, whole.after, boundary)
    y = zeros_for(x, resized(x, views * channels, rows, cols))
    convolvers: dict[tuple[Shape, Way], PSFConvolver] = {}
    for r, c in _tiles(rows, cols, size):
        shape = (r.stop - r.start, c.stop - c.start)
        seen = plane[..., r.start : r.stop + whole.margin[0], c.start : c.stop + whole.margin[1]]
        way = way_for(seen, psfs)
        conv = convolvers.setdefault((shape, way), PSFConvolver(psfs, shape, way=way, keep=True))
        i, f = index[..., r, c], fraction[..., r, c]
        tile = conv.transform(seen)
        for level in _levels_in(i, psfs.shape[1]):
            w = _hat(i, f, level)
            for v in range(views):
                y[..., v * channels : (v + 1) * channels, r, c] += w * conv.valid(tile, v, level)
    return y


@guarded
def psf_interpolate_adjoint(y: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """Compute the transpose of `psf_interpolate`: ``x = E^T sum_vl h_vl^T (w_l . y_v)``, tile by tile."""
    views = psfs.shape[0]
    rows, cols = y.shape[-2:]
    channels = y.shape[-3] // views
    size = max(64, 3 * max(psfs.shape[-2:]))
    whole = PSFConvolver(psfs, (rows, cols), way="direct")
    plane = zeros_for(y, resized(y, channels, rows + whole.margin[0], cols + whole.margin[1]))
    convolvers: dict[tuple[Shape, Way], PSFConvolver] = {}
    for r, c in _tiles(rows, cols, size):
        shape = (r.stop - r.start, c.stop - c.start)
        way = way_for(y[..., r, c], psfs)
        conv = convolvers.setdefault((shape, way), PSFConvolver(psfs, shape, way=way, keep=True))
        i, f = index[..., r, c], fraction[..., r, c]
        total = None
        for level in _levels_in(i, psfs.shape[1]):
            w = _hat(i, f, level)
            for v in range(views):
                part = w * y[..., v * channels : (v + 1) * channels, r, c]
                total = accumulate(total, conv.full_adjoint(part, v, level))
        plane[..., r.start : r.stop + conv.margin[0], c.start : c.stop + conv.margin[1]] += conv.restore(total)
    return fold(plane, whole.before, whole.after, boundary)
