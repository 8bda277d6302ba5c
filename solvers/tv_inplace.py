"""The total variation prox on NumPy arrays: the same steps as `tv_step`, in buffers that are allocated once."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["STEP", "next_momentum", "tv_numpy"]

Plane = np.ndarray[Any, Any]  # (G, H, W): channels that share one gradient length, G = 1 if they do not

STEP = 0.125  # 1 / ||D||^2: the squared norm of forward differences in the plane is at most 8
WORTH_A_THREAD = 1 << 15  # pixels


def next_momentum(momentum: float) -> tuple[float, float]:
    """Return Nesterov's next t, and the weight (t - 1) / t_next of the extrapolation."""
    following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
    return following, (momentum - 1) / following


def tv_numpy(x: Plane, strength: float, *, iterations: int, joint: bool) -> Plane:
    """Denoise images (*B, C, H, W) plane by plane (image by image if joint), on as many threads as there are cores."""
    height, width = x.shape[-2:]
    groups = x.reshape(-1, x.shape[-3] if joint else 1, height, width)
    out = np.empty_like(groups)

    def work(index: int) -> None:
        with np.errstate(all="ignore"):  # the setting of the calling thread does not reach this one
            _denoise(groups[index], strength, iterations, out[index])

    threads = min(len(groups), os.cpu_count() or 1)
    if threads == 1 or groups[0].size < WORTH_A_THREAD:
        for index in range(len(groups)):
            work(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(len(groups))))
    return out.reshape(x.shape)


def _denoise(x: Plane, strength: float, iterations: int, z: Plane) -> None:
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
        _squared_length(new_down, new_right, scratch, length)
        np.maximum(length, floor, out=length)
        np.sqrt(length, out=length)
        np.divide(limit, length, out=length)
        for new, old, ahead in ((new_down, down, down_ahead), (new_right, right, right_ahead)):
            new *= length
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


def _squared_length(down: Plane, right: Plane, scratch: Plane, length: Plane) -> None:
    np.multiply(down, down, out=scratch)
    np.sum(scratch, axis=0, keepdims=True, out=length)
    np.multiply(right, right, out=scratch)
    if len(scratch) == 1:
        length += scratch
    else:
        length += np.sum(scratch, axis=0, keepdims=True)
