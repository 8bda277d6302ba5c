"""The coefficient network of NRKNet: a U-Net and an attention prediction unit, which predict the maps of the blur."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ...layers.blocks import BatchNorm, BatchStatistics, ConvLSTM

__all__ = ["AttentionPrediction", "CoefficientNet", "Recurrent", "ResidualBlock", "State", "UNet"]

Recurrent: TypeAlias = Literal["lstm", "conv", "none"]
State: TypeAlias = tuple[Tensor, Tensor] | None


def convolution(inputs: int, outputs: int, kernel_size: int = 3, *, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias whose input is extended by reflection."""
    padding = kernel_size // 2
    return nn.Conv2d(inputs, outputs, kernel_size, stride=stride, padding=padding, padding_mode="reflect", bias=False)


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))``, 3 x 3, without bias or normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class UNet(nn.Module):
    """Three resolutions, sums instead of concatenations across.

    Parameters
    ----------
    width : int
        Channels at full resolution; twice and four times as many below.
    blocks : int
        Residual blocks of the first and of the last stage, which have `width` channels. Other stages have one.

    Notes
    -----
    Sides divide by 4 and are at least 8 px, since the lowest resolution is extended by reflection.
    """

    def __init__(self, width: int = 64, blocks: int = 1) -> None:
        super().__init__()
        self.entry = convolution(3, width)
        self.encode = nn.ModuleList([_stage(width, blocks), _stage(2 * width), _stage(4 * width)])
        self.down = nn.ModuleList([convolution(width * n, 2 * width * n, stride=2) for n in (1, 2)])
        self.bottom = convolution(4 * width, 4 * width)
        self.bottom_stage = _stage(4 * width)
        self.decode = nn.ModuleList([_stage(4 * width), _stage(2 * width), _stage(width, blocks)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(2 * width * n, width * n, 4, stride=2, padding=1, bias=False) for n in (2, 1)]
        )
        self.reach = 46 + 4 * blocks

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, width, H, W) of an image (B, 3, H, W)."""
        full = self.encode[0](functional.relu(self.entry(image)))
        half = self.encode[1](functional.relu(self.down[0](full)))
        quarter = self.encode[2](functional.relu(self.down[1](half)))
        x = self.bottom_stage(functional.relu(self.bottom(quarter)))
        x = self.decode[0](x + quarter)
        x = self.decode[1](functional.relu(self.up[0](x)) + half)
        return self.decode[2](functional.relu(self.up[1](x)) + full)


def _stage(channels: int, blocks: int = 1) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


class AttentionPrediction(nn.Module):
    """Features in, coefficient maps out: fine detail ``r`` that smooth maps ``u`` weigh, ``u r + u``, not squashed.

    Parameters
    ----------
    features, maps : int
        Channels in and out.
    recurrent : bool
        True: u comes of a convolutional LSTM at half resolution, whose state goes on to the next scale. False: of a
        5 x 5 convolution with batch normalisation and ReLU in its place.
    bn_stats : {"running", "batch"}
        See `nets.layers.blocks.BatchNorm`.
    """

    def __init__(self, features: int, maps: int, *, recurrent: bool, bn_stats: BatchStatistics) -> None:
        super().__init__()
        self.detail = convolution(features, maps)
        self.detail_norm = BatchNorm(maps, bn_stats=bn_stats)
        if recurrent:
            self.memory = ConvLSTM(features, maps)
        else:
            self.smooth = convolution(features, maps, 5)
            self.smooth_norm = BatchNorm(maps, bn_stats=bn_stats)
        self.recurrent = recurrent

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the maps (B, maps, H, W) and the state (B, maps, H / 2, W / 2) twice, or None."""
        detail = functional.relu(self.detail_norm(self.detail(features)))
        half = functional.avg_pool2d(features, 2)
        if self.recurrent:
            state = self.memory(half, state)
            smooth = state[0]
        else:
            smooth = functional.relu(self.smooth_norm(self.smooth(half)))
        smooth = functional.interpolate(smooth, scale_factor=2.0, mode="nearest")
        return smooth * detail + smooth, state


class CoefficientNet(nn.Module):
    """U-Net and attention prediction unit, one for all scales.

    Parameters
    ----------
    maps : int
        How many coefficient maps.
    width : int
        Channels of the U-Net at full resolution.
    recurrent : {"lstm", "conv", "none"}
        "lstm" and "conv" as in `AttentionPrediction`; "none" is "conv" with a second residual block in the first and
        in the last stage of the U-Net, which makes up for the weights.
    bn_stats : {"running", "batch"}
    """

    def __init__(
        self, maps: int, *, width: int = 64, recurrent: Recurrent = "lstm", bn_stats: BatchStatistics = "running"
    ) -> None:
        super().__init__()
        self.unet = UNet(width, blocks=2 if recurrent == "none" else 1)
        self.attention = AttentionPrediction(width, maps, recurrent=recurrent == "lstm", bn_stats=bn_stats)

    def forward(self, image: Tensor, state: State, *, checkpointing: bool = False) -> tuple[Tensor, State]:
        """Return the maps (B, maps, H, W) of an image (B, 3, H, W), and the state for the next finer scale."""
        if checkpointing and torch.is_grad_enabled():
            # Only what has no running statistics may be computed twice.
            features = checkpoint(self.unet, image, use_reentrant=False)
        else:
            features = self.unet(image)
        maps, state = self.attention(features, state)
        return maps, state

    def reach(self, scales: int) -> tuple[int, ...]:
        """Radius of the receptive field of a coefficient, in pixels of its own scale; full resolution first.

        A pixel of the next coarser scale is two of these, and its state comes with a 5 x 5 convolution at half
        resolution and bilinear interpolation.
        """
        own = self.unet.reach + 5
        found = [own]
        for _ in range(scales - 1):
            found.append(max(own, 2 * found[-1] + 14) if self.attention.recurrent else own)
        return tuple(reversed(found))
