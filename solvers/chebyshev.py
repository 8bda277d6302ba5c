"""Chebyshev semi-iteration: the fixed-point iteration with the best step lengths for an interval of eigenvalues."""

from __future__ import annotations

from typing import Any, NamedTuple

from .arrays import plus
from .types import Array, Operator

__all__ = ["ChebyshevState", "chebyshev_init", "chebyshev_interval", "chebyshev_step"]


class ChebyshevState(NamedTuple):
    """Images (*B, C, H, W), and the ratio of neighbouring Chebyshev polynomials, 0 at the start."""

    x: Array
    residual: Array  # y - A x
    direction: Array  # the last correction of x
    ratio: float = 0.0


def chebyshev_init(A: Operator, y: Array, *, x0: Array | None = None) -> ChebyshevState:
    """Start from x0, or from y. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    y : array of shape (*B, C, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W), optional
        The start.

    Returns
    -------
    ChebyshevState
    """
    x = y if x0 is None else x0
    residual = y - A(x)
    return ChebyshevState(x, residual, residual)


def chebyshev_step(A: Operator, y: Array, state: ChebyshevState, *, interval: tuple[float, float]) -> ChebyshevState:
    """Take one step. Cost: one application of A; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x, its eigenvalues in the interval.
    y : array of shape (*B, C, H, W)
        The observed image.
    state : ChebyshevState
        Where the step starts.
    interval : (float, float)
        0 < low <= high.

    Returns
    -------
    ChebyshevState

    Notes
    -----
    With centre c and half width h of the interval: p <- r / c in the first step; then, t the ratio of the last step
    (h / c after the first), t' = 1 / (2 c / h - t) and p <- t t' p + (2 t' / h) r; x += p. After k steps the residual
    of a symmetric A has shrunk at least by 2 ((sqrt(high / low) - 1) / (sqrt(high / low) + 1))^k.

    References
    ----------
    Golub, G. H. and Varga, R. S., Chebyshev semi-iterative methods, successive overrelaxation iterative methods, and
    second order Richardson iterative methods, Numerische Mathematik 3, 1961.
    """
    low, high = interval
    centre, half = (high + low) / 2, (high - low) / 2
    if state.ratio == 0.0 or half == 0.0:
        ratio, direction = half / centre, state.residual * (1 / centre)
    else:
        ratio = 1 / (2 * centre / half - state.ratio)
        direction = plus((2 * ratio / half) * state.residual, state.ratio * ratio, state.direction)
    x = state.x + direction
    return ChebyshevState(x, y - A(x), direction, ratio)


def chebyshev_interval(name: str, interval: Any, certificate: Any) -> tuple[float, float]:
    """Return (low, high) of an explicit interval or of a certificate; ValueError where there is none that serves."""
    if interval is None:
        if certificate is None:
            raise ValueError(
                f'{name}: accelerate="chebyshev" needs the eigenvalues of A: certificate=blurphys.certificate(A), or '
                f"interval=(low, high)."
            )
        interval = tuple(certificate.eigenvalue_interval)[:2]
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: interval must be two numbers (low, high), got {interval!r}.") from None
    if not 0 < low <= high < float("inf"):
        raise ValueError(
            f"{name}: Chebyshev acceleration needs eigenvalues in an interval 0 < low <= high, got ({low:g}, "
            f'{high:g}); use accelerate="anderson" or solvers.cgls.'
        )
    return low, high
