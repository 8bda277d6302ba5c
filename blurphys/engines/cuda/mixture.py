"""What the hosts of the two mixtures share: flat arrays, groups of colours, gradients of shared maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...frozen import freeze
from ...types import Array, Shape
from .launch import MAX_GRID, Device, partial_sums

__all__ = ["Group", "Mixture", "image_chunks", "of_own_shape", "planes_of", "shared_batch"]

MAX_COLOURS = 4
"""Colours that one launch handles together: their tiles share the shared memory, their results the registers."""


def planes_of(device: Device, x: Array, dtype: Any = None) -> Array:
    """Return images (*N, C, H, W) as contiguous (N, C, H, W)."""
    return device.xp.ascontiguousarray(x, dtype=dtype).reshape(-1, *x.shape[-3:])


def shared_batch(device: Device, maps: Array, lead: Shape, axes: int, dtype: Any = None) -> Array:
    """Return maps as contiguous (1 or N, ...): one item if all images share them, else one for each flat image."""
    kept = maps.shape[-axes:]
    if not all(n == 1 for n in maps.shape[:-axes]):
        maps = device.xp.broadcast_to(maps, (*lead, *kept))
    return device.xp.ascontiguousarray(maps, dtype=dtype).reshape(-1, *kept)


def of_own_shape(device: Device, gradient: Array, shape: Shape, lead: Shape, axes: int) -> Array:
    """Sum a gradient of `shared_batch` maps over the batch axes that the maps were broadcast along."""
    kept = shape[-axes:]
    if len(gradient) == 1:
        return gradient.reshape(shape)
    full = gradient.reshape(*lead, *kept)
    own = (1,) * (len(lead) - (len(shape) - axes)) + tuple(shape[:-axes])
    summed = tuple(i for i, (n, total) in enumerate(zip(own, lead, strict=True)) if n == 1 != total)
    return (device.xp.sum(full, axis=summed) if summed else full).reshape(shape)


def image_chunks(count: int, alone: bool) -> Iterator[tuple[int, int]]:
    """Yield (first image, images) of each launch: all at once, or one by one where they add to the same gradient."""
    size = 1 if alone else MAX_GRID
    for start in range(0, count, size):
        yield start, min(size, count - start)


@dataclass(frozen=True)
class Group:
    """Colours of one launch: input colours from `channel` on, output colours from `output` on."""

    channel: int
    colours: int
    output: int
    outputs: int


def _divisor(count: int, limit: int) -> int:
    return max(d for d in range(1, limit + 1) if count % d == 0)


@dataclass(frozen=True)
class Mixture:
    """Arguments of one call, flat and contiguous.

    Parameters
    ----------
    device : Device
    image : array of shape (*N, C or D, H, W)
        The image, or what the adjoint is applied to.
    given_maps : array of shape (*B, K, H, W)
    given_mix : array of shape (D, C, K), optional
    boundary : str
    """

    device: Device
    image: Array
    given_maps: Array
    given_mix: Array | None
    boundary: str
    flat: Array = field(init=False)
    maps: Array = field(init=False)
    mix: Array | None = field(init=False)
    channels: int = field(init=False)
    outputs: int = field(init=False)

    def __post_init__(self) -> None:
        mix = None if self.given_mix is None else self.device.xp.ascontiguousarray(self.given_mix)
        own = self.image.shape[-3]
        freeze(
            self,
            flat=planes_of(self.device, self.image),
            maps=shared_batch(self.device, self.given_maps, self.lead, 3),
            mix=mix,
            channels=own if mix is None else mix.shape[1],
            outputs=own if mix is None else mix.shape[0],
        )

    @property
    def lead(self) -> Shape:
        return tuple(self.image.shape[:-3])

    @property
    def count(self) -> int:
        """Images of the flat batch."""
        return int(self.flat.shape[0])

    @property
    def rows(self) -> int:
        return int(self.image.shape[-2])

    @property
    def cols(self) -> int:
        return int(self.image.shape[-1])

    @property
    def own_maps(self) -> bool:
        return len(self.maps) > 1

    @property
    def dtype(self) -> Any:
        return self.image.dtype

    def groups(self, shared: Callable[[int, int], int]) -> list[Group]:
        """Cut the colours into groups whose tiles fit in shared memory; none if not even one colour does.

        Parameters
        ----------
        shared : callable
            Bytes that a launch of (colours, outputs) wants.
        """
        for limit in range(MAX_COLOURS, 0, -1):
            c = _divisor(self.channels, limit)
            d = c if self.mix is None else _divisor(self.outputs, limit)
            if shared(c, d) <= self.device.shared_limit:
                if self.mix is None:
                    return [Group(i, c, i, c) for i in range(0, self.channels, c)]
                pairs = [(i, o) for o in range(0, self.outputs, d) for i in range(0, self.channels, c)]
                return [Group(i, c, o, d) for i, o in pairs]
        return []

    def arrays(self, image: str) -> dict[str, Any]:
        """Return the arrays that every kernel takes, the image under the name `image`."""
        return {image: self.flat, "maps": self.maps, "mix": self.mix}

    def sizes(self, **values: Any) -> dict[str, Any]:
        """Sizes that both sources take, and the values given."""
        common = {"rows": self.rows, "cols": self.cols, "channels": self.channels, "outputs": self.outputs}
        return {**common, "own_maps": self.own_maps, "channel": 0, "output": 0, "image": 0, "slots": 0, **values}

    def empty(self, channels: int, margin: int = 0) -> Array:
        """Return a flat batch of planes that reach `margin` beyond the image."""
        return self.device.empty((self.count, channels, self.rows + 2 * margin, self.cols + 2 * margin), self.dtype)

    def shaped(self, flat: Array) -> Array:
        """Return flat images with the batch axes of the call."""
        return flat.reshape(*self.lead, *flat.shape[1:])

    def slots(self, blocks: tuple[int, int], colours: int = 1) -> int:
        """Partial sums for each value: one for each block of each image (and colour)."""
        return blocks[0] * blocks[1] * self.count * colours

    def partials(self, values: int, slots: int) -> Array:
        """Return a table of partial sums, zero where no block writes."""
        table = self.device.empty((values, slots), "float64")
        table[...] = 0
        return table

    def mix_partials(self, slots: int) -> Array | None:
        return None if self.mix is None else self.partials(self.mix.size, slots)

    def mix_gradient(self, partials: Array | None) -> Array | None:
        """Sum the partials of the mix."""
        if partials is None or self.mix is None:
            return None
        return partial_sums(self.device, partials, self.mix.shape, self.dtype)
