"""
Pixels that were not observed
=============================

A clipped highlight or a dead pixel says nothing about the light. `mask=` leaves such pixels out of the data; the blur
of their neighbours fills them.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

x = 1.8 * bp.colour.srgb_to_linear(data.astronaut()[40:136, 150:278].transpose(2, 0, 1) / 255)
A = bp.Convolution(bp.psf.disk(2.5), shape=x.shape)
rng = np.random.default_rng(0)
y = A(x) + 0.003 * rng.standard_normal(x.shape)
dead = rng.random((1, *x.shape[1:])) < 0.03
recorded = np.where(dead, 0.0, y.clip(0, 1))

ignored = solvers.hqs(A, recorded, prox=solvers.tv, strength=3e-4)
masked = solvers.hqs(A, recorded, prox=solvers.tv, strength=3e-4, mask=(recorded < 0.99) & ~dead)
bp.plot.before_after(
    recorded, ignored.x.clip(0, 1), masked.x.clip(0, 1), labels=("recorded", "all pixels believed", "with a mask")
)
