"""Linear algebra on operators: inner products, the matrix of a small operator, the norm of a large one."""

from __future__ import annotations

from math import isfinite, prod, sqrt
from typing import Any

from array_api_compat import array_namespace, device, to_device

from ..inputs import require_integer, require_number
from ..linop.base import LinearOperator
from ..types import Array, Shape

__all__ = ["dot", "full_shapes", "norm", "operator_norm", "random_image", "to_dense"]

MAX_DENSE_ENTRIES = 2**28
"""Entries above which `to_dense` raises an error: 2 GiB of float64."""


def dot(a: Array, b: Array) -> float:
    """Return the inner product of two arrays of one shape, accumulated in float64."""
    xp = array_namespace(a, b)
    return float(xp.sum(xp.astype(a, xp.float64) * xp.astype(b, xp.float64)))


def norm(a: Array) -> float:
    """Return the Euclidean norm, accumulated in float64."""
    return sqrt(dot(a, a))


def full_shapes(A: LinearOperator) -> tuple[Shape, Shape]:
    """Return the shapes of one input and one output with the batch axes: (*B, C, H, W), (*B, D, H, W)."""
    return (*A.batch_shape, *A.in_shape), (*A.batch_shape, *A.out_shape)


def namespace_of(A: LinearOperator, like: Array | None = None) -> tuple[Any, dict[str, Any]]:
    """Return the namespace of an operator, and the dtype and device of its arrays; NumPy float64 if it has none."""
    like = A.like if like is None else like
    if like is None:
        import numpy as np
        from array_api_compat import numpy as xp

        return xp, {"dtype": np.dtype("float64")}
    return array_namespace(like), {"dtype": like.dtype, "device": device(like)}


def random_image(A: LinearOperator, shape: Shape, seed: int, like: Array | None = None) -> Array:
    """Return standard normal values of `shape` in the namespace of the operator; the same values in every namespace."""
    import numpy as np

    xp, where = namespace_of(A, like)
    return xp.asarray(np.random.default_rng(seed).standard_normal(shape), **where)


def to_dense(A: LinearOperator, like: Array | None = None) -> Array:
    """Return the matrix of a small operator, column by column.

    Parameters
    ----------
    A : LinearOperator
    like : array, optional
        Determines namespace, dtype and device if the operator has no array.

    Returns
    -------
    array of shape (n_out, n_in)
        Row-major flattening of (*B, D, H, W) and (*B, C, H, W): block-diagonal over the batch.

    Raises
    ------
    ValueError
        If the matrix would have more than 2^28 entries.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> to_dense(bp.Convolution(np.array([[0.0, 0.25, 0.75]]), shape=(1, 1, 3), boundary="zero")).tolist()
    [[0.25, 0.0, 0.0], [0.75, 0.25, 0.0], [0.0, 0.75, 0.25]]
    """
    shape_in, shape_out = full_shapes(A)
    n_in, n_out = prod(shape_in), prod(shape_out)
    if n_in * n_out > MAX_DENSE_ENTRIES:
        raise ValueError(
            f"to_dense: expected a matrix of at most {MAX_DENSE_ENTRIES} entries, got {n_out} x {n_in}; build the "
            f"operator for a smaller image"
        )
    xp, where = namespace_of(A, like)
    columns = []
    for i in range(n_in):
        unit = xp.zeros((n_in,), **where)
        unit[i] = 1.0
        columns.append(xp.reshape(A.forward(xp.reshape(unit, shape_in)), (n_out,)))
    return xp.stack(columns, axis=1)


def operator_norm(
    A: LinearOperator,
    *,
    tol: float = 1e-6,
    max_iterations: int = 500,
    seed: int = 0,
    like: Array | None = None,
) -> float:
    """Estimate ``||A|| = sqrt(lambda_max(A.H A))`` by power iteration.

    Parameters
    ----------
    A : LinearOperator
    tol : float
        Stop when an iteration increases the estimate by less than this fraction.
    max_iterations : int
        Maximum number of applications of ``A.H A``.
    seed : int
        Seed of the random start vector; the result is reproducible.
    like : array, optional
        As in `to_dense`.

    Returns
    -------
    float
        A lower bound that approaches the norm from below. Cost: two applications an iteration.

    Raises
    ------
    ValueError
        If tol or max_iterations is not positive, or the operator returns NaN or inf.
    """
    require_number("operator_norm", "tol", tol, above=0)
    require_integer("operator_norm", "max_iterations", max_iterations)
    v = random_image(A, full_shapes(A)[0], seed, like)
    v = v / norm(v)
    estimate = 0.0
    for _ in range(max_iterations):
        w = A.forward(v)
        previous, estimate = estimate, norm(w)
        if not isfinite(estimate):
            raise ValueError("operator_norm: expected finite values from the operator, got NaN or inf")
        if estimate == 0 or estimate - previous <= tol * estimate:
            break
        v = A.adjoint(w)
        v = v / norm(v)
    return estimate


def to_numpy(x: Array) -> Any:
    """Return a NumPy copy or view of any array, moved to the CPU and detached from autograd."""
    import numpy as np
    from array_api_compat import is_cupy_array, is_torch_array

    if is_torch_array(x):
        return x.detach().cpu().numpy()
    if is_cupy_array(x):
        return x.get()
    try:
        return np.asarray(x)
    except (TypeError, RuntimeError):
        return np.from_dlpack(to_device(x, "cpu"))
