"""Statistics of samples: how many pixels were clamped or of unknown depth, and the range of the radii."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = ["Statistics", "check_clamping"]


@dataclass
class Statistics:
    """Counts over samples, which add up over shards; `low` and `high` are the range of the radii, px."""

    samples: int = 0
    pixels: int = 0
    clamped: int = 0
    unknown: int = 0
    low: float = float("inf")
    high: float = -float("inf")

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Statistics:
        """Return the statistics in a line of a manifest."""
        return cls(**{field.name: line[field.name] for field in fields(cls)})

    def add(self, radii: np.ndarray, parameters: Mapping[str, float | int]) -> None:
        """Count one sample, by its defocus map and its parameters."""
        self.merge(
            Statistics(
                1, radii.size, int(parameters["clamped_pixels"]), int(parameters["unknown_pixels"]),
                float(radii.min()), float(radii.max()),
            )
        )  # fmt: skip

    def merge(self, other: Statistics) -> None:
        """Add the counts of other samples."""
        self.samples += other.samples
        self.pixels += other.pixels
        self.clamped += other.clamped
        self.unknown += other.unknown
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def shares(self) -> dict[str, float]:
        """Shares of all pixels, by name: those whose radius was clamped, and those without a known depth."""
        return {"clamped_share": self.clamped / self.pixels, "unknown_share": self.unknown / self.pixels}

    def check(self, limit: float | None) -> None:
        """Raise ValueError where a larger share of the pixels of known depth was clamped than `limit`."""
        check_clamping(self.clamped, self.pixels - self.unknown, limit)


def check_clamping(clamped: int, known: int, limit: float | None, *, ahead: bool = False) -> None:
    """Raise ValueError where more than the share `limit` of the pixels of known depth are clamped; None allows any."""
    if limit is not None and clamped > limit * known:
        verb = "will be" if ahead else "were"
        raise ValueError(
            f"generate: {clamped / max(known, 1):.1%} of the pixels of known depth {verb} clamped to the camera's "
            f"largest blur radius, more than the {limit:.1%} allowed; raise max_radius, stop the lens down, fit the "
            "camera to the scenes, or raise max_clamped"
        )
