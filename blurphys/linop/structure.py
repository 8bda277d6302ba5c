"""Flatten an operator into its structure and its arrays, and rebuild it from the structure and other arrays."""

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

__all__ = ["Structure", "unflatten", "flatten"]


@dataclass(frozen=True)
class Structure:
    """An operator without its arrays: small and picklable.

    Attributes
    ----------
    root : object
        The operator as a tree of records for operators, banks and arrays.
    names : mapping of str to str
        Path of an array in the tree to its name.
    closed : bool
        Whether an operator in it is not a dataclass, so that its arrays stay inside.
    """

    root: Any
    names: Mapping[str, str]
    closed: bool


@dataclass(frozen=True)
class _Slot:
    path: str


@dataclass(frozen=True, eq=False)
class _Operator:
    kind: type[LinearOperator]
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, eq=False)
class _Bank:
    radii: tuple[float, ...]
    psfs: tuple[tuple[str | float, _Slot], ...]


def flatten(A: LinearOperator) -> tuple[Structure, dict[str, Array]]:
    """Return the structure of an operator and its arrays by name.

    Parameters
    ----------
    A : LinearOperator
        A dataclass, as all of this package are; one that is not is kept as it is, with its arrays.

    Returns
    -------
    structure : Structure
    arrays : dict of str to array
        The arrays of A themselves, each once even if it occurs several times, under the names of their fields
        (``beta``, ``weights``). The kernels of a `PSFBank` are ``psfs``, or ``psfs_left`` and so on if it has several
        views. A name that occurs twice is prefixed with its path (``left_weights`` in a product). Fixed kernels of a
        bank are converted to the namespace, dtype and device of A, only for the views in use.
    """
    walk = _Walk()
    root = walk.operator(A, "")
    short = Counter(name for name, _ in walk.found.values())
    names = {path: name if short[name] == 1 else path for path, (name, _) in walk.found.items()}
    return Structure(root, names, walk.closed), {names[path]: array for path, (_, array) in walk.found.items()}


def unflatten(structure: Structure, arrays: Mapping[str, Array]) -> LinearOperator:
    """Build the operator of a structure from other arrays; the constructors check that they fit."""
    made: dict[int, Any] = {}  # by id, so that an object that was shared is shared again

    def make(node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(make(item) for item in node)
        if isinstance(node, _Slot):
            return arrays[structure.names[node.path]]
        if id(node) in made:
            return made[id(node)]
        if isinstance(node, _Operator):
            made[id(node)] = node.kind(**{name: make(value) for name, value in node.fields})
        elif isinstance(node, _Bank):
            psfs: dict[Any, Array] = {view: make(slot) for view, slot in node.psfs}
            made[id(node)] = PSFBank(psfs=psfs, radii=node.radii)
        return made.get(id(node), node)

    found: LinearOperator = make(structure.root)
    return found


class _Walk:
    """A traversal of an operator that visits every object once."""

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

    def array(self, array: Array, name: str, path: str) -> _Slot:
        def add() -> _Slot:
            self.found[path + name] = name, array
            return _Slot(path + name)

        slot: _Slot = self.once(id(array), add)
        return slot

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
