"""Convergence of least-squares methods: a small residual, or a small gradient computed with a correct adjoint."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from .arrays import norm, relative
from .iterate import Measure, Proof
from .problem import Problem
from .proof import check_adjoint, is_unseen
from .types import Array

__all__ = ["LeastSquares"]


class LeastSquares:
    """The stopping rule of `cgls`, `lsqr` and `landweber`. Cost: one application of the adjoint.

    Parameters
    ----------
    given : Problem
        ||A^T y||, the unit of the gradient, is computed from it.
    """

    def __init__(self, given: Problem) -> None:
        self._given = given
        with np.errstate(all="ignore"):
            self._slope = norm(given.A.adjoint(given.y))

    def measure(self, residual: Array, gradient: Array) -> Measure:
        """Return the measure of an iterate.

        Parameters
        ----------
        residual, gradient : array of shape (*B, 1, 1, 1)
            Norms of y - A x and of the gradient.
        """
        residual = relative(residual, self._given.size)
        return Measure(residual, array_namespace(residual).minimum(residual, relative(gradient, self._slope)))

    def proof(self, x: Array, residual: Array, back: Array, *, gradient: Array, damped: bool = False) -> Proof:
        """Test the condition for a least-squares solution. Cost: two applications of A, unless the residual is small.

        Parameters
        ----------
        x, residual, back : array
            An iterate, y - A x, and A.adjoint of that.
        gradient : array of shape (*B, 1, 1, 1)
            Norm of the gradient, of which `back` is a part.
        damped : bool
            Whether there is a damping term: then a small residual alone is enough only where it is zero.
        """
        xp, size, slope = array_namespace(x), self._given.size, self._slope
        solved = relative(norm(residual), size) <= (0.0 if damped else self._given.tol)
        zero = xp.zeros_like(size)
        if bool(xp.all(solved)):
            return Proof(zero, zero, zero > 0)
        doubt = relative(check_adjoint(self._given.A, (residual, back), like=x).errors[0], slope)
        return Proof(
            xp.where(solved, zero, relative(gradient, slope)),
            xp.where(solved, zero, doubt),
            ~solved & is_unseen(size, slope, norm(back)),
        )
