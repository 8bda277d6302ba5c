"""Image metrics (PSNR, SSIM, MAE, LPIPS) by the conventions of the papers, whose figures cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from .layers.checks import check_choice
from .layers.precision import exact
from .losses.classifiers import Weights, alexnet, load_strictly, read_weights, squeezenet
from .losses.pointwise import check_pair
from .losses.similarity import Window
from .losses.similarity import ssim as _ssim

__all__ = ["LPIPS", "PROTOCOLS", "LPIPSNet", "LPIPSRange", "Protocol", "lpips", "mae", "protocol", "psnr", "ssim"]
__dir__ = __all__.copy  # what completion offers

LPIPSNet: TypeAlias = Literal["alex", "squeeze"]
LPIPSRange: TypeAlias = Literal["symmetric", "unit"]

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def psnr(image: Tensor, target: Tensor, *, peak: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio of every image of a batch, dB.

    Parameters
    ----------
    image, target : Tensor of shape (B, C, H, W)
    peak : float
        The range of values.

    Returns
    -------
    Tensor of shape (B,), float64
        ``10 log10(peak^2 / mse)``, the mean over all colours and pixels; infinite for equal images.

    Examples
    --------
    >>> import torch
    >>> float(psnr(torch.full((1, 3, 2, 2), 0.1), torch.zeros(1, 3, 2, 2)).round())
    20.0
    """
    check_pair("psnr", image, target)
    mse = (image.double() - target.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(peak**2 / mse)


def ssim(image: Tensor, target: Tensor, *, window: Window = "gaussian", peak: float = 1.0) -> Tensor:
    """Return the structural similarity of every image of a batch, (B,) in float64; see `nets.losses.ssim`."""
    return _ssim(image.double(), target.double(), window=window, peak=peak)


def mae(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of every image of a batch, (B,) in float64."""
    check_pair("mae", image, target)
    return (image.double() - target.double()).abs().mean(dim=(1, 2, 3))


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1, with weights that you supply. Smaller is more similar.

    Parameters
    ----------
    net : {"alex", "squeeze"}
        AlexNet, or SqueezeNet 1.1.
    features : path or mapping
        Of the classifier: a safetensors file, a file of ``torch.save`` with tensors only, or a state dictionary; keys
        as in torchvision, ``features.0.weight``, ``features.3.squeeze.weight``, ... Other keys are ignored.
    linear : path or mapping
        Of the layers, the same kinds; keys as in the files of LPIPS, ``lin0.model.1.weight`` of shape (1, channels, 1,
        1) and so on.
    range : {"symmetric", "unit"}
        "symmetric": images in [0, 1] are mapped to [-1, 1], as the metric is defined. "unit": they are passed as they
        are, as in GKMNet's code; such values cannot be compared with any others.
    bgr : bool
        Pass the colours in reversed order, as NRKNet's and DefocusGAN's code do.

    Raises
    ------
    ValueError
        An unknown choice, or a key that is missing or misshapen.
    FileNotFoundError
        No such file.

    Notes
    -----
    Features of each layer are divided by their length over the channels (plus 1e-10); squared differences are
    weighted by `linear` (non-negative), averaged over the pixels and summed over the layers.

    References
    ----------
    Zhang, Isola, Efros, Shechtman and Wang, The unreasonable effectiveness of deep features as a perceptual metric,
    CVPR 2018, equation 1.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        net: LPIPSNet = "alex",
        *,
        features: Weights,
        linear: Weights,
        range: LPIPSRange = "symmetric",
        bgr: bool = False,
    ) -> None:
        super().__init__()
        check_choice("LPIPS", "net", net, get_args(LPIPSNet))
        check_choice("LPIPS", "range", range, get_args(LPIPSRange))
        self.range, self.bgr = range, bgr
        self.features, self.places = alexnet() if net == "alex" else squeezenet()
        load_strictly("LPIPS", self.features, read_weights("LPIPS", features), prefix="features.")
        given = read_weights("LPIPS", linear)
        self.linear = nn.ParameterList()
        for i, channels in enumerate(self._widths()):
            weight = given.get(f"lin{i}.model.1.weight")
            if weight is None or tuple(weight.shape) != (1, channels, 1, 1):
                got = "it is missing" if weight is None else f"its shape is {tuple(weight.shape)}"
                raise ValueError(f"LPIPS: expected 'lin{i}.model.1.weight' of shape (1, {channels}, 1, 1), but {got}")
            if bool((weight < 0).any()):
                raise ValueError(f"LPIPS: expected 'lin{i}.model.1.weight' >= 0, got {float(weight.min()):g}")
            self.linear.append(nn.Parameter(weight.detach().clone(), requires_grad=False))
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def _widths(self) -> list[int]:
        with torch.no_grad():
            return [layer.shape[1] for layer in self._layers(torch.zeros(1, 3, 64, 64))]

    def _layers(self, image: Tensor) -> list[Tensor]:
        found = []
        for place, module in enumerate(self.features):
            image = module(image)
            if place in self.places:
                found.append(image)
        return found

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the LPIPS of every image of a batch, (B,); images RGB in [0, 1], of at least 64 px."""
        check_pair("LPIPS", image, target)
        with exact(image, target) as (x, y):
            pair = torch.cat([x, y]).to(self.shift.dtype)
            pair = pair.flip(1) if self.bgr else pair
            pair = 2 * pair - 1 if self.range == "symmetric" else pair
            layers = self._layers((pair - self.shift) / self.scale)
            total = pair.new_zeros(x.shape[0])
            for layer, weight in zip(layers, self.linear, strict=True):
                unit = layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + 1e-10)
                a, b = unit.chunk(2)
                total = total + (weight * (a - b).square()).sum(dim=1).mean(dim=(1, 2))
            return total


def lpips(
    net: LPIPSNet = "alex", range: LPIPSRange = "symmetric", *, features: Weights, linear: Weights, bgr: bool = False
) -> LPIPS:
    """Return an `LPIPS` in evaluation mode: ``lpips("alex", features=..., linear=...)(image, target)``."""
    made = LPIPS(net, features=features, linear=linear, range=range, bgr=bgr)
    made.eval()
    return made


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A convention: how an image in [0, 1] is prepared and measured.

    Attributes
    ----------
    name : str
    bits : int
        Depth of the image files it was made for.
    rounded : bool
        Both images are rounded to 8 bits first.
    clamp_psnr, clamp_ssim : bool
        The restored image is clamped to [0, 1] for PSNR and MAE, and for SSIM.
    window : {"gaussian", "uniform"}
        Of SSIM.
    lpips_net, lpips_range, lpips_bgr
        Arguments of `lpips`.

    Notes
    -----
    Images in [0, 255] with a peak of 255 have the same values. Metrics are per image; average them over images, not
    over pixels.
    """

    name: str
    bits: int
    rounded: bool
    clamp_psnr: bool
    clamp_ssim: bool
    window: Window
    lpips_net: LPIPSNet = "alex"
    lpips_range: LPIPSRange = "symmetric"
    lpips_bgr: bool = False

    def prepared(self, image: Tensor, *, clamp: bool) -> Tensor:
        """Return an image in float64, rounded and clamped by this convention."""
        image = image.double()
        image = torch.round(255 * image) / 255 if self.rounded else image
        return image.clamp(0, 1) if clamp else image

    def psnr(self, image: Tensor, target: Tensor) -> Tensor:
        """Return PSNR, dB, (B,)."""
        return psnr(self.prepared(image, clamp=self.clamp_psnr), self.prepared(target, clamp=self.clamp_psnr))

    def ssim(self, image: Tensor, target: Tensor) -> Tensor:
        """Return SSIM, (B,)."""
        pair = self.prepared(image, clamp=self.clamp_ssim), self.prepared(target, clamp=self.clamp_ssim)
        return ssim(*pair, window=self.window)

    def mae(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute error, (B,)."""
        return mae(self.prepared(image, clamp=self.clamp_psnr), self.prepared(target, clamp=self.clamp_psnr))

    def lpips(self, *, features: Weights, linear: Weights) -> LPIPS:
        """Return `LPIPS` with the options of this convention."""
        return lpips(self.lpips_net, self.lpips_range, features=features, linear=linear, bgr=self.lpips_bgr)

    def __call__(self, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return PSNR, SSIM and MAE of every image of a batch, by name."""
        return {"psnr": self.psnr(image, target), "ssim": self.ssim(image, target), "mae": self.mae(image, target)}


def _protocol(name: str, bits: int, window: Window, **more: object) -> Protocol:
    usual = {"rounded": False, "clamp_psnr": False, "clamp_ssim": False}
    return Protocol(name=name, bits=bits, window=window, **(usual | more))  # type: ignore[arg-type]


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        made.name: made
        for made in (
            _protocol("gkmnet", 8, "gaussian", rounded=True, clamp_psnr=True, lpips_range="unit"),
            _protocol("nrknet", 8, "gaussian", rounded=True, clamp_psnr=True, lpips_bgr=True),
            _protocol("dpdd", 16, "uniform"),
            _protocol("ifan", 8, "uniform", clamp_psnr=True, clamp_ssim=True),
            _protocol("defocusgan", 16, "uniform", lpips_net="squeeze", lpips_bgr=True),
        )
    }
)
"""Conventions of the authors' evaluation code by name. "dpdd" is that of DPDNet and RDPD."""


def protocol(name: str) -> Protocol:
    """Return a convention by its name: "gkmnet", "nrknet", "dpdd", "ifan" or "defocusgan"."""
    check_choice("protocol", "name", name, tuple(PROTOCOLS))
    return PROTOCOLS[name]
