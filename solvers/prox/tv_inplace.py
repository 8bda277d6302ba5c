"""The proximal operator of total variation on NumPy arrays: the steps of `tv_step`, in buffers allocated once."""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array, is_torch_array

from ..core.types import Array

__all__ = ["STEP", "MIN_THREAD_PIXELS", "host_view", "next_momentum", "tv_numpy"]

Plane = np.ndarray[Any, Any]  # (G, H, W): channels that share one gradient length; G = 1 if they do not

STEP = 0.125  # 1 / ||D||^2: the squared norm of forward differences in the plane is at most 8
MIN_THREAD_PIXELS = 1 << 15  # pixels
BAND, MIN_BAND = 1 << 16, 4  # numbers per array of a band, and its least number of rows


def next_momentum(momentum: float) -> tuple[float, float]:
    """Return Nesterov's next t, and the weight (t - 1) / t_next of the extrapolation."""
    following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
    return following, (momentum - 1) / following


def host_view(x: Array) -> np.ndarray[Any, Any] | None:
    """Return the data of x as a NumPy array without a copy, or None where the array operations are needed."""
    if is_numpy_array(x):
        return x if x.dtype in (np.float32, np.float64) else None
    if not is_torch_array(x) or x.device.type != "cpu" or x.requires_grad:
        return None
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or x.dtype not in (torch.float32, torch.float64):
        return None
    try:
        return np.asarray(x.numpy())
    except RuntimeError:  # inside torch.func's transforms a tensor has no data of its own
        return None


def tv_numpy(x: Plane, strength: float, *, iterations: int, joint: bool, isotropic: bool = True) -> Plane:
    """Denoise images (*B, C, H, W) plane by plane (image by image if joint), on as many threads as there are cores."""
    height, width = x.shape[-2:]
    groups = x.reshape(-1, x.shape[-3] if joint else 1, height, width)

    def work(index: int) -> Plane:
        with np.errstate(all="ignore"):  # the setting of the calling thread does not reach this one
            return _denoise(groups[index], strength, iterations, isotropic)

    if len(groups) == 1:
        return work(0).reshape(x.shape)
    out = np.empty_like(groups)

    def store(index: int) -> None:
        out[index] = work(index)

    threads = min(len(groups), os.cpu_count() or 1)
    if threads == 1 or groups[0].size < MIN_THREAD_PIXELS:
        for index in range(len(groups)):
            store(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(store, range(len(groups))))
    return out.reshape(x.shape)


def _denoise(x: Plane, strength: float, iterations: int, isotropic: bool) -> Plane:
    """Run the steps band by band, so that they stay in the cache; memory: four fields of the size of x.

    Each step extrapolates from the last two pairs of fields; the new fields overwrite the older pair.
    """
    down, right, old_down, old_right = (np.zeros_like(x) for _ in range(4))
    height = x.shape[1]
    band = max(MIN_BAND, BAND // (x.shape[0] * x.shape[2]))
    rows = min(band + 1, height)
    work = [np.empty((x.shape[0], rows, x.shape[2]), x.dtype) for _ in range(6)]
    length = np.empty((1, rows, x.shape[2]), x.dtype)
    limit = x.dtype.type(strength)
    momentum, push = 1.0, x.dtype.type(0)
    for _ in range(iterations):
        above = np.zeros_like(x[:, :1])  # the extrapolated `down` of the row above the band
        for top in range(0, height, band):
            bottom = min(top + band, height)
            inside, below = slice(top, bottom), slice(top, min(bottom + 1, height))
            count, ahead_count = bottom - top, below.stop - top
            down_ahead, right_ahead, z, new_down, new_right, scratch = (w[:, :ahead_count] for w in work)
            for ahead, new, old in ((down_ahead, down, old_down), (right_ahead, right, old_right)):
                np.subtract(new[:, below], old[:, below], out=ahead)
                ahead *= push
                ahead += new[:, below]
            _image(x[:, below], down_ahead, right_ahead, z)
            z[:, :1] -= above
            above = down_ahead[:, count - 1 : count].copy()
            new_down, new_right, scratch = new_down[:, :count], new_right[:, :count], scratch[:, :count]
            inner = ahead_count - 1
            np.subtract(z[:, 1:], z[:, :-1], out=new_down[:, :inner])
            new_down[:, inner:] = 0
            np.subtract(z[:, :count, 1:], z[:, :count, :-1], out=new_right[..., :-1])
            new_right[..., -1] = 0
            for new, ahead in ((new_down, down_ahead), (new_right, right_ahead)):
                new *= x.dtype.type(STEP)
                new += ahead[:, :count]
            _project(new_down, new_right, limit, isotropic, scratch, length[:, :count])
            old_down[:, inside], old_right[:, inside] = new_down, new_right
        down, old_down, right, old_right = old_down, down, old_right, right
        momentum, weight = next_momentum(momentum)
        push = x.dtype.type(weight)
    _image(x, down, right, old_right)
    return old_right


def _project(down: Plane, right: Plane, limit: Any, isotropic: bool, scratch: Plane, length: Plane) -> None:
    """Shorten the vectors of a band to length `limit` at most."""
    floor = max(limit * limit, np.finfo(down.dtype).tiny)
    if isotropic:
        _shorten((down, right), limit, floor, scratch, length)
    elif len(down) == 1:
        for field in (down, right):
            np.clip(field, -limit, limit, out=field)
    else:
        for field in (down, right):
            _shorten((field,), limit, floor, scratch, length)


def _image(x: Plane, down: Plane, right: Plane, z: Plane) -> None:
    """Z = x - D^T (down, right); the last row of down and the last column of right are zero."""
    np.add(x, down, out=z)
    z += right
    z[:, 1:] -= down[:, :-1]
    z[..., 1:] -= right[..., :-1]


def _shorten(fields: tuple[Plane, ...], limit: Any, floor: Any, scratch: Plane, length: Plane) -> None:
    """Shorten the vectors over all fields and channels of a pixel to length `limit` at most."""
    _squared_length(fields, scratch, length)
    np.maximum(length, floor, out=length)
    np.sqrt(length, out=length)
    np.divide(limit, length, out=length)
    for field in fields:
        field *= length


def _squared_length(fields: tuple[Plane, ...], scratch: Plane, length: Plane) -> None:
    np.multiply(fields[0], fields[0], out=scratch)
    np.sum(scratch, axis=0, keepdims=True, out=length)
    for field in fields[1:]:
        np.multiply(field, field, out=scratch)
        length += scratch if len(scratch) == 1 else np.sum(scratch, axis=0, keepdims=True)
