"""Our operators in other packages, and theirs in ours. Nothing foreign is imported until it is asked for."""

from .deepinv_physics import as_deepinv
from .foreign import Foreign, wrap
from .matrices import as_pylops, as_scipy

__all__ = ["Foreign", "as_deepinv", "as_pylops", "as_scipy", "wrap"]
