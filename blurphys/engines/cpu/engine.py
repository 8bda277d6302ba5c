"""Registers every primitive of the CPU engine; importing it compiles nothing.

The kernels release the GIL and run on strips of rows in a thread pool (`engines.threads`). They are compiled for
float32 and float64 on first use, and kept on disk (`common.cache`).
"""

from . import layered
from .gaussian import gradients as gaussian_gradients
from .gaussian import mixture as gaussian_mixture
from .psf import interpolate
from .psf import mixture as psf_mixture
from .recursive import mixture as recursive_mixture

__all__ = ["gaussian_gradients", "gaussian_mixture", "interpolate", "layered", "psf_mixture", "recursive_mixture"]
