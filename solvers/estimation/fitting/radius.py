"""The radius of a blur of known shape, equal over the frame or varying, fitted to a pair of photographs."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

import blurphys as bp
from blurphys.inputs import require_choice

from ...core.types import Array
from .families import embedded
from .fit import Fit, finished, refuse_underdetermined
from .inputs import Image, pupil_named
from .maps import basis, sampled
from .moments import moments_of
from .pair import HeldOut, Pair, pair_of
from .registration import Registration
from .uniform import MODELS, Model

__all__ = ["fit_radius"]

STEP = 0.5
"""Distance of the radii of the bank of a varying radius, px."""


def fit_radius(
    sharp: Array,
    blurred: Array,
    *,
    pupil: bp.Pupil | str = "disk",
    model: Model = "constant",
    registration: Registration | None = None,
    size: int | None = None,
    heldout: HeldOut = "blocks",
    block: int | None = None,
    max_radius: float | None = None,
    shading: bool = True,
    tone: bool = False,
    allow_underdetermined: bool = False,
) -> Fit:
    """Fit the radius of a defocus blur of known shape to a sharp and a blurred photograph.

    Parameters
    ----------
    sharp, blurred, registration, size, heldout, block, max_radius, shading, tone, allow_underdetermined
        As for `fit_psf_bank`.
    pupil : blurphys.Pupil or {"disk", "gaussian", "butterworth"}
        Shape of the PSF; a Gaussian has a standard deviation of half the radius.
    model : {"constant", "affine", "free"}
        One radius, one of the first degree in the position, or one interpolated from a grid of nodes.

    Returns
    -------
    Fit
        With a `blurphys.Convolution`, or a `blurphys.DefocusBlur` where the radius varies; parameters ``radius``, px,
        its mean over the frame, and ``defocus_map`` (H, W). The sign is found only with an asymmetric pupil.

    Raises
    ------
    ValueError, TypeError
        As for `fit_psf_bank`, and for an unknown pupil or model.

    Notes
    -----
    One radius is a search on the second moments of the pair. A varying one starts from it; Gauss-Newton steps are taken
    on images blurred by a bank of radii .5 px apart.
    """
    shape = pupil_named("fit_radius", pupil)
    require_choice("fit_radius", "model", model, MODELS)
    pair = pair_of(
        "fit_radius", sharp, blurred, pupil=shape, registration=registration, size=size, heldout=heldout, block=block,
        max_radius=max_radius, shading=shading, tone=tone,
    )  # fmt: skip
    name = pupil if isinstance(pupil, str) else shape.parameters["kind"]
    radius = _one_radius(pair, shape)
    kernel = bp.Convolution(shape.psf(radius), shape=pair.x.shape, boundary="replicate")
    if model == "constant":
        parameters: dict[str, Any] = {"radius": radius, "defocus_map": np.full(pair.x.shape[1:], radius)}
        A: bp.LinearOperator = bp.Convolution(pair.own(kernel.psf), shape=pair.x.shape, boundary="replicate")
        return finished(pair, A, parameters, model=f"{name} of radius {radius:.3f} px", unknowns=1)
    pair = pair.relit(kernel(pair.x))
    functions = basis(pair.x.shape, model)
    refuse_underdetermined("fit_radius", len(functions), pair.observations, allowed=allow_underdetermined)
    found = _varying(pair, shape, radius, functions)
    bank = _bank(shape, radius, found)
    A = bp.DefocusBlur(pair.own(found), bank=bank, channels=len(pair.x), boundary="replicate")
    parameters = {"radius": float(found.mean()), "defocus_map": found}
    words = f"{name}, {model} radius of {found.min():.2f} to {found.max():.2f} px"
    return finished(pair, A, parameters, model=words, unknowns=len(functions))


def _one_radius(pair: Pair, pupil: bp.Pupil) -> float:
    """Return the radius of least error, with the gain left free, near that of the registration."""
    from scipy.optimize import minimize_scalar

    first, second = moments_of(pair)
    moments = first + second

    def error(radius: float) -> float:
        h = embedded(pupil.psf(radius), pair.support).ravel()
        match = max(float(moments.b @ h), 0.0)
        return -match * match / float(h @ (moments.G @ h))

    largest = (pair.support // 2) / max(1.0, pupil.extent)
    low = -largest if pair.registration.radius < 0 else 0.0
    start = min((float(r) for r in np.linspace(low, low + largest, 4 * ceil(largest) + 1)), key=error)
    return float(minimize_scalar(error, bounds=(start - 0.5, start + 0.5), method="bounded", options={"xatol": 1e-4}).x)


def _bank(pupil: bp.Pupil, radius: float, found: Image) -> bp.PSFBank:
    largest = max(1.0, float(np.abs(found).max()), abs(radius))
    return bp.PSFBank(pupil, max_radius=STEP * ceil(largest / STEP + 1), step=STEP)


def _varying(pair: Pair, pupil: bp.Pupil, radius: float, functions: Image, steps: int = 12) -> Image:
    """Return the map of radii (H, W) by damped Gauss-Newton steps from a constant one."""
    sign = -1.0 if radius < 0 else 1.0
    top = max(abs(radius) * 1.8, abs(radius) + 2.0)
    levels = np.arange(ceil(top / STEP) + 1) * STEP
    images = [bp.Convolution(pupil.psf(sign * r), shape=pair.x.shape, boundary="replicate")(pair.x) for r in levels]
    pixels = [np.concatenate(both) for both in zip(*sampled(pair), strict=True)]
    table = np.stack([image[:, pixels[0], pixels[1]] for image in images])  # (L, C, N)
    target, local = pair.target[:, pixels[0], pixels[1]], functions[:, pixels[0], pixels[1]]
    one = functions.reshape(len(functions), -1)[:, :: max(1, functions[0].size // 5000)]
    nodes = np.linalg.lstsq(one.T, np.full(one.shape[1], abs(radius)), rcond=None)[0]

    def look(nodes: Image) -> tuple[Image, Image]:
        place = np.clip((nodes @ local) / STEP, 0, len(levels) - 1 - 1e-9)
        lower = place.astype(int)
        t, at = place - lower, np.arange(len(lower))
        a, b = table[lower, :, at].T, table[lower + 1, :, at].T
        return target - ((1 - t) * a + t * b), (b - a) / STEP

    damping, (residual, slope) = 1e-3, look(nodes)
    error = float(np.sum(residual**2))
    start = nodes
    for _ in range(steps):
        normal = (local * np.sum(slope**2, axis=0)) @ local.T
        right = local @ np.sum(slope * residual, axis=0)
        share = np.trace(normal) / len(nodes)
        step = np.linalg.solve(normal + damping * share * np.eye(len(nodes)), right - 1e-3 * share * (nodes - start))
        then = look(nodes + step)
        if float(np.sum(then[0] ** 2)) < error:
            nodes, (residual, slope), error = nodes + step, then, float(np.sum(then[0] ** 2))
            damping = max(1e-6, damping / 3)
            if np.abs(step).max() < 1e-3:
                break
        else:
            damping *= 10
    found: Image = sign * np.clip(np.einsum("j,jhw->hw", nodes, functions), 0, levels[-1])
    return found
