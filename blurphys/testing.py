"""The laws every operator must obey, as a report: for our operators, yours, and those of other packages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from array_api_compat import array_namespace, device, is_torch_array

from .adapters import wrap
from .linalg import dot, full_shapes, namespace_of, norm, random_image, to_numpy
from .linop import LinearOperator
from .types import Array, Shape

__all__ = ["CheckReport", "Law", "check"]


@dataclass(frozen=True)
class Law:
    """One law: its name, the figure that was measured, the bound it was held to, and what that means."""

    name: str
    passed: bool | None
    figure: float | None
    tolerance: float | None
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes
    ----------
    operator : str
        Name and shapes.
    rows : tuple of Law
        One for each law; ``passed`` is None where a law does not apply.
    """

    operator: str
    rows: tuple[Law, ...]

    @property
    def passed(self) -> bool:
        """Whether no law was broken."""
        return all(row.passed is not False for row in self.rows)

    def __bool__(self) -> bool:
        return self.passed

    def to_json(self) -> str:
        """Return the report as a JSON object with ``operator``, ``passed`` and ``rows``."""
        rows = [asdict(row) for row in self.rows]
        return json.dumps({"operator": self.operator, "passed": self.passed, "rows": rows}, indent=2)

    def __str__(self) -> str:
        lines = [self.operator, f"{'law':<18}{'':<7}{'measured':>11}{'allowed':>11}  what it means"]
        for row in self.rows:
            verdict = {True: "ok", False: "BROKEN", None: "skip"}[row.passed]
            figure = "" if row.figure is None else f"{row.figure:.2e}"
            bound = "" if row.tolerance is None else f"{row.tolerance:.2e}"
            lines.append(f"{row.name:<18}{verdict:<7}{figure:>11}{bound:>11}  {row.detail}")
        lines.append("all laws hold" if self.passed else "NOT a linear operator with this adjoint")
        return "\n".join(lines)


def _relative(a: Array, b: Array) -> float:
    scale = max(norm(a), norm(b))
    return norm(a - b) / scale if scale else 0.0


def check(
    A: Any,
    *,
    in_shape: Shape | None = None,
    like: Array | None = None,
    seed: int = 0,
    samples: int = 64,
) -> CheckReport:
    """Try the laws of a linear operator with an adjoint, on random images.

    Parameters
    ----------
    A : LinearOperator, or a foreign one
        Ours; a SciPy or PyLops operator; a deepinv physics; a pair (forward, adjoint) of callables.
    in_shape : tuple of int
        Shape of one input, for foreign operators that do not tell it.
    like : array, optional
        Fixes namespace, dtype and device of the images where the operator does not.
    seed : int
        Of the random images.
    samples : int
        Matrix rows and columns compared in the dense-twin law (all of them on a small operator).

    Returns
    -------
    CheckReport
        Prints as a table, converts with ``to_json()``, is true when no law is broken.

    Raises
    ------
    TypeError, ValueError
        If `A` is not an operator, or `in_shape` is missing; what goes wrong inside the operator is a broken law.

    Notes
    -----
    The adjoint law is ``|<Ax, u> - <x, A.H u>| <= tol ||Ax|| ||u||`` with inner products in float64 and
    tol = 8 eps at least, growing with the root of the number of inputs behind an output. It is never divided by
    ``<Ax, u>`` itself, which may be near zero for a correct operator.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> report = bp.check((lambda x: np.roll(x, 1, -1), lambda y: np.roll(y, 1, -1)), in_shape=(1, 6, 7))
    >>> report.passed, [row.name for row in report.rows if row.passed is False]
    (False, ['adjoint', 'dense twin'])
    """
    operator = wrap(A, in_shape=in_shape, like=like)
    if like is None:
        like = operator.like
    shapes = full_shapes(operator)
    name = type(A).__name__ if not isinstance(A, tuple | list) else "pair of callables"
    xp, where = namespace_of(operator, like)
    eps = float(xp.finfo(where["dtype"]).eps)
    rows = tuple(_laws(operator, shapes, like, seed, samples, eps))
    kind = f"{xp.__name__.rpartition('.')[2]} {where['dtype']}"
    return CheckReport(operator=f"{name}: {shapes[0]} -> {shapes[1]}, {kind}", rows=rows)


def _guarded(name: str, law: Callable[[], Law]) -> Law:
    try:
        return law()
    except Exception as error:
        return Law(name, False, None, None, f"the operator raised {type(error).__name__}: {error}")


def _laws(
    A: LinearOperator, shapes: tuple[Shape, Shape], like: Array | None, seed: int, samples: int, eps: float
) -> Iterator[Law]:
    x, u = random_image(A, shapes[0], seed, like), random_image(A, shapes[1], seed + 1, like)
    reach = (2 * A.halo + 1) ** 2 if A.halo else prod(shapes[0])
    tolerance = eps * max(8.0, min(reach, prod(shapes[0])) ** 0.5)

    def shape_law() -> Law:
        got = tuple(A.forward(x).shape), tuple(A.adjoint(u).shape)
        ok = got == (shapes[1], shapes[0])
        return Law("shapes", ok, None, None, f"forward gives {got[0]}, adjoint gives {got[1]}")

    def linear_law() -> Law:
        worst = 0.0
        for method, a in ((A.forward, x), (A.adjoint, u)):
            b = random_image(A, tuple(a.shape), seed + 2, like)
            whole = method(0.75 * a - 1.5 * b)
            parts = 0.75 * method(a) - 1.5 * method(b)
            worst = max(worst, _relative(whole, parts))
        return Law(
            "linearity", worst <= 4 * tolerance, worst, 4 * tolerance, "A(ax + by) = a A(x) + b A(y), adjoint too"
        )

    def adjoint_law() -> Law:
        y, z = A.forward(x), A.adjoint(u)
        scale = max(norm(y) * norm(u), norm(x) * norm(z))
        gap = abs(dot(y, u) - dot(x, z)) / scale if scale else 0.0
        return Law("adjoint", gap <= tolerance, gap, tolerance, "<A x, u> = <x, A.H u>, scaled by the norms")

    def dense_law() -> Law:
        worst = _dense_gap(A, shapes, like, seed, samples)
        return Law("dense twin", worst <= 4 * tolerance, worst, 4 * tolerance, "A[i, j] read from A equals A.H[j, i]")

    def kind_law() -> Law:
        for image, result in ((x, A.forward(x)), (u, A.adjoint(u))):
            same = array_namespace(image) is array_namespace(result) and image.dtype == result.dtype
            if not (same and device(image) == device(result)):
                detail = f"{image.dtype} on {device(image)} became {result.dtype} on {device(result)}"
                return Law("dtype and device", False, None, None, detail)
        return Law("dtype and device", True, None, None, "namespace, dtype and device come back")

    def untouched_law() -> Law:
        first, second = to_numpy(x).copy(), to_numpy(u).copy()
        A.forward(x)
        A.adjoint(u)
        ok = bool((to_numpy(x) == first).all() and (to_numpy(u) == second).all())
        return Law("inputs untouched", ok, None, None, "neither forward nor adjoint writes to its input")

    yield _guarded("shapes", shape_law)
    yield _guarded("linearity", linear_law)
    yield _guarded("adjoint", adjoint_law)
    yield _guarded("dense twin", dense_law)
    yield _guarded("dtype and device", kind_law)
    yield _guarded("inputs untouched", untouched_law)
    yield _guarded("gradient", lambda: _gradient_law(A, x, u, tolerance))


def _dense_gap(A: LinearOperator, shapes: tuple[Shape, Shape], like: Array | None, seed: int, samples: int) -> float:
    """Largest |A[i, j] - A.H[j, i]| over the largest |A[i, j]|, on some rows and columns."""
    import numpy as np

    n_in, n_out = prod(shapes[0]), prod(shapes[1])
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.choice(n_in, size=min(n_in, samples), replace=False))
    xp, where = namespace_of(A, like)

    def response(method: Callable[[Array], Array], shape: Shape, index: int) -> Any:
        unit = xp.zeros((prod(shape),), **where)
        unit[index] = 1.0
        return to_numpy(method(xp.reshape(unit, shape))).reshape(-1)

    forward = np.stack([response(A.forward, shapes[0], int(j)) for j in columns], axis=1)
    touched = np.argsort(-np.abs(forward).max(axis=1), kind="stable")
    rows = np.sort(touched[:samples]) if n_out > samples else np.arange(n_out)
    backward = np.stack([response(A.adjoint, shapes[1], int(i)) for i in rows], axis=0)
    scale = float(np.abs(forward).max()) or 1.0
    return float(np.abs(forward[rows] - backward[:, columns]).max()) / scale


def _gradient_law(A: LinearOperator, x: Array, u: Array, tolerance: float) -> Law:
    if not is_torch_array(x):
        return Law("gradient", None, None, None, "only torch has gradients; give like=torch.zeros(1) to try it")
    import torch

    image = x.clone().requires_grad_(True)
    with torch.enable_grad():
        y = A.forward(image)
        if not y.requires_grad:
            return Law("gradient", False, None, None, "the output does not require a gradient: the graph was cut")
        (gradient,) = torch.autograd.grad((y * u).sum(), image)
    gap = _relative(gradient, A.adjoint(u).detach())
    return Law("gradient", gap <= 4 * tolerance, gap, 4 * tolerance, "torch's gradient of <A x, u> in x is A.H u")
