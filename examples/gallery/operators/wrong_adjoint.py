"""
A wrong adjoint, and how to see it
==================================

An adjoint that correlates instead of convolving, or that pads again instead of folding the border back, raises no
error. `bp.check` names the law that is broken; a solver diverges, stalls, or says WRONG_ADJOINT.
"""

import numpy as np

import blurphys as bp
import solvers

psf = np.zeros((9, 9))
psf[4, 4:] = 1 / 5  # a motion to the right
A = bp.Convolution(psf, shape=(1, 40, 60))


class Wrong:
    """Its adjoint blurs in the same direction."""

    in_shape = out_shape = A.in_shape

    def __call__(self, x):
        return A(x)

    def adjoint(self, y):
        return A(y)


print(bp.check(Wrong(), in_shape=A.in_shape))

# %%
x = np.random.default_rng(0).random(A.in_shape)
right = solvers.landweber(A, A(x), max_iterations=60)
wrong = solvers.landweber(Wrong(), A(x), max_iterations=60)
print(wrong.status.name)
bp.plot.residuals(right, wrong, labels=("exact adjoint", "wrong adjoint"))
