"""
Fewer steps with a preconditioner
=================================

Around each tile a slowly changing blur is nearly a convolution, whose inverse is cheap in the Fourier domain.
`solvers.local_fourier` blends these inverses; conjugate gradients then need a fraction of the steps. Each data step
of `solvers.hqs` is such a system.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = data.camera()[60:188, 130:290][None] / 255.0
radius = np.broadcast_to(np.linspace(2, 4, 160), (128, 160)).copy()
A = bp.DefocusBlur(radius, bank=bp.PSFBank(bp.Pupil.disk(), max_radius=4), channels=1)
rho = 3e-3
N = A.H @ A + rho * bp.Identity(A.in_shape)
b = A.H(A(x))
plain = solvers.cg(N, b, tol=1e-6, max_iterations=100)
fast = solvers.cg(N, b, tol=1e-6, max_iterations=100, preconditioner=solvers.local_fourier(A, rho=rho))
bp.plot.residuals(plain, fast, labels=("plain", "preconditioned"))
