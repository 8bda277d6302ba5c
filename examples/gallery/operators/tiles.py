"""
The same result, tile by tile
=============================

Tiles that are blurred on their own have seams, because light comes from beyond their edges. `bp.tiled` computes each
tile from a window that is larger by the reach of the blur, in bounded memory; nothing but rounding is left.
"""

import numpy as np
from skimage import data

import blurphys as bp

x = data.camera()[60:156, 130:258][None] / 255.0
A = bp.Convolution(bp.psf.disk(4.0), shape=x.shape)
one = bp.Convolution(bp.psf.disk(4.0), shape=(1, 48, 64))
alone = np.block([[one(x[:, r : r + 48, c : c + 64]) for c in (0, 64)] for r in (0, 48)])
bp.plot.error_map(alone, A(x))

# %%
# With windows:
T = bp.tiled(A, tile=(48, 64))
bp.plot.error_map(T(x), A(x), limit=0.05)
print(T, f"largest difference {np.abs(T(x) - A(x)).max():.1e}", sep="\n")
