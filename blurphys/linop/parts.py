"""An operator taken apart into a plan and its arrays, and put together again with other arrays in their places."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from ..optics.bank import PSFBank
from ..types import Array
from .base import LinearOperator

__all__ = ["Plan", "put_together", "take_apart"]


@dataclass(frozen=True)
class Plan:
    """How an operator is made, without its arrays: small, and picklable.

    Attributes
    ----------
    root : object
        The operator, records in the places of its operators, banks and arrays.
    names : mapping of str to str
        Place of an array to its name.
    closed : bool
        Whether an operator in it has no named fields, so that its arrays stay inside.
    """

    root: Any
    names: Mapping[str, str]
    closed: bool


@dataclass(frozen=True)
class _Place:
    path: str


@dataclass(frozen=True, eq=False)
class _Operator:
    kind: type[LinearOperator]
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, eq=False)
class _Bank:
    radii: tuple[float, ...]
    psfs: tuple[tuple[str | float, _Place], ...]


def take_apart(A: LinearOperator) -> tuple[Plan, dict[str, Array]]:
    """Return the plan of an operator and its arrays by name.

    Parameters
    ----------
    A : LinearOperator
        Of any kind that is a dataclass, as all of this package are; one that is not stays whole in the plan.

    Returns
    -------
    plan : Plan
    arrays : dict of str to array
        The very arrays of A, each once, however often it occurs. They are called like the fields (``beta``,
        ``weights``) and the kernels of a `PSFBank` ``psfs``, or ``psfs_left`` and so on where it has several views;
        with the way there in front where a name occurs twice (``left_weights`` in a product). The design data of a
        bank is brought to where A lives, the views in use only.
    """
    walk = _Walk()
    root = walk.operator(A, "")
    short = Counter(name for name, _ in walk.found.values())
    names = {path: name if short[name] == 1 else path for path, (name, _) in walk.found.items()}
    return Plan(root, names, walk.closed), {names[path]: array for path, (_, array) in walk.found.items()}


def put_together(plan: Plan, arrays: Mapping[str, Array]) -> LinearOperator:
    """Make the operator of a plan with these arrays in their places; the constructors check that they fit."""
    made: dict[int, Any] = {}  # what was one object becomes one

    def make(node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(make(item) for item in node)
        if isinstance(node, _Place):
            return arrays[plan.names[node.path]]
        if id(node) in made:
            return made[id(node)]
        if isinstance(node, _Operator):
            made[id(node)] = node.kind(**{name: make(value) for name, value in node.fields})
        elif isinstance(node, _Bank):
            psfs: dict[Any, Array] = {view: make(place) for view, place in node.psfs}
            made[id(node)] = PSFBank(psfs=psfs, radii=node.radii)
        return made.get(id(node), node)

    found: LinearOperator = make(plan.root)
    return found


class _Walk:
    """A way through an operator that meets every object once."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, Array]] = {}  # path to name and array
        self.done: dict[Hashable, Any] = {}
        self.closed = False

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self.done:
            self.done[key] = make()
        return self.done[key]

    def operator(self, A: LinearOperator, path: str) -> Any:
        if not dataclasses.is_dataclass(A):
            self.closed = True
            return A
        given = [field.name for field in dataclasses.fields(A) if field.init]
        return self.once(
            id(A), lambda: _Operator(type(A), tuple((n, self.value(getattr(A, n), n, path, A)) for n in given))
        )

    def value(self, value: Any, name: str, path: str, owner: LinearOperator) -> Any:
        if isinstance(value, tuple):
            return tuple(self.value(item, f"{name}_{i}", path, owner) for i, item in enumerate(value))
        if isinstance(value, LinearOperator):
            return self.operator(value, path if name == "operator" else f"{path}{name}_")
        if isinstance(value, PSFBank):
            return self.bank(value, path if name == "bank" else f"{path}{name}_", owner)
        return self.array(value, name, path) if is_array_api_obj(value) else value

    def array(self, array: Array, name: str, path: str) -> _Place:
        def add() -> _Place:
            self.found[path + name] = name, array
            return _Place(path + name)

        place: _Place = self.once(id(array), add)
        return place

    def bank(self, bank: PSFBank, path: str, owner: LinearOperator) -> Any:
        like = owner.like
        if not bank.fixed or like is None:
            return self.once(id(bank), lambda: self.levels(bank, bank.given, path))
        views = getattr(owner, "views", ("combined",))
        xp, where = array_namespace(like), {"dtype": like.dtype, "device": device(like)}

        def convert() -> _Bank:
            return self.levels(bank, {view: xp.asarray(np.array(bank.psfs(view)), **where) for view in views}, path)

        return self.once((id(bank), views, str(where)), convert)

    def levels(self, bank: PSFBank, psfs: Mapping[Any, Array], path: str) -> _Bank:
        def name(view: Any) -> str:
            if len(psfs) == 1:
                return "psfs"
            return f"psfs_{view}" if isinstance(view, str) else f"psfs_view{list(psfs).index(view)}"

        return _Bank(bank.nodes, tuple((view, self.array(psf, name(view), path)) for view, psf in psfs.items()))
