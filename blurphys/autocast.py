"""torch's autocast: operators compute in full precision under it, as torch does for operations that need it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .types import Array

__all__ = ["autocast_device", "full_precision", "without_autocast"]


def autocast_device(x: Any) -> str | None:
    """Return the device type of a tensor if autocast is on for it; None otherwise."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return None
    kind: str = x.device.type
    return kind if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind) else None


def full_precision(x: Any, like: Array | None = None) -> Any:
    """Convert tensors of half precision under autocast to the dtype of `like`, or float32; return others unchanged."""
    if autocast_device(x) is None:
        return x
    torch = sys.modules["torch"]
    if x.dtype not in (torch.float16, torch.bfloat16):
        return x
    return x.to(like.dtype if isinstance(like, torch.Tensor) else torch.float32)


def without_autocast(x: Any) -> AbstractContextManager[Any]:
    """Return a context in which autocast is off for the device of `x`."""
    kind = autocast_device(x)
    if kind is None:
        return nullcontext()
    context: AbstractContextManager[Any] = sys.modules["torch"].autocast(kind, enabled=False)
    return context
