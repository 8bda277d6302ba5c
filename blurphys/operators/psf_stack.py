"""Operators on arbitrary PSFs: a weighted stack, one PSF per pixel, and uniform blur."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal, Self, final

from array_api_compat import array_namespace

from ..boundary import check_boundary, check_extension, extend, fold
from ..engines.dispatch import kernel
from ..engines.reference.convolve import zeros_for
from ..files.stored import Span, is_stored, read_window, span_length, stand_in
from ..frozen import freeze
from ..inputs import require_choice, require_float, require_image_shape, require_same_kind
from ..linop.base import LinearOperator
from ..maps import check_maps, check_simplex
from ..optics.psf_checks import check_psfs, check_unit_sum, kernel_reach
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, flat_colours

__all__ = ["Convolution", "PSFStack", "PixelPSF"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class PSFStack(LinearOperator):
    """A sum of a few convolutions with weights for each pixel (product-convolution).

    Parameters
    ----------
    psfs : array of shape (L, h, w) or (L, C, h, w)
        Convolution kernels, centre ``h // 2, w // 2``; even sizes are allowed.
    weights : array of shape (*B, L, H, W)
        Maps, the same for all colours.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    form : {"gather", "scatter"}
        ``gather``: weights after the convolution, so that each output pixel has its own PSF. ``scatter``: weights
        before the convolution, so that each input pixel has its own PSF, as light spreads from a surface.

    Raises
    ------
    ValueError
        L of psfs and weights disagree, a PSF axis is missing, an unknown form, an extension beyond the limit, PSFs with
        NaN or inf, or sums above 1000 (camera counts). A `PSFWarning` for sums far from one, unless some values are
        negative.
    TypeError
        Arrays of different namespaces, dtypes or devices.

    Notes
    -----
    gather   ``y = sum_l w_l . (h_l * x)``, adjoint ``x = E^T sum_l h_l^T (w_l . y)``.
    scatter  ``y = sum_l h_l * (w_l . x)``, adjoint ``x = sum_l w_l . E^T h_l^T y``.
    The gather form's transpose is the scatter form with mirrored kernels (away from the border).

    Cost: O(L h w) per pixel for small kernels, L real FFTs for larger ones.

    References
    ----------
    Nagy, O'Leary, "Restoring images degraded by spatially variant blur", SIAM J. Sci. Comput. 19(4), 1998.
    """

    _maps: ClassVar[str] = "weights"

    psfs: Array
    _: KW_ONLY
    weights: Array
    channels: int = 3
    boundary: BoundaryName = "reflect"
    form: Literal["gather", "scatter"] = "gather"

    def __post_init__(self) -> None:
        check_maps("PSFStack", "weights", self.weights, "(*B, L, H, W)")
        check_boundary(self.boundary, "PSFStack")
        check_channels("PSFStack", self.channels)
        require_same_kind("PSFStack", "psfs", self.psfs, "weights", self.like)
        require_choice("PSFStack", "form", self.form, ("gather", "scatter"))
        shape, levels = tuple(self.psfs.shape), self.weights.shape[-3]
        colours = (levels, self.channels)
        if 0 in shape or not ((len(shape) == 3 and shape[0] == levels) or (len(shape) == 4 and shape[:2] == colours)):
            raise ValueError(
                f"PSFStack: expected psfs of shape ({levels}, h, w) or ({levels}, {self.channels}, h, w) for L = "
                f"{levels} weights {tuple(self.weights.shape)}, got {shape}"
            )
        check_extension(self.in_shape, *kernel_reach((shape[-2], shape[-1])), self.boundary, "PSFStack")
        check_psfs("PSFStack", "psfs", self.psfs)

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.weights.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return self.in_shape

    @property
    def batch_shape(self) -> Shape:
        return tuple(self.weights.shape[:-3])

    @property
    def like(self) -> Array:
        return stand_in(self.weights)

    @property
    def halo(self) -> int:
        return max(self.psfs.shape[-2:]) // 2

    def _bank(self) -> Array:
        psfs = self.psfs if self.psfs.ndim == 4 else self.psfs[:, None, :, :]
        return psfs[None, ...]

    def _forward(self, x: Array) -> Array:
        return kernel(f"psf_{self.form}", x)(x, self._bank(), self.weights, self.boundary)

    def _adjoint(self, y: Array) -> Array:
        return kernel(f"psf_{self.form}_adjoint", y)(y, self._bank(), self.weights, self.boundary)

    def _psf_at(self, row: int, col: int) -> Array:
        xp = array_namespace(self.like)
        w = self.weights[..., row, col]
        psf = xp.sum(w[..., :, None, None, None] * self._bank()[0, :, :, :, :], axis=-4)
        return flat_colours(psf)

    def validate(self) -> Self:
        """Check that the weights lie on the simplex and every PSF is finite, non-negative and sums to one."""
        check_simplex("PSFStack", "weights", self.weights)
        check_unit_sum("PSFStack", self.psfs)
        return self


@final
@dataclass(frozen=True, eq=False, repr=False)
class PixelPSF(LinearOperator):
    """One PSF for each output pixel: exact and slow, the reference for every other gather operator.

    Parameters
    ----------
    psfs : array of shape (H, W, h, w)
        ``psfs[m, n]`` is the convolution kernel of output pixel (m, n), centre ``h // 2, w // 2``.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.

    Raises
    ------
    ValueError
        If psfs does not have four axes, has NaN, inf or sums above 1000 (camera counts), or the extension is beyond the
        limit.

    Notes
    -----
    forward  ``y[m, n] = sum_ij psfs[m, n, i, j] x[m - i + h // 2, n - j + w // 2]``.
    adjoint  its transpose, extension included. Cost: O(h w) per pixel, and h w numbers stored for each.
    """

    _maps: ClassVar[str] = "psfs"

    psfs: Array
    _: KW_ONLY
    channels: int = 3
    boundary: BoundaryName = "reflect"

    def __post_init__(self) -> None:
        require_float("PixelPSF", "psfs", self.like)
        check_boundary(self.boundary, "PixelPSF")
        check_channels("PixelPSF", self.channels)
        if self.psfs.ndim != 4 or 0 in tuple(self.psfs.shape):
            raise ValueError(f"PixelPSF: expected psfs of shape (H, W, h, w), got {tuple(self.psfs.shape)}")
        check_extension(self.in_shape, *kernel_reach(self._support), self.boundary, "PixelPSF")
        if not is_stored(self.psfs):  # on disk it may be larger than memory; `validate` reads all of it
            check_psfs("PixelPSF", "psfs", self.psfs)

    @property
    def _support(self) -> tuple[int, int]:
        return (self.psfs.shape[-2], self.psfs.shape[-1])

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.psfs.shape[:2])

    @property
    def out_shape(self) -> Shape:
        return self.in_shape

    @property
    def like(self) -> Array:
        return stand_in(self.psfs)

    @property
    def halo(self) -> int:
        return max(self._support) // 2

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        return self._with(psfs=read_window(self.psfs, rows, cols, leading=True))

    def _forward(self, x: Array) -> Array:
        (h, w), (rows, cols) = self._support, x.shape[-2:]
        plane = extend(x, *kernel_reach(self._support), self.boundary)
        y = array_namespace(x).zeros_like(x)
        for i in range(h):
            for j in range(w):
                a, b = h - 1 - i, w - 1 - j
                y += self.psfs[:, :, i, j] * plane[..., a : a + rows, b : b + cols]
        return y

    def _adjoint(self, y: Array) -> Array:
        (h, w), (rows, cols) = self._support, y.shape[-2:]
        shape = (*y.shape[:-2], rows + h - 1, cols + w - 1)
        plane = zeros_for(y, shape)
        for i in range(h):
            for j in range(w):
                a, b = h - 1 - i, w - 1 - j
                plane[..., a : a + rows, b : b + cols] += self.psfs[:, :, i, j] * y
        return fold(plane, *kernel_reach(self._support), self.boundary)

    def _psf_at(self, row: int, col: int) -> Array:
        return self.psfs[row, col, :, :]

    def validate(self) -> Self:
        """Check that every PSF is finite, non-negative and sums to one."""
        check_unit_sum("PixelPSF", self.psfs)
        return self


@final
@dataclass(frozen=True, eq=False, repr=False)
class Convolution(LinearOperator):
    """Uniform blur: one PSF for the whole image.

    Parameters
    ----------
    psf : array of shape (h, w) or (C, h, w)
        Convolution kernel, centre ``h // 2, w // 2``; even sizes are allowed.
    shape : (int, int, int)
        (C, H, W) of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.

    Raises
    ------
    ValueError
        If the PSF or the shape has the wrong axes, the extension is beyond the limit, or the PSF has NaN, inf or a sum
        above 1000 (camera counts). A `PSFWarning` if it is non-negative and its sum is far from one.

    Notes
    -----
    forward  ``y = h * (E x)``; adjoint ``x = E^T h^T y``. Cost: O(h w) per pixel for small kernels, else two real FFTs.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> A = Convolution(bp.psf.disk(2.5), shape=(3, 16, 20))
    >>> A.halo, bool(np.allclose(A(np.ones((3, 16, 20))), 1.0))
    (2, True)
    """

    psf: Array
    _: KW_ONLY
    shape: Shape
    boundary: BoundaryName = "reflect"

    def __post_init__(self) -> None:
        require_float("Convolution", "psf", self.psf)
        check_boundary(self.boundary, "Convolution")
        freeze(self, shape=require_image_shape("Convolution", self.shape))
        got = tuple(self.psf.shape)
        if 0 in got or not (len(got) == 2 or (len(got) == 3 and got[0] == self.shape[0])):
            raise ValueError(f"Convolution: expected a PSF of shape (h, w) or ({self.shape[0]}, h, w), got {got}")
        check_extension(self.shape, *kernel_reach((got[-2], got[-1])), self.boundary, "Convolution")
        check_psfs("Convolution", "the PSF", self.psf)

    @property
    def in_shape(self) -> Shape:
        return self.shape

    @property
    def out_shape(self) -> Shape:
        return self.shape

    @property
    def like(self) -> Array:
        return self.psf

    @property
    def halo(self) -> int:
        return max(self.psf.shape[-2:]) // 2

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        return self._with(shape=(self.shape[0], span_length(rows), span_length(cols)))

    def _bank(self) -> Array:
        psf = self.psf if self.psf.ndim == 3 else self.psf[None, :, :]
        return psf[None, None, ...]

    def _forward(self, x: Array) -> Array:
        return kernel("psf_gather", x)(x, self._bank(), None, self.boundary)

    def _adjoint(self, y: Array) -> Array:
        return kernel("psf_gather_adjoint", y)(y, self._bank(), None, self.boundary)

    def _psf_at(self, row: int, col: int) -> Array:
        return self.psf

    def validate(self) -> Self:
        """Check that the PSF is finite, non-negative and sums to one."""
        check_unit_sum("Convolution", self.psf)
        return self
