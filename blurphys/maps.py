"""Coefficient maps: checks, interpolation between levels, and maps computed from a defocus map."""

from __future__ import annotations

from collections.abc import Sequence

from array_api_compat import array_namespace, device

from .files.stored import row_blocks, stand_in
from .inputs import detach, require_float
from .types import Array, Shape

__all__ = ["check_maps", "check_simplex", "defocus_to_beta", "interpolation_index"]
__dir__ = __all__.copy  # what completion offers


def check_maps(owner: str, name: str, maps: Array, layout: str = "(*B, K, H, W)", axes: int = 3) -> None:
    """Raise unless `maps` is a floating-point array with at least `axes` axes, none of them empty."""
    require_float(owner, name, stand_in(maps))
    if maps.ndim < axes or 0 in tuple(maps.shape):
        raise ValueError(
            f"{owner}: expected {name} of shape {layout}, got {tuple(maps.shape)}; is an axis missing or empty?"
        )


def check_simplex(owner: str, name: str, maps: Array) -> None:
    """Raise ValueError unless `maps` (*B, K, H, W) is finite, non-negative and sums to one over K at each pixel.

    The tolerance is sqrt(eps) of the dtype. Cost: a few passes over the maps.
    """
    found: dict[str, tuple[int, int, int, float]] = {}  # count, and the first one: row, column, sum
    for top, block in row_blocks(detach(maps)):
        xp = array_namespace(block)
        tolerance = float(xp.finfo(block.dtype).eps) ** 0.5
        total = xp.sum(block, axis=-3)
        for what, bad in (
            ("finite values", ~xp.all(xp.isfinite(block), axis=-3)),
            ("no negative weight", xp.any(block < 0, axis=-3)),
            ("weights that sum to one", xp.abs(total - 1.0) > tolerance),
        ):
            count = int(xp.count_nonzero(bad))
            if count and what in found:
                found[what] = (found[what][0] + count, *found[what][1:])
            elif count:
                first = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
                row, col = divmod(first % (block.shape[-2] * block.shape[-1]), block.shape[-1])
                found[what] = (count, top + row, col, float(xp.reshape(total, (-1,))[first]))
    for what in ("finite values", "no negative weight", "weights that sum to one"):
        if what in found:
            count, row, col, sum_there = found[what]
            raise ValueError(
                f"{owner}: expected {name} to have {what} at every pixel, got {count} pixels that do not, "
                f"the first at (row {row}, col {col}) with sum {sum_there:.6g}; normalise the maps, for example by a "
                f"softmax over their K axis"
            )


def interpolation_index(values: Array, nodes: Sequence[float]) -> tuple[Array, Array]:
    """Locate each value between two neighbouring nodes.

    Parameters
    ----------
    values : array of any shape
        Within [nodes[0], nodes[-1]].
    nodes : sequence of L >= 2 increasing floats

    Returns
    -------
    index : int64 array
        ``nodes[index] <= value <= nodes[index + 1]``, between 0 and L - 2.
    fraction : array
        Weight of the upper node, in [0, 1]; torch differentiates it with respect to `values`.
    """
    xp = array_namespace(values)
    table = xp.asarray(list(nodes), dtype=values.dtype, device=device(values))
    flat = xp.reshape(values, (-1,))
    index = xp.clip(xp.searchsorted(table, detach(flat), side="right") - 1, 0, len(nodes) - 2)
    low, high = xp.take(table, index), xp.take(table, index + 1)
    fraction = (flat - low) / (high - low)
    return xp.reshape(index, values.shape), xp.reshape(fraction, values.shape)


def defocus_to_beta(defocus_map: Array, sigmas: Sequence[float], sigma_per_radius: float = 0.5) -> Array:
    """Turn a defocus map into GKM coefficient maps: each pixel interpolates the two nearest Gaussians.

    Parameters
    ----------
    defocus_map : array of shape (*B, H, W)
        Signed CoC radius, px.
    sigmas : sequence of K increasing floats
        Standard deviations of the bank, px; larger values are clipped to the last one.
    sigma_per_radius : float
        0.5 matches the second moments of a disk of that radius and a Gaussian.

    Returns
    -------
    array of shape (*B, K, H, W)
        Non-negative, sums to one over K; at most two entries of a pixel differ from zero. The variance, which is
        what adds up under mixing, is interpolated linearly.

    Raises
    ------
    ValueError
        If fewer than two sigmas are given or they do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> beta = defocus_to_beta(np.array([[0.0, 2.0, -4.0]]), (0.0, 1.0, 2.0))
    >>> beta[:, 0, :].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    widths = [float(s) for s in sigmas]
    if len(widths) < 2 or any(b <= a for a, b in zip(widths, widths[1:], strict=False)) or widths[0] < 0:
        raise ValueError(f"defocus_to_beta: expected at least two increasing sigmas >= 0 px, got {widths}")
    require_float("defocus_to_beta", "defocus_map", defocus_map)
    xp = array_namespace(defocus_map)
    variance = xp.clip((sigma_per_radius * defocus_map) ** 2, widths[0] ** 2, widths[-1] ** 2)
    index, fraction = interpolation_index(variance, [s * s for s in widths])
    zero = xp.zeros_like(fraction)
    planes = [
        xp.where(index == k, 1.0 - fraction, xp.where(index == k - 1, fraction, zero)) for k in range(len(widths))
    ]
    return xp.stack(planes, axis=-3)


def map_shape(maps: Array) -> tuple[Shape, tuple[int, int]]:
    """Split the shape of maps (*B, K, H, W) into *B and (H, W)."""
    return tuple(maps.shape[:-3]), (maps.shape[-2], maps.shape[-1])
