"""Adversarial losses of DefocusGAN: Wasserstein, weighted by defocus, with gradient penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..layers.checks import check_choice
from ..layers.precision import exact
from .pointwise import check_pair

__all__ = ["PenaltyNorm", "adversarial_loss", "defocus_weight", "discriminator_loss", "gradient_penalty"]

PenaltyNorm: TypeAlias = Literal["pixel", "sample"]


def defocus_weight(defocus_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the radius of the circle of confusion at the size of the scores, (B, 1, h, w), px of the full image.

    Parameters
    ----------
    defocus_map : Tensor of shape (B, H, W) or (B, C, H, W)
        Signed or unsigned, px; of several colours the largest radius counts.
    size : tuple of two ints
        Of the scores; the nearest pixel above and to the left is taken.
    """
    radius = defocus_map.abs()
    radius = radius[:, None] if radius.ndim == 3 else radius.amax(dim=1, keepdim=True)
    return torch.nn.functional.interpolate(radius, size=size, mode="nearest")


def discriminator_loss(real: Tensor, fake: Tensor, weight: Tensor | None = None, *, coefficient: float = 0.1) -> Tensor:
    """Return the loss of the discriminator, without the gradient penalty.

    Parameters
    ----------
    real, fake : Tensor of shape (B, 1, h, w)
        Scores of sharp and of restored images.
    weight : Tensor of shape (B, 1, h, w), optional
        See `defocus_weight`.
    coefficient : float
        Of the weighted part.

    Notes
    -----
    ``mean(e) + coefficient mean(weight e)``, e = fake - real.
    """
    check_pair("discriminator_loss", real, fake)
    with exact(real, fake) as (r, f):
        difference = f - r
        total = difference.mean()
        return total if weight is None else total + coefficient * (difference * weight).mean()


def adversarial_loss(fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the loss of the generator: minus the mean score, weighted in the paper and plain in the code.

    Parameters
    ----------
    fake : Tensor of shape (B, 1, h, w)
        Scores of restored images.
    weight : Tensor of shape (B, 1, h, w), optional
        See `defocus_weight`.
    """
    with exact(fake) as (f,):
        return -(f if weight is None else weight * f).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    norm: PenaltyNorm = "pixel",
    coefficient: float = 10.0,
    generator: torch.Generator | None = None,
    share: Tensor | None = None,
) -> Tensor:
    """Return the penalty that keeps the gradient norm of a discriminator near one between two images.

    Parameters
    ----------
    discriminator : callable
        (B, C, H, W) -> scores. It runs in float32.
    real, fake : Tensor of shape (B, C, H, W)
        Neither gets a gradient.
    norm : {"pixel", "sample"}
        "pixel": the norm of the gradient over the colours of each pixel, and one mixing weight for the whole batch, as
        in DefocusGAN's code. "sample": the norm over an image, one weight for each, as in the WGAN-GP paper.
    coefficient : float
    generator : torch.Generator, optional
        Draws the mixing weights, from [0, 1).
    share : Tensor, optional
        The mixing weights of `real`, in place of drawn ones; broadcast to the images.

    Returns
    -------
    Tensor
        ``coefficient mean((norm - 1)^2)``; twice differentiable where the discriminator is.

    References
    ----------
    Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, Improved training of Wasserstein GANs, NeurIPS 2017, equation 3.
    """
    check_choice("gradient_penalty", "norm", norm, get_args(PenaltyNorm))
    check_pair("gradient_penalty", real, fake)
    with exact(real.detach(), fake.detach()) as (x, y):
        if share is None:
            drawn = torch.rand(
                (1 if norm == "pixel" else x.shape[0], 1, 1, 1),
                generator=generator,
                dtype=x.dtype,
                device=x.device if generator is None else generator.device,
            )
            share = drawn.to(x.device)
        between = (share * x + (1 - share) * y).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
        axes = (1,) if norm == "pixel" else (1, 2, 3)
        return coefficient * (torch.linalg.vector_norm(slope, dim=axes) - 1).square().mean()
