"""Structural similarity in its two usual conventions, differentiable."""

from __future__ import annotations

from math import exp
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ..layers.checks import check_choice
from ..layers.precision import exact
from .pointwise import check_pair

__all__ = ["Window", "ssim", "ssim_loss"]

Window: TypeAlias = Literal["gaussian", "uniform"]

GAUSSIAN_WIDTH, GAUSSIAN_SIGMA, UNIFORM_WIDTH = 11, 1.5, 7
K1, K2 = 0.01, 0.03


def _line(window: Window, like: Tensor) -> Tensor:
    if window == "uniform":
        return like.new_full((UNIFORM_WIDTH,), 1 / UNIFORM_WIDTH)
    half = GAUSSIAN_WIDTH // 2
    taps = [exp(-(t * t) / (2 * GAUSSIAN_SIGMA**2)) for t in range(-half, half + 1)]
    return like.new_tensor([tap / sum(taps) for tap in taps])


def ssim(image: Tensor, target: Tensor, *, window: Window = "gaussian", peak: float = 1.0) -> Tensor:
    """Return the structural similarity of every image of a batch, (B,).

    Parameters
    ----------
    image, target : Tensor of shape (B, C, H, W)
    window : {"gaussian", "uniform"}
        "gaussian": 11 x 11, standard deviation 1.5 px, weighted covariances as they are. "uniform": 7 x 7, sample
        covariances (times 49 / 48), the default of scikit-image.
    peak : float
        The range of values.

    Returns
    -------
    Tensor of shape (B,)
        In float64 for float64 images and else in float32, autocast or not.

    Raises
    ------
    ValueError
        Images of different shapes, or smaller than the window; an unknown window.

    Notes
    -----
    ``(2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2))``, c1 = (0.01 peak)^2,
    c2 = (0.03 peak)^2, averaged over colours and over the pixels whose window lies inside the image.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural similarity, IEEE
    Transactions on Image Processing 13(4), 2004, equation 13.
    """
    check_choice("ssim", "window", window, get_args(Window))
    check_pair("ssim", image, target)
    with exact(image, target) as (x, y):
        line = _line(window, x)
        width = line.shape[0]
        if min(x.shape[-2:]) < width:
            raise ValueError(
                f"ssim: expected at least {width} x {width} px, the size of its window, got {tuple(x.shape[-2:])}; at "
                "several scales the coarsest counts"
            )
        batch, channels = x.shape[:2]
        # Covariances do not change with the origin; near the mean they lose fewer digits.
        origin = y.detach().mean(dim=(-2, -1), keepdim=True)
        a, b = x - origin, y - origin
        stack = torch.cat([a, b, a * a, b * b, a * b]).reshape(5 * batch * channels, 1, *x.shape[-2:])
        means = functional.conv2d(functional.conv2d(stack, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))
        mean_a, mean_b, aa, bb, ab = means.reshape(5, batch, channels, *means.shape[-2:])
        samples = width**2 / (width**2 - 1) if window == "uniform" else 1.0
        var_a = samples * (aa - mean_a * mean_a)
        var_b = samples * (bb - mean_b * mean_b)
        cov = samples * (ab - mean_a * mean_b)
        mean_x, mean_y = mean_a + origin, mean_b + origin
        c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        return (luminance * (2 * cov + c2) / (var_a + var_b + c2)).mean(dim=(1, 2, 3))


def ssim_loss(image: Tensor, target: Tensor) -> Tensor:
    """Return 1 - SSIM with the Gaussian window and peak 1, averaged over the batch."""
    return 1 - ssim(image, target).mean()
