"""Calibrate a lens from simulated photos of a dot grid, and score its PSFs beside simpler ones.

    python examples/calibrate_lens.py --data ../shared/data                     # a minute for each seed
    python examples/calibrate_lens.py --data ../shared/data --seeds 7 --noise 0.02
    python examples/calibrate_lens.py --data ../shared/data --picture psfs.png  # true and estimated PSFs of the last

The lens: PSFs of a Leica Summilux-TL 35 mm f/1.4 Asph. prescription at three field heights, defocused, interpolated
between the heights and turned about the axis, at pixels of 12 um. The photo (1080 x 1620 px) is rendered dot by dot:
each is a tilted ellipse, multiplied by the PSF at its place in the Fourier domain of a grid six times as fine, and
averaged over pixels. Tilt, rotation and distortion are drawn with the seed; the distortion is a division model, which
the calibration does not know. Paper is shaded, 2 % of the dots are missing.

Score: relative L2 error of the PSF at the centre of a cell, after the best sub-pixel shift (a shift of the PSFs is one
of the grid and cannot be known); mean and largest over every fifth cell. The true PSF includes the area of the pixel,
as that of any photo does; what it has beyond the Nyquist frequency is aliased in the photo and cannot be found, hence
the second error, that of the part below. Beside it stand the best isotropic Gaussian for each cell, and the mean of
all true PSFs, both chosen with knowledge of the truth.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform
from scipy.optimize import minimize, minimize_scalar
from scipy.special import j1

from solvers.estimation import calibrate_grid

SUB = 6
"""Samples of the given PSFs per pixel: 2 um, 12 um."""

FRAME, SPACING, RATIO, CONTRAST = (1080, 1620), 36.0, 0.35, 0.85
HEIGHTS = np.array([0.0, 9.94, 14.2]) / 14.2
PATCH, WIDTH = 48, 31
MIDDLE = slice(PATCH // 2 - WIDTH // 2, PATCH // 2 + WIDTH // 2 + 1)


class Lens:
    """PSFs over the frame, on the fine grid."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "lens_psf_summilux35" / "psf.npz") as file:
            psfs = np.stack([file[name].astype(float) for name in ("f1", "f2", "f3")])
        self.psfs = psfs / psfs.sum(axis=(1, 2), keepdims=True)
        self.middle = (np.array(FRAME) - 1) / 2

    def at(self, row: float, col: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the spectrum of the PSF on a fine patch, its centroid at the origin, and the cycles/px."""
        away = np.array([row, col]) - self.middle
        height = np.hypot(*away) / np.hypot(*(np.array(FRAME) / 2))
        lower = int(np.clip(np.searchsorted(HEIGHTS, height) - 1, 0, 1))
        share = min((height - HEIGHTS[lower]) / (HEIGHTS[lower + 1] - HEIGHTS[lower]), 1)
        psf = (1 - share) * self.psfs[lower] + share * self.psfs[lower + 1]
        angle = np.arctan2(away[1], away[0])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle = np.array([64.0, 64.0])
        psf = affine_transform(psf, turn, offset=middle - turn @ middle, order=1)
        psf /= psf.sum()
        size = PATCH * SUB
        padded = np.zeros((size, size))
        padded[:128, :128] = psf
        index = np.arange(128)
        f = np.fft.fftfreq(size, 1 / SUB)
        f = np.stack(np.meshgrid(f, f, indexing="ij"))
        centroid = np.array([psf.sum(axis=1) @ index, psf.sum(axis=0) @ index]) / SUB
        return np.fft.fft2(padded) * np.exp(2j * np.pi * np.tensordot(centroid, f, 1)), f

    def pixels(self, row: float, col: float) -> np.ndarray:
        """Return the PSF, averaged over pixels."""
        spectrum, f = self.at(row, col)
        middle = PATCH // 2 + (SUB - 1) / (2 * SUB)
        fine = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * middle * f.sum(axis=0))).real
        psf = fine.reshape(PATCH, SUB, PATCH, SUB).sum(axis=(1, 3))
        return psf[MIDDLE, MIDDLE]

    def below_nyquist(self, row: float, col: float) -> np.ndarray:
        """Return the same without the frequencies that pixels cannot represent, and that are aliased in a photo."""
        spectrum, f = self.at(row, col)
        area = np.where(f == 0, 1.0, np.sin(np.pi * f) / (SUB * np.sin(np.pi * f / SUB) + (f == 0)))
        limited = spectrum * area.prod(axis=0) * (np.abs(f) < 0.5).all(axis=0)
        fine = np.fft.ifft2(limited * np.exp(-2j * np.pi * (PATCH // 2) * f.sum(axis=0))).real
        return SUB**2 * fine[::SUB, ::SUB][MIDDLE, MIDDLE]


def geometry(seed: int):
    """Return the function from dots (n, 2) to (row, column): a pinhole, then a distortion by division."""
    rng = np.random.default_rng(seed)
    tilt, turn, division = np.deg2rad(rng.uniform(-8, 8, 2)), np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.04, 0.04)
    start = rng.uniform(-0.5, 0.5, 2)
    (sa, sb, sc), (ca, cb, cc) = np.sin([*tilt, turn]), np.cos([*tilt, turn])
    pose = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    pose = pose @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]]) @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    focal, unit, middle = 1.2 * FRAME[1], np.hypot(*FRAME) / 2, (np.array(FRAME[::-1]) - 1) / 2

    def positions(dots: np.ndarray) -> np.ndarray:
        x = np.concatenate([dots + start, np.zeros((len(dots), 1))], axis=1) @ pose.T
        ideal = focal * x[:, :2] / (focal / SPACING + x[:, 2:])
        radius = np.hypot(*ideal.T) / unit
        seen = radius
        for _ in range(20):
            seen = radius * (1 + division * seen**2)
        return (ideal * (seen / radius)[:, None] + middle)[:, ::-1]

    return positions


def photo(lens: Lens, seed: int, noise: float) -> np.ndarray:
    """Return the photo of the grid, (H, W)."""
    rng = np.random.default_rng([seed, 1])
    positions, reach = geometry(seed), int(0.8 * np.hypot(*FRAME) / SPACING)
    dots = np.stack(np.mgrid[-reach : reach + 1, -reach : reach + 1], axis=-1).reshape(-1, 2).astype(float)
    dots = dots[(np.abs(dots).max(axis=1) < reach) & (rng.random(len(dots)) > 0.02)]
    centres = positions(dots)
    step = 1e-4
    jacobians = np.stack(
        [(positions(dots + step * e) - positions(dots - step * e)) / (2 * step) for e in np.eye(2)], axis=-1
    )
    light = np.ones(np.array(FRAME) + 2 * PATCH)
    seen = ((centres > -15) & (centres < np.array(FRAME) + 15)).all(axis=1)
    for centre, jacobian in zip(centres[seen], jacobians[seen], strict=True):
        spectrum, f = lens.at(*centre)
        corner = np.floor(centre).astype(int) - PATCH // 2
        x = np.maximum(np.pi * RATIO * np.hypot(*np.tensordot(jacobian.T, f, 1)), 1e-9)
        ellipse = abs(np.linalg.det(jacobian)) * np.pi * RATIO**2 / 4 * 2 * j1(x) / x
        at = centre - corner + (SUB - 1) / (2 * SUB)
        fine = np.fft.ifft2(spectrum * ellipse * np.exp(-2j * np.pi * np.tensordot(at, f, 1))).real
        dot = fine.reshape(PATCH, SUB, PATCH, SUB).sum(axis=(1, 3))
        rows, cols = (slice(n + PATCH, n + 2 * PATCH) for n in corner)
        light[rows, cols] -= CONTRAST * dot
    y, x = np.meshgrid(np.linspace(-1, 1, FRAME[0]), np.linspace(-1, 1, FRAME[1]), indexing="ij")
    shaded = 0.8 * (1 - 0.125 * (x**2 + y**2) + 0.05 * x - 0.03 * y) * light[PATCH:-PATCH, PATCH:-PATCH]
    return shaded + noise * rng.standard_normal(FRAME)


def error(found: np.ndarray, true: np.ndarray) -> float:
    """Return the relative L2 error after the best shift."""
    f, size = np.fft.fftfreq(WIDTH + 10), np.linalg.norm(true)
    spectrum, target = np.fft.fft2(np.pad(found, 5)), np.pad(true, 5)

    def at(shift: np.ndarray) -> float:
        moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (f[:, None] * shift[0] + f * shift[1]))).real
        return float(np.linalg.norm(moved - target) / size)

    return float(minimize(at, [0, 0], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5}).fun)


def best_gaussian(true: np.ndarray) -> float:
    """Return the error of the best Gaussian, centred at the centroid."""
    index = np.arange(WIDTH)
    row, col = true.sum(axis=1) @ index / true.sum(), true.sum(axis=0) @ index / true.sum()
    squared = (index[:, None] - row) ** 2 + (index - col) ** 2

    def at(sigma: float) -> float:
        psf = np.exp(-squared / (2 * sigma**2))
        return float(np.linalg.norm(psf / psf.sum() - true) / np.linalg.norm(true))

    return float(minimize_scalar(at, bounds=(0.5, 8), method="bounded").fun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of lens_psf_summilux35")
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202, 203])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.001, 0.005])
    parser.add_argument("--cells", type=int, nargs=2, default=[8, 12])
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    lens, (rows, cols) = Lens(given.data), given.cells
    centres = [
        ((i + 0.5) * FRAME[0] / rows - 0.5, (j + 0.5) * FRAME[1] / cols - 0.5) for i in range(rows) for j in range(cols)
    ]
    truth = np.stack([lens.pixels(*centre) for centre in centres])
    limited = np.stack([lens.below_nyquist(*centre) for centre in centres])
    chosen = range(1, len(truth), 5)
    gaussian = [best_gaussian(truth[cell]) for cell in chosen]
    mean = [error(truth.mean(axis=0), truth[cell]) for cell in chosen]
    aliased = [error(limited[cell], truth[cell]) for cell in chosen]
    print(
        f"best Gaussian in each cell {np.mean(gaussian):.3f}, mean PSF {np.mean(mean):.3f}, "
        f"true PSF below the Nyquist frequency {np.mean(aliased):.3f}",
        flush=True,
    )
    for seed in given.seeds:
        for noise in given.noise:
            light = photo(lens, seed, noise)
            start = time.perf_counter()
            found = calibrate_grid(light, ratio=RATIO, cells=(rows, cols))
            seconds = time.perf_counter() - start
            psfs = found.psfs.reshape(rows * cols, *found.psfs.shape[2:])
            margin = max(0, (WIDTH - psfs.shape[-1]) // 2)
            padded = np.pad(psfs, ((0, 0), (margin, margin), (margin, margin)))
            errors = [error(padded[cell], truth[cell]) for cell in chosen]
            below = [error(padded[cell], limited[cell]) for cell in chosen]
            print(
                f"seed {seed} noise {noise:g}: error {np.mean(errors):.3f}, largest {np.max(errors):.3f}; "
                f"below Nyquist {np.mean(below):.3f}, {np.max(below):.3f}; "
                f"{len(found.dots)} dots, support {psfs.shape[-1]}, strength {found.strength:g}, "
                f"misfit {found.misfit:.4f}, {seconds:.1f} s",
                flush=True,
            )
    if given.picture is not None:
        draw(given.picture, truth[chosen], padded[chosen])


def draw(path: Path, truth: np.ndarray, found: np.ndarray) -> None:
    """Write the true PSFs above the estimated ones."""
    from matplotlib.figure import Figure

    cut = slice(WIDTH // 2 - 9, WIDTH // 2 + 10)
    figure = Figure(figsize=(1.0 * len(truth), 2.2), layout="constrained")
    axes = figure.subplots(2, len(truth))
    for column, pair in enumerate(zip(truth, found, strict=True)):
        for row, psf in enumerate(pair):
            axes[row, column].imshow(psf[cut, cut], cmap="magma", vmin=0, vmax=pair[0].max())
            axes[row, column].set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main()
