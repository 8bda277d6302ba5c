"""A blur larger than the memory allowed for it: ``python -m blurphys.bench.large --megapixels 100 --folder DIR``.

The image, maps and result of an RKR blur are on disk, memory-mapped or in HDF5; `blurphys.tiled` reads and writes these
files. Time and the high-water mark of resident memory (VmHWM, pages of mapped files included) are measured in a
separate process; random tiles are compared with the untiled operator.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..files.stored import release_pages
from ..linop.tiling import tiled
from ..operators.rkr import RKR
from .measure.memory import _RESET, _resident

__all__ = ["run"]

Storage = Literal["memmap", "hdf5"]
_CHUNK = (1, 128, 512)
_NAMES = ("image", "gamma", "result")


def run(
    megapixels: float,
    folder: str | Path,
    levels: int = 20,
    *,
    storage: Storage = "memmap",
    max_memory: float = 1e9,
    seed: int = 0,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Blur a large RGB float32 image from file to file and measure time and memory.

    Parameters
    ----------
    megapixels : float
        Size of the image, 10^6 pixels; the frame is 3 : 4.
    folder : str or Path
        The files are written to a new directory in it, which is removed at the end: 4 (levels + 6) bytes a pixel.
    levels : int
        J of the RKR blur, three taps each.
    storage : {"memmap", "hdf5"}
        Memory-mapped ``.npy`` files, or chunked datasets of one HDF5 file.
    max_memory : float
        Bytes for one tile.
    seed : int
        Seed of image, maps and checked tiles.
    say : callable, optional
        Called with a sentence that says what comes next.

    Returns
    -------
    dict
        ``shape``, ``levels``, ``storage``, ``tile``, ``bytes_on_disk``; ``seconds`` and ``seconds_per_megapixel`` of
        the blur; ``resident_bytes``, the high-water mark of its process, and ``resident_before``, both None without
        /proc; ``difference``, the largest difference from the untiled operator on the checked tiles.

    Raises
    ------
    ValueError
        If a number is not positive, the storage unknown, or max_memory too small for a tile.
    OSError
        If the disk has too little space or the process that blurs fails.

    Notes
    -----
    The files have just been written, so the system may still hold them in its cache: where the machine has memory to
    spare, the time is for cached files.
    """
    if not (isfinite(megapixels) and megapixels > 0) or levels < 2:
        raise ValueError(f"large: expected megapixels > 0 and levels >= 2, got {megapixels} and {levels}")
    if storage not in ("memmap", "hdf5"):
        raise ValueError(f"large: expected storage 'memmap' or 'hdf5', got {storage!r}")
    width = max(8 * levels, round(sqrt(megapixels * 4e6 / 3)))
    shape = (max(8 * levels, round(megapixels * 1e6 / width)), width)
    needed, say = 4 * (levels + 6) * shape[0] * shape[1], say or (lambda sentence: None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="large-") as place:
        space = os.statvfs(place)
        if space.f_bavail * space.f_frsize < 1.05 * needed:
            raise OSError(f"large: expected {needed:.3g} bytes of free space in {folder}, got less")
        say(f"writing {needed / 1e9:.2f} GB of image and maps")
        _create(place, storage, shape, levels, seed)
        say("blurring")
        found = _measured(place, storage, max_memory)
        say("comparing with the untiled operator")
        with _opened(place, storage, "r") as arrays:
            difference = _difference(arrays, levels, seed)
    pixels = shape[0] * shape[1]
    return {
        "shape": shape,
        "levels": levels,
        "storage": storage,
        "bytes_on_disk": needed,
        **found,
        "seconds_per_megapixel": found["seconds"] / (pixels / 1e6),
        "difference": difference,
    }


def _atoms(levels: int) -> Any:
    """Asymmetric three-tap atoms of unit sum."""
    a = np.linspace(0.15, 0.25, levels - 1)
    return np.stack([a, 0.95 - 2 * a, a + 0.05], axis=-1).astype(np.float32)


@contextmanager
def _opened(place: str, storage: str, mode: str) -> Iterator[dict[str, Any]]:
    """Yield image, maps and result as arrays on disk; the result can be written in mode "r+"."""
    if storage == "memmap":
        yield {name: np.load(Path(place) / f"{name}.npy", mmap_mode=mode) for name in _NAMES}  # type: ignore[arg-type]
        return
    import h5py

    with h5py.File(Path(place) / "data.h5", mode) as file:
        yield {name: file[name] for name in _NAMES}


def _create(place: str, storage: str, shape: tuple[int, int], levels: int, seed: int) -> None:
    """Write a random image and maps that interpolate between neighbouring levels, strip by strip."""
    sizes = {"image": 3, "gamma": levels, "result": 3}
    if storage == "memmap":
        for name, count in sizes.items():
            np.lib.format.open_memmap(Path(place) / f"{name}.npy", mode="w+", dtype="f4", shape=(count, *shape))
    else:
        import h5py

        chunk = (1, min(_CHUNK[1], shape[0]), min(_CHUNK[2], shape[1]))
        with h5py.File(Path(place) / "data.h5", "w") as file:
            for name, count in sizes.items():
                file.create_dataset(name, (count, *shape), dtype="f4", chunks=chunk)
    rng = np.random.default_rng(seed)
    columns = np.arange(shape[1], dtype=np.float32) / shape[1]
    with _opened(place, storage, "r+") as arrays:
        for top in range(0, shape[0], _CHUNK[1]):
            rows = np.arange(top, min(top + _CHUNK[1], shape[0]), dtype=np.float32)[:, None] / shape[0]
            strip = slice(top, top + len(rows))
            level = (0.45 + 0.4 * np.sin(9 * rows + 7 * columns)) * (levels - 1)
            level += rng.random((len(rows), shape[1]), dtype=np.float32)
            level = np.clip(level, 0, levels - 1)
            for j in range(levels):
                arrays["gamma"][j, strip] = np.maximum(1 - np.abs(level - j), 0)
            arrays["image"][:, strip] = rng.random((3, len(rows), shape[1]), dtype=np.float32)
            for array in arrays.values():
                release_pages(array)


def _measured(place: str, storage: str, max_memory: float) -> dict[str, Any]:
    """Blur in a separate process and return its measurements."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "blurphys.bench.large", "--blur", place, storage, str(max_memory)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        if lines[-1].startswith("ValueError: "):
            raise ValueError(lines[-1].removeprefix("ValueError: "))
        raise OSError(f"large: the process that blurs failed: {lines[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _blur(place: str, storage: str, max_memory: float) -> dict[str, Any]:
    small = RKR(np.full((3, 20, 20), 1 / 3, dtype=np.float32), atoms=_atoms(3))
    small(np.zeros((3, 20, 20), dtype=np.float32))  # loads and compiles what will be needed
    with _opened(place, storage, "r+") as arrays:
        A = tiled(RKR(arrays["gamma"], atoms=_atoms(arrays["gamma"].shape[0])), max_memory=max_memory)
        before = _mark(_reset)
        start = time.perf_counter()
        A.forward_into(arrays["image"], arrays["result"])
        seconds = time.perf_counter() - start
        peak = _mark(lambda: _resident("VmHWM"))
        return {"seconds": seconds, "tile": A.tile_for(), "resident_bytes": peak, "resident_before": before}


def _reset() -> int:
    _RESET.write_text("5")
    return _resident("VmRSS")


def _mark(read: Callable[[], int]) -> int | None:
    try:
        return read()
    except OSError:
        return None


def _difference(arrays: dict[str, Any], levels: int, seed: int) -> float:
    """Largest difference from the untiled operator, on tiles in the corners and at random places."""
    halo, side = levels - 1, min(64, *arrays["image"].shape[-2:])
    rng, limits = np.random.default_rng([seed, 1]), [n - side for n in arrays["image"].shape[-2:]]
    places = [(0, 0), tuple(limits), *(tuple(int(rng.integers(0, n + 1)) for n in limits) for _ in range(6))]
    worst = 0.0
    for row, col in places:
        lows = [max(0, p - halo) for p in (row, col)]
        crop = (slice(None), *(slice(low, p + side + halo) for low, p in zip(lows, (row, col), strict=True)))
        gamma, image = np.array(arrays["gamma"][crop]), np.array(arrays["image"][crop])
        inside = (slice(None), *(slice(p - low, p - low + side) for low, p in zip(lows, (row, col), strict=True)))
        expected = RKR(gamma, atoms=_atoms(levels))(image)[inside]
        found = arrays["result"][:, row : row + side, col : col + side]
        worst = max(worst, float(np.max(np.abs(found - expected))))
    return worst


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["--blur"]:
        place, storage, max_memory = arguments[1:]
        print(json.dumps(_blur(place, storage, float(max_memory))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m blurphys.bench.large", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megapixels", type=float, default=100.0, help="size of the image (default: 100)")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the files go for the time being")
    parser.add_argument("--levels", type=int, default=20, help="J of the RKR blur (default: 20)")
    parser.add_argument("--storage", choices=("memmap", "hdf5"), default="memmap")
    parser.add_argument("--max-memory", type=float, default=1e9, help="bytes for one tile (default: 1e9)")
    given = parser.parse_args(arguments)
    try:
        found = run(
            given.megapixels,
            given.folder,
            given.levels,
            storage=given.storage,
            max_memory=given.max_memory,
            say=lambda sentence: print(sentence, flush=True),
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in found.items():
        print(f"{name:24}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
