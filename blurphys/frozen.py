"""Immutable objects: how they come by what they were not given.

A frozen record brings its fields into their normal form while it is made (`freeze`), and holds everything that its
methods need from then on: no method adds to it. What several objects share is made once in a `Memo`. In both only
plain arrays are kept (`plainly`): a tensor made under `torch.inference_mode` cannot be saved for a backward pass, one
made inside a `torch.func` transform dies with it, and one made while `torch.compile` traces has no values, so an object
that kept such a tensor would fail later and elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar, final

__all__ = ["Memo", "plainly", "freeze", "symbolic", "transformed", "writes"]

Value = TypeVar("Value")


def freeze(record: object, /, **fields: Any) -> None:
    """Give fields of a frozen dataclass their final values, before anybody else sees it: in `__post_init__`, say."""
    for name, value in fields.items():
        object.__setattr__(record, name, value)


def symbolic() -> bool:
    """Whether this code is read by `torch.compile` rather than run: then nothing made here can be kept."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_dynamo_compiling())


def transformed(x: Any) -> bool:
    """Whether `x` is a tensor as a `torch.func` transform or forward-mode differentiation sees it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return True
    from torch.autograd import forward_ad

    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def writes(x: Any) -> int | None:
    """How often a tensor has been written to in place; None for what does not count it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor) or x.is_inference():
        return None
    return int(x._version)


def plainly(make: Callable[[], Value]) -> Value:
    """Return ``make()``, its tensors plain whatever mode or transform of torch is in force: it must use none itself."""
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
    """Arrays that are made once for each key and then shared, read-only by agreement.

    Threads may ask at once: each key has one value for all of them, though it may be made more than once at first.
    Only plain arrays are kept. What is kept can be made again, so copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Value] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._made

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made by `make` where there is none yet."""
        if key in self._made:
            return self._made[key]
        if "torch" not in sys.modules:
            return self._add(key, make)
        from .engines.torch_ops.traced import first_use

        return first_use(self._add, key, make)

    def _add(self, key: Hashable, make: Callable[[], Value]) -> Value:
        value = plainly(make)
        return self._made.setdefault(key, value) if _is_plain(value) else value

    def __getstate__(self) -> dict[str, Any]:
        return {"_made": {}}
