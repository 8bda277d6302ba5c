"""An operator in another precision or on another device."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_cupy_array, is_torch_array, to_device

from ..files.stored import is_stored
from ..optics.bank import PSFBank
from ..types import Array
from .base import LinearOperator

__all__ = ["convert"]

_DTYPES = ("float32", "float64")


def convert(A: LinearOperator, targets: tuple[Any, ...], dtype: Any, target: Any) -> LinearOperator:
    """Return `A` with its arrays in another dtype or on another device; see `LinearOperator.to`."""
    owner = f"{type(A).__name__}.to"
    for value in targets:
        if _dtype_name(value) is not None:
            dtype = _set_once(owner, "dtype", dtype, value)
        elif is_array_api_obj(value):
            dtype, target = (
                _set_once(owner, "dtype", dtype, value.dtype),
                _set_once(owner, "device", target, device(value)),
            )
        else:
            target = _set_once(owner, "device", target, value)
    return _Conversion(owner, None if dtype is None else _float_name(owner, dtype), target).operator(A)


def _set_once(owner: str, name: str, given: Any, value: Any) -> Any:
    if given is not None:
        raise TypeError(f"{owner}: expected one {name}, got {given!r} and {value!r}")
    return value


def _dtype_name(value: Any) -> str | None:
    """Return the name of a dtype of any namespace, or given by name; None for anything else, which may be a device."""
    if isinstance(value, (str, type, np.dtype)):
        try:
            return str(np.dtype(value).name)
        except TypeError:  # not a dtype of NumPy: "cuda", "bfloat16"
            return None
    return str(value).split(".")[-1] if type(value).__name__ in ("dtype", "DType") else None


def _float_name(owner: str, dtype: Any) -> str:
    name = _dtype_name(dtype)
    if name not in _DTYPES:
        raise TypeError(f"{owner}: expected float32 or float64, the dtypes of operators, got {name or dtype}")
    return name


class _Conversion:
    """One conversion of an operator and all objects in it; objects that were shared stay shared."""

    def __init__(self, owner: str, dtype: str | None, target: Any) -> None:
        self.owner, self.dtype, self.target = owner, dtype, target
        self.done: dict[int, tuple[Any, Any]] = {}

    def operator(self, A: LinearOperator) -> LinearOperator:
        if not dataclasses.is_dataclass(A):
            held = [*getattr(A, "__dict__", {}).values(), *([] if A.like is None else [A.like])]
            if all(self.value(value) is value for value in held):
                return A
            raise TypeError(
                f"{self.owner}: {type(A).__name__} has no named fields that could be converted; make it a "
                f"dataclass, or build another one from converted arrays"
            )
        fields = {f.name: getattr(A, f.name) for f in dataclasses.fields(A) if f.init}
        changes = {name: new for name, value in fields.items() if (new := self.value(value)) is not value}
        return dataclasses.replace(A, **changes) if changes else A

    def value(self, value: Any) -> Any:
        """Convert the value of a field; return the same object if nothing changes."""
        if id(value) not in self.done:
            self.done[id(value)] = (value, self._value(value))  # a reference to `value`, so that its id stays unique
        return self.done[id(value)][1]

    def _value(self, value: Any) -> Any:
        if isinstance(value, LinearOperator):
            return self.operator(value)
        if isinstance(value, PSFBank):
            return self.bank(value)
        if type(value) in (tuple, list):
            new = [self.value(v) for v in value]
            return type(value)(new) if any(a is not b for a, b in zip(new, value, strict=True)) else value
        if type(value) is dict:
            named = {key: self.value(v) for key, v in value.items()}
            return named if any(named[key] is not v for key, v in value.items()) else value
        if is_stored(value):
            if self.dtype in (None, value.dtype.name) and self.target in (None, "cpu"):
                return value
            raise TypeError(
                f"{self.owner}: expected maps in memory, got an HDF5 dataset; A.crop(rows, cols) reads a part of it"
            )
        return self.array(value) if is_array_api_obj(value) else value

    def array(self, x: Array) -> Array:
        xp = array_namespace(x)
        dtype = x.dtype
        if self.dtype is not None and x.dtype in (xp.float32, xp.float64):
            dtype = getattr(xp, self.dtype)
        if is_torch_array(x):
            return x.to(device=self.target, dtype=dtype)  # x itself if nothing changes
        x = x if dtype == x.dtype else xp.astype(x, dtype)
        if self.target is None or self.target == device(x):
            return x
        target = device(x).__class__(self.target) if is_cupy_array(x) and isinstance(self.target, int) else self.target
        try:
            return to_device(x, target)
        except (ValueError, TypeError, AttributeError):
            raise ValueError(
                f"{self.owner}: expected a device of {xp.__name__.split('.')[-1]}, the namespace of the operator, got "
                f"{self.target!r}; build it from arrays on that device"
            ) from None

    def bank(self, bank: PSFBank) -> PSFBank:
        """Convert a bank of tensors, which may be learned; fixed kernels are converted when they are used."""
        if bank.fixed:
            return bank
        given = {view: bank.psfs(view) for view in bank._psfs}
        new = {view: self.value(psfs) for view, psfs in given.items()}
        return bank if all(new[view] is given[view] for view in given) else PSFBank(psfs=new, radii=bank.radii.tolist())
