"""Downsampling: one antialiased rule for all networks, and the rules of the authors' code."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .blocks import resize
from .checks import check_choice

__all__ = ["Resampling", "halve", "pyramid", "round_to_levels"]

Resampling: TypeAlias = Literal["antialiased", "gkmnet", "nrknet"]
Role: TypeAlias = Literal["input", "target"]


def halve(image: Tensor) -> Tensor:
    """Return an image of half the size, (..., ceil(H/2), ceil(W/2)): bilinear, antialiased, pixel centres aligned.

    Where a side is even these are the taps (1, 3, 3, 1) / 8, renormalised at the borders.
    """
    return resize(image, _reduced(image, 2), antialias=True)


def round_to_levels(image: Tensor, levels: int = 255) -> Tensor:
    """Round to multiples of 1 / levels, halves up; without a gradient."""
    return torch.floor(image.detach() * levels + 0.5) / levels


def pyramid(
    image: Tensor, levels: int, *, rule: Resampling = "antialiased", role: Role = "input"
) -> tuple[Tensor, ...]:
    """Return an image at several scales, each half as large as the one before.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W)
    levels : int
        How many, the image itself included.
    rule : {"antialiased", "gkmnet", "nrknet"}
        "antialiased" halves again and again by `halve`. "gkmnet" does the same and rounds every smaller image to 8
        bits, halves up. "nrknet" takes every other pixel for inputs, and for targets interpolates bilinearly from the
        full size without antialiasing: the means of 2 x 2 pixels, at a quarter those in the middle of 4 x 4. Its
        targets are thus shifted against its inputs by half a pixel of their level.
    role : {"input", "target"}
        Of the image; matters for "nrknet" only.

    Returns
    -------
    tuple of Tensors
        Full size first. Sides are rounded up.

    Raises
    ------
    ValueError
        Unknown rule or role, or levels smaller than 1.

    References
    ----------
    Quan, Wu and Ji, NeurIPS 2021 (GKMNet) and CVPR 2023 (NRKNet), released code.
    """
    check_choice("pyramid", "rule", rule, get_args(Resampling))
    check_choice("pyramid", "role", role, get_args(Role))
    if levels < 1:
        raise ValueError(f"pyramid: expected at least one level, got {levels}")
    made = [image]
    for level in range(1, levels):
        if rule == "nrknet":
            small = made[-1][..., ::2, ::2] if role == "input" else resize(image, _reduced(image, 2**level))
        else:
            small = halve(made[-1])
        made.append(round_to_levels(small) if rule == "gkmnet" else small)
    return tuple(made)


def _reduced(image: Tensor, factor: int) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return -(-height // factor), -(-width // factor)
