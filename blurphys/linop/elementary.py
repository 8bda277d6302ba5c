"""Operators without arrays: the identity, and the crop of a larger scene to the observed window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ..boundary import extend
from ..files.stored import Span, span_length
from ..frozen import freeze
from ..inputs import require_image_shape, require_integers
from ..types import Array, Shape
from .base import LinearOperator

__all__ = ["Identity", "Window", "margin_pair"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Identity(LinearOperator):
    """The identity. It has no array, so it takes images of any namespace, dtype and device.

    Parameters
    ----------
    shape : (int, int, int)
        (C, H, W) of the image.
    """

    shape: Shape

    def __post_init__(self) -> None:
        freeze(self, shape=require_image_shape("Identity", self.shape))

    @property
    def in_shape(self) -> Shape:
        return self.shape

    @property
    def out_shape(self) -> Shape:
        return self.shape

    @property
    def halo(self) -> int:
        return 0

    @property
    def H(self) -> LinearOperator:
        return self

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        return self._with(shape=(self.shape[0], span_length(rows), span_length(cols)))

    def _forward(self, x: Array) -> Array:
        return x + 0.0

    def _adjoint(self, y: Array) -> Array:
        return y + 0.0

    def _psf_at(self, row: int, col: int) -> Array:
        return np.ones((1, 1))


@final
@dataclass(frozen=True, eq=False, repr=False)
class Window(LinearOperator):
    """The observed window of a larger scene: crops a margin on all sides. It has no array, like `Identity`.

    Parameters
    ----------
    shape : (int, int, int)
        (C, H, W) of the observed image.
    margin : int or (int, int)
        Additional rows above and below, columns left and right, of the scene, px.

    Raises
    ------
    ValueError
        A size that is not positive, a margin that is negative or not an integer.

    Notes
    -----
    The forward operator crops, the adjoint pads with zeros. ``Window(...) @ A`` observes a blur A of the larger scene.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> W = Window((1, 2, 3), margin=1)
    >>> W.in_shape, W.H(np.ones((1, 2, 3)))[0].sum(axis=1).tolist()
    ((1, 4, 5), [0.0, 3.0, 3.0, 0.0])
    """

    shape: Shape
    margin: int | tuple[int, int] = 0

    def __post_init__(self) -> None:
        freeze(self, shape=require_image_shape("Window", self.shape), margin=margin_pair("Window", self.margin))

    @property
    def _sides(self) -> tuple[int, int]:
        return margin_pair("Window", self.margin)

    @property
    def in_shape(self) -> Shape:
        (channels, height, width), (rows, cols) = self.shape, self._sides
        return (channels, height + 2 * rows, width + 2 * cols)

    @property
    def out_shape(self) -> Shape:
        return self.shape

    @property
    def halo(self) -> int:
        """0: each output pixel is one pixel of the scene."""
        return 0

    def _forward(self, x: Array) -> Array:
        (_, height, width), (rows, cols) = self.shape, self._sides
        return x[..., rows : rows + height, cols : cols + width] + 0.0  # a copy

    def _adjoint(self, y: Array) -> Array:
        sides = self._sides
        return extend(y, sides, sides, "zero") if any(sides) else y + 0.0


def margin_pair(owner: str, margin: Any) -> tuple[int, int]:
    """Return a margin as (rows, columns)."""
    values = tuple(margin) if isinstance(margin, (tuple, list)) else (margin, margin)
    pair = require_integers(owner, "margin", values)
    if len(pair) != 2 or min(pair) < 0:
        raise ValueError(f"{owner}: expected a margin >= 0 px, or (rows, columns) of them, got {margin!r}")
    return pair[0], pair[1]
