"""The input of a solver: A, y, the start and the stopping rules, checked before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.autocast import full_precision
from blurphys.inputs import require_same_kind

from .arrays import norm, relative, safe_divide, to_host
from .checks import Counted, check_callable, check_count, check_image, check_number, preconditioner_of
from .iterate import Measure, iterate
from .solution import Solution
from .types import Array, Preconditioner

__all__ = ["WITH_PRIOR", "Problem", "problem"]

# Squares of float32 numbers below about 1e-19 underflow: with y in this range a residual of 1e-6 ||y|| is still exact.
SINGLE_RANGE, DOUBLE_RANGE = (1e-12, 1e12), (1e-140, 1e140)

WITH_PRIOR = {"divergence_factor": 1e3, "divergence_floor": 1e-3}
"""Divergence rule of methods that weigh the data against a prior, or maximise a likelihood.

Their residual may rise from nearly zero to the level of the noise, so it counts as diverged only if it also exceeds
that of a black image, whose relative residual is 1.
"""

State = TypeVar("State")


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A checked problem and the stopping rules of its iteration.

    Attributes
    ----------
    name : str
        The solver, for messages.
    A : Counted
        The operator, which counts its applications and, with a mask, is weighted by it.
    y : array
        The observed image with the same weights: 0 where the mask is 0.
    start : array
        x0; or y where x and y have the same shape, the mean of the views where y stacks several views of the channels
        of x, zeros otherwise.
    truncated : bool
        Whether the method is a series, which has no tolerance.
    tol : float
        0 for a series.
    max_iterations : int
    noise_level : float or None
    on_step : callable or None
    """

    name: str
    A: Counted
    y: Array
    start: Array
    truncated: bool
    tol: float
    max_iterations: int
    noise_level: float | None
    on_step: Callable[[int, Any], object] | None

    @cached_property
    def size(self) -> Array:
        """||y|| of every image of the batch, (*B, 1, 1, 1)."""
        return norm(self.y)

    def relative_residual(self, residual: Array) -> Array:
        """Return ||residual|| / ||y||."""
        return relative(norm(residual), self.size)

    def measure_residual(self, residual: Array, failed: Array | None = None) -> Measure:
        """Return the measure of a method that converges where ||residual|| <= tol ||y||."""
        size = self.relative_residual(residual)
        return Measure(size, size, failed)

    def preconditioner(self, M: Preconditioner | None) -> Preconditioner | None:
        """Return M with its results checked and masked, or None."""
        return None if M is None else preconditioner_of(self.name, M, mask=self.A.mask)

    def noise_floor(self) -> np.ndarray[Any, Any] | None:
        """Return the relative residual of every image at which only noise is left (the discrepancy principle).

        Returns
        -------
        array of shape (number of images,) on the host, or None
            noise_level sqrt(n) / ||y||, where n is the sum of the squared weights; absolute where y = 0.
        """
        if self.noise_level is None:
            return None
        y, mask = self.y, self.A.mask
        if mask is None:
            count = np.asarray(float(math.prod(y.shape[-3:])))
        else:
            xp = array_namespace(y)
            count = to_host(norm(xp.broadcast_to(mask, y.shape))).reshape(-1) ** 2
        size = to_host(self.size).reshape(-1)
        return np.asarray(self.noise_level * np.sqrt(count) / np.where(size > 0, size, 1.0))

    def iterate(
        self,
        start: Callable[[], State],
        step: Callable[[int, State], State],
        measure: Callable[[State], Measure],
        **rules: Any,
    ) -> Solution:
        """Run `iterate` with the stopping rules of this problem and those of the method, as `iterate` takes them."""
        return iterate(
            start,
            step,
            measure,
            A=self.A,
            tol=None if self.truncated else self.tol,
            max_iterations=self.max_iterations,
            noise_floor=self.noise_floor(),
            on_step=self.on_step,
            **rules,
        )


def problem(
    name: str,
    A: Any,
    y: Array,
    x0: Array | None,
    *,
    max_iterations: int,
    tol: float | None = None,
    truncated: bool = False,
    mask: Array | None = None,
    noise_level: float | None = None,
    on_step: Callable[[int, Any], object] | None = None,
    square: bool = False,
    adjoint: bool = False,
) -> Problem:
    """Check the arguments that solvers have in common, individually and against each other.

    Parameters
    ----------
    name : str
        The solver, for messages.
    A : callable or linear operator
        `in_shape` and `out_shape` are compared with the arrays where A has them.
    y : array of shape (*B, D, H, W)
        The observed image, finite where it was observed.
    x0 : array of shape (*B, C, H, W) or None
        Initial guess, finite.
    max_iterations : int
        Step limit.
    tol : float
        Positive; ignored if `truncated`.
    truncated : bool
        Whether the method is a series of `max_iterations` terms, without a tolerance.
    mask : array that broadcasts to y, or None
        Where y was observed: booleans, or weights from 0 to 1 of the dtype of y.
    noise_level : float or None
        Standard deviation of the noise in y, positive, in the unit of y.
    on_step : callable or None
        Called after every step.
    square, adjoint : bool
        Whether the method needs a square A, and an adjoint.

    Returns
    -------
    Problem
        With a mask m the problem is (m A) x = m y, whose least-squares solution minimises ||m (A x - y)||.
    """
    if not callable(A):
        raise ValueError(f"{name}: A must be a linear operator or a callable x -> A x, got {type(A).__name__}.")
    transpose = getattr(A, "adjoint", None) or getattr(A, "H", None)
    if adjoint and not callable(transpose):
        raise ValueError(f"{name} needs an operator with an adjoint; {type(A).__name__} has neither A.adjoint nor A.H.")
    y, x0, mask = (full_precision(given, getattr(A, "like", None)) for given in (y, x0, mask))
    xp = check_image(name, "y", y)
    in_shape, out_shape = getattr(A, "in_shape", None), getattr(A, "out_shape", None)
    if square and in_shape is not None and tuple(in_shape) != tuple(out_shape or ()):
        raise ValueError(
            f"{name} needs a square operator, but A maps {tuple(in_shape)} to {tuple(out_shape or ())}; "
            "solvers.cgls and solvers.hqs take any shape."
        )
    _check_trailing(name, "y", y, out_shape)
    if mask is not None:
        mask = _check_mask(name, xp, mask, y)
        y = mask * xp.where(mask > 0, y, xp.zeros_like(y))
    _check_range(name, xp, y)
    batch = tuple(y.shape[:-3])
    if x0 is None:
        shape = batch + tuple(in_shape) if in_shape is not None else tuple(y.shape)
        start = _default_start(xp, y, mask, shape)
    else:
        start = _check_start(name, xp, x0, y, square=square, in_shape=in_shape)
    check_callable(name, "on_step", on_step, optional=True)
    return Problem(
        name=name,
        A=Counted(A, transpose, name=name, x=start, y=y, mask=mask),
        y=y,
        start=start,
        truncated=truncated,
        tol=0.0 if truncated else check_number(name, "tol", tol),
        max_iterations=check_count(name, "max_iterations", max_iterations),
        noise_level=None if noise_level is None else check_number(name, "noise_level", noise_level),
        on_step=on_step,
    )


def _default_start(xp: Any, y: Array, mask: Array | None, shape: tuple[int, ...]) -> Array:
    """Return an initial guess of x: y, the mean of its views (`bp.DualPixel`, `bp.stack`), or zeros.

    y, weighted by the mask, holds V views of an image (*B, C, H, W) where its shape is (*B, V C, H, W), with V > 1.
    """
    if shape == tuple(y.shape):
        return y
    channels = shape[-3]
    if shape[-2:] == tuple(y.shape[-2:]) and y.shape[-3] % channels == 0:
        views = (*y.shape[:-3], -1, channels, *y.shape[-2:])
        if mask is None:
            return xp.mean(xp.reshape(y, views), axis=-4)
        seen = xp.sum(xp.reshape(xp.broadcast_to(mask, y.shape), views), axis=-4)
        return safe_divide(xp.sum(xp.reshape(y, views), axis=-4), seen)
    return xp.zeros(shape, dtype=y.dtype, device=device(y))


def _check_mask(name: str, xp: Any, mask: Array, y: Array) -> Array:
    """Return the weights in the dtype of y."""
    if not hasattr(mask, "dtype"):
        raise TypeError(f"{name}: mask must be an array like y, got {type(mask).__name__}.")
    if mask.dtype == xp.bool:
        mask = xp.astype(mask, y.dtype)
    require_same_kind(name, "mask", mask, "y", y)
    try:
        fits = tuple(xp.broadcast_arrays(mask, y)[0].shape) == tuple(y.shape)
    except (ValueError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: mask of shape {tuple(mask.shape)} does not broadcast to y of shape {tuple(y.shape)}."
        )
    rounding = 1e3 * float(xp.finfo(mask.dtype).eps)  # in a mask that was resized or blurred
    near = (mask >= -rounding) & (mask <= 1 + rounding)
    mask = xp.where(near, xp.clip(mask, 0, 1), mask)
    if not bool(xp.all(near)):
        raise ValueError(f"{name}: mask must be True/False or weights from 0 to 1; is it an 8-bit image?")
    seen = xp.broadcast_to(mask, y.shape)
    if not bool(xp.all(xp.any(xp.any(xp.any(seen > 0, axis=-1), axis=-1), axis=-1))):
        raise ValueError(f"{name}: mask is zero everywhere in an image: nothing was observed; is it inverted?")
    return mask


def _check_trailing(name: str, what: str, value: Array, shape: Any) -> None:
    if shape is None or tuple(value.shape[-3:]) == tuple(shape):
        return
    slip = "; is the image channels-last?" if tuple(value.shape[-3:]) == (*shape[1:], shape[0]) else "."
    raise ValueError(
        f"{name}: expected {what} with trailing shape {tuple(shape)} = (C, H, W), got {tuple(value.shape)}{slip}"
    )


def _check_range(name: str, xp: Any, y: Array) -> None:
    if not bool(xp.all(xp.isfinite(y))):
        raise ValueError(f"{name}: y has NaN or infinite values; replace or crop them before solving.")
    low, high = DOUBLE_RANGE if y.dtype == xp.float64 else SINGLE_RANGE
    peak = to_host(xp.astype(xp.max(xp.abs(y), axis=(-3, -2, -1)), xp.float64))
    wild = peak[(peak > 0) & ((peak < low) | (peak > high))]
    if wild.size:
        raise ValueError(
            f"{name}: y peaks at {np.min(wild):.3g}, where squares leave the range of {y.dtype}; scale it to about 1."
        )


def _check_start(name: str, xp: Any, x0: Array, y: Array, *, square: bool, in_shape: Any) -> Array:
    check_image(name, "x0", x0)
    require_same_kind(name, "x0", x0, "y", y)
    _check_trailing(name, "x0", x0, in_shape)
    if tuple(x0.shape[:-3]) != tuple(y.shape[:-3]) or (square and tuple(x0.shape) != tuple(y.shape)):
        raise ValueError(f"{name}: x0 of shape {tuple(x0.shape)} does not go with y of shape {tuple(y.shape)}.")
    if not bool(xp.all(xp.isfinite(x0))):
        raise ValueError(f"{name}: x0 has NaN or infinite values.")
    return x0
