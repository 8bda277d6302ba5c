"""Physics, spectra and statistics in float32, where the rest of a network runs in lower precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

__all__ = ["exact"]


@contextmanager
def exact(*images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the tensors in at least float32, with autocast off inside the block."""
    device = images[0].device.type
    # Tensors without data have no autocast to turn off.
    with nullcontext() if device == "meta" else torch.autocast(device_type=device, enabled=False):
        yield tuple(x if x.dtype in (torch.float32, torch.float64) else x.float() for x in images)
