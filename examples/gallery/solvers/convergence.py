"""
Does the iteration converge?
============================

x <- x + (y - A x) inverts a blur if all eigenvalues of I - A lie inside the unit circle. For a wide disk some do not:
where the MTF is negative the iteration grows. `bp.certificate` says so beforehand.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = data.camera()[100:164, 180:260][None] / 255.0
A = bp.Convolution(bp.psf.disk(2.5), shape=x.shape, boundary="circular")
certificate = bp.certificate(A)
print(certificate.verdict)
bp.plot.ritz_values(certificate)

# %%
# What happens, and two methods that do converge:
y = A(x)
runs = {
    "fixed point": solvers.fixed_point(A, y, max_iterations=40),
    "CGLS": solvers.cgls(A, y, max_iterations=40, tol=1e-8),
    "GMRES": solvers.gmres(A, y, max_iterations=40, tol=1e-8),
}
for name, run in runs.items():
    print(f"{name}: {run.status.name}, error {np.abs(run.x - x).mean():.4f}")
bp.plot.residuals(*runs.values(), labels=tuple(runs))
