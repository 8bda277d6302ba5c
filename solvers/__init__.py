"""Solvers: a blur operator A and an observed image y in, a `Solution` with an honest status out.

Every solver takes `A` and `y` of shape (..., C, H, W), of any array namespace and any batch, and returns a `Solution`:
the image, a `Status` whose value says what to do next, and the residual after every step. Bad arguments raise
ValueError (TypeError for arrays of the wrong kind); what happens on the way is a status.

| question | solver |
|---|---|
| A square, close to the identity, no adjoint at hand | `fixed_point`, `neumann` |
| A symmetric positive definite | `cg` |
| any A with an adjoint, little noise | `cgls` |
| any A with an adjoint, noise, a prior (`tv`, a denoiser) | `hqs` |

Beside each solver stand its state, `..._init` and `..._step`: pure functions of arrays without transfers to the host,
from which networks are unrolled.
"""

from .cg import CGState, cg, cg_init, cg_restart, cg_step
from .cgls import CGLSState, cgls, cgls_init, cgls_step
from .fixed_point import FixedPointState, fixed_point, fixed_point_init, fixed_point_step
from .forecast import ConvergenceWarning
from .hqs import HQSState, hqs, hqs_init, hqs_step
from .neumann import NeumannState, neumann, neumann_init, neumann_step
from .prox import TVState, tv, tv_image, tv_init, tv_step
from .solution import ConvergenceError, Solution, Status

__all__ = [
    "CGLSState",
    "CGState",
    "ConvergenceError",
    "ConvergenceWarning",
    "FixedPointState",
    "HQSState",
    "NeumannState",
    "Solution",
    "Status",
    "TVState",
    "cg",
    "cg_init",
    "cg_restart",
    "cg_step",
    "cgls",
    "cgls_init",
    "cgls_step",
    "fixed_point",
    "fixed_point_init",
    "fixed_point_step",
    "hqs",
    "hqs_init",
    "hqs_step",
    "neumann",
    "neumann_init",
    "neumann_step",
    "tv",
    "tv_image",
    "tv_init",
    "tv_step",
]
