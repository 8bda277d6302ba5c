"""Implicit differentiation with torch: the gradient of an equation instead of that of the iteration that solves it.

The recorded node has its own backward pass, which solves the adjoint equation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

from ..core.arrays import norm, relative
from ..core.checks import Counted, check_callable, check_count, check_number
from ..core.convergence_warning import ConvergenceWarning
from ..core.flatten import check_leaves, flatten, pack, unflatten, unpack
from ..core.iterate import Measure, iterate
from ..core.solution import Solution
from ..core.types import Array
from ..iterative.fixed_point import fixed_point

__all__ = ["implicit", "implicit_linear"]

T = TypeVar("T")

# Steps of a network need not be contractions in the norm that is measured.
DIVERGENCE_FACTOR = 1e4


def implicit(
    step: Callable[[T], T],
    state: T,
    *,
    tol: float = 1e-6,
    max_iterations: int = 200,
    adjoint_solve: Callable[[Callable[[Array], Array], Array], Any] | None = None,
) -> T:
    """Iterate to the fixed point state* = step(state*) and differentiate that equation, not the iterations.

    Parameters
    ----------
    step : callable
        state -> state, the same map every time (no momentum that grows, no step counter): `fixed_point_step`,
        `hqs_step`, `admm_step`, or a network of your own. Gradients reach whatever it closes over.
    state : torch tensor, or (named) tuple of them
        Where to start; nearly free if it is already the fixed point, the x of a `Solution` for instance. The result
        does not depend on it, and no gradient flows to it.
    tol : float
        Stops where ||step(s) - s|| <= tol ||step(s)||; the adjoint system is solved to the same relative residual. The
        error of the gradient is of the order of tol / (1 - contraction).
    max_iterations : int
        Step limit of the forward and of the adjoint iteration.
    adjoint_solve : callable, optional
        (M, g) -> u, a tensor or a `Solution` of M u = g, where M u = u - J^T u and J is the derivative of the step; for
        instance ``functools.partial(solvers.gmres, tol=1e-8)``. By default the iteration u <- g + J^T u, which
        converges as fast as the forward one. A state of several tensors is passed as one tensor of shape (1, 1, n).

    Returns
    -------
    state
        step(state*), of the type of `state`. Differentiable once: ``create_graph=True`` raises RuntimeError. Does not
        work inside `torch.func` transforms and `torch.compile`.

    Raises
    ------
    ValueError
        step or adjoint_solve not callable; tol or max_iterations out of range; leaves of the state that are not
        floating-point tensors of one dtype; a step that changes their shapes.

    Warns
    -----
    ConvergenceWarning
        Forward or backward, if the tolerance was not reached: the gradient is then that of another equation.

    Notes
    -----
    With s = f(s, p):  ds/dp = (I - J)^-1 df/dp,  so a gradient g becomes  (df/dp)^T u  with  (I - J^T) u = g.
    One step is recorded, at the fixed point; J^T v and (df/dp)^T u are its vector-Jacobian products. Intermediate
    states are not kept: memory is that of one step, whatever the number of iterations. Each iteration of the adjoint
    solve costs a backward pass through one step; where the equation is A x = b, `implicit_linear` with its ``A.H`` is
    cheaper. Krylov methods have no fixed point in this sense (their directions vanish): use `implicit_linear`.

    References
    ----------
    Bai, S., Kolter, J. Z. and Koltun, V., Deep equilibrium models, NeurIPS 2019, theorem 1.

    Examples
    --------
    >>> import solvers, torch
    >>> from functools import partial
    >>> y, gain = torch.ones(1, 2, 2), torch.tensor(0.5, requires_grad=True)
    >>> A = lambda x: gain * x
    >>> x = implicit(partial(solvers.fixed_point_step, A, y), solvers.fixed_point_init(A, y)).x
    >>> x.sum().backward()
    >>> round(x[0, 0, 0].item(), 4), round(gain.grad.item(), 3)  # x = y / gain, its sum falls by 4 / gain^2
    (2.0, -16.0)
    """
    import torch

    name = "implicit"
    check_callable(name, "step", step)
    check_callable(name, "adjoint_solve", adjoint_solve, optional=True)
    tol = check_number(name, "tol", tol)
    check_count(name, "max_iterations", max_iterations)
    leaves, form = flatten(state)
    check_leaves(name, leaves)
    shapes = [tuple(leaf.shape) for leaf in leaves]

    def advance(vector: Array) -> Array:
        found, _ = flatten(step(unflatten(form, iter(unpack(vector, shapes)))))
        if [tuple(getattr(leaf, "shape", ())) for leaf in found] != shapes:
            raise ValueError(f"{name}: step must return a state like the one it got, with leaves of shapes {shapes}.")
        return pack(found)

    with torch.no_grad():
        start = pack([leaf.detach() for leaf in leaves])
        solution = _fixed_point_of(Counted(advance, None, name=name, x=start, y=start), start, tol, max_iterations)
    point = _unwrap(name, "the iteration", solution).detach()
    if not torch.is_grad_enabled():
        return unflatten(form, iter(unpack(advance(point), shapes)))
    point = point.requires_grad_()
    image = advance(point)

    def adjoint(g: Array, image: Array, point: Array) -> Array:
        def transposed(u: Array) -> Array:
            return u - _pull_back(image, point, u)

        solve = adjoint_solve or partial(
            fixed_point, tol=tol, max_iterations=max_iterations, divergence_factor=DIVERGENCE_FACTOR
        )
        return _solve_scaled(name, solve, transposed, g)

    attached = _attach_function().apply(image, image.detach(), adjoint, image, point)
    return unflatten(form, iter(unpack(attached, shapes)))


def implicit_linear(
    A: Any,
    b: Array,
    *,
    solve: Callable[[Any, Array], Any],
    adjoint_solve: Callable[[Any, Array], Any] | None = None,
) -> Array:
    """Solve A x = b by any solver and differentiate the equation: the adjoint-state method.

    Parameters
    ----------
    A : linear operator or callable
        x -> A x, square and non-singular. Gradients reach whatever it closes over: the maps of a `blurphys.GKM`, say.
        For least squares use ``A.H @ A + rho * I`` and ``A.adjoint(y)``.
    b : torch tensor of shape (*B, C, H, W)
        The right-hand side, differentiated too.
    solve : callable
        (A, b) -> x, a tensor or a `Solution`; for instance ``functools.partial(solvers.cg, tol=1e-8)``. Runs without
        autograd.
    adjoint_solve : callable, optional
        (A^T, g) -> u, the same for the transpose; `solve` if omitted. A^T is ``A.H`` or made from ``A.adjoint`` if A
        has them, and otherwise a vector-Jacobian product of A, which then has no adjoint of its own.

    Returns
    -------
    tensor of shape (*B, C, H, W)
        Differentiable once: ``create_graph=True`` raises RuntimeError. Does not work inside `torch.func` transforms and
        `torch.compile`.

    Raises
    ------
    ValueError
        A, solve or adjoint_solve not callable; a solution of another shape than b.

    Warns
    -----
    ConvergenceWarning
        Where a `Solution` did not converge, forward or backward.

    Notes
    -----
    For a gradient g:  A^T u = g,  db = u,  dA = -u x^T, the latter as the vector-Jacobian product of A at x. One
    application of A is recorded; memory does not depend on the number of iterations. The backward pass costs one solve
    and one vector-Jacobian product.

    Examples
    --------
    >>> import solvers, torch
    >>> d = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    >>> x = implicit_linear(lambda x: d * x, torch.ones(1, 1, 3), solve=solvers.cg)
    >>> x.sum().backward()
    >>> d.grad.round(decimals=4)  # -1 / d^2
    tensor([-1.0000, -0.2500, -0.0625])
    """
    import torch

    name = "implicit_linear"
    for what, value in (("A", A), ("solve", solve)):
        check_callable(name, what, value)
    check_callable(name, "adjoint_solve", adjoint_solve, optional=True)
    with torch.no_grad():
        x = _unwrap(name, "the system", solve(A, b.detach())).detach()
    if tuple(x.shape) != tuple(b.shape):
        raise ValueError(f"{name}: solve must return x of the shape of b, {tuple(b.shape)}, got {tuple(x.shape)}.")
    if not torch.is_grad_enabled():
        return x
    known = _transpose(A)
    point = x if known is not None else x.clone().requires_grad_()
    residual = b - A(point)

    def adjoint(g: Array, *saved: Array) -> Array:
        def transposed(u: Array) -> Array:
            return -_pull_back(saved[0], saved[1], u)

        return _solve_scaled(name, adjoint_solve or solve, transposed if known is None else known, g)

    return _attach_function().apply(residual, x, adjoint, *(() if known is not None else (residual, point)))


class _Pair(NamedTuple):
    """A point and its image under the step."""

    x: Array
    image: Array


def _fixed_point_of(advance: Counted, start: Array, tol: float, max_iterations: int) -> Solution:
    def measure(pair: _Pair) -> Measure:
        gap = relative(norm(pair.image - pair.x), norm(pair.image))
        return Measure(gap, gap)

    return iterate(
        lambda: _Pair(start, advance(start)),
        lambda _, pair: _Pair(pair.image, advance(pair.image)),
        measure,
        A=advance,
        tol=tol,
        max_iterations=max_iterations,
        divergence_factor=DIVERGENCE_FACTOR,
    )


@cache
def _attach_function() -> Any:
    """The node that passes a value on and, in the backward pass, passes `adjoint(gradient)` to `traced`."""
    import torch

    class Attached(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, traced: Array, value: Array, adjoint: Callable[..., Array], *saved: Array) -> Array:
            ctx.adjoint = adjoint
            ctx.save_for_backward(*saved)
            return value.clone()

        @staticmethod
        def backward(ctx: Any, g: Array) -> tuple[Array | None, ...]:
            if torch.is_grad_enabled():  # a graph of the gradient is requested, and it would lack what u depends on
                raise RuntimeError(
                    "implicit gradients are differentiable once, so that create_graph=True is not possible; take "
                    "solvers.unrolled or solvers.checkpointed for second derivatives"
                )
            saved = ctx.saved_tensors
            return (ctx.adjoint(g, *saved), None, None, *(None for _ in saved))

    return Attached


def _pull_back(image: Array, point: Array, u: Array, /) -> Array:
    """J^T u, J the derivative of `image` with respect to `point`."""
    import torch

    (found,) = torch.autograd.grad(image, point, u, retain_graph=True, allow_unused=True)
    return torch.zeros_like(point) if found is None else found


def _solve_scaled(name: str, solve: Callable[[Any, Array], Any], transposed: Any, g: Array) -> Array:
    """Solve for a gradient of any size: that of a mean over pixels is so small that squares underflow."""
    size = g.abs().max()
    if not bool(size > 0) or not bool(size.isfinite()):
        return g
    found = _unwrap(name, "the adjoint system", solve(transposed, g / size))
    if tuple(found.shape) != tuple(g.shape):
        raise ValueError(f"{name}: adjoint_solve must return shape {tuple(g.shape)}, got {tuple(found.shape)}.")
    return size * found.detach()


def _unwrap(name: str, what: str, result: Any) -> Array:
    """Return the tensor of a result; warn where a Solution did not converge."""
    if not isinstance(result, Solution):
        return result
    if not result.converged:
        warnings.warn(f"{name}: {what} did not converge: {result!r}. {result.status.value}", ConvergenceWarning, 3)
    return result.x


class _Transposed:
    """A^T of an operator that has `adjoint` but no `H`."""

    def __init__(self, A: Any) -> None:
        self._A = A

    def __call__(self, y: Array) -> Array:
        return self._A.adjoint(y)

    def adjoint(self, x: Array) -> Array:
        return self._A(x)


def _transpose(A: Any) -> Any | None:
    if callable(getattr(A, "H", None)):
        return A.H
    return _Transposed(A) if callable(getattr(A, "adjoint", None)) else None
