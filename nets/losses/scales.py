"""The same loss at every scale of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..layers.resampling import Resampling, Role, pyramid
from ..net import Outputs, crop_to_size, pad_to_multiple
from .pointwise import l2

__all__ = ["resample_to_scales", "multi_scale", "take_weights"]


def resample_to_scales(
    image: Tensor, estimates: Sequence[Tensor], *, rule: Resampling = "antialiased", role: Role = "target"
) -> list[Tensor]:
    """Return an image at the scales of a list of estimates, full resolution first.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W)
    estimates : sequence of Tensors
        Estimate t is of shape (B, C, ceil(H / 2^t), ceil(W / 2^t)).
    rule : {"antialiased", "gkmnet", "nrknet"}
        See `nets.layers.resampling.pyramid`.
    role : {"input", "target"}
        Rule for inputs or for targets.

    Raises
    ------
    ValueError
        An estimate of another size.

    Notes
    -----
    An image whose size is not a multiple is padded as the networks do it, and cropped at each scale.
    """
    height, width = image.shape[-2:]
    levels = pyramid(pad_to_multiple(image, 2 ** (len(estimates) - 1)), len(estimates), rule=rule, role=role)
    found = []
    for t, (level, estimate) in enumerate(zip(levels, estimates, strict=True)):
        size = (-(-height // 2**t), -(-width // 2**t))
        if tuple(estimate.shape[-2:]) != size:
            raise ValueError(
                f"losses: expected the estimate at scale 1/{2**t} to have {size[0]} x {size[1]} px, half of the one "
                f"before it, got {tuple(estimate.shape)} for an image {tuple(image.shape)}"
            )
        found.append(crop_to_size(level, size))
    return found


def take_weights(owner: str, weights: Sequence[float], terms: int) -> tuple[float, ...]:
    """Return the first `terms` weights; ValueError where there are fewer."""
    if len(weights) < terms:
        raise ValueError(f"{owner}: expected {terms} weights, one for each output of the network, got {len(weights)}")
    return tuple(weights[:terms])


def multi_scale(
    outputs: Outputs,
    sharp: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = l2,
    weights: Sequence[float] | None = None,
    final: bool = False,
    resampling: Resampling = "antialiased",
) -> Tensor:
    """Return the weighted sum of a loss over the scales of a network.

    Parameters
    ----------
    outputs : Outputs
        Of the network; without scales its image is the only estimate.
    sharp : Tensor of shape (B, 3, H, W)
        The all-in-focus image.
    loss : callable
        (estimate, target) -> number; `l2`, `mae`, `ssim_loss`, `frequency`.
    weights : sequence of float, optional
        Full resolution first, `final` before them; as many as there are terms or more. All 1 if omitted.
    final : bool
        Compare the restored image too, for networks whose image is not the estimate at full resolution.
    resampling : {"antialiased", "gkmnet", "nrknet"}
        How the targets are downsampled.

    Returns
    -------
    Tensor
        A number.
    """
    estimates = outputs.scales or (outputs.image,)
    terms = list(zip(estimates, resample_to_scales(sharp, estimates, rule=resampling), strict=True))
    if final and outputs.scales:
        terms.insert(0, (outputs.image, sharp))
    factors = take_weights("multi_scale", (1.0,) * len(terms) if weights is None else weights, len(terms))
    total = factors[0] * loss(*terms[0])
    for factor, (estimate, target) in zip(factors[1:], terms[1:], strict=True):
        total = total + factor * loss(estimate, target)
    return total
