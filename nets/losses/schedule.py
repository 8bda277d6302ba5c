"""Schedules that alternate between two losses by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..layers.checks import check_choice

__all__ = ["ALTERNATIONS", "Alternation", "alternation"]


@dataclass(frozen=True, kw_only=True)
class Alternation:
    """Epochs (counted from 0) in which SSIM takes the place of the squared error.

    Attributes
    ----------
    start : int
        Before this epoch it is always the squared error.
    block : int
        Length of a period, epochs; the periods begin at multiples of it.
    first, last : int
        SSIM in these epochs of each period, both included.
    stop : int, optional
        From this epoch on it is always the squared error again.
    """

    start: int
    block: int
    first: int
    last: int
    stop: int | None = None

    def __post_init__(self) -> None:
        if not (self.block >= 1 and 0 <= self.first < self.block and self.last < self.block):
            raise ValueError(f"Alternation: expected 0 <= first, last < block, got {self}")

    def __call__(self, epoch: int) -> str:
        """Return "ssim" or "l2"."""
        inside = epoch >= self.start and (self.stop is None or epoch < self.stop)
        return "ssim" if inside and self.first <= epoch % self.block <= self.last else "l2"


ALTERNATIONS: Mapping[str, Alternation | None] = MappingProxyType(
    {
        "l2": None,
        "gkmnet-paper": Alternation(start=1000, block=1000, first=0, last=499),
        "gkmnet": Alternation(start=1000, block=200, first=0, last=99),
        "gkmnet-first-upload": Alternation(start=2000, block=1000, first=0, last=499, stop=3500),
        "nrknet-paper": None,
        "nrknet": Alternation(start=1000, block=200, first=101, last=199),
        "nrknet-lfdof": Alternation(start=100, block=20, first=11, last=19),
    }
)
"""Schedules by name: those of the papers and those of the released code (without "-paper"). None: no alternation."""


def alternation(name: str, epoch: int) -> str:
    """Return which loss the named schedule takes in an epoch (counted from 0): "ssim" or "l2"."""
    check_choice("alternation", "name", name, tuple(ALTERNATIONS))
    schedule = ALTERNATIONS[name]
    return "l2" if schedule is None else schedule(epoch)
