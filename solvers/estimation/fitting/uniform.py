"""Models with one kernel for the whole frame, or atoms with coefficient maps, fitted to a pair of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

import blurphys as bp
from blurphys.inputs import require_choice, require_integer

from ...core.arrays import to_host
from ...core.types import Array
from .families import concentric
from .fit import Fit, finished, refuse_underdetermined
from .inputs import Image
from .maps import fit_maps
from .moments import moments_of, whitened
from .pair import HeldOut, Pair, pair_of
from .projection import Mixture, fit_anisotropic, fit_concentric, fit_recursive, weights_for
from .registration import Registration

__all__ = ["fit_gkm", "fit_mixture", "fit_psf_bank", "fit_rkr", "free_kernel"]

Model = Literal["constant", "affine", "free"]
MODELS = ("constant", "affine", "free")
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def fit_gkm(
    sharp: Array,
    blurred: Array,
    *,
    sigmas: Sequence[float] | None = None,
    K: int = 5,
    model: Model = "constant",
    nonnegative: bool = False,
    registration: Registration | None = None,
    size: int | None = None,
    heldout: HeldOut = "blocks",
    block: int | None = None,
    max_radius: float | None = None,
    shading: bool = True,
    tone: bool = False,
    allow_underdetermined: bool = False,
) -> Fit:
    """Fit a Gaussian kernel mixture to a sharp and a blurred photograph.

    Parameters
    ----------
    sharp, blurred, registration, size, heldout, block, max_radius, shading, tone, allow_underdetermined
        As for `fit_psf_bank`.
    sigmas : sequence of floats, optional
        Standard deviations, px; by default `K` of them are fitted.
    K : int
        Number of Gaussians, without `sigmas`.
    model : {"constant", "affine", "free"}
        Coefficients equal over the frame, of the first degree in the position, or interpolated from a grid of nodes.
    nonnegative : bool
        Whether the constant coefficients must not be negative.

    Returns
    -------
    Fit
        With a `blurphys.GKM`; parameters ``sigmas`` and ``beta``, the coefficients (K,) averaged over the frame.

    Raises
    ------
    ValueError, TypeError
        As for `fit_psf_bank`, and for an unknown model.

    Notes
    -----
    Variable projection on the second moments of the pair: weights in closed form, log sigma by least squares. Maps are
    linear in their nodes and fitted by least squares, regularised towards the constant coefficients.
    """
    pair = _prepared("fit_gkm", sharp, blurred, registration, size, heldout, block, max_radius, shading, tone)
    require_choice("fit_gkm", "model", model, MODELS)
    n = pair.support
    first, second = moments_of(pair)
    R, z = whitened(first + second)
    if sigmas is None:
        require_integer("fit_gkm", "K", K)
        found = fit_concentric(R, z, n, K, nonnegative=nonnegative)
        widths = [float(s) for s in found.parameters]
    else:
        widths = [float(s) for s in sigmas]
        atoms = concentric(widths, n)
        weights = weights_for(R @ atoms.reshape(len(atoms), -1).T, z, nonnegative=nonnegative)
        found = Mixture(atoms, weights, np.array(widths), 0.0)
    maps, more, pair = _maps(pair, found, model, allow_underdetermined)
    A = bp.GKM(
        pair.own(maps), sigmas=tuple(widths), supports=(n,) * len(widths), channels=len(pair.x), boundary="replicate"
    )
    parameters = {"sigmas": tuple(widths), "beta": tuple(float(v) for v in maps.mean(axis=(1, 2)))}
    unknowns = len(widths) + (len(widths) if sigmas is None else 0) + more
    return finished(pair, A, parameters, model=f"GKM of {len(widths)} Gaussians, {model}", unknowns=unknowns)


def fit_rkr(
    sharp: Array,
    blurred: Array,
    *,
    J: int | None = None,
    taps: int = 3,
    symmetric: bool = True,
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
    """Fit a recursive kernel representation, atoms and coefficients, to a sharp and a blurred photograph.

    Parameters
    ----------
    sharp, blurred, registration, size, heldout, block, max_radius, shading, tone, allow_underdetermined
        As for `fit_psf_bank`.
    J : int, optional
        Number of kernels, the Dirac included; by default as many as reach over the support.
    taps : int
        Of an atom, odd.
    symmetric : bool
        Whether the atoms are symmetric.
    model : {"constant", "affine", "free"}
        As for `fit_gkm`; the atoms are those of the constant model.

    Returns
    -------
    Fit
        With a `blurphys.RKR`; parameters ``atoms`` (J-1, taps) and ``gamma``, the mean coefficients (J,).

    Raises
    ------
    ValueError, TypeError
        As for `fit_psf_bank`, and for an unknown model.
    """
    pair = _prepared("fit_rkr", sharp, blurred, registration, size, heldout, block, max_radius, shading, tone)
    require_choice("fit_rkr", "model", model, MODELS)
    require_integer("fit_rkr", "taps", taps, 3, odd=True)
    count = (pair.support - 1) // (taps - 1) + 1 if J is None else require_integer("fit_rkr", "J", J, 2)
    first, second = moments_of(pair)
    R, z = whitened(first + second)
    found = fit_recursive(R, z, pair.support, count, taps, symmetric=symmetric)
    maps, more, pair = _maps(pair, found, model, allow_underdetermined)
    A = bp.RKR(pair.own(maps), atoms=pair.own(found.parameters), channels=len(pair.x), boundary="replicate")
    parameters = {"atoms": found.parameters, "gamma": tuple(float(v) for v in maps.mean(axis=(1, 2)))}
    free = (taps // 2 if symmetric else taps - 1) * (count - 1)
    return finished(pair, A, parameters, model=f"RKR of {count} kernels, {model}", unknowns=count + free + more)


def fit_mixture(
    sharp: Array,
    blurred: Array,
    *,
    K: int = 5,
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
    """Fit a mixture of anisotropic Gaussians to a sharp and a blurred photograph.

    Parameters
    ----------
    sharp, blurred, registration, size, heldout, block, max_radius, shading, tone, allow_underdetermined
        As for `fit_psf_bank`.
    K : int
        Number of Gaussians.
    model : {"constant", "affine", "free"}
        Of the weights, as for `fit_gkm`.

    Returns
    -------
    Fit
        With a `blurphys.PSFStack` of K weights; parameters ``centres`` (K, 2), px down and right, ``sigmas`` (K, 2),
        px, ``angles`` (K,), degrees from +x towards +y of the larger deviation, and ``weights`` (K,).

    Raises
    ------
    ValueError, TypeError
        As for `fit_psf_bank`, and for an unknown model.
    """
    pair = _prepared("fit_mixture", sharp, blurred, registration, size, heldout, block, max_radius, shading, tone)
    require_choice("fit_mixture", "model", model, MODELS)
    require_integer("fit_mixture", "K", K)
    folds = moments_of(pair)
    R, z = whitened(folds[0] + folds[1])
    found = fit_anisotropic(R, z, free_kernel(folds, pair.support, nonnegative=True), K)
    maps, more, pair = _maps(pair, found, model, allow_underdetermined)
    A = bp.PSFStack(pair.own(found.atoms), weights=pair.own(maps), channels=len(pair.x), boundary="replicate")
    parameters = {
        "centres": found.parameters[:, :2],
        "sigmas": found.parameters[:, 2:4],
        "angles": np.degrees(found.parameters[:, 4]),
        "weights": tuple(float(v) for v in maps.mean(axis=(1, 2))),
    }
    return finished(pair, A, parameters, model=f"mixture of {K} anisotropic Gaussians, {model}", unknowns=6 * K + more)


def fit_psf_bank(
    sharp: Array,
    blurred: Array,
    *,
    nonnegative: bool = True,
    registration: Registration | None = None,
    size: int | None = None,
    heldout: HeldOut = "blocks",
    block: int | None = None,
    max_radius: float | None = None,
    shading: bool = True,
    tone: bool = False,
    allow_underdetermined: bool = False,
) -> Fit:
    """Fit a free kernel, every tap an unknown, to a sharp and a blurred photograph.

    Parameters
    ----------
    sharp, blurred : array of shape (C, H, W)
        Linear light, of the same scene. Any namespace; computed in NumPy float64, the operator is of the kind of
        `sharp`.
    nonnegative : bool
        Whether taps must not be negative.
    registration : Registration, optional
        Between the two; by default that of `register`, with a disk. Its brightness is fitted again.
    size : int, optional
        Odd width of the kernels, px; by default from the radius of the blur.
    heldout : "blocks" or (sharp, blurred)
        Pixels that are not fitted to: every other block of a checkerboard, less a band as wide as the kernel, or
        another pair with the same blur and registration.
    block : int, optional
        Side of a block, px; by default four times `size`.
    max_radius : float, optional
        Largest blur radius looked for in the registration, px; 1/16 of the shorter side by default.
    shading : bool
        Whether the gain may vary over the frame.
    tone : bool
        Whether the registration has a tone curve, as for `register`; one that is passed keeps its own.
    allow_underdetermined : bool
        Whether more unknowns than numbers to fit to are accepted.

    Returns
    -------
    Fit
        With a `blurphys.Convolution`; parameter ``psf``, of unit sum and with its centroid at the centre.

    Raises
    ------
    ValueError
        Shapes that differ or are too small, NaN, a constant or swapped pair, more unknowns than numbers, no pixel left
        to hold out; with tone curves, values far outside 0 to 1.
    TypeError
        Not floating-point arrays.

    Notes
    -----
    Least squares with a penalty on differences of neighbouring taps, whose strength is chosen by cross-validation
    within the training pixels. A shifted kernel and a shift are the same: the centroid goes to the registration.
    """
    pair = _prepared("fit_psf_bank", sharp, blurred, registration, size, heldout, block, max_radius, shading, tone)
    n = pair.support
    refuse_underdetermined("fit_psf_bank", n * n, pair.observations, allowed=allow_underdetermined)
    line = np.arange(n) - n // 2
    psf = np.zeros((n, n))
    for _ in range(2):
        psf = free_kernel(moments_of(pair), n, nonnegative=nonnegative)
        psf = psf / psf.sum()
        centroid = (float(psf.sum(axis=1) @ line), float(psf.sum(axis=0) @ line))
        if max(map(abs, centroid)) < 0.02:
            break
        pair = pair.shifted(centroid)
    A = bp.Convolution(pair.own(psf), shape=pair.x.shape, boundary="replicate")
    return finished(pair, A, {"psf": psf}, model=f"free kernel of {n} x {n} px", unknowns=n * n)


def free_kernel(folds: tuple[Any, Any], size: int, *, nonnegative: bool) -> Image:
    """Return the kernel of least regularised error; the strength is chosen by cross-validation between the folds."""
    penalty = _roughness(size)

    def solve(moments: Any, strength: float) -> Image:
        from scipy.optimize import nnls

        share = np.trace(moments.G) / size**2
        normal = moments.G + share * (strength * penalty + 1e-10 * np.eye(size * size))
        if not nonnegative:
            return np.linalg.solve(normal, moments.b)
        lower = np.linalg.cholesky(normal)
        return np.asarray(nnls(lower.T, np.linalg.solve(lower, moments.b))[0])

    def error(strength: float) -> float:
        return sum(b.error(solve(a, strength)) for a, b in (folds, folds[::-1]) if a.count and b.count)

    return solve(folds[0] + folds[1], min(STRENGTHS, key=error)).reshape(size, size)


def _roughness(size: int) -> Image:
    """Return the matrix of the sum of squared differences of neighbouring taps, zero beyond the kernel."""
    line = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
    return np.kron(line, np.eye(size)) + np.kron(np.eye(size), line)


def _prepared(name: str, sharp: Array, blurred: Array, registration: Any, size: Any, heldout: Any, block: Any,
              max_radius: Any, shading: bool, tone: bool) -> Pair:  # fmt: skip
    return pair_of(
        name, sharp, blurred, pupil=bp.Pupil.disk(), registration=registration, size=size, heldout=heldout, block=block,
        max_radius=max_radius, shading=shading, tone=tone,
    )  # fmt: skip


def _maps(pair: Pair, found: Mixture, model: str, allowed: bool) -> tuple[Image, int, Pair]:
    """Return coefficient maps (K, H, W) of unit sum, how many more unknowns they have, and the pair relit."""
    weights = found.weights / found.weights.sum()
    kernel = np.einsum("k,kij->ij", weights, found.atoms)
    A = bp.Convolution(kernel, shape=pair.x.shape, boundary="replicate")
    pair = pair.relit(to_host(A(pair.x)))
    if model == "constant":
        unknowns = len(weights)
        refuse_underdetermined(pair.name, unknowns, pair.observations, allowed=allowed)
        return np.broadcast_to(weights[:, None, None], (len(weights), *pair.x.shape[1:])), 0, pair
    maps, more = fit_maps(pair, found.atoms, weights, model, allowed=allowed)
    return maps, more, pair
