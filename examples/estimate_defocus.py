"""Estimate the defocus map of dual-pixel pairs, and score it beside the best constant map.

    python examples/estimate_defocus.py                              # scenes rendered with occlusion, half a minute
    python examples/estimate_defocus.py --seeds 31 47 --noise 0.02
    python examples/estimate_defocus.py --data ../shared/data        # photographs of a Canon R6 Mark II and a Pixel 4
    python examples/estimate_defocus.py --picture maps.png           # the last seed's true and estimated maps
    python examples/estimate_defocus.py --net runs/dualpixel-map     # and corrected by a network, see nets.learned_map

Rendered scenes (224 x 320 px, radii up to 6 px, `blurphys.LayeredDefocus`): median of the absolute error in px and
share of the pixels below 0.5 px, over all pixels but a rim of 16 px, and where the true radius is above 0.6 px alone
(smaller ones are one pixel, and cannot be told apart). Canon: rank correlation of the map with the inverse depth.
Pixel 4, whose true maps are known up to an affine function: AIWE(1), AIWE(2) and 1 - |rank correlation|, of Garg et
al., Learning single camera depth estimation using dual-pixels, ICCV 2019.
"""

import argparse
import time
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.stats import spearmanr

import blurphys as bp
import nets
import synth
from blurphys.colour import srgb_to_linear
from solvers.estimation import DefocusEstimate, dual_pixel_map
from synth.rendering.layering import layers_of

SIZE, RIM, MAX_RADIUS = (224, 320), 16, 6.0
SCENES = {
    "leaves": lambda seed: synth.scenes.dead_leaves(*SIZE, layers=6, seed=seed),
    "planes": lambda seed: synth.scenes.slanted_planes(*SIZE, planes=4, seed=seed + 2),
    "motorcycle": lambda seed: synth.scenes.with_background(
        synth.scenes.stereo_motorcycle().window(120, 200 + 10 * (seed % 20), *SIZE)
    ),
}
PIXEL4_RADIUS = 11.0
"""Radius at which the kernels of the Pixel 4 were measured, px, at the centre of the frame."""


def rendered(name: str, seed: int, split: float, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left, right and the true map of a scene whose surfaces occlude each other."""
    scene = SCENES[name](seed)
    camera = synth.Camera.for_scene(scene, max_radius=MAX_RADIUS)
    layers = layers_of(scene, camera)
    bank = bp.PSFBank(bp.Pupil.disk(split=split), max_radius=MAX_RADIUS, step=0.25)
    alphas, colours = layers.alphas.astype(np.float32), np.concatenate(list(layers.colours)).astype(np.float32)
    A = bp.LayeredDefocus(alphas, radii=layers.radii, bank=bank, views=("left", "right"), per_layer=True)
    y = A(colours)
    y += noise * np.random.default_rng([seed, 1]).standard_normal(y.shape, dtype=np.float32)
    return y[:3], y[3:], np.clip(camera.defocus_map(scene.depth_m, invalid="nearest"), -MAX_RADIUS, MAX_RADIUS)


def errors(found: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float]:
    """Return median and share below 0.5 px, of all pixels and of those with radii above 0.6 px."""
    inner = (slice(RIM, -RIM), slice(RIM, -RIM))
    error, large = np.abs(found - true)[inner], np.abs(true[inner]) > 0.6
    return tuple(float(f(e)) for e in (error, error[large]) for f in (np.median, lambda e: np.mean(e < 0.5)))


def constant_errors(true: np.ndarray) -> tuple[float, float, float, float]:
    """Return the best value of each score that any constant map reaches."""
    scores = np.array([errors(np.full_like(true, c), true) for c in np.arange(-MAX_RADIUS, MAX_RADIUS + 0.01, 0.1)])
    return tuple(float(f(column)) for f, column in zip((np.min, np.max, np.min, np.max), scores.T, strict=True))


def aiwe(found: np.ndarray, true: np.ndarray, exponent: int) -> float:
    """Return the smallest ``(mean |a found + b - true|^p)^(1/p)``: p = 2 by least squares, 1 by reweighting it."""
    design = np.stack([found, np.ones_like(found)], axis=1)
    weight = np.ones(len(found))
    for _ in range(1 if exponent == 2 else 50):
        fit = np.linalg.lstsq(design * weight[:, None], true * weight, rcond=None)[0]
        error = np.abs(design @ fit - true)
        weight = 1 / np.sqrt(np.maximum(error, 1e-4))
    return float(np.mean(error**exponent) ** (1 / exponent))


def canon_pair(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left and right in linear light and the depth in mm, 0 where unknown."""
    left, right = (
        srgb_to_linear(_pixels(folder / f"{side}.png").transpose(2, 0, 1) / np.float32(255)) for side in "lr"
    )
    return left, right, _pixels(folder / "d.png")


def canon_map(left: np.ndarray, right: np.ndarray, step: float = 0.25) -> DefocusEstimate:
    """Estimate the map of a Canon pair; 7.0 px is the radius at infinity of 50 mm f/4 focused at 1 m."""
    return dual_pixel_map(left, right, pupil=bp.Pupil.disk(split=0.15), max_radius=7.0, step=step)


def pixel4_pair(folder: Path, scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left and right (1, H, W), corrected for vignetting, and the true map, 0 where it is unknown."""
    left, right = ((_pixels(folder / f"{scene}_{side}.png") - 1024) / 16383 for side in ("left", "right"))
    white = np.load(folder / "white_sheet_div8.npz")
    ratio = zoom(gaussian_filter(white["left"] / white["right"], 2.0), 8, order=1).astype(np.float32)
    return left[None], (right * ratio)[None], _pixels(folder / f"{scene}_gt_defocus.png")


@cache
def pixel4_banks(folder: Path, step: float) -> list[list[bp.PSFBank]]:
    """Return banks on the 3 x 4 patches of the crop, from kernels measured at one radius and rescaled."""
    radii = np.arange(0.0, 17.0 + step, step)
    kernels = {side: np.load(folder / f"blur_kernels_{side}.npy").astype(np.float64) for side in ("left", "right")}
    half = ceil(30 * float(np.abs(radii).max()) / PIXEL4_RADIUS)

    def bank(index: int) -> bp.PSFBank:
        psfs = {
            side: np.stack([rescaled(k[index], r / PIXEL4_RADIUS, half) for r in radii]) for side, k in kernels.items()
        }
        return bp.PSFBank(psfs=psfs, radii=list(radii))

    return [[bank(8 * (1 + row) + 2 + col) for col in range(4)] for row in range(3)]


def rescaled(psf: np.ndarray, scale: float, half: int, parts: int = 3) -> np.ndarray:
    """Return k(x / scale) averaged over pixels, (2 half + 1, 2 half + 1), unit sum; one pixel where it is smaller."""
    size = 2 * half + 1
    if abs(scale) * PIXEL4_RADIUS < 0.5:
        return np.pad(np.ones((1, 1)), half)
    at = ((np.arange(size * parts) + 0.5) / parts - size / 2) / scale + psf.shape[0] // 2
    fine = map_coordinates(psf, np.meshgrid(at, at, indexing="ij"), order=1)
    binned = fine.reshape(size, parts, size, parts).sum(axis=(1, 3))
    return binned / binned.sum()


def pixel4_map(folder: Path, left: np.ndarray, right: np.ndarray, step: float = 0.5) -> DefocusEstimate:
    """Estimate the map of a Pixel 4 crop; both scenes lie behind the plane of focus."""
    banks = pixel4_banks(folder, step)
    return dual_pixel_map(left, right, pupil=banks, nodes="centres", max_radius=(0.0, 17.0), step=step)


def pixel4_scores(found: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return AIWE(1), AIWE(2), both of a constant map, and 1 - |rank correlation|."""
    known = true > 0
    m, g = found[known].astype(np.float64), true[known] / 255.0
    constant = (float(np.mean(np.abs(g - np.median(g)))), float(g.std()))
    return aiwe(m, g, 1), aiwe(m, g, 2), *constant, float(1 - abs(spearmanr(m, g)[0]))


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path)).astype(np.float32)


def rank_correlation(found: np.ndarray, depth: np.ndarray, confidence: np.ndarray | None = None) -> float:
    """Return Spearman's correlation of the map with minus the inverse depth, where that is known."""
    known = depth > 0 if confidence is None else (depth > 0) & (confidence > 0.5)
    return float(spearmanr(found[known], -1 / depth[known])[0])


def show(path: str, rows: list[tuple[str, np.ndarray, np.ndarray, DefocusEstimate]]) -> None:
    """Write a picture, the true map, the estimate and its confidence, one row for each scene."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 4, figsize=(16, 3 * len(rows)), squeeze=False)
    for line, (name, picture, true, found) in zip(axes, rows, strict=True):
        span = {"vmin": float(found.defocus_map.min()), "vmax": float(found.defocus_map.max())}
        grey = np.clip(picture.mean(axis=0) / np.quantile(picture, 0.99), 0, 1) ** 0.45
        line[0].imshow(grey, cmap="gray")
        line[1].imshow(true, **(span if "split" in name else {}))
        line[2].imshow(found.defocus_map, **span)
        line[3].imshow(found.confidence, vmin=0, vmax=1)
        for ax, title in zip(line, (name, "true", "estimated", "confidence"), strict=True):
            ax.set_title(title)
            ax.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def rendered_table(seeds: list[int], splits: list[float], noise: float, net: Any) -> list:
    rows = []
    learned = "" if net is None else "  network: the same four      "
    print(f"scene, seed, split       median   <.5 px   |c| > .6: median   <.5 px  {learned}  best constant")
    for split in splits:
        for name in SCENES:
            for seed in seeds:
                left, right, true = rendered(name, seed, split, noise)
                search = {"pupil": bp.Pupil.disk(split=split), "max_radius": MAX_RADIUS, "noise": noise}
                found = dual_pixel_map(left, right, **search)
                scores = [errors(found.defocus_map, true)]
                if net is not None:
                    found = nets.learned_map(left, right, net=net, **search)
                    scores.append(errors(found.defocus_map, true))
                scores.append(constant_errors(true))
                text = "     ".join("   ".join(f"{score:.2f}" for score in four) for four in scores)
                print(f"{name}, {seed}, {split}: {text}", flush=True)
                rows.append((f"{name}, split {split}", left, true, found))
    return rows


def photo_table(folder: Path) -> list:
    rows = []
    for scene in ("003", "001", "004"):
        left, right, depth = canon_pair(folder / f"canon_r6m2_scene_{scene}")
        start = time.perf_counter()
        found = canon_map(left, right)
        seconds = (time.perf_counter() - start) / left[0].size * 1e6
        all_, sure = (
            rank_correlation(found.defocus_map, depth),
            rank_correlation(found.defocus_map, depth, found.confidence),
        )
        print(
            f"Canon {scene}: rank correlation {all_:.3f}, where confident {sure:.3f}; {seconds:.1f} s per Mpx",
            flush=True,
        )
        rows.append((f"Canon {scene}", left, np.where(depth > 200, -1 / np.maximum(depth, 1), np.nan), found))
    for scene in ("013", "001"):
        left, right, true = pixel4_pair(folder / "pixel4_dp", scene)
        found = pixel4_map(folder / "pixel4_dp", left, right)
        one, two, constant_one, constant_two, rho = pixel4_scores(found.defocus_map, true)
        print(
            f"Pixel 4 {scene}: AIWE(1) {one:.4f} (constant {constant_one:.4f}), AIWE(2) {two:.4f} (constant "
            f"{constant_two:.4f}), 1 - |rho| {rho:.3f}", flush=True,
        )  # fmt: skip
        rows.append((f"Pixel 4 {scene}", left, np.where(true > 0, true, np.nan), found))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31])
    parser.add_argument("--splits", type=float, nargs="+", default=[0.15, 0.45])
    parser.add_argument("--noise", type=float, default=0.005)
    parser.add_argument("--data", type=Path, help="folder with the photographs, instead of rendered scenes")
    parser.add_argument("--picture", help="file for a picture of the maps")
    parser.add_argument("--net", help="weights of nets.learned_map, a file, a folder or a name; rendered scenes only")
    given = parser.parse_args()
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data: expected a folder, got {given.data}")
    if given.data and given.net:
        parser.error("--net: the network's map is scored on rendered scenes; leave --data out")
    net = None if given.net is None else nets.load(given.net)
    rows = photo_table(given.data) if given.data else rendered_table(given.seeds, given.splits, given.noise, net)
    if given.picture:
        show(given.picture, rows)


if __name__ == "__main__":
    main()
