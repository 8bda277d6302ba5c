"""One iteration of GKMNet: the fixed-point step with a predicted mixture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...layers.blocks import BatchStatistics
from .coefficients import CoefficientNet, Gate, Recurrence, State
from .gaussian_bank import COLOURS, GaussianBank

__all__ = ["UnrolledStep"]


class UnrolledStep(nn.Module):
    """One iteration: maps from the photo, and from them the next estimate.

    Parameters
    ----------
    kernels : int
        K; there are 2 K maps, K for the photo and K for the estimate.
    image_channels : int
        6 where the coefficient network sees the estimate too, else 3.
    attention_only : bool
        Without blur kernels: a sigmoid of weighted maps is the estimate.
    explicit : bool
        Whether the photo is added.
    recurrent, gate, width, bn_stats
        See `CoefficientNet`.
    """

    def __init__(
        self,
        kernels: int,
        *,
        image_channels: int,
        attention_only: bool,
        explicit: bool,
        recurrent: Recurrence,
        gate: Gate,
        width: int,
        bn_stats: BatchStatistics,
    ) -> None:
        super().__init__()
        self.kernels, self.sees_estimate, self.explicit = kernels, image_channels > COLOURS, explicit
        self.coefficients = CoefficientNet(
            2 * kernels, image_channels=image_channels, recurrent=recurrent, gate=gate, width=width, bn_stats=bn_stats
        )
        self.mix = nn.Conv2d(2 * kernels if attention_only else 2 * COLOURS * kernels, COLOURS, 1)

    def forward(self, y: Tensor, x: Tensor, state: State, bank: GaussianBank | None) -> tuple[Tensor, Tensor, State]:
        """Return the next estimate, the maps and the state of the memory."""
        maps, state = self.coefficients(torch.cat([y, x], dim=1) if self.sees_estimate else y, state)
        if bank is None:
            return torch.sigmoid(self.mix(maps)).to(y.dtype), maps, state
        assert self.mix.bias is not None
        weight = self.mix.weight.view(COLOURS, 2, COLOURS, self.kernels)
        of_y, of_x = maps.chunk(2, dim=1)
        out = bank(y, of_y, weight[:, 0]) + bank(x, of_x, weight[:, 1]) + self.mix.bias[:, None, None]
        return (out + y if self.explicit else out).to(y.dtype), maps, state
