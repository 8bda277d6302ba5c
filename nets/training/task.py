"""The base class of the kinds of training: networks, the step, and validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..net import Net, Outputs
from .identity import IDENTITY, start_at_identity
from .optimisers import Average, Moment, NonFiniteLossError, adam, scheduled_value, update
from .parallel import Parallel
from .settings.config import TrainConfig
from .settings.records import NetConfig

__all__ = ["Batch", "Measured", "Task", "build_net", "mean_psnr", "run_net", "without_gradient"]

Batch = dict[str, Tensor]
Measured = dict[str, Tensor]
"""Scalars of one step on one process: "loss", "psnr", and the parts of the loss."""


def build_net(config: NetConfig) -> Net:
    """Build a network, with weights from a file if one is named, or those of the identity."""
    from ..registry import create
    from ..weights.saving import load_weights

    net = create(config.name, **config.arguments)
    if config.start_from == IDENTITY:
        start_at_identity(net)
    elif config.start_from is not None:
        load_weights(net, config.start_from)
    return net


def mean_psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return the PSNR in dB, values clipped to [0, 1], averaged over the images of a batch."""
    error = (image.detach().float().clamp(0, 1) - target.float().clamp(0, 1)).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(1e-10)).mean()


def run_net(net: Net, batch: Batch, sharp: Tensor | None = None, outputs: Any = None) -> Outputs:
    """Call a network with its inputs; with `outputs` of all scales where it takes a single image."""
    images = [batch[name] for name in net.inputs]
    if len(images) > 1:
        return Outputs(net(*images))
    return (outputs or net.outputs)(images[0], sharp)


@contextmanager
def without_gradient(module: nn.Module) -> Iterator[None]:
    """Freeze the parameters of a module inside the block."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class Task(ABC):
    """One kind of training.

    Parameters
    ----------
    config : TrainConfig
    parallel : Parallel
    modules : dict of str to Net
        By their roles; on the device from here on.

    Attributes
    ----------
    modules, optimisers, averages : dict
        By role. Every module has an optimiser; those that are published have an average where the configuration says.
    published : tuple of str
        Roles whose networks are written as files of `nets.save`.
    """

    published: tuple[str, ...]

    def __init__(self, config: TrainConfig, parallel: Parallel, modules: dict[str, Net]) -> None:
        self.config, self.parallel = config, parallel
        self.modules = {role: module.to(parallel.device) for role, module in modules.items()}
        for module in self.modules.values():
            parallel.broadcast((*module.parameters(), *module.buffers()))
            if config.checkpointing:
                _set_checkpointing(module)
        self.forget()
        average = config.ema
        self.averages = {} if average is None else {r: Average(self.modules[r], average) for r in self.published}

    def forget(self) -> None:
        """Reset the optimisers."""
        self.optimisers = {role: adam(m.parameters(), self.config.optimiser) for role, m in self.modules.items()}

    @abstractmethod
    def fields(self) -> dict[str, str]:
        """Return the fields of the samples that are needed, and what needs each."""

    @abstractmethod
    def step(self, batch: Batch, moment: Moment) -> Measured:
        """Take one training step on a batch."""

    @abstractmethod
    def validation_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the image and the target that validation compares."""

    def unrestored(self, batch: Batch) -> Tensor:
        """Return the image without any network, which validation measures as the baseline."""
        return batch["image"]

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Run networks in bfloat16 where the configuration says so."""
        kind = self.parallel.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.config.amp == "bf16"):
            yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Switch the networks to evaluation mode with averaged weights, as they are validated and published."""
        with torch.no_grad(), _use_averages(self):
            for module in self.modules.values():
                module.eval()
            try:
                yield
            finally:
                for module in self.modules.values():
                    module.train()

    def learn(self, role: str, loss: Tensor, moment: Moment) -> Tensor:
        """Take one optimiser step of one network.

        Parameters
        ----------
        role : str
        loss : Tensor
            Mean over this process's share of the batch.
        moment : Moment

        Returns
        -------
        Tensor
            Norm of the gradient.

        Raises
        ------
        NonFiniteLossError
            The loss or its gradient is not finite on some process; the network has not changed.
        """
        value = float(self.parallel.mean(loss.detach().clone()))
        if value - value != 0:
            raise NonFiniteLossError(f"the loss of the {role} is {value}")
        module, optimiser = self.modules[role], self.optimisers[role]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.parallel.average_gradients(module.parameters())
        rate = scheduled_value(self.config.learning_rate, moment.now)
        size = update(optimiser, rate, self.config.optimiser.clip)
        if role in self.averages:
            self.averages[role].update(module, moment.step)
        return loss.new_tensor(size)


@contextmanager
def _use_averages(task: Task) -> Iterator[None]:
    own = {role: {n: p.detach().clone() for n, p in task.modules[role].named_parameters()} for role in task.averages}
    _put(task.modules, {role: average.values for role, average in task.averages.items()})
    try:
        yield
    finally:
        _put(task.modules, own)


def _put(modules: dict[str, Net], values: dict[str, dict[str, Tensor]]) -> None:
    for role, tensors in values.items():
        for name, parameter in modules[role].named_parameters():
            parameter.detach().copy_(tensors[name])


def _set_checkpointing(net: nn.Module) -> None:
    if not hasattr(net, "checkpointing"):
        raise ValueError(
            f"train: checkpointing is set, but {getattr(net, 'name', type(net).__name__)} has no unrolled steps that "
            "could be computed twice; leave it out, or see the network's own arguments"
        )
    net.checkpointing = True
