"""The cross-scale Neumann sum: one power of I - A per scale of an image pyramid, higher at coarser scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.inputs import require_same_kind

from ..core.arrays import add_scaled, safe_divide
from ..core.checks import check_count, check_image
from ..core.problem import Problem, problem
from ..core.solution import Solution
from ..core.types import Array, Operator

__all__ = ["CrossScaleState", "cross_scale_init", "cross_scale_step", "neumann_cross_scale", "pyramid", "upsampled"]


class CrossScaleState(NamedTuple):
    """The sum so far, (*B, C, H, W), and how many scales it has."""

    x: Array
    scales: int = 0


def cross_scale_init(y: Array) -> CrossScaleState:
    """Return the sum before the first scale, which is y. Needs no application of A."""
    return CrossScaleState(y)


def cross_scale_step(A: Operator, y: Array, state: CrossScaleState) -> CrossScaleState:
    """Add the term of the next scale. Cost at scale t: t applications of A there; differentiable, no transfer.

    Parameters
    ----------
    A : callable
        x -> A x at scale t = state.scales + 1, images of shape (*B, C, H / 2^(t-1), W / 2^(t-1)).
    y : array of that shape
        The observed image at scale t.
    state : CrossScaleState
        The sum over the finer scales.

    Returns
    -------
    CrossScaleState
        With up((I - A)^t y) added, where up is bilinear upsampling by 2^(t-1).
    """
    term = y
    for _ in range(state.scales + 1):
        term = term - A(term)
    return CrossScaleState(state.x + upsampled(term, 2**state.scales), state.scales + 1)


def neumann_cross_scale(
    A: Sequence[Operator],
    y: Array | Sequence[Array],
    *,
    rule: Literal["mean", "nearest"] = "mean",
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, CrossScaleState], object] | None = None,
) -> Solution:
    """Sum y + (I - A_1) y_1 + up2((I - A_2)^2 y_2) + up4((I - A_3)^3 y_3), a Neumann series across scales.

    Parameters
    ----------
    A : sequence of linear operators or callables
        The blur at full, half, quarter, ... resolution, each square. A single operator gives the series of two terms.
    y : array of shape (*B, C, H, W), or a sequence of arrays, one for each operator
        The observed image, linear light; any batch. H and W must be divisible by 2 for each further scale. A sequence
        already holds the image at every scale.
    rule : {"mean", "nearest"}
        How the coarse images are made from y, see `pyramid`.
    mask : array, optional
        Where y was observed: booleans, or weights from 0 to 1, broadcasting to y. It is averaged for the coarse scales;
        pixels where it is 0 stay 0, and y may hold anything there, even NaN.
    noise_level : float, optional
        Standard deviation of the noise in y, in the unit of y. An image stops with NOISE_LEVEL once the root mean
        square of its residual has fallen to this level (Morozov's discrepancy principle).
    on_step : callable, optional
        Called as on_step(k, state) after the term of scale k = 1, 2, ... was added.

    Returns
    -------
    Solution
        `iterations` counts scales, and residuals are those at full resolution. The status of a complete sum is
        MAX_ITERATIONS, since there is no tolerance. An image whose residual grew past 10 times its minimum is DIVERGED,
        and its best partial sum is returned.

    Raises
    ------
    ValueError
        A no sequence, empty or with something that is no square operator; y, one of its scales or the mask of the wrong
        shape or with NaN; H or W that cannot be halved often enough; rule, noise_level or on_step out of range.
    TypeError
        y not a floating array; scales or A(x) of another namespace, device or dtype.

    Notes
    -----
    In the paper this sum of three scales is the output of a network, which predicts the maps of its operators so that
    the sum is sharp. For a given blur it approximates `neumann(terms=3)`: it is exact in the linear term, while the
    quadratic and cubic terms contain fine detail that coarse scales cannot represent, and are only as good as A_2 and
    A_3, the same blur at half and quarter resolution (half and a quarter of the radius). More scales do not make it
    converge to the solution. A photo blurred by Gaussians of 0.3 to 2.5 px improved from 24.1 dB to 26.0 dB; two and
    three terms of `neumann` reached 26.2 and 26.7 dB. What it saves is cost: 1 + 2/4 + 3/16 = 1.69 applications at full
    resolution instead of 3. Computing the residuals takes one more for each scale; `operator_applications` counts those
    of all scales alike. Memory: 6 images.

    References
    ----------
    Quan, Wu, Ji, "Neumann Network with Recursive Kernels for Single Image Defocus Deblurring", CVPR 2023. The paper
    says that its images are downsampled; the code of its authors takes every second pixel, rule="nearest", which
    shifts a scale against the next finer one by half a pixel of the latter.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> half = lambda x: 0.5 * x
    >>> solution = solvers.neumann_cross_scale((half, half, half), np.ones((1, 4, 8)))
    >>> float(solution.x[0, 0, 0]), solution.residuals
    (1.875, (0.5, 0.25, 0.125, 0.0625))
    """
    name = "neumann_cross_scale"
    if callable(A) or not isinstance(A, Sequence) or len(A) == 0:
        raise ValueError(f"{name}: A must be a sequence of operators (full, half, quarter resolution), got {A!r}.")
    scales = _problems(name, A, y, rule, mask, max_iterations=len(A), noise_level=noise_level, on_step=on_step)
    first = scales[0]
    weights = first.A.mask
    seen = None if weights is None else array_namespace(first.y).astype(weights > 0, first.y.dtype)

    def step(k: int, state: CrossScaleState) -> CrossScaleState:
        state = cross_scale_step(scales[k].A, scales[k].y, state)
        return state if seen is None else state._replace(x=seen * state.x)

    solution = first.iterate(
        lambda: cross_scale_init(first.y),
        step,
        lambda state: first.measure_residual(first.y - first.A(state.x)),
    )
    return replace(solution, operator_applications=sum(scale.A.applications for scale in scales))


def pyramid(y: Array, *, scales: int = 3, rule: Literal["mean", "nearest"] = "mean") -> tuple[Array, ...]:
    """Return an image at full, half, quarter, ... resolution.

    Parameters
    ----------
    y : array of shape (*B, C, H, W)
        H and W must be divisible by 2^(scales - 1).
    scales : int
        How many, at least 1.
    rule : {"mean", "nearest"}
        "mean" averages 2 x 2 pixels: no shift, little aliasing. "nearest" takes the upper left of the four.

    Returns
    -------
    tuple of arrays of shape (*B, C, H / 2^t, W / 2^t), t = 0, 1, ..., scales - 1

    Raises
    ------
    ValueError
        A side that cannot be halved often enough; scales or rule out of range.
    TypeError
        y not a floating array.

    Examples
    --------
    >>> import numpy as np
    >>> [level.tolist() for level in pyramid(np.asarray([[[0.0, 1.0], [2.0, 3.0]]]), scales=2)]
    [[[[0.0, 1.0], [2.0, 3.0]]], [[[1.5]]]]
    """
    name = "pyramid"
    check_image(name, "y", y)
    check_count(name, "scales", scales, least=1)
    return _pyramid(name, y, scales, rule)


def upsampled(x: Array, factor: int) -> Array:
    """Enlarge an image bilinearly by a whole factor; differentiable.

    Parameters
    ----------
    x : array of shape (*B, C, H, W)
    factor : int
        At least 1.

    Returns
    -------
    array of shape (*B, C, factor H, factor W)

    Notes
    -----
    A pixel is a square whose value belongs to its centre: output i lies at (i + 1/2) / factor - 1/2 of the input, and
    beyond the outermost centres the image is constant (torch: align_corners=False). Constants are preserved and nothing
    is shifted.
    """
    factor = check_count("upsampled", "factor", factor, least=1)
    return x if factor == 1 else _upsample_axis(_upsample_axis(x, factor, -2), factor, -1)


def _upsample_axis(x: Array, factor: int, axis: int) -> Array:
    xp, count = array_namespace(x), x.shape[axis]
    position = np.clip((np.arange(factor * count) + 0.5) / factor - 0.5, 0, count - 1)
    low = np.minimum(position.astype(np.int64), max(count - 2, 0))
    share = (position - low).reshape((-1, 1) if axis == -2 else (-1,))
    index = [xp.asarray(i, device=device(x)) for i in (low, np.minimum(low + 1, count - 1))]
    lower, upper = (xp.take(x, i, axis=axis) for i in index)
    return add_scaled(lower, xp.asarray(share, dtype=x.dtype, device=device(x)), upper - lower)


def _pyramid(name: str, y: Array, scales: int, rule: str) -> tuple[Array, ...]:
    if rule not in ("mean", "nearest"):
        raise ValueError(f'{name}: rule must be "mean" or "nearest", got {rule!r}.')
    most = 2 ** (scales - 1)
    if y.shape[-2] % most or y.shape[-1] % most:
        raise ValueError(
            f"{name}: {scales} scales need a height and a width that divide by {most}, got {tuple(y.shape)}; crop it."
        )
    levels = [y]
    for _ in range(scales - 1):
        fine = levels[-1]
        corner = fine[..., ::2, ::2]
        if rule == "mean":
            corner = (corner + fine[..., 1::2, ::2] + fine[..., ::2, 1::2] + fine[..., 1::2, 1::2]) / 4
        levels.append(corner)
    return tuple(levels)


def _problems(
    name: str, operators: Sequence[Operator], y: Array | Sequence[Array], rule: str, mask: Array | None, **rules: Any
) -> list[Problem]:
    """Return the problem of every scale; the mask is checked for the first one, and the others get its pyramid."""
    count = len(operators)
    given = list(y) if isinstance(y, (tuple, list)) else None
    if given is not None and len(given) != count:
        raise ValueError(
            f"{name}: got {count} operators, but y at {len(given)} scales; pass one image for each, or one."
        )
    full = y if given is None else given[0]
    first = problem(name, operators[0], full, None, square=True, truncated=True, mask=mask, **rules)
    xp = array_namespace(first.y)
    levels = _pyramid(name, first.y, count, rule)
    weights: tuple[Array | None, ...] = (None,) * count
    if mask is not None:
        weights = _pyramid(name, xp.broadcast_to(first.A.mask, first.y.shape), count, rule)
        levels = tuple(safe_divide(level, weight) for level, weight in zip(levels, weights, strict=True))
    found = [first]
    for t in range(1, count):
        level = levels[t] if given is None else given[t]
        if given is not None:
            require_same_kind(name, f"y at scale {t + 1}", level, "y", first.y)
            if tuple(level.shape) != tuple(levels[t].shape):
                raise ValueError(
                    f"{name}: y at scale {t + 1} must have shape {tuple(levels[t].shape)}, got {tuple(level.shape)}."
                )
        found.append(problem(name, operators[t], level, None, square=True, truncated=True, mask=weights[t], **rules))
    return found
