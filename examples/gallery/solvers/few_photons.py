"""
Few photons
===========

With some hundred photons a pixel the noise is Poisson's, and light is not negative. Richardson-Lucy maximises that
likelihood; like other iterations it fits the noise in the end, unless it is stopped or has a prior.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = data.camera()[100:196, 170:298][None] / 255.0
A = bp.Convolution(bp.psf.disk(2.0), shape=x.shape)
photons = 300
y = np.random.default_rng(0).poisson(photons * A(x)) / photons
runs = {k: solvers.richardson_lucy(A, y, max_iterations=k, tol=1e-12).x for k in (10, 100)}
smooth = solvers.richardson_lucy(A, y, max_iterations=100, tv_strength=0.01).x


def psnr(image):
    return -10 * np.log10(np.mean((image - x) ** 2))


pictures = {"recorded": y, "10 steps": runs[10], "100 steps": runs[100], "100 steps, TV": smooth}
bp.plot.before_after(*pictures.values(), labels=[f"{name}, {psnr(z):.1f} dB" for name, z in pictures.items()])
