"""Anderson acceleration of the fixed-point iteration: the best combination of the last few steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from ..core.arrays import add_scaled, cast_to, inner, norm
from ..core.types import Array, Operator

__all__ = ["AndersonState", "anderson_init", "anderson_step"]

MAX_GROWTH = 1.2
"""A combined step is rejected where its residual exceeds this multiple of the last one."""
REGULARISATION = 100.0
"""Tikhonov term of the least-squares problem, in units of eps times the squared length of every difference."""


class AndersonState(NamedTuple):
    """An iterate and its residual, (*B, C, H, W), and the history of the last few steps, oldest first.

    `steps` holds differences of x + damping residual, `changes` those of the residual, and `gram` the inner products of
    the changes, (*B, 1, n, n) in float64: zero where the history of an image was discarded.
    """

    x: Array
    residual: Array  # y - A x
    steps: tuple[Array, ...] = ()
    changes: tuple[Array, ...] = ()
    gram: Array | None = None


def anderson_init(A: Operator, y: Array, *, x0: Array | None = None) -> AndersonState:
    """Start from x0, or from y. Cost: one application of A.

    Parameters
    ----------
    A : callable
        x -> A x, from (*B, C, H, W) to the same shape.
    y : array of shape (*B, C, H, W)
        The observed image.
    x0 : array of shape (*B, C, H, W), optional
        Initial guess.

    Returns
    -------
    AndersonState
    """
    x = y if x0 is None else x0
    return AndersonState(x, y - A(x))


def anderson_step(A: Operator, y: Array, state: AndersonState, *, damping: Any = 1.0, memory: int = 5) -> AndersonState:
    """Take one step. Cost: one application of A, 2 memory inner products; differentiable, no transfer to the host.

    Parameters
    ----------
    A : callable
        x -> A x.
    y : array of shape (*B, C, H, W)
        The observed image.
    state : AndersonState
        State before the step.
    damping : float or array
        Step length of the plain iteration that is accelerated; an array has to broadcast against the image.
    memory : int
        How many differences to keep; 0 is the plain iteration.

    Returns
    -------
    AndersonState

    Notes
    -----
    With the differences R of the last residuals and S of the last plain steps x + damping r: g = argmin ||r - R g||^2 +
    100 eps sum_i (||R_i|| g_i)^2 and x <- x + damping r - S g (type II). Every image of a batch has its own g. Where
    the residual of the new x is more than 1.2 times the last one, or NaN, that step is rejected: the image stays as it
    is and its history is discarded, so that its next step is a plain one, which is always accepted. As long as no
    history is discarded, the residual of step k + 1 is (I - damping A) times the k-th one of GMRES: no method that only
    applies A and adds images gets much further with as many applications.

    References
    ----------
    Walker, H. F. and Ni, P., Anderson acceleration for fixed-point iterations, SIAM Journal on Numerical Analysis
    49(4), 2011 (the least-squares form, section 2).
    """
    xp = array_namespace(state.x)
    x = add_scaled(state.x, damping, state.residual)
    if state.gram is None:
        return _remember(state, x, y - A(x), damping, memory)
    weights = _weights(xp, state)
    for i, step in enumerate(state.steps):
        x = add_scaled(x, -cast_to(weights[..., i : i + 1, :], x), step)
    residual = y - A(x)
    combined = xp.any(weights != 0, axis=-2, keepdims=True)
    refused = combined & ~(norm(residual) <= MAX_GROWTH * norm(state.residual))
    x = xp.where(refused, state.x, x)
    residual = xp.where(refused, state.residual, residual)
    gram = xp.where(refused, xp.zeros_like(state.gram), state.gram)
    return _remember(state._replace(gram=gram), x, residual, damping, memory)


def _weights(xp: Any, state: AndersonState) -> Array:
    """Solve the small least-squares problem of every image: (*B, 1, n, 1) in float64, 0 where history was discarded."""
    gram, count = state.gram, len(state.changes)
    eye = xp.eye(count, dtype=xp.float64, device=device(state.x))
    squares = xp.sum(gram * eye, axis=-1, keepdims=True)
    alive = squares > 0
    lengths = xp.sqrt(xp.where(alive, squares, xp.ones_like(squares)))
    right = xp.concat([inner(change, state.residual) for change in state.changes], axis=-2)
    right = xp.where(alive, right, xp.zeros_like(right)) / lengths
    ridge = REGULARISATION * float(xp.finfo(state.x.dtype).eps)
    table = xp.concat([gram / (lengths * xp.matrix_transpose(lengths)) + ridge * eye, right], axis=-1)
    for k in range(count):  # Gauss-Jordan: the matrix is positive definite, so that it needs no pivoting
        row = table[..., k : k + 1, :] / table[..., k : k + 1, k : k + 1]
        table = table - (table[..., k : k + 1] - eye[:, k : k + 1]) * row
    return table[..., count:] / lengths


def _remember(state: AndersonState, x: Array, residual: Array, damping: Any, memory: int) -> AndersonState:
    """Append the newest differences, and drop the oldest where there are too many."""
    xp = array_namespace(x)
    if memory < 1:
        return AndersonState(x, residual)
    change = residual - state.residual
    steps = (*state.steps, add_scaled(x - state.x, damping, change))[-memory:]
    changes = (*state.changes, change)[-memory:]
    row = xp.concat([inner(change, other) for other in changes], axis=-1)
    if state.gram is None or memory == 1:
        return AndersonState(x, residual, steps, changes, row[..., -1:])
    kept = len(changes) - 1
    column = xp.matrix_transpose(row[..., :-1])
    old = state.gram[..., -kept:, -kept:]
    alive = xp.sum(old * xp.eye(kept, dtype=xp.float64, device=device(x)), axis=-1, keepdims=True) > 0
    column = xp.where(alive, column, xp.zeros_like(column))
    gram = xp.concat([old, column], axis=-1)
    row = xp.concat([xp.matrix_transpose(column), row[..., -1:]], axis=-1)
    return AndersonState(x, residual, steps, changes, xp.concat([gram, row], axis=-2))
