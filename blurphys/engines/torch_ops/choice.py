"""Chooses for tensors between the engine, its torch operator, and the reference."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch.autograd import forward_ad

from .. import reference
from ..cuda.engine import available, diagnosis
from ..loading import fast_kernel
from ..primitives import resolve
from ..registry import Kernel
from .operators import FUNCTIONS
from .values import engine

__all__ = ["torch_kernel"]


@cache
def _cuda_serves() -> bool:
    """Whether the GPU engine serves tensors here; the reason why not is logged once."""
    if not available("torch"):
        reason = diagnosis("torch")
        logging.getLogger("blurphys").warning("no compiled GPU engine (%s): the slower reference serves", reason)
    return available("torch")


@torch.compiler.assume_constant_result
def _fused(primitive: str, device: str) -> bool:
    """Whether an engine has a primitive, its adjoint and its gradients for tensors on this kind of device."""
    if device == "cuda":
        return _cuda_serves()
    return device == "cpu" and all(fast_kernel(name, "numpy") for name in resolve(primitive)[0].names)


def _plain(tensors: Iterator[torch.Tensor]) -> bool:
    """Whether nothing but autograd watches: no subclass, no `torch.func` transform, no forward-mode derivative."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return all(type(t) in (torch.Tensor, torch.nn.Parameter) for t in tensors)


def torch_kernel(primitive: str, image: torch.Tensor) -> Kernel:
    """Choose for tensors: the engine where values are enough, its torch operator where gradients are recorded.

    The reference serves where no engine does, and under transforms that look inside (`torch.func`, forward mode).
    """
    plain: Kernel = getattr(reference, primitive)
    if not _fused(primitive, image.device.type):
        return plain
    operator: Kernel = FUNCTIONS[primitive]
    if torch.compiler.is_compiling():
        return operator

    def run(*arguments: Any) -> Any:
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        if not _plain(iter(tensors)):
            return plain(*arguments)
        recording = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        return operator(*arguments) if recording else engine(primitive, image)(*arguments)

    return run
