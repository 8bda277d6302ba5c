"""Conversion of operators to other packages, and from them. Those packages are imported on first use."""

from .deepinv_physics import as_deepinv
from .foreign import Foreign, wrap
from .matrices import as_pylops, as_scipy

__all__ = ["Foreign", "as_deepinv", "as_pylops", "as_scipy", "wrap"]
