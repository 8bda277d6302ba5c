"""Losses that compare two images pixel by pixel or frequency by frequency, and total variation."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.checks import check_choice
from ..layers.precision import exact

__all__ = ["FrequencyNorm", "check_pair", "frequency", "l2", "log_l2", "mae", "total_variation"]

LOG_FLOOR = 1e-4
"""Added to the mean squared errors in `log_l2`."""

FrequencyNorm: TypeAlias = Literal["official", "paper"]


def check_pair(owner: str, image: Tensor, target: Tensor) -> None:
    """ValueError unless two images have one shape with four axes."""
    if image.shape != target.shape or image.ndim != 4:
        raise ValueError(
            f"{owner}: expected two images of one shape (B, C, H, W), got {tuple(image.shape)} and "
            f"{tuple(target.shape)}"
        )


def l2(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error, ``mean((image - target)^2)``."""
    check_pair("l2", image, target)
    with exact(image, target) as (x, y):
        return functional.mse_loss(x, y)


def log_l2(image: Tensor, target: Tensor) -> Tensor:
    """Return the decadic logarithm of the mean squared error of each image (plus `LOG_FLOOR`), averaged over the batch.

    Ten times its negative is the mean PSNR of values that are not clipped, but for the floor, which keeps images that
    are restored to 40 dB already from outweighing all others.
    """
    check_pair("log_l2", image, target)
    with exact(image, target) as (x, y):
        return ((x - y).square().flatten(1).mean(1) + LOG_FLOOR).log10().mean()


def mae(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error, ``mean(|image - target|)``."""
    check_pair("mae", image, target)
    with exact(image, target) as (x, y):
        return functional.l1_loss(x, y)


def frequency(image: Tensor, target: Tensor, *, norm: FrequencyNorm = "official") -> Tensor:
    """Return the mean absolute difference of the Fourier transforms of two images.

    Parameters
    ----------
    image, target : Tensor of shape (B, C, H, W)
    norm : {"official", "paper"}
        "official": mean of absolute real parts plus mean of absolute imaginary parts, as in NRKNet's code. "paper":
        mean of the moduli, the l1 norm of complex numbers, per element.

    Returns
    -------
    Tensor
        A number. The transform is not normalised, so it grows with sqrt(H W) for differences that look like noise.

    References
    ----------
    Quan, Wu and Ji, Neumann network with recursive kernels for single image defocus deblurring, CVPR 2023, frequency
    domain reconstruction loss.
    """
    check_choice("frequency", "norm", norm, get_args(FrequencyNorm))
    check_pair("frequency", image, target)
    with exact(image, target) as (x, y):
        spectrum = torch.fft.fft2(x - y)
        if norm == "paper":
            return spectrum.abs().mean()
        return spectrum.real.abs().mean() + spectrum.imag.abs().mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the anisotropic total variation, summed (not averaged) over batch, channels and pixels.

    ``sum |x[m, n+1] - x[m, n]| + sum |x[m+1, n] - x[m, n]|``; differences across the border are left out.
    """
    with exact(image) as (x,):
        return torch.diff(x, dim=-1).abs().sum() + torch.diff(x, dim=-2).abs().sum()
