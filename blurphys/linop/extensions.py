"""Functions that methods of `LinearOperator` call although they are built on the class.

``A @ B`` makes a `Composed`, which is a `LinearOperator`; ``A.as_scipy()`` needs an adapter, ``A.crop`` the windows.
Their modules import the class, so the class cannot import them. It calls them through `extensions`, which
`blurphys/methods.py` fills in when the package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..types import Array

if TYPE_CHECKING:
    from .algebra import Composed, Scaled, Sum
    from .base import LinearOperator

__all__ = ["Extensions", "extensions"]


class Extensions:
    """One function for each method of `LinearOperator` that is built on the class; see its module for what it does."""

    adjoint: Callable[[LinearOperator], LinearOperator]
    compose: Callable[[LinearOperator, LinearOperator], Composed]
    add: Callable[[LinearOperator, LinearOperator], Sum]
    scale: Callable[[float, LinearOperator], Scaled]
    crop: Callable[[LinearOperator, slice, slice], LinearOperator]
    convert: Callable[[LinearOperator, tuple[Any, ...], Any, Any], LinearOperator]
    as_scipy: Callable[[LinearOperator], Any]
    as_pylops: Callable[[LinearOperator], Any]
    as_deepinv: Callable[[LinearOperator], Any]
    memory_advice: Callable[[LinearOperator, Array, str], AbstractContextManager[None]]


extensions = Extensions()
