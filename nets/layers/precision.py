"""Physics, spectra and statistics stay in float32 where the rest of a network runs in less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

__all__ = ["exact"]


@contextmanager
def exact(*images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Give tensors in float32 at least, and no autocast while the context lasts."""
    device = images[0].device.type
    # Tensors without data have no autocast to turn off.
    with nullcontext() if device == "meta" else torch.autocast(device_type=device, enabled=False):
        yield tuple(x if x.dtype in (torch.float32, torch.float64) else x.float() for x in images)
