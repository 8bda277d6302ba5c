"""The losses of a configuration, by their names in `nets.losses`, and their sum."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synth.dataset.schema import field_of

from ..net import Outputs
from .optimisers import Moment
from .settings.records import LossConfig

__all__ = ["Terms"]


NAMES = {field_of(role): role for role in ("sharp", "image")}
"""Names that losses have for the two images of every batch."""


def _built(config: LossConfig) -> Any:
    from ..losses import create_loss

    try:
        return create_loss(config.name, **config.arguments)
    except TypeError as error:
        raise ValueError(f"train: the loss {config.name!r} refuses its arguments: {error}") from None


class Terms:
    """The sum of all losses that are active at a moment.

    Parameters
    ----------
    configs : sequence of LossConfig
    device : torch.device
        Device of losses that have weights of their own.

    Attributes
    ----------
    takes_scores, takes_map : list of bool
        Which losses take the scores of a discriminator, and which the defocus map of the batch.
    """

    def __init__(self, configs: Sequence[LossConfig], device: torch.device) -> None:
        self.configs = tuple(configs)
        self.losses = [_built(config) for config in self.configs]
        taken = [inspect.signature(loss.forward).parameters for loss in self.losses]
        self.takes_scores, self.takes_map = (["scores" in p for p in taken], ["defocus_map" in p for p in taken])
        for loss in self.losses:
            if isinstance(loss, nn.Module):
                loss.to(device).requires_grad_(False)

    def fields(self) -> dict[str, str]:
        """Return the fields of the samples that the losses read, and which loss reads them."""
        return {
            NAMES.get(field, field): f"the loss {config.name!r}"
            for config, loss in zip(self.configs, self.losses, strict=True)
            for field in loss.fields
        }

    def __call__(
        self, outputs: Outputs, batch: Mapping[str, Tensor], moment: Moment, **scored: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts.

        Parameters
        ----------
        outputs : Outputs
        batch : mapping
        moment : Moment
        **scored
            "scores" of a discriminator and their "weight", for the losses that take them.

        Raises
        ------
        ValueError
            No loss acts now.
        """
        outputs = _float(outputs)
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        takes = zip(self.takes_scores, self.takes_map, strict=True)
        for config, loss, (takes_scores, takes_map) in zip(self.configs, self.losses, takes, strict=True):
            if not config.start <= moment.now < (moment.now + 1 if config.stop is None else config.stop):
                continue
            more = dict(scored) if takes_scores else {}
            if takes_map:
                more["defocus_map"] = batch["defocus_map"]
            value, inner = loss(outputs, batch["sharp"], batch["image"], moment.epoch, **more)
            total = config.weight * value if total is None else total + config.weight * value
            for name, part in inner.items():
                parts[name if len(self.configs) == 1 else f"{config.name}.{name}"] = torch.as_tensor(part).detach()
        if total is None:
            raise ValueError(f"train: no loss acts at {moment.now}; see start and stop of [[losses]]")
        return total, parts


def _float(outputs: Outputs) -> Outputs:
    """Convert outputs of autocast to float32, so that losses are exact."""

    def up(image: Tensor) -> Tensor:
        return image.float() if image.dtype in (torch.bfloat16, torch.float16) else image

    return Outputs(
        up(outputs.image), tuple(up(image) for image in outputs.scales), tuple(up(image) for image in outputs.reblurred)
    )
