"""Chebyshev semi-iteration: the fixed-point iteration with the best step lengths for a region of eigenvalues."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..core.arrays import add_scaled
from ..core.types import Array, Operator

__all__ = ["ChebyshevState", "chebyshev_init", "chebyshev_interval", "chebyshev_step"]


class ChebyshevState(NamedTuple):
    """Images (*B, C, H, W), the last step length, and the number of steps taken."""

    x: Array
    residual: Array  # y - A x
    direction: Array  # the last change of x, divided by its step length
    length: Any = 0.0
    steps: int = 0


def chebyshev_init(A: Operator, y: Array, *, x0: Array | None = None) -> ChebyshevState:
    """Start from x0, or from y. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    y : array of shape (*B, C, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess.

    Returns
    -------
    ChebyshevState
    """
    x = y if x0 is None else x0
    residual = y - A(x)
    return ChebyshevState(x, residual, residual)


def chebyshev_step(A: Operator, y: Array, state: ChebyshevState, *, interval: tuple[Any, ...]) -> ChebyshevState:
    """Take one step. Cost: one application of A, no inner product; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x.
    y : array of shape (*B, C, H, W)
        The observed image.
    state : ChebyshevState
        State before the step.
    interval : (low, high) or (low, high, imaginary)
        Where the eigenvalues of A lie: real parts from low > 0 to high, imaginary parts up to +- imaginary (0 if
        omitted). Numbers, or arrays that broadcast against the image (learned ones, or one for each image of a batch);
        they must be the same in every step.

    Returns
    -------
    ChebyshevState

    Notes
    -----
    With d = (high + low) / 2 and c^2 = ((high - low) / 2)^2 - imaginary^2:  p = r and a = 1 / d in the first step; then
    b = c^2 a^2 / 4 (twice that in the second step), a <- 1 / (d - b / a), p <- r + b p;  x += a p.
    For eigenvalues on the interval the residual of a symmetric A has shrunk after k steps at least by the factor 2 q^k
    / (1 + q^2k), q = (s - 1) / (s + 1), s = sqrt(high / low): no other step lengths guarantee as much. For eigenvalues
    in the ellipse with semi-axes h = (high - low) / 2 and imaginary, q is (h + imaginary) / (d + sqrt(d^2 - c^2)),
    below 1.
    The component of an eigenvalue between 0 and low is damped too, only less; that of one below 0, or above high + low,
    grows.

    References
    ----------
    Golub, G. H. and Varga, R. S., Chebyshev semi-iterative methods, successive overrelaxation iterative methods, and
    second order Richardson iterative methods, Numerische Mathematik 3, 1961.
    Manteuffel, T. A., The Tchebychev iteration for nonsymmetric linear systems, Numerische Mathematik 28, 1977 (the
    ellipse).
    """
    low, high, imaginary = interval if len(interval) == 3 else (*interval, 0.0)
    centre = (high + low) / 2
    if state.steps == 0:
        length, direction = 1 / centre, state.residual
    else:
        squared = ((high - low) / 2) ** 2 - imaginary**2
        beta = squared * state.length**2 / (2 if state.steps == 1 else 4)
        length = 1 / (centre - beta / state.length)
        direction = add_scaled(state.residual, beta, state.direction)
    x = add_scaled(state.x, length, direction)
    return ChebyshevState(x, y - A(x), direction, length, state.steps + 1)


def chebyshev_interval(name: str, interval: Any, certificate: Any) -> tuple[float, float, float]:
    """Return (low, high, imaginary) of an explicit interval or of a certificate.

    Parameters
    ----------
    name : str
        The solver, for messages.
    interval : (low, high) or (low, high, imaginary), or None
        From the caller; takes precedence over the certificate.
    certificate : blurphys.Certificate or None
        Its `eigenvalue_interval` is read.

    Returns
    -------
    (float, float, float)
        0 < low <= high, 0 <= imaginary.

    Raises
    ------
    ValueError
        Neither is given; something else is given; the interval does not lie to the right of zero.
    """
    if interval is None:
        if certificate is None:
            raise ValueError(
                f'{name}: accelerate="chebyshev" needs to know where the eigenvalues of A lie; pass '
                f"certificate=bp.certificate(A), or interval=(low, high)."
            )
        if not hasattr(certificate, "eigenvalue_interval"):
            raise ValueError(f"{name}: certificate must come from bp.certificate(A), got {type(certificate).__name__}.")
        interval = certificate.eigenvalue_interval
    try:
        low, high, imaginary = (float(end) for end in (*interval, *((0.0,) if len(interval) == 2 else ())))
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: interval must be (low, high) or (low, high, imaginary), the numbers between which the "
            f"eigenvalues of A lie, got {interval!r}."
        ) from None
    if not (0 < low <= high < math.inf and 0 <= imaginary < math.inf):
        raise ValueError(
            f"{name}: Chebyshev acceleration needs eigenvalues to the right of zero, 0 < low <= high, because no step "
            f"lengths shrink a residual on both sides of it, but they lie from {low:g} to {high:g} (imaginary "
            f'{imaginary:g}); use accelerate="anderson", solvers.gmres or solvers.cgls.'
        )
    return low, high, imaginary
