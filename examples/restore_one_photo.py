"""Restore one photo of unknown blur: what `nets.restore` gains on photographs whose sharp version is known.

    python examples/restore_one_photo.py --data ../shared/data            # photographs, a minute
    python examples/restore_one_photo.py --data ../shared/data --errors   # the board, with maps that are off by so much

Canon board: f/4 (blurred) and f/20 (sharp) of one board, mean of both views, PSNR in dB of sRGB values without 64 px at
the border, after a gain and an offset for each colour; the f/20 frame, and CC0 photographs, against themselves.
Pixel 4: both views averaged, against the published all-in-focus picture after a gain and an offset.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from canon_deblur import linear_light
from estimate_defocus import pixel4_pair
from PIL import Image
from restore_pair import aligned_psnr

import nets
from blurphys.colour import linear_to_srgb
from synth.io import read_image

BORDER, TRUE_RADIUS = 64, 4.0
SHARP = ("budgie_roman-colosseum_s.jpg", "gb82_city.png", "gb82_mies.png", "gb82_night.png", "gb82_grass.png")


def display(image: np.ndarray) -> np.ndarray:
    return linear_to_srgb(np.clip(image, 0, 1).astype(np.float64))


def board_psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    error = 0.0
    for found, wanted in zip(display(image), display(sharp), strict=True):
        design = np.stack([found[inner].ravel(), np.ones(found[inner].size)], axis=1)
        fit = np.linalg.lstsq(design, wanted[inner].ravel(), rcond=None)[0]
        error += float(np.mean((design @ fit - wanted[inner].ravel()) ** 2)) / 3
    return -10 * np.log10(error)


def to_itself(image: np.ndarray, photo: np.ndarray) -> str:
    error = float(np.mean((display(image) - display(photo)) ** 2))
    return "equal" if error == 0 else f"{-10 * np.log10(error):.1f} dB to itself"


def told(name: str, score: str, found: nets.Restoration, seconds: float) -> None:
    low, middle, high = np.quantile(np.abs(found.defocus_map), [0.1, 0.5, 0.9])
    print(
        f"{name}: {score}; restored {found.restored_share:.2f}; radius {low:.1f}, {middle:.1f}, {high:.1f} px; "
        f"{seconds:.0f} s",
        flush=True,
    )


def photographs(folder: Path) -> None:
    board = folder / "canon_r6m2_flat_0600mm"
    sharp, blurred = linear_light(board, "f20"), linear_light(board, "f4")
    start = time.perf_counter()
    found = nets.restore(blurred)
    before, after = (board_psnr(image, sharp) for image in (blurred, found.image))
    told("board, f/4", f"{before:.2f} -> {after:.2f} ({after - before:+.2f})", found, time.perf_counter() - start)
    start = time.perf_counter()
    found = nets.restore(sharp)
    told("board, f/20", to_itself(found.image, sharp), found, time.perf_counter() - start)
    for scene in ("013", "001"):
        left, right, _ = pixel4_pair(folder / "pixel4_dp", scene)
        photo = (left + right) / 2
        photo = (photo / (4 * photo.mean())).astype(np.float32)
        wanted = np.asarray(Image.open(folder / "pixel4_dp" / f"{scene}_gt_aif.png")).astype(np.float64)[24:-24, 24:-24]
        start = time.perf_counter()
        found = nets.restore(photo)
        before, after = (aligned_psnr(image[0, 24:-24, 24:-24], wanted) for image in (photo, found.image))
        told(f"Pixel 4, {scene}", f"{before:.2f} -> {after:.2f} ({after - before:+.2f})", found,
             time.perf_counter() - start)  # fmt: skip
    for name in SHARP:
        photo = read_image(folder / "photos_cc0" / name)[:, :512, :512].copy()
        start = time.perf_counter()
        found = nets.restore(photo)
        told(name, to_itself(found.image, photo), found, time.perf_counter() - start)


def wrong_maps(folder: Path) -> None:
    board = folder / "canon_r6m2_flat_0600mm"
    sharp, blurred = linear_light(board, "f20"), linear_light(board, "f4")
    before = board_psnr(blurred, sharp)
    for error in (-1.0, -0.5, -0.3, 0.0, 0.3, 0.5, 1.0):
        found = nets.restore(blurred, defocus_map=np.full(blurred.shape[1:], TRUE_RADIUS + error, np.float32))
        gain = board_psnr(found.image, sharp) - before
        print(f"radius wrong by {error:+.1f} px: {gain:+.2f} dB, restored {found.restored_share:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with canon_r6m2_flat_0600mm, pixel4_dp, ...")
    parser.add_argument("--errors", action="store_true", help="the board with maps that are wrong")
    chosen = parser.parse_args()
    (wrong_maps if chosen.errors else photographs)(chosen.data)


if __name__ == "__main__":
    main()
