"""Adversarial training of a generator and a discriminator (DefocusGAN)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses.adversarial import defocus_weight, discriminator_loss, gradient_penalty
from ..net import Net, Outputs
from .optimisers import Moment
from .parallel import Parallel
from .settings.config import TrainConfig
from .task import Batch, Measured, Task, build_net, mean_psnr, run_net, without_gradient
from .terms import Terms

__all__ = ["Adversarial"]

PENALTY = 2  # stream of random numbers, beside those of the order of samples and of crops


class Adversarial(Task):
    """Generator and discriminator, the former guided by a defocus map whose weight is annealed.

    Notes
    -----
    For each batch the discriminator takes its steps first, then the generator takes one. All random numbers of a step
    follow from the seed and the step.

    References
    ----------
    DefocusGAN paper, equations 4 to 8, and the released code where they differ: see `AdversarialConfig`.
    """

    published = ("generator",)

    def __init__(self, config: TrainConfig, parallel: Parallel) -> None:
        assert config.adversarial is not None
        self.settings = config.adversarial
        modules = {"generator": build_net(config.net), "discriminator": build_net(self.settings.discriminator)}
        super().__init__(config, parallel, modules)
        self.generator, self.discriminator = self.modules["generator"], self.modules["discriminator"]
        self.terms = Terms(config.losses, parallel.device)
        if not any(self.terms.takes_scores):
            names = ", ".join(repr(loss.name) for loss in config.losses)
            raise ValueError(
                f"train: expected a loss that takes the scores of the discriminator, such as 'defocusgan', got {names}"
            )
        self.map_net = self._map_net()
        self.forward: Any = torch.compile(self.generator) if config.compile else self.generator

    def _map_net(self) -> Net | None:
        from ..weights.saving import load

        if self.settings.map_net is None:
            return None
        net: Net = load(self.settings.map_net).to(self.parallel.device).eval().requires_grad_(False)
        return net

    def fields(self) -> dict[str, str]:
        wanted = {"image": "the training", "sharp": "the training", **self.terms.fields()}
        if self.map_net is None:
            return wanted | {"defocus_map": "the guide of the generator (or name a network in adversarial.map_net)"}
        return wanted | {name: f"the map network {self.map_net.name}" for name in self.map_net.inputs}

    def _map(self, batch: Batch) -> Tensor:
        """Return the signed radius, px, of each colour or of all, without gradient."""
        if self.map_net is None:
            return batch["defocus_map"]
        with torch.no_grad(), self.autocast():
            return run_net(self.map_net, batch).image.float()

    def guidance(self, moment: Moment) -> float:
        """Return the weight of the guidance."""
        from ..models.defocus_gan.generator import annealed_weight

        since = moment.steps_since(self.settings.annealing_from)
        return annealed_weight(since, self.settings.annealing_forwards) if since > 0 else 1.0

    def step(self, batch: Batch, moment: Moment) -> Measured:
        image, sharp = batch["image"], batch["sharp"]
        blur = self._map(batch)
        weight = self.guidance(moment)
        with self.autocast():
            fake = self.forward(image, blur if weight > 0 else None, weight)
        fake = fake.float()
        measured: Measured = {"guidance": fake.new_tensor(weight)}
        if moment.now >= self.settings.discriminator_from:
            for turn in range(self.settings.steps):
                measured |= self._discriminate(fake.detach(), sharp, blur, moment, turn)
        with without_gradient(self.discriminator):
            scored = self._scored(fake, blur) if moment.now >= self.settings.adversarial_from else {}
            loss, parts = self.terms(Outputs(fake, (fake,)), batch, moment, **scored)
            size = self.learn("generator", loss, moment)
        measured |= {"loss": loss.detach(), **parts, "psnr": mean_psnr(fake, sharp), "gradient_norm": size}
        return measured

    def _scored(self, fake: Tensor, blur: Tensor) -> dict[str, Tensor | None]:
        """Return the scores of the discriminator, for the loss of the generator."""
        with self.autocast():
            scores = self.discriminator(fake)
        return {"scores": scores, "weight": defocus_weight(blur, tuple(scores.shape[-2:]))}

    def _discriminate(self, fake: Tensor, sharp: Tensor, blur: Tensor, moment: Moment, turn: int) -> Measured:
        """Take one step of the discriminator."""
        with self.autocast():
            real_scores, fake_scores = self.discriminator(sharp), self.discriminator(fake)
        known = defocus_weight(blur, tuple(real_scores.shape[-2:]))
        distance = discriminator_loss(real_scores, fake_scores, known, coefficient=self.settings.map_weight)
        share = self._share(fake, moment, turn)
        norm: Any = self.settings.penalty_norm
        penalty = gradient_penalty(
            self.discriminator, sharp, fake, norm=norm, coefficient=self.settings.penalty, share=share
        )
        self.learn("discriminator", distance + penalty, moment)
        return {"discriminator": distance.detach(), "penalty": penalty.detach()}

    def _share(self, fake: Tensor, moment: Moment, turn: int) -> Tensor:
        """Mixing weight of the sharp image in the gradient penalty, independent of the number of processes."""
        import numpy as np

        key = np.random.SeedSequence(self.config.seed, spawn_key=(PENALTY, moment.step, turn))
        drawn = np.random.Generator(np.random.Philox(key)).random(self.config.batch)
        mine = fake.shape[0] * self.parallel.rank
        chosen = drawn[:1] if self.settings.penalty_norm == "pixel" else drawn[mine : mine + fake.shape[0]]
        return torch.as_tensor(chosen, dtype=fake.dtype).to(fake.device).view(-1, 1, 1, 1)

    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.autocast():
            return self.forward(batch["image"], None, 0.0).float(), batch["sharp"]
