"""`recursive_mixture` on the CPU: its primitives over `cascade` (extended once) and `stagewise`.

Under "circular" the two are the same: a periodic image stays periodic.
"""

from __future__ import annotations

from typing import Any

from ....types import Array
from ...registry import register
from ..common.rows import summed_to
from .cascade import adjoint_values, forward_values
from .cascade_atoms import back_values
from .stagewise import stagewise_back, stagewise_values

__all__ = ["recursive_mixture", "recursive_mixture_adjoint", "recursive_mixture_gradients"]


@register("recursive_mixture", namespace="numpy")
def recursive_mixture(
    x: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """See `reference.recursive_mixture`. No copy of the image is extended: the boundary is applied row by row."""
    values = stagewise_values if stagewise and boundary != "circular" else forward_values
    y, _, _ = values(x, None, maps, atoms, boundary, mix, (True, False, False))
    return y.reshape(*x.shape[:-3], *y.shape[1:])


@register("recursive_mixture_adjoint", namespace="numpy")
def recursive_mixture_adjoint(
    y: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool = False, mix: Array | None = None
) -> Array:
    """See `reference.recursive_mixture_adjoint`. A gather."""
    if stagewise and boundary != "circular":
        x, _ = stagewise_back(None, y, maps, atoms, boundary, mix, True)
    else:
        x = adjoint_values(y, maps, atoms, boundary, mix)
    return x.reshape(*y.shape[:-3], *x.shape[1:])


@register("recursive_mixture_gradients", namespace="numpy")
def recursive_mixture_gradients(
    x: Array, u: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool, mix: Array | None, wanted: Any
) -> tuple[Array | None, ...]:
    """Compute what is wanted of (F(x), F^T u, and the gradients of ``<u, F(x)>`` in maps, atoms and mix).

    Shapes as in `reference.recursive_mixture`; what is not wanted is None. A gradient has the shape of what it belongs
    to. Cost: one pass for F(x), maps and mix, one of about three times that for image and atoms. Memory: the results,
    an extended plane, and rings of rows for each thread. The same bits for any number of threads.
    """
    anew = stagewise and boundary != "circular"
    want_y, want_x, want_maps, want_atoms, want_mix = wanted
    want_mix = want_mix and mix is not None
    y: Any = None
    gx: Any = None
    gmaps: Any = None
    gatoms: Any = None
    gmix: Any = None
    if want_y or want_maps or want_mix:
        values = stagewise_values if anew else forward_values
        y, gmaps, gmix = values(x, u, maps, atoms, boundary, mix, (want_y, want_maps, want_mix))
    if want_atoms:
        back = stagewise_back if anew else back_values
        gx, gatoms = back(x, u, maps, atoms, boundary, mix, want_x)
        gatoms = gatoms if atoms.shape[1] > 1 else gatoms.sum(axis=1, keepdims=True)
    elif want_x:
        gx = recursive_mixture_adjoint(u, maps, atoms, boundary, stagewise, mix)
    return (
        y.reshape(u.shape) if want_y else None,
        gx.reshape(x.shape) if want_x else None,
        summed_to(gmaps, maps.shape, x.shape[:-3]) if want_maps else None,
        gatoms.astype(x.dtype) if want_atoms else None,
        gmix.transpose(2, 1, 0).astype(x.dtype) if want_mix else None,
    )
