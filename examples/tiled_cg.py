"""Deblur a large image by conjugate gradients with an operator whose maps are on disk.

The maps of an RKR blur are memory-mapped and never in memory as a whole: `bp.tiled` reads them window by window. The
equation is ``(A^T A + rho I) x = A^T y``. The solver keeps a handful of images in memory; the maps would take as much
memory as seven images.

    python examples/tiled_cg.py                          a small image, seconds
    python examples/tiled_cg.py --megapixels 12          a photograph
    python examples/tiled_cg.py --help
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from math import sqrt
from pathlib import Path

import numpy as np

import blurphys as bp
import solvers


def resident_peak() -> str:
    """Peak memory of this process, including mapped pages, where the system reports it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return "unknown"
    return next(f"{int(line.split()[1]) / 1e6:.2f} GB" for line in lines if line.startswith("VmHWM"))


def write_maps(path: Path, levels: int, height: int, width: int) -> None:
    """Write maps (J, H, W) on the simplex, from sharp on the left to blurred on the right, strip by strip."""
    level = np.linspace(0, levels - 1, width, dtype=np.float32)
    hats = np.maximum(1 - np.abs(level - np.arange(levels, dtype=np.float32)[:, None]), 0)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(levels, height, width))
    for top in range(0, height, 256):
        gamma = np.load(path, mmap_mode="r+")
        gamma[:, top : top + 256] = hats[:, None, :]


def scene(height: int, width: int) -> np.ndarray:
    """Random rectangles, (3, H, W) float32."""
    rng = np.random.default_rng(0)
    x = np.full((3, height, width), 0.5, dtype=np.float32)
    for _ in range(200):
        top, left = rng.integers(0, height), rng.integers(0, width)
        rows, cols = rng.integers(1, 1 + height // 4), rng.integers(1, 1 + width // 4)
        x[:, top : top + rows, left : left + cols] = rng.random((3, 1, 1), dtype=np.float32)
    return x


def run(
    megapixels: float, folder: str | Path, *, levels: int = 20, rho: float = 0.01, iterations: int = 5, max_memory=3e8
) -> solvers.Solution:
    """Blur and deblur an image of this size, and print time, memory and residuals."""
    width = max(64, round(sqrt(megapixels * 4e6 / 3)))
    height = max(48, round(megapixels * 1e6 / width))
    with tempfile.TemporaryDirectory(dir=folder, prefix="tiled-cg-") as place:
        path = Path(place) / "gamma.npy"
        write_maps(path, levels, height, width)
        gamma = np.load(path, mmap_mode="r")
        atoms = np.tile(np.array([0.25, 0.5, 0.25], dtype=np.float32), (levels - 1, 1))
        A = bp.RKR(gamma, atoms=atoms)
        normal = bp.tiled(A.H @ A + rho * bp.Identity(A.in_shape), max_memory=max_memory)
        blur = bp.tiled(A, max_memory=max_memory)
        print(f"image {A.in_shape}, maps {gamma.nbytes / 1e9:.2f} GB on disk, tiles of {normal.tile_for()} px")
        sharp = scene(height, width)
        y = blur(sharp)
        rhs = blur.adjoint(y)
        error = float(np.sqrt(np.mean((y - sharp) ** 2)))
        start = time.perf_counter()
        solution = solvers.cg(normal, rhs, x0=y, tol=1e-6, max_iterations=iterations)
        seconds = time.perf_counter() - start
        print(f"{solution.iterations} iterations in {seconds:.1f} s, {solution.status.name}")
        print("relative residuals", " ".join(f"{float(np.max(r)):.1e}" for r in solution.residuals))
        after = float(np.sqrt(np.mean((solution.x - sharp) ** 2)))
        print(f"root-mean-square error {error:.4f} blurred, {after:.4f} deblurred")
        print(f"peak memory of the process {resident_peak()}")
        return solution


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=0.3, help="size of the image (default: 0.3)")
    parser.add_argument("--iterations", type=int, default=5, help="steps of conjugate gradients (default: 5)")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the maps go for the time being")
    parser.add_argument("--max-memory", type=float, default=3e8, help="bytes for one tile (default: 3e8)")
    given = parser.parse_args(arguments)
    if not os.path.isdir(given.folder) or given.megapixels <= 0:
        parser.error(f"expected a folder that exists and megapixels > 0, got {given.folder!r} and {given.megapixels}")
    run(given.megapixels, given.folder, iterations=given.iterations, max_memory=given.max_memory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
