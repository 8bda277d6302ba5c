"""What was made, and what of it was clamped: counted sample by sample, and held against the limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blurphys.files.publishing import PathLike

from ..rendering.render import Sample
from .recipe import Recipe
from .samples import foreseen_clamping

__all__ = ["Report", "Tally", "check_clamping", "check_foreseen"]


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
        How many of the samples were made now; the others were there already.
    """

    path: Path
    samples: int
    clamped_share: float
    unknown_share: float
    radius_range: tuple[float, float]
    seconds: float
    made: int

    def __str__(self) -> str:
        low, high = self.radius_range
        there = f" ({self.samples - self.made} of them were there already)" if self.made < self.samples else ""
        return (
            f"{self.path}: {self.samples} samples{there} in {self.seconds:.1f} s, CoC radius {low:+.1f} to "
            f"{high:+.1f} px, {self.clamped_share:.2%} of the pixels clamped, {self.unknown_share:.2%} of unknown depth"
        )


@dataclass
class Tally:
    """Counts over samples, which add up over shards."""

    samples: int = 0
    pixels: int = 0
    clamped: int = 0
    unknown: int = 0
    low: float = float("inf")
    high: float = -float("inf")

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.samples += 1
        self.pixels += sample.valid.size
        self.clamped += int(sample.parameters["clamped_pixels"])
        self.unknown += int(sample.parameters["unknown_pixels"])
        self.low = min(self.low, float(sample.defocus_map.min()))
        self.high = max(self.high, float(sample.defocus_map.max()))

    def merge(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.samples += other.samples
        self.pixels += other.pixels
        self.clamped += other.clamped
        self.unknown += other.unknown
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def check(self, limit: float | None) -> None:
        """Raise ValueError where a larger share of the pixels of known depth was clamped than `limit`."""
        check_clamping(self.clamped, self.pixels - self.unknown, limit)

    def report(self, path: PathLike, seconds: float, made: int) -> Report:
        """Turn it into what people read."""
        return Report(
            path=Path(path),
            samples=self.samples,
            clamped_share=self.clamped / self.pixels,
            unknown_share=self.unknown / self.pixels,
            radius_range=(self.low, self.high),
            seconds=seconds,
            made=made,
        )


def check_clamping(clamped: int, known: int, limit: float | None, *, ahead: bool = False) -> None:
    """Raise ValueError where more than the share `limit` of the pixels of known depth are clamped; None allows any."""
    if limit is not None and clamped > limit * known:
        verb = "will be" if ahead else "were"
        raise ValueError(
            f"generate: {clamped / max(known, 1):.1%} of the pixels of known depth {verb} clamped to the camera's "
            f"largest blur radius, more than the {limit:.1%} allowed; raise max_radius, stop the lens down, fit the "
            "camera to the scenes, or raise max_clamped"
        )


def check_foreseen(recipe: Recipe, limit: float | None) -> None:
    """Look at some samples before anything is written; ValueError where they cannot be made, or clamp too much."""
    known, clamped = foreseen_clamping(recipe)
    check_clamping(clamped, known, limit, ahead=True)
