"""Measured PSFs approximated by the models of this library, and what each of them costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, final

import numpy as np

import blurphys as bp
from blurphys.inputs import require_choice, require_integer

from ...core.arrays import to_host
from ...core.types import Array
from .families import concentric
from .inputs import Image
from .projection import Mixture, fit_anisotropic, fit_concentric, fit_recursive, weights_for

__all__ = ["MODELS", "Advice", "Approximation", "advise", "approximate"]

MODELS = ("gaussians", "gkm", "rkr", "rkr-free", "mixture")

MAX_TAPS = 11
"""Widest atom of a recursive representation with free taps."""


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Approximation:
    """A PSF approximated by a model.

    Attributes
    ----------
    model : str
    K : int
        Number of kernels, that is, of coefficient maps where the blur varies.
    error : float
        Relative L2 error, ``||approximation - psf|| / ||psf||``.
    psf : ndarray of shape (n, n)
        The approximation, as `target`.
    target : ndarray of shape (n, n)
        The PSF of unit sum, its centroid within half a pixel of the centre, padded to an odd square.
    parameters : dict
        ``weights`` (K,), and ``sigmas`` (K,), ``atoms`` (K-1, taps), or ``centres``, ``sigmas`` (K, 2) and ``angles``.
    """

    model: str
    K: int
    error: float
    psf: Image
    target: Image
    parameters: Mapping[str, Any]

    def operator(self, shape: tuple[int, int, int], *, dtype: str = "float64") -> bp.LinearOperator:
        """Return the blur of images of a shape (C, H, W), with K coefficient maps that are constant."""
        channels, rows, cols = shape
        weights = np.asarray(self.parameters["weights"])
        maps = np.ascontiguousarray(np.broadcast_to(weights[:, None, None], (self.K, rows, cols)), dtype=dtype)
        if self.model in ("gaussians", "gkm"):
            widths = tuple(self.parameters["sigmas"])
            supports = (len(self.psf),) * self.K
            return bp.GKM(maps, sigmas=widths, supports=supports, channels=channels, boundary="replicate")
        if self.model == "mixture":
            atoms = np.asarray(self.parameters["atoms"], dtype=dtype)
            return bp.PSFStack(atoms, weights=maps, channels=channels, boundary="replicate")
        atoms = np.asarray(self.parameters["atoms"], dtype=dtype)
        return bp.RKR(maps, atoms=atoms, channels=channels, boundary="replicate")

    def __repr__(self) -> str:
        return f"Approximation({self.model}, K = {self.K}: relative L2 error {self.error:.3f})"


def approximate(psf: Array, *, model: str = "mixture", K: int = 5) -> Approximation:
    """Approximate a measured PSF by a model.

    Parameters
    ----------
    psf : array of shape (h, w)
        Non-negative sum, any scale; moved by whole pixels so that its centroid is at the centre.
    model : {"gaussians", "gkm", "rkr", "rkr-free", "mixture"}
        Concentric Gaussians with fitted standard deviations and signed weights; with fixed ones and weights on the
        simplex; recursive kernels with symmetric atoms, or with free taps; anisotropic Gaussians.
    K : int
        Number of kernels; of recursive ones the first is the Dirac.

    Returns
    -------
    Approximation

    Raises
    ------
    ValueError
        Not a PSF, an unknown model, too few kernels.

    Examples
    --------
    >>> import blurphys as bp
    >>> found = approximate(bp.psf.gaussian(2.0, 15), model="gaussians", K=1)
    >>> found.error < 0.02, [round(float(s), 1) for s in found.parameters["sigmas"]]
    (True, [2.0])
    """
    require_choice("approximate", "model", model, MODELS)
    require_integer("approximate", "K", K, 2 if model.startswith("rkr") else 1)
    target = _centred(psf)
    size, z = len(target), target.ravel()
    taps = 2 * max(1, ceil(size // 2 / max(1, K - 1))) + 1
    if model == "gaussians":
        found = fit_concentric(None, z, size, K, nonnegative=False)
    elif model == "gkm":
        widths = np.linspace(size / 40, size / 4, K) if K > 1 else np.array([size / 8])
        atoms = concentric(widths, size)
        weights = weights_for(atoms.reshape(K, -1).T, z, nonnegative=True)
        found = Mixture(atoms, weights, widths, 0.0)
    elif model == "mixture":
        found = fit_anisotropic(None, z, target, K)
    else:
        free = model == "rkr-free"
        found = fit_recursive(None, z, size, K, min(taps, MAX_TAPS) if free else taps, symmetric=not free)
    parameters: dict[str, Any] = {"weights": found.weights}
    if model == "mixture":
        parameters |= {
            "atoms": found.atoms,
            "centres": found.parameters[:, :2],
            "sigmas": found.parameters[:, 2:4],
            "angles": np.degrees(found.parameters[:, 4]),
        }
    else:
        parameters["sigmas" if model in ("gaussians", "gkm") else "atoms"] = found.parameters
    if model in ("gaussians", "gkm"):
        parameters["sigmas"] = tuple(float(s) for s in found.parameters)
    error = float(np.linalg.norm(found.kernel - target) / np.linalg.norm(target))
    return Approximation(model=model, K=K, error=error, psf=found.kernel, target=target, parameters=parameters)


@final
@dataclass(frozen=True, repr=False)
class Advice:
    """Errors and costs of models of a PSF; printed, a table.

    Attributes
    ----------
    rows : tuple of (str, int, float, float)
        Model, K, relative L2 error, and nanoseconds per pixel and colour of the operator with K maps on this machine.
    """

    rows: tuple[tuple[str, int, float, float], ...]

    def best(self, error: float) -> tuple[str, int, float, float] | None:
        """Return the cheapest row with at most this error, or None."""
        return min((row for row in self.rows if row[2] <= error), key=lambda row: row[3], default=None)

    def __repr__(self) -> str:
        lines = [f"{model:10} {K:3d} {error:8.3f} {cost:8.1f}" for model, K, error, cost in self.rows]
        return "\n".join([f"{'model':10} {'K':>3} {'rel. L2':>8} {'ns/px':>8}", *lines])


def advise(psf: Array, *, K: Sequence[int] = (2, 3, 5, 8), models: Sequence[str] = MODELS) -> Advice:
    """Compare models of a PSF: error against K, and time per pixel, measured on this machine.

    Parameters
    ----------
    psf : array of shape (h, w)
        As for `approximate`.
    K : sequence of int
        Numbers of kernels, at least 2.
    models : sequence of str
        As for `approximate`.

    Returns
    -------
    Advice

    Raises
    ------
    ValueError
        As for `approximate`.

    Notes
    -----
    The operator with K coefficient maps is applied to a colour image of 256 x 256 px (at least twice the PSF's width) in
    float32; the best of three times counts.
    """
    rows = []
    for model in models:
        for count in K:
            found = approximate(psf, model=model, K=count)
            side = max(256, 2 * len(found.psf))
            A = found.operator((3, side, side), dtype="float32")
            x = np.random.default_rng(0).random((3, side, side), dtype=np.float32)
            A(x)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                A(x)
                times.append(time.perf_counter() - start)
            rows.append((model, count, found.error, 1e9 * min(times) / x.size))
    return Advice(tuple(rows))


def _centred(psf: Array) -> Image:
    """Return the PSF in an odd square, of unit sum, moved by whole pixels so that its centroid is at the centre."""
    try:
        values = to_host(psf).astype(np.float64)
    except (AttributeError, TypeError, ValueError):
        raise ValueError("approximate: expected an array (h, w)") from None
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError(f"approximate: expected a PSF of shape (h, w), at least 3 x 3, got {values.shape}")
    values = bp.psf.normalize(values)
    rows, cols = values.shape
    down, right = round(float(values.sum(axis=1) @ np.arange(rows))), round(float(values.sum(axis=0) @ np.arange(cols)))
    if not (0 <= down < rows and 0 <= right < cols):
        raise ValueError("approximate: expected a PSF whose centroid lies inside it; psf.clean removes noise")
    half = max(down, rows - 1 - down, right, cols - 1 - right)
    found = np.zeros((2 * half + 1, 2 * half + 1))
    found[half - down : half - down + rows, half - right : half - right + cols] = values
    lit = np.abs(found) > 1e-3 * np.abs(found).max()
    reach = int(max(np.abs(np.argwhere(lit) - half).max(), 1))
    cut = slice(half - reach, half + reach + 1)
    return found[cut, cut]
