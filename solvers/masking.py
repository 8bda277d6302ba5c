"""A preconditioner that leaves unobserved pixels alone."""

from __future__ import annotations

from .types import Array, Preconditioner

__all__ = ["masked"]


def masked(preconditioner: Preconditioner | None, mask: Array | None) -> Preconditioner | None:
    """Return r -> mask M r, so that what a mask hides stays as it was at the start."""
    if preconditioner is None or mask is None:
        return preconditioner

    def apply(r: Array) -> Array:
        return mask * preconditioner(r)

    return apply
