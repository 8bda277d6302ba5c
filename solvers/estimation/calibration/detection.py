"""Find the dots of a printed grid in a photo, and number them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Dots", "find_dots", "number_dots", "paper_level", "refine_centres"]

Points = np.ndarray[Any, Any]

SCALES = (1.0, 1.5, 2.2, 3.2, 4.7, 7.0, 10.0, 15.0, 22.0, 32.0)
"""Standard deviations of the smoothing at which dots are looked for, px."""

REGULAR = 0.18
"""Opposite neighbours of a dot lie within this share of their distance from where a lattice has them."""


class Dots(NamedTuple):
    """Candidates for the dots of a grid."""

    positions: Points  # (n, 2) row and column of the extrema
    regular: Points  # (n,) whether each lies midway between two pairs of others
    steps: Points  # (n, 2, 2) the two shortest steps to its neighbours, where it is regular
    dark: bool


def find_dots(light: Points) -> Dots:
    """Find blobs that lie on a lattice, dark or light, at the scale that shows most of them.

    Parameters
    ----------
    light : ndarray of shape (H, W)
        The photo in linear light.

    Notes
    -----
    At each scale the photo is divided by its local mean, so that shading does not matter, and filtered with a
    difference of Gaussians; its local extrema beyond a quarter of the strong ones are candidates. A candidate is
    regular if it lies midway between two pairs of others. Between the dots of a lattice lies one of the other polarity,
    and defocused dots may be rings, of which fine scales find several extrema; the scale and polarity with the largest
    product of regular candidates and height of the extrema is taken.
    """
    found = [
        _candidates(light, scale, dark) for dark in (True, False) for scale in SCALES if 12 * scale < min(light.shape)
    ]
    dots, _ = max(found, key=lambda one: one[1] * one[0].regular.sum(), default=(_NONE, 0.0))
    if dots.regular.any():
        return dots
    return max((dots for dots, _ in found), key=lambda dots: min(len(dots.positions), 500), default=_NONE)


_NONE = Dots(np.empty((0, 2)), np.empty(0, bool), np.empty((0, 2, 2)), True)


def _candidates(light: Points, scale: float, dark: bool) -> tuple[Dots, float]:
    from scipy.ndimage import gaussian_filter, maximum_filter

    factor = max(1, int(scale / 1.5))
    if factor > 1:  # coarse scales on a smaller photo
        rows, cols = (n // factor for n in light.shape)
        light = light[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor).mean(axis=(1, 3))
        scale = scale / factor
    mean = gaussian_filter(light, 4 * scale, mode="nearest")
    relative = light / np.maximum(mean, 1e-3 * max(float(light.max()), 1e-30))
    response = gaussian_filter(relative, scale, mode="nearest") - gaussian_filter(relative, 1.6 * scale, mode="nearest")
    response = -response if dark else response
    size = 2 * max(1, round(1.5 * scale)) + 1
    peaks = np.argwhere((response == maximum_filter(response, size, mode="nearest")) & (response > 0))
    if len(peaks) == 0:
        return _NONE._replace(dark=dark), 0.0
    heights = response[peaks[:, 0], peaks[:, 1]]
    strong = float(np.quantile(np.sort(heights)[-max(25, len(heights) // 4) :], 0.5))
    inside = ((peaks > 0) & (peaks < np.array(light.shape) - 1)).all(axis=1)
    peaks = (peaks[(heights > 0.25 * strong) & inside] + 0.5) * factor - 0.5
    if not 9 <= len(peaks) <= light.size / 20:
        return Dots(peaks, np.zeros(len(peaks), bool), np.zeros((len(peaks), 2, 2)), dark), 0.0
    regular, steps = _regularity(peaks)
    return Dots(peaks, regular, steps, dark), strong


def _regularity(points: Points) -> tuple[Points, Points]:
    """Return which points lie midway between two pairs of their neighbours, and the steps to the nearer two."""
    from scipy.spatial import cKDTree

    count = min(9, len(points))
    distances, index = cKDTree(points).query(points, k=count)
    steps = points[index[:, 1:]] - points[:, None]  # (n, 8, 2)
    lengths = distances[:, 1:]
    opposite = np.linalg.norm(steps[:, :, None] + steps[:, None, :], axis=-1)  # small where i and j are opposite
    paired = (opposite < REGULAR * np.minimum(lengths[:, :, None], lengths[:, None, :])).any(axis=2)
    first = np.argmax(paired, axis=1)
    rows = np.arange(len(points))
    one = steps[rows, first]
    cross = np.abs(one[:, None, 0] * steps[..., 1] - one[:, None, 1] * steps[..., 0])
    across = paired & (cross > 0.5 * lengths[rows, first][:, None] * lengths)
    second = np.argmax(across, axis=1)
    other = steps[rows, second]
    # On a square lattice, whatever the perspective of a usable photo, the two steps are of similar length.
    ratio = lengths[rows, second] / lengths[rows, first]
    regular = paired.any(axis=1) & across.any(axis=1) & (ratio < 1.7)
    return regular, np.stack([one, other], axis=1)


def number_dots(dots: Dots) -> tuple[Points, Points]:
    """Number the dots by walking from neighbour to neighbour.

    Returns
    -------
    grid : ndarray of int of shape (n, 2)
        (u, v) of each dot of the largest connected part of the lattice.
    index : ndarray of int of shape (n,)
        Which candidates they are.
    """
    from scipy.spatial import cKDTree

    tree, points = cKDTree(dots.positions) if len(dots.positions) else None, dots.positions
    best: dict[int, tuple[int, int]] = {}
    unused = set(np.flatnonzero(dots.regular).tolist())
    while tree is not None and unused and len(unused) > len(best):
        middle = np.mean([points[i] for i in unused], axis=0)
        start = min(unused, key=lambda i: float(np.sum((points[i] - middle) ** 2)))
        numbers = _walk(points, dots.steps, start, tree)
        unused -= set(numbers) | {start}
        if len(numbers) > len(best):
            best = numbers
    if not best:
        return np.empty((0, 2), int), np.empty(0, int)
    grid, index = np.array(list(best.values())), np.array(list(best))
    return _reduced(grid, points[index]), index


def _reduced(grid: Points, positions: Points) -> Points:
    """Renumber dots so that both steps are the shortest of the lattice (Lagrange): a walk may have gone diagonally."""
    steps = np.linalg.lstsq(np.column_stack([grid, np.ones(len(grid))]), positions, rcond=None)[0][:2]
    change = np.eye(2, dtype=int)  # new steps by the old ones
    for _ in range(20):
        order = np.argsort(np.linalg.norm(change @ steps, axis=1))
        change = change[order]
        short, long = change @ steps
        times = round(float(short @ long) / max(float(short @ short), 1e-30))
        if times == 0:
            break
        change[1] -= times * change[0]
    renumbered: Points = grid @ np.rint(np.linalg.inv(change)).astype(int)
    return renumbered


def _walk(points: Points, steps: Points, start: int, tree: Any) -> dict[int, tuple[int, int]]:
    """Breadth first from `start`: a step is predicted from the last one in its direction, and corrected by the dot."""
    first, second = steps[start]
    if first[0] * second[1] - first[1] * second[0] > 0:  # u to v turns the way columns turn to rows
        first, second = second, first
    numbers, taken = {start: (0, 0)}, {(0, 0)}
    queue = [(start, np.stack([first, second]))]
    for here, basis in queue:
        u, v = numbers[here]
        for axis, sign, reach in (
            (0, 1, 1),
            (0, -1, 1),
            (1, 1, 1),
            (1, -1, 1),
            (0, 1, 2),
            (0, -1, 2),
            (1, 1, 2),
            (1, -1, 2),
        ):
            move = sign * reach
            place = (u + move, v) if axis == 0 else (u, v + move)
            if place in taken:
                continue
            length = float(np.hypot(*basis[axis]))
            distance, there = tree.query(points[here] + move * basis[axis], distance_upper_bound=0.25 * length)
            if not np.isfinite(distance) or int(there) in numbers:
                continue
            numbers[int(there)] = place
            taken.add(place)
            measured = (points[there] - points[here]) / move
            turned = basis.copy()
            turned[axis] = 0.5 * (basis[axis] + measured)
            queue.append((int(there), turned))
    return numbers


def paper_level(light: Points, block: int, *, dark: bool, degree: int = 4) -> Points:
    """Fit a polynomial to the brightest (or, around light dots, darkest) part of blocks of the size of the spacing."""
    rows, cols = max(2, light.shape[0] // block), max(2, light.shape[1] // block)
    edges_r = np.linspace(0, light.shape[0], rows + 1).astype(int)
    edges_c = np.linspace(0, light.shape[1], cols + 1).astype(int)
    quantile = 0.95 if dark else 0.05
    levels = np.array(
        [[np.quantile(light[a:b, c:d], quantile) for c, d in zip(edges_c, edges_c[1:], strict=False)]
         for a, b in zip(edges_r, edges_r[1:], strict=False)]
    )  # fmt: skip
    centres_r, centres_c = (edges_r[1:] + edges_r[:-1] - 1) / 2, (edges_c[1:] + edges_c[:-1] - 1) / 2
    degree = min(degree, rows - 1, cols - 1)
    return fit_polynomial(levels.ravel(), np.repeat(centres_r, cols), np.tile(centres_c, rows), light.shape, degree)


def fit_polynomial(values: Points, rows: Points, cols: Points, frame: tuple[int, ...], degree: int) -> Points:
    """Fit a polynomial of total degree `degree` to values (n,) at places, robustly, and return it on the frame."""
    half = np.array(frame) / 2
    y, x = (rows + 0.5) / half[0] - 1, (cols + 0.5) / half[1] - 1
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([y**i * x**j for i, j in powers], axis=1)
    weights = np.ones(len(values))
    for _ in range(5):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(root[:, None] * basis, root * values, rcond=None)[0]
        error = np.abs(values - basis @ found)
        weights = 1 / (1 + (error / (4 * max(float(np.median(error)), 1e-12))) ** 2)
    y, x = (np.arange(frame[0]) + 0.5) / half[0] - 1, (np.arange(frame[1]) + 0.5) / half[1] - 1
    whole = np.zeros(frame)
    for (i, j), c in zip(powers, found, strict=True):
        whole += c * np.outer(y**i, x**j)
    return whole


def refine_centres(contrast: Points, positions: Points, radii: Points) -> Points:
    """Return centroids of the contrast in a soft disc around each position, which follows the centroid.

    Parameters
    ----------
    contrast : ndarray of shape (H, W)
        One minus light over paper (or the negative for light dots).
    positions : ndarray of shape (n, 2)
    radii : ndarray of shape (n,)
        Of the disc, px: somewhat less than half the distance to the next dot.

    Returns
    -------
    ndarray of shape (n, 2)
        NaN where the disc leaves the frame, or does not settle.
    """
    reach = int(np.ceil(radii.max())) + 2
    span = np.arange(-reach, reach + 1)
    padded = np.pad(contrast, reach, mode="edge")
    centres = positions.astype(np.float64).copy()
    limits = np.array(contrast.shape) - 1
    lost = np.zeros(len(centres), bool)
    for _ in range(8):
        corner = np.clip(np.rint(centres), 0, limits).astype(int)
        rows = corner[:, 0, None] + span
        cols = corner[:, 1, None] + span
        patch = padded[rows[:, :, None] + reach, cols[:, None, :] + reach]
        dy, dx = rows - centres[:, 0, None], cols - centres[:, 1, None]
        distance = np.sqrt(dy[:, :, None] ** 2 + dx[:, None, :] ** 2)
        weight = patch * np.clip(radii[:, None, None] + 0.5 - distance, 0, 1)
        total = weight.sum(axis=(1, 2))
        good = total > 0
        total = np.where(good, total, 1.0)
        move = np.stack(
            [(weight * dy[:, :, None]).sum(axis=(1, 2)) / total, (weight * dx[:, None, :]).sum(axis=(1, 2)) / total],
            axis=1,
        )
        lost |= ~good | (np.abs(move) > radii[:, None]).any(axis=1)
        centres = np.where(lost[:, None], centres, centres + 1.5 * move)
    outside = (centres - radii[:, None] < 0).any(axis=1) | (centres + radii[:, None] > limits).any(axis=1)
    wandered = np.hypot(*(centres - positions).T) > radii
    return np.where((lost | outside | wandered)[:, None], np.nan, centres)
