"""Alternating training of a defocus map and a blur kernel that reblur the sharp image (DefocusGAN)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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
    the batch. Validation compares K_c sharp with the image. With `supervision` the mean over the valid pixels of the
    Huber loss (quadratic up to 1 px) of ``c - true map`` is added, and validation compares the maps, beside the
    estimate that the network starts from, if any.

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
        true = dict.fromkeys(("defocus_map", "valid"), "reblurring.supervision") if self.settings.supervision else {}
        return {"image": "the training", "sharp": "the training", **wanted, **true}

    def _map(self, batch: Batch) -> Tensor:
        with self.autocast():
            return run_net(self.map_net, batch).image.float()

    def step(self, batch: Batch, moment: Moment) -> Measured:
        role = str(scheduled_value(self.settings.phases, moment.now))
        with without_gradient(self.modules["kernel" if role == "map" else "map"]):
            defocus_map = self._map(batch)
            # The sum over the whole batch, where gradients are averaged over the processes.
            variation = self.parallel.world * total_variation(defocus_map)
            loss = defocus_map.new_zeros(())
            measured = {"variation": variation.detach()}
            if self.settings.weight:
                reblurred = self.kernel(batch["sharp"], defocus_map)
                distance = mae(reblurred, batch["image"])
                loss = loss + self.settings.weight * distance
                measured |= {"reblur": distance.detach(), "psnr": mean_psnr(reblurred, batch["image"])}
            if self.settings.supervision and role == "map":
                error = self._error(defocus_map, batch)
                loss = loss + self.settings.supervision * error
                measured["map_error"] = error.detach()
            if moment.step >= self.settings.smoothness_from and role == "map":
                loss = loss + self.settings.smoothness * variation
            size = self.learn(role, loss, moment)
        if not self.settings.weight:
            found, true = self._scaled(defocus_map.detach(), batch["defocus_map"].expand_as(defocus_map))
            measured["psnr"] = mean_psnr(found, true)
        return {"loss": loss.detach(), **measured, "gradient_norm": size}

    def _error(self, defocus_map: Tensor, batch: Batch) -> Tensor:
        """Return the mean Huber loss over the pixels whose true radius is valid."""
        true, valid = (batch[name].expand_as(defocus_map) for name in ("defocus_map", "valid"))
        loss = functional.huber_loss(defocus_map, true, reduction="none")
        return (loss * valid).sum() / valid.sum().clamp_min(1)

    def _scaled(self, *maps: Tensor) -> tuple[Tensor, ...]:
        largest = 2 * float(self.map_net.config["max_radius"])
        return tuple(0.5 + each / largest for each in maps)

    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        defocus_map = self._map(batch)
        if self.settings.supervision:
            found, true = self._scaled(defocus_map, batch["defocus_map"].expand_as(defocus_map))
            return found, true
        return self.kernel(batch["sharp"], defocus_map), batch["image"]

    def unrestored(self, batch: Batch) -> Tensor:
        if not self.settings.supervision:
            return batch["sharp"]
        start = batch["estimate"][:, :1] if "estimate" in batch else torch.zeros_like(batch["defocus_map"])
        return self._scaled(start)[0]
