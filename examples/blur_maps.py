"""Estimate the blur of single photos with a `BlurMapNet`, and score it beside a constant and a map of local sharpness.

    python examples/blur_maps.py --data ../shared/data
    python examples/blur_maps.py --net runs/blurmap-small --data ../shared/data --picture maps.png

Rendered: 256 crops of 128 x 128 px of `synth.Stream` with the sources of the recipe `blurmap-small` (or --sources),
split "val", whose photographs the shipped weights have not seen; cells of 8 x 8 px whose radius varies by less than
half a pixel; textured: contrast (standard deviation) above .02. Median |error| in px, share below .5 px, and how often
cells of a given confidence are right within .5 px.

Photographs, the mean of both dual-pixel views in linear light, encoded again:
Canon board: median radius of its middle at f/4 and f/20; the board at f/20, blurred by a disk of 4.0 px, comes closest
to it at f/4. Canon scenes: rank correlation with the true radius, and median |error|; the radius is that of a thin lens
(50 mm, f/4, focused at 1 m) for the depth, in every cell that the depth camera measured, completed map. For the board
that formula says 4.68 px. CUHK: the probability (AUC) that a cell inside the mask of blur has a larger radius than one
outside.

Baselines: the best constant, chosen with knowledge of the truth (its rank correlation is 0, its AUC .5); and the local
sharpness, variance of the Laplacian over the variance in 3 x 3 cells, turned into a radius by the monotonic curve that
fits rendered crops of the training split best.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import laplace, uniform_filter
from scipy.stats import rankdata, spearmanr

import blurphys as bp
import nets
import synth
from blurphys.colour import linear_to_srgb, srgb_to_linear

CELL, TEXTURED = 8, 0.02
LENS = bp.ThinLens(focal_length_mm=50.0, f_number=4.0, focus_distance_m=1.0, pixel_pitch_um=36e3 / 768)
RECORDED = {"focus": 0.08, "sharpening": 0.4}
"""The stream of the recipe `blurmap-small`, as are its sources."""
MIDDLE = (slice(96, 416), slice(64, 704))
VALIDATION = 256

Plane = np.ndarray


def main() -> None:
    given = arguments()
    net = nets.load(given.net)
    sharpness = Sharpness(given.sources)
    rows = rendered_table(net, sharpness, given.sources, given.crops)
    if given.data:
        rows += photo_table(net, sharpness, given.data)
    if given.picture:
        show(given.picture, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="blurmap-small", help="weights: a name, a file or the folder of a training")
    sources = nets.TrainConfig.of("blurmap-small").data.stream.sources
    parser.add_argument("--sources", nargs="+", default=list(sources), help="folders of sharp photographs")
    parser.add_argument("--crops", type=int, default=VALIDATION)
    parser.add_argument("--data", type=Path, help="folder with the photographs")
    parser.add_argument("--picture", help="file for a picture of the maps")
    given = parser.parse_args()
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data: expected a folder, got {given.data}")
    return given


# ---- measures ------------------------------------------------------------------------------------------------------


def cells(plane: Plane, reduce=np.mean) -> Plane:
    """Reduce every whole cell of 8 x 8 px."""
    rows, columns = (n // CELL for n in plane.shape)
    return reduce(plane[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL), axis=(1, 3))


def area_under_curve(score: Plane, positive: Plane) -> float:
    """Return the probability that a positive has a larger score than a negative."""
    ranks, count = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (positive.size - count)))


def best_constant(true: Plane) -> float:
    """Return the constant with the least median |error|."""
    candidates = np.arange(0, 8.01, 0.1)
    return float(candidates[np.argmin([np.median(np.abs(true - c)) for c in candidates])])


class Sharpness:
    """Variance of the Laplacian over the variance, in 3 x 3 cells, and the radius that most often belongs to it."""

    def __init__(self, sources: list[str], crops: int = 64) -> None:
        self.levels, self.radii = np.zeros(1), np.zeros(1)
        stream = synth.Stream(sources, split="train", seed=1, **RECORDED)
        samples = [stream.sample(index) for index in range(crops)]
        found = np.concatenate([self.ratio(s["image"]).ravel() for s in samples])
        true = np.concatenate([cells(np.abs(s["defocus_map"][0])).ravel() for s in samples])
        groups = np.array_split(np.argsort(found), 40)
        self.levels = np.array([found[g].mean() for g in groups])
        self.radii = np.minimum.accumulate([np.median(true[g]) for g in groups])

    @staticmethod
    def ratio(photo: Plane) -> Plane:
        """Return the logarithm of the ratio in every cell."""
        grey = np.asarray(photo, np.float64).mean(axis=0)
        around = [uniform_filter(p, 3 * CELL) for p in (laplace(grey) ** 2, grey, grey**2)]
        variance = np.maximum(around[2] - around[1] ** 2, 1e-6)
        return cells(np.log((around[0] + 1e-7) / variance))

    def __call__(self, photo: Plane) -> Plane:
        """Return the radius of every cell, px."""
        # Radii that fall with the ratio; a tiny slope keeps the order of what the curve makes equal.
        ratio = self.ratio(photo)
        return np.interp(ratio, self.levels, self.radii) - 1e-3 * ratio


# ---- rendered crops ------------------------------------------------------------------------------------------------


def rendered_table(net, sharpness: Sharpness, sources: list[str], crops: int) -> list:
    stream = synth.Stream(sources, split="val", seed=0, **RECORDED)
    rows: list = []
    planes: list[tuple[Plane, ...]] = []
    for index in range(crops):
        sample = stream.sample(index)
        found = nets.estimate_blur(sample["image"], net=net)
        true = np.abs(sample["defocus_map"][0])
        one = cells(true, np.ptp) < 0.5
        contrast = cells(sample["image"].mean(axis=0), np.std)
        all_ = (
            own_radius(found),
            cells(found.radius),
            sharpness(sample["image"]),
            cells(true),
            cells_of(found),
            contrast,
        )
        planes.append(tuple(plane[one] for plane in all_))
        if index < 4:
            rows.append((f"rendered {index}", sample["image"], true, found))
    own, completed, simple, true, sure, contrast = (np.concatenate(parts) for parts in zip(*planes, strict=True))
    textured = contrast > TEXTURED
    print(f"{crops} rendered crops of {len(stream.scenes)} held-out scenes: median |error| px, share < .5 px")
    print(f"{'':26}{'all':>14}{'textured':>14}{'radius > 1':>14}")
    maps = {
        "network, cells": own,
        "network, completed": completed,
        "local sharpness": simple,
        "best constant": None,
    }
    for name, map_ in maps.items():
        text = ""
        for chosen in (np.ones_like(textured), textured, textured & (true > 1)):
            error = np.abs((best_constant(true[chosen]) if map_ is None else map_[chosen]) - true[chosen])
            text += f"{np.median(error):8.2f}{np.mean(error < 0.5):6.2f}"
        print(f"{name:26}{text}")
    print("confidence   cells   median |error|   share < .5 px")
    for low in np.arange(0, 1, 0.2):
        chosen = (sure >= low) & (sure < low + 0.2 + 1e-6)
        if chosen.any():
            error = np.abs(own - true)[chosen]
            print(
                f"{low:.1f} to {low + 0.2:.1f}{chosen.mean():9.2f}{np.median(error):17.2f}{np.mean(error < 0.5):16.2f}"
            )
    return rows


def own_radius(found: nets.BlurEstimate) -> Plane:
    """Return the median of the network's distribution in every cell."""
    from nets.inference.blur_map import median_of

    return median_of(found.distribution, found.radii)


def cells_of(found: nets.BlurEstimate) -> Plane:
    """Return the confidence of every cell."""
    from nets.inference.blur_map import confidence_of

    return confidence_of(found.distribution, found.radii, own_radius(found))


# ---- photographs ---------------------------------------------------------------------------------------------------


def read(path: Path) -> Plane:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1).astype(np.float32) / 255


def both_views(folder: Path, prefix: str = "") -> Plane:
    """Return the mean of the two views of a dual-pixel photo, mixed in linear light, encoded."""
    light = np.mean([srgb_to_linear(read(folder / f"{prefix}{side}.png")) for side in "lr"], axis=0)
    return linear_to_srgb(light).astype(np.float32)


def photo_table(net, sharpness: Sharpness, folder: Path) -> list:
    rows: list = []
    print("\nCanon board: median radius px (true 4.0 at f/4; at most 1.3 at f/20), confidence")
    for aperture in ("f4", "f20"):
        photo = both_views(folder / "canon_r6m2_flat_0600mm", f"{aperture}_")
        found = nets.estimate_blur(photo, net=net)
        simple = np.repeat(np.repeat(sharpness(photo), CELL, 0), CELL, 1)
        middle, sure = np.median(found.radius[MIDDLE]), np.median(found.confidence[MIDDLE])
        print(f"{aperture:5} network {middle:.2f}, {sure:.2f}   local sharpness {np.median(simple[MIDDLE]):.2f}")
        rows.append((f"board {aperture}", photo, None, found))
    print("\nCanon scenes: rank correlation, median |error| px; where confidence > .5 (share of cells)")
    for scene in ("003", "001", "004"):
        photo, true = both_views(folder / f"canon_r6m2_scene_{scene}"), true_radius(folder, scene)
        found = nets.estimate_blur(photo, net=net)
        known = ~np.isnan(true)
        radius, sure = cells(found.radius), cells(found.confidence) > 0.5
        simple = sharpness(photo)
        text = "   ".join(
            f"{name} {spearmanr(map_[chosen], true[chosen])[0]:.2f}, {np.median(np.abs(map_ - true)[chosen]):.2f}"
            for name, map_, chosen in (
                ("network", radius, known),
                ("confident", radius, known & sure),
                ("local sharpness", simple, known),
            )
        )
        constant = np.median(np.abs(true[known] - best_constant(true[known])))
        print(f"{scene}   {text}   best constant {constant:.2f}   (share {np.mean(sure[known]):.2f})")
        rows.append((f"Canon {scene}", photo, np.kron(true, np.ones((CELL, CELL))), found))
    print("\nCUHK: AUC of the radius, blurred against sharp cells; radius inside and outside")
    for name in ("0504", "0537"):
        photo = read(folder / "cuhk_bd" / f"out_of_focus{name}.jpg")
        mask = np.asarray(Image.open(folder / "cuhk_bd" / f"out_of_focus{name}_mask.png").convert("L")) > 127
        found = nets.estimate_blur(photo, net=net)
        share = cells(mask.astype(float))
        pure = (share < 0.02) | (share > 0.98)
        blurred = share[pure] > 0.5
        radius = cells(found.radius)[pure]
        simple = area_under_curve(sharpness(photo)[pure], blurred)
        inside, outside = np.median(radius[blurred]), np.median(radius[~blurred])
        print(
            f"{name} network {area_under_curve(radius, blurred):.3f}   local sharpness {simple:.3f}   inside "
            f"{inside:.1f} px, outside {outside:.1f} px"
        )
        rows.append((f"CUHK {name}", photo, mask, found))
    return rows


def true_radius(folder: Path, scene: str) -> Plane:
    """Return the median radius of the cells of a Canon scene; NaN where the depth of more than half is unknown."""
    depth = np.asarray(Image.open(folder / f"canon_r6m2_scene_{scene}" / "d.png")).astype(np.float64)
    known = depth > 0
    radius = np.full(depth.shape, np.nan)
    radius[known] = np.abs(LENS.defocus_map(depth[known][None] / 1000)[0])
    share = cells(known.astype(float))
    with np.errstate(all="ignore"):
        median = cells(np.where(known, radius, -1), np.median)
    return np.where(share > 0.99, median, np.nan)


def show(path: str, rows: list) -> None:
    """Write each photo, its true map where there is one, the estimate and its confidence."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 5, figsize=(20, 3 * len(rows)), squeeze=False)
    for line, (name, photo, true, found) in zip(axes, rows, strict=True):
        line[0].imshow(np.asarray(photo).transpose(1, 2, 0).clip(0, 1))
        if true is not None:
            line[1].imshow(true, vmin=0, vmax=1 if true.dtype == bool else 8)
        line[2].imshow(own_radius(found), vmin=0, vmax=8)
        line[3].imshow(found.radius, vmin=0, vmax=8)
        line[4].imshow(found.confidence, vmin=0, vmax=1, cmap="gray")
        for ax, title in zip(line, (name, "true", "median of the cells", "completed", "confidence"), strict=True):
            ax.set_title(title)
            ax.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
