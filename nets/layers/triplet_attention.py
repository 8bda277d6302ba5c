"""Triplet attention: an image gated along each pair of its three axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import BatchNorm, BatchStatistics

__all__ = ["AxisGate", "TripletAttention"]


class AxisGate(nn.Module):
    """A gate over two axes, from the maximum and the mean along the third.

    Parameters
    ----------
    pooled : int
        The axis, 1, 2 or 3 of (B, C, H, W), that is pooled and becomes the channels of the convolution.
    bn_stats : {"running", "batch"}
        See `BatchNorm`.
    kernel_size : int
        Of the convolution over the two other axes, odd.

    Notes
    -----
    ``sigmoid(norm(conv([max, mean])))`` on the tensor with axis 1 and the pooled one exchanged; zero padding, no bias:
    98 + 2 parameters.
    """

    def __init__(self, pooled: int, *, bn_stats: BatchStatistics = "running", kernel_size: int = 7) -> None:
        super().__init__()
        self.pooled = pooled
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1, bn_stats=bn_stats, momentum=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Return the gate, of the shape of the image with one entry along the pooled axis."""
        largest, mean = image.amax(self.pooled, keepdim=True), image.mean(self.pooled, keepdim=True)
        pooled = torch.cat([largest.transpose(1, self.pooled), mean.transpose(1, self.pooled)], dim=1)
        gate: Tensor = torch.sigmoid(self.norm(self.conv(pooled)))
        return gate.transpose(1, self.pooled)


class TripletAttention(nn.Module):
    """Mean of three copies of an image, each gated over two of the axes (C, H, W) and pooled along the third.

    Parameters
    ----------
    bn_stats : {"running", "batch"}
        See `BatchNorm`.

    Notes
    -----
    The image times the mean of the three gates, which is the same, and needs no copies. Two of the gates pool over
    whole rows or columns, so that tiling changes the result. 300 parameters.

    References
    ----------
    Misra et al., "Rotate to attend: convolutional triplet attention module", WACV 2021.
    """

    def __init__(self, *, bn_stats: BatchStatistics = "running") -> None:
        super().__init__()
        self.channel_width = AxisGate(2, bn_stats=bn_stats)
        self.height_channel = AxisGate(3, bn_stats=bn_stats)
        self.height_width = AxisGate(1, bn_stats=bn_stats)

    def forward(self, image: Tensor) -> Tensor:
        # The two gates over channels are small; the sum of all three has the size of the image, and becomes the result.
        gates = self.height_width(image) / 3 + self.channel_width(image) / 3
        if torch.is_grad_enabled():
            return image * (gates + self.height_channel(image) / 3)
        gates = gates.add_(self.height_channel(image), alpha=1 / 3)
        return gates.mul_(image)
