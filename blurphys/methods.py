"""Register all functions that methods of `LinearOperator` call and that are themselves built on the class."""

from __future__ import annotations

from .adapters import as_deepinv, as_pylops, as_scipy
from .linop.algebra import Adjoint, Composed, Scaled, Sum
from .linop.base import LinearOperator
from .linop.conversion import convert
from .linop.cropping import crop
from .linop.extensions import extensions
from .linop.memory import memory_advice

__all__ = ["LinearOperator"]

extensions.adjoint = Adjoint  # A.H
extensions.compose = Composed  # A @ B
extensions.add = Sum  # A + B
extensions.scale = Scaled  # 2.0 * A
extensions.crop = crop
extensions.convert = convert  # A.to(...)
extensions.as_scipy = as_scipy
extensions.as_pylops = as_pylops
extensions.as_deepinv = as_deepinv
extensions.memory_advice = memory_advice  # around forward and adjoint
