"""The coefficient network of GKMNet: predicts the maps of the kernel mixture from a photo."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from blurphys.inputs import require_integer

from ...layers.blocks import BatchNorm, BatchStatistics, ConvLSTM
from ...layers.checks import check_choice
from ...layers.triplet_attention import TripletAttention

__all__ = ["Backbone", "CoefficientNet", "ConvBlock", "Gate", "Recurrence", "Stage", "State"]

Gate: TypeAlias = Literal["half", "full"]
Recurrence: TypeAlias = Literal["lstm", "conv"]
State: TypeAlias = tuple[Tensor, Tensor] | None
"""Hidden state and cell of the memory, (B, maps, H/2, W/2) each; None before the first scale."""


def accumulate(own: Tensor, other: Tensor) -> Tensor:
    """Return the sum; in place of `own`, to which there is no other reference, where no gradient is recorded."""
    return own + other if torch.is_grad_enabled() else own.add_(other)


class ConvBlock(nn.Module):
    """A convolution, batch normalisation and ReLU.

    Parameters
    ----------
    conv : nn.Conv2d or nn.ConvTranspose2d
    bn_stats : {"running", "batch"}
        See `BatchNorm`.
    normalised : bool
        False leaves the convolution alone, without ReLU.
    """

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        *,
        bn_stats: BatchStatistics = "running",
        normalised: bool = True,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(conv.out_channels, bn_stats=bn_stats) if normalised else None

    def forward(self, image: Tensor) -> Tensor:
        if self.norm is None:
            out: Tensor = self.conv(image)
            return out
        if torch.is_grad_enabled() or self.training or self.norm.bn_stats == "batch":
            return torch.relu(self.norm(self.conv(image)))
        return torch.relu_(self._folded(image))

    def _folded(self, image: Tensor) -> Tensor:
        """Convolve with the weights that include the normalisation by running statistics."""
        conv, norm = self.conv, self.norm
        assert norm is not None and norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = norm.bias - norm.running_mean * scale
        bias = offset if conv.bias is None else offset + conv.bias * scale
        if isinstance(conv, nn.ConvTranspose2d):
            weight = conv.weight * scale[:, None, None]
            return functional.conv_transpose2d(image, weight, bias, conv.stride, conv.padding)
        weight = conv.weight * scale[:, None, None, None]
        return functional.conv2d(image, weight, bias, conv.stride, conv.padding)


class _Residual(nn.Module):
    """Two residual additions: ``u = x + block(x)``, ``u + block(u)``."""

    def __init__(self, channels: int, bn_stats: BatchStatistics) -> None:
        super().__init__()
        self.first = ConvBlock(nn.Conv2d(channels, channels, 3, padding=1), bn_stats=bn_stats)
        self.second = ConvBlock(nn.Conv2d(channels, channels, 3, padding=1), bn_stats=bn_stats)

    def forward(self, image: Tensor) -> Tensor:
        image = accumulate(self.first(image), image)
        return accumulate(self.second(image), image)


class Stage(nn.Module):
    """A first layer, which may change size and channels, then two residual blocks and triplet attention."""

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        *,
        bn_stats: BatchStatistics = "running",
        normalised: bool = True,
    ) -> None:
        super().__init__()
        self.first = ConvBlock(conv, bn_stats=bn_stats, normalised=normalised)
        self.attention = TripletAttention(bn_stats=bn_stats)
        self.residual = _Residual(conv.out_channels, bn_stats)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.attention(self.residual(self.first(image)))
        return out


class Backbone(nn.Module):
    """Encoder and decoder with skips that are added.

    Parameters
    ----------
    image_channels : int
    width : int
        Channels at full size.
    bn_stats : {"running", "batch"}
        See `BatchNorm`.

    Notes
    -----
    From (B, image_channels, H, W) to (B, width, H, W), H and W multiples of 4. Stages of 1, 2, 4, 4, 2, 1 times the
    width at sizes 1, 1/2, 1/4, 1/4, 1/2, 1; no skip from the first to the last.
    """

    def __init__(self, *, image_channels: int = 3, width: int = 32, bn_stats: BatchStatistics = "running") -> None:
        super().__init__()
        stage = partial(Stage, bn_stats=bn_stats)
        full, half, quarter = width, 2 * width, 4 * width
        self.head = stage(nn.Conv2d(image_channels, full, 3, padding=1), normalised=False)
        self.down_half = stage(nn.Conv2d(full, half, 3, stride=2, padding=1))
        self.down_quarter = stage(nn.Conv2d(half, quarter, 3, stride=2, padding=1))
        self.bottleneck = stage(nn.Conv2d(quarter, quarter, 3, padding=1))
        self.up_half = stage(nn.ConvTranspose2d(quarter, half, 2, stride=2))
        self.up_full = stage(nn.ConvTranspose2d(half, full, 2, stride=2))

    def forward(self, image: Tensor) -> Tensor:
        half = self.down_half(self.head(image))
        quarter = self.down_quarter(half)
        wide = self.up_half(accumulate(self.bottleneck(quarter), quarter))
        del quarter
        out: Tensor = self.up_full(accumulate(wide, half))
        return out


class CoefficientNet(nn.Module):
    """Backbone and attention prediction unit of GKMNet.

    Parameters
    ----------
    maps : int
        Coefficient maps to predict.
    image_channels : int
        3 for a photo; 6 where it sees a photo and an estimate of the sharp image.
    recurrent : {"lstm", "conv"}
        "lstm": a convolutional LSTM carries its state from scale to scale. "conv": a 5 x 5 convolution in its place.
    gate : {"half", "full"}
        ``tanh((u r + u) / 2)``, as in the released code, or ``tanh(u r + u)``, the paper's.
    width : int
        Channels at full size.
    bn_stats : {"running", "batch"}
        See `BatchNorm`.

    Raises
    ------
    ValueError
        An unknown choice, or fewer than one map or channel.

    Notes
    -----
    Of the features f: ``r = relu(norm(conv(f)))`` at full size, ``u`` the hidden state of the memory, which runs at
    half size on the 2 x 2 means of f, enlarged by repetition. Maps lie in (-1, 1).

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021. The paper has two
    convolutions for r and 3 x 3 gates; its parameter count fits the code's one convolution and 5 x 5 gates, used here.

    Examples
    --------
    >>> import torch
    >>> net = CoefficientNet(maps=4).eval()
    >>> maps, (hidden, cell) = net(torch.zeros(1, 3, 8, 12), None)
    >>> tuple(maps.shape), tuple(hidden.shape)
    ((1, 4, 8, 12), (1, 4, 4, 6))
    """

    def __init__(
        self,
        maps: int = 44,
        *,
        image_channels: int = 3,
        recurrent: Recurrence = "lstm",
        gate: Gate = "half",
        width: int = 32,
        bn_stats: BatchStatistics = "running",
    ) -> None:
        super().__init__()
        for name, value in (("maps", maps), ("image_channels", image_channels), ("width", width)):
            require_integer("CoefficientNet", name, value)
        check_choice("CoefficientNet", "recurrent", recurrent, get_args(Recurrence))
        check_choice("CoefficientNet", "gate", gate, get_args(Gate))
        self.gate = gate
        self.backbone = Backbone(image_channels=image_channels, width=width, bn_stats=bn_stats)
        self.detail = ConvBlock(nn.Conv2d(width, maps, 3, padding=1), bn_stats=bn_stats)
        self.memory: ConvLSTM | nn.Conv2d
        if recurrent == "lstm":
            self.memory = ConvLSTM(width, maps, kernel_size=5)
        else:
            self.memory = nn.Conv2d(width, maps, 5, padding=2)

    def forward(self, image: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Predict the maps of one scale.

        Parameters
        ----------
        image : Tensor of shape (B, image_channels, H, W)
            H and W multiples of 4.
        state : pair of Tensors of shape (B, maps, H/2, W/2), optional
            Hidden state and cell; None starts from zeros, and is all that "conv" knows.

        Returns
        -------
        maps : Tensor of shape (B, maps, H, W)
        state : pair of Tensors, or None
        """
        features = self.backbone(image)
        coarse = functional.avg_pool2d(features, 2)
        if isinstance(self.memory, ConvLSTM):
            state = self.memory(coarse, state)
            update = state[0]
        else:
            state, update = None, self.memory(coarse)
        detail = self.detail(features)
        del features
        strength = 0.5 if self.gate == "half" else 1.0
        update = functional.interpolate(strength * update, scale_factor=2.0, mode="nearest")
        if torch.is_grad_enabled():
            return torch.tanh(update * detail + update), state
        return detail.add_(1).mul_(update).tanh_(), state  # u r + u in the memory of r
