"""Deblur a real photograph with a fitted disk: Richardson-Lucy, total variation and hyper-Laplacian in one table.

A flat board was photographed out of focus at f/4 and nearly sharp at f/20 (Canon R6 Mark II; see the README beside the
data). Both frames are converted to linear light. The radius of the disk and the strength of every prior are chosen from
a few candidates on the left part of the board, and the table shows the right part. The candidates themselves were set
after a look at the whole board, so the right part is not entirely unseen. PSNR is in linear light, with peak 1, without
a border of 40 pixels, after fitting one gain per colour, because the two exposures differ by 2 to 3 %.

    python examples/canon_deblur.py
    python examples/canon_deblur.py --data FOLDER
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import blurphys as bp
import solvers
from blurphys.colour import srgb_to_linear

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "canon_r6m2_flat_0600mm"
ROWS, LEFT, RIGHT = slice(96, 416), slice(64, 384), slice(384, 704)
BORDER = 40
RADII = (3.5, 3.75, 4.0, 4.25, 4.5)

Image32 = np.ndarray
Method = Callable[[bp.Convolution, Image32, float], solvers.Solution]


def linear_light(folder: Path, aperture: str) -> Image32:
    """Mean of the two dual-pixel views of one frame, (3, H, W) float32."""
    views = [np.asarray(Image.open(folder / f"{aperture}_{side}.png")).transpose(2, 0, 1) / 255.0 for side in "lr"]
    return np.mean([srgb_to_linear(np.ascontiguousarray(view)) for view in views], axis=0).astype(np.float32)


def psnr(found: Image32, wanted: Image32) -> float:
    """PSNR (dB, peak 1) without the border, after fitting one gain per colour."""
    inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    a, b = found[inside].astype(np.float64), wanted[inside].astype(np.float64)
    gain = np.sum(a * b, axis=(1, 2), keepdims=True) / np.sum(a * a, axis=(1, 2), keepdims=True)
    return -10 * math.log10(float(np.mean((gain * a - b) ** 2)))


def disk(radius: float, shape: tuple[int, ...]) -> bp.Convolution:
    """Uniform blur by a disk; the frame is extended by its mirror image."""
    return bp.Convolution(bp.psf.disk(radius).astype(np.float32), shape=shape, boundary="symmetric")


def fitted_radius(sharp: Image32, blurred: Image32) -> float:
    """The radius (px) with which the blurred sharp frame comes closest to the recorded blurred frame."""
    return max(RADII, key=lambda radius: psnr(disk(radius, sharp.shape)(sharp), blurred))


def methods() -> dict[str, tuple[Method, tuple[float, ...]]]:
    """Name -> (A, y, parameter) -> Solution, and the parameters to choose from."""
    tv = partial(solvers.tv, iterations=20)
    hyper_laplacian = partial(solvers.hyper_laplacian, iterations=8)
    rho = (0.003, 0.01, 0.03, 0.1)

    def rl(A, y, steps):
        return solvers.richardson_lucy(A, y, max_iterations=int(steps), tol=1e-6)

    def rl_tv(A, y, strength):
        return solvers.richardson_lucy(A, y, tv_strength=strength, max_iterations=60, tol=1e-6)

    def by_hqs(A, y, strength, prox):
        return solvers.hqs(A, y, prox=prox, rho=rho, strength=strength, inner_iterations=8)

    def by_admm(A, y, strength, prox):
        return solvers.admm(A, y, prox=prox, rho=0.03, strength=strength, inner_iterations=6, max_iterations=8)

    return {
        "Richardson-Lucy, steps": (rl, (20, 40, 80)),
        "Richardson-Lucy with TV": (rl_tv, (1e-3, 3e-3, 1e-2)),
        "HQS, total variation": (partial(by_hqs, prox=tv), (1e-4, 3e-4, 1e-3)),
        "HQS, hyper-Laplacian 2/3": (partial(by_hqs, prox=hyper_laplacian), (3e-5, 1e-4, 3e-4)),
        "ADMM, hyper-Laplacian 2/3": (partial(by_admm, prox=hyper_laplacian), (3e-5, 1e-4, 3e-4)),
    }


def run(folder: Path) -> dict[str, float]:
    """Print the table; returns the PSNR of the blurred frame and of every method on the right part."""
    sharp, blurred = linear_light(folder, "f20"), linear_light(folder, "f4")
    part = {name: (slice(None), ROWS, columns) for name, columns in (("left", LEFT), ("right", RIGHT))}
    known = [np.ascontiguousarray(frame[part["left"]]) for frame in (sharp, blurred)]
    other = [np.ascontiguousarray(frame[part["right"]]) for frame in (sharp, blurred)]
    radius = fitted_radius(*known)
    A = disk(radius, known[0].shape)
    found = {"blurred": psnr(other[1], other[0])}
    print(f"disk of radius {radius:g} px, fitted on the left part")
    print(f"{'method':28}{'chosen':>9}{'PSNR dB':>9}{'gain dB':>9}{'seconds':>9}")
    print(f"{'blurred input':28}{'':9}{found['blurred']:9.2f}")
    for name, (solve, values) in methods().items():
        chosen = max(values, key=lambda value, solve=solve: psnr(solve(A, known[1], value).x, known[0]))
        start = time.perf_counter()
        solution = solve(A, other[1], chosen)
        seconds = time.perf_counter() - start
        found[name] = psnr(solution.x, other[0])
        gain = found[name] - found["blurred"]
        print(f"{name:28}{chosen:9g}{found[name]:9.2f}{gain:9.2f}{seconds:9.1f}", flush=True)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=FOLDER, help="folder with f4_l.png, f4_r.png, f20_l.png, f20_r.png"
    )
    given = parser.parse_args(arguments)
    missing = [name for name in ("f4_l", "f4_r", "f20_l", "f20_r") if not (given.data / f"{name}.png").is_file()]
    if missing:
        parser.error(f"expected {', '.join(f'{name}.png' for name in missing)} in {given.data}")
    run(given.data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
