"""Arrays on disk: HDF5 datasets and memory-mapped files, read window by window.

A *stored* array is an `h5py.Dataset`: it has a shape and a dtype, but its values are read on request. A memory-mapped
file (`numpy.memmap`) is a NumPy array whose pages the system reads on first use. They then count as resident memory
of the process until they are released, which `read_window` and `release_pages` do.

A `Span` is the rows (or columns) of a window: one slice, or several, as when the window wraps around the frame.
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

__all__ = [
    "Span",
    "is_stored",
    "shares_memory",
    "release_pages",
    "row_blocks",
    "flush_file",
    "span_length",
    "stand_in",
    "read_window",
]

Span: TypeAlias = tuple[slice, ...]

_BLOCK_BYTES = 2**24
"""Bytes that a pass over the values of a stored array reads at once."""


def span_length(span: Span) -> int:
    """Return the number of rows or columns of a span."""
    return sum(s.stop - s.start for s in span)


def is_stored(x: Any) -> bool:
    """Whether `x` is an `h5py.Dataset`. h5py is not imported for the test."""
    h5py = sys.modules.get("h5py")
    return h5py is not None and isinstance(x, h5py.Dataset)


def stand_in(x: Any) -> Any:
    """Return a NumPy array of zeros with the shape and dtype of an HDF5 dataset, without its memory; others unchanged.

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


def release_pages(x: Any) -> None:
    """Release the pages of a memory-mapped file; data that were written stay in the file.

    Nothing is done for other arrays, and for mappings whose changes are private to this process.
    """
    owner = _mapped(x)
    if owner is not None and isinstance(owner.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError):  # pages may be locked
            owner.base.madvise(mmap.MADV_DONTNEED)


def flush_file(x: Any) -> None:
    """Flush the file of `x`; do nothing for arrays in memory."""
    owner = _mapped(x)
    if is_stored(x):
        x.file.flush()
    elif owner is not None:
        owner.flush()


def _read(x: Any, index: tuple[Any, ...], planes: int) -> Array:
    """Read one rectangle: a view of an array in memory, a copy of data in a file."""
    if is_stored(x) or _mapped(x) is None:
        return x[index]
    view = x[index]
    out = np.empty(view.shape, dtype=view.dtype)
    for plane in np.ndindex(view.shape[:planes]):  # plane by plane, so that only the pages of one plane are resident
        out[plane] = view[plane]
        release_pages(x)
    return out


def read_window(x: Any, rows: Span, cols: Span, *, leading: bool = False) -> Array:
    """Read a window of an array in memory or on disk.

    Parameters
    ----------
    x : array or h5py.Dataset of shape (..., H, W); (H, W, ...) if `leading`
        The source.
    rows, cols : tuple of slices
        The window; several slices are concatenated, for windows that wrap around the frame.
    leading : bool
        Whether rows and columns are the first two axes.

    Returns
    -------
    array
        A view of an array in memory if there is one slice for each axis, else a copy. Pages of a memory-mapped file
        are released.
    """
    axes = (0, 1) if leading else (-2, -1)
    strips = []
    for r in rows:
        parts = [_read(x, (r, c, ...) if leading else (..., r, c), 1 if leading else x.ndim - 2) for c in cols]
        strips.append(parts[0] if len(parts) == 1 else array_namespace(*parts).concat(parts, axis=axes[1]))
    return strips[0] if len(strips) == 1 else array_namespace(*strips).concat(strips, axis=axes[0])


def row_blocks(x: Any, axis: int = -2) -> Iterator[tuple[int, Array]]:
    """Yield the rows of an array (axis -2 or 0) in blocks, with the first row of each. Arrays in memory are one block.

    Data in a file are read in blocks of 16 MiB, whose pages are released.
    """
    if not is_stored(x) and _mapped(x) is None:
        yield 0, x
        return
    rows = x.shape[axis]
    height = max(1, _BLOCK_BYTES * rows // max(1, x.size * x.dtype.itemsize))
    if is_stored(x) and x.chunks:
        height = max(1, height // x.chunks[axis]) * x.chunks[axis]
    for top in range(0, rows, height):
        yield top, read_window(x, (slice(top, top + height),), (slice(None),), leading=axis == 0)


def _bounds(x: Any) -> tuple[int, int] | None:
    """Return the first and the end address of the memory of a torch or CuPy array, or of a view of one."""
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
    except OSError:  # deleted or renamed since it was mapped
        return one.filename == other.filename


def shares_memory(x: Any, out: Any) -> bool:
    """Whether writing to `out` can change `x`: common memory, one dataset, or a common part of a mapped file."""
    if is_stored(x) and is_stored(out):
        return bool(x == out or x.is_virtual or out.is_virtual)  # the data of a virtual dataset may be anywhere
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
