"""Triplet attention: an image gated along each pair of its three axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import BatchNorm, BatchStatistics

__all__ = ["AxisGate", "TripletAttention"]


class AxisGate(nn.Module):
    """Gate a tensor by what its largest and mean values along the second axis say.

    Parameters
    ----------
    bn_stats : {"running", "batch"}
        See `BatchNorm`.
    kernel_size : int
        Of the convolution over the last two axes, odd.

    Notes
    -----
    ``x * sigmoid(norm(conv([max, mean])))``; zero padding, no bias: 98 + 2 parameters.
    """

    def __init__(self, *, bn_stats: BatchStatistics = "running", kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1, bn_stats=bn_stats, momentum=0.01)

    def forward(self, image: Tensor) -> Tensor:
        pooled = torch.cat([image.amax(dim=1, keepdim=True), image.mean(dim=1, keepdim=True)], dim=1)
        return image * torch.sigmoid(self.norm(self.conv(pooled)))


class TripletAttention(nn.Module):
    """Mean of three copies of an image, each gated over two of the axes (C, H, W) and pooled along the third.

    Parameters
    ----------
    bn_stats : {"running", "batch"}
        See `BatchNorm`.

    Notes
    -----
    Two of the gates pool over whole rows or columns, so far pixels matter and tiles change the result. 300 parameters.

    References
    ----------
    Misra et al., "Rotate to attend: convolutional triplet attention module", WACV 2021.
    """

    def __init__(self, *, bn_stats: BatchStatistics = "running") -> None:
        super().__init__()
        self.channel_width = AxisGate(bn_stats=bn_stats)
        self.height_channel = AxisGate(bn_stats=bn_stats)
        self.height_width = AxisGate(bn_stats=bn_stats)

    def forward(self, image: Tensor) -> Tensor:
        over_height = self.channel_width(image.transpose(1, 2)).transpose(1, 2)
        over_width = self.height_channel(image.transpose(1, 3)).transpose(1, 3)
        return (self.height_width(image) + over_height + over_width) / 3
