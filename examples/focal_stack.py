"""Depth and one picture in focus from photographs at several focus distances, beside the classical focus stack.

    python examples/focal_stack.py                     # scenes rendered with occlusion, a minute
    python examples/focal_stack.py --seeds 31 --photographs 3 --picture stack.png

Rendered scenes (160 x 224 px, radii up to some 8 px, sensor noise of the preset): median error of the radii over all
photographs, px, share below 0.5 px, and the best constant map; PSNR in dB, linear light, without a rim of 16 px, of the
best single photograph, of the sharpest photograph at every pixel by the estimated map, and of
`solvers.merge_focal_stack`.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

import solvers
import synth
from solvers.restoration.focal_stack import sharpest
from synth.io import write_image

SIZE, RIM = (160, 224), 16
SCENES = {
    "leaves": lambda seed: synth.scenes.dead_leaves(*SIZE, layers=6, seed=seed),
    "planes": lambda seed: synth.scenes.slanted_planes(*SIZE, planes=4, seed=seed + 2),
    "motorcycle": lambda seed: synth.scenes.with_background(
        synth.scenes.stereo_motorcycle().window(120, 200 + 10 * (seed % 20), *SIZE)
    ),
}


def photographs(scene, count: int) -> tuple[list[np.ndarray], list, synth.Camera]:
    """Return photographs focused at distances evenly spaced in inverse depth, their lenses, and the camera."""
    camera = synth.Camera.for_scene(scene, max_radius=6.0)
    depth = scene.depth_m[np.isfinite(scene.depth_m) & (scene.depth_m > 0)]
    photos, lenses = [], []
    for k, inverse in enumerate(np.linspace(1 / np.quantile(depth, 0.98), 1 / np.quantile(depth, 0.02), count)):
        lens = replace(camera.lens, focus_distance_m=float(1 / inverse))
        shot = synth.render(scene, replace(camera, lens=lens), rng=k, views=("combined",))
        photos.append(shot.combined)
        lenses.append(lens)
    return photos, lenses, camera


def psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
    return float(-10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 55])
    parser.add_argument("--photographs", type=int, nargs="+", default=[5, 3])
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--picture", help="PNG: best single photograph, focus stack, merged, truth; one row for each")
    chosen = parser.parse_args()
    print("scene, seed, photographs: median error / below .5 px (best constant); single, stack, merged; seconds")
    rows = []
    for name in chosen.scenes:
        for seed in chosen.seeds:
            for count in chosen.photographs:
                scene = SCENES[name](seed)
                photos, lenses, camera = photographs(scene, count)
                known = np.isfinite(scene.depth_m) & (scene.depth_m > 0)
                near, far = (float(f(scene.depth_m[known])) for f in (np.min, np.max))
                start = time.perf_counter()
                found = solvers.estimation.focal_stack_depth(
                    photos, lenses, pupil=camera.pupil, near_m=0.95 * near, far_m=1.05 * far
                )
                merged = solvers.merge_focal_stack(photos, found.defocus_maps, pupil=camera.pupil).x
                seconds = time.perf_counter() - start
                true = np.stack([lens.defocus_map(scene.depth_m, invalid="nearest") for lens in lenses])
                error = np.abs(found.defocus_maps - true)[:, known]
                constant = np.abs(true[:, known] - np.median(true[:, known], axis=1, keepdims=True))
                stacked = sharpest(photos, found.defocus_maps)
                sharp = scene.all_in_focus
                single = max(photos, key=lambda photo: psnr(photo, sharp))
                scores = [psnr(image, sharp) for image in (single, stacked, merged)]
                print(
                    f"{name}, {seed}, {count}: {np.median(error):.2f} / {np.mean(error < 0.5):.2f} "
                    f"({np.median(constant):.2f}); {scores[0]:.1f}, {scores[1]:.1f}, {scores[2]:.1f}; {seconds:.0f} s",
                    flush=True,
                )
                rows.append(np.concatenate([single, stacked, merged, sharp.astype(np.float32)], axis=2))
    if chosen.picture:
        write_image(chosen.picture, np.clip(np.concatenate(rows, axis=1), 0, 1), overwrite=True)


if __name__ == "__main__":
    main()
