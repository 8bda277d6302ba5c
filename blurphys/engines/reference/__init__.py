"""Every primitive in plain array code: readable, differentiable in torch, the ground truth for the fast engines.

Shapes: images (*N, C, H, W); maps (*B, K, H, W) with *N ending in *B; ``mix`` (C_out, C_in, K) or None (each colour
to itself). Work goes strip by strip (mixtures of separable kernels) or tile by tile (PSFs), so that intermediates stay
in cache and memory is O(image), never O(K x image). The adjoint of each primitive stands right under it.
"""

from .gaussian import gaussian_mixture, gaussian_mixture_adjoint
from .interpolate import psf_interpolate, psf_interpolate_adjoint
from .layered import layered_over, layered_over_adjoint
from .psf import psf_gather, psf_gather_adjoint, psf_scatter, psf_scatter_adjoint
from .recursive import recursive_mixture, recursive_mixture_adjoint

__all__ = [
    "gaussian_mixture",
    "gaussian_mixture_adjoint",
    "layered_over",
    "layered_over_adjoint",
    "psf_gather",
    "psf_gather_adjoint",
    "psf_interpolate",
    "psf_interpolate_adjoint",
    "psf_scatter",
    "psf_scatter_adjoint",
    "recursive_mixture",
    "recursive_mixture_adjoint",
]
