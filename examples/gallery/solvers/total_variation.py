"""
Least squares, with and without a prior
=======================================

With noise the least-squares solution amplifies what the blur has damped. Total variation prefers few edges;
half-quadratic splitting solves 1/2 ||A x - y||^2 + strength TV(x).
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = bp.colour.srgb_to_linear(data.astronaut()[40:168, 150:310].transpose(2, 0, 1) / 255)
A = bp.Convolution(bp.psf.disk(3.0), shape=x.shape)
y = A(x) + 0.005 * np.random.default_rng(0).standard_normal(x.shape)
plain = solvers.cgls(A, y, max_iterations=40)
prior = solvers.hqs(A, y, prox=solvers.tv)


def psnr(image):
    return -10 * np.log10(np.mean((image - x) ** 2))


labels = [f"{name}, {psnr(z):.1f} dB" for name, z in (("blurred", y), ("least squares", plain.x), ("with TV", prior.x))]
bp.plot.before_after(y, plain.x.clip(0, 1), prior.x.clip(0, 1), labels=labels)

# %%
# What is still wrong:
bp.plot.error_map(prior.x, x, srgb=True)
