"""Every primitive in plain array code: readable, differentiable in torch, the ground truth for the fast engines.

Shapes: images (*N, C, H, W); maps (*B, K, H, W) with *N ending in *B; ``mix`` (C_out, C_in, K) or None (each colour
to itself). Work goes strip by strip (mixtures of separable kernels) or tile by tile (PSFs), so that intermediates stay
in cache and memory is O(image), never O(K x image). The adjoint of each primitive stands right under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from array_api_compat import array_namespace

from ..boundary import extend, fold
from ..inputs import tracing
from ..types import Array, Shape
from .convolve import PSFConvolver, accumulate, conv1d_adjoint, conv1d_valid, way_for, zeros_for
from .dynamic_range import Way
from .guards import guarded

__all__ = [
    "gaussian_mixture",
    "gaussian_mixture_adjoint",
    "psf_gather",
    "psf_gather_adjoint",
    "psf_interpolate",
    "psf_interpolate_adjoint",
    "psf_scatter",
    "psf_scatter_adjoint",
    "recursive_mixture",
    "recursive_mixture_adjoint",
]


def _resized(x: Array, channels: int, rows: int, cols: int) -> Shape:
    return (*x.shape[:-3], channels, rows, cols)


def _strips(x: Array, rows: int, halo: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` into strips that keep a strip of all channels near 1 MiB, but no thinner than the halo."""
    per_row = max(1, prod(x.shape[:-2]) * x.shape[-1])
    height = max(16, 2 * halo, 2**18 // per_row)
    for start in range(0, rows, height):
        yield start, min(rows, start + height)


def _map(maps: Array, k: int, rows: slice) -> Array:
    """Map k on some rows, with a channel axis that broadcasts."""
    return maps[..., k, rows, :][..., None, :, :]


def _mixed(u: Array, mix: Array | None, k: int) -> Array:
    """Sum over the input channels with the weights mix[:, :, k]; (..., C_in, n, m) -> (..., C_out, n, m)."""
    if mix is None:
        return u
    flat = array_namespace(u).reshape(u, (*u.shape[:-2], u.shape[-2] * u.shape[-1]))
    return array_namespace(u).reshape(mix[:, :, k] @ flat, (*u.shape[:-3], mix.shape[0], *u.shape[-2:]))


def _mixed_adjoint(u: Array, mix: Array | None, k: int) -> Array:
    if mix is None:
        return u
    return _mixed(u, array_namespace(u).permute_dims(mix, (1, 0, 2)), k)


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
    y = zeros_for(x, _resized(x, x.shape[-3] if mix is None else mix.shape[0], rows, cols), maps, taps, mix)
    for top, bottom in _strips(x, rows, h):
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
            strip = accumulate(strip, _map(maps, k, slice(top, bottom)) * _mixed(s, mix, k))
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
    plane = zeros_for(y, _resized(y, channels, rows + 2 * h, cols + 2 * h), maps, taps, mix)
    for top, bottom in _strips(y, rows, h):
        n = bottom - top
        size = _resized(y, channels, n, cols + 2 * h)
        sums = [zeros_for(y, size, maps, taps, mix) for _ in range(h + 1)]
        for k, half in enumerate(halves):
            z = _mixed_adjoint(_map(maps, k, slice(top, bottom)) * y[..., top:bottom, :], mix, k)
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
    y = zeros_for(x, _resized(x, x.shape[-3] if mix is None else mix.shape[0], rows, cols), maps, atoms, mix)
    for top, bottom in [(0, rows)] if stagewise else _strips(x, rows, reach):
        u = plane[..., top : bottom + 2 * reach, :]
        strip = _map(maps, 0, slice(top, bottom)) * _mixed(_crop(u, reach), mix, 0)
        for j in range(1, levels):
            u = extend(u, (step, step), (step, step), boundary)
            u = conv1d_valid(conv1d_valid(u, atoms[j - 1, :, :], -2), atoms[j - 1, :, :], -1)
            margin = 0 if stagewise else reach - h * j
            strip = accumulate(strip, _map(maps, j, slice(top, bottom)) * _mixed(_crop(u, margin), mix, j))
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
    plane = zeros_for(y, _resized(y, channels, rows + 2 * reach, cols + 2 * reach), maps, atoms, mix)
    for top, bottom in [(0, rows)] if stagewise else _strips(y, rows, reach):
        part = y[..., top:bottom, :]
        v = _mixed_adjoint(_map(maps, levels - 1, slice(top, bottom)) * part, mix, levels - 1)
        for j in range(levels - 1, 0, -1):
            v = conv1d_adjoint(conv1d_adjoint(v, atoms[j - 1, :, :], -1), atoms[j - 1, :, :], -2)
            v = fold(v, (step, step), (step, step), boundary)
            margin = 0 if stagewise else h * (levels - j)
            inner = _mixed_adjoint(_map(maps, j - 1, slice(top, bottom)) * part, mix, j - 1)
            v[..., margin : margin + bottom - top, margin : margin + cols] += inner
        plane[..., top : bottom + 2 * reach, :] += v
    return fold(plane, (reach, reach), (reach, reach), boundary)


def _crop(u: Array, margin: int) -> Array:
    return u[..., margin : u.shape[-2] - margin, margin : u.shape[-1] - margin]


def _weighted(weights: Array | None, level: int, image: Array) -> Array:
    return image if weights is None else weights[..., level, :, :][..., None, :, :] * image


@guarded
def psf_gather(x: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """Compute ``y_v = sum_l w_l . (h_vl * x)``: the PSF belongs to the output pixel.

    Parameters
    ----------
    x : array of shape (*N, C, H, W)
    psfs : array of shape (V, L, 1 or C, h, w)
        V views of L kernels, centre ``h // 2, w // 2``.
    weights : array of shape (*B, L, H, W), or None
        None stands for ones (with L = 1: uniform blur).
    boundary : str

    Returns
    -------
    array of shape (*N, V C, H, W)
        Views one after the other. Cost: the cheaper of direct and FFT, see `PSFConvolver`.
    """
    views, levels = psfs.shape[:2]
    conv = PSFConvolver(psfs, x.shape[-2:], way=way_for(x, psfs))
    plane = conv.transform(extend(x, conv.before, conv.after, boundary))
    outs = []
    for v in range(views):
        total = None
        for level in range(levels):
            part = conv.valid(plane, v, level)
            total = accumulate(total, _weighted(weights, level, part))
        outs.append(total)
    return array_namespace(x).concat(outs, axis=-3) if views > 1 else outs[0]


@guarded
def psf_gather_adjoint(y: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """Compute the transpose of `psf_gather`: ``x = E^T sum_vl h_vl^T (w_l . y_v)``."""
    views, levels = psfs.shape[:2]
    conv = PSFConvolver(psfs, y.shape[-2:], way=way_for(y, psfs, weights))
    channels = y.shape[-3] // views
    total = None
    for v in range(views):
        part = y[..., v * channels : (v + 1) * channels, :, :]
        for level in range(levels):
            total = accumulate(total, conv.full_adjoint(_weighted(weights, level, part), v, level))
    return fold(conv.restore(total), conv.before, conv.after, boundary)


@guarded
def psf_scatter(x: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """Compute ``y = sum_l h_l * (w_l . x)``: the PSF belongs to the input pixel.

    Shapes as in `psf_gather` with one view; the product ``w_l . x`` is what is extended.
    """
    conv = PSFConvolver(psfs, x.shape[-2:], way=way_for(x, psfs, weights))
    total = None
    for level in range(psfs.shape[1]):
        z = extend(_weighted(weights, level, x), conv.before, conv.after, boundary)
        total = accumulate(total, conv.valid_transformed(conv.transform(z), 0, level))
    return conv.finish(total)


@guarded
def psf_scatter_adjoint(y: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """Compute the transpose of `psf_scatter`: ``x = sum_l w_l . E^T h_l^T y``."""
    conv = PSFConvolver(psfs, y.shape[-2:], way=way_for(y, psfs))
    spectrum = conv.transform_adjoint(y)
    total = None
    for level in range(psfs.shape[1]):
        part = fold(conv.full_from(spectrum, 0, level), conv.before, conv.after, boundary)
        total = accumulate(total, _weighted(weights, level, part))
    return total


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
    y = zeros_for(x, _resized(x, views * channels, rows, cols))
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
    plane = zeros_for(y, _resized(y, channels, rows + whole.margin[0], cols + whole.margin[1]))
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
