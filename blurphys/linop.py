"""The linear operator: what every blur in this package is."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, Self, final

from .arithmetic import Arithmetic
from .inputs import describe, detached, require_float, require_same_kind, tracing, whole_numbers
from .stored import Span, is_stored, take
from .types import Array, Shape

__all__ = ["LinearOperator", "detached", "require_float", "require_same_kind", "tracing", "whole_numbers"]


class LinearOperator(Arithmetic, ABC):
    """A linear map between images with its exact adjoint.

    A leaf supplies `in_shape`, `out_shape`, `_forward` and `_adjoint`; the latter two may trust their input.
    Images are arrays of shape (..., C, H, W). An operator lives where its arrays live (namespace, device, dtype) and
    is immutable: new maps mean a new operator, see `replace`.

    Maps may carry leading axes *B, one operator for each item of a batch. An image then needs leading axes that end
    with *B (an axis of 1 in *B is shared by all items), and the operator is block-diagonal over them.
    """

    _maps: ClassVar[str | None] = None
    """Name of the field that holds the maps (..., H, W), for windows of the frame; None if the leaf has none."""

    @property
    @abstractmethod
    def in_shape(self) -> Shape:
        """Trailing shape (C, H, W) of what `forward` takes."""

    @property
    @abstractmethod
    def out_shape(self) -> Shape:
        """Trailing shape (D, H, W) of what `forward` returns."""

    @property
    def batch_shape(self) -> Shape:
        """Leading axes *B of the operator's maps; () when one operator serves every image."""
        return ()

    @property
    def like(self) -> Array | None:
        """An array of the operator, which fixes namespace, dtype and device; None if it has no array (Identity)."""
        return None

    @property
    def halo(self) -> int | None:
        """How far an output pixel looks, px: no pixel further away, along rows or along columns, has a part in it.

        A promise on which windows rely (`tiled`, `crop`, `unknown_boundary`): too small is silently wrong, larger is
        safe and slower. Under ``circular`` the distance goes around the frame; for the adjoint it is the same. None,
        the default of an operator of your own, means that it is not known, and what needs it refuses; `bp.check`
        measures it.
        """
        return None

    @abstractmethod
    def _forward(self, x: Array) -> Array: ...

    @abstractmethod
    def _adjoint(self, y: Array) -> Array: ...

    def _psf_at(self, row: int, col: int) -> Array:
        raise TypeError(
            f"{type(self).__name__}.psf_at: expected an operator with one PSF per pixel; "
            f"for this one take a row of it with A.adjoint(impulse)"
        )

    @final
    def forward(self, x: Array) -> Array:
        """Apply the operator.

        Parameters
        ----------
        x : array of shape (..., *in_shape)

        Returns
        -------
        array of shape (..., *out_shape)
            Same namespace, dtype and device; `x` is not written to.

        Raises
        ------
        ValueError
            If the trailing shape, or the leading axes against `batch_shape`, do not fit.
        TypeError
            If `x` is not a real floating-point array of the operator's namespace, dtype and device.
        """
        self._check(x, "forward", self.in_shape)
        return self._run(self._forward, x, "forward")

    @final
    def adjoint(self, y: Array) -> Array:
        """Apply the transpose, boundary included: ``<A.forward(x), y> = <x, A.adjoint(y)>``.

        Parameters
        ----------
        y : array of shape (..., *out_shape)

        Returns
        -------
        array of shape (..., *in_shape)
            Same namespace, dtype and device; `y` is not written to.

        Raises
        ------
        ValueError, TypeError
            As `forward`.
        """
        self._check(y, "adjoint", self.out_shape)
        return self._run(self._adjoint, y, "adjoint")

    @final
    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def _run(self, apply: Callable[[Array], Array], x: Array, method: str) -> Array:
        """Call `apply(x)`; say what helps where the maps lie on disk or the memory does not suffice."""
        if tracing():
            return apply(x)
        if self._on_disk:
            raise TypeError(
                f"{type(self).__name__}.{method}: expected maps in memory, got an HDF5 dataset; bp.tiled(A) reads them "
                f"window by window"
            )
        try:
            return apply(x)
        except (MemoryError, RuntimeError) as error:
            from .memory import advice

            sentence = advice(self, x, method, error)
            if sentence is None:
                raise
            raise MemoryError(sentence) from error

    @property
    def _on_disk(self) -> bool:
        """Whether the maps are an HDF5 dataset, so that only a window of the operator can be applied."""
        return self._maps is not None and is_stored(getattr(self, self._maps))

    @property
    def _map_numbers(self) -> float:
        """Numbers that the maps hold for each pixel of the frame."""
        if self._maps is None:
            return 0
        return prod(getattr(self, self._maps).shape) / prod(self.in_shape[-2:])

    @final
    def _window(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        """Return the same operator on a window of the frame: right where the window's own edges are out of sight.

        `done` remembers what has been cut already, so that the maps of ``A.H @ A`` are read once.
        """
        if id(self) not in done:
            done[id(self)] = self._cut(rows, cols, done)
        return done[id(self)]

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        if self._maps is None:
            raise NotImplementedError(f"{type(self).__name__} cannot be cut to a window")
        return self._with(**{self._maps: take(getattr(self, self._maps), rows, cols)})

    def _with(self, **changes: Any) -> Self:
        """Copy with other fields, without the checks of the constructor."""
        new = copy.copy(self)
        new.__dict__.pop("H", None)
        new.__dict__.update(changes)
        return new

    def _check(self, x: Array, method: str, shape: Shape) -> None:
        owner = f"{type(self).__name__}.{method}"
        like = self.like
        if like is None:
            require_float(owner, "the image", x)
        else:
            require_same_kind(owner, "the image", x, "the operator", like)
        got = tuple(x.shape)
        if got[-3:] != tuple(shape):
            raise ValueError(
                f"{owner}: expected trailing shape {tuple(shape)} = (C, H, W), got {got}{_shape_hint(got, shape)}"
            )
        lead, batch = got[:-3], self.batch_shape
        fits = len(lead) >= len(batch) and all(
            b in (1, n) for n, b in zip(lead[len(lead) - len(batch) :], batch, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{owner}: expected leading axes that end with {batch} (the batch of the maps), got {lead}; "
                f"does every image of the batch have its own map?"
            )

    def __repr__(self) -> str:
        batch = f", batch {self.batch_shape}" if self.batch_shape else ""
        where = "" if self.like is None else f", {describe(self.like)}"
        return f"{type(self).__name__}({self.in_shape} -> {self.out_shape}{batch}{where})"

    @property
    def H(self) -> LinearOperator:
        """The adjoint operator; ``A.H.H is A`` unless A is an adjoint itself, then a twin of A."""
        from .algebra import Adjoint

        return Adjoint(self)

    @final
    def psf_at(self, row: int, col: int) -> Array:
        """Return the point spread function of one pixel.

        Parameters
        ----------
        row, col : int
            The pixel; negative values count from the end.

        Returns
        -------
        array of shape (*B, h, w), or (*B, C, h, w) when the colours have kernels of their own
            Convolution kernel with its centre at ``h // 2, w // 2``. Views come first: (*B, V, h, w). The boundary
            plays no part in it. In the scatter form a PSF belongs to an input pixel, and that one's is returned.

        Raises
        ------
        ValueError
            If the pixel lies outside the image.
        TypeError
            If the operator has no such form (a product, say).
        """
        height, width = self.out_shape[-2:]
        row, col = whole_numbers(f"{type(self).__name__}.psf_at", "(row, col)", (row, col))
        if not (-height <= row < height and -width <= col < width):
            raise ValueError(
                f"{type(self).__name__}.psf_at: expected a pixel (row, col) inside {height} x {width}, "
                f"got ({row}, {col}); are row and column swapped?"
            )
        return self._psf_at(row % height, col % width)

    @final
    def crop(self, rows: slice, cols: slice) -> LinearOperator:
        """Return the operator of a part of the picture: the same PSFs at the same points of the scene.

        Parameters
        ----------
        rows, cols : slice
            Which part, as for indexing (negative and missing bounds too), without a step; at least one pixel.

        Returns
        -------
        LinearOperator
            Of the same kind, on images (..., C, h, w). Its maps are those of the window, views of the ones here where
            they are in memory, and read where they lie on disk. PSFs that depend on the place in the frame stay where
            they are.

        Raises
        ------
        ValueError
            An empty part, a step, or a part so small that the boundary rule cannot extend it by the halo.
        TypeError
            Something else than slices; an operator (or one under it) that does not say what it does on a window: an
            own one has to name its maps, see `LinearOperator`.

        Notes
        -----
        With ``x`` a whole image, ``A.crop(rows, cols)(x[..., rows, cols])`` equals ``A(x)[..., rows, cols]`` further
        than `halo` px from those outermost rows and columns of the part that are not the frame's; so does the adjoint.
        Nearer, the boundary rule acts at edges that the scene does not have: crop wider by the halo and one, and cut
        the result. The edges of the frame stay what they were, but under ``circular``, where only a whole axis wraps
        around. An operator that observes a window of a larger scene (`unknown_boundary`) is cropped in what is
        observed, and takes the scene that belongs to it.

        Examples
        --------
        >>> import numpy as np, blurphys as bp
        >>> A = bp.GKM(np.full((2, 60, 80), 0.5), sigmas=(0.0, 1.5))
        >>> x = np.random.default_rng(0).random((3, 60, 80))
        >>> part = A.crop(slice(20, 50), slice(-40, None))
        >>> part.in_shape, part.halo
        ((3, 30, 40), 5)
        >>> bool(np.allclose(part(x[:, 20:50, -40:])[:, 5:-5, 5:], A(x)[:, 25:45, 45:], rtol=0, atol=1e-14))
        True
        """
        from .cropping import crop

        return crop(self, rows, cols)

    def validate(self) -> Self:
        """Check the values that promise a PSF: maps finite, non-negative, summing to one at every pixel.

        Opt-in, because it reads every map once.

        Returns
        -------
        the operator itself

        Raises
        ------
        ValueError
            With the count and position of the first offending pixel.
        """
        return self

    @final
    def replace(self, **changes: Any) -> Self:
        """Return a new operator with some fields changed, for example ``A.replace(beta=new_maps)``."""
        if not dataclasses.is_dataclass(self):
            raise TypeError(f"{type(self).__name__}.replace: this operator has no named fields")
        names = [f.name for f in dataclasses.fields(self) if f.init]
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise ValueError(f"{type(self).__name__}.replace: expected fields among {names}, got {unknown}")
        return dataclasses.replace(self, **changes)

    @final
    def as_scipy(self) -> Any:
        """Return a `scipy.sparse.linalg.LinearOperator` on flattened images; see `blurphys.adapters`."""
        from .adapters import as_scipy

        return as_scipy(self)

    @final
    def as_pylops(self) -> Any:
        """Return a `pylops.LinearOperator` on flattened images; needs PyLops."""
        from .adapters import as_pylops

        return as_pylops(self)

    @final
    def as_deepinv(self) -> Any:
        """Return a `deepinv.physics.LinearPhysics` on (B, C, H, W) tensors; needs deepinv and a torch operator."""
        from .adapters import as_deepinv

        return as_deepinv(self)


def _shape_hint(got: Shape, shape: Shape) -> str:
    """Guess the slip behind an image of another shape."""
    channels, size = shape[0], tuple(shape[-2:])
    if len(got) < 3:
        hint = "; an image needs a channel axis, x[None] adds one"
        return hint if channels == 1 or got != size else f"{hint}, and a grey image an operator with channels=1"
    if got[-1:] + got[-3:-1] == tuple(shape):
        return "; is the image channels-last? Move the last axis to the front of H, W"
    if got[-3] == channels and got[:-3:-1] == size:
        return "; are rows and columns swapped?"
    if got[-2:] == size:
        grey = ", or are these grey images? x[:, None] adds their channel axis" if channels == 1 else ""
        return f"; is the operator built for channels={channels}?{grey}"
    return ""
