"""Arrays on disk: HDF5 datasets and memory-mapped files, read window by window.

A *stored* array is an `h5py.Dataset`: it has a shape and a dtype, but its values are read on request. A memory-mapped
file (`numpy.memmap`) is a NumPy array whose pages the system reads on first use. They then count as resident memory
of the process until they are given back, which `take` and `release` do.

A `Span` says which rows (or columns) a window has: one slice, or two where the window wraps around the frame.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from ..types import Array

__all__ = ["Span", "is_stored", "overlap", "release", "row_blocks", "settle", "span_length", "stand_in", "take"]

Span: TypeAlias = tuple[slice, ...]

_BLOCK = 2**24
"""Bytes that a pass over the values of a stored array reads at once."""


def span_length(span: Span) -> int:
    """Number of rows or columns of a span."""
    return sum(s.stop - s.start for s in span)


def is_stored(x: Any) -> bool:
    """Whether `x` is an `h5py.Dataset`. h5py is not imported for the question."""
    h5py = sys.modules.get("h5py")
    return h5py is not None and isinstance(x, h5py.Dataset)


def stand_in(x: Any) -> Any:
    """Return a NumPy array with the shape and dtype of a stored array and no memory of its own; others as they are.

    Raises
    ------
    ValueError
        If the HDF5 file is closed.
    """
    if not is_stored(x):
        return x
    if not x:
        raise ValueError("expected a dataset of an open HDF5 file, got one whose file is closed; keep the file open")
    return np.broadcast_to(np.zeros((), dtype=x.dtype), x.shape)


def _mapped(x: Any) -> np.memmap | None:
    """Return the array that maps a file and of which `x` is a view; None for arrays in memory.

    A private mapping (copy on write) counts as memory: its changes are in no file.
    """
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap) and isinstance(x.base, mmap.mmap):
            return x if x.mode in ("r", "r+", "w+") else None
        x = x.base
    return None


def release(x: Any) -> None:
    """Give the pages of a memory-mapped file back to the system; what was written stays in the file.

    Other arrays, and mappings whose changes are private to this process, are left alone.
    """
    owner = _mapped(x)
    if owner is not None and isinstance(owner.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError):  # locked pages stay
            owner.base.madvise(mmap.MADV_DONTNEED)


def settle(x: Any) -> None:
    """Write what is still on its way to the file of `x`; nothing for arrays in memory."""
    owner = _mapped(x)
    if is_stored(x):
        x.file.flush()
    elif owner is not None:
        owner.flush()


def _read(x: Any, index: tuple[Any, ...], planes: int) -> Array:
    """Read one rectangle: a view of an array in memory, a copy of what lies in a file."""
    if is_stored(x) or _mapped(x) is None:
        return x[index]
    view = x[index]
    out = np.empty(view.shape, dtype=view.dtype)
    for plane in np.ndindex(view.shape[:planes]):  # so that no more than one plane of pages is resident
        out[plane] = view[plane]
        release(x)
    return out


def take(x: Any, rows: Span, cols: Span, *, leading: bool = False) -> Array:
    """Read a window of an array in memory or on disk.

    Parameters
    ----------
    x : array or h5py.Dataset of shape (..., H, W); (H, W, ...) if `leading`
        The source.
    rows, cols : tuple of slices
        Where; several slices are joined, as a window that wraps around the frame needs it.
    leading : bool
        Whether rows and columns are the first two axes.

    Returns
    -------
    array
        A view where one slice per axis of an array in memory will do, else a copy. Pages of a memory-mapped file are
        given back.
    """
    axes = (0, 1) if leading else (-2, -1)
    strips = []
    for r in rows:
        parts = [_read(x, (r, c, ...) if leading else (..., r, c), 1 if leading else x.ndim - 2) for c in cols]
        strips.append(parts[0] if len(parts) == 1 else array_namespace(*parts).concat(parts, axis=axes[1]))
    return strips[0] if len(strips) == 1 else array_namespace(*strips).concat(strips, axis=axes[0])


def row_blocks(x: Any, axis: int = -2) -> Iterator[tuple[int, Array]]:
    """Go through the rows of an array (axis -2 or 0): (first row, block). Arrays in memory come as one block.

    What lies in a file is read in blocks of some MiB, whose pages are given back.
    """
    if not is_stored(x) and _mapped(x) is None:
        yield 0, x
        return
    rows = x.shape[axis]
    height = max(1, _BLOCK * rows // max(1, x.size * x.dtype.itemsize))
    if is_stored(x) and x.chunks:
        height = max(1, height // x.chunks[axis]) * x.chunks[axis]
    for top in range(0, rows, height):
        yield top, take(x, (slice(top, top + height),), (slice(None),), leading=axis == 0)


def _bounds(x: Any) -> tuple[int, int] | None:
    """First and last byte of an array of torch or CuPy, views included."""
    if is_torch_array(x):
        start, strides = x.data_ptr(), [n * x.element_size() for n in x.stride()]
        size = x.element_size()
    elif hasattr(x, "data") and hasattr(x.data, "ptr"):  # CuPy
        start, strides, size = x.data.ptr, list(x.strides), x.itemsize
    else:
        return None
    reach = [step * (n - 1) for step, n in zip(strides, x.shape, strict=True)]
    return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + size


def _same_file(one: np.memmap, other: np.memmap) -> bool:
    if one.filename is None or other.filename is None:
        return False
    try:
        return os.path.samefile(one.filename, other.filename)
    except OSError:  # deleted or renamed while it is mapped
        return one.filename == other.filename


def overlap(x: Any, out: Any) -> bool:
    """Whether writing to `out` can change `x`: common memory, one dataset, or a common part of a mapped file."""
    if is_stored(x) and is_stored(out):
        return bool(x == out or x.is_virtual or out.is_virtual)  # what a virtual dataset shows lies anywhere
    if is_stored(x) or is_stored(out):
        stored, other = (x, out) if is_stored(x) else (out, x)
        mapped = _mapped(other) if is_numpy_array(other) else None
        return mapped is not None and Path(str(mapped.filename)).resolve() == Path(stored.file.filename).resolve()
    if is_numpy_array(x) and is_numpy_array(out):
        one, other = _mapped(x), _mapped(out)
        if one is not None and other is not None and one is not other and _same_file(one, other):
            return one.offset < other.offset + other.nbytes and other.offset < one.offset + one.nbytes
        return bool(np.may_share_memory(x, out))
    a, b = _bounds(x), _bounds(out)
    return a is not None and b is not None and a[0] < b[1] and b[0] < a[1]
