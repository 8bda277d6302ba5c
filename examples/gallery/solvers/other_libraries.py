"""
Our operator in the solvers of others
=====================================

`A.as_scipy()` and `A.as_pylops()` give the operator to other libraries. SciPy's LSQR on it and ours take the same
path; the times are those of this run.
"""

import time

import numpy as np
from scipy.sparse.linalg import lsqr
from skimage import data

import blurphys as bp
import solvers

x = data.camera()[60:188, 130:290][None] / 255.0
radius = np.broadcast_to(np.linspace(-4, 4, 160), (128, 160)).copy()
A = bp.DefocusBlur(radius, bank=bp.PSFBank(bp.Pupil.disk(), max_radius=4), channels=1)
y = A(x)
A.H(y)  # compiled now, not during the measurement

start = time.perf_counter()
ours = solvers.lsqr(A, y, x0=np.zeros_like(y), max_iterations=25, tol=1e-12)
between = time.perf_counter()
theirs = lsqr(A.as_scipy(), y.ravel(), iter_lim=25, atol=0, btol=0)[0].reshape(y.shape)
end = time.perf_counter()
print(f"ours {between - start:.2f} s, SciPy's {end - between:.2f} s")
print(f"largest difference {np.abs(ours.x - theirs).max():.1e}")
bp.plot.before_after(y, ours.x, theirs, labels=("blurred", "solvers.lsqr", "scipy lsqr"))
