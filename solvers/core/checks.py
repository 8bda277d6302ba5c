"""Checks of the arguments, one clear sentence each, before the first iteration."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, final

import numpy as np
from array_api_compat import array_namespace, device

from blurphys.autocast import full_precision
from blurphys.inputs import require_float, require_same_kind

from .arrays import norm, to_host
from .types import Array, Preconditioner, Prox

__all__ = [
    "Counted",
    "Problem",
    "check_callable",
    "check_count",
    "check_image",
    "check_number",
    "check_output",
    "is_real",
    "noise_floor",
    "preconditioner_of",
    "problem",
    "prox_of",
]

# Squares of float32 numbers below about 1e-19 underflow: with y in this range a residual of 1e-6 ||y|| is still exact.
SINGLE_RANGE, DOUBLE_RANGE = (1e-12, 1e12), (1e-140, 1e140)


@final
class Counted:
    """The operator as the solvers see it: it counts its applications and checks what comes out of them.

    Parameters
    ----------
    A : callable
        x -> A x.
    adjoint : callable or None
        y -> A^T y.
    name : str
        The solver, for messages.
    x, y : array
        One image of either side: the shapes and the dtype that the operator has to keep.
    mask : array or None
        Weights of the pixels of y: the operator is x -> mask A x then, its transpose y -> A^T (mask y).
    """

    def __init__(
        self, A: Callable[[Array], Array], adjoint: Any, *, name: str, x: Array, y: Array, mask: Array | None = None
    ) -> None:
        self._forward, self._adjoint, self.name, self.mask = A, adjoint, name, mask
        self._x_shape, self._y_shape, self._dtype = tuple(x.shape), tuple(y.shape), y.dtype
        self.applications = 0
        self._tried: set[str] = set()

    def __call__(self, x: Array, /) -> Array:
        """Return A x."""
        self.applications += 1
        result = self._checked(self._forward, x, "A(x)", self._y_shape)
        return result if self.mask is None else self.mask * result

    def adjoint(self, y: Array, /) -> Array:
        """Return A^T y."""
        self.applications += 1
        observed = y if self.mask is None else self.mask * y
        return self._checked(self._adjoint, observed, "A.adjoint(y)", self._x_shape)

    def _checked(self, apply: Callable[[Array], Array], x: Array, what: str, shape: tuple[int, ...]) -> Array:
        """Apply to x, the first time to a copy: what writes into its argument would write into y."""
        own = x if what in self._tried else 1 * x
        result = check_output(self.name, what, apply(own), shape, self._dtype)
        if what not in self._tried and not bool(array_namespace(x).all((own == x) | (x != x))):
            raise ValueError(f"{self.name}: {what} changes its argument; it must return a new array.")
        self._tried.add(what)
        return result


def check_output(name: str, what: str, result: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return `result` if it has the expected shape (else ValueError) and dtype (else TypeError)."""
    result = full_precision(result)  # of a network under autocast
    if tuple(getattr(result, "shape", ())) != shape:
        raise ValueError(f"{name}: {what} has shape {tuple(getattr(result, 'shape', ()))}, expected {shape}.")
    if result.dtype != dtype:
        raise TypeError(f"{name}: {what} has dtype {result.dtype}, expected {dtype} like y.")
    return result


class Problem(NamedTuple):
    """What a solver starts from.

    A : the operator, counted and, with a mask, weighted
    y : the observed image, weighted alike: what the mask hides is 0
    start : x0, or y where x and y have the same shape, or zeros
    """

    A: Counted
    y: Array
    start: Array


def problem(
    name: str,
    A: Any,
    y: Array,
    x0: Array | None,
    *,
    square: bool = False,
    adjoint: bool = False,
    mask: Array | None = None,
) -> Problem:
    """Check A, y, x0 and mask against each other.

    Parameters
    ----------
    name : str
        The solver, for messages.
    A : callable or linear operator
        `in_shape` and `out_shape` are compared with the arrays where A has them.
    y : array of shape (*B, D, H, W)
        The observed image, finite where it was observed.
    x0 : array of shape (*B, C, H, W) or None
        The start, finite.
    square, adjoint : bool
        Whether the method needs a square A, and an adjoint.
    mask : array that broadcasts to y, or None
        Where y was observed: booleans, or weights from 0 to 1 of the dtype of y.

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
        start = y if shape == tuple(y.shape) else xp.zeros(shape, dtype=y.dtype, device=device(y))
    else:
        start = _check_start(name, xp, x0, y, square=square, in_shape=in_shape)
    return Problem(Counted(A, transpose, name=name, x=start, y=y, mask=mask), y, start)


def noise_floor(name: str, noise_level: Any, given: Problem) -> np.ndarray[Any, Any] | None:
    """Return the relative residual of every image at which only noise is left (the discrepancy principle).

    Parameters
    ----------
    name : str
        The solver, for messages.
    noise_level : float or None
        Standard deviation of the noise in y, positive, in the unit of y.
    given : Problem
        Its mask says how many values count.

    Returns
    -------
    array of shape (number of images,) on the host, or None
        noise_level sqrt(n) / ||y||, n the sum of the squared weights; not relative where y = 0.
    """
    if noise_level is None:
        return None
    level = check_number(name, "noise_level", noise_level)
    y, mask = given.y, given.A.mask
    if mask is None:
        count = np.asarray(float(math.prod(y.shape[-3:])))
    else:
        xp = array_namespace(y)
        count = to_host(norm(xp.broadcast_to(mask, y.shape))).reshape(-1) ** 2
    size = to_host(norm(y)).reshape(-1)
    return np.asarray(level * np.sqrt(count) / np.where(size > 0, size, 1.0))


def check_number(name: str, what: str, value: Any, *, positive: bool = True) -> float:
    """Return `value` as a finite float, positive or (``positive=False``) not negative."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0 or (positive and number == 0):
        wanted = "a positive finite number" if positive else "a finite number, zero or larger"
        raise ValueError(f"{name}: {what} must be {wanted}, got {value!r}.")
    return number


def check_count(name: str, what: str, value: Any, *, least: int = 0) -> int:
    """Return `value` as an integer that is at least `least`."""
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if isinstance(value, bool) or count < least:
        raise ValueError(f"{name}: {what} must be an integer >= {least}, got {value!r}.")
    return count


def check_callable(name: str, what: str, value: Any, *, optional: bool = False) -> None:
    """Raise ValueError unless `value` can be called (or is None, where that is allowed)."""
    if not callable(value) and not (optional and value is None):
        raise ValueError(f"{name}: {what} must be callable, got {value!r}.")


def prox_of(name: str, prox: Any) -> Prox:
    """Return `prox` with its images checked, which must be like those it is given; ValueError unless it is callable."""
    check_callable(name, "prox", prox)

    def checked(x: Array, strength: Any) -> Array:
        return check_output(name, "prox(x, strength)", prox(x, strength), tuple(x.shape), x.dtype)

    return checked


def preconditioner_of(name: str, M: Any, *, what: str = "preconditioner", mask: Array | None = None) -> Preconditioner:
    """Return r -> mask M r with its images checked, in the precision of r; ValueError unless M is callable.

    What a mask hides stays as it was at the start.
    """
    check_callable(name, what, M)

    def checked(r: Array) -> Array:
        result = full_precision(M(r))
        xp = require_float(name, "preconditioner(r)", result)
        result = xp.astype(result, r.dtype, copy=False)
        result = check_output(name, "preconditioner(r)", result, tuple(r.shape), r.dtype)
        return result if mask is None else mask * result

    return checked


def is_real(value: Any) -> bool:
    """Whether `value` is a plain number (and not, say, a torch tensor that carries a gradient)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_image(name: str, what: str, value: Any) -> Any:
    """Return the namespace of a floating array (else TypeError) of shape (..., C, H, W) (else ValueError)."""
    xp = require_float(name, what, value)
    if value.ndim < 3 or math.prod(value.shape) == 0:
        slip = (
            f"; a grey image needs its channel axis, {what}[None]." if value.ndim == 2 and 0 not in value.shape else "."
        )
        raise ValueError(f"{name}: {what} must have shape (..., C, H, W), got {tuple(value.shape)}{slip}")
    return xp


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
    rounding = 1e3 * float(xp.finfo(mask.dtype).eps)  # of a mask that was resized or blurred
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
