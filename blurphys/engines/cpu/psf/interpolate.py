"""`psf_interpolate` on the CPU: each pixel pays for its own PSF's area only.

See `tile`. The adjoint adds to what lies around each tile, it does not gather (``docs/adr/0007``): an output
pixel knows its PSF, an input pixel does not know which PSFs reach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....types import Array
from ...registry import register
from ..common.rows import summed_to
from .mixture import run_gather

__all__ = ["psf_interpolate", "psf_interpolate_adjoint", "psf_interpolate_gradients"]


@register("psf_interpolate", namespace="numpy")
def psf_interpolate(x: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """See `reference.psf_interpolate`. Cost: V C times the area of each pixel's own PSF."""
    return run_gather(x, None, psfs, None, (index, fraction), boundary, (True, False, False, False))[0]


@register("psf_interpolate_adjoint", namespace="numpy")
def psf_interpolate_adjoint(y: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """See `reference.psf_interpolate_adjoint`. Cost as the forward direction."""
    return run_gather(None, y, psfs, None, (index, fraction), boundary, (False, True, False, False))[1]


@register("psf_interpolate_gradients", namespace="numpy")
def psf_interpolate_gradients(
    x: Array, u: Array, psfs: Array, index: Array, fraction: Array, boundary: str, wanted: Sequence[bool]
) -> tuple[Any, Any, Any, Any]:
    """Compute what is wanted of (F(x), F^T u, and the gradients of ``<u, F(x)>`` in psfs and fraction).

    Shapes as in `reference.psf_interpolate`; what is not wanted is None. A gradient has the shape of what it belongs
    to.

    Cost: image and fraction as the forward direction each; the PSFs h w V C per pixel and level, because taps that
    are zero have a gradient, too. The same bits for any number of threads.
    """
    y, gx, gpsfs, gfraction = run_gather(x, u, psfs, None, (index, fraction), boundary, wanted)
    return y, gx, gpsfs, None if gfraction is None else summed_to(gfraction, fraction.shape, x.shape[:-3])
