"""Types of operators, priors, preconditioners and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

__all__ = ["AdjointOperator", "Array", "Operator", "Preconditioner", "Prox"]

Array: TypeAlias = Any  # any array of the array-API standard: NumPy, torch, CuPy, array_api_strict
Operator: TypeAlias = Callable[[Array], Array]  # A(x); a solver also reads A.in_shape and A.out_shape where they exist
Preconditioner: TypeAlias = Callable[[Array], Array]  # r -> M r, symmetric positive definite, close to the inverse of A
Prox: TypeAlias = Callable[[Array, Any], Array]  # (x, strength) -> argmin_z 1/2 ||z - x||^2 + strength phi(z)


class AdjointOperator(Protocol):
    """A linear operator that also knows its transpose."""

    def __call__(self, x: Array, /) -> Array:
        """Return A x."""

    def adjoint(self, y: Array, /) -> Array:
        """Return A^T y."""
