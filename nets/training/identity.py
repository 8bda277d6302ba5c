"""Initial weights with which a network returns the photo, and from which it learns at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.blocks import ConvLSTM
from ..models.gkmnet.coefficients import CoefficientNet
from ..models.gkmnet.gkmnet import GKMNet
from ..models.hqsnet.hqsnet import HQSNet
from ..models.kpac.kpac import KPACNet
from ..models.nrknet.nrknet import NRKNet

__all__ = ["IDENTITY", "start_at_identity"]

IDENTITY = "identity"
"""What `start_from` says for it."""

SPREAD = 1.5
"""Constants of the maps are drawn from +- this, before the tanh."""

DIRAC, OTHERS = 1.0, -0.5
"""Constants of HQSNet's maps: nine tenths of the blur it starts with are the Dirac."""


def start_at_identity(net: nn.Module) -> None:
    """Set the initial weights of a network so that its output is its input.

    Parameters
    ----------
    net : GKMNet with ``preset="paper"``, NRKNet with ``preset="official"``, KPACNet, or HQSNet with ``scales=1``
        Other weights stay random.

    Raises
    ------
    ValueError
        Another network or preset.

    Notes
    -----
    The maps do not start near zero: where maps and mixing weights are both small, so are all gradients.

    GKMNet: constant maps, mixing weights of zero; the photo is added in this preset. NRKNet: the blur is the Dirac
    alone, and nothing is left of I - D. KPACNet: a last convolution of zeros. HQSNet: the filter F of the photo is the
    blur B itself, so that z = y solves (B^T B + rho) x = B^T F y + rho z; its denoiser starts as the identity. As the
    steps of conjugate gradients are then over before they begin, only ``gradient="implicit"`` learns from there.

    Examples
    --------
    >>> import nets
    >>> net, photo = nets.create("kpac", channels=8), torch.rand(1, 3, 24, 20)
    >>> start_at_identity(net)
    >>> bool((net(photo) == photo).all())
    True
    """
    with torch.no_grad():
        if isinstance(net, GKMNet) and net.config["preset"] == "paper" and not net.config["attention_only"]:
            for step in net.steps:
                _draw_constants(step.coefficients.memory)
                for values in step.mix.parameters():
                    values.zero_()
        elif isinstance(net, NRKNet) and net.config["preset"] == "official" and not net.config["normalised"]:
            _start_nrknet(net)
        elif isinstance(net, KPACNet):
            for values in net.decoder[-1].conv.parameters():
                values.zero_()
        elif isinstance(net, HQSNet) and net.config["scales"] == 1:
            _start_hqsnet(net.coefficient_net)
        else:
            raise ValueError(
                f"train: {getattr(net, 'name', type(net).__name__)} cannot start from the identity in this form; "
                "gkmnet with preset='paper', nrknet with preset='official', kpac, and hqsnet with scales=1 can"
            )


def _draw_constants(memory: nn.Module) -> None:
    """Random constants for the maps, on which the photo acts a little."""
    if isinstance(memory, ConvLSTM):
        memory.conv.weight.mul_(0.2)
        assert memory.conv.bias is not None
        take, _, show, value = memory.conv.bias.chunk(4)
        take.fill_(1.0)
        show.fill_(2.0)
        value.uniform_(-SPREAD, SPREAD)
    elif isinstance(memory, nn.Conv2d) and memory.bias is not None:
        memory.weight.mul_(0.2)
        memory.bias.uniform_(-SPREAD, SPREAD)


def _start_nrknet(net: NRKNet) -> None:
    """The map of the Dirac is a constant, and the mixing weights are its inverse for the Dirac, zero for the others."""
    attention = net.coefficient_net.attention
    attention.detail_norm.weight[0] = 0
    attention.detail_norm.bias[0] = 0
    shown = torch.ones(())
    if attention.recurrent:
        memory = attention.memory
        _draw_constants(memory)
        memory.conv.weight.unflatten(0, (4, -1))[:, 0] = 0
        assert memory.conv.bias is not None
        take, keep, show, value = memory.conv.bias.chunk(4)
        keep[0], value[0] = -8.0, SPREAD  # forgets, so that it is the same at all scales
        shown = torch.sigmoid(show[0]) * torch.tanh(torch.sigmoid(take[0]) * torch.tanh(value[0]))
    else:
        attention.smooth_norm.weight[0] = 0
        attention.smooth_norm.bias[0] = 1
    mix, bias = net.blur.mix, net.blur.bias
    assert mix is not None and bias is not None
    mix.zero_()
    mix[:, :, 0] = torch.eye(mix.shape[0]) / shown
    bias.zero_()


def _start_hqsnet(net: CoefficientNet) -> None:
    """Equal maps for the filter of the photo and for the blur, most of which is the Dirac."""
    _draw_constants(net.memory)
    count = net.detail.conv.out_channels
    memory = net.memory.conv if isinstance(net.memory, ConvLSTM) else net.memory
    assert memory.bias is not None
    last = memory.bias[-count:]  # the values that the gates of an LSTM let through
    last.fill_(OTHERS)
    last[:: count // 2] = DIRAC
    gates = memory.out_channels // count
    if isinstance(net.memory, ConvLSTM):  # the state of both halves would be read alike
        into = memory.weight.unflatten(1, (-1, 1))[:, -count:]
        _repeat(into, 1)
    values: list[Tensor] = [memory.weight.unflatten(0, (gates, count)), memory.bias.unflatten(0, (gates, count))]
    for part in values:
        _repeat(part, 1)
    assert net.detail.conv.bias is not None
    _repeat(net.detail.conv.weight, 0)
    _repeat(net.detail.conv.bias, 0)


def _repeat(values: Tensor, axis: int) -> None:
    """Copy the first half along an axis to the second."""
    half = values.shape[axis] // 2
    values.narrow(axis, half, half).copy_(values.narrow(axis, 0, half))
