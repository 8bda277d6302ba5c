"""Defocus blur of a lens whose PSF depends on the position in the frame as well as on the defocus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal, NamedTuple, Self, cast, final

import numpy as np
from array_api_compat import array_namespace, device

from ..boundary import check_boundary, check_extension
from ..engines.dispatch import kernel
from ..files.stored import Span, read_window, stand_in
from ..frozen import freeze, make_plain
from ..inputs import require_choice, require_float, require_image_shape, require_integers, require_same_kind
from ..linop.base import LinearOperator
from ..maps import interpolation_index
from ..optics.bank import PSFBank
from ..optics.psf_checks import check_unit_sum, kernel_reach
from ..types import Array, BoundaryName, Shape
from .defocus import _check_defocus_map
from .mixing import check_channels, check_colours, check_views

__all__ = ["FieldDefocus"]

Placement = Literal["corners", "centres"]


class _Axis(NamedTuple):
    """Position of the rows or columns of the frame between the nodes of the grid along one axis."""

    nodes: int
    lower: Array  # (n,) int64, node at or before the row or column, at most nodes - 2
    fraction: Array  # (n,) weight of the next node

    def nodes_and_weights(self) -> Iterator[tuple[Array, Array | None]]:
        """Yield node and weight of every row or column, for the lower and the upper node; None means one."""
        if self.nodes == 1:
            yield self.lower, None
        else:
            yield self.lower, 1 - self.fraction
            yield self.lower + 1, self.fraction

    def cut(self, span: Span) -> _Axis:
        lower, fraction = (
            read_window(line[None, :], (slice(0, 1),), span)[0, :] for line in (self.lower, self.fraction)
        )
        return _Axis(self.nodes, lower, fraction)


@final
@dataclass(frozen=True, eq=False, repr=False)
class FieldDefocus(LinearOperator):
    """Defocus blur of a lens with field dependence: PSFs depend on the defocus and on the position in the frame.

    Parameters
    ----------
    defocus_map : array of shape (*B, H, W)
        Signed CoC radius, px; positive farther than the plane of focus (`ThinLens.defocus_map`).
    banks : sequence of sequences of PSFBank
        A bank for each node of a grid over the frame: rows from top to bottom, each from left to right; all with the
        same radii. With the same bank everywhere the operator equals `DualPixel`. For PSFs at one focus setting see
        `from_psfs`.
    channels : int
        C of the images.
    boundary : str
        Extension beyond the frame, see `blurphys.boundary`.
    views : tuple of str
        Any of "left", "right", "combined", in the order of the output; with banks of pupils, any view of `Pupil.seen`.
    nodes : {"corners", "centres"}
        Positions of the nodes in the frame; each pixel interpolates between the four around it. "corners": evenly
        spaced with the outermost nodes on the border pixels, as for banks computed at given field positions.
        "centres": at the centres of rows x cols equal patches, as for PSFs measured on a chart; between the outermost
        centres and the border the nearest bank is used.
    frame : (int, int), optional
        Rows and columns of the frame over which the nodes are spread, if the map covers a window of it; by default the
        map covers the frame.
    origin : (int, int)
        Row and column of the frame at which the map begins. `crop` sets `frame` and `origin`.

    Raises
    ------
    ValueError
        Banks that do not form a grid or differ in their radii, radii outside the banks, NaN or inf in the map, an
        unknown, repeated or missing view, an extension beyond the limit, a window outside the frame.
    TypeError
        An item of the grid that is not a PSFBank, or banks of tensors whose namespace, dtype or device is not that of
        the map.

    Notes
    -----
    forward  ``y[p] = sum_g w_g(p) sum_l w_l(c[p]) (h_gl * x)[p]``, g the nodes, w_g bilinear weights of unit sum.
    adjoint  ``x = E^T sum_gl h_gl^T (w_l(c) . w_g . y)``, E the extension.

    Product-convolution: the operators of the nodes are interpolated rather than the shapes of their PSFs. A constant
    image stays constant, and between two nodes with PSFs in different positions both are visible.
    ``out_shape = (len(views) C, H, W)`` as in `DualPixel`.

    Cost: four passes of `DualPixel` (two for a grid of one row or one column) for any number of nodes, each up to 1.5
    times as long because the bank is larger; memory: all banks, padded to one size. torch differentiates with respect
    to the image, the map (piecewise linear) and the PSFs of learned banks. The gather form does not model occlusion:
    see ``docs/notation.md``.

    References
    ----------
    Nagy, O'Leary, "Restoring images degraded by spatially variant blur", SIAM J. Sci. Comput. 19(4), 1998: piecewise
    interpolation of convolutions; here between banks, so that each pixel has its own defocus as well.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> def bank(x):
    ...     return bp.PSFBank(bp.Pupil.disk(cat_eye=(x, 0.0)), max_radius=3.0)
    >>> A = FieldDefocus(np.full((16, 20), 2.5), banks=[[bank(-0.5), bank(0.0), bank(0.5)]])
    >>> A
    FieldDefocus((3, 16, 20) -> (3, 16, 20), numpy float64 on cpu)
    >>> bool(np.allclose(A(np.ones((3, 16, 20))), 1.0))
    True
    """

    _maps: ClassVar[str] = "defocus_map"

    defocus_map: Array
    _: KW_ONLY
    banks: tuple[tuple[PSFBank, ...], ...]
    channels: int = 3
    boundary: BoundaryName = "reflect"
    views: tuple[str | float, ...] = ("combined",)
    nodes: Placement = "corners"
    frame: tuple[int, int] | None = None
    origin: tuple[int, int] = (0, 0)
    _design: Array | None = field(init=False, default=None)  # the PSFs, unless they are learned
    _axes: tuple[_Axis, _Axis] = field(init=False)

    def __post_init__(self) -> None:
        owner = "FieldDefocus"
        freeze(self, banks=_check_grid(owner, self.banks))
        freeze(self, views=check_views(owner, self.views))
        require_choice(owner, "nodes", self.nodes, ("corners", "centres"))
        _check_defocus_map(owner, self.defocus_map, self._first)
        check_boundary(self.boundary, owner)
        check_channels(owner, self.channels)
        if all(bank.fixed for row in self.banks for bank in row):
            freeze(self, _design=make_plain(self._stack_banks))
        psfs = self._psfs
        check_colours(owner, psfs, self.channels)
        check_extension(self.in_shape, *kernel_reach((psfs.shape[-2], psfs.shape[-1])), self.boundary, owner)
        counts = (1, 1) if self._uniform else (len(self.banks), len(self.banks[0]))
        freeze(self, _axes=make_plain(lambda: self._find_axes(counts)))

    def _find_axes(self, counts: tuple[int, int]) -> tuple[_Axis, ...]:
        """Check the position of the map in the frame, and find the nodes around its rows and columns."""
        sizes = tuple(self.in_shape[-2:])
        frame = sizes if self.frame is None else require_integers("FieldDefocus", "frame", self.frame)
        origin = require_integers("FieldDefocus", "origin", self.origin)
        if len(frame) != 2 or min(frame) < 1 or len(origin) != 2:
            raise ValueError(
                f"FieldDefocus: expected frame and origin as (rows, columns), got frame {self.frame} and origin "
                f"{self.origin}"
            )
        inside = all(o < whole and o + n > 0 for o, n, whole in zip(origin, sizes, frame, strict=True))
        if not inside or (self.frame is None and any(origin)):
            raise ValueError(
                f"FieldDefocus: expected a map inside the frame, got {sizes[0]} x {sizes[1]} px from origin "
                f"{origin} in frame {self.frame}; frame is the size of the full image"
            )
        axes = zip(counts, sizes, frame, origin, strict=True)
        return tuple(_axis(n, o + np.arange(size), whole, self.nodes, self.like) for n, size, whole, o in axes)

    @classmethod
    def from_psfs(
        cls,
        psfs: Array,
        *,
        shape: Shape,
        boundary: BoundaryName = "reflect",
        nodes: Placement = "corners",
    ) -> FieldDefocus:
        """Build the blur of a lens at one focus setting from a grid of measured PSFs that depend on the position only.

        Parameters
        ----------
        psfs : array of shape (rows, cols, h, w)
            Convolution kernels over the frame, centre ``h // 2, w // 2``; `blurphys.psf.resample` brings them to the
            image's pixel size, `blurphys.psf.normalize` to unit sum. The operator takes their namespace and dtype.
        shape : (int, int, int)
            (C, H, W) of the images.
        boundary, nodes : str
            As in the constructor.

        Raises
        ------
        ValueError
            PSFs that do not form a grid, have NaN or inf or sums far from one; a wrong shape.

        Examples
        --------
        >>> import numpy as np, blurphys as bp
        >>> grid = np.stack([bp.psf.gaussian(s, 9) for s in (1.2, 0.8, 1.2)])[None]
        >>> FieldDefocus.from_psfs(grid, shape=(3, 30, 40), nodes="centres")
        FieldDefocus((3, 30, 40) -> (3, 30, 40), numpy float64 on cpu)
        """
        owner = "FieldDefocus.from_psfs"
        xp = require_float(owner, "psfs", psfs)
        sizes = require_image_shape(owner, shape)
        if psfs.ndim != 4 or 0 in tuple(psfs.shape):
            raise ValueError(f"{owner}: expected psfs of shape (rows, cols, h, w), got {tuple(psfs.shape)}")
        rows, cols = psfs.shape[:2]
        banks = [[PSFBank(psfs=psfs[i, j, ...][None, ...]) for j in range(cols)] for i in range(rows)]
        in_focus = xp.zeros(sizes[1:], dtype=psfs.dtype, device=device(psfs))
        return cls(in_focus, banks=banks, channels=sizes[0], boundary=boundary, nodes=nodes)  # type: ignore[arg-type]

    @property
    def _first(self) -> PSFBank:
        return self.banks[0][0]

    @property
    def _uniform(self) -> bool:
        return all(bank is self._first for row in self.banks for bank in row)

    def _map_numbers(self) -> float:
        return 6 * super()._map_numbers() + 4  # as DefocusBlur; weight and index of a node, a copy of the level

    @property
    def _psfs(self) -> Array:
        """The levels of all nodes, node by node: (V, nodes * L, 1 or C, h, w)."""
        return self._stack_banks() if self._design is None else self._design

    def _stack_banks(self) -> Array:
        if self._uniform:
            return self._first.stacked(self.views, self.like)
        parts = [bank.stacked(self.views, self.like) for row in self.banks for bank in row]
        for part in parts[1:]:
            require_same_kind("FieldDefocus", "every bank", part, "the first one", parts[0])
        colours = {int(part.shape[2]) for part in parts}
        if len(colours - {1}) > 1:
            raise ValueError(f"FieldDefocus: expected banks for the same colours, got {sorted(colours)}")
        size = tuple(_common_length([int(part.shape[axis]) for part in parts]) for axis in (-2, -1))
        return array_namespace(*parts).concat([_pad_kernels(part, max(colours), size) for part in parts], axis=1)

    @property
    def in_shape(self) -> Shape:
        return (self.channels, *self.defocus_map.shape[-2:])

    @property
    def out_shape(self) -> Shape:
        return (len(self.views) * self.channels, *self.defocus_map.shape[-2:])

    @property
    def batch_shape(self) -> Shape:
        return tuple(self.defocus_map.shape[:-2])

    @property
    def like(self) -> Array:
        return stand_in(self.defocus_map)

    @property
    def halo(self) -> int:
        return max(self._psfs.shape[-2:]) // 2

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        sizes, axes = self.in_shape[-2:], (self._axes[0].cut(rows), self._axes[1].cut(cols))
        frame = sizes if self.frame is None else self.frame
        starts = (_first_line(span, size) for span, size in zip((rows, cols), sizes, strict=True))
        origin = tuple(first + start for first, start in zip(self.origin, starts, strict=True))
        return self._with(defocus_map=read_window(self.defocus_map, rows, cols), _axes=axes, frame=frame, origin=origin)

    def _find_levels(self) -> tuple[Array, Array]:
        """Return the level below the radius of each pixel, and the weight of the next level."""
        xp = array_namespace(self.defocus_map)
        levels = self._first.nodes
        return interpolation_index(xp.clip(self.defocus_map, levels[0], levels[-1]), levels)

    def _node_weights(self) -> Iterator[tuple[Array, Array, Array | None]]:
        """Yield level index, fraction and weight (None for one) at all pixels, for each of the nodes around a pixel."""
        index, fraction = self._find_levels()
        rows, cols = self._axes
        # A pixel lies between up to 2 x 2 nodes; the weights along rows and columns multiply (bilinear interpolation).
        for row, down in rows.nodes_and_weights():
            for col, right in cols.nodes_and_weights():
                node = row[:, None] * cols.nodes + col[None, :]
                weight = None if down is None else down[:, None]
                if right is not None:
                    weight = right[None, :] if weight is None else weight * right[None, :]
                yield index + node * len(self._first.nodes), fraction, weight  # `_psfs` holds the levels node by node

    def _forward(self, x: Array) -> Array:
        blur, psfs = kernel("psf_interpolate", x), self._psfs
        y = None
        for index, fraction, weight in self._node_weights():
            part = blur(x, psfs, index, fraction, self.boundary)
            part = part if weight is None else weight * part
            y = part if y is None else y + part
        return y

    def _adjoint(self, y: Array) -> Array:
        back, psfs = kernel("psf_interpolate_adjoint", y), self._psfs
        x = None
        for index, fraction, weight in self._node_weights():
            part = back(y if weight is None else weight * y, psfs, index, fraction, self.boundary)
            x = part if x is None else x + part
        return x

    def _psf_at(self, row: int, col: int) -> Array:
        xp = array_namespace(self.like)
        pixel = cast(Self, self._cut((slice(row, row + 1),), (slice(col, col + 1),), {}))
        levels = xp.permute_dims(self._psfs, (1, 0, 2, 3, 4))
        total: Array = None
        for index, fraction, weight in pixel._node_weights():
            i, f = xp.reshape(index, (-1,)), xp.reshape(fraction, (-1, 1, 1, 1, 1))
            psf = (1.0 - f) * xp.take(levels, i, axis=0) + f * xp.take(levels, i + 1, axis=0)
            psf = psf if weight is None else xp.reshape(weight, (1, 1, 1, 1, 1)) * psf
            total = psf if total is None else total + psf
        total = total[:, :, 0, :, :] if total.shape[2] == 1 else total
        return xp.reshape(total, (*self.batch_shape, *total.shape[1:]))

    def validate(self) -> Self:
        """Check that every PSF of every bank is finite, non-negative and sums to one."""
        check_unit_sum("FieldDefocus", self._psfs)
        return self


def _check_grid(owner: str, banks: object) -> tuple[tuple[PSFBank, ...], ...]:
    if not isinstance(banks, Sequence) or not all(isinstance(row, Sequence) for row in banks):
        raise ValueError(
            f"{owner}: expected banks as rows of columns, [[top left, top right], [bottom left, bottom right]], got "
            f"{type(banks).__name__}; one bank is [[bank]]"
        )
    grid = tuple(tuple(row) for row in banks)
    lengths = {len(row) for row in grid}
    if not grid or len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"{owner}: expected rows of banks of one length, got {[len(row) for row in grid]}")
    for bank in (bank for row in grid for bank in row):
        if not isinstance(bank, PSFBank):
            raise TypeError(f"{owner}: expected every item of banks to be a PSFBank, got {type(bank).__name__}")
        if bank.nodes != grid[0][0].nodes:
            raise ValueError(
                f"{owner}: expected banks with the same radii, got {len(bank.nodes)} levels from {bank.nodes[0]:g} to "
                f"{bank.nodes[-1]:g} px beside {len(grid[0][0].nodes)} from {grid[0][0].nodes[0]:g} to "
                f"{grid[0][0].nodes[-1]:g} px; make all with one max_radius and step"
            )
    return grid


def _first_line(span: Span, size: int) -> int:
    """Return the first row or column of a window; negative if the outermost ones are repeated beyond the frame.

    `unknown_boundary` repeats them: a span of n slices of length one, the frame, and n more. A window that wraps around
    the frame has no position in it, but only `tiled` makes such windows, and discards them.
    """
    return span[0].start - len(span) // 2 if len(span) > 2 else span[0].start


def _axis(count: int, lines: np.ndarray, size: int, nodes: Placement, like: Array) -> _Axis:
    # Position of each row or column in units of the distance between nodes, 0 at the first node.
    position = lines * ((count - 1) / max(size - 1, 1)) if nodes == "corners" else (lines + 0.5) * (count / size) - 0.5
    position = np.clip(position, 0, count - 1)
    lower = np.clip(np.floor(position), 0, max(count - 2, 0)).astype(np.int64)
    xp = array_namespace(like)
    where = device(like)
    return _Axis(count, xp.asarray(lower, device=where), xp.asarray(position - lower, dtype=like.dtype, device=where))


def _common_length(lengths: list[int]) -> int:
    """Return the smallest size to which kernels of these sizes can be padded with their centres kept at n // 2."""
    before, after = max(n // 2 for n in lengths), max(n - 1 - n // 2 for n in lengths)
    return max(2 * before, 2 * after + 1)


def _pad_kernels(psfs: Array, colours: int, size: tuple[int, ...]) -> Array:
    """Repeat PSFs of one colour for each colour, and pad them with zeros so that the centre stays at n // 2."""
    xp = array_namespace(psfs)
    if psfs.shape[2] != colours:
        psfs = xp.concat([psfs] * colours, axis=2)
    for axis, wanted in zip((-2, -1), size, strict=True):
        n = psfs.shape[axis]
        before = wanted // 2 - n // 2
        parts = []
        for amount in (before, wanted - n - before):
            shape = list(psfs.shape)
            shape[axis] = amount
            parts.append(xp.zeros(tuple(shape), dtype=psfs.dtype, device=device(psfs)))
        if n < wanted:
            psfs = xp.concat([parts[0], psfs, parts[1]], axis=axis)
    return psfs
