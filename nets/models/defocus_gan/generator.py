"""The generator of DefocusGAN: branches for different amounts of blur, guided by a defocus map in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...net import Net, check_images, crop_to_size, pad_to_multiple
from .blocks import (
    BranchLayers,
    check_branches,
    check_map,
    double_conv,
    meta_state,
    restorer_from_official,
    restorer_name,
)

__all__ = [
    "BOUNDS",
    "OFFICIAL",
    "STAGES",
    "DefocusGenerator",
    "annealed_weight",
    "blur_radius",
    "from_official",
    "guide_masks",
    "official_name",
    "official_shapes",
]

BOUNDS = (1.9, 4.2, 6.2)
"""CoC radii (px) at which one of the four branches hands over to the next."""

STAGES: Mapping[str, Mapping[str, Any]] = {
    "base": {"branches": [3], "attention": False, "multi_scale": False, "unused_convs": False},
    "rcab": {"branches": [3], "attention": True, "multi_scale": False, "unused_convs": False},
    "dgb": {"multi_scale": False, "unused_convs": False},
    "multi_scale": {},
}
"""Arguments of `DefocusGenerator` for the stages of the paper's Table 4; its last two stages only add losses."""


def blur_radius(guide: Tensor) -> Tensor:
    """Return the CoC radius, px: the largest magnitude over the colours of a signed map, (B, 1, H, W)."""
    return guide.abs().amax(dim=1, keepdim=True)


def guide_masks(radius: Tensor, bounds: Sequence[float] = BOUNDS) -> list[Tensor]:
    """Divide an image among branches by its blur.

    Parameters
    ----------
    radius : Tensor of shape (B, 1, H, W)
        CoC radius, px, not negative.
    bounds : sequence of float
        Increasing, px; n bounds make n + 1 masks.

    Returns
    -------
    list of Tensors of shape (B, 1, H, W)
        One where ``lower <= radius < upper``, else zero; they sum to one.
    """
    edges = (-inf, *bounds, inf)
    return [((radius >= low) & (radius < high)).to(radius.dtype) for low, high in zip(edges, edges[1:], strict=False)]


def annealed_weight(step: int, duration: int = 20000) -> float:
    """Return the weight of the guidance, ``exp(-(2 step / duration)^2)``, and 0 from step `duration` on.

    Parameters
    ----------
    step : int
        Training steps since the annealing began (in the publication: epoch 10); 1 is returned for those before.
    duration : int
        Steps until the guidance ends.

    Raises
    ------
    ValueError
        If `duration` is not positive.
    """
    if duration <= 0:
        raise ValueError(f"annealed_weight: expected a duration of at least one step, got {duration}")
    return 0.0 if step >= duration else exp(-((2 * max(step, 0) / duration) ** 2))


class DefocusGenerator(Net):
    """Recover the all-in-focus image by branches that are each trained for one range of blur.

    Parameters
    ----------
    channels : int
        Width of all layers.
    branches : sequence of int
        Residual blocks in each unit of a branch; 0 is the branch for sharp regions, which keeps the resolution.
    bounds : sequence of float, optional
        CoC radii (px) between neighbouring branches, one fewer than branches. By default (1.9, 4.2, 6.2) for four
        branches and none for one.
    attention : bool
        Residual groups with channel attention; False replaces each block by two plain 3x3 convolutions with ReLU.
    multi_scale : bool
        Work at a quarter and an eighth of the resolution, too, by the same layers.
    unused_convs : bool
        Keep two convolutions that the released code has and never calls: they are part of its 4 934 531 parameters;
        4 860 675 remain without them. The paper does not mention them and states 4.59 M.

    Raises
    ------
    ValueError
        An argument out of range, bounds that do not fit the branches.

    Notes
    -----
    A branch has eight units: four halve the resolution, four double it. Each unit from the second on is given the
    input at its own size as well, and the last two what the first two found. With mask m_i of branch i and guidance
    weight w the branches are summed as ``sum_i (w m_i + 1 - w) o_i``: at w = 1 a branch sees gradients from its own
    range of blur only, at w = 0 no map is needed. The result is a sigmoid, never outside (0, 1).

    The layers of Table 4's first row are not published. `STAGES` proposes one branch of three blocks.

    Cost: 1.06 M multiply-accumulates per pixel.

    References
    ----------
    The networks and the training follow the DefocusGAN paper (section on the defocus-guided generator, Tables 1, 4)
    and its released code, which is trained with colours in the order blue, green, red; here they are red, green, blue.
    """

    name = "defocusgan_generator"
    multiple = 16

    def __init__(
        self,
        *,
        channels: int = 64,
        branches: Sequence[int] = (0, 1, 2, 3),
        bounds: Sequence[float] | None = None,
        attention: bool = True,
        multi_scale: bool = True,
        unused_convs: bool = True,
    ) -> None:
        channels, branches = check_branches("DefocusGenerator", channels, branches)
        if bounds is None and len(branches) in (1, len(BOUNDS) + 1):
            bounds = BOUNDS[: len(branches) - 1]
        bounds = None if bounds is None else [float(b) for b in bounds]
        edges = [0.0, *(bounds or ()), inf]
        if (
            bounds is None
            or len(bounds) != len(branches) - 1
            or any(b <= a for a, b in zip(edges, edges[1:], strict=False))
        ):
            raise ValueError(
                f"DefocusGenerator: expected bounds as {len(branches) - 1} increasing radii > 0 px for "
                f"{len(branches)} branches, got {bounds}"
            )
        super().__init__(
            channels=channels,
            branches=branches,
            bounds=bounds,
            attention=attention,
            multi_scale=multi_scale,
            unused_convs=unused_convs,
        )
        self.bounds = bounds
        self.multi_scale = multi_scale
        self.global_statistics = attention
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        if unused_convs:
            self.unused = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
            self.unused.requires_grad_(False)
        if multi_scale:
            self.to_quarter = double_conv(channels, channels)
            self.to_eighth = double_conv(channels, channels)
            self.from_eighth = double_conv(2 * channels, channels)
            self.from_quarter = nn.Sequential(
                nn.ConvTranspose2d(channels, channels, 2, stride=2),
                double_conv(channels, channels),
                nn.ConvTranspose2d(channels, channels, 2, stride=2),
            )
        self.layers = BranchLayers(channels, branches, attention=attention, deepest_skip=2)

    def forward(self, image: Tensor, guide: Tensor | None = None, weight: float = 0.0) -> Tensor:
        """Restore an image.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)
            Colours red, green, blue in [0, 1].
        guide : Tensor of shape (B, 1, H, W) or (B, 3, H, W), optional
            Signed CoC radius, px; with three colours the largest magnitude counts. Needed where `weight` is not 0.
        weight : float
            Of the guidance, 0 to 1, see `annealed_weight`.

        Raises
        ------
        ValueError
            A weight outside [0, 1] or without a guide, an image or map of another shape.
        TypeError
            An image or map that is no tensor of floats.
        """
        check_images("DefocusGenerator", image, net=self)
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"DefocusGenerator: expected a weight in [0, 1], got {weight}")
        if weight > 0.0 and guide is None:
            raise ValueError(
                f"DefocusGenerator: expected a guide (signed radius, px) for weight={weight:g}, got None; "
                "weight=0.0 runs without"
            )
        radius = None
        if guide is not None:
            check_map("DefocusGenerator", "guide", guide, image)
            radius = blur_radius(pad_to_multiple(guide, self.multiple)) if weight > 0.0 else None
        return crop_to_size(
            self._restored(pad_to_multiple(image, self.multiple), radius, weight), tuple(image.shape[-2:])
        )

    def _gains(self, radius: Tensor | None, weight: float, step: int, like: Tensor) -> list[Tensor] | None:
        """Factors of the branches at every `step`-th pixel; None where all are one."""
        if radius is None:
            return None
        masks = guide_masks(radius[..., ::step, ::step], self.bounds)
        return [(weight * mask + (1.0 - weight)).to(like.dtype) for mask in masks]

    def _restored(self, image: Tensor, radius: Tensor | None, weight: float) -> Tensor:
        features = torch.relu(self.head(image))
        full = self.layers(features, self._gains(radius, weight, 1, features))
        if not self.multi_scale:
            return torch.sigmoid(self.tail(features + full))
        quarter_in = self.to_quarter(functional.max_pool2d(full, 4))
        gains = self._gains(radius, weight, 4, features)
        quarter = self.layers(quarter_in, gains, down=(0, 1), up=(6, 7))
        eighth_in = self.to_eighth(functional.max_pool2d(quarter, 2))
        gains = self._gains(radius, weight, 8, features)
        eighth = self.layers(eighth_in, gains, down=(0,), up=(6,)) + eighth_in
        raised = functional.interpolate(eighth, scale_factor=2.0, mode="bilinear", align_corners=True)
        coarse = self.from_eighth(torch.cat([quarter_in, raised], dim=1))
        return torch.sigmoid(self.tail(features + self.from_quarter(quarter + coarse) + full))


# ---- the authors' checkpoints ----------------------------------------------------------------------------------------

OFFICIAL = {
    "head.": "head.0.",
    "tail.": "tail_hard.0.",
    "unused.0.": "connect.",
    "unused.1.": "connect2.",
    "to_quarter.": "unetdown4.maxpool_conv.1.double_conv.",
    "to_eighth.": "unetdown2.maxpool_conv.1.double_conv.",
    "from_eighth.": "unetup2.conv.double_conv.",
    "from_quarter.0.": "unetup4.up.0.",
    "from_quarter.1.": "unetup4.up.1.double_conv.",
    "from_quarter.2.": "unetup4.up.2.",
}
"""Prefixes of our names and of the authors'; `layer_name` has the rule for the others."""


def official_name(key: str) -> str:
    """Return the authors' name of a parameter."""
    return restorer_name(key, OFFICIAL)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the authors' checkpoint, in its order."""
    return {official_name(key): tuple(value.shape) for key, value in meta_state(DefocusGenerator).items()}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the authors' state into that of a `DefocusGenerator`: our names, colours in RGB order."""
    return restorer_from_official(DefocusGenerator, state, OFFICIAL)
