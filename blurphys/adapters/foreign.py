"""Operators of other packages, and pairs of functions, as a `LinearOperator`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from array_api_compat import array_namespace, device

from ..inputs import require_float
from ..linop.base import LinearOperator
from ..types import Array, Shape

__all__ = ["Foreign", "wrap"]


@final
class Foreign(LinearOperator):
    """A `LinearOperator` given by two functions; `wrap` makes one from an operator of another package.

    Parameters
    ----------
    forward, adjoint : callable
        Functions of arrays of one namespace.
    in_shape, out_shape : tuple of int
        Shape of one input and of one output, any number of axes.
    like : array, optional
        Determines namespace, dtype and device of the test images; by default NumPy float64.
    """

    def __init__(
        self,
        forward: Callable[[Array], Array],
        adjoint: Callable[[Array], Array],
        in_shape: Shape,
        out_shape: Shape,
        like: Array | None = None,
    ) -> None:
        self._call, self._back = forward, adjoint
        self._in, self._out, self._like = tuple(in_shape), tuple(out_shape), like

    @property
    def in_shape(self) -> Shape:
        return self._in

    @property
    def out_shape(self) -> Shape:
        return self._out

    @property
    def like(self) -> Array | None:
        return self._like

    def _check(self, x: Array, method: str, shape: Shape) -> None:
        """Do nothing: the wrapped operator checks its arguments."""

    def _forward(self, x: Array) -> Array:
        return self._call(x)

    def _adjoint(self, y: Array) -> Array:
        return self._back(y)


def wrap(operator: Any, *, in_shape: Shape | None = None, like: Array | None = None) -> LinearOperator:
    """Return an operator of another package as a `LinearOperator`.

    Parameters
    ----------
    operator
        A `LinearOperator` (returned unchanged); a SciPy or PyLops operator (``matvec``, ``rmatvec``, ``shape``); a
        deepinv physics (``A``, ``A_adjoint``); a callable with a method ``adjoint``; or a pair of callables (forward,
        adjoint).
    in_shape : tuple of int
        Shape of one input; needed for deepinv and for callables.
    like : array, optional
        Determines namespace, dtype and device of the images.

    Raises
    ------
    TypeError
        If `operator` is none of these.
    ValueError
        If `in_shape` is missing.
    """
    if isinstance(operator, LinearOperator):
        return operator
    if like is not None:
        require_float("check", "like", like)
    if hasattr(operator, "matvec") and hasattr(operator, "rmatvec"):
        import numpy as np

        rows, cols = operator.shape
        dtype = np.dtype(operator.dtype or "float64")
        if dtype.kind == "c":
            raise TypeError("check: expected a real operator, got a complex one; images here are real")
        if dtype.kind in "iub":
            dtype = np.dtype("float64")  # an integer matrix acts on real vectors
        sample = np.zeros(1, dtype=dtype) if like is None else like
        return Foreign(operator.matvec, operator.rmatvec, (cols,), (rows,), sample)
    if hasattr(operator, "A") and hasattr(operator, "A_adjoint"):
        calls = (operator.A, operator.A_adjoint)
        if like is None:
            import torch

            like = torch.zeros(1)
    elif callable(operator) and hasattr(operator, "adjoint"):
        calls = (operator, operator.adjoint)
        in_shape = getattr(operator, "in_shape", None) if in_shape is None else in_shape
    elif isinstance(operator, tuple | list) and len(operator) == 2 and all(callable(f) for f in operator):
        calls = (operator[0], operator[1])
    else:
        raise TypeError(
            f"check: expected a LinearOperator, a SciPy, PyLops or deepinv operator, or a pair (forward, adjoint) of "
            f"callables, got {type(operator).__name__}"
        )
    if in_shape is None:
        raise ValueError("check: expected in_shape for an operator that does not have it, for example (3, 16, 20)")
    if like is None:
        import numpy as np

        like = np.zeros(1)
    probe = array_namespace(like).zeros(in_shape, dtype=like.dtype, device=device(like))
    try:
        out_shape = tuple(calls[0](probe).shape)
    except Exception as error:
        raise ValueError(
            f"check: expected forward to return an array for zeros of shape {tuple(in_shape)}, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return Foreign(calls[0], calls[1], in_shape, out_shape, like)
