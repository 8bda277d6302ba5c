"""
Stop at the noise
=================

Without a prior the first iterations restore the picture and later ones fit the noise. With `noise_level=` an
iteration stops once the residual is as small as the noise, and says NOISE_LEVEL.
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


scores = []
solvers.cgls(A, y, max_iterations=40, tol=1e-12, on_step=lambda k, state: scores.append(psnr(state.x)))
stopped = solvers.cgls(A, y, noise_level=0.01)
print(stopped)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(range(1, len(scores) + 1), scores, label="CGLS")
ax.plot(stopped.iterations, psnr(stopped.x), "s", color="C3", label="stopped at the noise")
ax.axhline(psnr(y), color="0.5", linestyle="--", label="blurred")
ax.set(xlabel="step", ylabel="PSNR, dB")
ax.legend()
plt.show()
