"""
Pixels that were not observed
=============================

A dead pixel or a scratch says nothing about the light. `mask=` leaves such pixels out of the data, and their
neighbours, which the blur has mixed with them, fill them. Believed, each of them becomes a ring.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = bp.colour.srgb_to_linear(data.astronaut()[40:136, 150:278].transpose(2, 0, 1) / 255)
A = bp.Convolution(bp.psf.disk(2.5), shape=x.shape)
rng = np.random.default_rng(0)
y = A(x) + 0.003 * rng.standard_normal(x.shape)
dead = rng.random((1, *x.shape[1:])) < 0.03
dead[:, 60:62] = True
recorded = np.where(dead, 0.0, y)

believed = solvers.hqs(A, recorded, prox=solvers.tv, strength=3e-4).x
masked = solvers.hqs(A, recorded, prox=solvers.tv, strength=3e-4, mask=~dead).x
bp.plot.before_after(recorded, believed, masked, labels=("recorded", "all pixels believed", "with a mask"))
