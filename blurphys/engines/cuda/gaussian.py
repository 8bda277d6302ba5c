"""`gaussian_mixture` on the GPU: the host of ``src/gaussian.cu``.

Each function takes the device first; the rest is as in `reference`. Kernels so wide that a tile with its halo does not
fit in shared memory (half-widths beyond about 50 to 85 px, by device and dtype) are left to the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import Array
from .. import reference
from ..guards import guarded_host
from .launch import (
    THREADS,
    TILE_COLS,
    TILE_ROWS,
    Device,
    DoesNotFitError,
    Program,
    boundary_code,
    fold,
    grid_over,
    launch,
    partial_sums,
    program,
    sizes,
)
from .mixture import Group, Mixture, image_chunks, of_own_shape

__all__ = ["gaussian_mixture", "gaussian_mixture_adjoint", "gaussian_mixture_gradients"]

FILE = "gaussian.cu"


def _tile(half: int) -> tuple[int, int]:
    """Return numbers in a tile with halo and in a tile that is filtered down its columns."""
    pitch = (TILE_COLS + 2 * half) | 1
    return (TILE_ROWS + 2 * half) * pitch, TILE_ROWS * pitch


def _program(mixture: Mixture, halves: Sequence[int], group: Group, gradients: bool = False) -> Program:
    return program(
        FILE,
        mixture.dtype,
        HALF=max(halves),
        KERNELS=len(halves),
        HALVES=tuple(halves),
        COLOURS=group.colours,
        OUTPUTS=group.outputs,
        MIX=mixture.mix is not None,
        GRADIENTS=gradients,
    )


def _run_forward(mixture: Mixture, taps: Array, halves: Sequence[int], u: Array | None, wanted: Sequence[bool]) -> Any:
    """Launch the forward kernel; return (y, gmaps, gmix), None for what is not wanted, or None if it does not fit."""
    itemsize, (tile, lines) = mixture.dtype.itemsize, _tile(max(halves))
    scratch = THREADS if u is not None else 0

    def shared(colours: int, outputs: int) -> int:
        return (colours * (tile + lines) + outputs * scratch) * itemsize

    groups = mixture.groups(shared)
    if not groups:
        return None
    want_y, want_maps, want_mix = wanted
    blocks = grid_over(mixture.rows, mixture.cols)
    slots = mixture.slots(blocks)
    y = mixture.empty(mixture.outputs) if want_y else None
    gmaps = mixture.device.empty(mixture.maps.shape, mixture.dtype) if want_maps else None
    gmix = mixture.mix_partials(slots) if want_mix else None
    for i, group in enumerate(groups):
        for image, images in image_chunks(mixture.count, alone=want_maps and not mixture.own_maps):
            values = mixture.sizes(
                channel=group.channel, output=group.output, image=image, slots=slots, own_taps=taps.shape[0] > 1,
                margin=0, boundary=boundary_code(mixture.boundary),
            )  # fmt: skip
            launch(
                mixture.device,
                _program(mixture, halves, group, u is not None),
                "gaussian_forward",
                (*blocks, images),
                shared(group.colours, group.outputs),
                {
                    **mixture.arrays("x"), "taps": taps, "u": u, "y": y, "gmaps": gmaps, "gmix": gmix,
                    "size": sizes(FILE, values), "add_y": mixture.mix is not None and group.channel > 0,
                    "add_maps": i > 0 or (image > 0 and not mixture.own_maps),
                },
            )  # fmt: skip
    return y, gmaps, gmix


def _run_adjoint(mixture: Mixture, taps: Array, halves: Sequence[int]) -> Any:
    """Launch the adjoint kernel and fold; None if it does not fit."""
    itemsize, (tile, lines), half = mixture.dtype.itemsize, _tile(max(halves)), max(halves)

    def shared(colours: int, outputs: int) -> int:
        return (outputs * tile + colours * lines) * itemsize

    groups = mixture.groups(shared)
    if not groups:
        return None
    margin = 0 if mixture.boundary == "zero" else half
    plane = mixture.empty(mixture.channels, margin)
    blocks = grid_over(*plane.shape[-2:])
    for group in groups:
        for image, images in image_chunks(mixture.count, alone=False):
            values = mixture.sizes(
                channel=group.channel, output=group.output, image=image, own_taps=taps.shape[0] > 1, margin=margin,
                boundary=boundary_code("zero"),
            )  # fmt: skip
            launch(
                mixture.device,
                _program(mixture, halves, group),
                "gaussian_adjoint",
                (*blocks, images),
                shared(group.colours, group.outputs),
                {
                    **mixture.arrays("y"), "taps": taps, "plane": plane, "size": sizes(FILE, values),
                    "add": mixture.mix is not None and group.output > 0,
                },
            )  # fmt: skip
    return fold(mixture.device, plane, (margin, margin), (margin, margin), mixture.boundary)


def _run_taps(mixture: Mixture, taps: Array, halves: Sequence[int], u: Array) -> Any:
    """Launch the kernel of the gradient in the taps; None if it does not fit."""
    half = max(halves)
    tile, lines = _tile(half)
    square = TILE_COLS + 1
    numbers = tile + lines + (2 * TILE_ROWS + 2 * half) * square + (half + 1) * THREADS
    shared = numbers * mixture.dtype.itemsize
    if shared > mixture.device.shared_limit:
        return None
    own = taps.shape[0] > 1
    blocks = grid_over(mixture.rows, mixture.cols)
    slots = mixture.slots(blocks, 1 if own else mixture.channels)
    partials = mixture.partials(taps.size, slots)
    group = Group(0, 1, 0, 1)
    for image, images in image_chunks(mixture.count, alone=False):
        values = mixture.sizes(
            image=image, slots=slots, own_taps=own, margin=0, boundary=boundary_code(mixture.boundary)
        )
        launch(
            mixture.device,
            _program(mixture, halves, group),
            "gaussian_taps",
            (*blocks, images),
            shared,
            {**mixture.arrays("x"), "taps": taps, "u": u, "gtaps": partials, "size": sizes(FILE, values)},
        )
    return partial_sums(mixture.device, partials, taps.shape, mixture.dtype)


@guarded_host
def gaussian_mixture(
    device: Device,
    x: Array,
    maps: Array,
    taps: Array,
    halves: Sequence[int],
    boundary: str,
    mix: Array | None = None,
) -> Array:
    """See `reference.gaussian_mixture`. Cost: about 4 h + 2 instructions a pixel, colour and kernel."""
    mixture = Mixture(device, x, maps, mix, boundary)
    found = _run_forward(mixture, device.xp.ascontiguousarray(taps), halves, None, (True, False, False))
    if found is None:
        return reference.gaussian_mixture(x, maps, taps, halves, boundary, mix)
    return mixture.shaped(found[0])


@guarded_host
def gaussian_mixture_adjoint(
    device: Device,
    y: Array,
    maps: Array,
    taps: Array,
    halves: Sequence[int],
    boundary: str,
    mix: Array | None = None,
) -> Array:
    """See `reference.gaussian_mixture_adjoint`. A gather on the extended plane, then the transpose of the boundary."""
    mixture = Mixture(device, y, maps, mix, boundary)
    found = _run_adjoint(mixture, device.xp.ascontiguousarray(taps), halves)
    if found is None:
        return reference.gaussian_mixture_adjoint(y, maps, taps, halves, boundary, mix)
    return mixture.shaped(found)


@guarded_host
def gaussian_mixture_gradients(
    device: Device,
    x: Array,
    u: Array,
    maps: Array,
    taps: Array,
    halves: Sequence[int],
    boundary: str,
    mix: Array | None,
    wanted: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return (y, gx, gmaps, gtaps, gmix) of ``<u, F(x)>``; None for what is not wanted.

    y and the gradients in maps and mix come from one forward pass. Sums over the image have two stages, both in a
    fixed order: the same numbers give the same bits.
    """
    mixture = Mixture(device, x, maps, mix, boundary)
    want_y, want_x, want_maps, want_taps, want_mix = wanted
    table, flat_u = device.xp.ascontiguousarray(taps), Mixture(device, u, maps, mix, boundary)
    y = gmaps = gmix = gtaps = None
    if want_y or want_maps or want_mix:
        cotangent = flat_u.flat if want_maps or want_mix else None
        y, gmaps, gmix = _fitting(_run_forward(mixture, table, halves, cotangent, (want_y, want_maps, want_mix)))
    gx = _fitting(_run_adjoint(flat_u, table, halves)) if want_x else None
    if want_taps:
        gtaps = _fitting(_run_taps(mixture, table, halves, flat_u.flat))
    return (
        None if y is None else mixture.shaped(y),
        None if gx is None else mixture.shaped(gx),
        None if gmaps is None else of_own_shape(device, gmaps, maps.shape, mixture.lead, 3),
        gtaps,
        mixture.mix_gradient(gmix),
    )


def _fitting(found: Any) -> Any:
    if found is None:
        raise DoesNotFitError(
            "gaussian_mixture_gradients: expected kernels whose tile with its halo fits in the shared memory of the "
            "GPU, got wider ones; is a sigma meant in other units than pixels?"
        )
    return found
