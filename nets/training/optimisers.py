"""Adam, schedules that are functions of the step alone, and the average of the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .settings.records import OptimiserConfig

Value = TypeVar("Value")

__all__ = ["Average", "Moment", "NonFiniteLossError", "adam", "scheduled_value", "update"]


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient that is infinite or not a number."""


class Moment(NamedTuple):
    """The current position of a training.

    Attributes
    ----------
    step : int
        Steps that are done.
    epoch : int
        Epochs that are done.
    now : int
        The one of the two that the schedules of the configuration count in.
    per_unit : int
        Steps in one of those.
    """

    step: int
    epoch: int
    now: int
    per_unit: int

    def steps_since(self, start: int) -> int:
        """Return the number of steps since epoch or step `start`; negative before it."""
        return self.step - start * self.per_unit


def scheduled_value(pairs: Iterable[tuple[int, Value]], now: int) -> Value:
    """Return the value of the last pair whose start has been reached.

    Examples
    --------
    >>> scheduled_value(((0, 1e-4), (2000, 1e-5)), 1999)
    0.0001
    """
    return [value for start, value in pairs if start <= now][-1]


def adam(parameters: Iterable[nn.Parameter], config: OptimiserConfig) -> torch.optim.Adam:
    """Make the optimiser; the learning rate is set at each step."""
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    return kind(chosen, lr=1e-4, betas=config.betas, eps=config.epsilon, weight_decay=config.weight_decay)


def update(optimiser: torch.optim.Optimizer, learning_rate: float, clip: float | None) -> float:
    """Take one step with the current gradients.

    Returns
    -------
    float
        Norm of the gradient before clipping.

    Raises
    ------
    NonFiniteLossError
        The gradient is not finite; no weight has changed.
    """
    gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return 0.0
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    size = float(norm)
    if not torch.isfinite(norm):
        raise NonFiniteLossError(f"the gradient has the norm {size}")
    if clip is not None and size > clip:
        for gradient in gradients:
            gradient.mul_(clip / size)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    optimiser.step()
    return size


class Average:
    """Exponential moving average of the parameters of a network.

    Parameters
    ----------
    net : nn.Module
    decay : float
        At step k, from 0 on, the average becomes d x average + (1 - d) x parameter, d = min(decay, (1 + k) / (10 + k)).

    Notes
    -----
    The second term gives the random initial weights little influence: with a decay of 0.99 alone, they would be 82 % of
    the average after 20 steps.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in net.named_parameters()}

    def update(self, net: nn.Module, step: int) -> None:
        """Update with the current parameters, `step` being the number of updates before this one."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in net.named_parameters():
            self.values[name].lerp_(parameter.detach(), 1.0 - decay)
