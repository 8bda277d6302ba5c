"""Kernels fitted by variable projection: weights in closed form, the parameters of the atoms by least squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .families import anisotropic, concentric, recursive, recursive_taps
from .inputs import Image

__all__ = ["Mixture", "fit_anisotropic", "fit_concentric", "fit_recursive", "weights_for"]

RIDGE = 1e-8
"""Weight of a small norm of the weights, relative to the mean power of an atom."""


class Mixture(NamedTuple):
    """Atoms (K, n, n), their weights (K,), the parameters of the atoms, and the squared error."""

    atoms: Image
    weights: Image
    parameters: Image
    error: float

    @property
    def kernel(self) -> Image:
        """The sum of the weighted atoms, (n, n)."""
        return np.einsum("k,kij->ij", self.weights, self.atoms)


def weights_for(A: Image, z: Image, *, nonnegative: bool) -> Image:
    """Return the weights w that minimise ``||A w - z||``, all at least zero if asked for."""
    from scipy.optimize import nnls

    normal = A.T @ A
    normal[np.diag_indices_from(normal)] += RIDGE * np.trace(normal) / len(normal) + 1e-300
    if not nonnegative:
        return np.linalg.solve(normal, A.T @ z)
    lower = np.linalg.cholesky(normal)
    return np.asarray(nnls(lower.T, np.linalg.solve(lower, A.T @ z))[0])


def _project(
    R: Image | None,
    z: Image,
    atoms_of: Callable[[Image], Image],
    starts: Sequence[Image],
    bounds: tuple[Any, Any],
    *,
    nonnegative: bool,
    steps: int,
) -> Mixture:
    """Minimise ``||R sum_k w_k atom_k - z||`` over parameters and weights, from several starts."""
    from scipy.optimize import least_squares

    def design(parameters: Image) -> tuple[Image, Image]:
        atoms = atoms_of(parameters)
        flat = atoms.reshape(len(atoms), -1).T
        return atoms, flat if R is None else R @ flat

    def residual(parameters: Image) -> Image:
        _, A = design(parameters)
        return A @ weights_for(A, z, nonnegative=nonnegative) - z

    low, high = bounds
    found = []
    for start in starts:
        inside = np.clip(start, low + 1e-6, high - 1e-6)
        found.append(
            least_squares(residual, inside, bounds=bounds, x_scale="jac", max_nfev=steps, ftol=1e-7, xtol=1e-6)
        )
    best = min(found, key=lambda result: float(result.cost))
    atoms, A = design(best.x)
    weights = weights_for(A, z, nonnegative=nonnegative)
    error = A @ weights - z
    return Mixture(atoms, weights, best.x, float(error @ error))


def fit_concentric(R: Image | None, z: Image, size: int, count: int, *, nonnegative: bool) -> Mixture:
    """Fit `count` concentric Gaussians with free standard deviations; parameters are these, ascending."""
    low, high = np.log(0.15), np.log(max(1.0, 0.75 * size))
    starts = [
        np.log(np.geomspace(a, max(b, 1.5 * a), count)) if count > 1 else np.log([0.5 * (a + b)])
        for a, b in ((0.4, size / 4), (0.06 * size + 0.2, size / 5), (0.15 * size + 0.2, size / 3.5))
    ]
    bounds = np.full(count, low), np.full(count, high)
    found = _project(R, z, lambda p: concentric(np.exp(p), size), starts, bounds, nonnegative=nonnegative, steps=80)
    order = np.argsort(found.parameters)
    return Mixture(found.atoms[order], found.weights[order], np.exp(found.parameters[order]), found.error)


def fit_recursive(
    R: Image | None, z: Image, size: int, count: int, taps: int, *, symmetric: bool, nonnegative: bool = False
) -> Mixture:
    """Fit a recursive representation of `count` kernels; parameters are the taps, (count - 1, taps)."""
    half, steps = taps // 2, count - 1
    binomial = np.array([1.0])
    for _ in range(taps - 1):
        binomial = np.convolve(binomial, [0.5, 0.5])
    flat = np.full(taps, 1 / taps)
    starts = []
    for shape in (binomial, flat):
        sides = shape[half + 1 :] if symmetric else np.delete(shape, half)
        starts.append(np.tile(sides, steps))
    bounds = np.full(len(starts[0]), -1.0), np.full(len(starts[0]), 1.5)

    def atoms_of(parameters: Image) -> Image:
        return recursive(recursive_taps(parameters, steps, taps, symmetric=symmetric), size)

    found = _project(R, z, atoms_of, starts, bounds, nonnegative=nonnegative, steps=30)
    parameters = recursive_taps(found.parameters, steps, taps, symmetric=symmetric)
    return Mixture(found.atoms, found.weights, parameters, found.error)


def fit_anisotropic(
    R: Image | None, z: Image, shape: Image, count: int, *, starts: int = 6, steps: int = 60
) -> Mixture:
    """Fit `count` anisotropic Gaussians of non-negative weight; parameters (count, 5) as in `families.anisotropic`.

    ``shape`` (n, n) is a kernel from which the starts are drawn, by expectation maximisation.
    """
    size = len(shape)

    def unpacked(p: Image) -> Image:
        rows = p.reshape(count, 5)
        return np.concatenate([rows[:, :2], np.exp(rows[:, 2:4]), rows[:, 4:]], axis=1)

    low = np.tile([-size / 2, -size / 2, np.log(0.25), np.log(0.25), -4 * np.pi], count)
    high = np.tile([size / 2, size / 2, np.log(size), np.log(size), 4 * np.pi], count)
    rng = np.random.default_rng(0)
    first = [_expectation_maximisation(shape, count, rng) for _ in range(starts)]
    found = _project(R, z, lambda p: anisotropic(unpacked(p), size), first, (low, high), nonnegative=True, steps=steps)
    parameters = unpacked(found.parameters)
    swapped = parameters[:, 2] < parameters[:, 3]  # the larger deviation first
    parameters[swapped, 2], parameters[swapped, 3] = parameters[swapped, 3], parameters[swapped, 2].copy()
    parameters[swapped, 4] += np.pi / 2
    parameters[:, 4] = (parameters[:, 4] + np.pi / 2) % np.pi - np.pi / 2
    order = np.argsort(-found.weights)
    return Mixture(found.atoms[order], found.weights[order], parameters[order], found.error)


def _expectation_maximisation(shape: Image, count: int, rng: np.random.Generator, rounds: int = 25) -> Image:
    """Return a start, packed: Gaussians that share the light of a kernel."""
    size = len(shape)
    light = np.maximum(shape, 0.0).ravel()
    kept = np.nonzero(light > 1e-3 * light.max())[0]
    light = light[kept] / light[kept].sum()
    points = np.stack([kept // size, kept % size], axis=1) - float(size // 2)
    centres = points[rng.choice(len(points), count, replace=len(points) < count, p=light)]
    spread = max(0.5, float(np.sqrt((light @ (points - light @ points) ** 2).mean() / count)))
    covariances = np.tile(np.eye(2) * spread**2, (count, 1, 1))
    share = np.full(count, 1 / count)
    for _ in range(rounds):
        offset = points[None] - centres[:, None]
        inverse = np.linalg.inv(covariances)
        distance = np.einsum("kni,kij,knj->kn", offset, inverse, offset)
        score = np.log(share + 1e-12)[:, None] - 0.5 * distance + 0.5 * np.log(np.linalg.det(inverse))[:, None]
        belongs = np.exp(score - score.max(axis=0))
        belongs *= light / belongs.sum(axis=0)
        share = belongs.sum(axis=1)
        centres = (belongs @ points) / (share[:, None] + 1e-12)
        offset = points[None] - centres[:, None]
        covariances = np.einsum("kn,kni,knj->kij", belongs, offset, offset) / (share[:, None, None] + 1e-12)
        covariances += np.eye(2) * 0.1
    values, vectors = np.linalg.eigh(covariances)
    angle = np.arctan2(vectors[:, 0, 1], vectors[:, 1, 1])  # of the larger axis: rows are y
    packed = [centres, 0.5 * np.log(values[:, 1:]), 0.5 * np.log(values[:, :1]), angle[:, None]]
    return np.concatenate(packed, axis=1).ravel()
