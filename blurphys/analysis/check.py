"""`check`: tests of the properties that every linear operator with an adjoint must have, as a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isnan, nan, prod, sqrt
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array

from ..adapters import wrap
from ..inputs import require_float, require_integer, require_same_kind
from ..linop.base import LinearOperator
from ..linop.windows import edge_rule, leaves
from ..types import Array, Shape
from .linalg import dot, full_shapes, namespace_of, norm, random_image, to_numpy
from .reach import measure_reach

__all__ = ["CheckReport", "Law", "check"]

MAX_PIXELS_FOR_ALL_SAMPLES = 2**20
"""With this many pixels or more, the dense twin uses at most 16 samples."""


@dataclass(frozen=True)
class Law:
    """One tested property: its name, the measured value, the tolerance and a description."""

    name: str
    passed: bool | None
    figure: float | None
    tolerance: float | None
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """Result of `check`.

    Attributes
    ----------
    operator : str
        Name and shapes.
    rows : tuple of Law
        One for each property; ``passed`` is None if it does not apply.
    """

    operator: str
    rows: tuple[Law, ...]

    @property
    def passed(self) -> bool:
        """Whether no test failed."""
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
        lines.append(self._verdict())
        return "\n".join(lines)

    def _verdict(self) -> str:
        broken = {row.name for row in self.rows if row.passed is False}
        if not broken:
            return "all laws hold"
        if broken == {"halo"}:
            return "a linear operator with this adjoint, but its reach is larger than A.halo"
        return "NOT a linear operator with this adjoint"


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
    """Test the properties of a linear operator with an adjoint on random images.

    Parameters
    ----------
    A : LinearOperator, or a foreign one
        Ours; a SciPy or PyLops operator; a deepinv physics; a pair (forward, adjoint) of callables.
    in_shape : tuple of int
        Shape of one input, for foreign operators that do not have it.
    like : array, optional
        Determines namespace, dtype and device of the images if the operator does not.
    seed : int
        Seed of the random images.
    samples : int
        Matrix rows and columns compared in the dense-twin law (all of them on a small operator, at most 16 beyond a
        million pixels); the corners and the middle of the image are always among them.

    Returns
    -------
    CheckReport
        Prints as a table, converts with ``to_json()``, and is true if no test failed.

    Raises
    ------
    TypeError, ValueError
        If `A` is not an operator on real float32 or float64 images, `in_shape` is missing, `samples` < 1, or a foreign
        operator fails on an image of zeros. Later errors of the operator are reported as broken laws.

    Notes
    -----
    The adjoint law is ``|<Ax, u> - <x, A.H u>| <= tol ||Ax|| ||u||`` with inner products in float64 and
    tol = eps max(8, sqrt(n)), n the number of inputs that contribute to an output. It is not divided by ``<Ax, u>``,
    which may be near zero for a correct operator. An operator with cancellation, such as the difference of a slight
    blur and the identity, loses digits and may fail in float32: test it in float64.

    The halo law applies the operator to single pixels and quarters of the frame and measures their reach. A reach
    larger than `halo` breaks the law; a `halo` of None is reported with the measured value. Distances go around the
    frame if the operator is ``circular`` or does not name its `boundary`.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> report = bp.check((lambda x: np.roll(x, 1, -1), lambda y: np.roll(y, 1, -1)), in_shape=(1, 6, 7))
    >>> report.passed, [row.name for row in report.rows if row.passed is False]
    (False, ['adjoint', 'dense twin'])
    """
    require_integer("check", "samples", samples)
    operator = wrap(A, in_shape=in_shape, like=like)
    if like is None:
        like = operator.like
    elif operator.like is not None:
        require_same_kind("check", "like", like, "the operator", operator.like)
    if like is not None:
        require_float("check", "the operator's arrays", like)
    trial = _Trial(operator, like, seed, samples)
    name = type(A).__name__ if not isinstance(A, tuple | list) else "pair of callables"
    xp, where = namespace_of(operator, like)
    kind = f"{xp.__name__.rpartition('.')[2]} {where['dtype']}"
    title = f"{name}: {trial.shape_in} -> {trial.shape_out}, {kind}"
    return CheckReport(operator=title, rows=tuple(trial.guarded(law) for law in trial.laws()))


def _worst(gaps: Iterable[float]) -> float:
    """Return the largest difference; NaN, which fails every test, if one is NaN."""
    values = list(gaps)
    return nan if any(isnan(gap) for gap in values) else max(values, default=0.0)


class _Trial:
    """The tests of one operator. Each draws its own images, so that one that overwrites them affects no other."""

    def __init__(self, A: LinearOperator, like: Array | None, seed: int, samples: int) -> None:
        self.A, self.like, self.seed = A, like, seed
        self.shape_in, self.shape_out = full_shapes(A)
        self.n_in, self.n_out = prod(self.shape_in), prod(self.shape_out)
        self.samples = samples if max(self.n_in, self.n_out) < MAX_PIXELS_FOR_ALL_SAMPLES else min(samples, 16)
        xp, where = namespace_of(A, like)
        self.eps = float(xp.finfo(where["dtype"]).eps)

    def x(self, number: int = 0) -> Array:
        return random_image(self.A, self.shape_in, self.seed + 2 * number, self.like)

    def u(self, number: int = 0) -> Array:
        return random_image(self.A, self.shape_out, self.seed + 2 * number + 1, self.like)

    def laws(self) -> list[tuple[str, Callable[[], Law]]]:
        return [
            ("shapes", self.shapes),
            ("inputs untouched", self.untouched),
            ("linearity", self.linearity),
            ("adjoint", self.adjoint),
            ("dense twin", self.dense_twin),
            ("halo", self.halo),
            ("dtype and device", self.kind),
            ("gradient", self.gradient),
        ]

    @staticmethod
    def guarded(law: tuple[str, Callable[[], Law]]) -> Law:
        name, run = law
        try:
            return run()
        except Exception as error:
            return Law(name, False, None, None, f"the operator raised {type(error).__name__}: {error}")

    @cached_property
    def tolerance(self) -> float:
        """Eps max(8, sqrt(taps)), where taps is the largest number of inputs of one output among a few responses."""
        taps = 1
        for index in _spread(self.shape_out, 4):
            row = np.abs(self.response(self.A.adjoint, self.shape_out, index))
            taps = max(taps, int(np.count_nonzero(row > 8 * self.eps * row.max(initial=0.0))))
        return self.eps * max(8.0, sqrt(taps))

    def bounded(self, name: str, gap: float, factor: float, detail: str) -> Law:
        allowed = factor * self.tolerance
        return Law(name, gap <= allowed, gap, allowed, detail)

    def response(self, method: Callable[[Array], Array], shape: Shape, index: int) -> Any:
        """Apply the operator or its adjoint to one unit vector: a column or a row of its matrix."""
        xp, where = namespace_of(self.A, self.like)
        unit = xp.zeros((prod(shape),), **where)
        unit[index] = 1.0
        return to_numpy(method(xp.reshape(unit, shape))).reshape(-1)

    def shapes(self) -> Law:
        got = tuple(self.A.forward(self.x()).shape), tuple(self.A.adjoint(self.u()).shape)
        ok = got == (self.shape_out, self.shape_in)
        return Law("shapes", ok, None, None, f"forward gives {got[0]}, adjoint gives {got[1]}")

    def untouched(self) -> Law:
        x, u = self.x(), self.u()
        self.A.forward(x)
        self.A.adjoint(u)
        ok = bool((to_numpy(x) == to_numpy(self.x())).all() and (to_numpy(u) == to_numpy(self.u())).all())
        return Law("inputs untouched", ok, None, None, "neither forward nor adjoint writes to its input")

    def linearity(self) -> Law:
        gaps = []
        for method, draw in ((self.A.forward, self.x), (self.A.adjoint, self.u)):
            whole = method(0.75 * draw(0) - 1.5 * draw(1)) + 0.0  # a copy: the operator may reuse its output
            parts = 0.75 * method(draw(0))
            parts = parts - 1.5 * method(draw(1))
            gaps.append(_relative(whole, parts))
        return self.bounded("linearity", _worst(gaps), 4, "A(ax + by) = a A(x) + b A(y), adjoint too")

    def adjoint(self) -> Law:
        y = self.A.forward(self.x()) + 0.0
        z = self.A.adjoint(self.u())
        scale = max(norm(y) * norm(self.u()), norm(self.x()) * norm(z))
        gap = abs(dot(y, self.u()) - dot(self.x(), z)) / scale if scale else 0.0
        return self.bounded("adjoint", gap, 1, "<A x, u> = <x, A.H u>, scaled by the norms")

    def dense_twin(self) -> Law:
        return self.bounded("dense twin", self.dense_gap(), 4, "A[i, j] read from A equals A.H[j, i]")

    def dense_gap(self) -> float:
        """Return the largest |A[i, j] - A.H[j, i]| over the largest |A[i, j]|, for some rows and columns.

        Rows are those with the largest entries of the columns, so that nonzero entries are compared. Columns are
        computed twice rather than stored.
        """
        columns = _spread(self.shape_in, self.samples, self.seed)
        reached = set(_spread(self.shape_out, max(1, self.samples // 4), self.seed))
        for j in columns:
            column = np.abs(self.response(self.A.forward, self.shape_in, j))
            reached.update(int(i) for i in np.argpartition(column, -min(2, column.size))[-2:])
        rows = sorted(reached)
        if self.n_out > self.samples:
            rows = sorted(np.random.default_rng(self.seed).permutation(rows)[: self.samples])
        forward = np.stack([self.response(self.A.forward, self.shape_in, j)[rows] for j in columns], axis=1)
        backward = np.stack([self.response(self.A.adjoint, self.shape_out, i)[columns] for i in rows], axis=0)
        scale = max(float(np.abs(forward).max()), float(np.abs(backward).max())) or 1.0
        return float(np.abs(forward - backward).max()) / scale

    def halo(self) -> Law:
        """Compare `A.halo` with the measured reach: too small is a failure, unknown is not."""
        if edge_rule(self.A) == "whole":
            for part in leaves(self.A).values():
                found = measure_reach(part, like=self.like, seed=self.seed)
                if found is not None and part.halo is not None and found > part.halo:
                    detail = f"px, reach of {type(part).__name__}; its halo is {part.halo}"
                    return Law("halo", False, float(found), float(part.halo), detail)
        reach = measure_reach(self.A, like=self.like, seed=self.seed)
        if reach is None:
            return Law("halo", None, None, None, "not an operator from an image to an image around it")
        if self.A.halo is None:
            return Law("halo", None, float(reach), None, "px, measured reach; A.halo is None, so tiled and crop raise")
        detail = f"px, measured reach; A.halo is {self.A.halo}"
        return Law("halo", reach <= self.A.halo, float(reach), float(self.A.halo), detail)

    def kind(self) -> Law:
        for image, method in ((self.x(), self.A.forward), (self.u(), self.A.adjoint)):
            result = method(image)
            same = array_namespace(image) is array_namespace(result) and image.dtype == result.dtype
            if not (same and device(image) == device(result)):
                detail = f"{image.dtype} on {device(image)} became {result.dtype} on {device(result)}"
                return Law("dtype and device", False, None, None, detail)
        return Law("dtype and device", True, None, None, "the output has namespace, dtype and device of the input")

    def gradient(self) -> Law:
        if not is_torch_array(self.x()):
            return Law("gradient", None, None, None, "only torch has gradients; build it from tensors to test them")
        import torch

        image = self.x().requires_grad_(True)
        with torch.enable_grad():
            y = self.A.forward(image)
            if not y.requires_grad:
                return Law("gradient", False, None, None, "the output does not require a gradient: the graph ends")
            (gradient,) = torch.autograd.grad((y * self.u()).sum(), image)
        gap = _relative(gradient, self.A.adjoint(self.u()).detach())
        return self.bounded("gradient", gap, 4, "torch's gradient of <A x, u> in x is A.H u")


def _spread(shape: Shape, count: int, seed: int = 0) -> list[int]:
    """Choose flat indices of an image: its corners and its middle first, then random ones; all if there are few."""
    total = prod(shape)
    if total <= count:
        return list(range(total))
    height, width = (shape[-2], shape[-1]) if len(shape) > 1 else (1, shape[-1])
    last = total - height * width
    middle = last + (height // 2) * width + width // 2
    fixed = [0, middle, last + height * width - 1, last + width - 1, last + (height - 1) * width]
    chosen = dict.fromkeys(fixed[:count])
    for i in np.random.default_rng(seed).permutation(min(total, 2**22))[: 2 * count]:
        if len(chosen) >= count:
            break
        chosen.setdefault(int(i) * (total // min(total, 2**22)))
    return sorted(chosen)
