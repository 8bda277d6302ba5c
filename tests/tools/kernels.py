"""Compile the kernels of the CPU engine before the tests, with one process for each core: `make kernels`.

Left to the tests, every worker of pytest would compile most of them for itself. What is kept already costs nothing.
"""

from __future__ import annotations

import os
from multiprocessing import get_context

ROWS = (  # of `tests.cases`, those first that take longest; a kernel that none of them has is compiled by the tests
    "psf_stack", "gkm_mix", "layered_views", "rkr_stagewise_mix", "rkr_mix", "symmetric_mix", "scatter",
    "field_defocus_views", "dual_pixel_three_views", "defocus_blur", "pixel_psf", "gkm", "rkr", "rkr_stagewise",
    "layered_per_colour", "psf_stack_per_colour",
)  # fmt: skip


def use(row: str, dtype: str) -> None:
    """Apply one operator in both directions and differentiate it; NumPy has a kernel of its own for layers."""
    from tests.cases import CASES
    from tests.strategies import Setup

    s = Setup(dtype=dtype)
    built = CASES[row](s)
    built.A(s.array(s.image(built.in_shape, built.lead)))
    s = s.replace(namespace="torch")
    built = CASES[row](s)
    x = s.array(s.image(built.in_shape, built.lead)).requires_grad_()
    built.A.adjoint(s.array(s.image(built.out_shape, built.lead)))
    maps = getattr(built.A, built.A._maps).clone().requires_grad_()
    built.A.replace(**{built.A._maps: maps})(x).sum().backward()


def main() -> None:
    """Compile them all."""
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    tasks = [(row, dtype) for row in ROWS for dtype in ("float32", "float64")]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.starmap(use, tasks, chunksize=1)


if __name__ == "__main__":
    main()
