"""`psf_gather` and `psf_scatter` in plain array code."""

from __future__ import annotations

from array_api_compat import array_namespace

from ...boundary import extend, fold
from ...types import Array
from ..guards import guarded
from .convolve import PSFConvolver, accumulate, way_for

__all__ = ["psf_gather", "psf_gather_adjoint", "psf_scatter", "psf_scatter_adjoint"]


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
