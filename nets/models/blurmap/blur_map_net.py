"""The network that sees how blurred every cell of a photo is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from blurphys.inputs import require_integer, require_number

from ...net import Net, Outputs, check_images, pad_to_multiple

__all__ = ["CELL", "BlurMapNet"]

CELL = 8
"""Side of a cell, px."""

COARSE = 2 * CELL
"""Pixels of the coarsest level; photos are padded to multiples of it, and tiles begin on multiples of it."""

LEAST = 16
"""Smallest height and width, px."""

FLOOR = 0.01
"""Added to the local standard deviation that contrasts are divided by: 2.5 of 255."""

TINY = 1e-8
"""Least variance, so that the root has a gradient."""

ENERGY = 1e-3
"""Added to the energies of features before their logarithm."""

LEVEL, SPREAD = 3.0, 0.5
"""Centres of the two channels that tell contrast (minus its logarithm) and brightness."""


class BlurMapNet(Net):
    """Estimate from one photo how probable every radius of defocus is, in cells of 8 x 8 px.

    Parameters
    ----------
    widths : sequence of four int
        Channels at 1/2, 1/4, 1/8 and 1/16 of the size.
    depths : sequence of four int
        Residual 3 x 3 convolutions at these sizes, after the one of the stem; those at 1/8 come half before and half
        after the coarser level is added.
    max_radius, step : float
        The radii are 0, step, .. max_radius, px.

    Raises
    ------
    ValueError
        An argument out of range.

    Notes
    -----
    Colours enter as their difference from the local mean, divided by the local standard deviation plus 0.01, with the
    logarithm of that divisor and the local brightness as two more channels. Convolutions, no normalisation: a cell
    depends on the photo within `reach` only. The logarithms of the mean squares of early features enter the later ones:
    how energy is divided among frequencies tells the blur. Default: 384 k parameters, 5.0 GMAC a megapixel.

    Examples
    --------
    >>> import torch, nets
    >>> net = nets.BlurMapNet(widths=(4, 4, 4, 4))
    >>> net(torch.rand(1, 3, 50, 60)).shape  # 17 radii; 7 x 8 cells
    torch.Size([1, 17, 7, 8])
    """

    name = "blurmap"
    restores = False
    multiple = COARSE

    def __init__(
        self,
        *,
        widths: Sequence[int] = (20, 40, 72, 96),
        depths: Sequence[int] = (0, 1, 3, 2),
        max_radius: float = 8.0,
        step: float = 0.5,
    ) -> None:
        widths, depths = (_four(name, v, least) for name, v, least in (("widths", widths, 1), ("depths", depths, 0)))
        max_radius = require_number("BlurMapNet", "max_radius", max_radius, above=0, unit="px")
        step = require_number("BlurMapNet", "step", step, above=0, unit="px")
        count = round(max_radius / step)
        if count < 1 or abs(count * step - max_radius) > 1e-6:
            raise ValueError(
                f"BlurMapNet: expected max_radius to be a multiple of step, got {max_radius:g} and {step:g} px"
            )
        super().__init__(widths=list(widths), depths=list(depths), max_radius=max_radius, step=step)
        self.depths, self.max_radius, self.step = depths, max_radius, step
        half, quarter, eighth, coarse = widths
        self.stem = nn.Conv2d(3 * 4 + 2, half, 3, padding=1)
        self.at_half = _residuals(half, depths[0])
        self.to_quarter = nn.Conv2d(half, quarter, 2, stride=2)
        self.at_quarter = _residuals(quarter, depths[1])
        self.to_eighth = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.from_energies = nn.Conv2d(half + quarter, eighth, 1)
        self.before = _residuals(eighth, depths[2] - depths[2] // 2)
        self.to_coarse = nn.Conv2d(eighth, coarse, 2, stride=2)
        self.at_coarse = _residuals(coarse, depths[3])
        self.from_coarse = nn.Conv2d(coarse, eighth, 1)
        self.after = _residuals(eighth, depths[2] // 2)
        self.head = nn.Conv2d(eighth, eighth, 1)
        self.scores = nn.Conv2d(eighth, count + 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    @property
    def reach(self) -> int:
        half, quarter, eighth, coarse = self.depths
        # The local means reach two cells further, and a cell lies anywhere in one of 1/16.
        return 2 * (1 + half) + 4 * quarter + 8 * eighth + 16 * coarse + 2 * CELL + COARSE

    @property
    def radii(self) -> Tensor:
        """The radii of the distribution, (bins,), px."""
        return self.step * torch.arange(self.scores.out_channels, dtype=self.scores.weight.dtype)

    def forward(self, photo: Tensor) -> Tensor:
        """Estimate the distribution over radii.

        Parameters
        ----------
        photo : Tensor of shape (B, 3, H, W)
            Display values in [0, 1], at least 16 x 16 px.

        Returns
        -------
        Tensor of shape (B, bins, ceil(H / 8), ceil(W / 8))
            Probabilities of `radii` in every cell; they sum to one.
        """
        return self.log_scores(photo).softmax(dim=1)

    def log_scores(self, photo: Tensor) -> Tensor:
        """Return the logarithms of the probabilities up to a constant in each cell, shaped as in `forward`."""
        check_images("BlurMapNet", photo, least=LEAST, net=self)
        cells = tuple(-(-n // CELL) for n in photo.shape[-2:])
        x = self.stem(_contrasts(pad_to_multiple(photo, self.multiple)))
        half = self.at_half(x)
        quarter = self.at_quarter(self.to_quarter(torch.relu(half)))
        energies = self.from_energies(torch.cat([_log_energy(half, 4), _log_energy(quarter, 2)], dim=1))
        x = self.before(self.to_eighth(torch.relu(quarter)) + energies)
        coarse = self.at_coarse(self.to_coarse(torch.relu(x)))
        coarse = self.from_coarse(torch.relu(coarse))
        x = self.after(x + functional.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        found: Tensor = self.scores(torch.relu(self.head(torch.relu(x))))
        return found[..., : cells[0], : cells[1]]

    def outputs(self, image: Tensor, sharp: Tensor | None = None) -> Outputs:
        """Return the logarithms of the probabilities as the image of `Outputs`."""
        return Outputs(self.log_scores(image))


def _four(name: str, values: Sequence[int], least: int) -> tuple[int, ...]:
    if isinstance(values, str) or len(list(values)) != 4:
        raise ValueError(f"BlurMapNet: expected four {name}, for 1/2, 1/4, 1/8 and 1/16 of the size, got {values!r}")
    return tuple(require_integer("BlurMapNet", name, value, least) for value in values)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(torch.relu(x))
        return x + 0.5 * y


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels) for _ in range(count)))


def _contrasts(photo: Tensor) -> Tensor:
    """Return local contrasts of the four pixels of a half-size pixel, their scale, and the brightness, (B, 14, ...)."""
    mean = _smooth(functional.avg_pool2d(photo, CELL))
    square = _smooth(functional.avg_pool2d(photo * photo, CELL))
    spread = (square - mean * mean).clamp_min(TINY).mean(dim=1, keepdim=True).sqrt() + FLOOR
    around = torch.cat([mean, spread], dim=1)
    around = functional.interpolate(around, scale_factor=CELL / 2, mode="bilinear", align_corners=False)
    mean, spread = around[:, :3], around[:, 3:]
    pixels = functional.pixel_unshuffle(photo, 2)
    contrast = (pixels - mean.repeat_interleave(4, dim=1)) / spread
    return torch.cat([contrast, spread.log() + LEVEL, mean.mean(dim=1, keepdim=True) - SPREAD], dim=1)


def _log_energy(features: Tensor, size: int) -> Tensor:
    """Return the logarithm of the mean squares in every cell: their ratios tell how steep the spectrum is."""
    return (functional.avg_pool2d(features * features, size) + ENERGY).log()


def _smooth(cells: Tensor) -> Tensor:
    """Return means over 3 x 3 cells, of fewer at the border."""
    return functional.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
