"""The two aliases that every signature uses."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = ["Array", "BoundaryName", "Shape"]

Array: TypeAlias = Any
"""Any array of the Python array API: NumPy, torch, CuPy, array_api_strict. Shapes stand in the docstrings."""

Shape: TypeAlias = tuple[int, ...]

BoundaryName: TypeAlias = Literal["reflect", "symmetric", "replicate", "circular", "zero"]
