"""Plain torch formulations of the networks' physics, as baselines: wide tensors and dense kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..layers.triplet_attention import AxisGate, TripletAttention
from ..models.gkmnet.coefficients import State
from ..models.gkmnet.gaussian_bank import GaussianBank
from ..models.gkmnet.step import UnrolledStep

__all__ = ["PlainAttention", "PlainStep", "dense_bank", "gaussian_products", "recursive_products"]


def dense_bank(taps: Tensor) -> Tensor:
    """Return the bank as dense kernels for a grouped convolution of three colours.

    Parameters
    ----------
    taps : Tensor of shape (3, K, h + 1)
        One-sided taps for each colour, centre first.

    Returns
    -------
    Tensor of shape (3 K, 1, 2 h + 1, 2 h + 1)
        The kernels of the first colour, then those of the second and third.
    """
    lines = torch.cat([taps[..., 1:].flip(-1), taps], dim=-1).flatten(0, 1)
    return (lines[:, :, None] * lines[:, None, :])[:, None]


def gaussian_products(
    images: Sequence[Tensor], maps: Sequence[Tensor], bank: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Filter the images densely, multiply all maps, and sum them by a 1 x 1 convolution.

    Images are channels-last for the dense filters: otherwise torch on processors takes several times as long.

    Parameters
    ----------
    images : two Tensors of shape (B, 3, H, W)
        The observed image and the current estimate.
    maps : two Tensors of shape (B, K, H, W)
        Their coefficients.
    bank : Tensor of shape (3 K, 1, m, m)
        From `dense_bank`.
    weight, bias : Tensor of shape (3, 6 K, 1, 1) and (3,)
        Of the last layer.

    Returns
    -------
    Tensor of shape (B, 3, H, W)
    """
    products = [
        functional.conv2d(x.contiguous(memory_format=torch.channels_last), bank, padding=bank.shape[-1] // 2, groups=3)
        * m.repeat(1, 3, 1, 1)
        for x, m in zip(images, maps, strict=True)
    ]
    return functional.conv2d(torch.cat(products, dim=1), weight, bias)


def recursive_products(image: Tensor, maps: Tensor, atoms: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Filter by the chain of atoms, keep every level, multiply all maps, and sum them by a 1 x 1 convolution.

    Parameters
    ----------
    image : Tensor of shape (B, 3, H, W)
    maps : Tensor of shape (B, J, H, W)
    atoms : Tensor of shape (J - 1, 3, 3)
        Taps for each colour, symmetric.
    weight, bias : Tensor of shape (3, 3 J, 1, 1) and (3,)
        Of the last layer; channel 3 j + c is level j of colour c.

    Returns
    -------
    Tensor of shape (B, 3, H, W)
    """
    levels = [image]
    for taps in atoms:
        extended = functional.pad(levels[-1], (1, 1, 1, 1), mode="reflect")
        rows = functional.conv2d(extended, taps[:, None, None, :], groups=3)
        levels.append(functional.conv2d(rows, taps[:, None, :, None], groups=3))
    products = torch.cat(levels, dim=1) * maps.repeat_interleave(3, dim=1)
    return functional.conv2d(products, weight, bias)


class PlainAttention(nn.Module):
    """Triplet attention as three gated copies, two of them with axes swapped, and their mean."""

    def __init__(self, attention: TripletAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, image: Tensor) -> Tensor:
        def gated(gate: AxisGate, x: Tensor) -> Tensor:
            pooled = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
            return x * torch.sigmoid(gate.norm(gate.conv(pooled)))

        own = self.attention
        over_height = gated(own.channel_width, image.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()
        over_width = gated(own.height_channel, image.transpose(1, 3).contiguous()).transpose(1, 3).contiguous()
        return (gated(own.height_width, image) + over_height + over_width) / 3


class PlainStep(nn.Module):
    """A step of GKMNet with the same weights: `gaussian_products`, and plain layers in the coefficient network."""

    def __init__(self, step: UnrolledStep) -> None:
        super().__init__()
        self.step = step
        for module in list(step.modules()):
            if isinstance(attention := getattr(module, "attention", None), TripletAttention):
                module.attention = PlainAttention(attention)

    def forward(self, y: Tensor, x: Tensor, state: State, bank: GaussianBank) -> tuple[Tensor, Tensor, State]:
        maps, state = self.step.coefficients(y, state)
        mix = self.step.mix
        assert mix.bias is not None
        dense = dense_bank(bank.taps(maps))
        return gaussian_products((y, x), maps.chunk(2, dim=1), dense, mix.weight, mix.bias), maps, state
