"""The schema of a dataset file: its arrays, what they mean, and how they are stored.

Schema ``blurphys-dataset``, version 1. N samples of H x W pixels, all of one size:

=================  ==============  ================  ==================================================================
dataset            shape           type              meaning
=================  ==============  ================  ==================================================================
``all_in_focus``   (N, 3, H, W)    float32, float16  white is 1, linear light unless ``transfer_function`` says more
``combined``       (N, 3, H, W)    float32, float16  what the lens records: (left + right) / 2 of the noisy views
``left, right``    (N, 3, H, W)    float32, float16  dual-pixel views, each with the exposure of ``combined``
``top, bottom``    (N, 3, H, W)    float32, float16  the same, divided the other way
``top_left, ...``  (N, 3, H, W)    float32, float16  the four views of a quad pixel
``defocus_map``    (N, H, W)       float32           signed CoC radius in px, positive behind focus, as it was rendered
``depth_m``        (N, H, W)       float32           metres along the optical axis, NaN where unknown
``valid``          (N, H, W)       uint8             1 where the depth is known and its CoC radius was not clamped
``alpha``          (N, L, H, W)    uint8             255 where a layer covers the pixel, front layer first; no photos
``parameters/*``   (N,)            int64, float64    one column per parameter drawn or counted for a sample
``crc32/*``        (N,)            uint32            CRC-32 of each array of a sample, as its bytes are stored
=================  ==============  ================  ==================================================================

One set of views stands there, or none beside ``combined``, which may be missing where they are there. Every array has
the attributes ``axes``, ``units`` and ``description``. Attributes of the file: ``format``, ``version``, ``generator``,
``model``, ``transfer_function``, ``defocus_convention``, ``view_normalisation``, ``seed`` and ``configuration``, a
JSON object with the camera, the scenes and the arguments, from which, with ``parameters``, each sample can be
rendered again. Axes run (sample, channel R G B, row, column). All data carry Fletcher-32 checksums and no time
stamps. Readers ignore datasets, columns and attributes they do not know, and refuse another version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "CHECKSUMS",
    "CONFIG",
    "FIELDS",
    "FOLDER_FORMAT",
    "FOLDER_VERSION",
    "FORMAT",
    "MAX_SAMPLES",
    "RECORDED",
    "TRUTH",
    "VERSION",
    "VIRTUAL",
    "Field",
    "Header",
    "Row",
    "digest_of",
    "field_of",
    "shard_name",
]

FORMAT = "blurphys-dataset"
VERSION = 1
CHECKSUMS = "crc32"
FOLDER_FORMAT, FOLDER_VERSION = "blurphys-dataset-folder", 1
CONFIG, VIRTUAL = "config.json", "dataset.h5"
MAX_SAMPLES = 1 << 40


class Field(NamedTuple):
    """An array of the schema, as its attributes in the file describe it."""

    axes: str
    units: str
    description: str

    @property
    def is_image(self) -> bool:
        """Whether it has three colours."""
        return "channel" in self.axes

    @property
    def is_mask(self) -> bool:
        """Whether it is stored in bytes: 1 for yes, or 255 for all of a pixel."""
        return self.units in ("1", "1/255")

    def shape(self, size: tuple[int, int], layers: int = 0) -> tuple[int, ...]:
        """Return the shape of one sample of height and width `size`."""
        return (3, *size) if self.is_image else (layers, *size) if "layer" in self.axes else size

    def dtype(self, images: str) -> np.dtype[Any]:
        """Return the type that it is stored in, where images are stored in the type `images`."""
        return np.dtype("u1" if self.is_mask else images if self.is_image else "float32")

    def encode(self, array: np.ndarray) -> np.ndarray:
        """Return the numbers that are stored, before they are cast."""
        return np.rint(array * 255) if self.units == "1/255" else array

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Return what was stored: bool, or float32."""
        values = stored.astype(bool if self.units == "1" else np.float32, copy=False)
        return values / np.float32(255) if self.units == "1/255" else values


class Row(NamedTuple):
    """A sample as it is stored: its arrays by the names of the schema, and its parameters."""

    arrays: Mapping[str, np.ndarray]
    parameters: Mapping[str, float | int]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What all samples of a file have in common, as `synth.dataset.writer.writing` takes it."""

    shape: tuple[int, int]
    names: tuple[str, ...]
    layers: int
    model: str
    transfer: str
    seed: int
    configuration: Mapping[str, Any]


_IMAGE = ("sample channel row column", "white = 1, by the transfer function of the file")
_PLANE = "sample row column"
FIELDS: dict[str, Field] = {
    "all_in_focus": Field(*_IMAGE, "what a pinhole camera would record"),
    "combined": Field(*_IMAGE, "all parts of the pixel together; the mean of the views where they are stored"),
    "left": Field(*_IMAGE, "left dual-pixel view"),
    "right": Field(*_IMAGE, "right dual-pixel view"),
    "top": Field(*_IMAGE, "top dual-pixel view"),
    "bottom": Field(*_IMAGE, "bottom dual-pixel view"),
    "top_left": Field(*_IMAGE, "top left view of a quad pixel"),
    "top_right": Field(*_IMAGE, "top right view of a quad pixel"),
    "bottom_left": Field(*_IMAGE, "bottom left view of a quad pixel"),
    "bottom_right": Field(*_IMAGE, "bottom right view of a quad pixel"),
    "defocus_map": Field(_PLANE, "px", "signed radius of the circle of confusion, positive behind the plane of focus"),
    "depth_m": Field(_PLANE, "m", "distance along the optical axis, NaN where unknown"),
    "valid": Field(_PLANE, "1", "1 where the depth is known and its circle of confusion was not clamped"),
    "alpha": Field(
        "sample layer row column",
        "1/255",
        "share of the pixel that each layer covers, also where nearer ones hide it",
    ),
}

TRUTH = "all_in_focus"
RECORDED = tuple(name for name, field in FIELDS.items() if field.is_image and name != TRUTH)
"""The images that a camera records: the views, and combined."""
_ROLES = {"sharp": TRUTH, "centre": "combined", "center": "combined"}


def field_of(role: str, view: str = "combined") -> str:
    """Return the array of a sample that has a role.

    Parameters
    ----------
    role : str
        "image" (what is to be deblurred), "sharp" (the truth), "centre" or "center" (the combined image, whatever
        `view` is), or the name of an array, which is returned.
    view : str
        The recorded image whose role is "image".

    Returns
    -------
    str
        A key of `FIELDS`, unless `role` is a name that the schema does not know.
    """
    return view if role == "image" else _ROLES.get(role, role)


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:05d}.h5"


def digest_of(sums: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]) -> str:
    """Hash the checksums of all arrays and all parameters of a file."""
    hasher = sha256()
    for kind in (sums, columns):
        for name in sorted(kind):
            hasher.update(name.encode() + b"\0" + np.ascontiguousarray(kind[name]).tobytes())
    return hasher.hexdigest()
