"""The operator for a window of the frame, which `tiled`, `crop` and maps on disk need."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, final

from ..files.stored import Span, is_stored, read_window
from ..frozen import freeze

if TYPE_CHECKING:
    from .base import LinearOperator

__all__ = ["Windowed"]


class Windowed:
    """The part of `LinearOperator` from which `tiled`, `crop` and `unknown_boundary` get the operator of a window.

    An operator in which nothing but the maps depends on the pixel names them in `_maps`; others override `_cut`.
    """

    _maps: ClassVar[str | None] = None
    """Name of the field that holds the maps (..., H, W); None if there are none, or if `_cut` deals with them."""

    @property
    def _on_disk(self) -> bool:
        """Whether the maps are an HDF5 dataset: then only windows of the operator can be applied."""
        return self._maps is not None and is_stored(getattr(self, self._maps))

    @property
    def _has_windows(self) -> bool:
        """Whether the operator of a window can be made."""
        return self._maps is not None or type(self)._cut is not Windowed._cut

    def _map_numbers(self) -> float:
        """How many numbers the maps hold for each pixel of the frame."""
        if self._maps is None:
            return 0
        return prod(getattr(self, self._maps).shape) / prod(cast("LinearOperator", self).in_shape[-2:])

    @final
    def _window(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        """Return the operator of a window of the frame: correct further than the halo from the edges of the window.

        `done` holds the windows that have been made already, by the id of their operator, so that the maps of
        ``A.H @ A`` are read once.
        """
        if id(self) not in done:
            done[id(self)] = self._cut(rows, cols, done)
        return done[id(self)]

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        if self._maps is None:
            raise NotImplementedError(f"{type(self).__name__} has no windows: override _maps or _cut")
        return cast("LinearOperator", self._with(**{self._maps: read_window(getattr(self, self._maps), rows, cols)}))

    def _with(self, **changes: Any) -> Self:
        """Return a copy with other fields, without the checks of the constructor."""
        new = object.__new__(type(self))
        freeze(new, **(vars(self) | changes))
        return new
