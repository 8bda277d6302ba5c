"""The layers of KPAC: strided, dilated and transposed convolutions, and the block with its two attentions."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RATES", "AtrousConvs", "DownConv", "KPACBlock", "ResidualBlock", "UpConv", "leaky"]

RATES = (1, 2, 3, 4, 5)
"""Dilations of the parallel convolutions."""

leaky = partial(nn.LeakyReLU, 0.2)


class DownConv(nn.Conv2d):
    """Convolution of stride two over the pixels 2i, 2i + 1, 2i + 2, for even sizes; zeros beyond the border."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(functional.pad(image, (0, 1, 0, 1)))


class AtrousConvs(nn.Module):
    """Parallel dilated 5 x 5 convolutions without bias.

    Parameters
    ----------
    into, out : int
        Channels.
    shared : bool
        One kernel for all dilations; otherwise one each.

    Notes
    -----
    ``weight`` has shape (1 or 5, out, into, 5, 5).
    """

    def __init__(self, into: int, out: int, *, shared: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1 if shared else len(RATES), out, into, 5, 5))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the convolutions, (B, out, H, W) each, by growing dilation."""
        weights = self.weight.expand(len(RATES), -1, -1, -1, -1).unbind(0)
        return [
            functional.conv2d(image, weight, padding=2 * rate, dilation=rate)
            for weight, rate in zip(weights, RATES, strict=True)
        ]


class KPACBlock(nn.Module):
    """Kernel-sharing parallel atrous convolutions with scale and shape attention.

    Parameters
    ----------
    channels : int
        Of the features in and out; the dilated convolutions have half as many.
    scale_attention, shape_attention, shared : bool
        See `KPACNet`.
    """

    def __init__(self, channels: int, *, scale_attention: bool, shape_attention: bool, shared: bool) -> None:
        super().__init__()
        half = channels // 2
        self.atrous = AtrousConvs(channels, half, shared=shared)
        self.scale_attention = None
        if scale_attention:
            layers: list[nn.Module] = []
            for into, out in ((channels, 32), (32, 32), (32, 16), (16, 16)):
                layers += [nn.Conv2d(into, out, 5, padding=4, dilation=2), leaky()]
            layers += [nn.Conv2d(16, len(RATES), 5, padding=2), nn.Sigmoid()]
            self.scale_attention = nn.Sequential(*layers)
        self.shape_attention = None
        if shape_attention:
            hidden = channels // 8
            self.shape_attention = nn.Sequential(
                nn.Conv2d(channels, hidden, 1), leaky(), nn.Conv2d(hidden, half, 1), nn.Sigmoid()
            )
        self.fusion = nn.Conv2d(len(RATES) * half, channels, 3, padding=1)
        self.activation = leaky()

    def forward(self, features: Tensor, override: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the new features, (B, channels, H, W), and the weights of the dilations, (B, 5, H, W), if any.

        Parameters
        ----------
        features : Tensor of shape (B, channels, H, W)
        override : Tensor that broadcasts to (B, 5, H, W), optional
            Weights of the dilations instead of the predicted ones.
        """
        branches = [self.activation(branch) for branch in self.atrous(features)]
        alpha = override
        if alpha is None and self.scale_attention is not None:
            alpha = self.scale_attention(features)
        if alpha is not None:
            branches = [branch * alpha[..., i : i + 1, :, :] for i, branch in enumerate(branches)]
        if self.shape_attention is not None:
            beta = self.shape_attention(features.mean((-2, -1), keepdim=True))
            branches = [branch * beta for branch in branches]
        return self.activation(self.fusion(torch.cat(branches, dim=1))), alpha


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = leaky()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.activation(self.first(features)))


class UpConv(nn.Module):
    """Transposed convolution to twice the size, then a convolution over it and the features of the encoder.

    Parameters
    ----------
    into : int
        Channels of the coarse features.
    skip : int
        Channels of the encoder's features, and of the upsampled ones.
    out : int
    kernel_size : int
        Of the second convolution.
    activation : bool
        After the second convolution; the first always has one.
    """

    def __init__(self, into: int, skip: int, out: int, *, kernel_size: int = 3, activation: bool = True) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(into, skip, 4, stride=2, padding=1)
        self.conv = nn.Conv2d(2 * skip, out, kernel_size, padding=kernel_size // 2)
        self.activation = leaky()
        self.last = leaky() if activation else nn.Identity()

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        upsampled = self.activation(self.up(features))
        return self.last(self.conv(torch.cat([upsampled, skip], dim=1)))
