"""What `torch.compile` must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch

__all__ = ["first_use"]

REASON = (
    "a PSFBank is converted on its first use, which one graph cannot do: build one operator with it outside of the "
    "compiled function"
)

_disable: Any = torch.compiler.disable
if "reason" in signature(torch.compiler.disable).parameters:  # not in the oldest torch that is supported
    _disable = partial(torch.compiler.disable, reason=REASON)


@_disable
def first_use(add: Callable[..., Any], *arguments: Any) -> Any:
    """Call `add`, between two graphs if need be."""
    return add(*arguments)
