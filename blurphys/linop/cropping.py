"""`LinearOperator.crop`: the operator for a part of the image, with the same PSFs at the same points of the scene."""

from __future__ import annotations

from typing import Any

from ..boundary import extension_limit
from .algebra import Composed, Scaled, Stacked, Sum
from .base import LinearOperator
from .elementary import Window
from .tiling import Tiled
from .windows import check_operator, leaves

__all__ = ["crop"]


def crop(A: LinearOperator, rows: slice, cols: slice) -> LinearOperator:
    """Return the operator of the window (rows, cols) of what `A` returns; see `LinearOperator.crop`."""
    owner = f"{type(A).__name__}.crop"
    below = list(leaves(A).values())
    for leaf in below:
        if not isinstance(leaf, Window):
            check_operator(leaf, owner)
    if Window not in map(type, below) and tuple(A.in_shape[-2:]) != tuple(A.out_shape[-2:]):
        raise TypeError(f"{owner}: expected an operator that keeps H, W, got {A.in_shape} -> {A.out_shape}")
    height, width = A.out_shape[-2:]
    r, c = _normalize_slice(owner, "rows", rows, height), _normalize_slice(owner, "columns", cols, width)
    part = _crop(owner, A, r, c, {})
    _check_reach(owner, A, part)
    return part


def _crop(owner: str, A: LinearOperator, rows: slice, cols: slice, done: dict[int, LinearOperator]) -> LinearOperator:
    if isinstance(A, Tiled):
        return Tiled(_crop(owner, A.operator, rows, cols, done), A.tile, A.max_memory)
    if not any(isinstance(leaf, Window) for leaf in leaves(A).values()):
        return A._window((rows,), (cols,), done)
    if isinstance(A, Window):
        return Window((A.shape[0], rows.stop - rows.start, cols.stop - cols.start), A.margin)
    if isinstance(A, Composed):
        taller, wider = (n - m for n, m in zip(A.left.in_shape[-2:], A.left.out_shape[-2:], strict=True))
        inner = slice(rows.start, rows.stop + taller), slice(cols.start, cols.stop + wider)
        return Composed(_crop(owner, A.left, rows, cols, done), _crop(owner, A.right, *inner, done))
    if isinstance(A, Scaled):
        return Scaled(A.factor, _crop(owner, A.operator, rows, cols, done))
    if isinstance(A, Sum):
        return Sum(_crop(owner, A.left, rows, cols, done), _crop(owner, A.right, rows, cols, done))
    if isinstance(A, Stacked):
        return Stacked(tuple(_crop(owner, part, rows, cols, done) for part in A.operators))
    raise TypeError(
        f"{owner}: expected an operator with unknown boundary rather than its adjoint; crop the operator and "
        f"take the adjoint, A.crop(rows, cols).H"
    )


def _normalize_slice(owner: str, name: str, part: Any, size: int) -> slice:
    """Return a slice with integer bounds within the axis, as indexing would interpret it."""
    if not isinstance(part, slice):
        raise TypeError(
            f"{owner}: expected {name} as a slice, got {type(part).__name__} {part!r}; "
            f"A.crop(slice(0, 64), slice(None)) takes the first 64 rows"
        )
    try:
        start, stop, step = part.indices(size)
    except TypeError:
        raise TypeError(f"{owner}: expected {name} as a slice of integers, got {part!r}") from None
    if step != 1:
        raise ValueError(f"{owner}: expected {name} without a step, got {part!r}: skipping pixels changes the blur")
    if stop <= start:
        raise ValueError(f"{owner}: expected at least one of the {size} {name}, got {part!r}")
    return slice(start, stop)


def _check_reach(owner: str, A: LinearOperator, part: LinearOperator) -> None:
    """Raise ValueError if a window is too small for its boundary rule to extend it by the halo."""
    frames = [leaf.in_shape for leaf in leaves(A).values()]
    for leaf in leaves(part).values():
        boundary, halo = getattr(leaf, "boundary", "zero"), leaf.halo or 0
        for name, axis in (("rows", -2), ("columns", -1)):
            size = leaf.in_shape[axis]
            limit = extension_limit(size, boundary)
            whole = any(shape[axis] == size for shape in frames)  # as in A, whose constructor has checked it
            if limit is not None and halo > limit and not whole:
                raise ValueError(
                    f"{owner}: expected more than {halo} {name}, the halo of {type(leaf).__name__}, got {size}: "
                    f"boundary {boundary!r} cannot extend a smaller window, and all its pixels would be affected"
                )
