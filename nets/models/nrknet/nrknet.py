"""NRKNet: a Neumann series across scales whose blur, of recursive kernels, is predicted from the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

import solvers
from blurphys.inputs import require_integer

from ...layers.blocks import BatchStatistics, upsample_by_two
from ...layers.checks import check_choice
from ...net import Net, Outputs, check_images, crop_to_size, pad_to_multiple
from .coefficients import CoefficientNet, Recurrent, State
from .recursive_kernels import AffineBlur, Blur, FullKernels, GaussianKernels, RecursiveKernels, SeparableKernels

__all__ = ["OFFICIAL", "NRKNet", "from_official", "official_shapes"]

Kernels: TypeAlias = Literal["recursive", "gaussian", "separable", "full"]
Expansion: TypeAlias = Literal["truncated", "full"]
Preset: TypeAlias = Literal["official", "paper"]

KERNELS: dict[str, type[nn.Module]] = {
    "recursive": RecursiveKernels,
    "gaussian": GaussianKernels,
    "separable": SeparableKernels,
    "full": FullKernels,
}


class NRKNet(Net):
    """Defocus deblurring by a few terms of a Neumann series, one power more at each coarser scale.

    Parameters
    ----------
    atoms : int, optional
        Kernels after the Dirac; by default as the preset has it.
    scales : {3, 2, 4}
        Resolutions, each half the one before.
    kernels : {"recursive", "gaussian", "separable", "full"}
        Of the blur, see `nets.models.nrknet.recursive_kernels`. The last three are the ablations NonAdaptive,
        NonRecursive and NonSeparable.
    expansion : {"truncated", "full"}
        Which terms of scale t are added to the image: the last power alone, or (FullExpansion) all from the first to
        the last.
    powers : sequence of ints, optional
        The last power of ``I - D`` at each scale, full resolution first. By default 1, 2, 3, ...; with
        ``expansion="full"`` the number of scales at all of them.
    recurrent : {"lstm", "conv", "none"}
        What carries a state from scale to scale: a convolutional LSTM; nothing, with a 5 x 5 convolution in its place;
        or nothing, with a deeper U-Net besides, which makes up for the weights (the paper gives no layers).
    normalised : bool
        Put the coefficients on the simplex by a softmax over the kernels. With ``preset="paper"`` every pixel then has
        a PSF: non-negative, of sum one.
    preset : {"official", "paper"}
        The released code or the text of the paper, where these differ:

        ==================== ====================================== ====================================
        .                    official                               paper
        ==================== ====================================== ====================================
        kernels              Dirac and 21                           Dirac and 20
        an atom              symmetric, for each colour             three free taps, for all colours
        colours              mixed after each kernel, plus a        apart
                             constant
        coarse images        every second pixel                     means of 2 x 2 pixels
        initial weights      those of torch                         Xavier; atoms as in the code
        "gaussian"           supports as in the code of GKMNet      supports as in its paper
        "separable"          a line for each colour                 a line for all colours
        "full"               symmetric, for each colour             all taps free, for all colours
        ==================== ====================================== ====================================

        The per-scale estimates contain the coarse image in both; the text of the paper leaves it out.
    bn_stats : {"running", "batch"}
        See `nets.layers.blocks.BatchNorm`. The authors' test script has ``"batch"``, their validation ``"running"``.
    width : int
        Channels of the U-Net at full resolution; 64 in the paper.
    checkpointing : bool
        In training, compute the steps and the U-Net a second time instead of storing what they need, so that memory
        grows with the square root of `powers`; the attribute of this name may be set at any time.

    Raises
    ------
    ValueError
        An argument out of range.

    Notes
    -----
    With ``y_t`` the image at scale t and ``D_t`` its blur, predicted once:

    ``out = y + (I - D_1) y_1 + up2((I - D_2)^2 y_2) + up4((I - D_3)^3 y_3)``, up bilinear.

    ``D v = sum_j Gamma_j . sum_c mix_jc (A_j * v_c) + bias`` is `blurphys.RKR` (or `GKM`, `SymmetricMixture`,
    `PSFStack`), the image extended by reflection, and the powers are steps of `solvers.neumann`. Nothing makes
    ``I - D`` contract, `normalised` or not (an atom close to the box has a negative frequency response): `operators`
    returns the blurs for a certificate.
    Images have at least `least` px a side. Other sizes than multiples of `multiple` are extended below and on the right
    by reflection, and cropped.
    Cost at 1280 x 720: 868 G multiply-accumulates in convolutions, 0.6 G in the blur.

    References
    ----------
    Quan, Wu, Ji, "Neumann Network with Recursive Kernels for Single Image Defocus Deblurring", CVPR 2023.

    Examples
    --------
    >>> import torch
    >>> net = NRKNet(atoms=3, scales=2, width=8)
    >>> net(torch.rand(1, 3, 20, 17)).shape
    torch.Size([1, 3, 20, 17])
    """

    name = "nrknet"

    def __init__(
        self,
        *,
        atoms: int | None = None,
        scales: int = 3,
        kernels: Kernels = "recursive",
        expansion: Expansion = "truncated",
        powers: Sequence[int] | None = None,
        recurrent: Recurrent = "lstm",
        normalised: bool = False,
        preset: Preset = "official",
        bn_stats: BatchStatistics = "running",
        width: int = 64,
        checkpointing: bool = False,
    ) -> None:
        check_choice("NRKNet", "scales", scales, (2, 3, 4))
        check_choice("NRKNet", "kernels", kernels, get_args(Kernels))
        check_choice("NRKNet", "expansion", expansion, get_args(Expansion))
        check_choice("NRKNet", "recurrent", recurrent, get_args(Recurrent))
        check_choice("NRKNet", "preset", preset, get_args(Preset))
        check_choice("NRKNet", "bn_stats", bn_stats, get_args(BatchStatistics))
        check_choice("NRKNet", "normalised", normalised, (False, True))
        check_choice("NRKNet", "checkpointing", checkpointing, (False, True))
        paper = preset == "paper"
        if atoms is None:
            atoms = 20 if paper else 21
        atoms = require_integer("NRKNet", "atoms", atoms, unit="(kernels after the Dirac)")
        width = require_integer("NRKNet", "width", width, unit="(channels of the U-Net)")
        if powers is None:
            powers = range(1, scales + 1) if expansion == "truncated" else (scales,) * scales
        powers = [require_integer("NRKNet", "each of powers", k) for k in powers]
        if len(powers) != scales:
            raise ValueError(f"NRKNet: expected {scales} powers, one per scale, full resolution first, got {powers}")
        super().__init__(
            atoms=atoms,
            scales=scales,
            kernels=kernels,
            expansion=expansion,
            powers=powers,
            recurrent=recurrent,
            normalised=normalised,
            preset=preset,
            bn_stats=bn_stats,
            width=width,
            checkpointing=checkpointing,
        )
        self.multiple = 4 * 2 ** (scales - 1)
        self.global_statistics = bn_stats == "batch"
        self.powers, self.expansion = tuple(powers), expansion
        self.normalised, self.antialias, self.checkpointing = normalised, paper, checkpointing
        self.coefficient_net = CoefficientNet(atoms + 1, width=width, recurrent=recurrent, bn_stats=bn_stats)
        self.blur = Blur(KERNELS[kernels](atoms, shared=paper), atoms + 1, mixed=not paper)
        if paper:
            self.apply(_xavier)

    @property
    def least(self) -> int:
        """Smallest height and width, px.

        Extended to a multiple, the coarsest scale has 8 px or more, for the U-Net, and reaches as far as the extension
        of its kernels by reflection.
        """
        extension: int = self.blur.kernels.extension
        blocks = max(2, -(-(extension + 1) // 4))
        return (blocks - 1) * self.multiple + 1

    @property
    def reach(self) -> int | None:
        if self.global_statistics:
            return None
        halo: int = self.blur.kernels.halo
        maps: tuple[int, ...] = self.coefficient_net.reach(len(self.powers))
        found: list[int] = [2**t * ((self.powers[t] - 1) * halo + max(halo, maps[t]) + 3) for t in range(len(maps))]
        return max(found)

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored image.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)
            RGB in [0, 1].

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Not clamped.
        """
        check_images("NRKNet", image, least=self.least)
        levels = self._levels(image)
        restored = levels[0]
        for t, blur in self._blurs(levels):
            restored = restored + self._correction(t, self._series(t, blur, levels[t]), levels)
        return crop_to_size(restored, _size(image)).to(image.dtype)

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Return the restored image, the partial sums ``y_t + (I - D_t) y_t + ...`` and the sharp image under D_t.

        The sharp image is made coarser by the rule of the input.
        """
        check_images("NRKNet", image, *(() if sharp is None else (sharp,)), least=self.least)
        levels = self._levels(image)
        truth = None if sharp is None else self._levels(sharp)
        restored = levels[0]
        scales: list[Tensor] = []
        reblurred: list[Tensor] = []
        for t, blur in self._blurs(levels):
            series = self._series(t, blur, levels[t])
            restored = restored + self._correction(t, series, levels)
            scales.insert(0, self._shown(t, series.x, image))
            if truth is not None:
                reblurred.insert(0, self._shown(t, blur(truth[t]), image))
        return Outputs(self._shown(0, restored, image), tuple(scales), tuple(reblurred))

    def coefficients(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the coefficient maps, (B, J, H / 2^t, W / 2^t), sizes rounded up, full resolution first."""
        check_images("NRKNet", image, least=self.least)
        levels = self._levels(image)
        return tuple(self._shown(t, gamma, image) for t, gamma in reversed(list(self._maps(levels))))

    def operators(self, image: Tensor) -> tuple[AffineBlur, ...]:
        """Return the blur of each scale, full resolution first, for images extended to a multiple of `multiple`.

        For `blurphys.certificate` or a power iteration take the attribute `linear` of one of them.
        """
        check_images("NRKNet", image, least=self.least)
        return tuple(blur for _, blur in reversed(list(self._blurs(self._levels(image)))))

    def atoms(self) -> Tensor:
        """Return the taps of the recursive kernels' atoms, (J-1, colours, 3).

        Raises
        ------
        ValueError
            A network of other kernels.
        """
        kernels = self.blur.kernels
        if not isinstance(kernels, RecursiveKernels):
            raise ValueError(
                f"NRKNet.atoms: expected a network of recursive kernels, got {self.config['kernels']!r}; only those "
                "are made of atoms"
            )
        taps = kernels.taps()
        return taps if taps.ndim == 3 else taps[:, None].expand(-1, 3, -1)

    def _levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """The image at all scales, in at least float32, which powers of a blur need."""
        levels = [pad_to_multiple(image, self.multiple).to(torch.promote_types(image.dtype, torch.float32))]
        while len(levels) < len(self.powers):
            fine = levels[-1]
            levels.append(functional.avg_pool2d(fine, 2) if self.antialias else fine[..., ::2, ::2])
        return tuple(levels)

    def _maps(self, levels: tuple[Tensor, ...]) -> Iterator[tuple[int, Tensor]]:
        """Scale and coefficient maps, coarse to fine."""
        state: State = None
        weights = self.coefficient_net.unet.entry.weight.dtype
        for t in reversed(range(len(levels))):
            level = levels[t].to(weights)
            gamma, state = self.coefficient_net(level, state, checkpointing=self.checkpointing)
            state = None if state is None or t == 0 else (upsample_by_two(state[0]), upsample_by_two(state[1]))
            gamma = gamma.to(levels[t].dtype)
            yield t, torch.softmax(gamma, dim=1) if self.normalised else gamma

    def _blurs(self, levels: tuple[Tensor, ...]) -> Iterator[tuple[int, AffineBlur]]:
        for t, gamma in self._maps(levels):
            yield t, self.blur(gamma)

    def _series(self, t: int, blur: AffineBlur, level: Tensor) -> solvers.NeumannState:
        step = partial(solvers.neumann_step, blur)
        run = solvers.checkpointed if self.checkpointing and torch.is_grad_enabled() else solvers.unrolled
        return run(step, solvers.neumann_init(level), steps=self.powers[t])

    def _correction(self, t: int, series: solvers.NeumannState, levels: tuple[Tensor, ...]) -> Tensor:
        """The term of a scale in the restored image, at full resolution."""
        term = series.term if self.expansion == "truncated" else series.x - levels[t]
        if t == 0:
            return term
        return functional.interpolate(term, scale_factor=float(2**t), mode="bilinear", align_corners=False)

    def _shown(self, t: int, level: Tensor, image: Tensor) -> Tensor:
        """A result of scale t cropped to the image, in its precision."""
        height, width = (-(-side // 2**t) for side in _size(image))
        return crop_to_size(level, (height, width)).to(image.dtype)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _xavier(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _official_table() -> dict[str, str]:
    """Own name -> authors' name, in the order in which their file stores them."""
    table = {
        "blur.mix": "SummationLayer.conv.weight",
        "blur.bias": "SummationLayer.conv.bias",
        "blur.kernels.values": "GCM.kernels",
        "coefficient_net.attention.detail.weight": "APU.conv.main.0.weight",
    }
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        table[f"coefficient_net.attention.detail_norm.{part}"] = f"APU.conv.main.1.{part}"
    for part in ("weight", "bias"):
        table[f"coefficient_net.attention.memory.conv.{part}"] = f"APU.conv_atten.conv.{part}"
    stages = [(f"encode.{i}", f"Encoder.{i}") for i in range(3)] + [(f"decode.{i}", f"Decoder.{i}") for i in range(3)]
    for own, theirs in [*stages, ("bottom_stage", "bottleneck.1")]:
        if own == "bottom_stage":
            table["coefficient_net.unet.bottom.weight"] = "bottleneck.0.main.0.weight"
        for i, conv in enumerate(("first", "second")):
            table[f"coefficient_net.unet.{own}.0.{conv}.weight"] = f"{theirs}.layers.0.main.{i}.main.0.weight"
    for i, own in enumerate(("entry", "down.0", "down.1", "up.0", "up.1")):
        table[f"coefficient_net.unet.{own}.weight"] = f"feat_extract.{i}.main.0.weight"
    return table


OFFICIAL = _official_table()
"""Own name -> name in the authors' weights, in their order."""


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the authors' weights, in the order in which they are stored."""
    with torch.device("meta"):
        own = NRKNet().state_dict()
    shapes = {theirs: tuple(own[name].shape) for name, theirs in OFFICIAL.items()}
    outputs, colours, maps = own["blur.mix"].shape
    atoms, _, values = own["blur.kernels.values"].shape
    shapes["SummationLayer.conv.weight"] = (outputs, colours * maps, 1, 1)
    shapes["GCM.kernels"] = (atoms * colours, 1, 1, values)
    return shapes


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' weights under own names, for colours in the order red, green, blue.

    Parameters
    ----------
    state : dict
        As `official_shapes` has it, any number of atoms; made for blue, green, red.

    Returns
    -------
    dict
        For `NRKNet.load_state_dict`.
    """
    own = {name: state[theirs] for name, theirs in OFFICIAL.items()}
    mix = own["blur.mix"]
    own["blur.mix"] = mix.reshape(3, -1, 3).permute(0, 2, 1).flip(0, 1).contiguous()
    own["blur.bias"] = own["blur.bias"].flip(0)
    own["blur.kernels.values"] = own["blur.kernels.values"].reshape(-1, 3, 2).flip(1)
    entry = "coefficient_net.unet.entry.weight"
    own[entry] = own[entry].flip(1)
    return own
