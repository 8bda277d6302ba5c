"""How a CUDA kernel gets its source, its sizes and its grid: what the hosts of all GPU primitives share.

The hosts (`gaussian`, `recursive`, `psf`) are plain Python on a `Device`: something that has arrays and
launches a named kernel of a `Program`. `engine` has the devices that reach a GPU; the tests have one that runs the
same sources on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Protocol

import numpy as np

from ...boundary import BOUNDARIES
from ...types import Array, Shape

__all__ = [
    "Device",
    "DoesNotFitError",
    "Program",
    "THREADS",
    "boundary_code",
    "NULL",
    "fold",
    "grid_over",
    "launch",
    "partial_sums",
    "program",
    "sizes",
]

THREADS = 256
"""Threads of a block; this and the tile are also in `common.cuh`."""

TILE_ROWS, TILE_COLS = 32, 64
MAX_GRID = 65535
"""Largest grid along its second and third axis."""


NULL = np.uintp(0)
"""The address of no array. CuPy before 14 passes None as an address of its own, 0xffffffff."""


class DoesNotFitError(ValueError):
    """A tile with its halo is larger than the shared memory of a block."""


@dataclass(frozen=True)
class Program:
    """One source file with its constants: what is compiled once and kept.

    Parameters
    ----------
    file : str
        Name of a ``.cu`` file beside `common.cuh`.
    constants : tuple of (str, str)
        Names and values that the file asks for.
    """

    file: str
    constants: tuple[tuple[str, str], ...]

    @property
    def source(self) -> str:
        """The constants as ``#define`` lines, then the file with what it includes: all that a compiler needs."""
        lines = [f"#define {name} {value}\n" for name, value in self.constants]
        return "".join(lines) + _text(self.file)


class Device(Protocol):
    """Where arrays live and kernels run."""

    @property
    def xp(self) -> Any:
        """Array namespace: CuPy, or what stands in for it."""

    @property
    def shared_limit(self) -> int:
        """Shared memory that one block can have, bytes."""

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """Return an array with any content."""

    def launch(self, program: Program, kernel: str, grid: Shape, shared: int, arguments: Sequence[Any]) -> None:
        """Run a kernel on the current stream.

        The grid has at least one block. Arguments are arrays of the device, NumPy scalars (`NULL` for no array), and
        the record that `sizes` makes.
        """


@cache
def _text(file: str) -> str:
    """Text of a source file with its own headers put in, so that one string is all that a cache has to look at."""
    text = (resources.files(__package__) / "src" / file).read_text(encoding="utf-8")
    return re.sub(r'^#include "(.+)"$', lambda found: _text(found[1]), text, flags=re.MULTILINE)


def program(file: str, dtype: Any, **constants: Any) -> Program:
    """Return the program of a file for float32 or float64 data; a tuple becomes a list of numbers."""
    real = {"float32": "float", "float64": "double"}[np.dtype(dtype).name]
    values = {n: ", ".join(map(str, v)) if isinstance(v, tuple) else str(int(v)) for n, v in constants.items()}
    return Program(file, (("REAL", real), *values.items()))


@cache
def _record(file: str) -> np.dtype[Any]:
    """Return the ``struct Sizes`` of a source file, all ints, as a NumPy record: the file says its order."""
    body = re.sub(r"//.*", "", re.search(r"struct Sizes \{(.*?)\n\};", _text(file), re.DOTALL)[1])  # type: ignore[index]
    names = [name.strip() for line in re.findall(r"int ([^;]+);", body) for name in line.split(",")]
    return np.dtype([(name, np.int32) for name in names])


def sizes(file: str, values: dict[str, Any]) -> Any:
    """Return the sizes that the kernels of a file take by value, of shape ()."""
    dtype = _record(file)
    record = np.zeros((), dtype=dtype)
    for name in dtype.names or ():
        record[name] = values[name]
    return record


def boundary_code(boundary: str) -> int:
    """Return the number that the kernels know a boundary by."""
    return BOUNDARIES.index(boundary)


def grid_over(rows: int, cols: int) -> tuple[int, int]:
    """Return how many tiles cover a plane, along and down."""
    return -(-cols // TILE_COLS), -(-rows // TILE_ROWS)


@cache
def _parameters(file: str, kernel: str) -> tuple[str, ...]:
    """Return the names of a kernel's parameters, in the order in which its source has them."""
    found = re.search(rf"^{kernel}\((.*?)\) \{{$", _text(file), re.DOTALL | re.MULTILINE)
    return tuple(part.split()[-1].lstrip("*") for part in found[1].split(","))  # type: ignore[index]


def launch(
    device: Device, program: Program, kernel: str, grid: Shape, shared: int, arguments: Mapping[str, Any]
) -> None:
    """Run a kernel on a device. A grid without a block is not launched.

    Arguments are named as in the source: arrays, None for no array, records of `sizes`, and whole numbers or bools.

    Raises
    ------
    TypeError
        If the names are not those of the source.
    """
    names = _parameters(program.file, kernel)
    if set(names) != set(arguments):
        raise TypeError(f"{kernel}: expected the arguments {', '.join(names)}, got {', '.join(arguments)}")
    if min(grid) > 0:  # CuPy would make a 0 a 1
        device.launch(program, kernel, grid, shared, [_passed(arguments[name]) for name in names])


def _passed(value: Any) -> Any:
    if value is None:
        return NULL
    return np.int32(value) if isinstance(value, int) else value


def fold(device: Device, plane: Array, before: Shape, after: Shape, boundary: str) -> Array:
    """Apply the transpose of the boundary rule, as `blurphys.boundary.fold` does."""
    if not any((*before, *after)):
        return plane
    rows = plane.shape[-2] - before[0] - after[0]
    cols = plane.shape[-1] - before[1] - after[1]
    image = device.empty((*plane.shape[:-2], rows, cols), plane.dtype)
    flat_planes, flat_images = plane.reshape(-1, *plane.shape[-2:]), image.reshape(-1, rows, cols)
    own = program("planes.cu", plane.dtype)
    for start in range(0, len(flat_planes), MAX_GRID):
        part, to = flat_planes[start : start + MAX_GRID], flat_images[start : start + MAX_GRID]
        arguments = {
            "plane": part, "image": to, "rows": rows, "cols": cols, "top": before[0], "left": before[1],
            "bottom": after[0], "right": after[1], "boundary": boundary_code(boundary),
        }  # fmt: skip
        launch(device, own, "fold", (-(-rows * cols // THREADS), len(part), 1), 0, arguments)
    return image


def partial_sums(device: Device, partials: Array, shape: Shape, dtype: Any) -> Array:
    """Sum the float64 partials (values, slots) in a fixed order: the second stage of a sum over the image."""
    out = device.empty(shape, dtype)
    if out.size:
        arguments = {"partials": partials, "out": out, "slots": int(partials.shape[1])}
        launch(device, program("planes.cu", dtype), "sum_partials", (out.size, 1, 1), THREADS * 8, arguments)
    return out
