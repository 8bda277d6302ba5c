"""Alternating training of a defocus map and a blur kernel that reblur the sharp image (DefocusGAN)."""

from __future__ import annotations

from torch import Tensor

from ..losses.pointwise import mae, total_variation
from .optimisers import Moment, scheduled_value
from .parallel import Parallel
from .settings.config import TrainConfig
from .task import Batch, Measured, Task, build_net, mean_psnr, run_net, without_gradient

__all__ = ["Reblurring"]


class Reblurring(Task):
    """Alternate between training the map network and the blur kernel, with the other one frozen.

    Notes
    -----
    ``loss = weight mean|K_c sharp - image| + smoothness TV(c)``, c the map, K_c the blur it causes; TV is the sum over
    the batch. Validation compares K_c sharp with the image.

    References
    ----------
    DefocusGAN paper, section on the defocus map; the factor 1000 and the late beginning of TV are of its code alone.
    """

    published = ("map", "kernel")

    def __init__(self, config: TrainConfig, parallel: Parallel) -> None:
        assert config.reblurring is not None
        self.settings = config.reblurring
        modules = {"map": build_net(config.net), "kernel": build_net(self.settings.kernel)}
        super().__init__(config, parallel, modules)
        self.map_net, self.kernel = self.modules["map"], self.modules["kernel"]

    def fields(self) -> dict[str, str]:
        wanted = {name: f"the map network {self.map_net.name}" for name in self.map_net.inputs}
        return {"image": "the training", "sharp": "the training", **wanted}

    def _reblurred(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.autocast():
            defocus_map = run_net(self.map_net, batch).image
        return self.kernel(batch["sharp"], defocus_map.float()), defocus_map.float()

    def step(self, batch: Batch, moment: Moment) -> Measured:
        role = str(scheduled_value(self.settings.phases, moment.now))
        with without_gradient(self.modules["kernel" if role == "map" else "map"]):
            reblurred, defocus_map = self._reblurred(batch)
            distance = mae(reblurred, batch["image"])
            loss = self.settings.weight * distance
            # The sum over the whole batch, where gradients are averaged over the processes.
            variation = self.parallel.world * total_variation(defocus_map)
            if moment.step >= self.settings.smoothness_from and role == "map":
                loss = loss + self.settings.smoothness * variation
            size = self.learn(role, loss, moment)
        return {
            "loss": loss.detach(),
            "reblur": distance.detach(),
            "variation": variation.detach(),
            "psnr": mean_psnr(reblurred, batch["image"]),
            "gradient_norm": size,
        }

    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._reblurred(batch)[0], batch["image"]

    def unrestored(self, batch: Batch) -> Tensor:
        return batch["sharp"]
