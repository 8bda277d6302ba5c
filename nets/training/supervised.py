"""Supervised training on pairs of a blurred and a sharp image."""

from __future__ import annotations

import torch
from torch import Tensor

from .optimisers import Moment
from .parallel import Parallel
from .settings.config import TrainConfig
from .task import Batch, Measured, Task, build_net, mean_psnr, run_net
from .terms import Terms

__all__ = ["Supervised"]


class Supervised(Task):
    """One network and the sum of its losses."""

    published = ("net",)

    def __init__(self, config: TrainConfig, parallel: Parallel) -> None:
        super().__init__(config, parallel, {"net": build_net(config.net)})
        self.net = self.modules["net"]
        self.terms = Terms(config.losses, parallel.device)
        self.outputs = torch.compile(self.net.outputs) if config.compile else self.net.outputs

    def fields(self) -> dict[str, str]:
        wanted = {name: f"the network {self.net.name}" for name in self.net.inputs}
        return {"image": "the training", "sharp": "the training"} | self.terms.fields() | wanted

    def step(self, batch: Batch, moment: Moment) -> Measured:
        with self.autocast():
            outputs = run_net(self.net, batch, batch["sharp"], self.outputs)
        loss, parts = self.terms(outputs, batch, moment)
        size = self.learn("net", loss, moment)
        psnr = mean_psnr(outputs.image, batch["sharp"])
        return {"loss": loss.detach(), **parts, "psnr": psnr, "gradient_norm": size}

    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.autocast():
            return run_net(self.net, batch, None, self.outputs).image, batch["sharp"]
