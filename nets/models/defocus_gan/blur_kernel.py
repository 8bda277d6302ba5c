"""The blur kernels of DefocusGAN, learned by reblurring a sharp image."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import blurphys as bp
from blurphys.inputs import require_integer

from ...layers.checks import check_choice
from ...layers.precision import exact
from ...net import Net, check_images
from .blocks import check_map, meta_state

__all__ = [
    "OFFICIAL",
    "Constraint",
    "LearnableBlurKernel",
    "from_official",
    "half_width",
    "initial_kernel",
    "official_name",
    "official_shapes",
]

Constraint: TypeAlias = Literal["softmax", "projected"]
Initial: TypeAlias = Literal["butterworth", "disk"]

FLOOR = 1e-3
"""Least tap relative to the largest one when logarithms of the initial taps are taken."""


def half_width(radius: int) -> int:
    """Return the half width (px) of the kernel for a whole radius: the disk and the reach of its smoothing."""
    return len(bp.psf.butterworth(radius)) // 2


def initial_kernel(radius: int, initial: Initial = "butterworth") -> np.ndarray:
    """Return the kernel that training starts from, float64, unit sum, side ``2 half_width(radius) + 1``."""
    if initial == "disk":
        return bp.psf.disk(radius, 2 * half_width(radius) + 1)
    return bp.psf.butterworth(radius, order=3, cutoff=0.8, floor=0.1)


def _nearest_on_simplex(kernel: Tensor) -> Tensor:
    """Return the nearest kernel without negative taps that sums to one."""
    taps = kernel.flatten()
    ordered = taps.sort(descending=True).values
    counts = torch.arange(1, len(taps) + 1, dtype=taps.dtype, device=taps.device)
    excess = (ordered.cumsum(0) - 1.0) / counts
    last = (ordered > excess).sum() - 1  # the condition holds for the largest taps up to this one
    return (taps - excess.gather(0, last[None])).clamp(min=0.0).view_as(kernel)


class _Levels(bp.PSFBank):
    """The kernels of one forward pass at whole radii, valid by construction: no checks, for `torch.compile`."""

    def __init__(self, psfs: Tensor, radii: np.ndarray, nodes: tuple[float, ...]) -> None:
        self.pupil, self.views, self.radii, self.nodes = None, ("combined",), radii, nodes
        self._psfs = {"combined": psfs}


class LearnableBlurKernel(Net):
    """Reblur an image by learned kernels, two for each whole CoC radius: one for each sign.

    Parameters
    ----------
    max_radius : int
        Largest radius, px; kernels for 0 to max_radius, 55 730 taps for 24.
    constraint : {None, "softmax", "projected"}
        None: taps are free, as published. "softmax": the parameters are logarithms, every kernel is positive and sums
        to one. "projected": the nearest kernel on the simplex is used, and its gradient is taken as that of the
        parameters (projected gradients with lazy projection).
    initial : {"butterworth", "disk"}
        Kernels to start from: rings (published), or plain disks of the same support.
    learn : bool
        Whether the kernels learn; False is the fixed Butterworth row of the paper's Table 5.
    clamp : bool
        Clamp radii beyond max_radius to it; without it they are an error.

    Raises
    ------
    ValueError
        An argument out of range.

    Notes
    -----
    ``y[p] = sum_i s_i [tent(c[p] - i) (K+_i * x)[p] + tent(c[p] + i) (K-_i * x)[p]]`` with ``tent(u) = max(0, 1 -
    |u|)``, s_0 = 1/2, else 1, and zeros beyond the frame. That is a linear interpolation between neighbouring levels
    of one bank, whose level 0 is the mean of the two kernels of radius 0: a `blurphys.DefocusBlur`, see `operator`.
    Gradients reach the image, the map (piecewise linear) and the kernels, and are twice differentiable.

    Kernels are convolution kernels (impulse responses); the released code correlates and `from_official` mirrors them.
    The initial ring is `blurphys.psf.butterworth` of order 3, cut-off 0.8 radius, floor 0.1; "softmax" starts from it
    up to 0.1 % of its largest tap, where it has zeros.

    Cost: the area of each pixel's own two kernels; gradients of the kernels cost the largest area at every pixel.

    References
    ----------
    DefocusGAN paper, section on the learned blur kernels and Table 5; Abuolaim et al., ICCV 2021 (initial kernels).
    """

    name = "defocusgan_blur"
    restores = False
    inputs = ("image", "radius_map")

    def __init__(
        self,
        *,
        max_radius: int = 24,
        constraint: Constraint | None = None,
        initial: Initial = "butterworth",
        learn: bool = True,
        clamp: bool = False,
    ) -> None:
        max_radius = require_integer("LearnableBlurKernel", "max_radius", max_radius, unit="px")
        check_choice("LearnableBlurKernel", "constraint", constraint, (None, *get_args(Constraint)))
        check_choice("LearnableBlurKernel", "initial", initial, get_args(Initial))
        super().__init__(max_radius=max_radius, constraint=constraint, initial=initial, learn=learn, clamp=clamp)
        self.max_radius, self.constraint, self.initial, self.clamp = max_radius, constraint, initial, clamp
        self.positive = nn.ParameterList(self._start(n) for n in range(max_radius + 1))
        self.negative = nn.ParameterList(self._start(n) for n in range(max_radius + 1))
        self.requires_grad_(learn)
        self._halves = [half_width(n) for n in range(max_radius + 1)]
        self._radii = np.arange(-max_radius, max_radius + 1.0)
        self._nodes = tuple(float(n) for n in range(-max_radius, max_radius + 1))

    def _start(self, radius: int) -> Tensor:
        kernel = initial_kernel(radius, self.initial)
        if self.constraint == "softmax":
            kernel = np.log(np.maximum(kernel, FLOOR * kernel.max()))
        return torch.tensor(kernel, dtype=torch.get_default_dtype())

    @property
    def reach(self) -> int:
        return self._halves[-1]

    def _constrained(self, kernel: Tensor) -> Tensor:
        if self.constraint == "softmax":
            return torch.softmax(kernel.flatten(), dim=0).view_as(kernel)
        if self.constraint == "projected":
            return _nearest_on_simplex(kernel.detach()) + (kernel - kernel.detach())
        return kernel

    def kernel(self, radius: int) -> Tensor:
        """Return the kernel of a signed whole radius as it is applied, an impulse response of odd side.

        Raises
        ------
        ValueError
            A radius that is not whole or beyond max_radius.
        """
        if radius != int(radius) or abs(radius) > self.max_radius:
            raise ValueError(
                f"LearnableBlurKernel.kernel: expected a whole radius within +-{self.max_radius} px, got {radius}"
            )
        if radius == 0:
            return 0.5 * (self._constrained(self.positive[0]) + self._constrained(self.negative[0]))
        return self._constrained(self.positive[radius] if radius > 0 else self.negative[-radius])

    def kernels(self, half: int | None = None) -> Tensor:
        """Return all kernels from -max_radius to +max_radius px in one array.

        Parameters
        ----------
        half : int, optional
            Half width they are padded with zeros or cropped to, px; by default that of the largest.

        Returns
        -------
        Tensor of shape (2 max_radius + 1, 2 half + 1, 2 half + 1)
        """
        half = self._halves[-1] if half is None else half
        levels = []
        for radius in range(-self.max_radius, self.max_radius + 1):
            rim = half - self._halves[abs(radius)]
            levels.append(functional.pad(self.kernel(radius), (rim, rim, rim, rim)))
        return torch.stack(levels)

    def operator(self, radius_map: Tensor, channels: int = 1) -> bp.DefocusBlur:
        """Return the blur as a linear operator with its adjoint.

        Parameters
        ----------
        radius_map : Tensor of shape (*B, H, W)
            Signed CoC radius, px.
        channels : int
            C of the images; all share the map.

        Returns
        -------
        blurphys.DefocusBlur
            On images (*B, C, H, W).

        Raises
        ------
        ValueError
            Radii beyond max_radius (unless `clamp`), NaN or inf.
        """
        largest = float(self.max_radius)
        if not (torch.compiler.is_compiling() or radius_map.is_meta):
            # Levels that no pixel uses are cropped to what the others need: less to pad, and no gradient to compute.
            largest = self._largest(radius_map.detach())
        if self.clamp:
            radius_map = radius_map.clamp(-self.max_radius, self.max_radius)
        half = self._halves[min(ceil(largest), self.max_radius)]
        psfs = self.kernels(half).to(radius_map.dtype)
        bank = _Levels(psfs, self._radii, self._nodes)
        return bp.DefocusBlur(radius_map, bank=bank, channels=channels, boundary="zero")

    def _largest(self, radius_map: Tensor) -> float:
        """Return the largest magnitude of a map; ValueError where it is too large."""
        largest = float(radius_map.abs().max())
        if largest > self.max_radius * (1 + 1e-6) and not self.clamp:
            raise ValueError(
                f"LearnableBlurKernel: expected radii within +-{self.max_radius} px, got {largest:.6g}; is it a "
                "diameter? clamp=True clamps them"
            )
        return largest if largest < self.max_radius else float(self.max_radius)  # NaN is refused by the operator

    def forward(self, image: Tensor, radius_map: Tensor) -> Tensor:
        """Reblur an image.

        Parameters
        ----------
        image : Tensor of shape (B, 3, H, W)
        radius_map : Tensor of shape (B, 3, H, W) or (B, 1, H, W)
            Signed CoC radius, px, of each colour or shared by all.

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Of the dtype of `image`; half precision is computed in float32.

        Raises
        ------
        ValueError
            Shapes that do not fit, radii beyond max_radius (unless `clamp`), NaN or inf in the map.
        TypeError
            An image or map that is no tensor of floats.
        """
        check_images("LearnableBlurKernel", image)
        check_map("LearnableBlurKernel", "radius_map", radius_map, image)
        with exact(image, radius_map) as (planes, radii):
            if radii.shape[1] == 1:
                blurred = self.operator(radii[:, 0], channels=3)(planes)
            else:
                blurred = self.operator(radii)(planes[:, :, None])[:, :, 0]
        return blurred.to(image.dtype)


# ---- the authors' checkpoints ----------------------------------------------------------------------------------------

OFFICIAL = {"positive.": "weight_pos_set.", "negative.": "weight_neg_set."}
"""Prefixes of our names and of the authors'."""


def official_name(key: str) -> str:
    """Return the authors' name of a parameter."""
    sign, radius = key.split(".")
    return f"{OFFICIAL[sign + '.']}{radius}.weight"


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the authors' checkpoint, in its order."""
    return {official_name(key): (1, 1, *value.shape) for key, value in meta_state(LearnableBlurKernel).items()}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the authors' state, arrays for a correlation, into the convolution kernels of a `LearnableBlurKernel`."""
    return {key: state[official_name(key)][0, 0].flip(0, 1) for key in meta_state(LearnableBlurKernel)}
