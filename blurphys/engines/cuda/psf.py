"""`psf_gather`, `psf_scatter` and `psf_interpolate` on the GPU: the host of ``src/psf.cu``.

Each function takes the device first; the rest is as in `reference`. Two kernels do the six directions: one filters,
then weights; the other weights, then filters, and gathers what the transposes need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...types import Array, Shape
from .. import reference
from ..guards import guarded_host
from .launch import (
    THREADS,
    TILE_COLS,
    TILE_ROWS,
    Device,
    DoesNotFitError,
    boundary_code,
    fold,
    grid_over,
    launch,
    partial_sums,
    program,
    sizes,
)
from .mixture import image_chunks, of_own_shape, planes_of, shared_batch

__all__ = [
    "psf_gather",
    "psf_gather_adjoint",
    "psf_gather_gradients",
    "psf_interpolate",
    "psf_interpolate_adjoint",
    "psf_interpolate_gradients",
    "psf_scatter",
    "psf_scatter_adjoint",
    "psf_scatter_gradients",
]

FILE = "psf.cu"
RUN = 8

DIRECT_TAPS = 1024
"""Dense banks of larger PSFs go to the reference, which filters by FFT. An estimate: at this size the multiply-adds of
a direct filter take about as long as the passes of a forward and an inverse FFT through device memory."""

BLOCKS = 2048
"""Blocks among which a sum over the image is shared: several for each multiprocessor, few enough to sum up quickly."""

ONES, DENSE, HAT = range(3)


@dataclass(frozen=True)
class _Bank:
    """One call: the PSFs, and where a pixel's weights come from."""

    device: Device
    lead: Shape
    shape: Shape  # C, H, W of the sharp side
    psfs: Array
    boundary: str
    weights: Array | None = None
    index: Array | None = None
    fraction: Array | None = None

    @property
    def mode(self) -> int:
        if self.index is not None:
            return HAT
        return ONES if self.weights is None else DENSE

    @property
    def count(self) -> int:
        """Images of the flat batch."""
        return int(np.prod(self.lead, dtype=np.int64))

    @property
    def own_weights(self) -> bool:
        first = self.weights if self.index is None else self.index
        return first is not None and len(first) > 1

    @property
    def before(self) -> tuple[int, int]:
        """How far a convolution reads above and to the left of a pixel: the margin of the plane of its transpose."""
        h, w = self.psfs.shape[-2:]
        return h - 1 - h // 2, w - 1 - w // 2

    @property
    def after(self) -> tuple[int, int]:
        h, w = self.psfs.shape[-2:]
        return h // 2, w // 2

    def shared(self) -> int:
        """Bytes of shared memory that the two filters want."""
        h, w = self.psfs.shape[-2:]
        return ((TILE_ROWS + h - 1) * ((TILE_COLS + w - 1) | 1) + h * w) * int(self.psfs.dtype.itemsize)

    def taps_shared(self) -> int:
        """Bytes of shared memory that the gradient in the PSFs wants."""
        h, w = self.psfs.shape[-2:]
        image = (TILE_ROWS + h - 1) * ((TILE_COLS + w - 1 + RUN) | 1)
        return (image + TILE_ROWS * TILE_COLS + THREADS * RUN) * int(self.psfs.dtype.itemsize)

    def direct(self) -> bool:
        """Whether the kernels are the way to filter: they fit, and dense banks are not better off with FFTs."""
        h, w = self.psfs.shape[-2:]
        return self.shared() <= self.device.shared_limit and (self.mode == HAT or h * w <= DIRECT_TAPS)

    @cached_property
    def boxes(self) -> Array:
        """Rows and columns of every level that are not all zero: (L, 4)."""
        views, levels, colours, h, w = self.psfs.shape
        boxes = self.device.empty((levels, 4), "int32")
        arguments = {"psfs": self.psfs, "boxes": boxes, "views": views, "levels": levels, "colours": colours}
        own = program(FILE, self.psfs.dtype, WEIGHTS=ONES, GRADIENTS=False)
        grid = (levels, 1, 1)
        launch(self.device, own, "psf_boxes", grid, (h + w) * 4, {**arguments, "high": h, "wide": w})
        return boxes

    @property
    def arrays(self) -> dict[str, Any]:
        """Where a pixel's weights come from, as the kernels call it."""
        return {"dense": self.weights, "index": self.index, "fraction": self.fraction}

    def sizes(self, **values: Any) -> Any:
        channels, rows, cols = self.shape
        views, levels, colours, h, w = self.psfs.shape
        common = {
            "rows": rows, "cols": cols, "channels": channels, "views": views, "levels": levels,
            "own_psfs": colours > 1, "own_weights": self.own_weights, "high": h, "wide": w,
            "first_level": 0, "end_level": levels, "image": 0, "mirrored": 1, "top": 0, "left": 0,
            "result_rows": rows, "result_cols": cols, "image_boundary": boundary_code(self.boundary),
            "weight_boundary": boundary_code("zero"),
        }  # fmt: skip
        return sizes(FILE, {**common, **values})

    @property
    def margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Margins of a plane that is to be folded; none where nothing outside the frame comes back."""
        return ((0, 0), (0, 0)) if self.boundary == "zero" else (self.before, self.after)

    def plane(self, planes: int, colours: int) -> tuple[Array, dict[str, Any]]:
        """Return the planes that a transposed filter writes, and the sizes that say so."""
        (top, left), (bottom, right) = self.margins
        rows, cols = self.shape[1] + top + bottom, self.shape[2] + left + right
        given = {"mirrored": 0, "top": top, "left": left, "result_rows": rows, "result_cols": cols}
        return self.device.empty((planes, colours, rows, cols), self.psfs.dtype), {
            **given,
            "image_boundary": boundary_code("zero"),
        }

    def fold(self, plane: Array) -> Array:
        return fold(self.device, plane, *self.margins, self.boundary)

    def filter_first(self, x: Array, u: Array | None, y: Array | None, maps: Array | None, **values: Any) -> None:
        """Filter, then weight, into y and into the gradient in the weights (or in the fraction of a hat)."""
        own = program(FILE, self.psfs.dtype, WEIGHTS=self.mode, GRADIENTS=maps is not None)
        blocks = grid_over(values.get("result_rows", self.shape[1]), values.get("result_cols", self.shape[2]))
        gradients = {"gweights": maps, "gfraction": None}
        if self.mode == HAT:
            gradients = {"gweights": None, "gfraction": maps}
        for image, images in image_chunks(self.count, alone=maps is not None and not self.own_weights):
            arguments = {**self.arrays, "psfs": self.psfs, "boxes": self.boxes, "x": x, "u": u, "y": y, **gradients}
            last = {"size": self.sizes(image=image, **values), "add_weights": image > 0 and not self.own_weights}
            launch(self.device, own, "psf_after", (*blocks, images), self.shared(), {**arguments, **last})

    def weight_first(self, x: Array, result: Array, **values: Any) -> None:
        """Weight, then filter and sum over the levels and views."""
        own = program(FILE, self.psfs.dtype, WEIGHTS=self.mode, GRADIENTS=False)
        blocks = grid_over(*result.shape[-2:])
        for image, images in image_chunks(self.count, alone=False):
            arguments = {**self.arrays, "psfs": self.psfs, "boxes": self.boxes, "x": x, "result": result}
            size = self.sizes(image=image, **values)
            launch(self.device, own, "psf_before", (*blocks, images), self.shared(), {**arguments, "size": size})

    def psf_gradient(self, x: Array, u: Array, scatter: bool) -> Array:
        """Sum the products of the weighted cotangent and the image (scatter: of both the other way round)."""
        views, levels, colours, h, w = self.psfs.shape
        blocks = grid_over(*self.shape[1:])
        tiles = blocks[0] * blocks[1] * self.count
        kernels = views * levels * colours
        slots = min(tiles, max(1, BLOCKS // kernels))
        partials = self.device.empty((kernels * h * w, slots), "float64")
        own = program(FILE, self.psfs.dtype, WEIGHTS=self.mode, GRADIENTS=False)
        runs = h * -(-w // RUN)
        record = self.sizes(weight_boundary=boundary_code(self.boundary if scatter else "zero"))
        arguments = {**self.arrays, "x": x, "u": u, "gpsfs": partials, "size": record}
        grid = (slots, kernels, -(-runs // THREADS))
        last = {"images": self.count, "scatter": scatter}
        launch(self.device, own, "psf_taps", grid, self.taps_shared(), {**arguments, **last})
        return partial_sums(self.device, partials, self.psfs.shape, self.psfs.dtype)

    def shaped(self, flat: Array) -> Array:
        """Return flat images with the batch axes of the call."""
        return flat.reshape(*self.lead, *flat.shape[1:])

    def must_fit(self, primitive: str, taps: bool) -> None:
        """Raise DoesNotFitError if the gradient kernels lack shared memory."""
        most = max(self.shared(), self.taps_shared() if taps else 0)
        if most > self.device.shared_limit:
            h, w = self.psfs.shape[-2:]
            raise DoesNotFitError(
                f"{primitive}_gradients: expected PSFs that fit in {self.device.shared_limit} bytes of shared memory "
                f"with a tile of the image, got {h}x{w}, which want {most}; are they padded with zeros?"
            )


def _bank(
    device: Device,
    image: Array,
    channels: int,
    psfs: Array,
    boundary: str,
    weights: Array | None = None,
    index: Array | None = None,
    fraction: Array | None = None,
) -> _Bank:
    """Return the bank of a call; index and fraction may be shared by images differently, and are brought in line."""
    lead, shape = tuple(image.shape[:-3]), (channels, *image.shape[-2:])
    kernels = device.xp.ascontiguousarray(psfs)
    if index is None or fraction is None:
        maps = None if weights is None else shared_batch(device, weights, lead, 3)
        return _Bank(device, lead, shape, kernels, boundary, maps)
    index, fraction = device.xp.broadcast_arrays(index, fraction)
    lower, upper = shared_batch(device, index, lead, 2, "int32"), shared_batch(device, fraction, lead, 2)
    return _Bank(device, lead, shape, kernels, boundary, None, lower, upper)


def _filtered_first(bank: _Bank, x: Array) -> Array:
    """Gather: ``y_v = sum_l w_l . (h_vl * E x)``."""
    y = bank.device.empty((bank.count, bank.psfs.shape[0] * bank.shape[0], *bank.shape[1:]), bank.psfs.dtype)
    bank.filter_first(planes_of(bank.device, x), None, y, None)
    return bank.shaped(y)


def _filtered_first_adjoint(bank: _Bank, y: Array) -> Array:
    """Transpose of a gather: ``x = E^T sum_vl h_vl^T (w_l . y_v)``."""
    plane, values = bank.plane(bank.count, bank.shape[0])
    bank.weight_first(planes_of(bank.device, y), plane, **values)
    return bank.shaped(bank.fold(plane))


@guarded_host
def psf_gather(device: Device, x: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """See `reference.psf_gather`. A level costs nothing in the tiles where it has no weight."""
    bank = _bank(device, x, x.shape[-3], psfs, boundary, weights)
    if not bank.direct():
        return reference.psf_gather(x, psfs, weights, boundary)
    return _filtered_first(bank, x)


@guarded_host
def psf_gather_adjoint(device: Device, y: Array, psfs: Array, weights: Array | None, boundary: str) -> Array:
    """See `reference.psf_gather_adjoint`. A gather on the extended plane, then the transpose of the boundary."""
    bank = _bank(device, y, y.shape[-3] // psfs.shape[0], psfs, boundary, weights)
    if not bank.direct():
        return reference.psf_gather_adjoint(y, psfs, weights, boundary)
    return _filtered_first_adjoint(bank, y)


def _gather_gradients(
    bank: _Bank, x: Array, u: Array, like: Array | None, axes: int, wanted: Sequence[bool]
) -> tuple[Array | None, ...]:
    """Gradients of a gather; `like` has the shape of the weights or of the fraction, `axes` of which are not batch."""
    want_y, want_x, want_psfs, want_maps = wanted
    first, cotangent = planes_of(bank.device, x), planes_of(bank.device, u)
    y = gmaps = None
    if want_y:
        y = bank.device.empty(cotangent.shape, bank.psfs.dtype)
    if want_maps and like is not None:
        gmaps = bank.device.empty((bank.fraction if bank.mode == HAT else bank.weights).shape, bank.psfs.dtype)  # type: ignore[union-attr]
    if y is not None or gmaps is not None:
        bank.filter_first(first, cotangent, y, gmaps)
    return (
        None if y is None else bank.shaped(y),
        _filtered_first_adjoint(bank, u) if want_x else None,
        bank.psf_gradient(first, cotangent, scatter=False) if want_psfs else None,
        None if gmaps is None or like is None else of_own_shape(bank.device, gmaps, like.shape, bank.lead, axes),
    )


@guarded_host
def psf_gather_gradients(
    device: Device, x: Array, u: Array, psfs: Array, weights: Array | None, boundary: str, wanted: Sequence[bool]
) -> tuple[Array | None, ...]:
    """Return (y, gx, gpsfs, gweights) of ``<u, psf_gather(x)>``; None for what is not wanted."""
    bank = _bank(device, x, x.shape[-3], psfs, boundary, weights)
    bank.must_fit("psf_gather", wanted[2])
    return _gather_gradients(bank, x, u, weights, 3, wanted)


def _weighted_first(bank: _Bank, x: Array) -> Array:
    """Scatter: ``y = sum_l h_l * E (w_l . x)``."""
    y = bank.device.empty((bank.count, *bank.shape), bank.psfs.dtype)
    bank.weight_first(planes_of(bank.device, x), y)
    return bank.shaped(y)


def _weighted_first_adjoint(bank: _Bank, y: Array) -> Array:
    """Transpose of a scatter: ``x = sum_l w_l . E^T h_l^T y``, the weights extended so that one fold serves all."""
    plane, values = bank.plane(bank.count, bank.shape[0])
    bank.filter_first(
        planes_of(bank.device, y), None, plane, None, weight_boundary=boundary_code(bank.boundary), **values
    )
    return bank.shaped(bank.fold(plane))


@guarded_host
def psf_scatter(device: Device, x: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """See `reference.psf_scatter`. Written as a gather from all pixels within reach."""
    bank = _bank(device, x, x.shape[-3], psfs, boundary, weights)
    if not bank.direct():
        return reference.psf_scatter(x, psfs, weights, boundary)
    return _weighted_first(bank, x)


@guarded_host
def psf_scatter_adjoint(device: Device, y: Array, psfs: Array, weights: Array, boundary: str) -> Array:
    """See `reference.psf_scatter_adjoint`."""
    bank = _bank(device, y, y.shape[-3], psfs, boundary, weights)
    if not bank.direct():
        return reference.psf_scatter_adjoint(y, psfs, weights, boundary)
    return _weighted_first_adjoint(bank, y)


@guarded_host
def psf_scatter_gradients(
    device: Device, x: Array, u: Array, psfs: Array, weights: Array, boundary: str, wanted: Sequence[bool]
) -> tuple[Array | None, ...]:
    """Return (y, gx, gpsfs, gweights) of ``<u, psf_scatter(x)>``; None for what is not wanted.

    The gradient in the weights is ``sum_c x . E^T h_l^T u``: level by level on an extended plane, then folded.
    """
    bank = _bank(device, x, x.shape[-3], psfs, boundary, weights)
    bank.must_fit("psf_scatter", wanted[2])
    want_y, want_x, want_psfs, want_weights = wanted
    first, cotangent = planes_of(device, x), planes_of(device, u)
    gweights = device.empty(bank.weights.shape, bank.psfs.dtype) if want_weights else None  # type: ignore[union-attr]
    if gweights is not None:
        plane, values = bank.plane(len(gweights), 1)
        for level in range(gweights.shape[1]):
            levels = {"first_level": level, "end_level": level + 1, "weight_boundary": boundary_code(boundary)}
            bank.filter_first(cotangent, first, None, plane, **values, **levels)
            gweights[:, level, :, :] = bank.fold(plane)[:, 0, :, :]
    return (
        _weighted_first(bank, x) if want_y else None,
        _weighted_first_adjoint(bank, u) if want_x else None,
        bank.psf_gradient(first, cotangent, scatter=True) if want_psfs else None,
        None if gweights is None else of_own_shape(device, gweights, weights.shape, bank.lead, 3),
    )


@guarded_host
def psf_interpolate(device: Device, x: Array, psfs: Array, index: Array, fraction: Array, boundary: str) -> Array:
    """See `reference.psf_interpolate`. A warp pays for the levels of its own pixels and their own supports only."""
    bank = _bank(device, x, x.shape[-3], psfs, boundary, None, index, fraction)
    if not bank.direct():
        return reference.psf_interpolate(x, psfs, index, fraction, boundary)
    return _filtered_first(bank, x)


@guarded_host
def psf_interpolate_adjoint(
    device: Device, y: Array, psfs: Array, index: Array, fraction: Array, boundary: str
) -> Array:
    """See `reference.psf_interpolate_adjoint`. A gather: a tile filters every level that occurs within reach of it."""
    bank = _bank(device, y, y.shape[-3] // psfs.shape[0], psfs, boundary, None, index, fraction)
    if not bank.direct():
        return reference.psf_interpolate_adjoint(y, psfs, index, fraction, boundary)
    return _filtered_first_adjoint(bank, y)


@guarded_host
def psf_interpolate_gradients(
    device: Device,
    x: Array,
    u: Array,
    psfs: Array,
    index: Array,
    fraction: Array,
    boundary: str,
    wanted: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return (y, gx, gpsfs, gfraction) of ``<u, psf_interpolate(x)>``; None for what is not wanted."""
    bank = _bank(device, x, x.shape[-3], psfs, boundary, None, index, fraction)
    bank.must_fit("psf_interpolate", wanted[2])
    return _gather_gradients(bank, x, u, fraction, 2, wanted)
