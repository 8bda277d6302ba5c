"""
The noise of a photograph
=========================

Photon noise grows with the signal, read noise does not: variance = shot x signal + read. Both are estimated from one
photograph, out of focus or not; where texture is in focus everywhere, it counts as noise.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = bp.colour.srgb_to_linear(data.astronaut().transpose(2, 0, 1) / 255)
shot, read = 1e-3, 1e-5
blurred = bp.Convolution(bp.psf.disk(3.0), shape=x.shape)(x)
y = blurred + np.sqrt(shot * blurred + read) * np.random.default_rng(0).standard_normal(x.shape)
curve = solvers.estimation.noise_curve(y)
print(curve)

signal = np.linspace(0, 1, 50)
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(signal, np.sqrt(shot * signal + read), label="truth")
ax.plot(signal, np.sqrt(curve.shot * signal + curve.read), "--", label="estimate")
ax.axhline(solvers.estimation.noise_level(y), color="0.5", label="noise_level, one number")
ax.set(xlabel="signal, linear light", ylabel="standard deviation")
ax.legend()
plt.show()
