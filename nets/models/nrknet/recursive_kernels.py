"""The kernels of NRKNet, and those of its ablations; each one makes an operator of coefficient maps.

| class | kernels after the Dirac | free values (colours share them / have their own) for 20 atoms; for 21 atoms |
|---|---|---|
| `RecursiveKernels` | atom j convolved with the kernel before, support 2 j + 1 | 60 / 120; 63 / 126 |
| `GaussianKernels` | fixed Gaussians, sigma j / 4 px | none |
| `SeparableKernels` | a symmetric line of 2 j + 1 taps times itself | 230 / 690; 252 / 756 |
| `FullKernels` | (2 j + 1)^2 taps | 12 340 / 9 930; 14 189 / 11 382 |

The paper counts 60, 9261 (its Gaussians as 21 arrays of 21 x 21), 440 (lines of 2 j + 1 taps; a symmetric one has
j + 1 free values) and 12 340. Where the colours have kernels of their own, the lines and arrays are symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

import blurphys as bp

__all__ = [
    "AffineBlur",
    "Blur",
    "ColourPairs",
    "FullKernels",
    "GaussianKernels",
    "RecursiveKernels",
    "SeparableKernels",
]

COLOURS = 3


class RecursiveKernels(nn.Module):
    """Recursive kernel representation: kernel j is kernel j - 1 convolved with a separable 3 x 3 atom.

    Parameters
    ----------
    atoms : int
        How many, J - 1.
    shared : bool
        False: symmetric taps for each colour, softmax of (p, q, p). True: three free taps, softmax, for all colours.

    Notes
    -----
    The free values start uniform in [0, 1), so that each atom is close to the box of three.
    """

    def __init__(self, atoms: int, *, shared: bool) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.rand((atoms, 3) if shared else (atoms, COLOURS, 2)))
        self.shared, self.halo, self.extension = shared, atoms, 1

    def taps(self) -> Tensor:
        """Return the taps of the atoms, (J-1, 3) or (J-1, colours, 3): positive, of sum one."""
        values = self.values if self.shared else torch.cat([self.values, self.values[..., :1]], dim=-1)
        return torch.softmax(values, dim=-1)

    def operator(self, gamma: Tensor, mix: Tensor | None) -> bp.LinearOperator:
        """Return the blur with the coefficient maps (B, J, H, W) and the channel mix (3, 3, J)."""
        return bp.RKR(gamma, atoms=self.taps().to(gamma.dtype), channels=COLOURS, stagewise=True, mix=mix)


class GaussianKernels(nn.Module):
    """Fixed Gaussians of standard deviation j / 4 px, cut at about two of these; nothing to learn.

    Parameters
    ----------
    atoms : int
        How many after the Dirac.
    shared : bool
        Which supports: False as in the code of GKMNet (three of 3 px, then two of each odd size), True as in its paper
        (two of each odd size).
    """

    def __init__(self, atoms: int, *, shared: bool) -> None:
        super().__init__()
        order = range(1, atoms + 1)
        self.sigmas = (0.0, *(j / 4 for j in order))
        self.supports = (1, *(2 * ((j + 1) // 2) + 1 if shared else max(3, 2 * (j // 2) + 1) for j in order))
        self.halo = self.extension = max(self.supports) // 2

    def operator(self, gamma: Tensor, mix: Tensor | None) -> bp.LinearOperator:
        """Return the blur with the coefficient maps (B, J, H, W) and the channel mix (3, 3, J)."""
        return bp.GKM(gamma, sigmas=self.sigmas, supports=self.supports, channels=COLOURS, mix=mix)


class SeparableKernels(nn.Module):
    """Separable kernels that are not recursive: symmetric lines of 3, 5, 7, ... taps, each times itself.

    Parameters
    ----------
    atoms : int
        How many after the Dirac.
    shared : bool
        Whether the colours share them.

    Notes
    -----
    Two-sided taps are the softmax of the mirrored free values, which start uniform in [0, 1).
    """

    def __init__(self, atoms: int, *, shared: bool) -> None:
        super().__init__()
        colours = 1 if shared else COLOURS
        self.values = nn.ParameterList([nn.Parameter(torch.rand(colours, j + 1)) for j in range(1, atoms + 1)])
        self.halo = self.extension = atoms

    def taps(self) -> Tensor:
        """Return the one-sided taps, centre first, the Dirac before the others: (1 or colours, J, J)."""
        values = list(self.values)
        lines = [torch.softmax(torch.cat([v[:, 1:].flip(-1), v], dim=-1), dim=-1)[:, v.shape[-1] - 1 :] for v in values]
        lines.insert(0, torch.ones_like(values[0][:, :1]))
        return torch.stack([functional.pad(line, (0, self.halo + 1 - line.shape[-1])) for line in lines], dim=1)

    def operator(self, gamma: Tensor, mix: Tensor | None) -> bp.LinearOperator:
        """Return the blur with the coefficient maps (B, J, H, W) and the channel mix (3, 3, J)."""
        taps = self.taps().to(gamma.dtype)
        taps = taps[0] if taps.shape[0] == 1 else taps
        supports = tuple(range(1, 2 * self.halo + 2, 2))
        return bp.SymmetricMixture(gamma, taps=taps, supports=supports, channels=COLOURS, mix=mix)


class FullKernels(nn.Module):
    """Kernels of 3 x 3, 5 x 5, 7 x 7, ... free taps, positive and of sum one by a softmax.

    Parameters
    ----------
    atoms : int
        How many after the Dirac.
    shared : bool
        True: one array of (2 j + 1)^2 taps for all colours. False: for each colour the (j + 1)^2 values of a quadrant,
        which is added to its transpose and mirrored.
    """

    def __init__(self, atoms: int, *, shared: bool) -> None:
        super().__init__()
        sizes = [(1, 2 * j + 1, 2 * j + 1) if shared else (COLOURS, j + 1, j + 1) for j in range(1, atoms + 1)]
        self.values = nn.ParameterList([nn.Parameter(torch.rand(size)) for size in sizes])
        self.shared = shared
        self.halo = self.extension = atoms

    def psfs(self) -> Tensor:
        """Return the kernels in the middle of squares, the Dirac first: (J, 1 or colours, 2 J - 1, 2 J - 1)."""
        values = list(self.values)
        stack = [torch.ones_like(values[0][:, :1, :1])]
        for v in values:
            if not self.shared:
                v = v + v.mT
                v = torch.cat([v[:, 1:].flip(1), v], dim=1)
                v = torch.cat([v[..., 1:].flip(2), v], dim=2)
            stack.append(torch.softmax(v.flatten(1), dim=-1).reshape(v.shape))
        return torch.stack([functional.pad(p, [self.halo - p.shape[-1] // 2] * 4) for p in stack])

    def operator(self, gamma: Tensor, mix: Tensor | None) -> bp.LinearOperator:
        """Return the blur with the coefficient maps (B, J, H, W) and the channel mix (3, 3, J)."""
        psfs = self.psfs().to(gamma.dtype)
        if mix is None:
            psfs = psfs.expand(-1, COLOURS, -1, -1)
            return bp.PSFStack(psfs.contiguous(), weights=gamma, channels=COLOURS)
        pairs = mix.permute(2, 0, 1)[..., None, None] * psfs[:, None]  # (J, out, in, size, size)
        return ColourPairs(bp.PSFStack(pairs.flatten(1, 2), weights=gamma, channels=COLOURS * COLOURS))


@final
@dataclass(frozen=True, eq=False, repr=False)
class ColourPairs(bp.LinearOperator):
    """Sum, for each colour out, of a blur of each colour in.

    Parameters
    ----------
    blur : LinearOperator
        On nine planes, one for each pair of colours: the one out counts first.
    """

    blur: bp.LinearOperator

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (COLOURS, *self.blur.in_shape[-2:])

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.in_shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.blur.batch_shape

    @property
    def like(self) -> Tensor:
        return self.blur.like

    @property
    def halo(self) -> int | None:
        return self.blur.halo

    def _forward(self, x: Tensor) -> Tensor:
        pairs = x.unsqueeze(-4).expand(*x.shape[:-3], COLOURS, *x.shape[-3:])
        return self.blur(pairs.flatten(-4, -3)).unflatten(-3, (COLOURS, COLOURS)).sum(-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        pairs = y.unsqueeze(-3).expand(*y.shape[:-2], COLOURS, *y.shape[-2:])
        return self.blur.adjoint(pairs.flatten(-4, -3)).unflatten(-3, (COLOURS, COLOURS)).sum(-4)


@dataclass(frozen=True, eq=False)
class AffineBlur:
    """A linear blur and a constant for each colour, as a function of an image.

    Attributes
    ----------
    linear : LinearOperator
        What decides whether the Neumann series converges: hand this to `blurphys.certificate`.
    bias : Tensor of shape (3,), or None
    """

    linear: bp.LinearOperator
    bias: Tensor | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """Return the blurred image, (B, 3, H, W)."""
        blurred = self.linear(image)
        return blurred if self.bias is None else blurred + self.bias[:, None, None]


class Blur(nn.Module):
    """Kernels, and the mix of the colours after each of them: coefficient maps in, a blur out.

    Parameters
    ----------
    kernels : Module
        One of the classes here.
    maps : int
        J, the number of its kernels, the Dirac among them.
    mixed : bool
        Whether every colour out sees every colour in, with a weight for each kernel and a constant (`mix` and `bias`,
        drawn like those of a 1 x 1 convolution over the 3 J filtered planes). Otherwise the colours stay apart.
    """

    def __init__(self, kernels: nn.Module, maps: int, *, mixed: bool) -> None:
        super().__init__()
        self.kernels = kernels
        bound = (COLOURS * maps) ** -0.5
        for name, shape in (("mix", (COLOURS, COLOURS, maps)), ("bias", (COLOURS,))):
            weights = nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) if mixed else None
            self.register_parameter(name, weights)

    def forward(self, gamma: Tensor) -> AffineBlur:
        """Return the blur of the coefficient maps (B, J, H, W), in their precision."""
        if self.mix is None or self.bias is None:
            return AffineBlur(self.kernels.operator(gamma, None))
        return AffineBlur(self.kernels.operator(gamma, self.mix.to(gamma.dtype)), self.bias.to(gamma.dtype))
