"""Checks of the numbers and arrays of sensors, mosaics and tone curves."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "MAX_BITS",
    "check_bits",
    "check_image",
    "check_keys",
    "check_number",
    "check_one_of",
    "describe_value",
    "to_float64",
]

MAX_BITS = 24


def check_image(owner: str, image: np.ndarray) -> None:
    """ValueError unless `image` has floats and the shape (3, H, W)."""
    good = isinstance(image, np.ndarray) and image.ndim == 3 and np.issubdtype(image.dtype, np.floating)
    if not (good and image.shape[0] == 3 and image.size):
        raise ValueError(
            f"{owner}: expected floats of shape (3, H, W) in linear light, got {describe_value(image)}; is the image "
            "channels-last, or are these the integers of a file?"
        )


def to_float64(owner: str, image: np.ndarray) -> np.ndarray:
    """Return `image` in double precision; ValueError unless it is an array of floats."""
    if not (isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating)):
        raise ValueError(f"{owner}: expected an array of floats with white at 1, got {describe_value(image)}")
    doubles: np.ndarray = image.astype(np.float64)
    return doubles


def describe_value(value: Any) -> str:
    """Return dtype and shape of an array, or the type of anything else."""
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__}"


def check_bits(owner: str, bits: Any) -> int:
    """Return `bits` as an int; ValueError unless it is a whole number from 1 to `MAX_BITS`."""
    try:
        number = 0 if isinstance(bits, bool) else operator.index(bits)
    except TypeError:
        number = 0
    if not 1 <= number <= MAX_BITS:
        raise ValueError(f"{owner}: expected bits to be a whole number from 1 to {MAX_BITS}, got {bits!r}")
    return number


def check_number(owner: str, name: str, value: Any) -> float:
    """Return `value` as a float; ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{owner}: expected {name} to be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{owner}: expected {name} to be finite, got {value!r}")
    return float(value)


def check_one_of(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """ValueError unless `value` is among the choices."""
    if value not in choices:
        raise ValueError(f"{owner}: expected {name} to be one of {', '.join(choices)}, got {value!r}")


def check_keys(owner: str, description: Any, names: set[str]) -> dict[str, Any]:
    """Return the description as a dict; ValueError for anything but a mapping whose keys are among `names`."""
    if not isinstance(description, Mapping):
        raise ValueError(f"{owner}: expected a mapping of {', '.join(sorted(names))}, got {type(description).__name__}")
    unknown = sorted(str(key) for key in description if key not in names)
    if unknown:
        raise ValueError(
            f"{owner}: unknown key {', '.join(map(repr, unknown))}; expected keys among {', '.join(sorted(names))}"
        )
    return dict(description)
