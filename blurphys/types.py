"""Type aliases for signatures: arrays, shapes, names of boundaries."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = ["Array", "BoundaryName", "Shape"]

Array: TypeAlias = Any
"""Any array of the Python array API: NumPy, torch, CuPy, array_api_strict. Docstrings give the shapes."""

Shape: TypeAlias = tuple[int, ...]

BoundaryName: TypeAlias = Literal["reflect", "symmetric", "replicate", "circular", "zero"]
