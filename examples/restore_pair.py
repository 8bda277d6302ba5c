"""Restore dual-pixel pairs whose blur is not known: estimated map, layers, picture; beside the blurred pair.

    python examples/restore_pair.py                        # scenes rendered with occlusion, two minutes
    python examples/restore_pair.py --seeds 31 --picture out.png
    python examples/restore_pair.py --data ../shared/data  # two photographs of a Pixel 4, several minutes

Rendered scenes (224 x 320 px, radii up to 6 px, noise of .005 in each view): PSNR in dB, linear light, without a rim
of 16 px, of the mean of both views, of `solvers.all_in_focus`, and of its restoration where nothing is kept.
Pixel 4: PSNR to the published all-in-focus picture after a gain and an offset; that picture is shifted against the
pair by some 1 to 3 px, which costs a sharp picture more than a blurred one.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from estimate_defocus import MAX_RADIUS, RIM, SCENES, SIZE, pixel4_banks, pixel4_map, pixel4_pair, rendered
from PIL import Image

import blurphys as bp
import solvers
from synth.io import write_image


def psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
    return float(-10 * np.log10(np.mean((image - sharp)[inner].astype(float) ** 2)))


def aligned_psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    """Return the PSNR after the best gain and offset; the peak is the largest value of the sharp picture."""
    design = np.stack([image.ravel(), np.ones(image.size)], axis=1).astype(float)
    fit = np.linalg.lstsq(design, sharp.ravel(), rcond=None)[0]
    return float(-10 * np.log10(np.mean((design @ fit - sharp.ravel()) ** 2) / sharp.max() ** 2))


def rendered_table(names: list[str], seeds: list[int], splits: list[float]) -> list[np.ndarray]:
    gains, strips = [], []
    print("scene, seed, split: blurred, all in focus, gain; restored everywhere; share restored; seconds")
    for name in names:
        for seed in seeds:
            for split in splits:
                left, right, _ = rendered(name, seed, split, 0.005)
                sharp = SCENES[name](seed).all_in_focus
                pupil = bp.Pupil.disk(split=split)
                start = time.perf_counter()
                estimate = solvers.estimation.dual_pixel_map(left, right, pupil=pupil, max_radius=MAX_RADIUS)
                found = solvers.all_in_focus(
                    np.concatenate([left, right]), estimate.defocus_map, pupil=pupil, confidence=estimate.confidence
                )
                seconds = time.perf_counter() - start
                scores = [psnr(image, sharp) for image in (found.recorded, found.image, found.restored)]
                gains.append(scores[1] - scores[0])
                print(
                    f"{name}, {seed}, {split}: {scores[0]:.2f}, {scores[1]:.2f}, {gains[-1]:+.2f}; {scores[2]:.2f}; "
                    f"{found.explained:.2f}; {seconds:.0f} s",
                    flush=True,
                )
                strips.append(np.concatenate([found.recorded, found.image, sharp.astype(np.float32)], axis=2))
    print(f"gain: mean {np.mean(gains):+.2f} dB, least {min(gains):+.2f} dB ({SIZE[0]} x {SIZE[1]} px)")
    return strips


def photo_table(folder: Path) -> None:
    folder = folder / "pixel4_dp"
    banks = pixel4_banks(folder, 0.5)
    for scene in ("013", "001"):
        left, right, _ = pixel4_pair(folder, scene)
        sharp = np.asarray(Image.open(folder / f"{scene}_gt_aif.png")).astype(np.float64)
        estimate = pixel4_map(folder, left, right)
        y = np.concatenate([left, right])
        y = (y / (2 * y.mean())).astype(np.float32)
        found = solvers.all_in_focus(
            y, estimate.defocus_map.astype(np.float32), pupil=banks, nodes="centres", confidence=estimate.confidence
        )
        inner = (slice(24, -24), slice(24, -24))
        images = (found.recorded, found.image, found.restored)
        scores = [aligned_psnr(image[0][inner], sharp[inner]) for image in images]
        print(
            f"Pixel 4, {scene}: {scores[0]:.2f}, {scores[1]:.2f}, {scores[1] - scores[0]:+.2f}; {scores[2]:.2f}; "
            f"{found.explained:.2f}; median misfit {np.median(found.misfit):.4f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 55])
    parser.add_argument("--splits", type=float, nargs="+", default=[0.45, 0.15])
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--data", type=Path, help="folder with pixel4_dp: restore photographs instead")
    parser.add_argument("--picture", help="PNG of photograph, restoration and truth, one row for each pair")
    chosen = parser.parse_args()
    if chosen.data:
        return photo_table(chosen.data)
    strips = rendered_table(chosen.scenes, chosen.seeds, chosen.splits)
    if chosen.picture:
        write_image(chosen.picture, np.clip(np.concatenate(strips, axis=1), 0, 1), overwrite=True)


if __name__ == "__main__":
    main()
