"""The kernels of GKMNet: fixed Gaussians or learned ones, as operators for given coefficient maps."""

from __future__ import annotations

from math import exp
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

import blurphys as bp

from ...layers.checks import check_choice
from ...layers.precision import exact

__all__ = ["BankKind", "GaussianBank", "Layout", "official_bank"]

BankKind: TypeAlias = Literal["fixed", "gaussian", "random"]
Layout: TypeAlias = Literal["paper", "official"]

COLOURS = 3
MAX_WIDTH = 21
PAPER_COUNT, OFFICIAL_COUNT = 21, 22


def official_bank() -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the 22 kernels of the released code: standard deviations i / 4 px, i = 0..21, and widths in px.

    Returns
    -------
    sigmas : tuple of 22 floats
        0 is the Dirac.
    supports : tuple of 22 ints
        1, three times 3, then twice each odd width from 5 to 21.
    """
    widths = (1, 3, 3, 3, *(m for m in range(5, MAX_WIDTH + 1, 2) for _ in range(2)))
    return tuple(i / 4 for i in range(OFFICIAL_COUNT)), widths


def _one_sided(sigma: float, width: int) -> tuple[float, ...]:
    """Taps of a Gaussian cut to `width`, centre first, zero beyond; with their mirror images they sum to one."""
    values = [exp(-0.5 * (t / sigma) ** 2) if sigma else float(t == 0) for t in range(width // 2 + 1)]
    total = 2 * sum(values) - values[0]
    return (*(v / total for v in values), *(0.0,) * ((MAX_WIDTH - width) // 2))


class GaussianBank(nn.Module):
    """A bank of blur kernels, which makes a blur operator of maps and a channel mix.

    Parameters
    ----------
    kind : {"fixed", "gaussian", "random"}
        "fixed": Gaussians, no parameters, nothing in the state dict. "gaussian" and "random": learned 2-D kernels that
        start as Gaussians, or from Xavier's uniform distribution.
    layout : {"paper", "official"}
        Which kernel belongs to which map. "paper": kernel k belongs to map k for every colour. "official": the released
        code, where map j of colour c (0, 1, 2 for red, green, blue) has kernel (22 c + j) // 3, so that red only sees
        kernels 0 to 7, green 7 to 14 and blue 14 to 21. Fixed kernels, count 22.
    count : {22, 21}
        22 kernels of the released code (see `official_bank`) or 21 of the paper (see `blurphys.gkm_bank`).

    Raises
    ------
    ValueError
        An unknown choice, or the official layout with learned kernels or with another count than 22.

    Notes
    -----
    ``y_d = sum_k maps_k . sum_c mix_dck (g_k * x_c)``, zero beyond the frame, kernels up to 21 px. Fixed kernels are
    separable and fused: O(sum of widths) per pixel, no filtered image is stored.

    Learned kernels are the paper's 21, with a support of their own each: 1 x 1, then two each of 3 x 3, 5 x 5, ...,
    21 x 21, which makes 3541 parameters. With a count of 22, kernel 0 stays the identity and the other 21 are learned,
    beginning with the one of 1 x 1. They need not be symmetric; they are convolved, not correlated.

    References
    ----------
    Quan, Wu, Ji, "Gaussian Kernel Mixture Network for Single Image Defocus Deblurring", NeurIPS 2021, eq. 9 and the
    ablation of the Gaussian convolution module.

    Examples
    --------
    >>> import torch
    >>> bank = GaussianBank(layout="paper", count=21)
    >>> blur = bank.operator(torch.full((1, 21, 32, 40), 1 / 21), torch.eye(3)[:, :, None].expand(3, 3, 21))
    >>> round(float(blur(torch.ones(1, 3, 32, 40))[0, 0, 16, 20]), 5)
    1.0
    """

    def __init__(self, kind: BankKind = "fixed", *, layout: Layout = "official", count: int = OFFICIAL_COUNT) -> None:
        super().__init__()
        check_choice("GaussianBank", "kind", kind, get_args(BankKind))
        check_choice("GaussianBank", "layout", layout, get_args(Layout))
        check_choice("GaussianBank", "count", count, (OFFICIAL_COUNT, PAPER_COUNT))
        if layout == "official" and (kind != "fixed" or count != OFFICIAL_COUNT):
            raise ValueError(
                f"GaussianBank: expected layout 'paper' with {count} kernels of kind {kind!r}, got 'official', which "
                "the released code has for its 22 fixed Gaussians only"
            )
        self.kind, self.layout, self.count = kind, layout, count
        self.sigmas, self.supports = official_bank() if count == OFFICIAL_COUNT else bp.gkm_bank(MAX_WIDTH)
        if kind != "fixed":
            self.sigmas, self.supports = bp.gkm_bank(MAX_WIDTH)
            self.kernels = nn.ParameterList(torch.empty(n, n) for n in self.supports)
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise learned kernels."""
        for kernel, sigma, width in zip(self.kernels, self.sigmas, self.supports, strict=True):
            if self.kind == "random":
                nn.init.xavier_uniform_(kernel[None, None])  # as the filter of one channel that it is
                continue
            half = torch.tensor(_one_sided(sigma, width)[: width // 2 + 1], dtype=torch.float64)
            line = torch.cat([half[1:].flip(0), half])
            with torch.no_grad():
                kernel.copy_(torch.outer(line, line))

    def operator(self, maps: Tensor, mix: Tensor) -> bp.LinearOperator:
        """Return the blur of these maps and this channel mix.

        Parameters
        ----------
        maps : Tensor of shape (B, count, H, W)
        mix : Tensor of shape (3, 3, count)
            Colour out, colour in, kernel.

        Returns
        -------
        LinearOperator
            Of fixed kernels: (3, H, W) to (3, H, W). Of learned ones: on 9 channels, colour out first, each with its
            own weighted kernels; `forward` repeats the image and adds up.
        """
        if self.kind != "fixed":
            psfs = mix.permute(2, 0, 1).flatten(1)[:, :, None, None] * self._stacked(mix)[:, None]
            return bp.PSFStack(psfs, weights=maps, channels=COLOURS * COLOURS, boundary="zero")
        if self.layout == "paper":
            sigmas, supports = self.sigmas, self.supports
            return bp.GKM(maps, sigmas=sigmas, supports=supports, channels=COLOURS, boundary="zero", mix=mix)
        # One width per map, the largest over the colours: the taps of narrower kernels end in zeros.
        widths = tuple(max(self.supports[k] for k in column) for column in zip(*self._order(), strict=True))
        taps = self.taps(maps)
        return bp.SymmetricMixture(maps, taps=taps, supports=widths, channels=COLOURS, boundary="zero", mix=mix)

    def _order(self) -> list[list[int]]:
        """Which kernel belongs to each map, for each colour."""
        if self.layout == "paper":
            return [list(range(self.count))] * COLOURS
        return [[(self.count * c + j) // COLOURS for j in range(self.count)] for c in range(COLOURS)]

    def taps(self, like: Tensor) -> Tensor:
        """One-sided taps of fixed kernels for each colour and map, centre first: (3, count, 11), as `like`."""
        rows = [[_one_sided(self.sigmas[k], self.supports[k]) for k in row] for row in self._order()]
        return torch.tensor(rows, dtype=like.dtype, device=like.device)

    def _stacked(self, like: Tensor) -> Tensor:
        """Learned kernels padded with zeros, (count, 21, 21)."""
        padded = [functional.pad(k, [(MAX_WIDTH - k.shape[-1]) // 2] * 4) for k in self.kernels]
        if self.count == OFFICIAL_COUNT:
            identity = functional.pad(padded[0].new_ones(1, 1), [MAX_WIDTH // 2] * 4)
            padded = [identity, *padded]
        return torch.stack(padded).to(like.dtype)

    def forward(self, image: Tensor, maps: Tensor, mix: Tensor) -> Tensor:
        """Blur an image (B, 3, H, W), see `operator`; in float32 at least, whatever the types that come in."""
        with exact(image) as (x,):
            blur = self.operator(maps.to(x.dtype), mix.to(x.dtype))
            if self.kind == "fixed":
                return blur(x)
            pairs: Tensor = blur(x.repeat(1, COLOURS, 1, 1))
            return pairs.unflatten(1, (COLOURS, COLOURS)).sum(dim=2)

    def extra_repr(self) -> str:
        return f"{self.kind!r}, layout={self.layout!r}, count={self.count}"
