"""Coefficients and radii that vary over the frame: linear in a few nodes."""

from __future__ import annotations

import numpy as np

import blurphys as bp

from .fit import refuse_underdetermined
from .inputs import Image
from .pair import Pair

__all__ = ["basis", "fit_maps", "sampled"]

SPACING, SAMPLES = 96, 40_000
"""Distance of the nodes of a free map (px), and pixels of each fold that are looked at."""

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def basis(shape: tuple[int, ...], model: str) -> Image:
    """Return functions (J, H, W) that sum up to a map: 1, down, right; or hats on a grid of nodes."""
    rows, cols = shape[-2:]
    i, j = np.linspace(-1, 1, rows), np.linspace(-1, 1, cols)
    if model == "constant":
        return np.ones((1, rows, cols))
    if model == "affine":
        flat = np.zeros((rows, cols))
        return np.stack([flat + 1, flat + i[:, None], flat + j])
    down, right = (_hats(line, max(2, round(len(line) / SPACING) + 1)) for line in (i, j))
    return np.einsum("ai,bj->abij", down, right).reshape(-1, rows, cols)


def _hats(line: Image, nodes: int) -> Image:
    place = np.linspace(-1, 1, nodes)
    return np.maximum(0.0, 1 - np.abs(line - place[:, None]) / (place[1] - place[0]))


def sampled(pair: Pair) -> tuple[tuple[Image, Image], tuple[Image, Image]]:
    """Return the rows and columns of training pixels of both folds, drawn at random."""
    rng = np.random.default_rng(1)
    found = []
    for mask in pair.masks:
        rows, cols = np.nonzero(mask)
        chosen = rng.permutation(len(rows))[:SAMPLES]
        found.append((rows[chosen], cols[chosen]))
    return found[0], found[1]


def fit_maps(pair: Pair, atoms: Image, weights: Image, model: str, *, allowed: bool) -> tuple[Image, int]:
    """Fit maps (K, H, W) of unit sum around constant weights; also return how many unknowns they add."""
    functions = basis(pair.x.shape, model)
    count, terms = len(atoms), len(functions)
    unknowns = (count - 1) * terms
    refuse_underdetermined(pair.name, unknowns, pair.observations, allowed=allowed)
    flat = np.broadcast_to(weights[:, None, None], (count, *pair.x.shape[1:]))
    if count == 1:
        return flat, 0
    anchor = int(np.argmax(np.abs(weights)))
    others = [k for k in range(count) if k != anchor]
    images = [bp.Convolution(atom, shape=pair.x.shape, boundary="replicate")(pair.x) for atom in atoms]
    residual = pair.target - sum(w * image for w, image in zip(weights, images, strict=True))
    normals = []
    for rows, cols in sampled(pair):
        local = functions[:, rows, cols]
        normal, right = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
        power = 0.0
        for c in range(len(pair.x)):
            differences = np.stack([(images[k] - images[anchor])[c][rows, cols] for k in others])
            X = (differences[:, None] * local[None]).reshape(unknowns, -1)
            r = residual[c][rows, cols]
            normal += X @ X.T
            right += X @ r
            power += float(r @ r)
        normals.append((normal, right, power))

    def solve(normal: Image, right: Image, strength: float) -> Image:
        share = np.trace(normal) / unknowns
        return np.linalg.solve(normal + (strength * share + 1e-12) * np.eye(unknowns), right)

    def error(strength: float) -> float:
        total = 0.0
        for (normal, right, _), (other, wanted, power) in (normals, normals[::-1]):
            d = solve(normal, right, strength)
            total += power - 2 * float(wanted @ d) + float(d @ other @ d)
        return total

    best = min(STRENGTHS, key=error)
    d = solve(normals[0][0] + normals[1][0], normals[0][1] + normals[1][1], best)
    change = np.einsum("kj,jhw->khw", d.reshape(count - 1, terms), functions)
    maps = flat.copy()
    maps[others] += change
    maps[anchor] -= change.sum(axis=0)
    return maps, unknowns
