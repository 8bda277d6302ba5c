"""The defocus map network of DefocusGAN: from two dual-pixel views to a signed radius for each colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from blurphys.inputs import require_number

from ...net import Net, check_images, crop_to_size, pad_to_multiple
from .blocks import BranchLayers, check_branches, meta_state, restorer_from_official, restorer_name

__all__ = ["OFFICIAL", "DefocusMapNet", "from_official", "official_name", "official_shapes"]


class DefocusMapNet(Net):
    """Estimate the defocus map from the left and right views of a dual-pixel sensor.

    Parameters
    ----------
    channels : int
        Width of all layers.
    branches : sequence of int
        Residual blocks in each unit of a branch; 0 is the branch that keeps the resolution.
    max_radius : float
        Where the map is clamped, px.

    Raises
    ------
    ValueError
        An argument out of range.

    Notes
    -----
    The branches are those of `DefocusGenerator` with one more skip and no masks; their sum is added to the features
    of the first layer. 3 306 755 parameters. Trained by reblurring: see `LearnableBlurKernel`.

    References
    ----------
    DefocusGAN paper, section on the defocus map; the architecture is BaMBNet's with fewer blocks, (0, 1, 1, 2) in
    place of (0, 1, 2, 3). The released code has the colours in the order blue, green, red.
    """

    name = "defocusgan_map"
    restores = False
    inputs = ("left", "right")
    multiple = 16
    global_statistics = True

    def __init__(self, *, channels: int = 64, branches: Sequence[int] = (0, 1, 1, 2), max_radius: float = 24.0) -> None:
        channels, branches = check_branches("DefocusMapNet", channels, branches)
        max_radius = require_number("DefocusMapNet", "max_radius", max_radius, above=0, unit="px")
        super().__init__(channels=channels, branches=branches, max_radius=max_radius)
        self.max_radius = max_radius
        self.head = nn.Conv2d(6, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        self.layers = BranchLayers(channels, branches, attention=True, deepest_skip=3)

    def forward(self, image: Tensor, right: Tensor) -> Tensor:
        """Estimate the map.

        Parameters
        ----------
        image, right : Tensor of shape (B, 3, H, W)
            The left and the right view, colours red, green, blue in [0, 1].

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Signed CoC radius of each colour, px, within [-max_radius, max_radius].
        """
        check_images("DefocusMapNet", image, right, net=self)
        views = torch.cat([pad_to_multiple(image, self.multiple), pad_to_multiple(right, self.multiple)], dim=1)
        features = torch.relu(self.head(views))
        found = self.tail(features + self.layers(features))
        return crop_to_size(found, tuple(image.shape[-2:])).clamp(-self.max_radius, self.max_radius)


# ---- the authors' checkpoints ----------------------------------------------------------------------------------------

OFFICIAL = {"head.": "head.0.", "tail.": "tail_hard.0."}
"""Prefixes of our names and of the authors'; `layer_name` has the rule for the others."""


def official_name(key: str) -> str:
    """Return the authors' name of a parameter."""
    return restorer_name(key, OFFICIAL)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the authors' checkpoint, in its order."""
    return {official_name(key): tuple(value.shape) for key, value in meta_state(DefocusMapNet).items()}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the authors' state into that of a `DefocusMapNet`: our names, colours in RGB order."""
    return restorer_from_official(DefocusMapNet, state, OFFICIAL)
