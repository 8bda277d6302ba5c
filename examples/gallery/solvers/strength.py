"""
How strong should the prior be?
===============================

Too weak leaves noise, too strong removes texture. `strength="auto"` takes the number from the noise, the image and
the residual of a trial solution, without knowing the truth, which is used here to judge it.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = data.camera()[100:196, 170:298][None] / 255.0
A = bp.Convolution(bp.psf.disk(2.5), shape=x.shape)
y = A(x) + 0.01 * np.random.default_rng(0).standard_normal(x.shape)


def psnr(image):
    return -10 * np.log10(np.mean((image - x) ** 2))


grid = np.geomspace(1e-5, 3e-2, 8)
scores = [psnr(solvers.hqs(A, y, prox=solvers.tv, strength=float(s)).x) for s in grid]
chosen = solvers.choose_strength(A, y, prox=solvers.tv)
auto = solvers.hqs(A, y, prox=solvers.tv, strength="auto")

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.semilogx(grid, scores, "o-", label="a grid")
ax.plot(chosen.value, psnr(auto.x), "s", color="C3", label='"auto"')
ax.axhline(psnr(y), color="0.5", linestyle="--", label="blurred")
ax.set(xlabel="strength", ylabel="PSNR, dB")
ax.legend()
plt.show()
