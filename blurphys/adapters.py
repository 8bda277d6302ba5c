"""Our operators in other packages, and theirs in ours. Nothing here is imported until it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, final

from array_api_compat import array_namespace, device, is_torch_array

from .linalg import full_shapes, namespace_of, to_numpy
from .linop import LinearOperator, require_float
from .types import Array, Shape

__all__ = ["Foreign", "as_deepinv", "as_pylops", "as_scipy", "wrap"]


def _flat_calls(A: LinearOperator) -> tuple[Callable[[Any], Any], Callable[[Any], Any], tuple[int, int], Any]:
    """Forward and adjoint on flat NumPy vectors, the matrix shape and the NumPy dtype."""
    xp, where = namespace_of(A)
    shape_in, shape_out = full_shapes(A)

    def call(method: Callable[[Array], Array], shape: Shape) -> Callable[[Any], Any]:
        def run(vector: Any) -> Any:
            image = xp.reshape(xp.asarray(vector.reshape(-1), **where), shape)
            return to_numpy(method(image)).reshape(-1)

        return run

    dtype = to_numpy(xp.zeros((1,), **where)).dtype
    return call(A.forward, shape_in), call(A.adjoint, shape_out), (prod(shape_out), prod(shape_in)), dtype


def as_scipy(A: LinearOperator) -> Any:
    """Return a `scipy.sparse.linalg.LinearOperator` of shape (n_out, n_in) on row-major flattened images.

    Vectors are NumPy; for a torch or CuPy operator they are copied to where it lives and back. Batched maps make a
    block-diagonal matrix.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> S = bp.Convolution(np.array([[0.0, 0.25, 0.75]]), shape=(1, 1, 3), boundary="zero").as_scipy()
    >>> S.shape, S.rmatvec(np.array([0.0, 1.0, 0.0])).tolist()
    ((3, 3), [0.75, 0.25, 0.0])
    """
    from scipy.sparse.linalg import LinearOperator as ScipyOperator

    forward, adjoint, shape, dtype = _flat_calls(A)
    return ScipyOperator(shape=shape, matvec=forward, rmatvec=adjoint, dtype=dtype)


def _require(module: str, method: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"{method}: expected the package {module!r} to be installed; pip install {module}") from None


def as_pylops(A: LinearOperator) -> Any:
    """Return a `pylops.LinearOperator` with ``dims`` and ``dimsd`` set to the image shapes.

    Raises
    ------
    ImportError
        If PyLops is not installed.
    """
    base: Any = _require("pylops", "as_pylops").LinearOperator
    forward, adjoint, _, dtype = _flat_calls(A)
    shape_in, shape_out = full_shapes(A)

    class Blur(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(dtype=dtype, dims=shape_in, dimsd=shape_out)

        def _matvec(self, x: Any) -> Any:
            return forward(x)

        def _rmatvec(self, x: Any) -> Any:
            return adjoint(x)

    return Blur()


def as_deepinv(A: LinearOperator) -> Any:
    """Return a `deepinv.physics.LinearPhysics` on tensors (B, C, H, W).

    Raises
    ------
    ImportError
        If deepinv is not installed.
    TypeError
        If the operator is not made of torch tensors.
    """
    if A.like is not None and not is_torch_array(A.like):
        raise TypeError(
            f"as_deepinv: expected an operator of torch tensors, got {type(A.like).__module__}; build it from tensors"
        )
    base: Any = _require("deepinv.physics", "as_deepinv").LinearPhysics

    class Blur(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(img_size=A.in_shape)

        def A(self, x: Any, **_: Any) -> Any:
            return A.forward(x)

        def A_adjoint(self, y: Any, **_: Any) -> Any:
            return A.adjoint(y)

    return Blur()


@final
class Foreign(LinearOperator):
    """An operator given by two functions, as `blurphys.check` sees those of other packages.

    Parameters
    ----------
    forward, adjoint : callable
        Take and return arrays of one namespace.
    in_shape, out_shape : tuple of int
        Shape of one input and of one output, any number of axes.
    like : array, optional
        Fixes namespace, dtype and device of the test images; NumPy float64 without it.
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
        """Leave the checking to the foreign operator."""

    def _forward(self, x: Array) -> Array:
        return self._call(x)

    def _adjoint(self, y: Array) -> Array:
        return self._back(y)


def wrap(operator: Any, *, in_shape: Shape | None = None, like: Array | None = None) -> LinearOperator:
    """Turn what other packages call a linear operator into one of ours.

    Parameters
    ----------
    operator
        One of ours (returned as it is); a SciPy or PyLops operator (``matvec``, ``rmatvec``, ``shape``); a deepinv
        physics (``A``, ``A_adjoint``); a callable with a method ``adjoint``; or a pair of callables (forward, adjoint).
    in_shape : tuple of int
        Shape of one input; needed for deepinv and for callables.
    like : array, optional
        Fixes namespace, dtype and device of the images it is tried with.

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
            dtype = np.dtype("float64")  # a matrix of whole numbers acts on real vectors
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
        raise ValueError("check: expected in_shape for an operator that does not tell its own, for example (3, 16, 20)")
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
