"""The views that a divided pixel records, and the sets of them that make up the whole pixel."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DUAL_PIXEL", "QUAD_PIXEL", "SUB_APERTURES", "VIEWS", "check_views", "sub_apertures_of"]

VIEWS = ("left", "right", "combined")
DUAL_PIXEL = (("left", "right"), ("top", "bottom"))
QUAD_PIXEL = ("top_left", "top_right", "bottom_left", "bottom_right")
SUB_APERTURES = (*DUAL_PIXEL, QUAD_PIXEL)
"""Sets of views whose mean is the combined image."""


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """Return the views as a tuple; ValueError unless they are one of the sets that `synth.render` knows."""
    chosen = () if isinstance(views, str) else tuple(views)
    if len(set(chosen)) != len(chosen) or (chosen != ("combined",) and not sub_apertures_of(chosen)):
        known = ", ".join("+".join(part) for part in SUB_APERTURES)
        raise ValueError(f"render: expected views combined, or {known}, each with or without combined, got {views!r}")
    return chosen


def sub_apertures_of(views: Sequence[str]) -> tuple[str, ...]:
    """Return the set of `SUB_APERTURES` among these views; empty where there is none."""
    apart = set(views) - {"combined"}
    return next((part for part in SUB_APERTURES if apart == set(part)), ())
