"""Solvers: they take a blur operator A and an observed image y, and return a `Solution` with an honest status.

Every solver takes `A` and `y` of shape (..., C, H, W), of any array namespace and any batch, and returns a `Solution`:
the image, a `Status` whose value says what to do next, and the residual after every step. Bad arguments raise
ValueError (TypeError for arrays of the wrong kind); trouble during the iteration is reported as a status.

| question | solver |
|---|---|
| A square, close to the identity, no adjoint at hand | `fixed_point` (plain, Anderson, Chebyshev), `neumann` |
| A square, not symmetric | `gmres`, `bicgstab` |
| A symmetric positive definite | `cg` |
| any A with an adjoint, little noise | `cgls`, `lsqr`, `landweber` |
| any A with an adjoint, noise, a prior (`tv`, `hyper_laplacian`, `l1_wavelet`, a denoiser) | `hqs`, `admm`, `fista` |
| layers that occlude each other (`bp.LayeredDefocus`), including their hidden parts | `layered` |
| a dual-pixel pair or a photograph with its defocus map: the picture in focus, and where to trust it | `all_in_focus` |
| photographs at several focus distances or apertures | `estimation.focal_stack_depth`, `merge_focal_stack` |
| one photograph and an estimated map of its blur: undone where that can be trusted | `restore_photo` |
| few photons, x >= 0 | `richardson_lucy` |
| one inverse kernel for many scales of blur | `inverse_kernel`, `scaled_inverse` |

Each solver comes with its state class and the functions `..._init` and `..._step`: pure functions of arrays without
transfers to the host, from which unrolled networks are built.
"""

from . import estimation
from .core.convergence_warning import ConvergenceWarning
from .core.solution import ConvergenceError, Solution, Status
from .differentiation.differentiate import checkpointed, implicit, implicit_linear, saved_bytes, unrolled
from .inverse_kernels.inverse_kernel import (
    dilated_inverse,
    inverse_kernel,
    nnls_weights,
    scaled_inverse,
    upsampled_inverse,
)
from .iterative.anderson import AndersonState, anderson_init, anderson_step
from .iterative.chebyshev import ChebyshevState, chebyshev_init, chebyshev_step
from .iterative.cross_scale import (
    CrossScaleState,
    cross_scale_init,
    cross_scale_step,
    neumann_cross_scale,
    pyramid,
    upsampled,
)
from .iterative.fixed_point import FixedPointState, fixed_point, fixed_point_init, fixed_point_step
from .iterative.landweber import (
    LandweberState,
    NesterovState,
    landweber,
    landweber_init,
    landweber_step,
    nesterov_init,
    nesterov_step,
)
from .iterative.neumann import NeumannState, neumann, neumann_init, neumann_step
from .iterative.richardson_lucy import (
    RichardsonLucyState,
    richardson_lucy,
    richardson_lucy_init,
    richardson_lucy_step,
)
from .krylov.bicgstab import BiCGSTABState, bicgstab, bicgstab_init, bicgstab_step
from .krylov.cg import CGState, cg, cg_init, cg_restart, cg_step
from .krylov.cgls import CGLSState, cgls, cgls_init, cgls_step
from .krylov.gmres import GMRESState, gmres, gmres_init, gmres_step
from .krylov.lsqr import LSQRState, lsqr, lsqr_init, lsqr_step
from .preconditioners.approximate_inverses import diagonal, local_fourier
from .prox.hyper_laplacian import hyper_laplacian, hyper_laplacian_shrink
from .prox.total_variation import TVState, denoiser, nonnegative, tv, tv_image, tv_init, tv_step
from .prox.wavelet import l1_wavelet, wavelet_analysis, wavelet_synthesis
from .restoration.all_in_focus import AllInFocus, all_in_focus
from .restoration.focal_stack import merge_focal_stack
from .restoration.one_photo import RestoredPhoto, restore_photo
from .splitting.admm import ADMMState, admm, admm_init, admm_step
from .splitting.fista import FISTAState, fista, fista_init, fista_step
from .splitting.hqs import HQSState, hqs, hqs_init, hqs_step
from .splitting.layered import layered
from .splitting.strength import Strength, choose_strength

__all__ = [
    "ADMMState",
    "AllInFocus",
    "AndersonState",
    "BiCGSTABState",
    "CGLSState",
    "CGState",
    "ChebyshevState",
    "ConvergenceError",
    "ConvergenceWarning",
    "CrossScaleState",
    "FISTAState",
    "FixedPointState",
    "GMRESState",
    "HQSState",
    "LSQRState",
    "LandweberState",
    "NesterovState",
    "NeumannState",
    "RestoredPhoto",
    "RichardsonLucyState",
    "Solution",
    "Status",
    "Strength",
    "TVState",
    "admm",
    "admm_init",
    "admm_step",
    "all_in_focus",
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
    "checkpointed",
    "choose_strength",
    "cross_scale_init",
    "cross_scale_step",
    "denoiser",
    "diagonal",
    "dilated_inverse",
    "estimation",
    "fista",
    "fista_init",
    "fista_step",
    "fixed_point",
    "fixed_point_init",
    "fixed_point_step",
    "gmres",
    "gmres_init",
    "gmres_step",
    "hqs",
    "hqs_init",
    "hqs_step",
    "hyper_laplacian",
    "hyper_laplacian_shrink",
    "implicit",
    "implicit_linear",
    "inverse_kernel",
    "l1_wavelet",
    "landweber",
    "landweber_init",
    "landweber_step",
    "layered",
    "local_fourier",
    "lsqr",
    "lsqr_init",
    "lsqr_step",
    "merge_focal_stack",
    "nesterov_init",
    "nesterov_step",
    "neumann",
    "neumann_cross_scale",
    "neumann_init",
    "neumann_step",
    "nnls_weights",
    "nonnegative",
    "pyramid",
    "restore_photo",
    "richardson_lucy",
    "richardson_lucy_init",
    "richardson_lucy_step",
    "saved_bytes",
    "scaled_inverse",
    "tv",
    "tv_image",
    "tv_init",
    "tv_step",
    "unrolled",
    "upsampled",
    "upsampled_inverse",
    "wavelet_analysis",
    "wavelet_synthesis",
]
__dir__ = __all__.copy  # what completion offers
