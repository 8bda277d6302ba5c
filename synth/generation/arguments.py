"""Checks of the arguments of `synth.generate`: whole numbers and pairs of them."""

from __future__ import annotations

import operator
from collections.abc import Iterable

__all__ = ["height_and_width", "whole_number"]


def whole_number(name: str, value: object) -> int:
    """Return `value` as an int; TypeError unless it is a whole number."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"generate: expected {name} as a whole number, got {value!r}")


def height_and_width(name: str, value: Iterable[object]) -> tuple[int, int]:
    """Return two whole numbers; TypeError for anything else."""
    try:
        height, width = (whole_number(name, number) for number in value)
    except (TypeError, ValueError):
        raise TypeError(f"generate: expected {name} as (height, width), two whole numbers, got {value!r}") from None
    return height, width
