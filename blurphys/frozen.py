"""Immutable objects with derived fields, and caches of arrays that work under every mode of torch.

A frozen dataclass computes its derived fields in `__post_init__` with `freeze`; no method changes it afterwards. Arrays
that several objects share are computed once, in a `Memo`. Both store plain tensors only (`make_plain`): a tensor made
under `torch.inference_mode` cannot be saved for a backward pass, one made inside a `torch.func` transform is invalid
after it, and one made while `torch.compile` traces has no values, so that an object that stored it would fail later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar, final

__all__ = ["Memo", "make_plain", "freeze", "symbolic", "transformed", "write_count"]

Value = TypeVar("Value")


def freeze(record: object, /, **fields: Any) -> None:
    """Set fields of a frozen dataclass during its construction, as in `__post_init__`."""
    for name, value in fields.items():
        object.__setattr__(record, name, value)


def symbolic() -> bool:
    """Whether `torch.compile` traces this code rather than running it: then nothing computed here may be cached."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_dynamo_compiling())


def transformed(x: Any) -> bool:
    """Whether `x` is a tensor inside a `torch.func` transform or forward-mode differentiation."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return True
    from torch.autograd import forward_ad

    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def write_count(x: Any) -> int | None:
    """Return how often a tensor has been written to in place; None for arrays that do not count writes."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor) or x.is_inference():
        return None
    return int(x._version)


def make_plain(make: Callable[[], Value]) -> Value:
    """Return ``make()`` with plain tensors, in every mode and transform of torch; `make` must not use any itself."""
    torch = sys.modules.get("torch")
    if torch is None or symbolic():
        return make()
    with torch.inference_mode(False), torch._C._DisableFuncTorch(), torch.no_grad():
        return make()


def _is_plain(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return True
    return type(value) is torch.Tensor and not (value.is_inference() or value.requires_grad or transformed(value))


@final
class Memo(Generic[Value]):
    """A cache of arrays, computed once for each key and then shared; they must not be written to.

    It is safe for threads: all get the same value for a key, though it may be computed more than once at first. Only
    plain arrays are stored. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Value] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._made

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, computed by `make` if there is none yet."""
        if key in self._made:
            return self._made[key]
        if "torch" not in sys.modules:
            return self._add(key, make)
        from .engines.torch_ops.traced import first_use

        return first_use(self._add, key, make)

    def _add(self, key: Hashable, make: Callable[[], Value]) -> Value:
        value = make_plain(make)
        return self._made.setdefault(key, value) if _is_plain(value) else value

    def __getstate__(self) -> dict[str, Any]:
        return {"_made": {}}
