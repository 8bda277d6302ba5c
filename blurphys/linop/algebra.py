"""The operators that ``A.H``, ``A @ B``, ``A + B``, ``2.0 * A`` and `stack` return."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

from array_api_compat import array_namespace

from ..files.stored import Span
from ..inputs import require_same_kind
from ..types import Array, Shape
from .base import LinearOperator

__all__ = ["Adjoint", "Combination", "Composed", "Scaled", "Stacked", "Sum", "stack"]


def _common_like(owner: str, parts: Sequence[LinearOperator]) -> Array | None:
    found = [part.like for part in parts if part.like is not None]
    for other in found[1:]:
        require_same_kind(owner, "every operator", other, "the first one", found[0])
    return found[0] if found else None


def _common_batch(owner: str, parts: Sequence[LinearOperator]) -> Shape:
    batch: Shape = ()
    for part in parts:
        longer, shorter = sorted((batch, part.batch_shape), key=len, reverse=True)
        padded = (1,) * (len(longer) - len(shorter)) + tuple(shorter)
        if any(a != b and 1 not in (a, b) for a, b in zip(longer, padded, strict=True)):
            raise ValueError(f"{owner}: expected maps with the same leading axes, got {batch} and {part.batch_shape}")
        batch = tuple(max(a, b) for a, b in zip(longer, padded, strict=True))
    return batch


def _largest_halo(parts: Sequence[LinearOperator]) -> int | None:
    """The largest halo; None if one is unknown."""
    halos = [part.halo for part in parts]
    return None if None in halos else max(h for h in halos if h is not None)


class Combination(LinearOperator):
    """An operator made of others, its `parts`, from which its namespace, batch, validation and windows follow."""

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        raise NotImplementedError  # abstract

    @property
    def batch_shape(self) -> Shape:
        return _common_batch(type(self).__name__, self.parts)

    @property
    def like(self) -> Array | None:
        return next((part.like for part in self.parts if part.like is not None), None)

    def validate(self) -> Self:
        for part in self.parts:
            part.validate()
        return self

    @property
    def _on_disk(self) -> bool:
        return any(part._on_disk for part in self.parts)

    def _cut(self, rows: Span, cols: Span, done: dict[int, LinearOperator]) -> LinearOperator:
        def cut(value: object) -> object:
            if isinstance(value, tuple):
                return tuple(cut(v) for v in value)
            return value._window(rows, cols, done) if isinstance(value, LinearOperator) else value

        return self._with(**{f.name: cut(getattr(self, f.name)) for f in dataclasses.fields(self)})  # type: ignore[arg-type]

    def _check_parts(self) -> None:
        _common_like(type(self).__name__, self.parts)
        _common_batch(type(self).__name__, self.parts)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Adjoint(Combination):
    """The transpose of an operator, boundary included."""

    operator: LinearOperator

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return (self.operator,)

    @property
    def in_shape(self) -> Shape:
        return self.operator.out_shape

    @property
    def out_shape(self) -> Shape:
        return self.operator.in_shape

    @property
    def halo(self) -> int | None:
        return self.operator.halo

    @property
    def H(self) -> LinearOperator:
        return self.operator

    def _forward(self, x: Array) -> Array:
        return self.operator._adjoint(x)

    def _adjoint(self, y: Array) -> Array:
        return self.operator._forward(y)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Composed(Combination):
    """``A @ B``: B first, then A."""

    left: LinearOperator
    right: LinearOperator

    def __post_init__(self) -> None:
        if self.left.in_shape != self.right.out_shape:
            raise ValueError(
                f"A @ B: expected A to take what B returns, got A.in_shape {self.left.in_shape} and "
                f"B.out_shape {self.right.out_shape}; is the order reversed?"
            )
        self._check_parts()

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return (self.left, self.right)

    @property
    def in_shape(self) -> Shape:
        return self.right.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.left.out_shape

    @property
    def halo(self) -> int | None:
        halos = (self.left.halo, self.right.halo)
        return None if None in halos else sum(h for h in halos if h is not None)

    def _forward(self, x: Array) -> Array:
        return self.left._forward(self.right._forward(x))

    def _adjoint(self, y: Array) -> Array:
        return self.right._adjoint(self.left._adjoint(y))


@final
@dataclass(frozen=True, eq=False, repr=False)
class Sum(Combination):
    """``A + B``."""

    left: LinearOperator
    right: LinearOperator

    def __post_init__(self) -> None:
        a, b = self.left, self.right
        if (a.in_shape, a.out_shape) != (b.in_shape, b.out_shape):
            raise ValueError(
                f"A + B: expected equal shapes, got {a.in_shape} -> {a.out_shape} and {b.in_shape} -> {b.out_shape}"
            )
        self._check_parts()

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return (self.left, self.right)

    @property
    def in_shape(self) -> Shape:
        return self.left.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.left.out_shape

    @property
    def halo(self) -> int | None:
        return _largest_halo(self.parts)

    def _forward(self, x: Array) -> Array:
        return self.left._forward(x) + self.right._forward(x)

    def _adjoint(self, y: Array) -> Array:
        return self.left._adjoint(y) + self.right._adjoint(y)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Scaled(Combination):
    """``factor * A`` with a real factor."""

    factor: float
    operator: LinearOperator

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return (self.operator,)

    @property
    def in_shape(self) -> Shape:
        return self.operator.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.operator.out_shape

    @property
    def halo(self) -> int | None:
        return self.operator.halo

    def _forward(self, x: Array) -> Array:
        return self.factor * self.operator._forward(x)

    def _adjoint(self, y: Array) -> Array:
        return self.factor * self.operator._adjoint(y)

    def _psf_at(self, row: int, col: int) -> Array:
        return self.factor * self.operator._psf_at(row, col)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Stacked(Combination):
    """Operators applied to the same image, their outputs concatenated along the channel axis."""

    operators: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        if not self.operators:
            raise ValueError("stack: expected at least one operator, got none")
        for part in self.operators:
            if not isinstance(part, LinearOperator):
                raise TypeError(f"stack: expected LinearOperators, got {type(part).__name__}")
            if len(part.in_shape) != 3 or len(part.out_shape) != 3:
                raise ValueError(
                    f"stack: expected operators from images (C, H, W) to images, got {part.in_shape} -> "
                    f"{part.out_shape}; outputs are concatenated along the channel axis"
                )
        first = self.operators[0]
        for other in self.operators[1:]:
            if other.in_shape != first.in_shape or other.out_shape[-2:] != first.out_shape[-2:]:
                raise ValueError(
                    f"stack: expected operators that take the same image and return the same H, W, got "
                    f"{first.in_shape} -> {first.out_shape} and {other.in_shape} -> {other.out_shape}"
                )
        self._check_parts()

    @property
    def parts(self) -> tuple[LinearOperator, ...]:
        return self.operators

    @property
    def in_shape(self) -> Shape:
        return self.operators[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return (sum(a.out_shape[0] for a in self.operators), *self.operators[0].out_shape[1:])

    @property
    def halo(self) -> int | None:
        return _largest_halo(self.parts)

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).concat([a._forward(x) for a in self.operators], axis=-3)

    def _adjoint(self, y: Array) -> Array:
        start, total = 0, None
        for a in self.operators:
            part = a._adjoint(y[..., start : start + a.out_shape[0], :, :])
            total = part if total is None else total + part
            start += a.out_shape[0]
        return total


def stack(operators: Sequence[LinearOperator]) -> Stacked:
    """Apply several operators to the same image and concatenate their outputs along the channel axis.

    Parameters
    ----------
    operators : sequence of LinearOperator
        All with the same `in_shape`, and with outputs of the same H and W.

    Returns
    -------
    Stacked
        ``out_shape = (sum of the channels, H, W)``; the adjoint sums the adjoints of the parts.

    Raises
    ------
    ValueError
        If there is no operator or the shapes do not fit.
    TypeError
        If one is not a LinearOperator, or namespaces, dtypes or devices differ.

    Examples
    --------
    >>> import numpy as np, blurphys as bp
    >>> A = bp.stack([bp.Identity((3, 4, 5)), 0.5 * bp.Identity((3, 4, 5))])
    >>> A.out_shape, float(A(np.ones((3, 4, 5)))[5, 0, 0])
    ((6, 4, 5), 0.5)
    """
    return Stacked(tuple(operators))
