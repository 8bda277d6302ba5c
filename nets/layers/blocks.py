"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .checks import check_choice

__all__ = [
    "BatchNorm",
    "BatchStatistics",
    "ConvLSTM",
    "check_batch_statistics",
    "upsample_by_two",
    "recompute",
    "resize",
    "set_bn_stats",
]

BatchStatistics: TypeAlias = Literal["running", "batch"]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that can use the statistics of its input in evaluation mode, too.

    Parameters
    ----------
    channels : int
    bn_stats : {"running", "batch"}
        Statistics in evaluation mode: the running averages of training, or mean and biased variance over the batch and
        all pixels of the input, which does not change the averages. In training mode both are the usual layer.
    momentum : float
        Of the running averages.
    """

    def __init__(self, channels: int, *, bn_stats: BatchStatistics = "running", momentum: float = 0.1) -> None:
        check_choice("BatchNorm", "bn_stats", bn_stats, get_args(BatchStatistics))
        super().__init__(channels, eps=1e-5, momentum=momentum)
        self.bn_stats = bn_stats
        self.seen = False
        """Whether the averages include this input already."""

    def forward(self, image: Tensor) -> Tensor:
        if self.training and self.seen:  # the same computation, on copies of the averages
            copies = self.running_mean.clone(), self.running_var.clone()
            return functional.batch_norm(image, *copies, self.weight, self.bias, True, self.momentum, self.eps)
        if self.training or self.bn_stats == "running":
            return super().forward(image)
        return functional.batch_norm(image, None, None, self.weight, self.bias, True, 0.0, self.eps)


def set_bn_stats(net: nn.Module, bn_stats: BatchStatistics) -> None:
    """Set the statistics that every `BatchNorm` of a network uses in evaluation mode."""
    check_choice("set_bn_stats", "bn_stats", bn_stats, get_args(BatchStatistics))
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.bn_stats = bn_stats


def check_batch_statistics(owner: str, net: nn.Module, image: Tensor, multiple: int) -> None:
    """ValueError where a batch of one has no variance: its deepest layer is a single pixel, after `multiple` px."""
    if torch.compiler.is_compiling() or image.shape[0] > 1 or image.shape[-2:] != (multiple, multiple):
        return
    if net.training or any(isinstance(m, BatchNorm) and m.bn_stats == "batch" for m in net.modules()):
        raise ValueError(
            f"{owner}: expected more than {multiple} px in height or width, or a larger batch, where batch "
            f"normalisation takes the statistics of its input, got {tuple(image.shape)}; call eval(), or choose "
            "bn_stats='running'"
        )


def recompute(module: nn.Module, *inputs: Any) -> Any:
    """Call a module with gradient checkpointing: autograd keeps its inputs only and runs it again in the backward pass.

    Running averages are updated once.
    """

    @contextmanager
    def again() -> Iterator[None]:
        layers = [m for m in module.modules() if isinstance(m, BatchNorm)]
        for layer in layers:
            layer.seen = True
        try:
            yield
        finally:
            for layer in layers:
                layer.seen = False

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), again()

    call: Callable[..., Any] = module
    return checkpoint(call, *inputs, use_reentrant=False, context_fn=contexts)


class ConvLSTM(nn.Module):
    """Long short-term memory whose gates are one convolution over the input and the hidden state.

    Parameters
    ----------
    channels : int
        Of the input.
    hidden : int
        Of the hidden state and the cell.
    kernel_size : int
        Odd.

    Notes
    -----
    Gates in the order input, forget, output, candidate; zero padding; no peepholes.
    ``c' = sigmoid(f) c + sigmoid(i) tanh(g)``, ``h' = sigmoid(o) tanh(c')``.

    References
    ----------
    Shi et al., Convolutional LSTM network, NeurIPS 2015 (with peepholes, which are left out here).
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(channels + hidden, 4 * hidden, kernel_size, padding=kernel_size // 2)

    def forward(self, image: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return the new (hidden state, cell), both (B, hidden, H, W); None starts from zeros."""
        if state is None:
            zeros = image.new_zeros((image.shape[0], self.hidden, *image.shape[-2:]))
            state = zeros, zeros
        h, c = state
        i, f, o, g = self.conv(torch.cat([image, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def resize(image: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """Resize bilinearly, pixel centres aligned (``align_corners=False``)."""
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def upsample_by_two(image: Tensor) -> Tensor:
    """Upsample by two, bilinearly."""
    return functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
