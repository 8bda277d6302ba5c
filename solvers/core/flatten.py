"""Nested (named) tuples of arrays flattened to a list, and packed into one array."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .types import Array

__all__ = ["check_leaves", "flatten", "pack", "unflatten", "unpack"]


def flatten(state: Any) -> tuple[list[Any], Any]:
    """Return the leaves of nested tuples and lists, and their structure: (type, structures), None for a leaf."""
    if not isinstance(state, (tuple, list)):
        return [state], None
    parts = [flatten(part) for part in state]
    return [leaf for leaves, _ in parts for leaf in leaves], (type(state), [form for _, form in parts])


def unflatten(form: Any, leaves: Iterator[Any]) -> Any:
    """Rebuild the nested structure from its leaves."""
    if form is None:
        return next(leaves)
    kind, forms = form
    parts = [unflatten(part, leaves) for part in forms]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def check_leaves(name: str, leaves: list[Any]) -> None:
    """Raise ValueError unless the leaves are floating-point torch tensors of one dtype."""
    import torch

    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point():
            raise ValueError(
                f"{name}: state must be a floating-point torch tensor or a tuple of them, got a "
                f"{type(leaf).__name__}; a state with counters has no fixed point."
            )
    kinds = {str(leaf.dtype) for leaf in leaves}
    if len(kinds) != 1:
        raise ValueError(
            f"{name}: state must hold tensors of one dtype, got {sorted(kinds)}; a Krylov state has no fixed point, "
            "solvers.implicit_linear differentiates what it solves."
        )


def pack(leaves: list[Any]) -> Array:
    """Return one array with at least three axes: the leaf itself, or all leaves concatenated."""
    import torch

    if len(leaves) == 1 and leaves[0].ndim >= 3:
        return leaves[0]
    return torch.cat([leaf.reshape(-1) for leaf in leaves])[None, None, :]


def unpack(vector: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Inverse of `pack`."""
    if len(shapes) == 1 and len(shapes[0]) >= 3:
        return [vector]
    sizes = [math.prod(shape) for shape in shapes]
    return [part.reshape(shape) for part, shape in zip(vector.reshape(-1).split(sizes), shapes, strict=True)]
