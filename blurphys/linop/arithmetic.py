"""Python's operators on `LinearOperator`: ``A @ B``, ``A + B``, ``2 * A``, and errors that name the right form."""

from __future__ import annotations

from math import inf, isfinite
from numbers import Complex, Number, Real
from typing import TYPE_CHECKING, Any, NoReturn, cast, final, overload

from array_api_compat import is_array_api_obj

from ..files.stored import is_stored
from ..types import Array
from .extensions import extensions

if TYPE_CHECKING:
    from .algebra import Composed, Scaled, Sum
    from .base import LinearOperator

__all__ = ["Arithmetic"]

_OTHER_NAMES = {
    "shape": "A.in_shape and A.out_shape are the shapes of one image, and A.as_scipy().shape those of its matrix",
    "size": "A.in_shape and A.out_shape are the shapes of one image",
    "ndim": "A.in_shape and A.out_shape are the shapes of one image",
    "apply": "write A(x)",
    "matvec": "write A(x); A.as_scipy() works on flat vectors",
    "rmatvec": "write A.adjoint(y); A.as_scipy() works on flat vectors",
    "matmat": "A(x) takes a batch of images, (..., C, H, W)",
    "dot": "write A(x), or A @ B for a product",
    "adj": "write A.adjoint(y), or A.H for the operator",
    "conj": "operators are real: the conjugate of A is A",
    "transpose": "write A.adjoint(y), or A.T for the operator",
    "A_adjoint": "write A.adjoint(y)",
    "gram_op": "write A.H @ A",
    "gram": "write A.H @ A",
    "todense": "bp.to_dense(A) is the matrix of a small operator",
    "toarray": "bp.to_dense(A) is the matrix of a small operator",
    "numpy": "bp.to_dense(A) is the matrix of a small operator",
    "inv": "operators have no inverse here; `import solvers` and solve, as in solvers.cgls(A, y)",
    "A_dagger": "operators have no inverse here; `import solvers` and solve, as in solvers.cgls(A, y)",
    "norm": "bp.operator_norm(A) is the largest singular value",
    "double": "write A.to('float64')",
    "float": "write A.to('float32')",
    "half": "operators compute in float32 or float64: A.to('float32')",
    "cuda": "write A.to('cuda')",
    "cpu": "write A.to('cpu')",
    "astype": "write A.to('float32') or A.to('float64')",
}
"""Attributes of operators in NumPy, SciPy, PyLops, deepinv and torch, and what they are called here."""


class Arithmetic:
    """The part of `LinearOperator` that combines it with operators and numbers."""

    __array_ufunc__ = None  # NumPy leaves x * A and x @ A to the operator, instead of working item by item
    __array_priority__ = 1000.0  # so does CuPy

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        raise TypeError(
            f"numpy.{function.__name__}: expected arrays, got an operator ({type(self).__name__}); write A(x) to apply "
            f"it, A @ B for a product, bp.to_dense(A) for the matrix of a small one"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            f"numpy.asarray: expected an array, got an operator ({type(self).__name__}); write A(x) to apply it, "
            f"bp.to_dense(A) for the matrix of a small one"
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property raised: report its own error
                return object.__getattribute__(self, name)
            hint = f"; {_OTHER_NAMES[name]}" if name in _OTHER_NAMES else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    @property
    def T(self) -> LinearOperator:
        """The transpose, the same as the adjoint `H`: operators are real."""
        return cast("LinearOperator", self).H

    @overload
    def __matmul__(self, other: LinearOperator) -> Composed: ...

    @overload
    def __matmul__(self, other: Array) -> Array: ...

    @final
    def __matmul__(self, other: Any) -> Any:
        """``A @ B``, first B, then A; ``A @ x`` is ``A(x)``."""
        if _is_operator(other):
            return extensions.compose(cast("LinearOperator", self), other)
        if is_stored(other) or (is_array_api_obj(other) and other.ndim):
            return cast("LinearOperator", self).forward(other)
        if _defines(other, "__rmatmul__"):
            return NotImplemented
        raise _type_error("A @ b", "an operator or an image for b", other, "2.0 * A is the product with a number")

    @final
    def __rmatmul__(self, other: Any) -> NoReturn:
        raise _type_error(
            "b @ A", "an operator for b", other, "write A(x) to apply A, A.adjoint(x) to apply its transpose"
        )

    @overload
    def __add__(self, other: LinearOperator) -> Sum: ...

    @overload
    def __add__(self, other: int) -> LinearOperator: ...

    @final
    def __add__(self, other: Any) -> LinearOperator:
        """``A + B``; also ``A + 0``, so that ``sum([A, B, C])`` works."""
        if _is_operator(other):
            return extensions.add(cast("LinearOperator", self), other)
        if _is_zero(other):
            return cast("LinearOperator", self)
        if _defines(other, "__radd__"):
            return NotImplemented
        raise _not_a_term("A + b", other)

    __radd__ = __add__

    @overload
    def __sub__(self, other: LinearOperator) -> Sum: ...

    @overload
    def __sub__(self, other: int) -> LinearOperator: ...

    @final
    def __sub__(self, other: Any) -> LinearOperator:
        """``A - B``; also ``A - 0``."""
        if _is_operator(other):
            return extensions.add(cast("LinearOperator", self), extensions.scale(-1.0, other))
        if _is_zero(other):
            return cast("LinearOperator", self)
        if _defines(other, "__rsub__"):
            return NotImplemented
        raise _not_a_term("A - b", other)

    @final
    def __rsub__(self, other: Any) -> LinearOperator:
        if _is_zero(other):
            return -self
        raise _not_a_term("b - A", other)

    @final
    def __mul__(self, factor: float) -> Scaled:
        """``A * 2.0`` and ``2.0 * A``, for a real number."""
        if _is_operator(factor):
            raise _type_error("A * b", "a number for b", factor, "write A @ B for a product of operators")
        if _defines(factor, "__rmul__"):
            return NotImplemented
        return extensions.scale(_number("A * b", factor), cast("LinearOperator", self))

    __rmul__ = __mul__

    @final
    def __truediv__(self, divisor: float) -> Scaled:
        """``A / 2.0``, for a real number."""
        if _is_operator(divisor):
            raise _type_error(
                "A / b",
                "a number for b",
                divisor,
                "operators have no inverse here; `import solvers` and solve, as in solvers.cgls(A, y)",
            )
        number = _number("A / b", divisor)
        if number == 0 or not isfinite(1.0 / number):
            raise ZeroDivisionError(f"A / b: expected a number other than zero for b, got {divisor!r}")
        return extensions.scale(1.0 / number, cast("LinearOperator", self))

    @final
    def __rtruediv__(self, other: Any) -> NoReturn:
        raise TypeError("b / A: operators have no inverse here; `import solvers` and solve, as in solvers.cgls(A, b)")

    @final
    def __pow__(self, exponent: Any) -> NoReturn:
        raise TypeError("A ** n: an operator has no powers; write A @ A, and A.H @ A for the normal operator")

    @final
    def __neg__(self) -> Scaled:
        return extensions.scale(-1.0, cast("LinearOperator", self))

    @final
    def __pos__(self) -> LinearOperator:
        return cast("LinearOperator", self)


def _is_operator(value: Any) -> bool:
    return isinstance(value, Arithmetic)


def _defines(value: Any, reflected: str) -> bool:
    """Whether the class of `value`, of another package, defines the reflected operation."""
    if isinstance(value, Number | str | bytes | list | tuple) or is_array_api_obj(value):
        return False
    return hasattr(type(value), reflected)


def _is_zero(value: Any) -> bool:
    """Whether `value` is zero, with which `sum` starts."""
    return isinstance(value, Real) and value == 0


def _number(formula: str, value: Any) -> float:
    """Return a finite real factor; raise TypeError for anything else."""
    if isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the range of floats
            number = inf
        if not isfinite(number):
            raise ValueError(f"{formula}: expected a finite number for b, got {str(value)[:20]}")
        return number
    if isinstance(value, Number):
        hint = "operators are real: A(x.real) + 1j * A(x.imag)" if isinstance(value, Complex) else "take float(b)"
    elif is_array_api_obj(value) and value.ndim == 0:
        hint = "take float(b); A(b * x) keeps the gradient in b"
    elif is_array_api_obj(value):
        hint = "write A(x) to apply the operator; w * A(x) or A(w * x) weight its pixels"
    else:
        hint = "write A(x) to apply the operator"
    raise _type_error(formula, "a real number for b", value, hint)


def _not_a_term(formula: str, value: Any) -> TypeError:
    if isinstance(value, Number):
        hint = f"{value!r} * bp.Identity(A.in_shape) is the operator that multiplies by it"
    else:
        hint = "write A(x) + b, which is not linear"
    return _type_error(formula, "an operator for b", value, hint)


def _type_error(formula: str, expected: str, value: Any, hint: str) -> TypeError:
    got = f"an array of shape {tuple(value.shape)}" if is_array_api_obj(value) else _describe_value(value)
    return TypeError(f"{formula}: expected {expected}, got {got}; {hint}")


def _describe_value(value: Any) -> str:
    if _is_operator(value):
        return f"an operator ({type(value).__name__})"
    return f"{type(value).__name__} {value!r}" if isinstance(value, Number) else type(value).__name__
