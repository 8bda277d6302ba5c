"""The strength that `strength="auto"` chooses, beside the best of a grid, a fixed one and the rule of the noise alone.

    python examples/choose_strength.py                # scenes and noise that the rule was not tuned on; minutes
    python examples/choose_strength.py --seeds 3      # other seeds
    python examples/choose_strength.py --data FOLDER  # with the photographed board (see canon_deblur.py)

Scenes are blurred by the gather operator that restores them, `solvers.hqs` with total variation; `--layered` renders
occlusion and takes `solvers.layered`. PSNR in dB without a border of 16 px: the motorcycle with noise of .1 to 3 % as a
screen shows it (sRGB, clipped), the others in linear light, the board after fitting one gain per colour. "loss" is how
far each choice stays behind the best of a grid with four strengths per decade.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import blurphys as bp
import solvers
import synth
from blurphys.colour import linear_to_srgb
from solvers.splitting.strength import strength_for
from synth.rendering.layering import layers_of

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "canon_r6m2_flat_0600mm"
GRID = 10.0 ** np.arange(-5, -1.74, 0.25)
SIZE, RIM = (160, 224), 16
SCENES = {
    "leaves": lambda seed: synth.scenes.dead_leaves(*SIZE, layers=6, seed=seed),
    "planes": lambda seed: synth.scenes.slanted_planes(*SIZE, planes=4, seed=seed + 2),
    "motorcycle": lambda seed: synth.scenes.with_background(
        synth.scenes.stereo_motorcycle().window(120, 200 + 10 * (seed % 20), *SIZE)
    ),
}
Case = tuple[str, Any, np.ndarray, np.ndarray, Any]


def psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
    return float(-10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2)))


def screen_psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    return psnr(*(linear_to_srgb(np.clip(v, 0, 1)) for v in (image, sharp)))


def noisy(y: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return y + np.float32(sigma) * np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32)


def radii_of(scene: synth.Scene, most: float) -> np.ndarray:
    camera = synth.Camera.for_scene(scene, max_radius=most)
    return np.clip(camera.defocus_map(scene.depth_m, invalid="nearest"), -most, most).astype(np.float32)


def gather_cases(seed: int) -> Iterator[Case]:
    """The photograph of `blurphys demo` at four noise levels, and the three scenes with one and two views."""
    scene = synth.scenes.stereo_motorcycle().window(20, 60, 224, 320)
    A: Any = bp.DefocusBlur(radii_of(scene, 4.0), bank=bp.PSFBank(bp.Pupil.disk(), max_radius=4.0))
    sharp = scene.all_in_focus.astype(np.float32)
    for sigma in (0.001, 0.005, 0.01, 0.03):
        yield f"demo, noise {sigma}", A, noisy(A(sharp), sigma, seed), sharp, screen_psnr
    bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=6.0, step=0.25)
    for name, draw in SCENES.items():
        scene = draw(seed)
        sharp, radii = scene.all_in_focus.astype(np.float32), radii_of(scene, 6.0)
        for A in (bp.DefocusBlur(radii, bank=bank), bp.DualPixel(radii, bank=bank)):
            views = A.out_shape[0] // 3
            yield f"{name} {seed}, {views} view{'s' * (views > 1)}", A, noisy(A(sharp), 0.005, seed), sharp, psnr


def board_cases(folder: Path) -> Iterator[Case]:
    """Parts of the photographed board; the disk is not quite its lens."""
    from canon_deblur import disk, linear_light  # the script beside this one
    from canon_deblur import psnr as board_psnr

    sharp, blurred = linear_light(folder, "f20"), linear_light(folder, "f4")
    for name, rows, columns in (
        ("left", slice(96, 416), slice(64, 384)),
        ("right", slice(96, 416), slice(384, 704)),
    ):
        part = (slice(None), rows, columns)
        y, wanted = (np.ascontiguousarray(frame[part]) for frame in (blurred, sharp))
        yield f"board, {name}", disk(4.0, y.shape), y, wanted, board_psnr


def layered_cases(seed: int) -> Iterator[Case]:
    """The three scenes rendered with occlusion, both views."""
    bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=6.0, step=0.25)
    for name, draw in SCENES.items():
        scene = draw(seed)
        layers = layers_of(scene, synth.Camera.for_scene(scene, max_radius=6.0))
        A = bp.LayeredDefocus(
            layers.alphas.astype(np.float32), radii=layers.radii, bank=bank, views=("left", "right"), per_layer=True
        )
        y = noisy(A(np.concatenate(list(layers.colours)).astype(np.float32)), 0.005, seed)
        yield f"{name} {seed}, layers", A, y, scene.all_in_focus.astype(np.float32), psnr


def report(case: Case) -> dict[str, float]:
    """Restore with every strength and print one line."""
    name, A, y, sharp, score = case
    by_layers = isinstance(A, bp.LayeredDefocus)

    def restored(strength: Any) -> float:
        if by_layers:
            return score(A.composite(solvers.layered(A, y, strength=strength).x), sharp)
        return score(solvers.hqs(A, y, prox=solvers.tv, strength=strength).x, sharp)

    found = {"blurred": score(y.reshape(-1, *sharp.shape).mean(axis=0), sharp)}
    scores = [restored(float(strength)) for strength in GRID]
    found["best"] = max(scores)
    start = time.perf_counter()
    found["fixed"] = restored(3e-4)
    middle = time.perf_counter()
    found["auto"] = restored("auto")
    found["time"] = (time.perf_counter() - middle) / (middle - start)
    found["noise alone"] = restored(strength_for(solvers.estimation.noise_level(y) ** 2))
    losses = "".join(f"{found['best'] - found[key]:13.2f}" for key in ("auto", "fixed", "noise alone"))
    print(f"{name:24}{found['blurred']:9.2f}{found['best']:9.2f}{losses}{found['time']:8.1f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--layered", action="store_true", help="the scenes with occlusion, restored by layers")
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the board; left out where it is missing")
    chosen = parser.parse_args()
    print(f"{'':24}{'blurred':>9}{'best':>9}{'auto loses':>13}{'3e-4 loses':>13}{'15 s^2 loses':>13}{'time':>8}")
    for seed in chosen.seeds:
        for case in layered_cases(seed) if chosen.layered else gather_cases(seed):
            report(case)
    if not chosen.layered and (chosen.data / "f4_l.png").is_file():
        for case in board_cases(chosen.data):
            report(case)


if __name__ == "__main__":
    main()
