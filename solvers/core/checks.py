"""Checks of single arguments, and of what operators, priors and preconditioners return."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, final

from array_api_compat import array_namespace

from blurphys.autocast import full_precision
from blurphys.inputs import require_float

from .types import Array, Preconditioner, Prox

__all__ = [
    "Counted",
    "check_callable",
    "check_count",
    "check_image",
    "check_number",
    "check_output",
    "is_real",
    "preconditioner_of",
    "prox_of",
]


@final
class Counted:
    """An operator that counts its applications and checks their results.

    Parameters
    ----------
    A : callable
        x -> A x.
    adjoint : callable or None
        y -> A^T y.
    name : str
        The solver, for messages.
    x, y : array
        An image of the domain and one of the range, which give the shapes and dtype of the results.
    mask : array or None
        Weights of the pixels of y: the operator is then x -> mask A x, and its transpose y -> A^T (mask y).
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
        """Apply to x (the first time to a copy, to find out whether the operator writes into its argument)."""
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
    """Return `prox` with a check of the shape and dtype of its results; ValueError unless it is callable."""
    check_callable(name, "prox", prox)

    def checked(x: Array, strength: Any) -> Array:
        return check_output(name, "prox(x, strength)", prox(x, strength), tuple(x.shape), x.dtype)

    return checked


def preconditioner_of(name: str, M: Any, *, what: str = "preconditioner", mask: Array | None = None) -> Preconditioner:
    """Return r -> mask M r with its results checked, in the precision of r; ValueError unless M is callable.

    Pixels where the mask is 0 keep their initial values.
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
