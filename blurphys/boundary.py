"""Boundary conditions: the extension of an image beyond its frame, and its exact adjoint.

All operators do the same: *extend the image once, then filter the extended image*. `extend` is that
extension and `fold` is its transpose, so ``<extend(x), v> = <x, fold(v)>`` holds to rounding for each boundary.

=============== ==================== =============== ================ =====================
here            pixels a b c d       numpy.pad       torch pad        scipy.ndimage
=============== ==================== =============== ================ =====================
``reflect``     d c b | a b c d      ``reflect``     ``reflect``      ``mirror``
``symmetric``   c b a | a b c d      ``symmetric``   (none)           ``reflect``
``replicate``   a a a | a b c d      ``edge``        ``replicate``    ``nearest``
``circular``    b c d | a b c d      ``wrap``        ``circular``     ``grid-wrap``
``zero``        0 0 0 | a b c d      ``constant``    ``constant``     ``grid-constant``
=============== ==================== =============== ================ =====================

``reflect`` reaches at most n-1 pixels beyond an axis of n pixels, ``symmetric`` at most n; the others are unlimited.
"""

from __future__ import annotations

from typing import get_args

from array_api_compat import array_namespace, device

from .inputs import require_choice
from .types import Array, BoundaryName, Shape

__all__ = ["BOUNDARIES", "check_boundary", "check_extension", "extend", "extension_limit", "fold"]

BOUNDARIES: tuple[str, ...] = get_args(BoundaryName)


def check_boundary(boundary: str, owner: str) -> None:
    """Raise ValueError unless `boundary` is one of the five names."""
    require_choice(owner, "boundary", boundary, BOUNDARIES)


def extension_limit(size: int, boundary: str) -> int | None:
    """Largest extension (px) of an axis of `size` pixels, or None where there is no limit."""
    return {"reflect": size - 1, "symmetric": size}.get(boundary)


def check_extension(shape: Shape, before: tuple[int, int], after: tuple[int, int], boundary: str, owner: str) -> None:
    """Raise ValueError if an image of `shape` (..., H, W) cannot be extended this far."""
    for name, size, b, a in zip(("rows", "columns"), shape[-2:], before, after, strict=True):
        limit = extension_limit(size, boundary)
        if limit is not None and max(a, b) > limit:
            raise ValueError(
                f"{owner}: expected a kernel that reaches at most {limit} px beyond {size} {name} with boundary "
                f"{boundary!r}, got a reach of {max(a, b)} px; is the image too small for this blur? "
                f"'replicate', 'circular' and 'zero' have no limit"
            )


def _cut(x: Array, axis: int, start: int, stop: int) -> Array:
    """Return the view ``x[..., start:stop]`` along axis -1 or -2."""
    return x[..., start:stop] if axis == -1 else x[..., start:stop, :]


def _periods(size: int, before: int, after: int) -> list[tuple[int, int, int]]:
    """List (start, stop, source) runs: plane[start:stop] is a copy of image[source:...] under ``circular``."""
    runs = []
    for period in range(-(-before // size) * -1, (size + after - 1) // size + 1):
        start = max(0, period * size + before)
        stop = min(size + before + after, (period + 1) * size + before)
        runs.append((start, stop, start - before - period * size))
    return runs


def _extend_axis(x: Array, axis: int, before: int, after: int, boundary: str) -> Array:
    if before == 0 and after == 0:
        return x
    xp = array_namespace(x)
    size = x.shape[axis]
    if boundary == "circular":
        runs = _periods(size, before, after)
        return xp.concat([_cut(x, axis, source, source + stop - start) for start, stop, source in runs], axis=axis)
    parts = [x]
    if boundary in ("reflect", "symmetric"):
        skip = 1 if boundary == "reflect" else 0
        if before:
            parts.insert(0, xp.flip(_cut(x, axis, skip, skip + before), axis=axis))
        if after:
            parts.append(xp.flip(_cut(x, axis, size - skip - after, size - skip), axis=axis))
    else:
        for amount, edge, position in ((before, _cut(x, axis, 0, 1), 0), (after, _cut(x, axis, size - 1, size), 2)):
            if amount:
                shape = list(x.shape)
                shape[axis] = amount
                if boundary == "replicate":
                    pad = xp.broadcast_to(edge, tuple(shape))
                else:
                    pad = xp.zeros(tuple(shape), dtype=x.dtype, device=device(x))
                parts.insert(position, pad)
    return xp.concat(parts, axis=axis)


def _fold_axis(v: Array, axis: int, before: int, after: int, boundary: str) -> Array:
    if before == 0 and after == 0:
        return v
    xp = array_namespace(v)
    size = v.shape[axis] - before - after
    core = _cut(v, axis, before, before + size) + 0.0  # a copy that autograd can follow
    if boundary == "zero":
        return core
    if boundary == "circular":
        for start, stop, source in _periods(size, before, after):
            if start != before:
                _add_to(core, axis, source, _cut(v, axis, start, stop))
        return core
    left, right = _cut(v, axis, 0, before), _cut(v, axis, before + size, before + size + after)
    if boundary == "replicate":
        if before:
            _add_to(core, axis, 0, xp.sum(left, axis=axis, keepdims=True))
        if after:
            _add_to(core, axis, size - 1, xp.sum(right, axis=axis, keepdims=True))
        return core
    skip = 1 if boundary == "reflect" else 0
    if before:
        _add_to(core, axis, skip, xp.flip(left, axis=axis))
    if after:
        _add_to(core, axis, size - skip - after, xp.flip(right, axis=axis))
    return core


def _add_to(target: Array, axis: int, start: int, amount: Array) -> None:
    stop = start + amount.shape[axis]
    if axis == -1:
        target[..., start:stop] += amount
    else:
        target[..., start:stop, :] += amount


def extend(x: Array, before: tuple[int, int], after: tuple[int, int], boundary: str) -> Array:
    """Extend an image beyond its frame.

    Parameters
    ----------
    x : array of shape (..., H, W)
        Image.
    before, after : (int, int)
        Pixels added (above, left) and (below, right); within `extension_limit`.
    boundary : str
        One of the five names.

    Returns
    -------
    array of shape (..., H + before[0] + after[0], W + before[1] + after[1])
        The plane on which a filter is then applied. Cost: one copy.
    """
    x = _extend_axis(x, -2, before[0], after[0], boundary)
    return _extend_axis(x, -1, before[1], after[1], boundary)


def fold(v: Array, before: tuple[int, int], after: tuple[int, int], boundary: str) -> Array:
    """Apply the transpose of `extend`: every extended pixel is added to the image pixel that it was copied from.

    Parameters
    ----------
    v : array of shape (..., H + before[0] + after[0], W + before[1] + after[1])
        Extended plane; not written to.
    before, after, boundary
        As in `extend`.

    Returns
    -------
    array of shape (..., H, W)
        ``<extend(x), v> = <x, fold(v)>``. Cost: one copy.
    """
    v = _fold_axis(v, -1, before[1], after[1], boundary)
    return _fold_axis(v, -2, before[0], after[0], boundary)
