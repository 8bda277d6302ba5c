"""The overview picture of `blurphys fit`: the pair, its prediction, what is left, the kernels and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw"]

COLUMNS = 4


def draw(path: Path, x: Any, y: Any, fits: Sequence[tuple[str, Any]], *, overwrite: bool) -> None:
    """Write a PNG.

    Parameters
    ----------
    path : Path
    x, y : ndarray of shape (C, H, W)
        The sharp and the blurred photograph, decoded.
    fits : sequence of (str, Fit)
        Name and result of every model; the prediction is that of the best held-out score.
    overwrite : bool
        Whether an existing file is replaced.
    """
    from blurphys import plot
    from blurphys.files.publishing import publish
    from blurphys.plot.panels import new_figure, picture, shown

    name, best = max(fits, key=lambda item: item[1].heldout_psnr)
    beside = len(fits) < COLUMNS  # room for the scores in the row of the kernels
    rows = 2 if beside else 2 + -(-len(fits) // COLUMNS)
    height = 4.2 * x.shape[1] / x.shape[2]
    figure = new_figure(4.2 * COLUMNS, rows * (height + 0.7) + (0.4 if beside else 0))
    grid = figure.add_gridspec(rows, COLUMNS)
    found = best.predict(x)
    pictures = (("sharp", x), ("blurred", y), (f"predicted by {name}, held out {best.heldout_psnr:.2f} dB", found))
    for k, (title, image) in enumerate(pictures):
        picture(figure.add_subplot(grid[0, k]), shown("fit", title, image, encoded=False), title)
    axes = figure.add_subplot(grid[0, 3])
    plot.error_map(found, y, ax=axes)
    axes.set_title(f"prediction - blurred photograph, {name}", fontsize=10)
    kernels = {label: _psf(fit) for label, fit in fits}
    reach = max(map(_reach, kernels.values())) + 1.5
    for k, (label, fit) in enumerate(fits):
        _kernel(figure, figure.add_subplot(grid[1 + k // COLUMNS, k % COLUMNS]), label, fit, kernels[label], reach)
    _scores(figure.add_subplot(grid[rows - 1, len(fits) :] if beside else grid[rows - 1, :]), fits)
    with publish(path, overwrite=overwrite) as part:
        figure.savefig(part, format="png")


def _psf(fit: Any) -> Any:
    """Return the PSF (n, n) of the middle of the frame."""
    rows, cols = fit.operator.out_shape[-2:]
    psf = np.asarray(fit.operator.psf_at(rows // 2, cols // 2))
    return psf.reshape(-1, *psf.shape[-2:])[0]


def _reach(psf: Any) -> int:
    """Return how far from its centre a PSF is visible, px."""
    lit = np.argwhere(np.abs(psf) > 0.02 * np.abs(psf).max()) - np.array(psf.shape) // 2
    return int(np.abs(lit).max())


def _kernel(figure: Any, axes: Any, label: str, fit: Any, psf: Any, reach: float) -> None:
    """Draw the PSF of the middle of the frame, or the radius over the frame where it varies."""
    from blurphys.plot.panels import picture

    radius = fit.parameters.get("defocus_map")
    if radius is not None and float(np.ptp(radius)) > 0:
        drawn = picture(axes, np.asarray(radius), f"{label}: radius of the blur", cmap="viridis")
        figure.colorbar(drawn, ax=axes, shrink=0.8, label="px")
        return
    half = [n // 2 for n in psf.shape]
    extent = (-half[1] - 0.5, half[1] + 0.5, half[0] + 0.5, -half[0] - 0.5)
    axes.imshow(psf, cmap="magma", vmin=0, interpolation="nearest", extent=extent)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), facecolor="black")
    axes.set_title(f"{label}: kernel in the middle of the frame, px", fontsize=10)


def _scores(axes: Any, fits: Sequence[tuple[str, Any]]) -> None:
    place = np.arange(len(fits))
    bars = []
    for k, (label, colour) in enumerate((("heldout", "#0b5cad"), ("train", "#b9c9dc"))):
        values = [getattr(fit, f"{label}_psnr") for _, fit in fits]
        name = "held out" if label == "heldout" else "fitted to"
        bars.append(axes.bar(place + 0.38 * (k - 0.5), values, 0.36, color=colour, label=name))
    for bar in bars:
        axes.bar_label(bar, fmt="%.2f", fontsize=9)
    identity = fits[0][1].identity_psnr
    axes.axhline(identity, color="#d1495b", linestyle="--", label=f"no blur, held out: {identity:.2f} dB")
    axes.set_xticks(place, [label for label, _ in fits])
    every = [v for _, fit in fits for v in (fit.heldout_psnr, fit.train_psnr, identity)]
    axes.set_ylim(min(every) - 2, max(every) + 2)
    axes.set_ylabel("PSNR (dB)")
    axes.legend(fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
