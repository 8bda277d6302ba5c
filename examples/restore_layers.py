"""Restore scenes whose surfaces occlude each other: with true layers, layers from a map, or the gather operator.

    python examples/restore_layers.py                 # a minute or two
    python examples/restore_layers.py --seeds 3 4 5   # other scenes, other noise
    python examples/restore_layers.py --stored        # as `blurphys solve` restores a dataset

Every scene is rendered with occlusion (`blurphys.LayeredDefocus`, radii up to 6 px, noise of .005 in each view) and
restored with its true layers (`solvers.layered`), from one view and from both views of a dual pixel; from both views
with layers derived from the true defocus map (`blurphys.layers_from_map`); and from both views with that map and no
layers (`blurphys.DualPixel`, `solvers.hqs`). PSNR is in dB, in linear light, without a border of 16 px.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import blurphys as bp
import solvers
import synth
from nets.classical.problem import from_dataset
from nets.classical.solve import solve
from synth.rendering.layering import layers_of

SIZE, RIM, NOISE, MAX_RADIUS = (224, 320), 16, 0.005, 6.0
SCENES = {
    "leaves": lambda seed: synth.scenes.dead_leaves(*SIZE, layers=6, seed=seed),
    "planes": lambda seed: synth.scenes.slanted_planes(*SIZE, planes=4, seed=seed + 2),
    "motorcycle": lambda seed: synth.scenes.with_background(
        synth.scenes.stereo_motorcycle().window(120, 200 + 10 * (seed % 20), *SIZE)
    ),
}


def psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
    return float(-10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2)))


def scores(name: str, seed: int) -> dict[str, float]:
    """Render a scene and restore it in every way."""
    scene = SCENES[name](seed)
    camera = synth.Camera.for_scene(scene, max_radius=MAX_RADIUS)
    layers = layers_of(scene, camera)
    sharp = scene.all_in_focus.astype(np.float32)
    bank = bp.PSFBank(bp.Pupil.disk(split=0.45), max_radius=MAX_RADIUS, step=0.25)
    A = bp.LayeredDefocus(
        layers.alphas.astype(np.float32), radii=layers.radii, bank=bank, views=("left", "right"), per_layer=True
    )
    colours, rng = np.concatenate(list(layers.colours)).astype(np.float32), np.random.default_rng(seed)
    found = {"layers": float(len(layers.radii)), "frames": float(layers.alphas.mean(axis=(1, 2)).sum())}
    for views in (("left", "right"), ("combined",)):
        observed = A.replace(views=views)
        y = observed(colours)
        y += NOISE * rng.standard_normal(y.shape, dtype=np.float32)
        mean = y.reshape(len(views), 3, *SIZE).mean(axis=0)
        if len(views) == 2:
            found["blurred"] = psnr(mean, sharp)
            defocus = np.clip(camera.defocus_map(scene.depth_m, invalid="nearest"), -MAX_RADIUS, MAX_RADIUS)
            gather = bp.DualPixel(defocus.astype(np.float32), bank=bank, views=views)
            found["gather, 2 views"] = psnr(solvers.hqs(gather, y, prox=solvers.tv, x0=mean).x, sharp)
            alphas, radii, _ = bp.layers_from_map(mean, defocus.astype(np.float32))
            by_map = A.replace(alphas=alphas, radii=radii)
            found["map, 2 views"] = psnr(by_map.composite(solvers.layered(by_map, y).x), sharp)
            alphas, radii, _ = bp.layers_from_map(mean, defocus.astype(np.float32), softness=0)
            by_map = A.replace(alphas=alphas, radii=radii)
            found["map, hard edges"] = psnr(by_map.composite(solvers.layered(by_map, y).x), sharp)
            found["noise estimated"] = solvers.estimation.noise_level(y)
        start = time.perf_counter()
        solution = solvers.layered(observed, y)
        seconds = time.perf_counter() - start
        found[f"layers, {len(views)} view{'s'[: len(views) - 1]}"] = psnr(observed.composite(solution.x), sharp)
        found[f"seconds, {len(views)}"] = seconds
    return found


def stored_scores(name: str, seed: int) -> dict[str, float]:
    """Store a sample as `blurphys synth` does, and restore it as `blurphys solve` does."""
    scene = SCENES[name](seed)
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", synth.OperatorWarning)  # the gather operator knows no occlusion
        path, camera = Path(folder) / "data.h5", synth.Camera.for_scene(scene, max_radius=MAX_RADIUS)
        synth.generate(scene, path, camera=camera, samples=1, seed=0, model="layered")
        for method, view in (("hqs", "combined"), ("layered", "combined"), ("layered", "dual")):
            *_, report = solve(from_dataset(path, 0, view, layered=method == "layered"), method)
            if report.psnr_blurred is not None:
                found["blurred"] = report.psnr_blurred
            found[f"{method} {view}"] = report.psnr_restored
            found[f"seconds {method} {view}"] = report.seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3])
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--stored", action="store_true", help="restore samples of a dataset, with the stored map")
    chosen = parser.parse_args()
    score = stored_scores if chosen.stored else scores
    for seed in chosen.seeds:
        for name in chosen.scenes:
            print(f"{name} {seed}: " + ", ".join(f"{key} {value:.3g}" for key, value in score(name, seed).items()))


if __name__ == "__main__":
    main()
