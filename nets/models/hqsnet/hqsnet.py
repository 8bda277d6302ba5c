"""HQSNet: half-quadratic splitting, unrolled, with a predicted blur, conjugate gradients and a learned denoiser."""

from __future__ import annotations

from functools import partial
from math import expm1, log
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

import blurphys as bp
import solvers
from blurphys.inputs import require_integer, require_number

from ...layers.blocks import BatchStatistics, check_batch_statistics, upsample_by_two
from ...layers.checks import check_choice
from ...layers.precision import exact
from ...layers.resampling import pyramid
from ...net import Net, Outputs, check_images, crop_to_size, pad_to_multiple
from ..gkmnet.coefficients import CoefficientNet, Recurrence, State
from ..gkmnet.gaussian_bank import GaussianBank
from .denoiser import ResidualDenoiser

__all__ = ["Coefficients", "DenoiserName", "Gradient", "HQSNet"]

Gradient: TypeAlias = Literal["unrolled", "implicit", "checkpointed"]
Coefficients: TypeAlias = Literal["softmax", "residual"]
DenoiserName: TypeAlias = Literal["half", "full"]

KERNELS = 22
"""Of the bank, and maps for each of the two operators."""

SHARPNESS = 8.0
"""Of the softmax: the maps lie in (-1, 1), and one kernel alone must be within reach (1 - 2e-6 of the weight)."""


class _Normal:
    """``B^T B + rho``, its own transpose."""

    def __init__(self, B: bp.LinearOperator, rho: Tensor) -> None:
        self.B, self.rho = B, rho

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.B.adjoint(self.B(x)) + self.rho * x
        return out

    adjoint = __call__


class HQSNet(Net):
    """Predict the blur, undo it by regularised least squares, denoise; at three scales, coarse to fine.

    Parameters
    ----------
    iterations : int
        P, conjugate gradient steps at each scale; 10 to 25 in the paper.
    scales : int
        Each of half the size of the one before; all weights are shared.
    denoiser : {"half", "full"} or None
        `ResidualDenoiser` at half or full resolution; None for data steps only.
    gradient : {"unrolled", "implicit", "checkpointed"}
        How the data step is differentiated. "unrolled": exactly, memory grows with P. "checkpointed": the same with
        memory of about 2 sqrt(P) steps, the steps computed twice. "implicit": as the solution of its equation, by P
        steps for the adjoint; memory does not depend on P, and the gradient is exact as far as P steps converge. It is
        the one that `torch.compile` cannot train.
    rho : float
        Initial coupling of data and prior, positive; learned (its inverse softplus is the parameter).
    rho_per_scale : bool
        One rho for each scale, or one for all.
    coefficients : {"softmax", "residual"}
        How maps g in (-1, 1) become weights of the kernels. "softmax": ``softmax(8 g)``, so that they sum to one.
        "residual": ``1 - g_1`` for the Dirac and ``-g_k`` for the others, as in the fixed point of GKMNet.
    bn_stats : {"running", "batch"}
        See `nets.layers.blocks.BatchNorm`.
    recurrent : {"lstm", "conv"}
        See `nets.models.gkmnet.coefficients.CoefficientNet`.
    width : int
        Channels of the coefficient network at full size.
    channels, blocks : int
        Of the denoiser.

    Raises
    ------
    ValueError
        An unknown choice, or a number out of range.

    Notes
    -----
    At each scale, with z the enlarged result of the coarser one (the photo itself at the coarsest):

        B x = sum_k beta_k . M_k (g_k * x)      y' = sum_k alpha_k . N_k (g_k * y) + bias
        x <- P steps of conjugate gradients from z for (B^T B + rho I) x = B^T y' + rho z
        z <- denoiser(x)

    beta and alpha are 22 predicted maps each, g_k the Gaussians of GKMNet's code, sigma = k / 4 px, zero outside the
    frame; M_k and N_k mix the colours and start as the identity: the weights of a 1 x 1 convolution over 132 maps that
    are never made. 1 409 131 parameters without the denoiser, 3 259 054 with it, and the rho.
    Cost of a data step: P + 1 applications of B and of its adjoint. The physics runs in float32 under autocast.
    Images whose sides do not divide by 4 * 2^(scales - 1) are extended by reflection.

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021, supplement, table
    2. No code was released and the denoiser is not described; this one has the published number of parameters. The
    softmax and the half resolution are ours: the paper's denoiser would cost as much as it has at full resolution.

    Examples
    --------
    >>> import torch
    >>> net = HQSNet(iterations=2, denoiser=None).eval()
    >>> tuple(net(torch.zeros(1, 3, 20, 17)).shape)
    (1, 3, 20, 17)
    """

    name = "hqsnet"
    global_statistics = True

    def __init__(
        self,
        *,
        iterations: int = 10,
        scales: int = 3,
        denoiser: DenoiserName | None = "half",
        gradient: Gradient = "unrolled",
        rho: float = 0.1,
        rho_per_scale: bool = True,
        coefficients: Coefficients = "softmax",
        bn_stats: BatchStatistics = "running",
        recurrent: Recurrence = "lstm",
        width: int = 32,
        channels: int = 64,
        blocks: int = 25,
    ) -> None:
        iterations = require_integer("HQSNet", "iterations", iterations)
        scales = require_integer("HQSNet", "scales", scales)
        check_choice("HQSNet", "denoiser", denoiser, (*get_args(DenoiserName), None))
        check_choice("HQSNet", "gradient", gradient, get_args(Gradient))
        check_choice("HQSNet", "coefficients", coefficients, get_args(Coefficients))
        width = require_integer("HQSNet", "width", width, unit="(channels)")
        channels = require_integer("HQSNet", "channels", channels)
        blocks = require_integer("HQSNet", "blocks", blocks)
        rho = require_number("HQSNet", "rho", rho, above=0, unit="(usual are 1e-3 to 1)")
        super().__init__(
            iterations=iterations,
            scales=scales,
            denoiser=denoiser,
            gradient=gradient,
            rho=rho,
            rho_per_scale=rho_per_scale,
            coefficients=coefficients,
            bn_stats=bn_stats,
            recurrent=recurrent,
            width=width,
            channels=channels,
            blocks=blocks,
        )
        self.iterations, self.scales = iterations, scales
        self.gradient, self.coefficients = gradient, coefficients
        self.multiple = 4 * 2 ** (scales - 1)
        self.coefficient_net = CoefficientNet(2 * KERNELS, recurrent=recurrent, width=width, bn_stats=bn_stats)
        self.bank = GaussianBank(layout="paper")
        self.sum = nn.Conv2d(2 * 3 * KERNELS, 3, 1)
        with torch.no_grad():
            self.sum.weight.copy_(torch.eye(3)[:, None, :, None].expand(3, 2, 3, KERNELS).reshape(3, -1, 1, 1))
            self.sum.bias.zero_()
        start = rho if rho > 30 else log(expm1(rho))
        self.raw_rho = nn.Parameter(torch.full((scales if rho_per_scale else 1,), start))
        self.denoiser = None
        if denoiser is not None:
            self.denoiser = ResidualDenoiser(half=denoiser == "half", channels=channels, blocks=blocks)

    @property
    def rho(self) -> Tensor:
        """Coupling at each scale, full resolution first; (scales,) or (1,)."""
        return functional.softplus(self.raw_rho)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a photo, (B, 3, H, W) in [0, 1]; not clamped.

        H and W of at least 4 * 2^(scales - 1) px.
        """
        return self.outputs(image).image

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Return the estimates of all scales and, given the sharp image, its reblurred versions."""
        check_images("HQSNet", image, *(() if sharp is None else (sharp,)), least=self.multiple, net=self)
        levels = pyramid(pad_to_multiple(image, self.multiple), self.scales)
        check_batch_statistics("HQSNet", self, levels[0], self.multiple)
        truths = None if sharp is None else pyramid(pad_to_multiple(sharp, self.multiple), self.scales)
        state: State = None
        z = levels[-1]
        found: list[Tensor] = []
        blurred: list[Tensor] = []
        for t in reversed(range(self.scales)):
            if found:
                z = upsample_by_two(found[0])
                state = None if state is None else (upsample_by_two(state[0]), upsample_by_two(state[1]))
            maps, state = self.coefficient_net(levels[t], state)
            with exact(maps, levels[t], z, self.sum.weight) as (maps, y, z, weight):
                B, F = self.operators(maps, weight)
                x = self._data_step(B, F(y) + self.sum.bias.to(y.dtype).view(3, 1, 1), z, self._rho(t))
                if truths is not None:
                    blurred.insert(0, B(truths[t].to(x.dtype)))
            x = x.to(image.dtype)
            found.insert(0, x if self.denoiser is None else self.denoiser(x).to(image.dtype))
        sizes = [(-(-image.shape[-2] // 2**t), -(-image.shape[-1] // 2**t)) for t in range(self.scales)]
        estimates = tuple(crop_to_size(x, size) for x, size in zip(found, sizes, strict=True))
        reblurred = tuple(crop_to_size(x.to(image.dtype), size) for x, size in zip(blurred, sizes, strict=False))
        return Outputs(estimates[0], estimates, reblurred)

    def operators(self, maps: Tensor, weight: Tensor | None = None) -> tuple[bp.LinearOperator, bp.LinearOperator]:
        """Build the blur B and the filter F of the photo (without its bias) from predicted maps (B, 44, H, W).

        The first 22 maps are those of F, the others those of B.
        """
        mixes = (self.sum.weight if weight is None else weight).view(3, 2, 3, KERNELS)
        alpha, beta = maps.split(KERNELS, dim=1)
        B = self.bank.operator(self._weights(beta), mixes[:, 1])
        F = self.bank.operator(self._weights(alpha), mixes[:, 0])
        return B, F

    def _weights(self, maps: Tensor) -> Tensor:
        if self.coefficients == "softmax":
            return torch.softmax(SHARPNESS * maps, dim=1)
        return torch.cat([1 - maps[:, :1], -maps[:, 1:]], dim=1)

    def _rho(self, t: int) -> Tensor:
        return self.rho[t if self.raw_rho.shape[0] > 1 else 0]

    def _data_step(self, B: bp.LinearOperator, y: Tensor, z: Tensor, rho: Tensor) -> Tensor:
        normal = _Normal(B, rho)
        step = partial(solvers.cg_step, normal)

        def from_z() -> solvers.CGState:  # B^T y + rho z - (B^T B + rho) z, rho z left out of both
            return solvers.cg_restart(z, B.adjoint(y - B(z)))

        if self.gradient == "unrolled" or not torch.is_grad_enabled():
            return solvers.unrolled(step, from_z(), steps=self.iterations).x
        if self.gradient == "checkpointed":
            return solvers.checkpointed(step, from_z(), steps=self.iterations).x

        def solve(A: _Normal, b: Tensor) -> Tensor:
            return solvers.unrolled(step, from_z(), steps=self.iterations).x

        def adjoint_solve(A: _Normal, g: Tensor) -> Tensor:
            start = solvers.cg_restart(torch.zeros_like(g), g)
            return solvers.unrolled(partial(solvers.cg_step, A), start, steps=self.iterations).x

        return solvers.implicit_linear(normal, B.adjoint(y) + rho * z, solve=solve, adjoint_solve=adjoint_solve)
