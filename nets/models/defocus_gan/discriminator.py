"""The discriminator of DefocusGAN: a score for each patch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from blurphys.inputs import require_integer

from ...net import Net, check_images
from .blocks import meta_state, reverse_colours

__all__ = ["OFFICIAL", "PatchDiscriminator", "from_official", "official_name", "official_shapes"]

SLOPE = 0.2


class PatchDiscriminator(Net):
    """Score how real each patch of an image looks; higher is more real, without bounds.

    Parameters
    ----------
    channels : int
        Of the first layer; each layer doubles them, up to eight times.
    layers : int
        Layers that halve the size; two more keep it. 3 is the published one (2 764 737 parameters), 5 the second,
        wider one of the paper's comparison "doubleGAN" (11 154 369).

    Raises
    ------
    ValueError
        An argument below 1.

    Notes
    -----
    Convolutions of 4x4 padded by 2, instance normalisation without parameters after all but the first and the last,
    leaky ReLU of slope 0.2. A side of n px becomes ``n // 2 + 1`` in each halving layer and grows by one in each of
    the other two: 128 x 160 gives 19 x 23. The statistics of the normalisation are those of the whole image.

    References
    ----------
    Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017; DefocusGAN paper,
    Table 6. The released code has the colours in the order blue, green, red.
    """

    name = "defocusgan_discriminator"
    restores = False
    global_statistics = True

    def __init__(self, *, channels: int = 64, layers: int = 3) -> None:
        channels = require_integer("PatchDiscriminator", "channels", channels)
        layers = require_integer("PatchDiscriminator", "layers", layers)
        super().__init__(channels=channels, layers=layers)
        widths = [3, *(channels * min(2**n, 8) for n in range(layers + 1)), 1]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2 if n < layers else 1, padding=2)
            for n, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores, (B, 1, h, w), of an image (B, 3, H, W) with colours red, green, blue in [0, 1]."""
        check_images("PatchDiscriminator", image, least=2, net=self)
        *convs, last = self.convs
        for n, conv in enumerate(convs):
            image = conv(image)
            image = functional.leaky_relu(functional.instance_norm(image) if n else image, SLOPE)
        return last(image)


# ---- the authors' checkpoints ----------------------------------------------------------------------------------------

OFFICIAL = {f"convs.{n}.": f"model.{index}." for n, index in enumerate((0, 2, 5, 8, 11))}
"""Prefixes of our names and of the authors'."""


def official_name(key: str) -> str:
    """Return the authors' name of a parameter."""
    own = key[: len("convs.0.")]
    return OFFICIAL[own] + key.removeprefix(own)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the authors' checkpoint, in its order."""
    return {official_name(key): tuple(value.shape) for key, value in meta_state(PatchDiscriminator).items()}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the authors' state into that of a `PatchDiscriminator`: our names, colours in RGB order."""
    own = {key: state[official_name(key)] for key in meta_state(PatchDiscriminator)}
    own["convs.0.weight"] = reverse_colours(own["convs.0.weight"], 1)
    return own
