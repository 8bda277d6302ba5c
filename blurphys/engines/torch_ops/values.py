"""Values of primitives for tensors: the CPU and GPU engines called on the memory of torch, nothing recorded."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ..cuda.engine import torch_call
from ..loading import fast_kernel
from ..registry import Kernel

__all__ = ["engine"]


def _as_numpy(value: Any) -> Any:
    """Show a tensor as a NumPy array on the same memory."""
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def _as_tensor(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_tensor(v) for v in value)
    if value is None:
        return None
    return torch.from_numpy(value.copy() if any(n < 0 for n in value.strides) else value)


def engine(primitive: str, image: torch.Tensor) -> Kernel:
    """Return the engine's function for tensors that live where `image` lives; it records nothing.

    Raises
    ------
    KeyError
        If no engine has the primitive there.
    """
    if image.device.type == "cuda":
        return partial(torch_call, primitive)
    fast = fast_kernel(primitive, "numpy")
    if image.device.type != "cpu" or fast is None:
        raise KeyError(f"no engine for {primitive} on {image.device}")
    return lambda *arguments: _as_tensor(fast(*(_as_numpy(a) for a in arguments)))
