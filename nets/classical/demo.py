"""`blurphys demo` end to end: a photo with depth is blurred by a lens and deblurred by several methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import blurphys as bp
import solvers
from blurphys import plot
from blurphys.plot.panels import new_figure, picture
from solvers.splitting.strength import strength_for

from .quality import encode, psnr, ssim
from .solve import PRIORS, RHO, TERMS

__all__ = ["MIN_SIZE", "Restoration", "figure", "restore"]

Image = NDArray[np.floating]

MIN_SIZE = 7
"""Least height and width of an image, px: the window of SSIM."""

SCREEN: Mapping[str, Any] = {"encoding": "srgb", "clip": True}
"""How images are compared and drawn: as a screen shows them."""

LIMIT = {
    "fixed point": "step limit",
    "Neumann": "all its terms",
    "HQS + TV": "all its steps",
    "layers + TV": "all its steps",
}
"""What reaching the last step means: a series and a schedule are complete with it."""


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """One restored image, its quality, and the iteration behind it.

    Attributes
    ----------
    name : str
        The method.
    x : ndarray of shape (3, H, W)
        Linear light, not clipped.
    psnr, ssim : float
        Against the all-in-focus image, both encoded as sRGB and clipped to [0, 1]; dB, and scikit-image's default
        7 x 7 window.
    residuals : tuple of float
        ``||y - A x_k|| / ||y||``, from the start on.
    times : tuple of float
        Wall time up to each residual, s.
    applications : int
        Applications of A and of its adjoint.
    status : str
        Status of the solver, or that the series or schedule was completed.
    seconds : float
        Wall time.
    """

    name: str
    x: Image
    psnr: float
    ssim: float
    residuals: tuple[float, ...]
    times: tuple[float, ...]
    applications: int
    status: str
    seconds: float


def restore(
    A: bp.LinearOperator,
    y: Image,
    truth: Image,
    *,
    noise_variance: float,
    layers: bp.LayeredDefocus | None = None,
    on_start: Callable[[str], None] | None = None,
) -> list[Restoration]:
    """Deblur with a known operator by each of the classical methods.

    Parameters
    ----------
    A : LinearOperator
        The blur, (3, H, W) to itself.
    y, truth : ndarray of shape (3, H, W)
        The recorded and the all-in-focus image, linear light.
    noise_variance : float
        Mean variance of the noise in y; sets the weight of the prior.
    layers : LayeredDefocus, optional
        The same blur with occlusion, for `solvers.layered`.
    on_start : callable, optional
        Called with the name of each method as it starts.

    Returns
    -------
    list of Restoration
        The blurred image itself first, then fixed point, Neumann, and HQS with total variation; with `layers` the
        restored layers last.
    """
    strength = strength_for(noise_variance)
    methods: dict[str, Callable[..., solvers.Solution]] = {
        "fixed point": lambda watch: solvers.fixed_point(A, y, max_iterations=10, tol=1e-3, on_step=watch),
        "Neumann": lambda watch: solvers.neumann(A, y, terms=TERMS, on_step=watch),
        "HQS + TV": lambda watch: solvers.hqs(A, y, prox=PRIORS["tv"], rho=RHO, strength=strength, on_step=watch),
    }
    if layers is not None:
        B = layers.replace(per_layer=True)

        def restore_layers(watch: Callable[..., object]) -> solvers.Solution:
            solution = solvers.layered(B, y, strength=strength, on_step=watch)
            return replace(solution, x=B.composite(solution.x))

        methods["layers + TV"] = restore_layers
    blurred = {"psnr": psnr(y, truth, **SCREEN), "ssim": ssim(y, truth, **SCREEN)}
    results = [
        Restoration(name="blurred", x=y, **blurred, residuals=(), times=(), applications=0, status="", seconds=0.0)
    ]
    for name, solve in methods.items():
        if on_start is not None:
            on_start(name)
        results.append(_timed(name, solve, truth))
    return results


def _timed(name: str, solve: Callable[..., solvers.Solution], truth: Image) -> Restoration:
    times = [0.0]
    started = time.perf_counter()
    solution = solve(lambda k, state: times.append(time.perf_counter() - started))
    seconds = time.perf_counter() - started
    return Restoration(
        name=name,
        x=solution.x,
        psnr=psnr(solution.x, truth, **SCREEN),
        ssim=ssim(solution.x, truth, **SCREEN),
        residuals=solution.residuals,
        times=tuple(times),
        applications=solution.operator_applications,
        status=LIMIT[name] if solution.status is solvers.Status.MAX_ITERATIONS else solution.status.name.lower(),
        seconds=seconds,
    )


def figure(sample: Mapping[str, Any], results: list[Restoration], path: Path) -> None:
    """Write a PNG with the photo, its defocus map, what is recorded, two restorations, an error and the residuals.

    Parameters
    ----------
    sample : mapping
        With all_in_focus, left (3, H, W) and defocus_map (H, W), as `synth.open` gives them.
    results : list of Restoration
        As `restore` gives them.
    path : Path
        Replaced if it exists.
    """
    blurred, (best, second) = results[0], sorted(results[1:], key=lambda r: -r.psnr)[:2]
    truth = sample["all_in_focus"]
    height, width = sample["defocus_map"].shape
    fig = new_figure(18, 2.2 + 8.6 * height / width)
    axes = fig.subplots(2, 4)

    def show(ax: Any, image: Image, title: str) -> None:
        picture(ax, encode(image, **SCREEN).transpose(1, 2, 0), title)

    show(axes[0, 0], truth, "photo, all in focus")
    plot.defocus_map(sample["defocus_map"], ax=axes[0, 1])
    show(axes[0, 2], sample["left"], "left view")
    show(axes[0, 3], blurred.x, f"recorded (left + right), {blurred.psnr:.2f} dB")
    show(axes[1, 0], second.x, f"restored by {second.name}, {second.psnr:.2f} dB")
    show(axes[1, 1], best.x, f"restored by {best.name}, {best.psnr:.2f} dB")
    plot.error_map(encode(best.x, **SCREEN), encode(truth, **SCREEN), ax=axes[1, 2])
    axes[1, 2].set_title(f"error of {best.name}, sRGB", fontsize=10)
    plot.residuals(
        *(result.residuals for result in results[1:]),
        labels=[f"{result.name}, {result.psnr:.2f} dB" for result in results[1:]],
        times=[result.times for result in results[1:]],
        ax=axes[1, 3],
    )
    axes[1, 3].set_title("residuals", fontsize=10)
    axes[1, 3].set_box_aspect(height / width)
    axes[1, 3].yaxis.tick_right()  # the label on the outside keeps the columns equally wide
    axes[1, 3].yaxis.set_label_position("right")
    fig.savefig(path, format="png")
