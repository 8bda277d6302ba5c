"""KPAC: deblurring by one kernel at five dilations, weighted by predicted attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from blurphys.inputs import require_integer

from ...layers.checks import check_choice
from ...net import Net, check_images, crop_to_size, pad_to_multiple
from .blocks import RATES, AtrousConvs, DownConv, KPACBlock, ResidualBlock, UpConv, leaky

__all__ = ["OFFICIAL", "KPACNet", "from_official", "official_shapes"]

ScaleOverride: TypeAlias = Tensor | Sequence[float]

RESIDUALS_PER_BLOCK = 5
"""Residual blocks in place of one KPAC block in the plain baseline: ten for two."""

STD = 0.04
"""Standard deviation of the initial weights."""


class KPACNet(Net):
    """Kernel-sharing parallel atrous convolutions: an encoder, blocks of five dilated convolutions, a decoder.

    Parameters
    ----------
    levels : {2, 3}
        Steps of stride two; the blocks work at 1/4 or 1/8 of the resolution.
    dual : bool
        Restore the combined image from the left and right dual-pixel views, which alone enter the encoder.
    blocks : int
        KPAC blocks, at least 1.
    scale_attention : bool
        Weigh the five dilations at every pixel.
    shape_attention : bool
        Weigh the channels of the dilated convolutions by the mean of the features over the whole image.
    shared : bool
        One kernel for the five dilations; otherwise one each.
    plain : bool
        The baseline: five residual blocks instead of every KPAC block and one convolution after them all.
    channels : int
        Features of the first two stages, half of those of the others; 48 in the paper. Divisible by 4.

    Raises
    ------
    ValueError
        An argument out of range; `plain` together with a changed option of the KPAC blocks it does not have.

    Notes
    -----
    With ``z = 2 image - 1``, the range [-1, 1] the paper works in, the result is ``image + body(z) / 2``, that is
    ``z + body(z)`` mapped back. A block computes, from features h,

        u_i = leaky(W *_i h), i = 1..5            one kernel W, 5 x 5, dilated by i, no bias
        a   = sigmoid(...)(h)                     scale attention: 5 maps
        b   = sigmoid(...)(mean of h)             shape attention: one weight per channel of u
        h'  = leaky(F * concat_i(a_i b u_i))

    and all the block's outputs are merged. Strided convolutions read the pixels 2i, 2i + 1, 2i + 2, as the authors'
    framework does for even sizes; images are extended by reflection so that sizes are even. About 208 thousand
    multiplications per pixel with two levels, 123 thousand with three.

    The paper and the released code describe the same network. Of the baseline the paper gives the number of parameters;
    that its last convolution follows the residual blocks without a skip, and that every further block adds five of
    them, is our choice.

    References
    ----------
    Son et al., Single image defocus deblurring using kernel-sharing parallel atrous convolutions, ICCV 2021.
    """

    name = "kpac"

    def __init__(
        self,
        *,
        levels: int = 2,
        dual: bool = False,
        blocks: int = 2,
        scale_attention: bool = True,
        shape_attention: bool = True,
        shared: bool = True,
        plain: bool = False,
        channels: int = 48,
    ) -> None:
        check_choice("KPACNet", "levels", levels, (2, 3))
        flags = {
            "dual": dual,
            "scale_attention": scale_attention,
            "shape_attention": shape_attention,
            "shared": shared,
            "plain": plain,
        }
        for key, value in flags.items():
            check_choice("KPACNet", key, value, (True, False))
        blocks = require_integer("KPACNet", "blocks", blocks)
        if type(channels) is not int or channels < 4 or channels % 4:
            raise ValueError(f"KPACNet: expected channels to be a positive multiple of 4, got {channels!r}")
        if plain and not (scale_attention and shape_attention and shared):
            raise ValueError(
                "KPACNet: expected scale_attention, shape_attention and shared to be left alone with plain=True, "
                "got one switched off; the baseline has no KPAC blocks"
            )
        super().__init__(levels=levels, blocks=blocks, channels=channels, **flags)
        self.multiple = 2**levels
        self.global_statistics = shape_attention and not plain
        if dual:
            self.inputs = ("combined", "left", "right")
        wide = 2 * channels
        first = nn.Conv2d(6 if dual else 3, channels, 5, padding=2)
        stages = [nn.Sequential(first, leaky(), *_conv(channels, channels))]
        for into, out in ((channels, channels), (channels, wide), (wide, wide))[:levels]:
            stages.append(nn.Sequential(DownConv(into, out, 3, stride=2), leaky(), *_conv(out, out)))
        self.encoder = nn.ModuleList(stages)
        if plain:
            residuals = [ResidualBlock(wide) for _ in range(RESIDUALS_PER_BLOCK * blocks)]
            self.blocks: nn.Module = nn.Sequential(*residuals, nn.Conv2d(wide, wide, 3, padding=1))
        else:
            self.blocks = nn.ModuleList(
                KPACBlock(wide, scale_attention=scale_attention, shape_attention=shape_attention, shared=shared)
                for _ in range(blocks)
            )
        self.merge = nn.Sequential(*_conv(wide if plain else wide * (blocks + 1), wide), *_conv(wide, wide))
        ups = [UpConv(wide, wide, wide)] if levels == 3 else []
        ups += [UpConv(wide, channels, channels), UpConv(channels, channels, 3, kernel_size=5, activation=False)]
        self.decoder = nn.ModuleList(ups)
        self.plain = plain
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | AtrousConvs):
                if not module.weight.is_meta:  # there, random numbers do nothing but import the compiler, which is slow
                    nn.init.normal_(module.weight, std=STD)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)

    @property
    def reach(self) -> int | None:
        """Radius of the receptive field, px; None with shape attention, a mean over all pixels."""
        if self.global_statistics:
            return None
        levels: int = self.config["levels"]
        blocks: int = self.config["blocks"]
        if self.plain:
            block = 2 * RESIDUALS_PER_BLOCK
        else:
            block = max(2 * RATES[-1], 18 if self.config["scale_attention"] else 0) + 1
        coarsest = blocks * block + self.plain + 2
        # Encoder: 5 x 5 and 3 x 3, then two 3 x 3 a step. Decoder: a transposed and a 3 x 3 one a step, 5 x 5 at last.
        encoder = 3 + sum((2 << level) + (2 << level) for level in range(levels))
        decoder = 2 + sum((2 << level) + (1 << level) for level in range(levels))
        return encoder + (coarsest << levels) + decoder

    def forward(
        self,
        image: Tensor,
        left: Tensor | None = None,
        right: Tensor | None = None,
        *,
        scale_override: ScaleOverride | None = None,
    ) -> Tensor:
        """Restore an image.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)
            The blurred image, RGB in [0, 1]; of a dual-pixel camera the combined one.
        left, right : Tensor of shape (B, 3, H, W), optional
            The dual-pixel views; for ``dual=True`` only, and then both.
        scale_override : Tensor or sequence of 5 floats, optional
            Weights of the five dilations instead of the predicted ones, in every block: five numbers, or maps of shape
            (B, 5, h, w) at the resolution of the blocks, as `scale_maps` returns them, where B, h and w may be 1.

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Not clamped.

        Raises
        ------
        TypeError
            Something else than tensors of floats, or a number of images other than the network takes.
        ValueError
            Another shape, or `scale_override` of another length or for the baseline, which has no dilations.
        """
        return self._run(image, left, right, scale_override)[0]

    def scale_maps(self, image: Tensor, left: Tensor | None = None, right: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return what the scale attention predicts, of every block.

        Parameters
        ----------
        image, left, right : Tensor of shape (B, 3, H, W)
            As in `forward`.

        Returns
        -------
        tuple of Tensors of shape (B, 5, ceil(H / multiple), ceil(W / multiple))
            Weights in (0, 1) of the dilations 1..5.

        Raises
        ------
        ValueError
            A network without scale attention; or as `forward`.
        """
        if self.plain or not self.config["scale_attention"]:
            raise ValueError("KPACNet.scale_maps: expected a network with scale attention, got one without")
        return self._run(image, left, right, None)[1]

    def _run(
        self, image: Tensor, left: Tensor | None, right: Tensor | None, override: ScaleOverride | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        dual = self.config["dual"]
        if dual and (left is None or right is None):
            raise TypeError("KPACNet: expected three images, the combined, the left and the right one, got fewer")
        if not dual and (left is not None or right is not None):
            raise TypeError("KPACNet: expected one image, got more; KPACNet(dual=True) takes the dual-pixel views")
        images = [image, left, right] if dual else [image]
        check_images("KPACNet", *images, net=self)
        views = [pad_to_multiple(view, self.multiple) for view in (images[1:] if dual else images)]
        h = 2 * torch.cat(views, dim=1) - 1
        weights = self._override(override, h)
        skips = []
        for stage in self.encoder:
            h = stage(h)
            skips.append(h)
        skips.pop()
        maps = []
        if self.plain:
            h = self.blocks(h)
        else:
            features = [h]
            for block in self.blocks:
                h, alpha = block(h, weights)
                features.append(h)
                maps.append(alpha)
            h = torch.cat(features, dim=1)
        h = self.merge(h)
        for up in self.decoder:
            h = up(h, skips.pop())
        size = image.shape[-2:]
        coarse = (-(-size[0] // self.multiple), -(-size[1] // self.multiple))
        restored = image + 0.5 * crop_to_size(h, size)
        return restored, tuple(crop_to_size(alpha, coarse) for alpha in maps if alpha is not None)

    def _override(self, override: ScaleOverride | None, like: Tensor) -> Tensor | None:
        """The weights as a tensor that broadcasts over the maps of the blocks."""
        if override is None:
            return None
        if self.plain:
            raise ValueError(
                "KPACNet: expected no scale_override with plain=True, which has no dilations to weigh, got one"
            )
        weights = torch.as_tensor(override, dtype=like.dtype, device=like.device)
        if weights.shape == (len(RATES),):
            return weights[:, None, None]
        full = (like.shape[0], len(RATES), like.shape[-2] // self.multiple, like.shape[-1] // self.multiple)
        if weights.ndim == 4 and weights.shape[1] == len(RATES):
            if all(given in (1, wanted) for given, wanted in zip(weights.shape, full, strict=True)):
                return weights
        raise ValueError(
            f"KPACNet: expected scale_override to be 5 numbers, one per dilation, or maps of shape {full}, got shape "
            f"{tuple(weights.shape)}"
        )


def _conv(into: int, out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(into, out, 3, padding=1), leaky()


def _layers(levels: int, blocks: int) -> list[tuple[str, str]]:
    """Own and official names of the layers, in the order of the authors' lists."""
    body = "deblur_net/deblur/"
    names = [("c0", "c0_2"), ("c2", "c2_2"), ("c3", "c3_2"), ("c4", "c4_2")]
    pairs = []
    for i, (first, second) in enumerate(names[: levels + 1]):
        pairs += [(f"encoder.{i}.0", body + first), (f"encoder.{i}.2", body + second)]
    for b in range(blocks):
        own, scope = f"blocks.{b}.", "deblur_net/"
        pairs.append((own + "atrous", f"{scope}dc1/{b}"))
        pairs += [(f"{own}scale_attention.{2 * i}", f"{scope}sca_dc{i + 1}/{b}") for i in range(4)]
        pairs += [(own + "scale_attention.8", f"{scope}sca_c2/{b}")]
        pairs += [(own + "shape_attention.0", f"{scope}sha_c1/{b}"), (own + "shape_attention.2", f"{scope}sha_c2/{b}")]
        pairs += [(own + "fusion", f"{scope}cf/{b}")]
    pairs += [("merge.0", body + "cm_1"), ("merge.2", body + "cm_2")]
    for i, name in enumerate(("d0", "d1", "d2")[3 - levels :]):
        pairs += [(f"decoder.{i}.up", body + name), (f"decoder.{i}.conv", f"{body}{name}_2")]
    return pairs


def _keys(levels: int) -> dict[str, str]:
    """Own to official keys, in the authors' order; of the official configuration, which has two blocks."""
    keys = {}
    for own, layer in _layers(levels, blocks=2):
        if own.endswith("atrous"):
            kinds = {"weight": "filter"}
        elif "/sca_dc" in layer:
            kinds = {"weight": "filter", "bias": "b"}
        elif own.endswith(".up"):
            kinds = {"weight": "W_deconv2d", "bias": "b_deconv2d"}
        else:
            kinds = {"weight": "W_conv2d", "bias": "b_conv2d"}
        keys.update({f"{own}.{key}": f"{layer}/{kind}" for key, kind in kinds.items()})
    return keys


OFFICIAL: Mapping[int, Mapping[str, str]] = {levels: _keys(levels) for levels in (2, 3)}
"""Names of our parameters to those of the authors, in their order, by the number of levels; dual is as three levels."""


def official_shapes(levels: int = 2, dual: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shapes the authors' parameters have, by their names and in the order of their lists.

    Parameters
    ----------
    levels : {2, 3}
    dual : bool

    Returns
    -------
    dict
        Kernels as (height, width, in, out), transposed ones as (height, width, out, in).
    """
    with torch.device("meta"):
        state = KPACNet(levels=levels, dual=dual).state_dict()
    shapes = {}
    for own, official in OFFICIAL[levels].items():
        shape = tuple(state[own].shape[-4:])
        shapes[official] = (shape[2], shape[3], shape[1], shape[0]) if len(shape) == 4 else shape
    return shapes


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' parameters under our names and in our layout.

    Parameters
    ----------
    state : mapping of str to Tensor
        By the authors' names, complete and of the right shapes; see `official_shapes`.

    Returns
    -------
    dict
        For `KPACNet.load_state_dict`. The channels are RGB already.
    """
    levels = 3 if any("/c4/" in key for key in state) else 2
    own = {}
    for key, official in OFFICIAL[levels].items():
        value = state[official]
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1).contiguous()
        own[key] = value[None] if key.endswith("atrous.weight") else value
    return own
