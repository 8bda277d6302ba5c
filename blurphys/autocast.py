"""torch's autocast: sums over PSFs are computed in float32 under it, as torch does for its own exact operations."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .types import Array

__all__ = ["autocasting", "full_precision", "without_autocast"]


def autocasting(x: Any) -> str | None:
    """Return the kind of device of a tensor under autocast; None without autocast, and for anything else."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return None
    kind: str = x.device.type
    return kind if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind) else None


def full_precision(x: Any, like: Array | None = None) -> Any:
    """Return a tensor of half precision under autocast in the dtype of `like`, float32 without; others as they are."""
    if autocasting(x) is None:
        return x
    torch = sys.modules["torch"]
    if x.dtype not in (torch.float16, torch.bfloat16):
        return x
    return x.to(like.dtype if isinstance(like, torch.Tensor) else torch.float32)


def without_autocast(x: Any) -> AbstractContextManager[Any]:
    """Turn autocast off, where it is on for the device of `x`, while the context lasts."""
    kind = autocasting(x)
    if kind is None:
        return nullcontext()
    context: AbstractContextManager[Any] = sys.modules["torch"].autocast(kind, enabled=False)
    return context
