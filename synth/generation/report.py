"""The report that `generate` and `resume` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blurphys.files.publishing import PathLike

from ..dataset.statistics import Statistics

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `generate` did.

    Attributes
    ----------
    path : Path
        The file or folder.
    samples : int
        How many it holds.
    clamped_share : float
        Share of all pixels whose circle of confusion was beyond the camera's limit and was clamped.
    unknown_share : float
        Share of all pixels without a known depth.
    radius_range : (float, float)
        Least and largest signed radius rendered, px.
    seconds : float
        Time it took.
    made : int
        How many of the samples were made by this call; the others existed already.
    """

    path: Path
    samples: int
    clamped_share: float
    unknown_share: float
    radius_range: tuple[float, float]
    seconds: float
    made: int

    @classmethod
    def of(cls, statistics: Statistics, path: PathLike, *, seconds: float, made: int) -> Report:
        """Report on a dataset of these statistics."""
        return cls(
            path=Path(path), samples=statistics.samples, radius_range=(statistics.low, statistics.high),
            seconds=seconds, made=made, **statistics.shares,
        )  # fmt: skip

    def __str__(self) -> str:
        low, high = self.radius_range
        there = f" ({self.samples - self.made} of them existed already)" if self.made < self.samples else ""
        return (
            f"{self.path}: {self.samples} samples{there} in {self.seconds:.1f} s, CoC radius {low:+.1f} to "
            f"{high:+.1f} px, {self.clamped_share:.2%} of the pixels clamped, {self.unknown_share:.2%} of unknown depth"
        )
