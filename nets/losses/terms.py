"""The base class of training losses, one loss at all scales, and the reblurring loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, TypeAlias, get_args

from torch import Tensor, nn

from ..layers.checks import check_choice
from ..layers.resampling import Resampling
from ..net import Outputs
from .features import PyramidLoss
from .pointwise import frequency, l2, log_l2, mae
from .scales import multi_scale, resample_to_scales, take_weights
from .similarity import ssim_loss

__all__ = ["SINGLE", "Loss", "OperatorLoss", "Parts", "Preset", "ScaleLoss", "reblurring", "detach_parts"]

Preset: TypeAlias = Literal["official", "paper"]
Parts: TypeAlias = dict[str, Tensor]

SINGLE = {"l2": l2, "log_l2": log_l2, "mae": mae, "ssim": ssim_loss, "frequency": frequency}
"""Losses of two images by name."""


class Loss(nn.Module):
    """A loss of training: ``total, parts = loss(outputs, sharp, image, epoch)``.

    Attributes
    ----------
    fields : tuple of str
        The fields of a sample that it needs, by the names of `synth`: all_in_focus (its `sharp`), combined (its
        `image`), left, right, defocus_map.

    Notes
    -----
    `outputs` is what ``net.outputs(image, sharp)`` returns, `epoch` counts from 0. `parts` are the terms by name,
    without their weights and without a graph; the total has one.
    """

    fields: ClassVar[tuple[str, ...]] = ("all_in_focus",)

    @abstractmethod
    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        """Return the number to minimise and its parts."""


def detach_parts(**parts: Tensor) -> Parts:
    """Return parts by name, without their graphs."""
    return {name: part.detach() for name, part in parts.items()}


class ScaleLoss(Loss):
    """One loss at every scale of a network.

    Parameters
    ----------
    loss : {"l2", "log_l2", "mae", "ssim", "frequency", "pyramid"}
    weights, final, resampling
        See `multi_scale`.
    """

    def __init__(
        self,
        loss: str = "l2",
        *,
        weights: Sequence[float] | None = None,
        final: bool = False,
        resampling: Resampling = "antialiased",
    ) -> None:
        super().__init__()
        check_choice("ScaleLoss", "loss", loss, (*SINGLE, "pyramid"))
        check_choice("ScaleLoss", "resampling", resampling, get_args(Resampling))
        self.loss, self.weights, self.final, self.resampling = loss, weights, final, resampling
        self.term = PyramidLoss() if loss == "pyramid" else SINGLE[loss]

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        total = multi_scale(
            outputs, sharp, loss=self.term, weights=self.weights, final=self.final, resampling=self.resampling
        )
        return total, detach_parts(**{self.loss: total})


class OperatorLoss(Loss):
    """How well the predicted blur of the sharp image explains the photo, at every scale: it teaches the operator alone.

    Parameters
    ----------
    loss : {"log_l2", "l2", "mae"}
    weights, resampling
        See `reblurring`.
    """

    fields = ("all_in_focus", "combined")

    def __init__(
        self,
        *,
        loss: str = "log_l2",
        weights: Sequence[float] | None = None,
        resampling: Resampling = "antialiased",
    ) -> None:
        super().__init__()
        check_choice("OperatorLoss", "loss", loss, ("log_l2", "l2", "mae"))
        check_choice("OperatorLoss", "resampling", resampling, get_args(Resampling))
        self.loss, self.weights, self.resampling = loss, weights, resampling

    def forward(self, outputs: Outputs, sharp: Tensor, image: Tensor, epoch: int = 0) -> tuple[Tensor, Parts]:
        total = reblurring(outputs, image, weights=self.weights, resampling=self.resampling, loss=SINGLE[self.loss])
        return total, detach_parts(operator=total)


def reblurring(
    outputs: Outputs,
    image: Tensor,
    *,
    weights: Sequence[float] | None = None,
    resampling: Resampling = "antialiased",
    loss: Callable[[Tensor, Tensor], Tensor] = l2,
) -> Tensor:
    """Return the weighted sum of the differences between the reblurred sharp images and the observed one.

    Parameters
    ----------
    outputs : Outputs
        With `reblurred`.
    image : Tensor of shape (B, 3, H, W)
        The observed image.
    weights : sequence of float, optional
        Full resolution first; all 1 if omitted.
    resampling : {"antialiased", "gkmnet", "nrknet"}
        How the observed image is downsampled: as an input, not as a target.
    loss : callable
        (reblurred, observed) -> number.

    Raises
    ------
    ValueError
        No reblurred images.
    """
    estimates = outputs.reblurred
    if not estimates:
        raise ValueError(
            "reblurring: expected reblurred images, got none; ask the network for outputs(image, sharp), and only one "
            "with operators of its own can answer"
        )
    factors = take_weights("reblurring", (1.0,) * len(estimates) if weights is None else weights, len(estimates))
    terms = zip(factors, estimates, resample_to_scales(image, estimates, rule=resampling, role="input"), strict=True)
    total = estimates[0].new_zeros(())
    for factor, estimate, target in terms:
        total = total + factor * loss(estimate, target)
    return total
