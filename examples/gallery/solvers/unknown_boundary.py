"""
What lies beyond the frame
==========================

A photograph is blurred by light from beyond its frame. Assuming a boundary makes waves that run into the picture;
estimating the surroundings along with the picture does not.
"""

import numpy as np
from skimage import data

import blurphys as bp
import solvers

scene = data.camera()[80:200, 150:310][None] / 255.0
rim = 8
wide = bp.Convolution(bp.psf.disk(4.0), shape=scene.shape)
seen = (slice(None), slice(rim, -rim), slice(rim, -rim))
x, y = scene[seen], wide(scene)[seen]
y = y + 0.003 * np.random.default_rng(0).standard_normal(y.shape)

A = bp.Convolution(bp.psf.disk(4.0), shape=y.shape)
assumed = solvers.hqs(A, y, prox=solvers.tv, strength=3e-4).x
B = bp.unknown_boundary(A)
estimated = solvers.hqs(B, y, prox=solvers.tv, strength=3e-4, x0=bp.extended(y, A.halo)).x
h, w = y.shape[-2:]
top, left = (estimated.shape[-2] - h) // 2, (estimated.shape[-1] - w) // 2
estimated = estimated[:, top : top + h, left : left + w]
bp.plot.error_map(assumed, x, limit=0.2)

# %%
# With the surroundings estimated:
bp.plot.error_map(estimated, x, limit=0.2)
