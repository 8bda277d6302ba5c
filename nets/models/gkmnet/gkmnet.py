"""GKMNet: the unrolled fixed-point iteration of the Gaussian kernel mixture, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from blurphys.inputs import require_integer

from ...layers.blocks import BatchStatistics, check_batch_statistics, recompute, upsample_by_two
from ...layers.checks import check_choice
from ...layers.precision import exact
from ...layers.resampling import pyramid
from ...net import Net, Outputs, check_images, crop_to_size, pad_to_multiple
from .coefficients import Recurrence, State
from .gaussian_bank import COLOURS, OFFICIAL_COUNT, PAPER_COUNT, BankKind, GaussianBank, Layout
from .step import UnrolledStep

__all__ = ["OFFICIAL", "GKMNet", "from_official", "official_name", "official_shapes"]

Preset: TypeAlias = Literal["official", "paper"]
States: TypeAlias = tuple[State, ...]

_OWNER = "GKMNet"
_COARSEST = 4
"""The backbone halves twice."""


class GKMNet(Net):
    """Gaussian kernel mixture network for defocus deblurring from a single photo.

    Parameters
    ----------
    scales : {3, 2, 1}
        Sizes at which it estimates, a factor of 2 apart, coarse to fine with the same weights.
    iterations : int
        At each scale. More than one: the coefficient network also sees the current estimate.
    shared : bool
        Whether the iterations of a scale have the same weights.
    recurrent : {"lstm", "conv"}
        Whether the coefficient network has a memory across scales, see `CoefficientNet`. Every module of separate
        weights has a state of its own, which goes on to the next finer scale; of shared weights, to the next iteration
        too.
    bank : {"fixed", "gaussian", "random"}
        Kernels: Gaussians, or learned ones from Gaussian or random values, see `GaussianBank`. All scales and
        iterations share it.
    gcm_layout : {"paper", "official"}, optional
        Which kernel belongs to which map, see `GaussianBank`; by default "official" where the preset is, and the bank
        fixed.
    preset : {"official", "paper"}
        What changes: number of kernels 22 | 21, their standard deviations (`official_bank` | `blurphys.gkm_bank`),
        the gate ``tanh((u r + u) / 2)`` | ``tanh(u r + u)``, the photo comes back through the Dirac kernel alone | it
        is also added, weights start as torch's | as Xavier's with zero biases. Two convolutions for the detail and
        gates of 3 x 3, which the paper's text has, are in neither: they do not fit its parameter count.
    bn_stats : {"running", "batch"}
        See `BatchNorm`. The authors' figures were computed with "batch".
    attention_only : bool
        Without the physics: a 1 x 1 convolution of the maps and a sigmoid; the network sees the photo and the estimate.
    width : int
        Channels of the coefficient network at full size; the paper's has 32.
    checkpointing : bool
        In training, keep the inputs of each step only and run it again in the backward pass: less memory, more time.

    Raises
    ------
    ValueError
        An unknown choice, iterations below 1, the official layout with other kernels than the official ones, or a bank
        or layout together with `attention_only`.

    Notes
    -----
    With y the photo at one scale and x the estimate, at the coarsest scale y itself, else the doubled coarser one:

    ``x <- b_d + sum_k gamma_k . sum_c V_dck (g_k * y_c) + sum_k gamma'_k . sum_c W_dck (g_k * x_c)``

    The fixed-point iteration ``x <- y + x - B x`` of a mixture B with maps beta is the case where the first sum is y,
    ``gamma'_1 = 1 - beta_1`` and ``gamma'_k = -beta_k``, for each colour alone. Products of maps and filtered colours,
    132 per pixel, are never stored.

    Parameters: 1 409 131; 1 109 799 with "conv"; 1 409 731 with attention only; 1 412 672 with a learned bank;
    1 384 923 with the preset "paper"; 1 409 995 with shared, 1 409 995 each with separate further iterations.

    Any size from ``4 2^(scales-1)`` px is extended by reflection and cropped. Outputs are not clamped.

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021, eq. 9.

    Examples
    --------
    >>> import torch
    >>> net = GKMNet(scales=1).eval()
    >>> tuple(net(torch.rand(1, 3, 18, 21)).shape)
    (1, 3, 18, 21)
    """

    name = "gkmnet"
    global_statistics = True  # triplet attention pools over whole rows and columns

    def __init__(
        self,
        *,
        scales: int = 3,
        iterations: int = 1,
        shared: bool = True,
        recurrent: Recurrence = "lstm",
        bank: BankKind = "fixed",
        gcm_layout: Layout | None = None,
        preset: Preset = "official",
        bn_stats: BatchStatistics = "running",
        attention_only: bool = False,
        width: int = 32,
        checkpointing: bool = False,
    ) -> None:
        iterations = require_integer(_OWNER, "iterations", iterations)
        width = require_integer(_OWNER, "width", width, unit="(channels)")
        super().__init__(
            scales=scales,
            iterations=iterations,
            shared=shared,
            recurrent=recurrent,
            bank=bank,
            gcm_layout=gcm_layout,
            preset=preset,
            bn_stats=bn_stats,
            attention_only=attention_only,
            width=width,
            checkpointing=checkpointing,
        )
        check_choice(_OWNER, "scales", scales, (1, 2, 3))
        check_choice(_OWNER, "bank", bank, get_args(BankKind))
        check_choice(_OWNER, "gcm_layout", gcm_layout, (None, *get_args(Layout)))
        check_choice(_OWNER, "preset", preset, get_args(Preset))
        check_choice(_OWNER, "checkpointing", checkpointing, (False, True))
        if attention_only and (bank != "fixed" or gcm_layout is not None):
            raise ValueError(
                f"{_OWNER}: expected no bank and no gcm_layout with attention_only, which has no blur kernels, got "
                f"bank={bank!r}, gcm_layout={gcm_layout!r}"
            )
        official = preset == "official"
        kernels = OFFICIAL_COUNT if official else PAPER_COUNT
        layout: Layout = gcm_layout or ("official" if official and bank == "fixed" else "paper")
        if layout == "official" and not (official and bank == "fixed"):
            raise ValueError(
                f"{_OWNER}: expected gcm_layout='paper' with preset={preset!r}, bank={bank!r}, got 'official', which "
                "belongs to the 22 fixed Gaussians of the official preset"
            )
        self.checkpointing = checkpointing
        self.iterations, self.multiple, self._levels = iterations, _COARSEST * 2 ** (scales - 1), scales
        self.bank = None if attention_only else GaussianBank(bank, layout=layout, count=kernels)
        self.steps = nn.ModuleList(
            UnrolledStep(
                kernels,
                image_channels=2 * COLOURS if attention_only or iterations > 1 else COLOURS,
                attention_only=attention_only,
                explicit=not official and not attention_only,
                recurrent=recurrent,
                gate="half" if official else "full",
                width=width,
                bn_stats=bn_stats,
            )
            for _ in range(1 if shared else iterations)
        )
        if not official:
            self.steps.apply(_xavier)

    def step(self, y: Tensor, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Take the iterations of one scale.

        Parameters
        ----------
        y : Tensor of shape (B, 3, H, W)
            The photo at this scale; H and W multiples of 4.
        x : Tensor of shape (B, 3, H, W)
            The estimate to start from.
        state : tuple of states, optional
            One per module of separate weights, see `CoefficientNet`; None at the coarsest scale.

        Returns
        -------
        x : Tensor of shape (B, 3, H, W)
        state : tuple of states
        """
        x, _, state = self._iterate(y, x, state)
        return x, state

    def _iterate(self, y: Tensor, x: Tensor, state: States | None) -> tuple[Tensor, Tensor, States]:
        states = list(state) if state is not None else [None] * len(self.steps)
        maps = y
        for i in range(self.iterations):
            place = i % len(self.steps)
            step, given = self.steps[place], (y, x, states[place], self.bank)
            again = self.checkpointing and torch.is_grad_enabled()
            x, maps, states[place] = recompute(step, *given) if again else step(*given)
        return x, maps, tuple(states)

    def _run(self, photos: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Estimates and maps of the last iteration, full resolution first."""
        x, states = photos[-1], None
        images, maps = [], []
        for level, y in enumerate(reversed(photos)):
            if level > 0:
                x, states = upsample_by_two(x), _doubled_states(states)
            x, found, states = self._iterate(y, x, states)
            images.append(x)
            maps.append(found)
        return tuple(images[::-1]), tuple(maps[::-1])

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        check_images(_OWNER, image, least=self.multiple, net=self)
        full = pad_to_multiple(image, self.multiple)
        check_batch_statistics(_OWNER, self, full, self.multiple)
        with exact(full) as (wide,):  # torch has no antialiasing in less than float32
            return [full, *(v.to(full.dtype) for v in pyramid(wide, self._levels)[1:])]

    def scales(self, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Restore a photo that is given at all scales.

        Parameters
        ----------
        images : sequence of Tensors of shape (B, 3, H, W), (B, 3, H/2, W/2), ...
            As many as the network has scales, full resolution first; H and W divide by `multiple`.

        Returns
        -------
        tuple of Tensors
            Estimates of the same shapes, not clamped.
        """
        if len(images) != self._levels:
            raise ValueError(f"{_OWNER}.scales: expected {self._levels} images, one per scale, got {len(images)}")
        for t, image in enumerate(images):
            check_images(f"{_OWNER}.scales", image, net=self)
            expected = (images[0].shape[0], COLOURS, images[0].shape[-2] >> t, images[0].shape[-1] >> t)
            if any(n % self.multiple for n in images[0].shape[-2:]) or tuple(image.shape) != expected:
                raise ValueError(
                    f"{_OWNER}.scales: expected images whose sides divide by {self.multiple}, each half the size of "
                    f"the one before, got {[tuple(v.shape) for v in images]}; calling the network does this for you"
                )
        check_batch_statistics(_OWNER, self, images[0], self.multiple)
        return self._run(images)[0]

    def forward(self, image: Tensor) -> Tensor:
        """Restore a photo.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)
            RGB in [0, 1].

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Not clamped.
        """
        images, _ = self._run(self._pyramid(image))
        return crop_to_size(images[0], (image.shape[-2], image.shape[-1]))

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Return the estimates at all scales, see `Outputs`; nothing is reblurred."""
        images = self._cropped(self._run(self._pyramid(image))[0], image)
        return Outputs(images[0], images)

    def coefficients(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the last iteration at each scale, full resolution first.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)

        Returns
        -------
        tuple of Tensors of shape (B, 2 K, H, W), (B, 2 K, ceil(H/2), ceil(W/2)), ...
            K maps for the photo, then K for the estimate.
        """
        return self._cropped(self._run(self._pyramid(image))[1], image)

    def _cropped(self, results: Sequence[Tensor], image: Tensor) -> tuple[Tensor, ...]:
        height, width = image.shape[-2:]
        return tuple(crop_to_size(v, (-(-height // 2**t), -(-width // 2**t))) for t, v in enumerate(results))


def _doubled_states(states: States | None) -> States | None:
    if states is None:
        return None
    return tuple(None if s is None else (upsample_by_two(s[0]), upsample_by_two(s[1])) for s in states)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_STAGES = {
    "head": "in_block",
    "down_half": "conv_block1_1",
    "down_quarter": "conv_block2_1",
    "bottleneck": "bottle_neck_1",
    "up_half": "conv_block3_1",
    "up_full": "conv_block4_1",
}
_LAYERS = {
    "first.conv": "conv.0",
    "first.norm": "conv.1",
    "attention.channel_width.conv": "ta.cw.conv.conv",
    "attention.channel_width.norm": "ta.cw.conv.bn",
    "attention.height_channel.conv": "ta.hc.conv.conv",
    "attention.height_channel.norm": "ta.hc.conv.bn",
    "attention.height_width.conv": "ta.hw.conv.conv",
    "attention.height_width.norm": "ta.hw.conv.bn",
    "residual.first.conv": "res_block.conv.0",
    "residual.first.norm": "res_block.conv.1",
    "residual.second.conv": "res_block.conv1.0",
    "residual.second.norm": "res_block.conv1.1",
}
_STEP = "steps.0."
OFFICIAL: dict[str, str] = {
    f"{_STEP}coefficients.backbone.{own}.{layer}": f"{theirs}.{their_layer}"
    for own, theirs in _STAGES.items()
    for layer, their_layer in _LAYERS.items()
} | {
    f"{_STEP}coefficients.detail.conv": "APU.conv.conv.0",
    f"{_STEP}coefficients.detail.norm": "APU.conv.conv.1",
    f"{_STEP}coefficients.memory.conv": "APU.conv_atten.conv",
    f"{_STEP}mix": "SumLayer.conv",
}
"""Prefix of our key to prefix of the authors'; the first stage has no normalisation, and its entry is not used."""


def official_name(key: str) -> str:
    """Return the authors' name of one of our keys."""
    prefix, _, last = key.rpartition(".")
    return f"{OFFICIAL[prefix]}.{last}"


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the authors' state dict, in its order."""
    with torch.device("meta"):
        net = GKMNet()
    return {official_name(key): tuple(value.shape) for key, value in net.state_dict().items()}


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' state dict for the default `GKMNet`; its colours are RGB already."""
    back = {theirs: own for own, theirs in OFFICIAL.items()}
    renamed = {}
    for key, value in state.items():
        prefix, _, last = key.rpartition(".")
        renamed[f"{back[prefix]}.{last}"] = value
    return renamed
