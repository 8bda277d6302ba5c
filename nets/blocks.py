"""Layers that more than one network is made of."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm", "BatchStatistics", "ConvLSTM", "check_choice", "doubled", "resized", "set_bn_stats"]

BatchStatistics: TypeAlias = Literal["running", "batch"]


def check_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """ValueError unless `value` is one of `choices`."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{owner}: expected {name} to be one of {expected}, got {value!r}")


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose evaluation may use the statistics of the very input.

    Parameters
    ----------
    channels : int
    bn_stats : {"running", "batch"}
        What normalises in evaluation mode: the running averages of training, or mean and biased variance over the batch
        and all pixels of the input, which leaves the averages alone. In training mode both are the usual layer.
    momentum : float
        Of the running averages.
    """

    def __init__(self, channels: int, *, bn_stats: BatchStatistics = "running", momentum: float = 0.1) -> None:
        check_choice("BatchNorm", "bn_stats", bn_stats, get_args(BatchStatistics))
        super().__init__(channels, eps=1e-5, momentum=momentum)
        self.bn_stats = bn_stats

    def forward(self, image: Tensor) -> Tensor:
        if self.training or self.bn_stats == "running":
            return super().forward(image)
        return functional.batch_norm(image, None, None, self.weight, self.bias, True, 0.0, self.eps)


def set_bn_stats(net: nn.Module, bn_stats: BatchStatistics) -> None:
    """Choose what normalises in evaluation mode, in every `BatchNorm` of a network."""
    check_choice("set_bn_stats", "bn_stats", bn_stats, get_args(BatchStatistics))
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.bn_stats = bn_stats


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


def resized(image: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """Resize bilinearly, pixel centres aligned (``align_corners=False``)."""
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def doubled(image: Tensor) -> Tensor:
    """Upsample by two, bilinearly."""
    return functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
