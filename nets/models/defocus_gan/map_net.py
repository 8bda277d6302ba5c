"""The defocus map network of DefocusGAN: from two dual-pixel views to a signed radius for each colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from blurphys.inputs import require_integer, require_number

from ...net import Net, check_images, crop_to_size, pad_to_multiple
from .blocks import BranchLayers, check_branches, meta_state, restorer_from_official, restorer_name
from .matching import CHANNELS

__all__ = ["OFFICIAL", "DefocusMapNet", "from_official", "official_name", "official_shapes"]

UNIT = 4.0
"""Radius (px) that the layers see as one."""

LEAK = 0.1
"""Slope of the first activation for negative values with `from_estimate`: in a trial all of its ReLUs died."""


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
    from_estimate : bool
        Correct a map that was estimated without learning: a third input holds it (`matching_channels`), and one map for
        all colours is returned. The correction is zero before training.
    block : int
        Side of the blocks of pixels that the layers see as one: 2 needs a quarter of the time and memory.

    Raises
    ------
    ValueError
        An argument out of range.

    Notes
    -----
    The branches are those of `DefocusGenerator` with one more skip and no masks; their sum is added to the features
    of the first layer. 3 306 755 parameters. Trained by reblurring: see `LearnableBlurKernel`. `from_estimate` and
    `block` are not part of the publication.

    References
    ----------
    DefocusGAN paper, section on the defocus map; the architecture is BaMBNet's with fewer blocks, (0, 1, 1, 2) in
    place of (0, 1, 2, 3). The released code has the colours in the order blue, green, red.
    """

    name = "defocusgan_map"
    restores = False
    inputs: tuple[str, ...] = ("left", "right")
    multiple = 16
    global_statistics = True

    def __init__(
        self,
        *,
        channels: int = 64,
        branches: Sequence[int] = (0, 1, 1, 2),
        max_radius: float = 24.0,
        from_estimate: bool = False,
        block: int = 1,
    ) -> None:
        channels, branches = check_branches("DefocusMapNet", channels, branches)
        max_radius = require_number("DefocusMapNet", "max_radius", max_radius, above=0, unit="px")
        block = require_integer("DefocusMapNet", "block", block, unit="px")
        super().__init__(
            channels=channels, branches=branches, max_radius=max_radius, from_estimate=bool(from_estimate), block=block
        )
        self.max_radius, self.from_estimate, self.block = max_radius, bool(from_estimate), block
        self.multiple = 16 * block
        if from_estimate:
            self.inputs = ("left", "right", "estimate")
        seen = 6 + CHANNELS if from_estimate else 6
        self.head = nn.Conv2d(seen * block**2, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, (1 if from_estimate else 3) * block**2, 3, padding=1)
        self.layers = BranchLayers(channels, branches, attention=True, deepest_skip=3)
        if from_estimate:
            nn.init.zeros_(self.tail.weight)
            nn.init.zeros_(self.tail.bias)

    def channels_of(self, name: str) -> int:
        return CHANNELS if name == "estimate" else 3

    def forward(self, image: Tensor, right: Tensor, estimate: Tensor | None = None) -> Tensor:
        """Estimate the map.

        Parameters
        ----------
        image, right : Tensor of shape (B, 3, H, W)
            The left and the right view, colours red, green, blue in [0, 1].
        estimate : Tensor of shape (B, CHANNELS, H, W), optional
            Of `matching_channels`; for networks with `from_estimate` alone.

        Returns
        -------
        Tensor of shape (B, 3, H, W), or (B, 1, H, W) with `from_estimate`
            Signed CoC radius of each colour or of all, px, within [-max_radius, max_radius].

        Raises
        ------
        ValueError
            Views of another shape; an estimate that is missing, of another shape, or given to a network without
            `from_estimate`.
        """
        check_images("DefocusMapNet", image, right, net=self)
        planes = [image, right]
        start = None
        if self.from_estimate or estimate is not None:
            start = self._checked(image, estimate)
            planes += [start[:, :1] / UNIT, start[:, 1:]]
        size = (int(image.shape[-2]), int(image.shape[-1]))
        seen = torch.cat([pad_to_multiple(plane, self.multiple) for plane in planes], dim=1)
        features = self.head(functional.pixel_unshuffle(seen, self.block))
        features = functional.leaky_relu(features, LEAK) if self.from_estimate else torch.relu(features)
        found = self.tail(features + self.layers(features))
        found = crop_to_size(functional.pixel_shuffle(found, self.block), size)
        if start is not None:
            found = start[:, :1] + found
        return found.clamp(-self.max_radius, self.max_radius)

    def _checked(self, image: Tensor, estimate: Tensor | None) -> Tensor:
        if not self.from_estimate:
            raise ValueError("DefocusMapNet: expected two views alone; from_estimate=True makes a network with a start")
        batch, _, height, width = image.shape
        if estimate is None or estimate.shape != (batch, CHANNELS, height, width):
            got = "none" if estimate is None else tuple(estimate.shape)
            raise ValueError(
                f"DefocusMapNet: expected an estimate of shape ({batch}, {CHANNELS}, {height}, {width}), as "
                f"matching_channels makes it of solvers.estimation.dual_pixel_map(..., keep_cost=True), got {got}"
            )
        return estimate


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
