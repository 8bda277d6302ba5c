"""The base class of all operators: shapes, forward, adjoint and the checks of their arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self, final

from array_api_compat import device

from ..autocast import full_precision, without_autocast
from ..inputs import describe, require_image, require_integers, tracing
from ..types import Array, Shape
from .arithmetic import Arithmetic
from .derived import Derived
from .extensions import extensions
from .windowed import Windowed

__all__ = ["LinearOperator"]


class LinearOperator(Arithmetic, Derived, Windowed, ABC):
    """A linear map between images with its exact adjoint.

    Images are arrays of shape (..., C, H, W), of the namespace, device and dtype of the operator's own arrays. An
    operator is immutable: new maps mean a new operator, see `replace` and `to`. It does not copy the arrays that it is
    given: writing to them later changes the operator, without the checks of the constructor.

    Maps may carry leading axes *B, one operator for each item of a batch. An image then needs leading axes that end
    with *B (an axis of 1 in *B is shared by all items), and the operator is block-diagonal over them.

    Notes
    -----
    To write an operator of your own, derive a class from this one. It has to define

    - `in_shape` and `out_shape`: (C, H, W) of one input and of one output image;
    - ``_forward(x)`` and ``_adjoint(y)``, which take images with any leading axes, (..., C, H, W), already checked, and
      return new arrays and modify no others. The adjoint is the exact transpose, boundary included; `bp.check`
      tests that.

    It may define

    - `like`: one of its arrays, so that images of another namespace, dtype or device are refused;
    - `halo`: the largest distance (px) at which an input pixel contributes to an output pixel; None if unknown.
      `tiled` and `crop` need it;
    - ``_maps``: the name of the attribute that holds its maps (..., H, W), if the operator of a window of the frame has
      the same window of these maps; `tiled` and `crop` need it too;
    - `batch_shape`: the leading axes *B of its maps;
    - `boundary`: the name of its boundary rule, if it has one of `bp.BOUNDARIES`.

    As a frozen dataclass (``eq=False, repr=False``) it also has `replace` and `to`. Everything else is inherited:
    ``A(x)``, ``A.H``, ``A @ B``, ``A + B``, ``2.0 * A``, the solvers, the adapters to SciPy, PyLops and deepinv.

    Examples
    --------
    Vignetting, then a camera shake by one pixel to the right, with zeros outside the frame:

    >>> import dataclasses
    >>> import numpy as np, blurphys as bp
    >>> @dataclasses.dataclass(frozen=True, eq=False, repr=False)
    ... class ShakenVignette(bp.LinearOperator):
    ...     gain: np.ndarray  # (H, W)
    ...     halo = 1
    ...     boundary = "zero"
    ...     _maps = "gain"
    ...
    ...     @property
    ...     def in_shape(self):
    ...         return (3, *self.gain.shape)
    ...
    ...     @property
    ...     def out_shape(self):
    ...         return self.in_shape
    ...
    ...     @property
    ...     def like(self):
    ...         return self.gain
    ...
    ...     def _forward(self, x):
    ...         dark = 0.5 * self.gain * x
    ...         y = dark.copy()
    ...         y[..., 1:] += dark[..., :-1]
    ...         return y
    ...
    ...     def _adjoint(self, y):
    ...         light = y.copy()
    ...         light[..., :-1] += y[..., 1:]
    ...         return 0.5 * self.gain * light
    >>> rows, cols = np.mgrid[-1:1:20j, -1:1:30j]
    >>> A = ShakenVignette(1 - 0.2 * (rows**2 + cols**2))
    >>> bp.check(A).passed
    True
    >>> A.H @ A, A.to("float32").dtype, bp.tiled(A, 8).halo
    (Composed((3, 20, 30) -> (3, 20, 30), numpy float64 on cpu), dtype('float32'), 1)
    """

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
        """An array of the operator, which determines namespace, dtype and device; None if it has none (`Identity`)."""
        return None

    @property
    def dtype(self) -> Any:
        """The dtype of the operator's arrays and of its images; None if it has no array (`Identity`)."""
        return None if self.like is None else self.like.dtype

    @property
    def device(self) -> Any:
        """The device of the operator's arrays and of its images; None if it has no array (`Identity`)."""
        return None if self.like is None else device(self.like)

    @property
    def halo(self) -> int | None:
        """Largest distance, px, along rows or columns, at which an input pixel contributes to an output pixel.

        `tiled`, `crop` and `unknown_boundary` rely on it: too small a value gives wrong results without an error, too
        large a value only costs time. With ``circular`` distances wrap around the frame. The adjoint has the same
        halo. None, the default for an operator of your own, means unknown: these functions then raise TypeError.
        `bp.check` measures it.
        """
        return None

    @abstractmethod
    def _forward(self, x: Array) -> Array: ...

    @abstractmethod
    def _adjoint(self, y: Array) -> Array: ...

    def _psf_at(self, row: int, col: int) -> Array:
        raise TypeError(
            f"{type(self).__name__}.psf_at: expected an operator with one PSF per pixel; "
            f"A.adjoint(impulse) returns a row of its matrix"
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
            Same namespace, dtype and device; `x` is not written to. Under torch's autocast, images of half precision
            are accepted too and converted to the dtype of the operator, which is that of the result.

        Raises
        ------
        ValueError
            If the trailing shape does not fit, or the leading axes do not end with `batch_shape`.
        TypeError
            If `x` is not a real floating-point array of the operator's namespace, dtype and device.
        """
        x = full_precision(x, self.like)
        self._check(x, "forward", self.in_shape)
        with without_autocast(x), extensions.memory_advice(self, x, "forward"):
            return self._forward(x)

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
            As for `forward`.
        """
        y = full_precision(y, self.like)
        self._check(y, "adjoint", self.out_shape)
        with without_autocast(y), extensions.memory_advice(self, y, "adjoint"):
            return self._adjoint(y)

    @final
    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def _check(self, x: Array, method: str, shape: Shape) -> None:
        owner = f"{type(self).__name__}.{method}"
        require_image(owner, x, self.like, shape, self.batch_shape)
        if not tracing() and self._on_disk:
            raise TypeError(
                f"{owner}: expected maps in memory, got an HDF5 dataset; bp.tiled(A) reads them window by window"
            )

    def __repr__(self) -> str:
        batch = f", batch {self.batch_shape}" if self.batch_shape else ""
        where = "" if self.like is None else f", {describe(self.like)}"
        return f"{type(self).__name__}({self.in_shape} -> {self.out_shape}{batch}{where})"

    @property
    def H(self) -> LinearOperator:
        """The adjoint operator; ``A.H.H is A`` unless A is an adjoint itself."""
        return extensions.adjoint(self)

    @final
    def psf_at(self, row: int, col: int) -> Array:
        """Return the point spread function of one pixel.

        Parameters
        ----------
        row, col : int
            The pixel; negative values count from the end.

        Returns
        -------
        array of shape (*B, h, w), or (*B, C, h, w) when each colour has its own kernel
            Convolution kernel with its centre at ``h // 2, w // 2``, regardless of the boundary. The axis of several
            views comes first: (*B, V, h, w). In the scatter form the PSF is that of an input pixel.

        Raises
        ------
        ValueError
            If the pixel lies outside the image.
        TypeError
            If the operator has no such PSFs, for example a product of operators.
        """
        height, width = self.out_shape[-2:]
        row, col = require_integers(f"{type(self).__name__}.psf_at", "(row, col)", (row, col))
        if not (-height <= row < height and -width <= col < width):
            raise ValueError(
                f"{type(self).__name__}.psf_at: expected a pixel (row, col) inside {height} x {width}, "
                f"got ({row}, {col}); are row and column swapped?"
            )
        return self._psf_at(row % height, col % width)

    def validate(self) -> Self:
        """Check that every pixel has a PSF: maps and kernels finite, non-negative and of unit sum.

        The constructor does not do so, because it takes a pass over all maps.

        Returns
        -------
        the operator itself

        Raises
        ------
        ValueError
            If a pixel fails; the message has the number of offending pixels and the position of the first.
        """
        return self
