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

from .anderson import AndersonState, anderson_init, anderson_step
from .bicgstab import BiCGSTABState, bicgstab, bicgstab_init, bicgstab_step
from .cg import CGState, cg, cg_init, cg_restart, cg_step
from .cgls import CGLSState, cgls, cgls_init, cgls_step
from .chebyshev import ChebyshevState, chebyshev_init, chebyshev_step
from .fixed_point import FixedPointState, fixed_point, fixed_point_init, fixed_point_step
from .forecast import ConvergenceWarning
from .gmres import GMRESState, gmres, gmres_init, gmres_step
from .hqs import HQSState, hqs, hqs_init, hqs_step
from .landweber import LandweberState, landweber, landweber_init, landweber_step
from .lsqr import LSQRState, lsqr, lsqr_init, lsqr_step
from .neumann import NeumannState, neumann, neumann_init, neumann_step
from .preconditioners import diagonal, local_fourier
from .prox import TVState, tv, tv_image, tv_init, tv_step
from .solution import ConvergenceError, Solution, Status

__all__ = [
    "AndersonState",
    "BiCGSTABState",
    "CGLSState",
    "CGState",
    "ChebyshevState",
    "ConvergenceError",
    "ConvergenceWarning",
    "FixedPointState",
    "GMRESState",
    "HQSState",
    "LSQRState",
    "LandweberState",
    "NeumannState",
    "Solution",
    "Status",
    "TVState",
    "anderson_init",
    "anderson_step",
    "bicgstab",
    "bicgstab_init",
    "bicgstab_step",
    "cg",
    "cg_init",
    "cg_restart",
    "cg_step",
    "cgls",
    "cgls_init",
    "cgls_step",
    "chebyshev_init",
    "chebyshev_step",
    "diagonal",
    "fixed_point",
    "fixed_point_init",
    "fixed_point_step",
    "gmres",
    "gmres_init",
    "gmres_step",
    "hqs",
    "hqs_init",
    "hqs_step",
    "landweber",
    "landweber_init",
    "landweber_step",
    "local_fourier",
    "lsqr",
    "lsqr_init",
    "lsqr_step",
    "neumann",
    "neumann_init",
    "neumann_step",
    "tv",
    "tv_image",
    "tv_init",
    "tv_step",
]
