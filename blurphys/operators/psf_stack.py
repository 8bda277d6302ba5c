"""Operators on arbitrary PSFs: a weighted stack, one PSF per pixel, and uniform blur."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal, Self, final

from array_api_compat import array_namespace

from ..boundary import check_boundary, check_extension, extend, fold
from ..engines.dispatch import kernel
from ..engines.reference.convolve import zeros_for
from ..files.stored import Span, is_stored, row_blocks, span_length, stand_in, take
from ..frozen import freeze
from ..inputs import detached, require_float, require_same_kind, tracing, whole_numbers
from ..linop.base import LinearOperator
from ..maps import check_maps, check_simplex
from ..notes import NoteWarning
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, flat_colours

__all__ = ["Convolution", "PSFStack", "PSFWarning", "PixelPSF"]


def _reach(support: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels a kernel of this support needs (above, left) and (below, right) of the image; the centre is size // 2."""
    h, w = support
    return (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)


class PSFWarning(NoteWarning):
    """PSFs that make an image much brighter or darker."""


COUNTS = 1000.0
"""A sum that no PSF of a plausible size has whose peak is one: these are counts of a camera."""


SIGNED = 0.05
"""Share of negative values from which on PSFs are meant to have both signs."""


def check_psfs(owner: str, name: str, psfs: Array) -> None:
    """Raise ValueError for PSFs (..., h, w) with NaN or inf or in counts; warn of those far from unit sum.

    PSFs that are negative in part (eigenvectors of a set of PSFs, derivatives) have any sum; a few values below zero
    are the noise of a recording. Those that torch learns have any value.
    """
    if tracing() or getattr(psfs, "requires_grad", False):
        return
    values = detached(psfs)
    xp = array_namespace(values)
    if not bool(xp.all(xp.isfinite(values))):
        raise ValueError(f"{owner}: expected finite PSFs, got NaN or inf in {name}")
    total = xp.sum(values, axis=(-2, -1))
    largest = float(xp.max(total))
    if largest == 0.0 or 0.5 <= largest <= 2.0:  # none at all is no slip of scale
        return
    below = float(xp.sum(xp.where(values < 0, -values, xp.zeros_like(values))))
    if below > SIGNED * float(xp.sum(xp.abs(values))):
        return
    sentence = (
        f"{owner}: expected {name} near unit sum, got a sum of {largest:.6g}: a white image would become "
        f"{largest:.6g}; bp.psf.normalize(...) divides by it, a scale of the whole is 2 * A"
    )
    if largest > COUNTS:
        raise ValueError(sentence)
    warnings.warn(sentence, PSFWarning, stacklevel=4)


def _check_unit_sum(owner: str, psfs: Array) -> None:
    low, high = float("inf"), -float("inf")
    for _, block in row_blocks(detached(psfs), axis=0):
        xp = array_namespace(block)
        total = xp.sum(block, axis=(-2, -1))
        if not bool(xp.all(xp.isfinite(block))) or bool(xp.any(block < 0)):
            raise ValueError(f"{owner}: expected finite, non-negative PSFs, got values that are not")
        low, high = min(low, float(xp.min(total))), max(high, float(xp.max(total)))
        tolerance = float(xp.finfo(block.dtype).eps) ** 0.5
    if max(high - 1.0, 1.0 - low) > tolerance:
        raise ValueError(
            f"{owner}: expected PSFs that sum to one, got sums from {low:.6g} to {high:.6g}; divide each by its sum"
        )


@final
@dataclass(frozen=True, eq=False, repr=False)
class PSFStack(LinearOperator):
    """A few PSFs, weighted pixel by pixel (product-convolution).

    Parameters
    ----------
    psfs : array of shape (L, h, w) or (L, C, h, w)
        Convolution kernels, centre ``h // 2, w // 2``; even sizes are allowed.
    weights : array of shape (*B, L, H, W)
        Maps, shared by the colours.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    form : {"gather", "scatter"}
        ``gather``: weights after the filter, the PSF belongs to the output pixel. ``scatter``: weights before the
        filter, the PSF belongs to the input pixel, as light spreads before occlusion.

    Raises
    ------
    ValueError
        L of psfs and weights disagree, a PSF axis is missing, an unknown form, an extension beyond the limit, PSFs with
        NaN or inf or in counts; a `PSFWarning` for ones far from unit sum, unless they are negative in part.
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
        if self.form not in ("gather", "scatter"):
            raise ValueError(f"PSFStack: expected form 'gather' or 'scatter', got {self.form!r}")
        shape, levels = tuple(self.psfs.shape), self.weights.shape[-3]
        colours = (levels, self.channels)
        if 0 in shape or not ((len(shape) == 3 and shape[0] == levels) or (len(shape) == 4 and shape[:2] == colours)):
            raise ValueError(
                f"PSFStack: expected psfs of shape ({levels}, h, w) or ({levels}, {self.channels}, h, w) for L = "
                f"{levels} weights {tuple(self.weights.shape)}, got {shape}"
            )
        check_extension(self.in_shape, *_reach((shape[-2], shape[-1])), self.boundary, "PSFStack")
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
        _check_unit_sum("PSFStack", self.psfs)
        return self


@final
@dataclass(frozen=True, eq=False, repr=False)
class PixelPSF(LinearOperator):
    """One PSF for each output pixel: exact and slow, the oracle for every other gather operator.

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
        If psfs does not have four axes, has NaN or inf or counts, or the extension is beyond the limit.

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
        check_extension(self.in_shape, *_reach(self._support), self.boundary, "PixelPSF")
        if not is_stored(self.psfs):  # on disk it may be larger than memory; `validate` reads it through
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
        return self._with(psfs=take(self.psfs, rows, cols, leading=True))

    def _forward(self, x: Array) -> Array:
        (h, w), (rows, cols) = self._support, x.shape[-2:]
        plane = extend(x, *_reach(self._support), self.boundary)
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
        return fold(plane, *_reach(self._support), self.boundary)

    def _psf_at(self, row: int, col: int) -> Array:
        return self.psfs[row, col, :, :]

    def validate(self) -> Self:
        """Check that every PSF is finite, non-negative and sums to one."""
        _check_unit_sum("PixelPSF", self.psfs)
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
        If the PSF or the shape has the wrong axes, the extension is beyond the limit, or the PSF has NaN or inf or
        counts; a `PSFWarning` where it is non-negative and far from unit sum.

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
        freeze(self, shape=whole_numbers("Convolution", "shape", self.shape))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"Convolution: expected shape (C, H, W) of positive sizes, got {self.shape}")
        got = tuple(self.psf.shape)
        if 0 in got or not (len(got) == 2 or (len(got) == 3 and got[0] == self.shape[0])):
            raise ValueError(f"Convolution: expected a PSF of shape (h, w) or ({self.shape[0]}, h, w), got {got}")
        check_extension(self.shape, *_reach((got[-2], got[-1])), self.boundary, "Convolution")
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
        _check_unit_sum("Convolution", self.psf)
        return self
