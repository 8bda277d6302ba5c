"""Gradients through a solver with torch: unrolled, checkpointed or implicit, with the same result in the limit.

| question | function | memory | extra work |
|---|---|---|---|
| a fixed number of learned steps | `unrolled` | all steps | none |
| the same, but it does not fit in memory | `checkpointed` | about 2 sqrt(steps) steps | every step again |
| the limit of an iteration, however many steps it takes | `implicit` | one step | an adjoint iteration |
| the solution of A x = b by any solver | `implicit_linear` | one application of A | a solve with A^T |

All of them take the `..._step` functions of this package as they are, give gradients to everything that the step or
the operator closes over, and leave the arrays unchanged: no parameter is registered, nothing is cached.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.checks import check_callable, check_count
from ..core.flatten import flatten, unflatten
from ..core.types import Array
from .implicit import implicit, implicit_linear

__all__ = ["checkpointed", "implicit", "implicit_linear", "saved_bytes", "unrolled"]

T = TypeVar("T")


def unrolled(step: Callable[[T], T], state: T, *, steps: int) -> T:
    """Take a number of steps, all recorded by autograd.

    Parameters
    ----------
    step : callable
        state -> state, such as ``functools.partial(solvers.fixed_point_step, A, y)``.
    state : array, or (named) tuple of arrays
        Where to start, such as ``solvers.fixed_point_init(A, y)``.
    steps : int
        Zero or more.

    Returns
    -------
    state
        Of the type of `state`. Gradients are exact for this number of steps, converged or not; twice differentiable
        where the step is. Memory grows with the number of steps. For arrays of other namespaces it just takes the
        steps.

    Raises
    ------
    ValueError
        step not callable; steps negative.

    Examples
    --------
    >>> import solvers, torch
    >>> from functools import partial
    >>> y = torch.ones(1, 2, 2, requires_grad=True)
    >>> A = lambda x: 0.5 * x
    >>> state = unrolled(partial(solvers.fixed_point_step, A, y), solvers.fixed_point_init(A, y), steps=1)
    >>> state.x.sum().backward()
    >>> y.grad[0, 0, 0].item()  # x_1 = y + (y - A y)
    1.5
    """
    check_callable("unrolled", "step", step)
    for _ in range(check_count("unrolled", "steps", steps)):
        state = step(state)
    return state


def checkpointed(step: Callable[[T], T], state: T, *, steps: int, segments: int | None = None) -> T:
    """Take a number of steps with gradient checkpointing: few states are kept, others recomputed in the backward pass.

    Parameters
    ----------
    step, state, steps
        As in `unrolled`; the state holds torch tensors. The step is called twice for each step taken, and has to do the
        same both times.
    segments : int, optional
        Number of pieces into which the steps are cut, 1 to `steps`; about sqrt(steps) if omitted, which needs least
        memory.

    Returns
    -------
    state
        Equal to that of `unrolled`, with equal gradients.

    Raises
    ------
    ValueError
        step not callable; steps negative; segments out of range.

    Notes
    -----
    The states between the segments are kept, and one segment during the backward pass: with n segments, n states and
    steps / n steps. Cost: every step is computed twice. Without grad mode it is the same as `unrolled`. Twice
    differentiable where the step is.

    References
    ----------
    Griewank, A. and Walther, A., Algorithm 799: revolve, ACM Transactions on Mathematical Software 26(1), 2000 (the
    optimal schedule for a given memory; here it is the simple one with equal segments).

    Examples
    --------
    >>> import solvers, torch
    >>> y = torch.ones(1, 2, 2, requires_grad=True)
    >>> x = checkpointed(lambda x: x + 0.5 * (y - x), torch.zeros_like(y), steps=16)
    >>> x.sum().backward()
    >>> round(y.grad[0, 0, 0].item(), 6)  # 1 - 2^-16
    0.999985
    """
    from torch.utils.checkpoint import checkpoint

    name = "checkpointed"
    check_callable(name, "step", step)
    check_count(name, "steps", steps)
    if steps == 0:
        return state
    pieces = math.isqrt(steps - 1) + 1 if segments is None else check_count(name, "segments", segments, least=1)
    if pieces > steps:
        raise ValueError(f"{name}: segments must be at most the {steps} steps, got {segments}.")

    leaves, form = flatten(state)
    reached = form

    def segment(count: int, form: Any, *leaves: Any) -> tuple[Any, ...]:
        nonlocal reached
        found, reached = flatten(unrolled(step, unflatten(form, iter(leaves)), steps=count))
        return tuple(found)

    marks = [steps * i // pieces for i in range(pieces + 1)]
    for start, stop in zip(marks, marks[1:], strict=False):
        # The state goes in leaf by leaf, so that hooks on saved tensors (offloading, say) see it.
        leaves = checkpoint(segment, stop - start, form, *leaves, use_reentrant=False)
        form = reached
    return unflatten(form, iter(leaves))


def saved_bytes(compute: Callable[[], Any]) -> int:
    """Return how many bytes autograd keeps for the backward pass of what `compute` returns.

    Parameters
    ----------
    compute : callable
        () -> tensors, kept until the bytes are counted.

    Returns
    -------
    int
        Sum over the distinct storages of the tensors that the graph has saved, including parameters. What is recomputed
        later is not included: the peak of `checkpointed` is higher by one segment, which is ``saved_bytes`` of that
        many `unrolled` steps.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(100, requires_grad=True)
    >>> saved_bytes(lambda: x.sin().sin()), saved_bytes(lambda: x + x)
    (800, 0)
    """
    import torch

    alive: weakref.WeakSet[_Held] = weakref.WeakSet()

    def pack(tensor: Array) -> _Held:
        held = _Held(tensor)
        alive.add(held)
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        result = compute()
    storages = {held.tensor.untyped_storage().data_ptr(): held.tensor.untyped_storage().nbytes() for held in alive}
    del result
    return sum(storages.values())


class _Held:
    """A saved tensor, alive as long as the graph that saved it."""

    def __init__(self, tensor: Array) -> None:
        self.tensor = tensor
