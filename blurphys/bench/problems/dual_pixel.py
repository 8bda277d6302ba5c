"""The dual-pixel problem: left, right and combined view of a synthetic scene, integer radii up to 20 px."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines import reference as engine
from ...operators.defocus import DualPixel
from ...optics.bank import PSFBank
from ...optics.pupil import Pupil
from . import opponents as plain
from .contestant import Contestant, differentiated, numpy_function, ours, reference, torch_function
from .problem import CHANNELS, REFERENCES, Entry, Problem, image, tensors
from .work import dual_pixel_work

__all__ = ["make"]

RADIUS, FEWER = 20, 10
VIEWS = ("left", "right", "combined")
LOOP = ("filter loop, torch", "filter loop, OpenCV")


@cache
def _lens(largest: int) -> tuple[list[float], NDArray[np.float32]]:
    """Radii (px) and PSFs (views, levels, s, s) of a lens with half-pixels that see half of the pupil each."""
    bank = PSFBank(Pupil.disk(split=0.5), max_radius=float(largest), step=1.0)
    psfs = np.stack([bank.psfs(view) for view in VIEWS]).astype(np.float32)
    psfs.setflags(write=False)
    return bank.radii.tolist(), psfs


def _radii(shape: tuple[int, int], largest: int) -> NDArray[np.int64]:
    """Integer CoC radii of a synthetic scene: a slanted floor and fifteen disks of constant depth."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] / max(shape)
    radii = 16.0 - 30.0 * rows * max(shape) / shape[0]
    rng = np.random.default_rng(3)
    for radius in np.linspace(RADIUS, -RADIUS, 15):
        row, col = rng.uniform(0, shape[0] / max(shape)), rng.uniform(0, shape[1] / max(shape))
        radii[np.hypot(rows - row, cols - col) < rng.uniform(0.03, 0.15)] = radius
    return np.rint(radii * largest / RADIUS).astype(np.int64)


def _rims(psfs: NDArray[np.float32]) -> list[int]:
    """Width of the rim of zeros that all views of each level share, px: a plain filter can skip it."""
    rims = []
    for level in np.moveaxis(psfs, 1, 0):
        used = np.argwhere((level != 0).any(axis=0))
        rims.append(int(min(used.min(), psfs.shape[-1] - 1 - used.max())))
    return rims


def _cut(psfs: Any, rims: list[int]) -> list[Any]:
    """The PSFs (V, s, s) of each level without their rims."""
    n = psfs.shape[-1]
    return [psfs[:, level, rim : n - rim, rim : n - rim] for level, rim in enumerate(rims)]


def make(shape: tuple[int, int], device: str, fewer: bool) -> Problem:
    """Make inputs and contestants, see `catalogue.problem`."""
    rng = np.random.default_rng(4)
    largest = FEWER if fewer else RADIUS
    nodes, psfs = _lens(largest)
    radii = _radii(shape, largest)
    defocus_map, levels = radii.astype(np.float32), radii + largest
    x, u = image(rng, CHANNELS, shape), image(rng, len(VIEWS) * CHANNELS, shape, -0.5)
    rims = _rims(psfs)
    c, xt, ut, lt, pt = tensors(device, defocus_map, x, u, levels, psfs.copy())

    def operator(defocus_map: Any, psfs: Any) -> DualPixel:
        bank = PSFBank(psfs=dict(zip(VIEWS, psfs, strict=True)), radii=nodes)
        return DualPixel(defocus_map, bank=bank, channels=CHANNELS, views=VIEWS)

    def stepped(function: Any) -> Any:
        return differentiated(function, {"image": xt, "maps": c, "kernels": pt}, ut)

    def located(operator: DualPixel) -> tuple[Any, ...]:
        return (operator._psfs, *operator._find_levels(), "reflect")

    def torch_ours() -> Contestant:
        return ours("ours: torch", operator(c, pt), xt, ut, stepped(lambda x, maps, psfs: operator(maps, psfs)(x)))

    def torch_reference() -> Contestant:
        step = stepped(lambda x, maps, psfs: engine.psf_interpolate(x, *located(operator(maps, psfs))))
        return reference(REFERENCES[1], "psf_interpolate", located(operator(c, pt)), xt, ut, step)

    def torch_loop() -> Contestant:
        def hats(x: Any, maps: Any, psfs: Any) -> Any:
            return plain.filter_loop_torch(plain.hat_weights(maps + largest, psfs.shape[1]), _cut(psfs, rims))(x)

        inside = np.zeros_like(psfs)
        for own in _cut(inside, rims):
            own[...] = 1
        return torch_function(
            LOOP[0],
            plain.filter_loop_torch(plain.masks(lt), _cut(pt, rims)),
            xt,
            ut,
            gradients=stepped(hats),
            inside=inside,
            note=f"per level: conv2d up to {plain.DIRECT_SIZE} px, FFT beyond; gradients: hat weights instead of "
            f"masks, PSFs within their own size",
        )

    entries: list[Entry] = [("ours: torch", torch_ours), (REFERENCES[1], torch_reference), (LOOP[0], torch_loop)]
    if device == "cpu":
        A = operator(defocus_map, psfs)
        first = ("ours: NumPy", lambda: ours("ours: NumPy", A, x, u))
        second = (REFERENCES[0], lambda: reference(REFERENCES[0], "psf_interpolate", located(A), x, u))
        entries = [first, entries[0], second, *entries[1:]]
        note = "filter2D per level and view"
        kernels = _cut(psfs, rims)
        entries.append((LOOP[1], lambda: numpy_function(LOOP[1], plain.filter_loop_opencv(levels, kernels), x, note)))
    areas = np.count_nonzero(psfs, axis=(0, -2, -1))
    taps = int(np.sum(np.bincount(levels.ravel(), minlength=len(areas)) * areas))
    return Problem(
        name="dual-pixel",
        title=f"dual pixel, left + right + combined, {len(areas)} integer radii up to {largest} px",
        shape=shape,
        levels=len(areas) * len(VIEWS),
        image_bytes=x.nbytes,
        map_bytes=defocus_map.nbytes,
        work=dual_pixel_work(shape[0] * shape[1], CHANNELS, len(VIEWS), taps),
        entries=tuple(entries),
        device=device,
    )
