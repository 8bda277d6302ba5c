"""`recursive_mixture` on the GPU: the host of ``src/recursive.cu`` and ``src/recursive_atoms.cu``.

Each function takes the device first; the rest is as in `reference`. The levels are cut into passes; a pass keeps its
levels in shared memory. A stagewise mixture has one level a pass: every pass reads its input through the boundary rule
and leaves an image. (With the circular boundary that is the plain mixture, which then serves.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
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
    boundary_code,
    fold,
    grid_over,
    launch,
    partial_sums,
    program,
    sizes,
)
from .mixture import Group, Mixture, image_chunks, of_own_shape

__all__ = ["recursive_mixture", "recursive_mixture_adjoint", "recursive_mixture_gradients"]

FILE, ATOMS_FILE = "recursive.cu", "recursive_atoms.cu"
PATCH_ROWS, PATCH_COLS = 7, 4
"""What a thread filters; also in the source."""

MAX_STEPS = 10
"""Levels of a pass at most. With 10 levels of three taps a tile filters 1.48 times its own pixels; all 19 of J = 20
at once would make that 2.06, and one block would take the shared memory of two."""


def _tile(half: int, steps: int) -> int:
    """Return the numbers in a tile with the halo of a pass and the spare rows and columns of the patches."""
    rows, cols = TILE_ROWS + 2 * half * steps, TILE_COLS + 2 * half * steps
    return (rows + PATCH_ROWS - 1) * ((cols + PATCH_COLS - 1) | 1)


@dataclass(frozen=True)
class _Pass:
    start: int
    steps: int

    @property
    def end(self) -> int:
        return self.start + self.steps


@dataclass(frozen=True)
class _Cascade:
    """One call: the mixture, its atoms, and how far the level j of an image or of Horner's rule reaches."""

    mixture: Mixture
    atoms: Array
    stagewise: bool

    @property
    def half(self) -> int:
        return int(self.atoms.shape[-1] // 2)

    @property
    def levels(self) -> int:
        return int(self.mixture.maps.shape[-3])

    @property
    def own_atoms(self) -> bool:
        return bool(self.atoms.shape[1] > 1)

    def margin(self, level: int) -> int:
        """How far beyond the image level `level` is needed, px."""
        return 0 if self.stagewise else self.half * (self.levels - 1 - level)

    def passes(self, shared: Callable[[int, int, int], int]) -> list[_Pass]:
        """Cut the levels into passes of nearly equal length that fit in shared memory with one colour at least.

        Parameters
        ----------
        shared : callable
            Bytes that a launch of (colours, outputs, steps) wants.
        """
        count = self.levels - 1
        if count == 0:
            return [_Pass(0, 0)]
        most = 1 if self.stagewise else MAX_STEPS
        limit = self.mixture.device.shared_limit
        while most > 1 and shared(*self._preferred(), most) > limit:
            most -= 1
        if shared(1, 1, most) > limit:
            raise DoesNotFitError(
                f"recursive_mixture: expected atoms whose tile with its halo fits in {limit} bytes of shared memory, "
                f"got {2 * self.half + 1} taps"
            )
        number = -(-count // most)
        ends = [count * (i + 1) // number for i in range(number)]
        return [_Pass(a, b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def _preferred(self) -> tuple[int, int]:
        """Colours and outputs of a launch where nothing is short."""
        return min(3, self.mixture.channels), min(3, self.mixture.outputs)

    def sizes(self, step: _Pass, **values: Any) -> Any:
        common = {"own_atoms": self.own_atoms, "levels": self.levels, "start": step.start, "steps": step.steps}
        return sizes(FILE, self.mixture.sizes(**{**common, **values}))

    def program(self, group: Group, gradients: bool = False, file: str = FILE) -> Any:
        mixed = self.mixture.mix is not None
        return program(
            file,
            self.mixture.dtype,
            HALF=self.half,
            COLOURS=group.colours,
            OUTPUTS=group.outputs,
            MIX=mixed,
            GRADIENTS=gradients,
        )


@dataclass(frozen=True)
class _Forward:
    """The forward direction, pass by pass, into arrays that are there already (None: not wanted)."""

    cascade: _Cascade
    u: Array | None = None
    y: Array | None = None
    gmaps: Array | None = None
    gmix: Array | None = None

    def shared(self, colours: int, outputs: int, steps: int) -> int:
        scratch = outputs * THREADS if self.gmix is not None else 0
        cascade = self.cascade
        return ((colours + 1) * _tile(cascade.half, steps) + scratch) * cascade.mixture.dtype.itemsize

    def advance(self, step: _Pass, state: Array, *, keep: bool, record: bool = True) -> Array | None:
        """Run one pass from the state at its start; return the state at its end if it is to be kept."""
        cascade, mixture = self.cascade, self.cascade.mixture
        y, gmaps, gmix = (self.y, self.gmaps, self.gmix) if record else (None, None, None)
        to_margin = cascade.margin(step.end) if keep else 0
        after = mixture.empty(mixture.channels, to_margin) if keep else None
        extended = step.start == 0 or cascade.stagewise
        blocks = grid_over(mixture.rows + 2 * to_margin, mixture.cols + 2 * to_margin)
        alone = gmaps is not None and not mixture.own_maps
        groups = mixture.groups(lambda colours, outputs: self.shared(colours, outputs, step.steps))
        for i, group in enumerate(groups):
            for image, images in image_chunks(mixture.count, alone):
                values = cascade.sizes(
                    step,
                    channel=group.channel,
                    output=group.output,
                    image=image,
                    slots=0 if gmix is None else gmix.shape[1],
                    from_margin=0 if extended else cascade.margin(step.start),
                    to_margin=to_margin,
                    boundary=boundary_code(mixture.boundary if extended else "zero"),
                )
                launch(
                    mixture.device,
                    cascade.program(group, self.u is not None),
                    "recursive_forward",
                    (*blocks, images),
                    self.shared(group.colours, group.outputs, step.steps),
                    {
                        "below": state, "maps": mixture.maps, "mix": mixture.mix,
                        "atoms": cascade.atoms, "u": self.u, "y": y, "state": after, "gmaps": gmaps, "gmix": gmix,
                        "size": values,
                        "add_y": step.start > 0 or (mixture.mix is not None and group.channel > 0),
                        "add_maps": i > 0 or (image > 0 and not mixture.own_maps),
                    },
                )  # fmt: skip
        return after

    def run(self, passes: Sequence[_Pass]) -> None:
        state = self.cascade.mixture.flat
        for i, step in enumerate(passes):
            state = self.advance(step, state, keep=i + 1 < len(passes))

    def states_backwards(self, passes: Sequence[_Pass]) -> Iterator[Array]:
        """Yield the states at the starts of the passes, last first, after a whole sweep that records.

        About 2 sqrt(passes) of them are held at a time; the others are computed anew from the nearest one kept.
        """
        stride = isqrt(len(passes) - 1) + 1
        kept: dict[int, Array] = {}
        state = self.cascade.mixture.flat
        for i, step in enumerate(passes):
            if i % stride == 0:
                kept[i] = state
            state = self.advance(step, state, keep=i + 1 < len(passes))
        for first in sorted(kept, reverse=True):
            states = [kept.pop(first)]
            for step in passes[first : min(first + stride, len(passes)) - 1]:
                states.append(self.advance(step, states[-1], keep=True, record=False))
            while states:
                yield states.pop()


@dataclass(frozen=True)
class _Horner:
    """The adjoint, pass by pass downwards; its mixture holds the cotangent."""

    cascade: _Cascade

    def shared(self, colours: int, outputs: int, steps: int) -> int:
        return (colours + 1) * _tile(self.cascade.half, steps) * self.cascade.mixture.dtype.itemsize

    def descend(self, step: _Pass, above: Array | None) -> Array:
        """Return what reaches level `step.start`, given what reached level `step.end` (None: nothing is above)."""
        cascade, mixture = self.cascade, self.cascade.mixture
        reach = cascade.half if cascade.stagewise and step.steps else cascade.margin(step.start)
        to_margin = 0 if mixture.boundary == "zero" and (cascade.stagewise or step.start == 0) else reach
        below = mixture.empty(mixture.channels, to_margin)
        blocks = grid_over(*below.shape[-2:])
        groups = mixture.groups(lambda colours, outputs: self.shared(colours, outputs, step.steps))
        for group in {group.channel: group for group in groups}.values():  # a launch reads all output colours
            for image, images in image_chunks(mixture.count, alone=False):
                values = cascade.sizes(
                    _Pass(step.end, step.steps),
                    channel=group.channel,
                    image=image,
                    from_margin=cascade.margin(step.end),
                    to_margin=to_margin,
                    boundary=boundary_code("zero"),
                )
                launch(
                    mixture.device,
                    cascade.program(group),
                    "recursive_adjoint",
                    (*blocks, images),
                    self.shared(group.colours, group.outputs, step.steps),
                    {
                        **mixture.arrays("y"),
                        "plane": above,
                        "atoms": cascade.atoms,
                        "state": below,
                        "size": values,
                    },
                )
        if cascade.stagewise or step.start == 0:
            margins = (to_margin, to_margin)
            return fold(mixture.device, below, margins, margins, mixture.boundary)
        return below


def _atoms_shared(cascade: _Cascade, steps: int) -> int:
    numbers = (steps + 2) * _tile(cascade.half, steps) + (2 * cascade.half + 1) * THREADS
    return numbers * int(cascade.mixture.dtype.itemsize)


def _add_atoms(cascade: _Cascade, step: _Pass, below: Array, above: Array | None, u: Array, partials: Array) -> None:
    """Write the partial sums of the atoms of one pass."""
    mixture = cascade.mixture
    extended = step.start == 0 or cascade.stagewise
    to_margin = cascade.margin(step.start + 1)
    blocks = grid_over(mixture.rows + 2 * to_margin, mixture.cols + 2 * to_margin)
    for image, images in image_chunks(mixture.count, alone=False):
        values = cascade.sizes(
            step,
            image=image,
            slots=partials.shape[1],
            from_margin=0 if extended else cascade.margin(step.start),
            to_margin=to_margin,
            boundary=boundary_code(mixture.boundary if extended else "zero"),
        )
        launch(
            mixture.device,
            cascade.program(Group(0, 1, 0, 1), file=ATOMS_FILE),
            "recursive_atoms",
            (*blocks, images),
            _atoms_shared(cascade, step.steps),
            {
                "below": below, "above": above, "maps": mixture.maps, "mix": mixture.mix, "atoms": cascade.atoms,
                "u": u, "gatoms": partials, "size": values, "above_margin": cascade.margin(step.end),
            },
        )  # fmt: skip


def _cascade(
    device: Device, image: Array, maps: Array, atoms: Array, boundary: str, stagewise: bool, mix: Any
) -> _Cascade:
    mixture = Mixture(device, image, maps, mix, boundary)
    return _Cascade(mixture, device.xp.ascontiguousarray(atoms), stagewise and boundary != "circular")


@guarded_host
def recursive_mixture(
    device: Device,
    x: Array,
    maps: Array,
    atoms: Array,
    boundary: str,
    stagewise: bool = False,
    mix: Array | None = None,
) -> Array:
    """See `reference.recursive_mixture`. The image is read and written once for every `MAX_STEPS` levels."""
    cascade = _cascade(device, x, maps, atoms, boundary, stagewise, mix)
    forward = _Forward(cascade, y=cascade.mixture.empty(cascade.mixture.outputs))
    try:
        passes = cascade.passes(forward.shared)
    except DoesNotFitError:
        return reference.recursive_mixture(x, maps, atoms, boundary, stagewise, mix)
    forward.run(passes)
    return cascade.mixture.shaped(forward.y)


@guarded_host
def recursive_mixture_adjoint(
    device: Device,
    y: Array,
    maps: Array,
    atoms: Array,
    boundary: str,
    stagewise: bool = False,
    mix: Array | None = None,
) -> Array:
    """See `reference.recursive_mixture_adjoint`. A gather: each pixel of the extended plane is written once."""
    cascade = _cascade(device, y, maps, atoms, boundary, stagewise, mix)
    horner = _Horner(cascade)
    try:
        passes = cascade.passes(horner.shared)
    except DoesNotFitError:
        return reference.recursive_mixture_adjoint(y, maps, atoms, boundary, stagewise, mix)
    x: Array | None = None
    for step in reversed(passes):
        x = horner.descend(step, x)
    return cascade.mixture.shaped(x)


@guarded_host
def recursive_mixture_gradients(
    device: Device,
    x: Array,
    u: Array,
    maps: Array,
    atoms: Array,
    boundary: str,
    stagewise: bool,
    mix: Array | None,
    wanted: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return (y, gx, gmaps, gatoms, gmix) of ``<u, F(x)>``; None for what is not wanted.

    One sweep up gives y and the gradients in maps and mix and keeps the states between passes; one sweep down gives the
    others. Sums over the image have two stages, both in a fixed order: the same numbers give the same bits.
    """
    cascade = _cascade(device, x, maps, atoms, boundary, stagewise, mix)
    mixture = cascade.mixture
    down = _cascade(device, u, maps, atoms, boundary, stagewise, mix)
    want_y, want_x, want_maps, want_atoms, want_mix = wanted
    widest = grid_over(mixture.rows + 2 * cascade.margin(0), mixture.cols + 2 * cascade.margin(0))
    forward = _Forward(
        cascade,
        u=down.mixture.flat if want_maps or want_mix else None,
        y=mixture.empty(mixture.outputs) if want_y else None,
        gmaps=device.empty(mixture.maps.shape, mixture.dtype) if want_maps else None,
        gmix=mixture.partials(mixture.mix.size, mixture.slots(widest))
        if want_mix and mixture.mix is not None
        else None,
    )
    horner, gatoms, gx = _Horner(down), None, None

    def shared(colours: int, outputs: int, steps: int) -> int:
        own = _atoms_shared(cascade, steps) if want_atoms else 0
        return max(own, forward.shared(colours, outputs, steps), horner.shared(colours, outputs, steps))

    passes = cascade.passes(shared)
    if want_atoms and cascade.atoms.size:
        slots = mixture.slots(widest, 1 if cascade.own_atoms else mixture.channels)
        partials = mixture.partials(cascade.atoms.size, slots)
        for i, below in zip(range(len(passes) - 1, -1, -1), forward.states_backwards(passes), strict=True):
            _add_atoms(cascade, passes[i], below, gx, down.mixture.flat, partials)
            if i > 0 or want_x:
                gx = horner.descend(passes[i], gx)
        gatoms = partial_sums(device, partials, cascade.atoms.shape, mixture.dtype)
    else:
        if want_y or want_maps or want_mix:
            forward.run(passes)
        if want_x:
            for step in reversed(passes):
                gx = horner.descend(step, gx)
        gatoms = device.xp.zeros_like(cascade.atoms) if want_atoms else None
    return (
        None if forward.y is None else mixture.shaped(forward.y),
        mixture.shaped(gx) if want_x else None,
        None if forward.gmaps is None else of_own_shape(device, forward.gmaps, maps.shape, mixture.lead, 3),
        gatoms,
        mixture.mix_gradient(forward.gmix),
    )
