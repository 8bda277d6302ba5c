"""The loss of a distribution over radii against a map of true radii."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from blurphys.inputs import require_number

from ..layers.precision import exact
from ..net import Outputs
from .terms import Loss, Parts, detach_parts

__all__ = ["BlurMapLoss", "radius_shares"]


def radius_shares(defocus_map: Tensor, *, bins: int, step: float, cell: int) -> Tensor:
    """Return how the absolute radii of a map are distributed in every cell.

    Parameters
    ----------
    defocus_map : Tensor of shape (B, 1, H, W)
        Signed CoC radius, px.
    bins : int
        At the radii 0, step, .. (bins - 1) step; larger radii count as the last.
    step : float
        Px.
    cell : int
        Side of a cell, px.

    Returns
    -------
    Tensor of shape (B, bins, ceil(H / cell), ceil(W / cell))
        Shares that sum to one: a pixel's radius is divided linearly between its two neighbouring bins, and a cell has
        the mean of its pixels.
    """
    if defocus_map.ndim != 4 or defocus_map.shape[1] != 1:
        raise ValueError(f"radius_shares: expected a map of shape (B, 1, H, W), got {tuple(defocus_map.shape)}")
    at = (defocus_map.abs() / step).clamp(max=bins - 1)
    numbers = torch.arange(bins, dtype=at.dtype, device=at.device)[:, None, None]
    shares = (1 - (at - numbers).abs()).clamp_min(0)
    return functional.avg_pool2d(shares, cell, ceil_mode=True, count_include_pad=False)


class BlurMapLoss(Loss):
    """Cross-entropy of the radii in every cell, and the squared error of their cumulative distribution.

    Parameters
    ----------
    step : float
        Of the network's radii, px.
    cell : int
        Of the network, px.
    ranked : float
        Weight of the second term, which knows that 3 px is nearer to 4 than to 8.

    Notes
    -----
    ``mean over cells of -sum_k t_k log p_k + ranked step sum_k (P_k - T_k)^2``, p the softmax of `outputs.image`, t the
    shares of the true radii (`radius_shares`), P and T their cumulative sums: the second term is the continuous ranked
    probability score, in px. Both are least at p = t, so that a cell that cannot be told from others gets the
    distribution of the radii of all of them. `sharp` is not used.
    """

    fields = ("defocus_map",)

    def __init__(self, *, step: float = 0.5, cell: int = 8, ranked: float = 1.0) -> None:
        super().__init__()
        self.step = require_number("BlurMapLoss", "step", step, above=0, unit="px")
        self.ranked = require_number("BlurMapLoss", "ranked", ranked, least=0)
        self.cell = cell

    def forward(
        self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0, *, defocus_map: Tensor | None = None
    ) -> tuple[Tensor, Parts]:
        if defocus_map is None:
            raise ValueError("BlurMapLoss: expected the true map as defocus_map=, (B, 1, H, W), got none")
        with exact(outputs.image, defocus_map) as (scores, radii):
            bins = scores.shape[1]
            true = radius_shares(radii, bins=bins, step=self.step, cell=self.cell)
            if true.shape != scores.shape:
                raise ValueError(
                    f"BlurMapLoss: expected scores of shape {tuple(true.shape)}, one distribution for each cell of "
                    f"{self.cell} px, got {tuple(scores.shape)}; is the image a map of radii?"
                )
            entropy = -(true * scores.log_softmax(dim=1)).sum(dim=1).mean()
            between = (scores.softmax(dim=1) - true).cumsum(dim=1)
            ranked = self.step * between.square().sum(dim=1).mean()
        return entropy + self.ranked * ranked, detach_parts(cross_entropy=entropy, ranked=ranked)
