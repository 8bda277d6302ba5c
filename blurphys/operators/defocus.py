"""Defocus blur: the PSF of each pixel follows from its signed circle-of-confusion radius."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Self, final

import numpy as np
from array_api_compat import array_namespace

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..files.stored import read_window, row_blocks, stand_in
from ..frozen import freeze
from ..inputs import detach, tracing
from ..linop.base import LinearOperator
from ..maps import check_maps, interpolation_index
from ..optics.bank import PSFBank
from ..optics.psf_checks import check_unit_sum, kernel_reach
from ..types import Array, BoundaryName, Shape
from .mixing import check_channels, check_colours, check_views

__all__ = ["DefocusBlur", "DualPixel"]


def _check_defocus_map(owner: str, defocus_map: Array, bank: PSFBank) -> None:
    check_maps(owner, "defocus_map", defocus_map, "(*B, H, W)", axes=2)
    if not isinstance(bank, PSFBank):
        raise TypeError(f"{owner}: expected bank to be a PSFBank, got {type(bank).__name__}")
    if tracing():
        return
    xp = array_namespace(stand_in(defocus_map))
    low, high, count = float("inf"), -float("inf"), 0
    for _, block in row_blocks(detach(defocus_map)):
        finite = xp.isfinite(block)
        count += 0 if bool(xp.all(finite)) else int(xp.count_nonzero(~finite))
        low, high = min(low, float(xp.min(block))), max(high, float(xp.max(block)))
    if count:
        raise ValueError(
            f"{owner}: expected a finite defocus_map, got {count} NaN or inf; ThinLens.defocus_map(depth, invalid=...) "
            f"fills unknown depths"
        )
    nodes = bank.radii.astype(np.float32 if defocus_map.dtype == xp.float32 else np.float64)
    if np.any(np.diff(nodes) <= 0):
        raise ValueError(f"{owner}: expected radii that are distinct in {defocus_map.dtype}, got {bank.radii.tolist()}")
    if not bank.holds(low, high):
        raise ValueError(
            f"{owner}: expected radii within the bank's [{bank.radii[0]:g}, {bank.radii[-1]:g}] px, got "
            f"[{low:g}, {high:g}]; build PSFBank with a larger max_radius, or clip the map. Is it a diameter?"
        )


class _Defocus(LinearOperator):
    """Base class of DefocusBlur and DualPixel, which define the fields and the views."""

    _maps: ClassVar[str] = "defocus_map"

    defocus_map: Array
    bank: PSFBank
    channels: int
    boundary: BoundaryName
    _design: Array | None  # the PSFs, unless they are learned

    @property
    def _views(self) -> tuple[str | float, ...]:
        raise NotImplementedError  # abstract

    def _check_fields(self) -> None:
        owner = type(self).__name__
        _check_defocus_map(owner, self.defocus_map, self.bank)
        check_boundary(self.boundary, owner)
        check_channels(owner, self.channels)
        psfs = self.bank.stacked(self._views, self.like)
        check_colours(owner, psfs, self.channels)
        check_extension(self.in_shape, *kernel_reach((psfs.shape[-2], psfs.shape[-1])), self.boundary, owner)
        freeze(self, _design=psfs if self.bank.fixed else None)

    def _map_numbers(self) -> float:
        return 6 * super()._map_numbers()  # the map, its clipped copy, levels (int64), fractions, temporaries

    @property
    def _psfs(self) -> Array:
        """PSFs of the bank in the namespace, dtype and device of the map: (V, L, 1 or C, h, w)."""
        return self.bank.stacked(self._views, self.like) if self._design is None else self._design

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.defocus_map.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return (len(self._views) * self.channels, *self.defocus_map.shape[-2:])

    @property
    def batch_shape(self) -> Shape:
        return tuple(self.defocus_map.shape[:-2])

    @property
    def like(self) -> Array:
        return stand_in(self.defocus_map)

    @property
    def halo(self) -> int:
        return max(self._psfs.shape[-2:]) // 2

    def _find_levels(self) -> tuple[Array, Array]:
        xp = array_namespace(self.defocus_map)
        clipped = xp.clip(self.defocus_map, self.bank.nodes[0], self.bank.nodes[-1])
        return interpolation_index(clipped, self.bank.nodes)

    def _forward(self, x: Array) -> Array:
        return kernel("psf_interpolate", x)(x, self._psfs, *self._find_levels(), self.boundary)

    def _adjoint(self, y: Array) -> Array:
        return kernel("psf_interpolate_adjoint", y)(y, self._psfs, *self._find_levels(), self.boundary)

    def _psf_at(self, row: int, col: int) -> Array:
        xp = array_namespace(self.like)
        pixel = self._with(defocus_map=read_window(self.defocus_map, (slice(row, row + 1),), (slice(col, col + 1),)))
        index, fraction = pixel._find_levels()
        i = xp.reshape(index, (-1,))
        f = xp.reshape(fraction, (-1, 1, 1, 1, 1))
        levels = xp.permute_dims(self._psfs, (1, 0, 2, 3, 4))
        psf = (1.0 - f) * xp.take(levels, i, axis=0) + f * xp.take(levels, i + 1, axis=0)
        psf = psf[:, :, 0, :, :] if psf.shape[2] == 1 else psf
        return xp.reshape(psf, (*self.batch_shape, *psf.shape[1:]))

    def validate(self) -> Self:
        """Check that every PSF of the bank is finite, non-negative and sums to one."""
        check_unit_sum(type(self).__name__, self._psfs)
        return self


@final
@dataclass(frozen=True, eq=False, repr=False)
class DefocusBlur(_Defocus):
    """Defocus blur of a lens: each output pixel has the PSF of its own defocus.

    Parameters
    ----------
    defocus_map : array of shape (*B, H, W)
        Signed CoC radius, px; positive farther than the plane of focus (`ThinLens.defocus_map`).
    bank : PSFBank
        PSFs at increasing signed radii; each pixel interpolates linearly between two of them.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.

    Raises
    ------
    ValueError
        Radii outside the bank, NaN or inf in the map, a missing axis, an extension beyond the limit.
    TypeError
        A bank of tensors whose namespace, dtype or device is not that of the map.

    Notes
    -----
    forward  ``y[p] = sum_l w_l(c[p]) (h_l * x)[p]`` with hat functions w_l: the gather form.
    adjoint  ``x = E^T sum_l h_l^T (w_l(c) . y)``, E the extension.

    A bank from a pupil, or of NumPy PSFs, is fixed and is converted to the namespace and dtype of the map; a bank of
    torch or CuPy tensors must match it. torch differentiates with respect to the image, the map (piecewise linear) and
    the PSFs. Cost: O(area of the pixel's own PSF) per pixel in the CPU engine; the reference engine uses FFTs of tiles.
    The gather form does not model occlusion: see ``docs/notation.md``.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> bank = bp.PSFBank(bp.Pupil.disk(), max_radius=3.0, step=0.5)
    >>> A = DefocusBlur(np.linspace(-3, 3, 20 * 16).reshape(16, 20), bank=bank)
    >>> bool(np.allclose(A(np.ones((3, 16, 20))), 1.0))
    True
    """

    defocus_map: Array
    _: KW_ONLY
    bank: PSFBank
    channels: int = 3
    boundary: BoundaryName = "reflect"
    _design: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._check_fields()

    @property
    def _views(self) -> tuple[str | float, ...]:
        return ("combined",)

    def _psf_at(self, row: int, col: int) -> Array:
        psf = super()._psf_at(row, col)
        axis = len(self.batch_shape)
        return array_namespace(psf).reshape(psf, (*psf.shape[:axis], *psf.shape[axis + 1 :]))


@final
@dataclass(frozen=True, eq=False, repr=False)
class DualPixel(_Defocus):
    """Blur of a dual-pixel sensor: the views of the left and right half-pixels, in one pass.

    Parameters
    ----------
    defocus_map : array of shape (*B, H, W)
        Signed CoC radius, px; its sign swaps the views.
    bank : PSFBank
        PSFs of each view at increasing signed radii.
    channels : int
        C of the image.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    views : tuple of str
        Any of "left", "right", "combined", in the order of the output; with the bank of a pupil any view of
        `Pupil.seen`.

    Raises
    ------
    ValueError, TypeError
        As for `DefocusBlur`, and for an unknown, repeated or missing view.

    Notes
    -----
    ``out_shape = (len(views) C, H, W)``: all colours of the first view, then of the second. Forward and adjoint as in
    `DefocusBlur`, for each view. Behind the plane of focus (positive radius) the left view is shifted to -x.
    """

    defocus_map: Array
    _: KW_ONLY
    bank: PSFBank
    channels: int = 3
    boundary: BoundaryName = "reflect"
    views: tuple[str | float, ...] = ("left", "right")
    _design: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        freeze(self, views=check_views("DualPixel", self.views))
        self._check_fields()

    @property
    def _views(self) -> tuple[str | float, ...]:
        return self.views
