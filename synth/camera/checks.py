"""Checks of the numbers and arrays of sensors, mosaics and tone curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from blurphys.inputs import require_integer

__all__ = [
    "MAX_BITS",
    "check_bits",
    "check_image",
    "check_keys",
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
    """Return `bits` as an int; ValueError unless it is an integer from 1 to `MAX_BITS`."""
    number = require_integer(owner, "bits", bits)
    if number > MAX_BITS:
        raise ValueError(f"{owner}: expected bits to be an integer from 1 to {MAX_BITS}, got {bits!r}")
    return number


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
