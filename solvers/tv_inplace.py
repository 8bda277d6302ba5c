"""The total variation prox on NumPy arrays: the same steps as `tv_step`, in buffers that are allocated once."""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array, is_torch_array

from .types import Array

__all__ = ["STEP", "WORTH_A_THREAD", "host_view", "next_momentum", "tv_numpy"]

Plane = np.ndarray[Any, Any]  # (G, H, W): channels that share one gradient length, G = 1 if they do not

STEP = 0.125  # 1 / ||D||^2: the squared norm of forward differences in the plane is at most 8
WORTH_A_THREAD = 1 << 15  # pixels


def next_momentum(momentum: float) -> tuple[float, float]:
    """Return Nesterov's next t, and the weight (t - 1) / t_next of the extrapolation."""
    following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
    return following, (momentum - 1) / following


def host_view(x: Array) -> np.ndarray[Any, Any] | None:
    """The data of x as a NumPy array without a copy, or None where steps on arrays are needed."""
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
    out = np.empty_like(groups)

    def work(index: int) -> None:
        with np.errstate(all="ignore"):  # the setting of the calling thread does not reach this one
            _denoise(groups[index], strength, iterations, out[index], isotropic)

    threads = min(len(groups), os.cpu_count() or 1)
    if threads == 1 or groups[0].size < WORTH_A_THREAD:
        for index in range(len(groups)):
            work(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(len(groups))))
    return out.reshape(x.shape)


def _denoise(x: Plane, strength: float, iterations: int, z: Plane, isotropic: bool) -> None:
    down, right, down_ahead, right_ahead, new_down, new_right, scratch = (np.zeros_like(x) for _ in range(7))
    length = np.empty_like(x[:1])
    step, limit = x.dtype.type(STEP), x.dtype.type(strength)
    floor = max(limit * limit, np.finfo(x.dtype).tiny)
    momentum = 1.0
    for _ in range(iterations):
        momentum, weight = next_momentum(momentum)
        push = x.dtype.type(weight)
        _image(x, down_ahead, right_ahead, z)
        np.subtract(z[:, 1:], z[:, :-1], out=new_down[:, :-1])
        np.subtract(z[..., 1:], z[..., :-1], out=new_right[..., :-1])
        new_down[:, -1], new_right[..., -1] = 0, 0
        for new, ahead in ((new_down, down_ahead), (new_right, right_ahead)):
            new *= step
            new += ahead
        if isotropic:
            _shorten((new_down, new_right), limit, floor, scratch, length)
        elif len(x) == 1:
            for new in (new_down, new_right):
                np.clip(new, -limit, limit, out=new)
        else:
            _shorten((new_down,), limit, floor, scratch, length)
            _shorten((new_right,), limit, floor, scratch, length)
        for new, old, ahead in ((new_down, down, down_ahead), (new_right, right, right_ahead)):
            np.subtract(new, old, out=ahead)
            ahead *= push
            ahead += new
        down, new_down, right, new_right = new_down, down, new_right, right
    _image(x, down, right, z)


def _image(x: Plane, down: Plane, right: Plane, z: Plane) -> None:
    """Z = x - D^T (down, right); the last row of down and the last column of right are zero."""
    np.add(x, down, out=z)
    z += right
    z[:, 1:] -= down[:, :-1]
    z[..., 1:] -= right[..., :-1]


def _shorten(fields: tuple[Plane, ...], limit: Any, floor: Any, scratch: Plane, length: Plane) -> None:
    """Cut the vectors over all fields and channels of a pixel to the length `limit`."""
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
