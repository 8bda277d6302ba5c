"""Layers shared by the generator and the defocus map network of DefocusGAN: residual groups in U-shaped branches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from blurphys.inputs import require_integer

__all__ = [
    "REDUCTION",
    "BranchLayers",
    "ChannelAttention",
    "ResidualBlock",
    "check_branches",
    "check_map",
    "double_conv",
    "layer_name",
    "meta_state",
    "restorer_from_official",
    "restorer_name",
    "reverse_colours",
]

REDUCTION = 16
"""Reduction of channels in the hidden layer of a channel attention."""

DEPTH = 4
"""Number of halvings of the size in a branch."""


class ChannelAttention(nn.Module):
    """Scale each channel by a number in (0, 1) that follows from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(-2, -1), keepdim=True)
        return image * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))


class ResidualBlock(nn.Module):
    """Two convolutions and a channel attention, added to the input (RCAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelAttention(channels)

    def forward(self, image: Tensor) -> Tensor:
        return image + self.attention(self.second(torch.relu(self.first(image))))


class _Pointwise(nn.Module):
    """The unit of the branch for sharp regions: it keeps the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.relu(self.conv(image))


class _Resampled(nn.Module):
    """A unit of the other branches: convolutions, then max pooling or nearest upsampling by two."""

    def __init__(self, channels: int, blocks: int, *, attention: bool, up: bool) -> None:
        super().__init__()
        self.residual = attention
        self.up = up
        if attention:
            residual = [ResidualBlock(channels) for _ in range(blocks)]
            self.body = nn.Sequential(*residual, nn.Conv2d(channels, channels, 3, padding=1))
        else:
            pairs = [(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(2 * blocks)]
            self.body = nn.Sequential(*(layer for pair in pairs for layer in pair))

    def forward(self, image: Tensor) -> Tensor:
        found = self.body(image)
        if self.residual:
            found = image + found
        return functional.interpolate(found, scale_factor=2.0) if self.up else functional.max_pool2d(found, 2)


class BranchLayers(nn.ModuleList):
    """Eight layers of units, one unit for each branch; four go down in resolution, four up.

    Parameters
    ----------
    channels : int
    branches : sequence of int
        Residual blocks in each unit of a branch. A branch of 0 is a pointwise convolution that keeps the resolution.
    attention : bool
        Residual groups with channel attention, or two plain convolutions for each block in their place.
    deepest_skip : int
        Number of halvings down to which decoder layers have a skip connection.
    """

    def __init__(self, channels: int, branches: Sequence[int], *, attention: bool, deepest_skip: int) -> None:
        def unit(blocks: int, up: bool) -> nn.Module:
            return _Resampled(channels, blocks, attention=attention, up=up) if blocks else _Pointwise(channels)

        super().__init__(
            nn.ModuleList(unit(blocks, layer >= DEPTH) for blocks in branches) for layer in range(2 * DEPTH)
        )
        self.keeps_size = [blocks == 0 for blocks in branches]
        self.deepest_skip = deepest_skip

    def forward(
        self,
        image: Tensor,
        gains: Sequence[Tensor] | None = None,
        *,
        down: Sequence[int] = (0, 1, 2, 3),
        up: Sequence[int] = (4, 5, 6, 7),
    ) -> Tensor:
        """Run all branches and add their results.

        Parameters
        ----------
        image : Tensor of shape (B, channels, H, W)
            Sizes divide by ``2 ** len(down)``.
        gains : sequence of Tensors of shape (B, 1, H, W), optional
            Factor of the result of each branch.
        down, up : sequence of int
            Which layers to use, in this order.

        Returns
        -------
        Tensor
            Of the shape of `image`.
        """
        pooled = [image]
        for _ in down:  # block means; of means over blocks of one size they are the means over the larger block
            pooled.append(functional.avg_pool2d(pooled[-1], 2))
        total = None
        for branch, keeps_size in enumerate(self.keeps_size):
            context = [image] * len(pooled) if keeps_size else pooled
            found = self._branch(image, context, [self[n][branch] for n in down], [self[n][branch] for n in up])
            found = found if gains is None else found * gains[branch]
            total = found if total is None else total + found
        assert total is not None  # there is at least one branch
        return total

    def _branch(
        self, image: Tensor, context: Sequence[Tensor], down: Sequence[nn.Module], up: Sequence[nn.Module]
    ) -> Tensor:
        """Go down and up again; ``context[n]`` is the image after n halvings."""
        state, kept = image, []
        for level, unit in enumerate(down):
            state = unit(state + context[level] if level else state)
            kept.append(state)
        for level, unit in zip(range(len(down), 0, -1), up, strict=True):
            skip = level < len(down) and level <= self.deepest_skip
            state = unit(state + kept[level - 1] + context[level] if skip else state + context[level])
        return state


def double_conv(before: int, channels: int) -> nn.Sequential:
    """Return two convolutions without bias, each followed by a ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, channels, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(),
    )


def check_branches(owner: str, channels: int, branches: Sequence[int]) -> tuple[int, list[int]]:
    """Return a width and the numbers of blocks of one or more branches as ints; ValueError unless they are that."""
    counts = [require_integer(owner, "each of branches", n, 0, unit="residual blocks") for n in branches]
    if not counts:
        raise ValueError(f"{owner}: expected branches as one number for each, such as (0, 1, 2, 3), got {branches!r}")
    return require_integer(owner, "channels", channels), counts


def check_map(owner: str, name: str, values: Tensor, image: Tensor) -> None:
    """Raise unless `values` is a map of floats of shape (B, 1 or 3, H, W) for `image`."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{owner}: expected {name} as a tensor of floats (signed radius, px), got {got}")
    batch, _, height, width = image.shape
    if values.ndim != 4 or values.shape[1] not in (1, 3) or values.shape != (batch, values.shape[1], height, width):
        hint = "; add a channel axis with map[:, None]" if values.ndim == 3 else ""
        raise ValueError(
            f"{owner}: expected {name} of shape ({batch}, 1 or 3, {height}, {width}) for an image of shape "
            f"{tuple(image.shape)}, got {tuple(values.shape)}{hint}"
        )


# ---- the names of the authors' checkpoints ---------------------------------------------------------------------------

_PARTS = {
    "first": "body.0",
    "second": "body.2",
    "attention.squeeze": "body.3.conv_du.0",
    "attention.excite": "body.3.conv_du.2",
}


def layer_name(key: str) -> str:
    """Return the authors' name of a parameter of `BranchLayers`, ``layers.<layer>.<branch>.<...>``."""
    _, layer, branch, rest = key.split(".", 3)
    if rest.startswith("conv."):
        rest = rest.removeprefix("conv.")
        return f"layer{int(layer) + 1}.{branch}.0.{rest}"
    inner = re.fullmatch(r"(body\.\d+)\.(first|second|attention\.\w+)\.(\w+)", rest)
    if inner:
        rest = f"{inner[1]}.{_PARTS[inner[2]]}.{inner[3]}"
    return f"layer{int(layer) + 1}.{branch}.0.{rest}"


def reverse_colours(weight: Tensor, axis: int) -> Tensor:
    """Exchange red and blue in every triple along an axis."""
    triples = weight.unflatten(axis, (-1, 3))
    return triples.flip(axis + 1).flatten(axis, axis + 1)


def meta_state(network: type[nn.Module]) -> dict[str, Tensor]:
    """Return the state of a network with its default arguments, shapes only."""
    with torch.device("meta"):
        state: dict[str, Tensor] = network().state_dict()
    return state


def restorer_name(key: str, table: Mapping[str, str]) -> str:
    """Return the authors' name of a parameter of the generator or the map network; `table` has those of no layer."""
    for own, theirs in table.items():
        if key.startswith(own):
            return theirs + key.removeprefix(own)
    return layer_name(key)


def restorer_from_official(
    kind: type[nn.Module], state: Mapping[str, Tensor], table: Mapping[str, str]
) -> dict[str, Tensor]:
    """Convert the authors' state of the generator or the map network into ours: our names, colours in RGB order."""
    own = {key: state[restorer_name(key, table)] for key in meta_state(kind)}
    for key, axis in (("head.weight", 1), ("tail.weight", 0), ("tail.bias", 0)):
        own[key] = reverse_colours(own[key], axis)
    return own
