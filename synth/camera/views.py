"""The views that a divided pixel records, and the sets of them that make up the whole pixel."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["HALVES", "PARTS", "QUARTERS", "VIEWS", "check_views", "parts_of"]

VIEWS = ("left", "right", "combined")
HALVES = (("left", "right"), ("top", "bottom"))
QUARTERS = ("top_left", "top_right", "bottom_left", "bottom_right")
PARTS = (*HALVES, QUARTERS)
"""Sets of views whose mean is the combined image."""


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """Return the views as a tuple; ValueError unless they are one of the sets that `synth.render` knows."""
    chosen = () if isinstance(views, str) else tuple(views)
    if len(set(chosen)) != len(chosen) or (chosen != ("combined",) and not parts_of(chosen)):
        known = ", ".join("+".join(part) for part in PARTS)
        raise ValueError(f"render: expected views combined, or {known}, each with or without combined, got {views!r}")
    return chosen


def parts_of(views: Sequence[str]) -> tuple[str, ...]:
    """Return the set of `PARTS` among these views; empty where there is none."""
    apart = set(views) - {"combined"}
    return next((part for part in PARTS if apart == set(part)), ())
