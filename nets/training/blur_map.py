"""Training of a `BlurMapNet`: one photo against the map of true radii."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..models.blurmap.blur_map_net import CELL, BlurMapNet
from .optimisers import Moment
from .parallel import Parallel
from .settings.config import TrainConfig
from .supervised import Supervised
from .task import Batch, Measured, mean_psnr

__all__ = ["BlurMapTask"]


class BlurMapTask(Supervised):
    """A network of distributions over radii and the sum of its losses.

    Validation compares maps in units of the network's largest radius, so that its PSNR has that as peak; the baseline
    is the constant map of half that radius.
    """

    def __init__(self, config: TrainConfig, parallel: Parallel) -> None:
        super().__init__(config, parallel)
        if not isinstance(self.net, BlurMapNet):
            raise ValueError(f"train: kind = 'blurmap' trains the network blurmap, got {self.net.name}")

    def fields(self) -> dict[str, str]:
        return {"image": "the training", "defocus_map": "kind = 'blurmap'"} | self.terms.fields()

    def step(self, batch: Batch, moment: Moment) -> Measured:
        with self.autocast():
            outputs = self.outputs(batch["image"])
        loss, parts = self.terms(outputs, {"sharp": batch["image"], **batch}, moment)  # no loss of maps looks at it
        size = self.learn("net", loss, moment)
        found, true = self._maps(outputs.image.detach(), batch)
        error = self.net.max_radius * (found - true).abs().median()
        psnr = mean_psnr(found, true)
        return {"loss": loss.detach(), **parts, "median_error": error, "psnr": psnr, "gradient_norm": size}

    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.autocast():
            scores = self.outputs(batch["image"]).image
        return self._maps(scores, batch)

    def unrestored(self, batch: Batch) -> Tensor:
        return torch.full_like(_cells(batch["defocus_map"]), 0.5)

    def _maps(self, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean radii, found and true, of every cell, in units of the largest radius."""
        shares = scores.float().softmax(dim=1)
        mean = (shares * self.net.radii.to(shares)[:, None, None]).sum(dim=1, keepdim=True)
        return mean / self.net.max_radius, _cells(batch["defocus_map"]) / self.net.max_radius


def _cells(defocus_map: Tensor) -> Tensor:
    return functional.avg_pool2d(defocus_map.abs(), CELL, ceil_mode=True, count_include_pad=False)
