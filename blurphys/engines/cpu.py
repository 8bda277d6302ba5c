"""The CPU engine: primitives for NumPy arrays, compiled by Numba, one file for each family.

The kernels release the GIL and run on strips of rows in a thread pool (`threads.py`). They are compiled for float32 and
float64 on first use and cached on disk. Importing this module registers them.
"""

from . import cpu_gaussian, cpu_gaussian_gradients, cpu_interpolate, cpu_layered, cpu_psf, cpu_recursive

__all__ = ["cpu_gaussian", "cpu_gaussian_gradients", "cpu_interpolate", "cpu_layered", "cpu_psf", "cpu_recursive"]
