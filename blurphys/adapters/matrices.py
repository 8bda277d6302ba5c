"""Operators on flattened images, for SciPy and PyLops."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from ..analysis.linalg import full_shapes, namespace_of, to_numpy
from ..linop.base import LinearOperator
from .optional import require

__all__ = ["as_pylops", "as_scipy"]


def as_scipy(A: LinearOperator) -> Any:
    """Return a `scipy.sparse.linalg.LinearOperator` of shape (n_out, n_in) on row-major flattened images.

    Vectors are NumPy arrays; for an operator of torch or CuPy they are copied to its device and back. The computation
    is in the dtype of the operator. The real and imaginary parts of a complex vector are blurred separately. Batched
    maps make a block-diagonal matrix. It can be copied and pickled if the operator can.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> S = bp.Convolution(np.array([[0.0, 0.25, 0.75]]), shape=(1, 1, 3), boundary="zero").as_scipy()
    >>> S.shape, S.rmatvec(np.array([0.0, 1.0, 0.0])).tolist()
    ((3, 3), [0.75, 0.25, 0.0])
    """
    return _scipy_kind()(A)


def as_pylops(A: LinearOperator) -> Any:
    """Return a `pylops.LinearOperator` with ``dims`` and ``dimsd`` set to the image shapes; vectors as in `as_scipy`.

    An operator of CuPy arrays also accepts CuPy vectors, as PyLops expects.

    Raises
    ------
    ImportError
        If PyLops is not installed.
    """
    return _pylops_kind()(A)


@cache
def _scipy_kind() -> Any:
    from scipy.sparse.linalg import LinearOperator as ScipyOperator

    class BlurMatrix(ScipyOperator):  # type: ignore[misc]
        """A blur as a matrix-free operator on flattened images."""

        def __init__(self, operator: LinearOperator) -> None:
            self.operator = operator
            super().__init__(_dtype(operator), _matrix_shape(operator))

        def __reduce__(self) -> tuple[Any, ...]:
            return as_scipy, (self.operator,), self.__dict__

        def _matvec(self, x: Any) -> Any:
            return _apply(self.operator, x.reshape(-1))

        def _rmatvec(self, x: Any) -> Any:
            return _apply(self.operator, x.reshape(-1), adjoint=True)

        def _matmat(self, X: Any) -> Any:
            return _columns(self.operator, X)

        def _rmatmat(self, X: Any) -> Any:
            return _columns(self.operator, X, adjoint=True)

    return BlurMatrix


@cache
def _pylops_kind() -> Any:
    base: Any = require("pylops", "pylops", "as_pylops").LinearOperator

    class BlurMatrix(base):  # type: ignore[misc]
        """A blur as a matrix-free operator on flattened images."""

        def __init__(self, operator: LinearOperator) -> None:
            self.operator = operator
            shape_in, shape_out = full_shapes(operator)
            super().__init__(dtype=_dtype(operator), dims=shape_in, dimsd=shape_out)

        def __reduce__(self) -> tuple[Any, ...]:
            return as_pylops, (self.operator,), self.__dict__

        def _matvec(self, x: Any) -> Any:
            return _apply(self.operator, x.reshape(-1))

        def _rmatvec(self, x: Any) -> Any:
            return _apply(self.operator, x.reshape(-1), adjoint=True)

    return BlurMatrix


def _matrix_shape(A: LinearOperator) -> tuple[int, int]:
    shape_in, shape_out = full_shapes(A)
    return prod(shape_out), prod(shape_in)


def _dtype(A: LinearOperator) -> Any:
    """Return the dtype of the operator as a NumPy dtype."""
    xp, where = namespace_of(A)
    return to_numpy(xp.zeros((1,), **where)).dtype


def _columns(A: LinearOperator, X: Any, *, adjoint: bool = False) -> Any:
    """Apply the operator to each column of X; there may be none."""
    columns = [_apply(A, np.asarray(column).reshape(-1), adjoint=adjoint) for column in X.T]
    return np.stack(columns, axis=1) if columns else np.empty((_matrix_shape(A)[adjoint], 0), dtype=_dtype(A))


def _apply(A: LinearOperator, vector: Any, *, adjoint: bool = False) -> Any:
    """Return A v or A^T v of a row-major flattened image, for both parts of a complex one.

    A NumPy vector is copied to the device of the operator and back; a vector of the operator's namespace is not.
    """
    xp, where = namespace_of(A)
    if not is_numpy_array(vector) and array_namespace(vector) is not xp:
        raise TypeError(
            f"{type(A).__name__}: expected a vector of NumPy, or of the package of the operator's arrays, got "
            f"{type(vector).__module__.split('.')[0]}; convert it"
        )
    if array_namespace(vector).isdtype(vector.dtype, "complex floating"):
        return _apply(A, vector.real, adjoint=adjoint) + 1j * _apply(A, vector.imag, adjoint=adjoint)
    if is_numpy_array(vector):
        sent = xp.asarray(np.array(vector, dtype=_dtype(A)), **where)  # a copy: torch needs writable arrays
    else:
        sent = xp.astype(vector, where["dtype"], copy=False)
    image = xp.reshape(sent, full_shapes(A)[adjoint])
    result = xp.reshape(A.adjoint(image) if adjoint else A.forward(image), (-1,))
    return to_numpy(result) if is_numpy_array(vector) else result
